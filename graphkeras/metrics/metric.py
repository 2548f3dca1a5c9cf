"""Base of metrics: state in variables, updated batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras import dtype_policies, initializers, ops
from graphkeras.core import tree
from graphkeras.core.config import floatx
from graphkeras.core.naming import auto_name
from graphkeras.core.scopes import StatelessScope, name_scope
from graphkeras.core.variable import Variable


class Metric:
    """Base of metrics. Subclasses add variables in `__init__` and implement `update_state` and `result`.

    Args:
        dtype: dtype or policy of the computation; default the default float type.
        name: name; by default the class's name in snake case.

    Example:
        >>> import graphkeras as keras
        >>> class Largest(keras.metrics.Metric):
        ...     def __init__(self, name="largest", **kwargs):
        ...         super().__init__(name=name, **kwargs)
        ...         self.value = self.add_variable(shape=(), initializer="zeros", name="value")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))
        ...     def result(self):
        ...         return self.value
        >>> metric = Largest()
        >>> float(metric([0.0], [3.0]))
        3.0
    """

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or auto_name(type(self).__name__)
        self._dtype_policy = dtype_policies.get(dtype or floatx())
        self._dtype = self._dtype_policy.compute_dtype
        self.__dict__["_variables"] = []
        self.__dict__["_metrics"] = []

    # -- to be implemented ---------------------------------------------------------------------------
    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """Take one batch into account."""
        raise NotImplementedError(f"{type(self).__name__} must implement `update_state`.")

    def result(self) -> Any:
        """The metric's value: a scalar tensor, or a dict of them."""
        raise NotImplementedError(f"{type(self).__name__} must implement `result`.")

    def reset_state(self) -> None:
        """Set all variables to zero."""
        for variable in self.variables:
            variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    # -- state -----------------------------------------------------------------------------------------
    def add_variable(
        self,
        shape: Any,
        initializer: Any,
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """A new variable of the metric's state."""
        self._check_super_called()
        with name_scope(self.name.replace("/", ">"), caller=self):
            variable = Variable(
                initializers.get(initializer),
                shape=shape,
                dtype=dtype,
                trainable=False,
                aggregation=aggregation,
                synchronization="on_read",
                name=name,
            )
        self._track(variable)
        return variable

    def add_weight(
        self, shape: Any = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> Variable:
        """`add_variable` with defaults: a scalar that starts at zero."""
        return self.add_variable(shape, "zeros" if initializer is None else initializer, dtype=dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """The state, that of metrics inside this one included."""
        return [*self._variables, *(v for metric in self._metrics for v in metric.variables)]

    @property
    def dtype(self) -> str:
        return self._dtype

    def __setattr__(self, name: str, value: Any) -> None:
        if "_variables" in self.__dict__:
            for leaf in tree.flatten(value) if isinstance(value, (list, tuple, dict)) else (value,):
                self._track(leaf)
        super().__setattr__(name, value)

    def _track(self, value: Any) -> None:
        store = "_variables" if isinstance(value, Variable) else "_metrics" if isinstance(value, Metric) else None
        if store and not any(known is value for known in self.__dict__[store]):
            self.__dict__[store].append(value)

    def _check_super_called(self) -> None:
        if "_variables" not in self.__dict__:
            raise RuntimeError(
                f"You forgot to call `super().__init__()` in the `__init__()` method of {type(self).__name__}. "
                "Call it before adding variables."
            )

    # -- stateless -------------------------------------------------------------------------------------
    def stateless_update_state(self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The state after a batch, for a state given as a list of tensors; the metric itself is not changed."""
        with StatelessScope(state_mapping=self._mapping(metric_variables)) as scope:
            self.update_state(*args, **kwargs)
        return self._values_in(scope)

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """The value for a state given as a list of tensors."""
        with StatelessScope(state_mapping=self._mapping(metric_variables)):
            return self.result()

    def stateless_reset_state(self) -> list[Any]:
        """The state at the beginning, as a list of tensors."""
        with StatelessScope() as scope:
            self.reset_state()
        return self._values_in(scope)

    def _mapping(self, values: Sequence[Any]) -> list[tuple[Variable, Any]]:
        variables = self.variables
        if len(values) != len(variables):
            raise ValueError(
                "Argument `metric_variables` must be a list of tensors corresponding 1:1 to "
                f"{type(self).__name__}().variables. Received list with length {len(values)}, but expected "
                f"{len(variables)} variables."
            )
        return list(zip(variables, values, strict=True))

    def _values_in(self, scope: StatelessScope) -> list[Any]:
        found = [(v, scope.get_current_value(v)) for v in self.variables]
        return [v if value is None else value for v, value in found]

    # -- rest ------------------------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._check_super_called()
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**config)

    def _single_metrics(self) -> list[Metric]:
        """The metrics that have a value and a direction of their own: this one, or those it holds."""
        return [self]

    def _obj_type(self) -> str:
        return "Metric"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"
