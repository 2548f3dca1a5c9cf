"""RandomFlip, RandomRotation, RandomZoom, RandomTranslation."""

from __future__ import annotations

import math
from typing import Any

from graphkeras import ops
from graphkeras.layers.preprocessing.image.base import AffineLayer, ImageLayer, affine_matrix

FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")


class RandomFlip(ImageLayer):
    """Mirrors each image at random during training, with probability 1/2 per direction.

    Args:
        mode: "horizontal" (left and right), "vertical" (top and bottom) or "horizontal_and_vertical".
        seed: int for reproducible flips.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: for another mode.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> image = np.arange(4, dtype="float32").reshape(2, 2, 1)
        >>> sorted(np.asarray(layers.RandomFlip(seed=1)(image)).ravel().tolist())
        [0.0, 1.0, 2.0, 3.0]
    """

    CONFIG = ("seed", "mode")

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: Any = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        if mode not in FLIPS:
            raise ValueError(f"Argument `mode` of RandomFlip should be one of {FLIPS}. Received: mode={mode}")
        self.mode = mode
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, height, width = self.size_of(data)
        flips = {}
        for direction in ("horizontal", "vertical"):
            if direction in self.mode:
                drawn = self.draw(batch, 0.0, 1.0, seed)
                flips[direction] = ops.reshape(ops.less_equal(drawn, 0.5), (batch, 1, 1, 1))
        return {"flips": flips, "input_shape": (batch, height, width)}

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if not training or transformation is None:
            return images
        for direction, axis in (("horizontal", self.width_axis), ("vertical", self.height_axis)):
            if direction in transformation["flips"]:
                images = ops.where(transformation["flips"][direction], ops.flip(images, axis=axis), images)
        return images

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        return self.transform_images(segmentation_masks, transformation, training=training)


class RandomRotation(AffineLayer):
    """Rotates each image by a random angle during training.

    Args:
        factor: fraction of a full turn: a number f for angles in `[-f * 360, f * 360]` degrees, or a pair for another
            range. Positive angles are counter-clockwise.
        fill_mode: what lies outside: "reflect", "wrap", "constant" or "nearest".
        interpolation: "bilinear" or "nearest".
        seed: int for reproducible angles.
        fill_value: value outside for "constant".
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: if the factor lies outside [-1, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomRotation(0.1)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("factor", "fill_mode", "fill_value", "interpolation", "seed")

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor = self.factor_range(factor)
        self.store_filling(fill_mode, interpolation, fill_value)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, height, width = self.size_of(data)
        angle = self.draw(batch, *(2 * math.pi * f for f in self.factor), seed)
        cos, sin = ops.cos(angle), ops.sin(angle)
        cx, cy = (width - 1) / 2, (height - 1) / 2  # the centre stays
        transform = affine_matrix(cos, -sin, cx - cx * cos + cy * sin, sin, cos, cy - cx * sin - cy * cos)
        return {"angle": angle, "transform": transform, "input_shape": (batch, height, width)}


class RandomZoom(AffineLayer):
    """Zooms each image in or out by a random factor during training.

    Args:
        height_factor: relative change of the part of the height that is seen: a number f for `[-f, f]`, or a pair.
            Positive values zoom out.
        width_factor: the same for the width; None keeps the proportions.
        fill_mode, interpolation, seed, fill_value, data_format: see `RandomRotation`.

    Raises:
        ValueError: if a factor lies outside (-1, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomZoom(0.2)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("height_factor", "width_factor", "fill_mode", "interpolation", "seed", "fill_value")

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.height_lower, self.height_upper = self.factor_range(height_factor, "height_factor")
        if width_factor is not None:
            self.width_lower, self.width_upper = self.factor_range(width_factor, "width_factor")
        self.store_filling(fill_mode, interpolation, fill_value)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, height, width = self.size_of(data)
        tall = wide = self.draw(batch, 1.0 + self.height_lower, 1.0 + self.height_upper, seed)
        if self.width_factor is not None:
            wide = self.draw(batch, 1.0 + self.width_lower, 1.0 + self.width_upper, seed)
        zero = ops.zeros_like(wide)
        transform = affine_matrix(wide, zero, (width - 1) / 2 * (1 - wide), zero, tall, (height - 1) / 2 * (1 - tall))
        return {
            "height_zoom": tall,
            "width_zoom": wide,
            "transform": transform,
            "input_shape": (batch, height, width),
        }


class RandomTranslation(AffineLayer):
    """Shifts each image by a random distance during training.

    Args:
        height_factor: shift downwards as a fraction of the height: a number f for `[-f, f]`, or a pair.
        width_factor: shift to the right as a fraction of the width.
        fill_mode, interpolation, seed, fill_value, data_format: see `RandomRotation`.

    Raises:
        ValueError: if a factor lies outside [-1, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomTranslation(0.2, 0.2)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("height_factor", "width_factor", "fill_mode", "interpolation", "seed", "fill_value")

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self.height_lower, self.height_upper = self.factor_range(height_factor, "height_factor")
        self.width_lower, self.width_upper = self.factor_range(width_factor, "width_factor")
        self.store_filling(fill_mode, interpolation, fill_value)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, height, width = self.size_of(data)
        down = self.draw(batch, self.height_lower, self.height_upper, seed) * height
        right = self.draw(batch, self.width_lower, self.width_upper, seed) * width
        one, zero = ops.ones_like(down), ops.zeros_like(down)
        return {
            "translations": ops.concatenate([right, down], axis=1),
            "transform": affine_matrix(one, zero, -right, zero, one, -down),
            "input_shape": (batch, height, width),
        }
