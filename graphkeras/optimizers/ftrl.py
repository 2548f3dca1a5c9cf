"""FTRL-proximal."""

from __future__ import annotations

from typing import Any

from graphkeras import initializers, ops
from graphkeras.optimizers.arguments import shared
from graphkeras.optimizers.optimizer import Optimizer


class Ftrl(Optimizer):
    """ "Follow the regularized leader" (McMahan et al. 2013), with L2 shrinkage.

    Args:
        learning_rate: float, schedule or function.
        learning_rate_power: how fast the rate falls with the accumulated squares, 0 or less; 0 for a fixed rate.
        initial_accumulator_value: first value of the accumulator.
        l1_regularization_strength, l2_regularization_strength: penalties inside the update.
        l2_shrinkage_regularization_strength: penalty on the size of gradients' contributions.
        beta: the paper's beta.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.Ftrl(learning_rate=0.1)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.381, -0.8464]
    """

    _arguments = (
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
    )

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
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
        for argument, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("l1_regularization_strength", l1_regularization_strength),
            ("l2_regularization_strength", l2_regularization_strength),
            ("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength),
        ):
            if value < 0.0:
                raise ValueError(f"`{argument}` needs to be positive or zero. Received: {argument}={value}.")
        if learning_rate_power > 0.0:
            raise ValueError(
                "`learning_rate_power` needs to be negative or zero. "
                f"Received: learning_rate_power={learning_rate_power}."
            )
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta

    def build(self, variables: Any) -> None:
        if self.built:
            return
        super().build(variables)
        start = initializers.Constant(self.initial_accumulator_value)
        self._accumulators, self._linears = self.add_optimizer_variables(
            variables, ["accumulator", "linear"], initializer=[start, "zeros"]
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        rate = ops.cast(learning_rate, dtype)
        accumulator, linear = self._accumulators[index], self._linears[index]
        power = -self.learning_rate_power
        total = accumulator + ops.square(gradient)
        root = ops.power(total, power)
        pull = gradient + (2 * self.l2_shrinkage_regularization_strength) * variable
        new_linear = linear + pull - (root - ops.power(accumulator, power)) / rate * variable
        l2 = self.l2_regularization_strength + self.beta / (2.0 * rate)
        l1 = self.l1_regularization_strength
        self.assign(linear, new_linear)
        self.assign(variable, (ops.clip(new_linear, -l1, l1) - new_linear) / (root / rate + 2 * l2))
        self.assign(accumulator, total)
