"""RandomContrast, RandomBrightness."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.preprocessing.image.base import ImageLayer


class RandomContrast(ImageLayer):
    """Moves each channel's values away from, or towards, its mean by a random factor during training.

    `(x - mean) * factor + mean`, one factor per image, then clipped to the value range.

    Args:
        factor: a number f for factors in `[1 - f, 1 + f]`, or a pair (a, b) for `[1 - a, 1 + b]`.
        value_range: lowest and highest value of the images.
        seed: int for reproducible factors.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomContrast(0.2)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("factor", "value_range", "seed")
    FACTOR_BOUNDS = (0, 1)

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = self.factor_range(factor)
        self.value_range = value_range
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, _, _ = self.size_of(data)
        factor = self.draw(batch, 1.0 - self.factor[0], 1.0 + self.factor[1], seed)
        return {"contrast_factor": ops.reshape(factor, (batch, 1, 1, 1))}

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if not training or transformation is None:
            return images
        factor = ops.cast(transformation["contrast_factor"], images.dtype)
        mean = ops.mean(images, axis=(self.height_axis, self.width_axis), keepdims=True)
        return ops.clip((images - mean) * factor + mean, *self.value_range)


class RandomBrightness(ImageLayer):
    """Adds a random number to each image during training.

    Args:
        factor: a number f for sums in `[-f, f]` times the width of the value range, or a pair.
        value_range: lowest and highest value of the images; results are clipped to it.
        seed: int for reproducible sums.

    Raises:
        ValueError: if the factor lies outside [-1, 1], or the range is no pair.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.RandomBrightness((0.1, 0.1), value_range=(0, 1))
        >>> float(layer(np.zeros((1, 2, 2, 3), "float32"))[0, 0, 0, 0]) > 0.09
        True
    """

    CONFIG = ("factor", "value_range", "seed")

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = self.factor_range(factor)
        if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
            raise ValueError(
                f"The `value_range` argument should be a list of two numbers. Received: value_range={value_range}"
            )
        self.value_range = sorted(value_range)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, _, _ = self.size_of(data)
        delta = self.draw(batch, *self.factor, seed) * (self.value_range[1] - self.value_range[0])
        return {"rgb_delta": ops.reshape(delta, (batch, 1, 1, 1))}

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if not training or transformation is None:
            return images
        return ops.clip(images + ops.cast(transformation["rgb_delta"], images.dtype), *self.value_range)
