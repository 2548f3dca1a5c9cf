"""`optimizers.legacy` of Keras 2: the names exist, and say what to use instead."""

from __future__ import annotations

from typing import Any


class LegacyOptimizerWarning:
    """Raises on use: Keras 3 has no legacy optimizers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            "`optimizers.legacy` belongs to Keras 2 and is not supported in Keras 3. Use the optimizer of the same "
            "name in `optimizers`, with `learning_rate` for `lr` and a schedule for `decay`."
        )


Adagrad = Adam = Ftrl = Optimizer = RMSprop = SGD = LegacyOptimizerWarning
