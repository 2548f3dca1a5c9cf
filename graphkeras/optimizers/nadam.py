"""Nadam: Adam with Nesterov momentum."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import floatx
from graphkeras.core.variable import Variable
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Nadam(Optimizer):
    """Adam that looks one step of momentum ahead (Dozat 2016), with the schedule of momenta
    `u_t = beta_1 * (1 - 0.96**t / 2)`.

    Args:
        learning_rate: float, schedule or function.
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squares.
        epsilon: keeps the divisor away from 0.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.Nadam(learning_rate=0.1)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.8937, -1.8937]
    """

    _arguments = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
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

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        dtype = variables[0].dtype if variables else floatx()
        self._u_product = Variable(1.0, dtype=dtype, trainable=False)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        step = ops.cast(self.iterations + 1, self._u_product.dtype)
        self.assign(self._u_product, self._u_product * self._schedule(step))
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _schedule(self, step: Any) -> Any:
        return self.beta_1 * (1.0 - 0.5 * ops.power(0.96, step))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        now, then = self._schedule(step), self._schedule(step + 1)
        product = ops.cast(self._u_product, dtype)
        m, v = self._momentums[index], self._velocities[index]
        new_m = m + (gradient - m) * (1 - self.beta_1)
        new_v = v + (ops.square(gradient) - v) * (1 - self.beta_2)
        self.assign(m, new_m)
        self.assign(v, new_v)
        ahead = (then / (1 - product * then)) * new_m + ((1 - now) / (1 - product)) * gradient
        unbias = 1 / (1 - ops.power(self.beta_2, step))
        self.assign_sub(variable, rate * ahead / (ops.sqrt(new_v * unbias) + self.epsilon))
