"""Schedule-free AdamW."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class ScheduleFreeAdamW(Optimizer):
    """AdamW whose averaging takes the place of a learning-rate schedule (Defazio et al. 2024).

    The variables hold `y = (1 - beta_1) * z + beta_1 * x`; gradients are taken there, `z` takes Adam's steps without
    momentum, and `x` is the mean of all `z`.

    Args:
        learning_rate: float, schedule or function.
        beta_1: weight of the average in `y`.
        beta_2: decay of the mean of squares.
        epsilon: keeps the divisor away from 0.
        warmup_steps: steps over which the rate grows from 0.

    Further arguments: see `Optimizer`.
    """

    _arguments = ("beta_1", "beta_2", "epsilon", "warmup_steps")

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
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
        super().__init__(**shared(locals()))
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.warmup_steps = warmup_steps

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        for z, variable in zip(self._momentums, variables, strict=True):
            if z is not None:
                self.assign(z, variable.value)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        if self.warmup_steps > 0:
            rate = rate * ops.minimum(step / self.warmup_steps, 1.0)
        z, v = self._momentums[index], self._velocities[index]
        new_v = v + (ops.square(gradient) - v) * (1 - self.beta_2)
        unbias = 1 / (1 - ops.power(self.beta_2, step))
        new_z = z - rate * gradient / (ops.sqrt(new_v * unbias) + self.epsilon)
        x = (variable - (1 - self.beta_1) * z) / self.beta_1
        weight = 1.0 / step
        new_x = (1 - weight) * x + weight * new_z
        self.assign(v, new_v)
        self.assign(z, new_z)
        self.assign(variable, (1 - self.beta_1) * new_z + self.beta_1 * new_x)
