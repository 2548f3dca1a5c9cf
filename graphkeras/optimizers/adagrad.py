"""Adagrad."""

from __future__ import annotations

from typing import Any

from graphkeras import initializers, ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Adagrad(Optimizer):
    """`a += g**2; w -= rate * g / sqrt(a + epsilon)` (Duchi et al. 2011).

    Args:
        learning_rate: float, schedule or function.
        initial_accumulator_value: first value of `a`, not negative.
        epsilon: keeps the divisor away from 0.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.Adagrad(learning_rate=0.1)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.9155, -1.9155]
    """

    _arguments = ("initial_accumulator_value", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
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
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        start = initializers.Constant(self.initial_accumulator_value)
        self._accumulators = self.add_optimizer_variables(variables, "accumulator", initializer=start)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        accumulator = self._accumulators[index]
        total = accumulator + ops.square(gradient)
        self.assign(accumulator, total)
        self.assign_sub(variable, rate * gradient / ops.sqrt(total + self.epsilon))
