"""Equalization, ContrastLimitedAdaptiveHistogramEqualization: spread the values of images evenly."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.preprocessing.image.color_space import ColorLayer


class HistogramLayer(ColorLayer):
    """Base: `spread` works on a batch with the channels last and values from 0 to 255."""

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        low, high = self.value_range
        x = (ops.cast(images, "float32") - low) * (255.0 / (high - low))
        if self.data_format == "channels_first":
            x = ops.transpose(self.spread(ops.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))
        else:
            x = self.spread(x)
        return ops.cast(x * ((high - low) / 255.0) + low, self.compute_dtype)

    def spread(self, x: Any) -> Any:
        raise NotImplementedError


class Equalization(HistogramLayer):
    """Gives each channel an even histogram over all images of the batch, during training.

    Args:
        value_range: lowest and highest value of the images.
        bins: of the histogram.
        data_format: "channels_last" or "channels_first"; default the configured one.

    A channel of one value stays as it is.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Equalization()(np.array([[[100.0], [101.0], [102.0], [103.0]]], "float32")).tolist()
        [[[0.0], [85.0], [170.0], [255.0]]]
    """

    CONFIG = ("value_range", "bins")

    def __init__(
        self, value_range: Any = (0, 255), bins: int = 256, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.bins = bins
        self.store_range(value_range)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        return super().transform_images(images, transformation, training) if training else images

    def spread(self, x: Any) -> Any:
        bins = self.bins
        index = ops.cast(ops.clip(x * ((bins - 1) / 255.0), 0, bins - 1), "int32")
        channels = [self._channel(x[..., c], index[..., c]) for c in range(x.shape[-1])]
        return ops.stack(channels, axis=-1)

    def _channel(self, x: Any, index: Any) -> Any:
        ones = ops.ones((x.size,), dtype="float32")
        counts = ops.segment_sum(ones, ops.reshape(index, (-1,)), num_segments=self.bins)
        total = ops.cumsum(counts)
        first = ops.min(ops.where(total > 0, total, float(x.size)))  # of the lowest value that occurs
        even = ops.round((total - first) * 255.0 / ops.maximum(x.size - first, 1.0))
        single = ops.sum(ops.cast(counts > 0, "int32")) <= 1
        return ops.where(single, x, ops.take(ops.clip(even, 0, 255), index))


class ContrastLimitedAdaptiveHistogramEqualization(HistogramLayer):
    """Equalizes tile by tile with bounded histograms, and interpolates between the tiles (Zuiderveld 1994).

    Args:
        value_range: lowest and highest value of the images.
        clip_limit: largest count of a bin, in multiples of the mean count; what is above is spread over all bins.
        tile_grid_size: tiles per column and per row.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2))
        >>> layer(np.random.default_rng(0).uniform(0, 255, size=(1, 8, 8, 3))).shape
        (1, 8, 8, 3)
    """

    CONFIG = ("value_range", "clip_limit", "tile_grid_size")

    def __init__(
        self,
        value_range: Any = (0, 255),
        clip_limit: float = 4.0,
        tile_grid_size: Any = (8, 8),
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.store_range(value_range)
        self.clip_limit, self.tile_grid_size = clip_limit, tile_grid_size

    def spread(self, x: Any) -> Any:
        _, height, width, _ = x.shape
        grid = self.tile_grid_size
        tile = [-(-n // g) for n, g in zip((height, width), grid, strict=True)]
        more = [t * g - n for t, g, n in zip(tile, grid, (height, width), strict=True)]
        x = ops.pad(x, [(0, 0), (0, more[0]), (0, more[1]), (0, 0)], mode="symmetric") if any(more) else x
        index = ops.cast(ops.clip(x, 0, 255), "int32")
        curves = self._curves(index, tile)
        rows, columns = (_between(t, g) for t, g in zip(tile, grid, strict=True))
        result: Any = 0.0
        for row, row_weight in rows:
            for column, column_weight in columns:
                weight = row_weight[:, None, None] * column_weight[None, :, None]
                result = result + weight * self._looked_up(curves, index, row, column)
        return result[:, :height, :width, :]

    def _curves(self, index: Any, tile: list[int]) -> Any:
        """What 256 values become in each tile: (batch, rows, columns, channels, 256), the outer tiles twice."""
        (rows, columns), size = self.tile_grid_size, tile[0] * tile[1]
        batch, _, _, channels = index.shape
        tiles = ops.reshape(index, (batch, rows, tile[0], columns, tile[1], channels))
        tiles = ops.reshape(ops.transpose(tiles, (0, 1, 3, 5, 2, 4)), (batch * rows * columns * channels, size))
        segment = tiles + 256 * ops.arange(tiles.shape[0], dtype="int32")[:, None]
        ones = ops.ones((tiles.shape[0] * size,), dtype="float32")
        counts = ops.segment_sum(ones, ops.reshape(segment, (-1,)), num_segments=256 * tiles.shape[0])
        counts = ops.reshape(counts, (batch, rows, columns, channels, 256))
        if self.clip_limit > 0:
            limited = ops.minimum(counts, self.clip_limit * size / 256.0)
            counts = limited + ops.sum(counts - limited, axis=-1, keepdims=True) / 256.0
        total = ops.cumsum(counts, axis=-1)
        lowest = total[..., :1]
        span = size - lowest
        curves = ops.clip((total - lowest) * 255.0 / ops.where(span == 0, 1.0, span), 0, 255)
        curves = ops.concatenate([curves[:, :1], curves, curves[:, -1:]], axis=1)
        return ops.concatenate([curves[:, :, :1], curves, curves[:, :, -1:]], axis=2)

    def _looked_up(self, curves: Any, index: Any, row: Any, column: Any) -> Any:
        batch, rows, columns, channels, _ = curves.shape
        place = ops.arange(batch, dtype="int32")[:, None, None, None] * rows + row[None, :, None, None]
        place = place * columns + column[None, None, :, None]
        place = place * channels + ops.arange(channels, dtype="int32")
        return ops.take(ops.reshape(curves, (-1,)), place * 256 + index)


def _between(tile: int, count: int) -> list[tuple[Any, Any]]:
    """For each pixel along an axis of `count` tiles: the two tiles between whose middles it lies, and their weights.

    Tiles are numbered from 1; 0 and count + 1 are the outer ones once more.
    """
    place = (ops.arange(tile * count, dtype="float32") - tile / 2.0) / tile + 1.0
    low = ops.floor(place)
    share = place - low
    ends = (ops.cast(ops.clip(low + step, 0, count + 1), "int32") for step in (0.0, 1.0))
    return list(zip(ends, (1.0 - share, share), strict=True))
