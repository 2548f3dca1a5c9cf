"""RandomGrayscale, RandomSaturation, RandomHue, AutoContrast, MixUp, CutMix."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.layers.preprocessing.image.base import ImageLayer


class ColorLayer(ImageLayer):
    """Base: keeps a value range, and a factor from [0, 1]."""

    FACTOR_BOUNDS = (0, 1)

    def store_range(self, value_range: Any) -> None:
        if not isinstance(value_range, (tuple, list)) or len(value_range) != 2:
            raise ValueError(
                f"The `value_range` argument of {type(self).__name__} should be a list of two numbers. "
                f"Received: value_range={value_range}"
            )
        self.value_range = sorted(value_range)

    def channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    def to_unit(self, images: Any) -> Any:
        low, high = self.value_range
        return (ops.cast(images, self.compute_dtype) - low) / (high - low)

    def from_unit(self, images: Any) -> Any:
        low, high = self.value_range
        return ops.clip(images, 0.0, 1.0) * (high - low) + low

    def in_hsv(self, images: Any, change: Any) -> Any:
        """The images with `change(hue, saturation, value)` applied, each of which is within [0, 1]."""
        axis = self.channel_axis()
        hsv = ops.image.rgb_to_hsv(self.to_unit(images), data_format=self.data_format)
        changed = ops.concatenate(change(*ops.split(hsv, 3, axis=axis)), axis=axis)
        return self.from_unit(ops.image.hsv_to_rgb(changed, data_format=self.data_format))

    def factors(self, data: Any, low: float, high: float, seed: Any) -> Any:
        """One number per image, of shape (batch, 1, 1, 1)."""
        batch, _, _ = self.size_of(data)
        return ops.reshape(self.draw(batch, low, high, seed), (batch, 1, 1, 1))


class RandomGrayscale(ColorLayer):
    """Makes images grey at random during training; they keep their three channels.

    Args:
        factor: probability, from 0 to 1.
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for reproducible choices.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomGrayscale(1.0)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("factor",)

    def __init__(self, factor: float = 0.5, data_format: str | None = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        if factor < 0 or factor > 1:
            raise ValueError(f"`factor` of RandomGrayscale should be between 0 and 1. Received: factor={factor}")
        self.factor = factor
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        return {"grey": ops.less(self.factors(data, 0.0, 1.0, seed), self.factor)} if training else None

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        if not training or transformation is None:
            return images
        grey = ops.image.rgb_to_grayscale(images, data_format=self.data_format)
        return ops.where(transformation["grey"], grey, images)


class FactorLayer(ColorLayer):
    """Base: one factor per image."""

    CONFIG = ("factor", "value_range", "seed")

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor = self.factor_range(factor)
        self.store_range(value_range)
        self.store_seed(seed)


class RandomSaturation(FactorLayer):
    """Makes colours weaker or stronger at random during training.

    Args:
        factor: from [0, 1]; 0 is grey, 0.5 changes nothing, 1 is as strong as can be. A number f means `[0, f]`, a pair
            another range.
        value_range: lowest and highest value of the images.
        data_format, seed: see `RandomGrayscale`.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> grey = layers.RandomSaturation((0.0, 0.0))(np.array([[[200.0, 100.0, 0.0]]], "float32"))
        >>> np.asarray(grey).round().tolist()
        [[[200.0, 200.0, 200.0]]]
    """

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        drawn = self.factors(data, *self.factor, seed)
        return {"factor": drawn / (1 - drawn + 1e-7)}

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        if not training or transformation is None:
            return images
        factor = ops.cast(transformation["factor"], self.compute_dtype)
        return self.in_hsv(images, lambda h, s, v: [h, ops.clip(s * factor, 0.0, 1.0), v])


class RandomHue(FactorLayer):
    """Turns the colours along the colour circle at random during training.

    Args:
        factor: from [0, 1], the fraction of half a turn, in both directions: a number f means `[0, f]`, a pair another
            range.
        value_range: lowest and highest value of the images.
        data_format, seed: see `RandomGrayscale`.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomHue(0.2)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        backwards = ops.greater(self.factors(data, 0.0, 1.0, seed), 0.5)
        drawn = self.factors(data, *self.factor, seed) * 0.5
        return {"factor": ops.where(backwards, -drawn, drawn)}

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        if not training or transformation is None:
            return images
        factor = ops.cast(transformation["factor"], self.compute_dtype)

        def turned(h: Any, s: Any, v: Any) -> list[Any]:
            h = h + factor
            return [h - ops.floor(h), s, v]

        return self.in_hsv(images, turned)


class AutoContrast(ColorLayer):
    """Stretches each channel of each image to the whole value range, in training and inference.

    Args:
        value_range: lowest and highest value of the images.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AutoContrast()(np.array([[[10.0], [20.0]]], "float32")).tolist()
        [[[0.0], [255.0]]]
    """

    CONFIG = ("value_range",)

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store_range(value_range)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        x = ops.cast(images, self.compute_dtype)
        axes = (self.height_axis, self.width_axis)
        low, high = (f(x, axis=axes, keepdims=True) for f in (ops.min, ops.max))
        flat = ops.equal(high, low)  # one colour only: nothing to stretch
        return ops.where(flat, x, self.from_unit((x - low) / ops.where(flat, 1.0, high - low)))


class MixUp(ImageLayer):
    """Mixes each image, and its label, with another one of the batch during training (Zhang et al., 2018).

    Args:
        alpha: the share of the first image is drawn from a Beta(alpha, alpha) distribution.
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for reproducible mixtures.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> batch = {"images": np.ones((4, 8, 8, 3), "float32"), "labels": np.eye(4, dtype="float32")}
        >>> mixed = layers.MixUp()(batch)
        >>> bool(np.allclose(np.asarray(mixed["labels"]).sum(axis=1), 1))
        True
    """

    CONFIG = ("alpha", "seed")

    def __init__(self, alpha: float = 0.2, data_format: str | None = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.alpha = alpha
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, _, _ = self.size_of(data)
        seed = self.generator if seed is None else seed
        return {
            "permutation_order": gk_random.shuffle(ops.arange(batch, dtype="int32"), seed=seed),
            "mix_weight": gk_random.beta((batch,), self.alpha, self.alpha, seed=seed),
        }

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        return self._mixed(images, transformation, rank=4) if training else images

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        labels = ops.cast(labels, self.compute_dtype) if training else labels
        return self._mixed(labels, transformation, rank=len(labels.shape)) if training else labels

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        return self.transform_labels(segmentation_masks, transformation, training=training)

    def _mixed(self, x: Any, transformation: Any, rank: int) -> Any:
        if transformation is None:
            return x
        share = ops.cast(transformation["mix_weight"], x.dtype)
        share = ops.reshape(share, (-1, *(1,) * (rank - 1)))
        return share * x + (1 - share) * ops.take(x, transformation["permutation_order"], axis=0)


class CutMix(ColorLayer):
    """Replaces a random box of each image by that of another one of the batch during training (Yun et al., 2019).

    Labels are mixed by the box's share of the area.

    Args:
        factor: the parameter of the Beta distribution from which the box's area is drawn: a number f means `[0, f]`, a
            pair another range, within [0, 1].
        seed: int for reproducible boxes.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: if the factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> batch = {"images": np.ones((4, 8, 8, 3), "float32"), "labels": np.eye(4, dtype="float32")}
        >>> mixed = layers.CutMix()(batch)
        >>> bool(np.allclose(np.asarray(mixed["labels"]).sum(axis=1), 1))
        True
    """

    CONFIG = ("factor", "seed")

    def __init__(self, factor: Any = 1.0, seed: Any = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor = self.factor_range(factor)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        shape = (data["images"] if isinstance(data, dict) else data).shape
        if not training or len(shape) == 3:  # one image has no other to be mixed with
            return None
        batch, height, width = self.size_of(data)
        seed = self.generator if seed is None else seed
        alpha = gk_random.uniform((), *self.factor, seed=seed) + 1e-6
        side = ops.sqrt(1.0 - gk_random.beta((batch,), alpha, alpha, seed=seed))  # of the box, as a share
        side = ops.reshape(side, (batch, 1, 1, 1))
        rows, y_share = self._inside(batch, height, self.height_axis, side, seed)
        columns, x_share = self._inside(batch, width, self.width_axis, side, seed)
        return {
            "permutation_order": gk_random.shuffle(ops.arange(batch, dtype="int32"), seed=seed),
            "batch_masks": ops.logical_and(rows, columns),
            "mix_weight": ops.reshape(1.0 - x_share * y_share, (batch,)),
        }

    def _inside(self, batch: int, size: int, axis: int, side: Any, seed: Any) -> tuple[Any, Any]:
        """Which rows (or columns) lie in the box, and their share of all."""
        length = side * size
        start = ops.reshape(self.draw(batch, 0.0, 1.0, seed), (batch, 1, 1, 1)) * (size - length)
        shape = [1, 1, 1, 1]
        shape[axis] = size
        place = ops.reshape(ops.arange(size, dtype="float32"), shape)
        inside = ops.logical_and(ops.greater_equal(place, start), ops.less(place, start + length))
        return inside, ops.sum(ops.cast(inside, "float32"), axis=axis, keepdims=True) / size

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        return self._pasted(images, transformation) if training and transformation is not None else images

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        if not training or transformation is None:
            return labels
        labels = ops.cast(labels, self.compute_dtype)
        share = ops.cast(transformation["mix_weight"], labels.dtype)
        share = ops.reshape(share, (-1, *(1,) * (len(labels.shape) - 1)))
        other = ops.take(labels, transformation["permutation_order"], axis=0)
        return share * labels + (1 - share) * other

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        if not training or transformation is None:
            return segmentation_masks
        return self._pasted(segmentation_masks, transformation)

    def _pasted(self, x: Any, transformation: Any) -> Any:
        return ops.where(transformation["batch_masks"], ops.take(x, transformation["permutation_order"], axis=0), x)
