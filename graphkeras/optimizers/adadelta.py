"""Adadelta."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Adadelta(Optimizer):
    """Steps in the units of the weights: root mean square of past steps over that of gradients (Zeiler 2012).

    Args:
        learning_rate: float, schedule or function; 1.0 is the paper's form.
        rho: decay of the running means.
        epsilon: keeps roots away from 0.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.Adadelta(learning_rate=1.0)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.9986, -1.9986]
    """

    _arguments = ("rho", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
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
        self.rho = rho
        self.epsilon = epsilon

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        self._accumulated_grads, self._accumulated_delta_vars = self.add_optimizer_variables(
            variables, ["accumulated_grad", "accumulated_delta_var"]
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        squares, deltas = self._accumulated_grads[index], self._accumulated_delta_vars[index]
        new_squares = self.rho * squares + (1 - self.rho) * ops.square(gradient)
        delta = gradient * (ops.sqrt(deltas + self.epsilon) / ops.sqrt(new_squares + self.epsilon))
        self.assign(squares, new_squares)
        self.assign(deltas, self.rho * deltas + (1 - self.rho) * ops.square(delta))
        self.assign_sub(variable, rate * delta)
