"""Dynamic loss scaling for training in float16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras import initializers, ops
from graphkeras.core.scopes import name_scope
from graphkeras.core.trace import origin
from graphkeras.optimizers.conditional import assign_where
from graphkeras.optimizers.optimizer import Optimizer
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object

_INNER_ARGUMENTS = {
    "weight_decay": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


class LossScaleOptimizer(Optimizer):
    """Keeps small float16 gradients from vanishing (Micikevicius et al. 2018).

    The loss is multiplied by a scale and the gradients are divided by it. A step with an infinite or nan gradient
    changes no variable and halves the scale; after `dynamic_growth_steps` good steps in a row the scale doubles.

    Args:
        inner_optimizer: the optimizer that makes the updates.
        initial_scale: first scale.
        dynamic_growth_steps: good steps before the scale doubles.
        name: name.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.pop("dynamic", True):
            raise ValueError(
                "LossScaleOptimizer no longer supports `dynamic=False`. Instead, simply set `loss_scale_factor` "
                "directly on the `inner_optimizer`."
            )
        for argument, default in _INNER_ARGUMENTS.items():
            if kwargs.pop(argument, default) != default:
                raise ValueError(
                    f"LossScaleOptimizer does not support `{argument}`. Instead, set `{argument}` on the "
                    "`inner_optimizer`."
                )
        if kwargs:
            raise ValueError(f"LossScaleOptimizer does not support arguments: `{'`, `'.join(kwargs)}`.")
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        inner_optimizer.loss_scale_factor = None

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        start = initializers.Constant(self.initial_scale)
        self.step_counter = self.add_variable((), "zeros", dtype="int", name="step_counter")
        self.dynamic_scale = self.add_variable((), start, dtype="float32", name="dynamic_scale")
        self.inner_optimizer.build(variables)
        super().build(variables)

    @property
    def variables(self) -> list[Any]:
        """Own variables, then those of the inner optimizer."""
        return [*self._variables, *self.inner_optimizer.variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Let the inner optimizer update, unless a gradient is not finite."""
        if not self.built:
            with name_scope(self.name, caller=self):
                self.build(list(trainable_variables or ()))
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        finite = self.check_finite(grads)
        with origin(layer=self.name, phase="update"):  # what is chosen is chosen in the pass that computes it
            assign_where(
                finite,
                lambda: self._update_finite(grads, variables),
                self._shrink,
                [*variables, *self.variables],
            )

    def _update_finite(self, grads: Sequence[Any], variables: Sequence[Any]) -> None:
        factor = 1.0 / self.dynamic_scale  # the scale is a power of two, so this is exact
        unscaled = [
            g if g is None or self._overwrite_variable_with_gradient(v) else g * ops.cast(factor, g.dtype)
            for g, v in zip(grads, variables, strict=True)
        ]
        self.inner_optimizer.apply(unscaled, variables)
        grow = ops.equal(self.step_counter, self.dynamic_growth_steps - 1)
        self.dynamic_scale.assign(ops.where(grow, self.dynamic_scale * 2.0, self.dynamic_scale))
        self.step_counter.assign(ops.where(grow, 0, self.step_counter + 1))

    def _shrink(self) -> None:
        self.step_counter.assign(0)
        self.dynamic_scale.assign(self.dynamic_scale * 0.5)

    def check_finite(self, grads: Sequence[Any]) -> Any:
        """Whether all gradients are finite, a bool scalar."""
        finite: Any = True
        for gradient in grads:
            if gradient is not None:
                all_finite = ops.all(ops.isfinite(gradient))
                finite = all_finite if finite is True else ops.logical_and(finite, all_finite)
        return finite

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    def scale_loss(self, loss: Any) -> Any:
        scale = self.dynamic_scale if self.built else self.initial_scale
        return loss * (ops.cast(scale, loss.dtype) if hasattr(loss, "dtype") else scale)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inner_optimizer": serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Optimizer:
        inner = deserialize_keras_object(config["inner_optimizer"], custom_objects=custom_objects)
        return cls(inner, **{k: v for k, v in config.items() if k != "inner_optimizer"})
