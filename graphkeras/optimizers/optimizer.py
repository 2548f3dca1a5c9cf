"""Base of optimizers: from gradients to new values of variables.

One application does, in this order: leave out variables without gradient, undo the loss scale, accumulate, clip,
decoupled weight decay, `update_step` for each variable, moving averages, constraints, count the step. All of it is
ops on variables, without Python decisions on values, so that it becomes part of the compiled step.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphkeras import ops
from graphkeras.core.naming import auto_name
from graphkeras.core.scopes import StatelessScope, name_scope
from graphkeras.core.trace import origin
from graphkeras.core.variable import Variable
from graphkeras.optimizers.arguments import check_arguments, check_count, check_ema, rate_variable
from graphkeras.optimizers.clipping import clip_by_global_norm, clip_by_norm
from graphkeras.optimizers.conditional import assign_where
from graphkeras.optimizers.schedules.learning_rate_schedule import LearningRateSchedule
from graphkeras.optimizers.state import OptimizerState
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object

_SCHEDULED = (
    "This optimizer was created with a `LearningRateSchedule` (or a function) as its `learning_rate`, hence its "
    "learning rate is not settable. Create the optimizer with a float `learning_rate` to set it later."
)


class Optimizer(OptimizerState):
    """Base of optimizers. Subclasses implement `build` (slot variables) and `update_step`.

    Args:
        learning_rate: float, `LearningRateSchedule`, or a function without arguments.
        weight_decay: each step subtracts `weight_decay * learning_rate * variable` from every variable.
        clipnorm: largest norm of each gradient.
        clipvalue: largest absolute value of each gradient's elements.
        global_clipnorm: largest norm of all gradients together. At most one of the three may be given.
        use_ema: keep moving averages of the variables; `fit` puts them into the model at its end.
        ema_momentum: weight of the old average.
        ema_overwrite_frequency: put the averages into the model every so many steps.
        loss_scale_factor: the loss is multiplied by it before, the gradients divided by it after.
        gradient_accumulation_steps: update every so many steps, with the mean of their gradients.
        name: name; by default the class's in snake case.

    Example:
        >>> import graphkeras as keras
        >>> class Plain(keras.optimizers.Optimizer):
        ...     def update_step(self, gradient, variable, learning_rate):
        ...         self.assign_sub(variable, learning_rate * gradient)
        >>> v = keras.Variable([1.0])
        >>> Plain(learning_rate=0.5).apply([keras.ops.ones((1,))], [v])
        >>> v.numpy().tolist()
        [0.5]
    """

    _arguments: tuple[str, ...] = ()  # further arguments of __init__ that belong into the config

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        check_arguments(kwargs, clipnorm, clipvalue, global_clipnorm, gradient_accumulation_steps)
        if use_ema:
            check_ema(ema_momentum, ema_overwrite_frequency)
        self.name = name or auto_name(type(self).__name__)
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.global_clipnorm = global_clipnorm
        self.clipvalue = clipvalue
        self.use_ema = use_ema
        self.loss_scale_factor = loss_scale_factor
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.built = False
        self.__dict__["_trainable_variables"] = []
        self._trainable_variables_indices: dict[int, int] = {}
        self._not_decayed: set[int] = set()
        self._not_decayed_names: re.Pattern[str] | None = None
        with name_scope(self.name, caller=self):
            self._iterations = Variable(0, name="iteration", dtype="int", trainable=False)
            self._learning_rate = learning_rate if callable(learning_rate) else rate_variable(learning_rate)

    # -- state ---------------------------------------------------------------------------------------
    @property
    def iterations(self) -> Any:
        """Number of updates so far (with gradient accumulation: of those that changed the variables)."""
        if self.gradient_accumulation_steps:
            return ops.floor_divide(self._iterations, self.gradient_accumulation_steps)
        return self._iterations

    @property
    def learning_rate(self) -> Any:
        """The current rate: the variable, or what the schedule gives at this step."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        before = self._learning_rate
        if callable(value):
            if isinstance(before, Variable):
                self.__dict__["_variables"] = [v for v in self._variables if v is not before]
            self._learning_rate = value
        elif isinstance(before, Variable):
            before.assign(value)
        else:
            raise TypeError(_SCHEDULED)

    def _get_current_learning_rate(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, Variable):
            return rate
        return rate(self._iterations) if isinstance(rate, LearningRateSchedule) else rate()

    def build(self, variables: Sequence[Variable]) -> None:
        """Create the state for these variables. Subclasses call this first, then add their slots."""
        self.__dict__["_trainable_variables"] = list(variables)
        self._trainable_variables_indices = {id(v): i for i, v in enumerate(variables)}
        if self.use_ema:
            self._model_variables_moving_average = self.add_optimizer_variables(variables, "average")
        if self.gradient_accumulation_steps:
            self._accumulated_gradients = [
                self.add_variable_from_reference(v, name="gradient_accumulator") for v in variables
            ]
        self.built = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._trainable_variables_indices = {id(v): i for i, v in enumerate(self._trainable_variables)}

    def _get_variable_index(self, variable: Any) -> int:
        return self._trainable_variables_indices[id(variable)]

    # -- updates -------------------------------------------------------------------------------------
    def assign(self, variable: Any, value: Any) -> None:
        """Set a variable (for use in `update_step`)."""
        variable.assign(ops.cast(value, variable.dtype))

    def assign_add(self, variable: Any, value: Any) -> None:
        """Add to a variable."""
        variable.assign(variable + ops.cast(value, variable.dtype))

    def assign_sub(self, variable: Any, value: Any) -> None:
        """Subtract from a variable."""
        variable.assign(variable - ops.cast(value, variable.dtype))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable (and its slots) from its gradient."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `update_step(gradient, variable, learning_rate)`."
        )

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> Variable:
        """Apply pairs of gradient and variable; returns the step counter."""
        pairs = list(grads_and_vars)
        self.apply([g for g, _ in pairs], [v for _, v in pairs])
        return self._iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Update variables from their gradients.

        Args:
            grads: gradients, None where there is none.
            trainable_variables: their variables; default those the optimizer was built with.
        """
        if len(grads) == 0:
            return
        variables = self._variables_for(grads, trainable_variables)
        with name_scope(self.name, caller=self), origin(layer=self.name, phase="update"):
            grads, variables = self._filter_empty_gradients(grads, variables)
            grads, variables = self._overwrite_variables_directly_with_gradients(grads, variables)
            if grads:
                if self.loss_scale_factor is not None:
                    grads = [g / self.loss_scale_factor for g in grads]
                self._backend_apply_gradients(grads, variables)
                for variable in variables:
                    if getattr(variable, "constraint", None) is not None:
                        variable.assign(variable.constraint(variable.value))
        self._iterations.assign_add(1)

    def _variables_for(self, grads: Sequence[Any], variables: Sequence[Any] | None) -> list[Any]:
        if variables is not None:
            variables = list(variables)
            if not self.built:
                with name_scope(self.name, caller=self):
                    self.build(variables)
                self.built = True
            self._check_variables_are_known(variables)
            return variables
        if not self.built:
            raise ValueError(
                "When passing `grads` without `variables`, the optimizer must already be built on a list of variables. "
                "Call `optimizer.build(trainable_variables)` first."
            )
        if len(grads) != len(self._trainable_variables):
            raise ValueError(
                "When passing `grads` as a list of gradient tensors, the gradients must match "
                f"`optimizer.variables` one-to-one. Received a list of {len(grads)} gradients, but the optimizer is "
                f"tracking {len(self._trainable_variables)} trainable variables."
            )
        return list(self._trainable_variables)

    def _check_variables_are_known(self, variables: Iterable[Any]) -> None:
        for variable in variables:
            if id(variable) not in self._trainable_variables_indices:
                raise ValueError(
                    f"Unknown variable: {variable}. This optimizer can only be called for the variables it was "
                    "originally built with. When working with a new set of variables, you should recreate a new "
                    "optimizer instance."
                )

    def _filter_empty_gradients(self, grads: Sequence[Any], variables: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        kept = [(ops.convert_to_tensor(g), v) for g, v in zip(grads, variables, strict=True) if g is not None]
        if not kept:
            raise ValueError("No gradients provided for any variable.")
        missing = [getattr(v, "path", v) for g, v in zip(grads, variables, strict=True) if g is None]
        if missing:
            warnings.warn(
                f"Gradients do not exist for variables {missing} when minimizing the loss. Are they used in the "
                "model's output? If using `model.compile()`, did you forget to provide a `loss` argument?",
                stacklevel=4,
            )
        return [g for g, _ in kept], [v for _, v in kept]

    def _overwrite_variables_directly_with_gradients(
        self, grads: list[Any], variables: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Variables marked so take their gradient as value (the largest one of an accumulation)."""
        rest: list[tuple[Any, Any]] = []
        for gradient, variable in zip(grads, variables, strict=True):
            if not self._overwrite_variable_with_gradient(variable):
                rest.append((gradient, variable))
            elif not self.gradient_accumulation_steps:
                variable.assign(gradient)
            else:
                due = self._update_is_due()
                largest_so_far = self._accumulated_gradients[self._get_variable_index(variable)]
                largest = ops.maximum(gradient, largest_so_far)
                variable.assign(ops.where(due, largest, variable))
                largest_so_far.assign(ops.where(due, ops.zeros_like(largest), largest))
        return [g for g, _ in rest], [v for _, v in rest]

    def _update_is_due(self) -> Any:
        steps = self.gradient_accumulation_steps
        return ops.equal(ops.mod(self._iterations + 1, steps), 0)

    def _backend_apply_gradients(self, grads: list[Any], variables: list[Any]) -> None:
        if self.gradient_accumulation_steps:
            self._accumulate(grads, variables)
        else:
            self._update(grads, variables)
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)
            if self.ema_overwrite_frequency:
                due = ops.equal(ops.mod(self.iterations + 1, self.ema_overwrite_frequency), 0)
                for variable, average in self._averages(self._trainable_variables):
                    variable.assign(ops.where(due, average, variable))

    def _update(self, grads: list[Any], variables: list[Any]) -> None:
        grads = self._clip_gradients(grads)
        self._apply_weight_decay(variables)
        self._backend_update_step(grads, variables, self.learning_rate)

    def _accumulate(self, grads: list[Any], variables: list[Any]) -> None:
        sums = [self._accumulated_gradients[self._get_variable_index(v)] for v in variables]
        totals = [g + s for g, s in zip(grads, sums, strict=True)]

        def update() -> None:
            self._update([t / self.gradient_accumulation_steps for t in totals], variables)
            for accumulator in sums:
                accumulator.assign(ops.zeros(accumulator.shape, dtype=accumulator.dtype))

        def wait() -> None:
            for accumulator, total in zip(sums, totals, strict=True):
                accumulator.assign(total)

        assign_where(self._update_is_due(), update, wait, [*variables, *self.variables])

    def _backend_update_step(self, grads: list[Any], trainable_variables: list[Any], learning_rate: Any) -> None:
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        if self.clipnorm and self.clipnorm > 0:
            return [clip_by_norm(g, self.clipnorm) for g in grads]
        if self.global_clipnorm and self.global_clipnorm > 0:
            return clip_by_global_norm(grads, self.global_clipnorm)
        if self.clipvalue and self.clipvalue > 0:
            return [ops.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        return grads

    # -- weight decay --------------------------------------------------------------------------------
    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Leave variables out of weight decay; to be called before `build`.

        Args:
            var_list: variables.
            var_names: regular expressions searched for in the variables' names.
        """
        if self.built:
            raise ValueError(
                "`exclude_from_weight_decay()` can only be configured before the optimizer is built. Call it before "
                "`fit`, `build` or the first `apply`."
            )
        self._not_decayed = {id(v) for v in var_list or ()}
        self._not_decayed_names = re.compile("|".join(set(var_names))) if var_names else None

    def _use_weight_decay(self, variable: Any) -> bool:
        named = self._not_decayed_names is not None and self._not_decayed_names.search(variable.name)
        return id(variable) not in self._not_decayed and not named

    def _apply_weight_decay(self, variables: Iterable[Any]) -> None:
        if self.weight_decay is not None:
            self._decay([v for v in variables if self._use_weight_decay(v)], self.weight_decay)

    def _decay(self, variables: Iterable[Any], weight_decay: float) -> None:
        rate = self.learning_rate
        for variable in variables:
            variable.assign(variable - variable * (ops.cast(rate, variable.dtype) * weight_decay))

    # -- moving averages -----------------------------------------------------------------------------
    def _averages(self, variables: Sequence[Any]) -> list[tuple[Any, Any]]:
        averages = getattr(self, "_model_variables_moving_average", [])
        unknown = [v.path for v in variables if id(v) not in self._trainable_variables_indices]
        if unknown or len(variables) > len(averages):
            raise ValueError(
                f"The length of model variables ({len(variables)}) to override does not match the length of model "
                f"variables stored in the optimizer ({len(averages)}). Please check if the optimizer was called on "
                f"your model. Variables without an average: {unknown}."
            )
        pairs = [(v, averages[self._get_variable_index(v)]) for v in variables]
        return [(v, a) for v, a in pairs if a is not None]

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        started = ops.not_equal(self.iterations, 0)
        for variable, average in self._averages(trainable_variables):
            momentum = ops.cast(started, variable.dtype) * self.ema_momentum
            average.assign(momentum * average + (1.0 - momentum) * variable)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Put the moving averages into the variables (with `use_ema`); `fit` does this at its end."""
        if self.use_ema:
            for variable, average in self._averages(var_list):
                variable.assign(average)

    # -- stateless -----------------------------------------------------------------------------------
    def stateless_apply(
        self, optimizer_variables: Sequence[Any], grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """New values of the trainable and of the optimizer's variables; the variables are not changed.

        Args:
            optimizer_variables: values of `variables`.
            grads: gradients.
            trainable_variables: values of the variables that the optimizer was built with, or of those among them
                that are trainable now (layers have been frozen since).

        Example:
            >>> import graphkeras as keras
            >>> v = keras.Variable([1.0])
            >>> optimizer = keras.optimizers.SGD(0.5)
            >>> optimizer.build([v])
            >>> new, state = optimizer.stateless_apply(optimizer.variables, [keras.ops.ones(1)], [v])
            >>> new[0].tolist(), v.numpy().tolist(), int(state[0])
            ([0.5], [1.0], 1)
        """
        self._check_super_called()
        if not self.built:
            raise ValueError(
                f"To call `stateless_apply`, {type(self).__name__} must be built (i.e. its variables must have been "
                "created). You can build it via `optimizer.build(trainable_variables)`."
            )
        own = self.variables
        check_count("optimizer_variables", len(optimizer_variables), len(own), f"{type(self).__name__}().variables")
        known = list(self._trainable_variables)
        if len(trainable_variables) != len(known):
            trained = [v for v in known if v.trainable]
            known = trained if len(trained) == len(trainable_variables) else known
        check_count("trainable_variables", len(trainable_variables), len(known), "those the optimizer was built with")
        mapping = [*zip(known, trainable_variables, strict=True), *zip(own, optimizer_variables, strict=True)]
        with StatelessScope(state_mapping=mapping) as scope:
            self.apply(grads, known)
        current: Callable[[Any], Any] = scope.get_current_value
        return [current(v) for v in known], [current(v) for v in own]

    def scale_loss(self, loss: Any) -> Any:
        """The loss to take gradients of."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    # -- saving --------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        rate = self._learning_rate
        if isinstance(rate, Variable):
            rate = float(rate.numpy())
        names = (
            "weight_decay clipnorm global_clipnorm clipvalue use_ema ema_momentum ema_overwrite_frequency "
            "loss_scale_factor gradient_accumulation_steps"
        )
        config = {"name": self.name, "learning_rate": serialize_keras_object(rate)}
        return config | {key: getattr(self, key) for key in (*names.split(), *self._arguments)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        rate = config.get("learning_rate")
        if isinstance(rate, dict):
            config = {**config, "learning_rate": deserialize_keras_object(rate, custom_objects=custom_objects)}
        return cls(**config)

    def _obj_type(self) -> str:
        return "Optimizer"


BaseOptimizer = Optimizer
