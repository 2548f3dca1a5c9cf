"""Adamax: Adam with the infinity norm."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Adamax(Optimizer):
    """Adam with the largest past gradient in place of the mean of squares (Kingma and Ba 2015, section 7).

    `u = max(beta_2 * u, |g|); w -= rate * m / ((1 - beta_1**t) * (u + epsilon))`.

    Args:
        learning_rate: float, schedule or function.
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squares.
        epsilon: keeps the divisor away from 0.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.Adamax(learning_rate=0.1)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.9, -1.9]
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
        self._m, self._u = self.add_optimizer_variables(variables, ["momentum", "norm"])

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        alpha = rate / (1 - ops.power(self.beta_1, ops.cast(self.iterations + 1, dtype)))
        m, u = self._m[index], self._u[index]
        new_m = m + (gradient - m) * (1 - self.beta_1)
        new_u = ops.maximum(u * self.beta_2, ops.abs(gradient))
        self.assign(m, new_m)
        self.assign(u, new_u)
        self.assign_sub(variable, alpha * new_m / (new_u + self.epsilon))
