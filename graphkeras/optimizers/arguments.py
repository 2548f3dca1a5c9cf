"""Checks of optimizers' arguments."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graphkeras.core.config import floatx
from graphkeras.core.variable import Variable

SHARED = (
    "learning_rate",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "name",
)
"""What every optimizer takes."""


def shared(given: dict[str, Any]) -> dict[str, Any]:
    """Those of a constructor's arguments (its `locals()`) that are for the constructor of `Optimizer`."""
    return {name: given[name] for name in SHARED} | given["kwargs"]


def rate_variable(learning_rate: Any) -> Variable:
    if isinstance(learning_rate, bool) or not isinstance(learning_rate, (float, int, np.floating, np.integer)):
        raise ValueError(
            "Argument `learning_rate` should be float, or an instance of LearningRateSchedule, or a callable (that "
            f"returns the learning rate). Received instead: learning_rate={learning_rate!r}"
        )
    return Variable(float(learning_rate), name="learning_rate", dtype=floatx(), trainable=False)


def check_arguments(
    kwargs: dict[str, Any], clipnorm: Any, clipvalue: Any, global_clipnorm: Any, accumulation: Any
) -> None:
    if kwargs.pop("decay", None) is not None:
        warnings.warn("Argument `decay` is no longer supported and will be ignored. Use a schedule.", stacklevel=4)
    if kwargs:
        hint = " Use `learning_rate` instead of `lr`." if "lr" in kwargs else ""
        raise ValueError(f"Argument(s) not recognized: {kwargs}.{hint}")
    if sum(a is not None for a in (clipnorm, clipvalue, global_clipnorm)) > 1:
        raise ValueError(
            "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: "
            f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
        )
    if accumulation and accumulation < 2:
        raise ValueError(
            "`gradient_accumulation_steps` must be an integer >= 2. "
            f"Received: gradient_accumulation_steps={accumulation}"
        )


def check_ema(momentum: float, frequency: Any) -> None:
    if not 0 <= momentum <= 1:
        raise ValueError(f"`ema_momentum` must be in the range [0, 1]. Received: ema_momentum={momentum}")
    if frequency and (not isinstance(frequency, int) or frequency < 1):
        raise ValueError(
            f"`ema_overwrite_frequency` must be an integer >= 1 or None. Received: ema_overwrite_frequency={frequency}"
        )


def check_count(argument: str, received: int, expected: int, what: str) -> None:
    if received != expected:
        raise ValueError(
            f"Argument `{argument}` must be a list of tensors corresponding 1:1 to {what}. Received list with length "
            f"{received}, but expected {expected} variables."
        )
