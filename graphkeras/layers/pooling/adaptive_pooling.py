"""Adaptive pooling: windows chosen so that the output has a given size."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.arguments import is_integer
from graphkeras.layers.configured import SpatialLayer
from graphkeras.layers.input_spec import InputSpec


class BaseAdaptivePooling(SpatialLayer):
    """Base of the adaptive pooling layers; `POOL` is the name of the op."""

    CONFIG = ("output_size", "data_format")
    POOL: str

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if is_integer(output_size):
            output_size = (output_size,) * self.rank
        if not isinstance(output_size, (list, tuple)) or len(output_size) != self.rank:
            raise TypeError(
                f"`output_size` of layer {self.name} must be an integer or a tuple of {self.rank} integers. "
                f"Received: {output_size} of type {type(output_size)}"
            )
        self.output_size = tuple(output_size)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        pool = getattr(ops, self.POOL)
        return pool(inputs, output_size=self.output_size, data_format=self.data_format)


class AdaptiveMaxPooling(BaseAdaptivePooling):
    """Base of the layers that take maxima."""

    POOL = "adaptive_max_pool"


class AdaptiveAveragePooling(BaseAdaptivePooling):
    """Base of the layers that take means."""

    POOL = "adaptive_average_pool"


class AdaptiveMaxPooling1D(AdaptiveMaxPooling, rank=1):
    """The maxima of windows that divide sequences `(batch, steps, channels)` into about equal parts.

    Along an axis of size n the window i of m covers the positions from floor(i n / m) up to ceil((i + 1) n / m).

    Args:
        output_size: number of windows along each spatial axis, an int.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AdaptiveMaxPooling1D(4)(np.ones((2, 6, 3), "float32")).shape
        (2, 4, 3)
    """


class AdaptiveMaxPooling2D(AdaptiveMaxPooling, rank=2):
    """The maxima of windows that divide images `(batch, rows, columns, channels)` into about equal parts.

    Along an axis of size n the window i of m covers the positions from floor(i n / m) up to ceil((i + 1) n / m).

    Args:
        output_size: number of windows along each spatial axis, an int or a pair.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AdaptiveMaxPooling2D(4)(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 4, 4, 3)
    """


class AdaptiveMaxPooling3D(AdaptiveMaxPooling, rank=3):
    """The maxima of windows that divide volumes `(batch, depth, rows, columns, channels)` into about equal parts.

    Along an axis of size n the window i of m covers the positions from floor(i n / m) up to ceil((i + 1) n / m).

    Args:
        output_size: number of windows along each spatial axis, an int or three ints.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AdaptiveMaxPooling3D(4)(np.ones((2, 6, 6, 6, 3), "float32")).shape
        (2, 4, 4, 4, 3)
    """


class AdaptiveAveragePooling1D(AdaptiveAveragePooling, rank=1):
    """The means of windows that divide sequences `(batch, steps, channels)` into about equal parts.

    Along an axis of size n the window i of m covers the positions from floor(i n / m) up to ceil((i + 1) n / m).

    Args:
        output_size: number of windows along each spatial axis, an int.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AdaptiveAveragePooling1D(4)(np.ones((2, 6, 3), "float32")).shape
        (2, 4, 3)
    """


class AdaptiveAveragePooling2D(AdaptiveAveragePooling, rank=2):
    """The means of windows that divide images `(batch, rows, columns, channels)` into about equal parts.

    Along an axis of size n the window i of m covers the positions from floor(i n / m) up to ceil((i + 1) n / m).

    Args:
        output_size: number of windows along each spatial axis, an int or a pair.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AdaptiveAveragePooling2D(4)(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 4, 4, 3)
    """


class AdaptiveAveragePooling3D(AdaptiveAveragePooling, rank=3):
    """The means of windows that divide volumes `(batch, depth, rows, columns, channels)` into about equal parts.

    Along an axis of size n the window i of m covers the positions from floor(i n / m) up to ceil((i + 1) n / m).

    Args:
        output_size: number of windows along each spatial axis, an int or three ints.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AdaptiveAveragePooling3D(4)(np.ones((2, 6, 6, 6, 3), "float32")).shape
        (2, 4, 4, 4, 3)
    """
