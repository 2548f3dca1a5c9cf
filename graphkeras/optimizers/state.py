"""The variables of an optimizer: how they are made, found, set and saved."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from graphkeras import initializers
from graphkeras.core import tree
from graphkeras.core.scopes import name_scope
from graphkeras.core.variable import Variable


class OptimizerState:
    """Keeps every variable that is made by it or set as an attribute. Subclasses have `name` and `built`."""

    name: str
    built: bool

    def __init__(self) -> None:
        self.__dict__["_variables"] = []

    def _overwrite_variable_with_gradient(self, variable: Any) -> bool:
        """Whether a variable takes its gradient as its value."""
        return getattr(variable, "overwrite_with_gradient", False)

    @property
    def variables(self) -> list[Variable]:
        """Iteration, learning rate, averages, accumulators, then slot variables."""
        return list(self._variables)

    def add_variable(
        self,
        shape: Any,
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "none",
        layout: Any = None,
        name: str | None = None,
    ) -> Variable:
        """A new variable of the optimizer's state."""
        self._check_super_called()
        with name_scope(self.name, caller=self):
            variable = Variable(
                initializers.get(initializer),
                shape=shape,
                dtype=dtype,
                trainable=False,
                aggregation=aggregation,
                layout=layout,
                name=name,
            )
        self._track_variable(variable)
        return variable

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Any = "zeros"
    ) -> Variable:
        """A new variable with the shape and dtype of another one, named after it."""
        path = getattr(reference_variable, "path", None) or reference_variable.name
        return self.add_variable(
            reference_variable.shape,
            initializer,
            dtype=getattr(reference_variable, "_dtype", reference_variable.dtype),
            name=f"{str(path).replace('/', '_').replace(':', '_')}_{name or 'var'}",
        )

    def add_optimizer_variables(self, trainable_variables: Iterable[Any], name: Any, initializer: Any = "zeros") -> Any:
        """Slot variables for each of the variables.

        Args:
            name: one name, or several: then variable after variable all its slots are made.
            initializer: one initializer, or one for each name.

        Returns:
            a list, or one list per name; None for variables that are replaced by their gradients.
        """
        names = [name] if isinstance(name, str) else list(name)
        starts = list(initializer) if isinstance(initializer, (list, tuple)) else [initializer] * len(names)
        if len(names) != len(starts):
            raise ValueError(
                "The number of provided names must match the number of provided initializers. "
                f"Received name={name!r}, initializer={initializer!r}"
            )
        slots: tuple[list[Variable | None], ...] = tuple([] for _ in names)
        for variable in trainable_variables:
            skip = self._overwrite_variable_with_gradient(variable)
            for slot, slot_name, start in zip(slots, names, starts, strict=True):
                slot.append(None if skip else self.add_variable_from_reference(variable, slot_name, start))
        return slots[0] if isinstance(name, str) else slots

    def _track_variable(self, variable: Variable) -> None:
        if not any(known is variable for known in self._variables):
            self._variables.append(variable)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_variables" in self.__dict__:
            for leaf in tree.flatten(value) if isinstance(value, (list, tuple, dict)) else (value,):
                if isinstance(leaf, Variable):
                    self._track_variable(leaf)
        super().__setattr__(name, value)

    def _check_super_called(self) -> None:
        if "_variables" not in self.__dict__:
            raise RuntimeError(
                f"In optimizer {type(self).__name__!r}, you forgot to call `super().__init__()` as the first statement "
                "in the `__init__()` method. Go add it!"
            )

    # -- saving --------------------------------------------------------------------------------------
    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all variables of the state, in the order of `variables`."""
        if not self.built:
            raise ValueError(
                "You are calling `set_weights()` on an optimizer that has not yet been built. Please call "
                "`optimizer.build(trainable_variables)` to create the optimizer weights before calling "
                "`set_weights()`."
            )
        for variable, weight in zip(self.variables, weights, strict=False):
            if tuple(variable.shape) != tuple(weight.shape):
                raise ValueError(
                    f"Optimizer variable {variable.path} has shape {variable.shape}, not compatible with provided "
                    f"weight shape {tuple(weight.shape)}."
                )
            variable.assign(weight)

    def save_own_variables(self, store: Any) -> None:
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        variables = self.variables
        if len(store.keys()) != len(variables):
            warnings.warn(
                f"Skipping variable loading for optimizer {self.name!r}, because it has {len(variables)} variables "
                f"whereas the saved optimizer has {len(store.keys())} variables.",
                stacklevel=2,
            )
            return
        for i, variable in enumerate(variables):
            variable.assign(store[str(i)])
