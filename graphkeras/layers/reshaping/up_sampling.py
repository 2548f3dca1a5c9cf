"""Layers that enlarge the spatial dimensions by whole factors."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.arguments import int_tuple, positive_int, spatial_axes
from graphkeras.layers.configured import SpatialLayer
from graphkeras.layers.input_spec import InputSpec


class UpSampling(SpatialLayer):
    """Base: repeats each element `size[i]` times along spatial dimension i."""

    CONFIG = ("size", "data_format")
    PER_DIMENSION = ("size",)

    def __init__(self, size: Any = 2, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.size: Any = int_tuple(size, self.rank, "size")
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs: Any) -> Any:
        factors = self.size if isinstance(self.size, tuple) else (self.size,)
        for axis, factor in zip(spatial_axes(self.data_format, self.rank), factors, strict=True):
            inputs = ops.repeat(inputs, factor, axis=axis)
        return inputs


class UpSampling1D(UpSampling, rank=1):
    """Repeats each step of sequences `(batch, steps, channels)`.

    Args:
        size: number of copies of each step.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.UpSampling1D(3)(np.ones((2, 4, 3), "float32")).shape
        (2, 12, 3)
    """

    CONFIG = ("size",)

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(size=positive_int(size, "size", "UpSampling1D"), data_format="channels_last", **kwargs)
        self.size = int(size)


class UpSampling2D(UpSampling, rank=2):
    """Enlarges images by whole factors.

    Args:
        size: factor for rows and columns, an int or a pair.
        data_format: "channels_last" or "channels_first"; default the configured one.
        interpolation: "nearest" (copies), "bilinear", "bicubic", "lanczos3" or "lanczos5".

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.UpSampling2D((2, 3), interpolation="bilinear")(np.ones((2, 4, 4, 3), "float32")).shape
        (2, 8, 12, 3)
    """

    CONFIG = ("size", "data_format", "interpolation")

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(size=size, data_format=data_format, **kwargs)
        self.interpolation = interpolation.lower()

    def call(self, inputs: Any) -> Any:
        if self.interpolation == "nearest":
            return super().call(inputs)
        axes = spatial_axes(self.data_format, 2)
        target = tuple(inputs.shape[a] * factor for a, factor in zip(axes, self.size, strict=True))
        return ops.image.resize(inputs, target, interpolation=self.interpolation, data_format=self.data_format)


class UpSampling3D(UpSampling, rank=3):
    """Repeats the elements of volumes along their three spatial dimensions.

    Args:
        size: factor, an int or three of them.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.UpSampling3D(2)(np.ones((2, 2, 2, 2, 3), "float32")).shape
        (2, 4, 4, 4, 3)
    """
