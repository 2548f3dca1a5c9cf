"""Resizing, CenterCrop, RandomCrop."""

from __future__ import annotations

import random
from typing import Any

from graphkeras import ops
from graphkeras.core.dtypes import is_float_dtype
from graphkeras.layers.preprocessing.image.base import ImageLayer
from graphkeras.ops.base import apply, to_tensor


class Resizing(ImageLayer):
    """Resizes images. Integer images stay integers.

    Args:
        height, width: size of the output.
        interpolation: "bilinear", "nearest", "bicubic", "lanczos3" or "lanczos5".
        crop_to_aspect_ratio: cut the image to the target's proportions first, instead of distorting it.
        pad_to_aspect_ratio: pad it to them first.
        fill_mode: "constant", for padding.
        fill_value: value of the padding.
        antialias: smooth before making smaller.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Resizing(4, 6)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 4, 6, 3)
    """

    CONFIG = (
        "height",
        "width",
        "interpolation",
        "crop_to_aspect_ratio",
        "pad_to_aspect_ratio",
        "fill_mode",
        "fill_value",
        "antialias",
    )

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.store(
            height=height,
            width=width,
            interpolation=interpolation,
            crop_to_aspect_ratio=crop_to_aspect_ratio,
            pad_to_aspect_ratio=pad_to_aspect_ratio,
            fill_mode=fill_mode,
            fill_value=fill_value,
            antialias=bool(antialias),
        )

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        return self._resize(images, self.interpolation)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        return self._resize(segmentation_masks, "nearest")

    def _resize(self, images: Any, interpolation: str) -> Any:
        resized = ops.image.resize(
            images,
            (self.height, self.width),
            interpolation=interpolation,
            antialias=self.antialias,
            crop_to_aspect_ratio=self.crop_to_aspect_ratio,
            pad_to_aspect_ratio=self.pad_to_aspect_ratio,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )
        if resized.dtype == images.dtype:
            return resized
        return resized if is_float_dtype(images.dtype) else ops.saturate_cast(ops.round(resized), images.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.with_size(input_shape, self.height, self.width)


class CenterCrop(ImageLayer):
    """Cuts out the middle of each image. Smaller images are cropped to the target's proportions and enlarged.

    Args:
        height, width: size of the output.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.CenterCrop(4, 6)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 4, 6, 3)
    """

    CONFIG = ("height", "width")

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.store(height=height, width=width)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        down = images.shape[self.height_axis] - self.height
        right = images.shape[self.width_axis] - self.width
        if down >= 0 and right >= 0:
            return self.window(images, down // 2, right // 2)
        return self.smart_resize(images)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        return self.transform_images(segmentation_masks, transformation, training=training)

    def window(self, images: Any, top: Any, left: Any) -> Any:
        """The part of the target's size that begins at (top, left): ints, or scalar tensors."""
        starts: list[Any] = [0] * len(images.shape)
        sizes = list(images.shape)
        starts[self.height_axis], starts[self.width_axis] = top, left
        sizes[self.height_axis], sizes[self.width_axis] = self.height, self.width
        scalars = [to_tensor(s, "int32") for s in starts]
        return apply("dynamic_slice", to_tensor(images), *scalars, sizes=tuple(sizes))

    def smart_resize(self, images: Any) -> Any:
        """Resized without distortion: cropped to the target's proportions first."""
        size = (self.height, self.width)
        resized = ops.image.resize(images, size, crop_to_aspect_ratio=True, data_format=self.data_format)
        return ops.cast(resized, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.with_size(input_shape, self.height, self.width)


class RandomCrop(CenterCrop):
    """Cuts out a random part during training, the same for all images of a batch; the middle otherwise.

    Images that are smaller than the target in one direction, and all images outside training, are cropped to the
    target's proportions and resized.

    Args:
        height, width: size of the output.
        seed: int for reproducible crops.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomCrop(4, 6)(np.ones((2, 8, 8, 3), "float32"), training=True).shape
        (2, 4, 6, 3)
    """

    CONFIG = ("height", "width", "seed")

    def __init__(
        self,
        height: int,
        width: int,
        seed: Any = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(height, width, data_format=data_format, name=name, **kwargs)
        self.store_seed(random.randint(1, 10**9) if seed is None else seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        _, height, width = self.size_of(data)
        if not training or height <= self.height or width <= self.width:
            return None
        drawn = [
            self.draw(1, 0.0, float(size - target + 1), seed)
            for size, target in ((height, self.height), (width, self.width))
        ]
        return tuple(ops.cast(ops.reshape(x, ()), "int32") for x in drawn)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if transformation is not None:
            return self.window(images, *transformation)
        same = images.shape[self.height_axis] == self.height and images.shape[self.width_axis] == self.width
        return images if same else self.smart_resize(images)
