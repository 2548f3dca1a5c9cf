"""Solarization, RandomInvert, RandomPosterization, RandomColorDegeneration, RandomSharpness."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.layers.preprocessing.image.color_space import FactorLayer


class ToneLayer(FactorLayer):
    """Base: one factor per image, drawn during training; `changed` says what it does to the images."""

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        return {"factor": self.factors(data, *self.factor, seed)} if training else None

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if not training or transformation is None:
            return images
        return self.changed(images, transformation)

    def changed(self, images: Any, transformation: Any) -> Any:
        """The images, of the compute dtype, after the transformation."""
        raise NotImplementedError

    def to_bytes(self, images: Any) -> Any:
        """From the value range to 0 ... 255."""
        low, high = self.value_range
        return (images - low) * (255.0 / (high - low))

    def from_bytes(self, images: Any) -> Any:
        low, high = self.value_range
        return images * ((high - low) / 255.0) + low


class Solarization(ToneLayer):
    """Inverts what is brighter than a threshold, during training; before that a number is added.

    Args:
        addition_factor: what is added, as a share of 255: a number f is drawn from `[0, f]`, or a pair.
        threshold_factor: the threshold, likewise.
        value_range: lowest and highest value of the images.
        seed: int for reproducible draws.

    Raises:
        ValueError: if a factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Solarization(threshold_factor=(0.5, 0.5))(np.array([[[10.0], [250.0]]], "float32")).tolist()
        [[[10.0], [5.0]]]
    """

    CONFIG = ("addition_factor", "threshold_factor", "value_range", "seed")

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = (0, 255),
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(0.0, value_range=value_range, seed=seed, **kwargs)
        self.addition_factor = self.factor_range(addition_factor, "addition_factor")
        self.threshold_factor = self.factor_range(threshold_factor, "threshold_factor")

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        ranges = {"additions": self.addition_factor, "thresholds": self.threshold_factor}
        return {name: self.factors(data, low * 255.0, high * 255.0, seed) for name, (low, high) in ranges.items()}

    def changed(self, images: Any, transformation: Any) -> Any:
        additions, thresholds = (ops.cast(transformation[n], images.dtype) for n in ("additions", "thresholds"))
        x = ops.clip(self.to_bytes(images) + additions, 0, 255)
        return self.from_bytes(ops.where(x < thresholds, x, 255 - x))


class RandomInvert(ToneLayer):
    """Turns images into their negatives at random, during training.

    Args:
        factor: probability: a number f is drawn from `[0, f]`, or a pair.
        value_range: lowest and highest value of the images.
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for reproducible choices.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomInvert((1.0, 1.0))(np.array([[[10.0], [250.0]]], "float32")).tolist()
        [[[245.0], [5.0]]]
    """

    def __init__(self, factor: Any = 1.0, **kwargs: Any) -> None:
        super().__init__(factor, **kwargs)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        chance = self.factors(data, *self.factor, seed)
        return {"apply_inversion": self.factors(data, 0.0, 1.0, seed) < chance}

    def changed(self, images: Any, transformation: Any) -> Any:
        return ops.where(transformation["apply_inversion"], self.value_range[1] - images, images)


class RandomPosterization(ToneLayer):
    """Keeps only the highest bits of each value, during training.

    Args:
        factor: bits, from 1 to 8: an integer, or a pair from which the number is drawn (the second excluded).
        value_range: lowest and highest value of the images.
        data_format, seed: see `RandomInvert`.

    Raises:
        ValueError: if the factor lies outside [1, 8].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomPosterization((1, 1))(np.array([[[10.0], [250.0]]], "float32")).tolist()
        [[[0.0], [128.0]]]
    """

    FACTOR_BOUNDS = (1, 8)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, _, _ = self.size_of(data)
        low, high = self.factor
        bits = ops.full((batch,), low, dtype="int32")
        if low != high:
            bits = gk_random.randint((batch,), low, high, seed=self.generator if seed is None else seed)
        return {"shift_factor": ops.reshape(8 - bits, (batch, 1, 1, 1))}

    def changed(self, images: Any, transformation: Any) -> Any:
        shift = ops.cast(transformation["shift_factor"], "int32")
        x = ops.cast(ops.clip(self.to_bytes(images), 0, 255), "int32")
        x = ops.bitwise_left_shift(ops.bitwise_right_shift(x, shift), shift)
        return self.from_bytes(ops.cast(x, self.compute_dtype))


class RandomColorDegeneration(ToneLayer):
    """Mixes images with their grey versions, during training.

    Args:
        factor: share of grey: a number f is drawn from `[0, f]`, or a pair.
        value_range: lowest and highest value of the images.
        data_format, seed: see `RandomInvert`.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomColorDegeneration(0.5)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    def changed(self, images: Any, transformation: Any) -> Any:
        grey = ops.image.rgb_to_grayscale(images, data_format=self.data_format)
        factor = ops.cast(transformation["factor"], images.dtype)
        return ops.clip(images + factor * (grey - images), *self.value_range)


class RandomSharpness(ToneLayer):
    """Blurs or sharpens images at random, during training.

    Args:
        factor: 0 is blurred, 0.5 changes nothing, 1 is sharpened: a number f is drawn from `[0, f]`, or a pair.
        value_range: lowest and highest value of the images.
        data_format, seed: see `RandomInvert`.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Blurring is a 3 x 3 mean in which the pixel itself counts five times, with zeros around the image.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomSharpness((0.5, 0.5))(np.eye(3, dtype="float32")[..., None])[:, :, 0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def changed(self, images: Any, transformation: Any) -> Any:
        first = self.data_format == "channels_first"
        x = ops.transpose(images, (0, 2, 3, 1)) if first else images
        kernel = np.ones((3, 3, 1, 1), "float32") / 13.0
        kernel[1, 1] *= 5.0
        kernel = ops.cast(ops.tile(kernel, (1, 1, x.shape[-1], 1)), x.dtype)
        smooth = ops.depthwise_conv(x, kernel, strides=1, padding="same", data_format="channels_last")
        factor = ops.cast(2.0 * transformation["factor"], x.dtype)
        x = ops.clip(x + (1.0 - factor) * (smooth - x), *self.value_range)
        return ops.transpose(x, (0, 3, 1, 2)) if first else x
