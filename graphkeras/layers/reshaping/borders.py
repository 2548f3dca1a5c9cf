"""Layers that add zeros around the spatial dimensions, or cut borders off."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.arguments import int_tuple, pairs, spatial_axes
from graphkeras.layers.configured import SpatialLayer
from graphkeras.layers.input_spec import InputSpec


class ZeroPadding(SpatialLayer):
    """Base of the zero padding layers; `padding` holds a pair (before, after) for each spatial dimension."""

    CONFIG = ("padding", "data_format")

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.padding: Any = pairs(padding, self.rank, "padding")
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def border(self) -> tuple[tuple[int, int], ...]:
        return self.padding

    def call(self, inputs: Any) -> Any:
        widths = [(0, 0)] * len(inputs.shape)
        for axis, pair in zip(spatial_axes(self.data_format, self.rank), self.border(), strict=True):
            widths[axis] = pair
        return ops.pad(inputs, widths)


class ZeroPadding1D(ZeroPadding, rank=1):
    """Adds zeros before and after sequences `(batch, steps, channels)`.

    Args:
        padding: number of zero steps on either side, or a pair (before, after).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ZeroPadding1D((1, 2))(np.ones((2, 4, 3), "float32")).shape
        (2, 7, 3)
    """

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        padding = int_tuple(padding, 2, "padding", allow_zero=True)
        super().__init__(padding=(padding,), data_format=data_format, **kwargs)
        self.padding = padding

    def border(self) -> tuple[tuple[int, int], ...]:
        return (self.padding,)


class ZeroPadding2D(ZeroPadding, rank=2):
    """Adds rows and columns of zeros around images.

    Args:
        padding: an int, a pair of ints (rows, columns) or a pair of pairs ((top, bottom), (left, right)).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ZeroPadding2D(((0, 1), (2, 0)))(np.ones((2, 4, 4, 3), "float32")).shape
        (2, 5, 6, 3)
    """

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding=padding, data_format=data_format, **kwargs)


class ZeroPadding3D(ZeroPadding, rank=3):
    """Adds planes of zeros around volumes.

    Args:
        padding: an int, three ints, or three pairs (before, after).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.ZeroPadding3D(1)(np.ones((2, 4, 4, 4, 3), "float32")).shape
        (2, 6, 6, 6, 3)
    """

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding=padding, data_format=data_format, **kwargs)


class Cropping(SpatialLayer):
    """Base of the cropping layers; `cropping` holds a pair (before, after) for each spatial dimension."""

    CONFIG = ("cropping", "data_format")

    def __init__(self, cropping: Any, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.cropping: Any = pairs(cropping, self.rank, "cropping")
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def border(self) -> tuple[tuple[int, int], ...]:
        return self.cropping

    def call(self, inputs: Any) -> Any:
        window = [slice(None)] * len(inputs.shape)
        for axis, (before, after) in zip(spatial_axes(self.data_format, self.rank), self.border(), strict=True):
            size = inputs.shape[axis]
            if before + after >= size:
                raise ValueError(self._too_small(inputs.shape))
            window[axis] = slice(before, size - after)
        return inputs[tuple(window)]

    def _too_small(self, shape: Any) -> str:
        return (
            f"Layer {self.name}: Values in `cropping` argument should be smaller than the corresponding spatial "
            f"dimension of the input. Received: input_shape={tuple(shape)}, cropping={self.cropping}"
        )


class Cropping1D(Cropping, rank=1):
    """Cuts steps off both ends of sequences `(batch, steps, channels)`.

    Args:
        cropping: number of steps cut off either end, or a pair (before, after).

    Raises:
        ValueError: if nothing of the sequence is left.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Cropping1D((1, 2))(np.ones((2, 6, 3), "float32")).shape
        (2, 3, 3)
    """

    CONFIG = ("cropping",)

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        cropping = int_tuple(cropping, 2, "cropping", allow_zero=True)
        super().__init__(cropping=(cropping,), data_format="channels_last", **kwargs)
        self.cropping = cropping

    def border(self) -> tuple[tuple[int, int], ...]:
        return (self.cropping,)

    def _too_small(self, shape: Any) -> str:
        return (
            f"`cropping` parameter of `Cropping1D` layer must be smaller than the input length. Layer {self.name} "
            f"received: inputs.shape={tuple(shape)}, cropping={self.cropping}"
        )


class Cropping2D(Cropping, rank=2):
    """Cuts rows and columns off images.

    Args:
        cropping: an int, a pair of ints (rows, columns) or a pair of pairs ((top, bottom), (left, right)).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: if nothing of the image is left.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Cropping2D(((0, 1), (2, 0)))(np.ones((2, 6, 6, 3), "float32")).shape
        (2, 5, 4, 3)
    """

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping=cropping, data_format=data_format, **kwargs)


class Cropping3D(Cropping, rank=3):
    """Cuts planes off volumes.

    Args:
        cropping: an int, three ints, or three pairs (before, after).
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: if nothing of the volume is left.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Cropping3D(1)(np.ones((2, 4, 4, 4, 3), "float32")).shape
        (2, 2, 2, 2, 3)
    """

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping=cropping, data_format=data_format, **kwargs)
