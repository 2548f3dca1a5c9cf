"""Global pooling: the maximum or the mean over all spatial positions, channel by channel."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.arguments import spatial_axes
from graphkeras.layers.configured import SpatialLayer
from graphkeras.layers.input_spec import InputSpec


class BaseGlobalPooling(SpatialLayer):
    """Base of the global pooling layers; `REDUCE` is the name of the op."""

    CONFIG = ("data_format", "keepdims")
    REDUCE: str

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.keepdims = keepdims
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        reduce = getattr(ops, self.REDUCE)
        return reduce(inputs, axis=spatial_axes(self.data_format, self.rank), keepdims=self.keepdims)


class GlobalMaxPooling(BaseGlobalPooling):
    """Base of the layers that take maxima."""

    REDUCE = "max"


class GlobalAveragePooling(BaseGlobalPooling):
    """Base of the layers that take means."""

    REDUCE = "mean"


class GlobalMaxPooling1D(GlobalMaxPooling, rank=1):
    """The maximum over all positions of sequences: `(batch, steps, channels)` to `(batch, channels)`.

    Args:
        data_format: "channels_last" or "channels_first"; default the configured one.
        keepdims: whether the pooled axes stay, with size 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GlobalMaxPooling1D()(np.ones((2, 6, 3), "float32")).shape
        (2, 3)
    """


class GlobalMaxPooling2D(GlobalMaxPooling, rank=2):
    """The maximum over all positions of images: `(batch, rows, columns, channels)` to `(batch, channels)`.

    Args:
        data_format: "channels_last" or "channels_first"; default the configured one.
        keepdims: whether the pooled axes stay, with size 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GlobalMaxPooling2D()(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 3)
    """


class GlobalMaxPooling3D(GlobalMaxPooling, rank=3):
    """The maximum over all positions of volumes: `(batch, depth, rows, columns, channels)` to `(batch, channels)`.

    Args:
        data_format: "channels_last" or "channels_first"; default the configured one.
        keepdims: whether the pooled axes stay, with size 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GlobalMaxPooling3D()(np.ones((2, 6, 6, 6, 3), "float32")).shape
        (2, 3)
    """


class GlobalAveragePooling1D(GlobalAveragePooling, rank=1):
    """The mean over all positions of sequences: `(batch, steps, channels)` to `(batch, channels)`.

    Masked steps do not count.

    Call arguments:
        inputs: tensor.
        mask: optional bools `(batch, steps)`, True for the steps that count.

    Args:
        data_format: "channels_last" or "channels_first"; default the configured one.
        keepdims: whether the pooled axes stay, with size 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GlobalAveragePooling1D()(np.ones((2, 6, 3), "float32")).shape
        (2, 3)
    """

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, keepdims=keepdims, **kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return super().call(inputs)
        steps = 1 if self.data_format == "channels_last" else 2
        mask = ops.expand_dims(ops.cast(mask, "bool"), 3 - steps)
        total = ops.sum(ops.where(mask, inputs, 0), axis=steps, keepdims=self.keepdims)
        return ops.divide(total, ops.sum(ops.cast(mask, inputs.dtype), axis=steps, keepdims=self.keepdims))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class GlobalAveragePooling2D(GlobalAveragePooling, rank=2):
    """The mean over all positions of images: `(batch, rows, columns, channels)` to `(batch, channels)`.

    Args:
        data_format: "channels_last" or "channels_first"; default the configured one.
        keepdims: whether the pooled axes stay, with size 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GlobalAveragePooling2D()(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 3)
    """


class GlobalAveragePooling3D(GlobalAveragePooling, rank=3):
    """The mean over all positions of volumes: `(batch, depth, rows, columns, channels)` to `(batch, channels)`.

    Args:
        data_format: "channels_last" or "channels_first"; default the configured one.
        keepdims: whether the pooled axes stay, with size 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GlobalAveragePooling3D()(np.ones((2, 6, 6, 6, 3), "float32")).shape
        (2, 3)
    """
