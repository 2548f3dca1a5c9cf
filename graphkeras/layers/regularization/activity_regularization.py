"""ActivityRegularization: a penalty on the values that pass through."""

from __future__ import annotations

from typing import Any

from graphkeras import regularizers
from graphkeras.layers.configured import ConfiguredLayer


class ActivityRegularization(ConfiguredLayer):
    """Passes its inputs on and adds `(l1 * sum|x| + l2 * sum x**2) / batch` to the loss.

    Args:
        l1, l2: the two factors, not negative.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.ActivityRegularization(l1=0.5)
        >>> _ = layer(np.ones((2, 3), "float32"))
        >>> float(layer.losses[0])
        1.5
    """

    CONFIG = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.store(l1=l1, l2=l2)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return config
