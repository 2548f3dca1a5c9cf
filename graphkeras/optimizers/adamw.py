"""AdamW."""

from __future__ import annotations

from typing import Any

from graphkeras.optimizers.adam import Adam


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Args:
        learning_rate: float, schedule or function.
        weight_decay: each step subtracts `weight_decay * learning_rate * w`.
        beta_1, beta_2, epsilon, amsgrad: see `Adam`.

    Further arguments: see `Optimizer`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> optimizer = keras.optimizers.AdamW(learning_rate=0.1, weight_decay=0.01)
    >>> variable = keras.Variable(np.array([1.0, -2.0]))
    >>> optimizer.apply([np.array([0.5, -0.5])], [variable])
    >>> np.round(variable.numpy(), 4).tolist()
    [0.899, -1.898]
    """

    _arguments = ("beta_1", "beta_2", "epsilon", "amsgrad")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
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
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )
        if self.weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None. Use Adam for none.")
