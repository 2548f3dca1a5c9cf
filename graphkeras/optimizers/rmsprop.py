"""RMSprop: steps divided by the root of a running mean of squared gradients."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class RMSprop(Optimizer):
    """`v = rho * v + (1 - rho) * g**2; w -= rate * g / sqrt(v + epsilon)` (Tieleman and Hinton 2012).

    Args:
        learning_rate: float, schedule or function.
        rho: decay of the running mean.
        momentum: momentum of the steps.
        epsilon: keeps the divisor away from 0.
        centered: divide by the root of the variance instead, using a running mean of gradients.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.RMSprop(learning_rate=0.1)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.6838, -1.6838]
    """

    _arguments = ("rho", "momentum", "epsilon", "centered")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
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
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        self._momentums = self.add_optimizer_variables(variables, "momentum") if self.momentum > 0 else []
        self._average_gradients = self.add_optimizer_variables(variables, "average_gradient") if self.centered else []

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        velocity = self._velocities[index]
        mean_square = self.rho * velocity + (1 - self.rho) * ops.square(gradient)
        self.assign(velocity, mean_square)
        spread = mean_square
        if self.centered:
            average = self._average_gradients[index]
            mean = self.rho * average + (1 - self.rho) * gradient
            self.assign(average, mean)
            spread = mean_square - ops.square(mean)
        step = rate * gradient / ops.sqrt(spread + self.epsilon)
        if self.momentum > 0:
            momentum = self._momentums[index]
            step = self.momentum * momentum + step
            self.assign(momentum, step)
        self.assign_sub(variable, step)
