"""Pooling over windows: the maximum or the mean of each window, channel by channel."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.arguments import int_tuple, padding_mode
from graphkeras.layers.configured import SpatialLayer
from graphkeras.layers.input_spec import InputSpec


class BasePooling(SpatialLayer):
    """Base of the pooling layers; `POOL` is the name of the op."""

    CONFIG = ("pool_size", "padding", "strides", "data_format")
    PER_DIMENSION = ("pool_size",)
    POOL: str

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = int_tuple(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else int_tuple(strides, self.rank, "strides")
        self.padding = padding_mode(padding)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        pool = getattr(ops, self.POOL)
        return pool(
            inputs,
            pool_size=self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )


class AveragePooling(BasePooling):
    """Base of the layers that take means; padded positions do not count."""

    POOL = "average_pool"


class MaxPooling(BasePooling):
    """Base of the layers that take maxima; windows cover 2 positions unless told otherwise."""

    POOL = "max_pool"

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling1D(MaxPooling, rank=1):
    """The maximum of each window of sequences `(batch, steps, channels)`, channel by channel.

    Args:
        pool_size: extent of the windows, an int; default 2.
        strides: distance between windows; default `pool_size`.
        padding: "valid" (only windows inside) or "same" (windows may overlap the border).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.MaxPooling1D(2)(np.ones((2, 6, 3), "float32")).shape
        (2, 3, 3)
    """


class MaxPooling2D(MaxPooling, rank=2):
    """The maximum of each window of images `(batch, rows, columns, channels)`, channel by channel.

    Args:
        pool_size: extent of the windows, an int or a pair; default (2, 2).
        strides: distance between windows; default `pool_size`.
        padding: "valid" (only windows inside) or "same" (windows may overlap the border).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.MaxPooling2D(2)(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 3, 3, 3)
    """


class MaxPooling3D(MaxPooling, rank=3):
    """The maximum of each window of volumes `(batch, depth, rows, columns, channels)`, channel by channel.

    Args:
        pool_size: extent of the windows, an int or three ints; default (2, 2, 2).
        strides: distance between windows; default `pool_size`.
        padding: "valid" (only windows inside) or "same" (windows may overlap the border).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.MaxPooling3D(2)(np.ones((2, 6, 6, 6, 3), "float32")).shape
        (2, 3, 3, 3, 3)
    """


class AveragePooling1D(AveragePooling, rank=1):
    """The mean of each window of sequences `(batch, steps, channels)`.

    Each channel is pooled by itself; padded positions do not count.

    Args:
        pool_size: extent of the windows, an int.
        strides: distance between windows; default `pool_size`.
        padding: "valid" (only windows inside) or "same" (windows may overlap the border).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AveragePooling1D(2)(np.ones((2, 6, 3), "float32")).shape
        (2, 3, 3)
    """


class AveragePooling2D(AveragePooling, rank=2):
    """The mean of each window of images `(batch, rows, columns, channels)`.

    Each channel is pooled by itself; padded positions do not count.

    Args:
        pool_size: extent of the windows, an int or a pair.
        strides: distance between windows; default `pool_size`.
        padding: "valid" (only windows inside) or "same" (windows may overlap the border).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AveragePooling2D(2)(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 3, 3, 3)
    """


class AveragePooling3D(AveragePooling, rank=3):
    """The mean of each window of volumes `(batch, depth, rows, columns, channels)`.

    Each channel is pooled by itself; padded positions do not count.

    Args:
        pool_size: extent of the windows, an int or three ints.
        strides: distance between windows; default `pool_size`.
        padding: "valid" (only windows inside) or "same" (windows may overlap the border).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AveragePooling3D(2)(np.ones((2, 6, 6, 6, 3), "float32")).shape
        (2, 3, 3, 3, 3)
    """
