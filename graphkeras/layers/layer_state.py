"""The state of a layer: weights, sublayers, losses, and how they are found, listed and set."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.dtypes import standardize_dtype
from graphkeras.core.errors import filter_traceback
from graphkeras.core.scopes import StatelessScope, get_stateless_scope, in_symbolic_scope, name_scope
from graphkeras.core.seed_generator import SeedGenerator
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import is_live
from graphkeras.core.tracking import Tracker
from graphkeras.core.variable import Variable

_LOCKED = (
    "You cannot add new elements of state (variables or sub-layers) to a layer that is already built. All state must "
    "be created in the `__init__()` method or in the `build()` method."
)


def _is_trainable_variable(x: Any) -> bool:
    return isinstance(x, Variable) and x.trainable


def _is_variable(x: Any) -> bool:
    return isinstance(x, Variable)


def _is_metric(x: Any) -> bool:
    module = sys.modules.get("graphkeras.metrics.metric")  # no metric can exist before that is loaded
    return module is not None and isinstance(x, module.Metric)


def _is_layer(x: Any) -> bool:
    return isinstance(x, LayerState)


def _is_seed_generator(x: Any) -> bool:
    return isinstance(x, SeedGenerator)


def unique(values: Iterable[Any]) -> list[Any]:
    """Without repetitions of the same object, in order."""
    return list({id(v): v for v in values}.values())


def count_elements(variables: Iterable[Any]) -> int:
    return sum(math.prod(v.shape) for v in variables)


class LayerState:
    """What `Layer` inherits to hold variables, sublayers and losses."""

    name: str
    built: bool
    variable_dtype: str
    _tracker: Tracker
    _trainable: bool

    def _initialize_tracker(self) -> None:
        if "_tracker" in self.__dict__:
            return
        stores: dict[str, list[Any]] = {
            n: [] for n in ("trainable_variables", "non_trainable_variables", "metrics", "layers", "seed_generators")
        }
        tests = (_is_trainable_variable, _is_variable, _is_metric, _is_layer, _is_seed_generator)
        tracker = Tracker({name: (test, kept) for (name, kept), test in zip(stores.items(), tests, strict=True)})
        # Not through __setattr__, which would wrap the lists.
        self.__dict__["_tracker"] = tracker
        for name, kept in stores.items():
            self.__dict__[f"_{name}"] = kept

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "_tracker" and not isinstance(value, (bool, int, float, str, type(None))):
            self._initialize_tracker()
            value = self._tracker.track(value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        value = self.__dict__.get(name)
        if isinstance(value, Variable):
            self._untrack_variable(value)
        super().__delattr__(name)

    def _check_super_called(self) -> None:
        if "_layer_ready" not in self.__dict__:
            raise RuntimeError(
                f"In layer '{type(self).__name__}', you forgot to call `super().__init__()` as the first statement in "
                "the `__init__()` method. Go add it!"
            )

    def _lock_state(self) -> None:
        if not self._tracker.locked:
            self._tracker.lock(f"{_LOCKED} Layer: {self.name!r} ({type(self).__name__}).")

    # -- creating weights --------------------------------------------------------------------------
    def add_weight(
        self,
        *args: Any,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str | None = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """Create a variable of this layer.

        Args:
            shape: tuple of ints; () makes a scalar.
            initializer: name, callable or Initializer; by default "glorot_uniform" for floats and "zeros" otherwise.
            dtype: by default the layer's `variable_dtype`.
            trainable: whether optimizers change it.
            autocast: whether it is read in the compute dtype under mixed precision.
            regularizer: its penalty is part of `losses` while the variable is trainable.
            constraint: applied to the value after each update.
            name: the last part of the variable's path.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.factor = self.add_weight(shape=input_shape[-1:], initializer="ones")
        ...
        ...     def call(self, x):
        ...         return x * self.factor
        ...
        >>> Scale()(np.full((1, 2), 3.0)).numpy().tolist()
        [[3.0, 3.0]]
        """
        self._check_super_called()
        shape, initializer, dtype = _positional(self.name, args, shape, initializer, dtype)
        from graphkeras import constraints, initializers, regularizers

        dtype = self.variable_dtype if dtype is None else standardize_dtype(dtype)
        if initializer is None:
            initializer = "glorot_uniform" if "float" in dtype else "zeros"
        with name_scope(self.name, caller=self):
            variable = Variable(
                initializers.get(initializer),
                shape=() if shape is None else shape,
                dtype=dtype,
                trainable=trainable,
                autocast=autocast,
                aggregation=aggregation,
                name=name,
            )
        variable.regularizer = regularizers.get(regularizer)
        variable.constraint = constraints.get(constraint)
        variable.overwrite_with_gradient = overwrite_with_gradient
        self._track_variable(variable)
        return variable

    def add_variable(self, shape: Any, initializer: Any, **kwargs: Any) -> Variable:
        """Same as `add_weight`."""
        return self.add_weight(shape=shape, initializer=initializer, **kwargs)

    def _track_variable(self, variable: Variable) -> None:
        self._tracker.add_to_store("trainable_variables" if variable.trainable else "non_trainable_variables", variable)
        if not self.trainable:
            variable.trainable = False

    def _untrack_variable(self, variable: Variable) -> None:
        self._tracker.untrack(variable)

    # -- lists of state ----------------------------------------------------------------------------
    _trainable_variables: list[Any]
    _non_trainable_variables: list[Any]
    _layers: list[Any]
    _metrics: list[Any]
    _seed_generators: list[Any]

    @property
    def trainable(self) -> bool:
        """Whether the layer's weights are trained. Setting it sets it in all sublayers and variables too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for variable in self._trainable_variables:
            variable.trainable = self._trainable
        for layer in self._layers:
            layer.trainable = self._trainable

    def _own_variables(self) -> list[Variable]:
        return [*self._trainable_variables, *self._non_trainable_variables]

    @property
    def variables(self) -> list[Variable]:
        """All variables, with the states of seed generators and without metrics."""
        nested = (v for layer in self._layers for v in layer.variables)
        return unique([*self._own_variables(), *(s.state for s in self._seed_generators), *nested])

    @property
    def trainable_variables(self) -> list[Variable]:
        return [v for v in self.variables if v.trainable] if self.trainable else []

    @property
    def non_trainable_variables(self) -> list[Variable]:
        return [v for v in self.variables if not (self.trainable and v.trainable)]

    @property
    def weights(self) -> list[Variable]:
        """The variables that are saved: own ones (trainable, then the others), then those of sublayers."""
        return unique([*self._own_variables(), *(w for layer in self._layers for w in layer.weights)])

    @property
    def trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if v.trainable] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [v for v in self.weights if not (self.trainable and v.trainable)]

    @property
    def metrics(self) -> list[Any]:
        """Metrics kept by the layer and its sublayers."""
        return [*self._metrics, *(m for layer in self._layers for m in layer.metrics)]

    @property
    def metrics_variables(self) -> list[Variable]:
        return [v for metric in self.metrics for v in metric.variables]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights, in the order of `weights`.

        Example:

        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> [w.shape for w in model.get_weights()]
        [(2, 1), (1,)]
        """
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Set the weights from arrays in the order of `weights`.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.set_weights([np.ones((2, 1)), np.zeros(1)])
        >>> model.predict(np.ones((1, 2)), verbose=0).tolist()
        [[2.0]]
        """
        variables = self.weights
        if len(variables) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length "
                f"{len(weights)}, but the layer was expecting {len(variables)} weights."
            )
        for variable, value in zip(variables, weights, strict=True):
            if tuple(variable.shape) != tuple(np.shape(value)):
                raise ValueError(
                    f"Layer {self.name} weight shape {variable.shape} (of {variable.path}) is not compatible with "
                    f"provided weight shape {np.shape(value)}."
                )
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)

    def count_params(self) -> int:
        """The number of elements of all weights.

        Example:

        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.count_params()
        3
        """
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't built. You can build it "
                "manually via: `layer.build(input_shape)`."
            )
        return count_elements(self.weights)

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> list[Any]:
        """This layer and those below it, each once, parents first."""
        found: list[Any] = []
        waiting = deque(self._layers)
        while waiting:
            layer = waiting.popleft()
            if any(layer is f for f in found):
                continue
            found.append(layer)
            if recursive:
                waiting.extendleft(layer._layers)
        return [self, *found] if include_self else found

    # -- losses ------------------------------------------------------------------------------------
    _losses: list[Any]
    _loss_ids: set[int]

    def add_loss(self, loss: Any) -> None:
        """Add a scalar tensor, or several, to the loss of the model. To be called inside `call` or `build`.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> class Small(keras.layers.Layer):
        ...     def call(self, x):
        ...         self.add_loss(keras.ops.mean(keras.ops.square(x)))
        ...         return x
        ...
        >>> layer = Small()
        >>> _ = layer(np.full((1, 2), 3.0))
        >>> [float(v) for v in layer.losses]
        [9.0]
        """
        losses = tree.flatten(loss)
        for x in losses:
            if not isinstance(x, Tensor):
                raise ValueError(
                    "`add_loss()` can only be called from inside `build()` or `call()`, on a tensor input. "
                    f"Received invalid value in layer '{self.name}': {x}"
                )
        if in_symbolic_scope():
            return
        scope = get_stateless_scope()
        if scope is None:
            self.__dict__["_losses"].extend(losses)
        elif scope.collect_losses:
            for x in losses:
                scope.add_loss(x)
                self._loss_ids.add(id(x))

    def _own_losses(self) -> list[Any]:
        scope = get_stateless_scope()
        if scope is not None:
            return [x for x in scope.losses if id(x) in self._loss_ids]
        return [x for x in self.__dict__["_losses"] if is_live(x)]

    @property
    def losses(self) -> list[Any]:
        """Losses added in the last call, and the regularization of trainable weights, sublayers included."""
        override = self.__dict__.get("_losses_override")
        if override is not None:  # those of a stateless call, whose scope has ended
            return list(override)
        found = self._own_losses()
        for layer in self._flatten_layers(include_self=False):
            found += layer._own_losses()
        return found + [v.regularizer(v) for v in self.trainable_weights if v.regularizer is not None]

    def _clear_losses(self) -> None:
        scope = get_stateless_scope()
        if scope is not None and scope.collect_losses:
            scope.losses[:] = [x for x in scope.losses if id(x) not in self._loss_ids]
        self.__dict__["_losses"].clear()
        self._loss_ids.clear()
        for layer in self._layers:
            layer._clear_losses()

    def add_metric(self, *args: Any, **kwargs: Any) -> None:
        """Not available: pass metrics to `compile`, or keep a Metric as an attribute and update it in `call`."""
        raise NotImplementedError(
            "Layer `add_metric()` is deprecated. Add your metric in `Model.compile(metrics=[...])`, or create it in "
            "`__init__()` or `build()` and call its `update_state()` whenever necessary."
        )

    # -- stateless ---------------------------------------------------------------------------------
    @filter_traceback
    def stateless_call(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Call the layer with given values of its variables, changing nothing.

        Returns (outputs, new values of the non-trainable variables), and the losses too with `return_losses`.
        """
        self._check_super_called()
        if not self.built:
            raise ValueError(
                f"To call stateless_call, {type(self).__name__} must be built (i.e. its variables must have been "
                "already created). You can build it by calling it on some data."
            )
        mapping: list[tuple[Any, Any]] = []
        given = {"trainable_variables": trainable_variables, "non_trainable_variables": non_trainable_variables}
        for name, values in given.items():
            variables = getattr(self, name)
            values = list(values)
            if len(values) != len(variables):
                raise ValueError(
                    f"Argument `{name}` must be a list of tensors corresponding 1:1 to {type(self).__name__}().{name}. "
                    f"Received list with length {len(values)}, but expected {len(variables)} variables."
                )
            mapping += zip(variables, values, strict=True)
        with StatelessScope(state_mapping=mapping, collect_losses=return_losses) as scope:
            outputs = self(*args, **kwargs)
            losses = self.losses if return_losses else None
        updated = [scope.get_current_value(v) for v in self.non_trainable_variables]
        return (outputs, updated, losses) if return_losses else (outputs, updated)

    # -- saving ------------------------------------------------------------------------------------
    def save_own_variables(self, store: Any) -> None:
        """Write the layer's own variables (not those of sublayers) into a dict-like store, by index."""
        for i, variable in enumerate(self._own_variables()):
            store[f"{i}"] = variable

    def load_own_variables(self, store: Any) -> None:
        """Read them back."""
        variables = self._own_variables()
        self._check_load_own_variables(store, variables)
        for i, variable in enumerate(variables):
            variable.assign(store[f"{i}"])

    def _check_load_own_variables(self, store: Any, variables: list[Variable]) -> None:
        stored = len(store.keys())
        if stored == len(variables):
            return
        if not variables and not self.built:
            raise ValueError(
                f"Layer '{self.name}' was never built and thus it doesn't have any variables. However the weights file "
                f"lists {stored} variables for this layer.\nIn most cases, this error indicates that either:\n\n"
                "1. The layer is owned by a parent layer that implements a `build()` method which does not build this "
                "layer. A `build()` method must create all state, that of the children included.\n\n"
                "2. You need to implement `build_from_config(self, config)` (and `get_build_config(self)`) on the "
                "layer, to say how to build it when it is loaded."
            )
        raise ValueError(
            f"Layer '{self.name}' expected {len(variables)} variables, but received {stored} variables during loading. "
            f"Expected: {[v.name for v in variables]}"
        )


def _positional(layer: str, args: Any, shape: Any, initializer: Any, dtype: Any) -> tuple[Any, Any, Any]:
    """`add_weight(shape, initializer, dtype)` with some of them given by position."""
    if len(args) > 3:
        raise TypeError(f"add_weight() takes at most 3 positional arguments but {len(args)} were given.")
    if args and isinstance(args[0], str):
        raise ValueError(
            f"`name` must be passed as a keyword argument. Received in layer '{layer}': add_weight('{args[0]}', ...). "
            f"Use: add_weight(shape=..., name='{args[0]}')."
        )
    values = {"shape": shape, "initializer": initializer, "dtype": dtype}
    for name, value in zip(values, args, strict=False):
        if values[name] is not None:
            raise ValueError(f"`{name}` was passed both positionally and as a keyword argument.")
        values[name] = value
    return values["shape"], values["initializer"], values["dtype"]
