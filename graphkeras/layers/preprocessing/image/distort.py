"""RandomShear, RandomErasing, RandomElasticTransform, RandomGaussianBlur."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.layers.preprocessing.image.base import AffineLayer, ImageLayer, affine_matrix
from graphkeras.layers.preprocessing.image.color_space import ColorLayer


class RandomShear(AffineLayer):
    """Slants images at random, during training.

    Args:
        x_factor, y_factor: how far a row (a column) moves per pixel of distance: a number f is drawn from `[-f, f]`, a
            pair (within [0, 1]) from that range, to either side.
        interpolation: "bilinear" or "nearest".
        fill_mode: "reflect", "wrap", "constant" or "nearest": what stands outside of the image.
        fill_value: for "constant".
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for reproducible draws.

    Raises:
        ValueError: if a factor lies outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomShear(0.2, 0.2)(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("x_factor", "y_factor", "fill_mode", "interpolation", "fill_value", "seed")
    FACTOR_BOUNDS = (0, 1)

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.x_factor, self.y_factor = self._both(x_factor, "x_factor"), self._both(y_factor, "y_factor")
        self.store_filling(fill_mode, interpolation, fill_value)
        self.store_seed(seed)

    def _both(self, factor: Any, name: str) -> tuple[float, float]:
        if isinstance(factor, (list, tuple)) and len(factor) == 2 and factor[0] == -factor[1] <= 0:
            return tuple(factor)  # from a config
        low, high = self.factor_range(factor, name)
        return (low, high) if isinstance(factor, (list, tuple)) else (-high, high)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, _, _ = self.size_of(data)
        side = ops.where(self.draw(batch, 0.0, 1.0, seed) > 0.5, -1.0, 1.0)
        y = side * self.draw(batch, *self.y_factor, seed)
        x = side * self.draw(batch, *self.x_factor, seed)
        one, zero = ops.ones_like(x), ops.zeros_like(x)
        return {"transform": affine_matrix(one, x, zero, y, one, zero)}


class SomeImages(ColorLayer):
    """Base of layers that change an image with a probability drawn from `factor`."""

    def chosen(self, data: Any, seed: Any) -> Any:
        """Which images are changed, (batch, 1, 1, 1)."""
        chance = self.factors(data, *self.factor, seed)
        return self.factors(data, 0.0, 1.0, seed) < chance


class RandomErasing(SomeImages):
    """Covers a random box of images with one value or with noise, during training (Zhong et al. 2020).

    Args:
        factor: probability: a number f is drawn from `[0, f]`, or a pair.
        scale: share of the area: a number or a pair within [0, 1].
        fill_value: a number, three of them, or None for normal noise.
        value_range: lowest and highest value of the images.
        seed: int for reproducible boxes.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: if factor or scale lie outside [0, 1], or the fill value is neither a number nor three.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> erased = layers.RandomErasing((1.0, 1.0), scale=(0.3, 0.3), fill_value=0)(np.ones((2, 8, 8, 3), "float32"))
        >>> bool(0 < np.asarray(erased).mean() < 1)
        True
    """

    CONFIG = ("factor", "scale", "fill_value", "value_range", "seed")

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor, self.scale = self.factor_range(factor), self.factor_range(scale, "scale")
        numbers = fill_value if isinstance(fill_value, (list, tuple)) else [fill_value] * 3
        if fill_value is not None and (len(numbers) != 3 or not all(isinstance(v, (int, float)) for v in numbers)):
            raise ValueError(
                "The `fill_value` argument of RandomErasing should be a number, three numbers or None. "
                f"Received: fill_value={fill_value}"
            )
        self.fill_value = fill_value
        self.store_range(value_range)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        batch, height, width = self.size_of(data)
        masks = [
            self._line(data, size, axis, seed) for size, axis in ((width, self.width_axis), (height, self.height_axis))
        ]
        return {
            "apply_erasing": self.chosen(data, seed),
            "batch_masks": ops.logical_and(*masks),
            "fill_value": self._filling(data, batch, seed),
        }

    def _line(self, data: Any, size: int, axis: int, seed: Any) -> Any:
        """Which rows (or columns) lie in the box."""
        length = ops.sqrt(self.factors(data, *self.scale, seed)) * size
        start = self.factors(data, 0.0, 1.0, seed) * (size - length)
        shape = [1, 1, 1, 1]
        shape[axis] = size
        place = ops.reshape(ops.arange(size, dtype="float32"), shape)
        return ops.logical_and(place >= start, place < start + length)

    def _filling(self, data: Any, batch: int, seed: Any) -> Any:
        if self.fill_value is None:
            shape = (data["images"] if isinstance(data, dict) else data).shape
            shape = shape if len(shape) == 4 else (batch, *shape)
            noise = gk_random.normal(shape, seed=self.generator if seed is None else seed)
            return ops.clip(noise * self.value_range[1], *self.value_range)
        value = ops.clip(ops.cast(self.fill_value, self.compute_dtype), *self.value_range)
        shape = [1, 1, 1, 1]
        shape[self.channel_axis()] = -1
        return ops.reshape(value, shape)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if not training or transformation is None:
            return images
        inside = ops.logical_and(transformation["apply_erasing"], transformation["batch_masks"])
        return ops.where(inside, ops.cast(transformation["fill_value"], images.dtype), images)


class RandomElasticTransform(SomeImages):
    """Bends images like rubber, during training (Simard et al. 2003).

    Args:
        factor: probability: a number f is drawn from `[0, f]`, or a pair.
        scale: strength, likewise within [0, 1].
        interpolation: "bilinear" or "nearest".
        fill_mode: "reflect", "wrap", "constant" or "nearest".
        fill_value: for "constant".
        value_range: lowest and highest value of the images.
        seed: int for reproducible bends.
        data_format: "channels_last" or "channels_first"; default the configured one.

    Raises:
        ValueError: if factor or scale lie outside [0, 1].

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomElasticTransform()(np.ones((2, 16, 16, 3), "float32")).shape
        (2, 16, 16, 3)
    """

    CONFIG = ("factor", "scale", "interpolation", "fill_mode", "fill_value", "value_range", "seed")

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = 1.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        value_range: Any = (0, 255),
        seed: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor, self.scale = self.factor_range(factor), self.factor_range(scale, "scale")
        AffineLayer.store_filling(self, fill_mode, interpolation, fill_value)  # type: ignore[arg-type]
        self.store_range(value_range)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training or not self.scale[1] or not self.factor[1]:
            return None
        seed = self.generator if seed is None else seed
        return {
            "apply_transform": self.chosen(data, seed),
            "distortion_factor": gk_random.uniform((), *self.scale, seed=seed),
            "seed": seed,
        }

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        bent = self._bent(images, transformation, self.interpolation) if training else images
        return images if bent is images else ops.clip(bent, *self.value_range)

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        return self._bent(segmentation_masks, transformation, "nearest") if training else segmentation_masks

    def _bent(self, images: Any, transformation: Any, interpolation: str) -> Any:
        if transformation is None:
            return images
        sides = (images.shape[self.height_axis], images.shape[self.width_axis])
        strength = transformation["distortion_factor"]
        bent = ops.image.elastic_transform(
            images,
            alpha=0.1 * max(sides) * strength,
            sigma=0.05 * min(sides) * strength,
            interpolation=interpolation,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            seed=transformation["seed"],
            data_format=self.data_format,
        )
        return ops.where(transformation["apply_transform"], ops.cast(bent, images.dtype), images)


class RandomGaussianBlur(SomeImages):
    """Blurs images at random, during training.

    Args:
        factor: probability: a number f is drawn from `[0, f]`, or a pair.
        kernel_size: odd int, or two of them.
        sigma: width of the blur: a number or a pair within [0, 1].
        value_range: lowest and highest value of the images.
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for reproducible choices.

    Raises:
        ValueError: if factor or sigma lie outside [0, 1], or the size is even.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RandomGaussianBlur()(np.ones((2, 8, 8, 3), "float32")).shape
        (2, 8, 8, 3)
    """

    CONFIG = ("factor", "kernel_size", "sigma", "value_range", "seed")

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format=data_format, **kwargs)
        self.factor, self.sigma = self.factor_range(factor), self.factor_range(sigma, "sigma")
        sizes = tuple(kernel_size) if isinstance(kernel_size, (list, tuple)) else (kernel_size, kernel_size)
        if len(sizes) != 2 or any(not isinstance(n, int) or n % 2 == 0 for n in sizes):
            raise ValueError(
                "The `kernel_size` argument of RandomGaussianBlur must be an odd integer or two of them. "
                f"Received: kernel_size={kernel_size}"
            )
        self.kernel_size = sizes
        self.store_range(value_range)
        self.store_seed(seed)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        if not training:
            return None
        seed = self.generator if seed is None else seed
        width = gk_random.uniform((2,), *self.sigma, seed=seed) + 1e-6
        return {"should_apply_blur": self.chosen(data, seed), "blur_factor": width}

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        if not training or transformation is None:
            return images
        sigma = ops.cast(transformation["blur_factor"], images.dtype)
        blurred = ops.image.gaussian_blur(
            images, kernel_size=self.kernel_size, sigma=sigma, data_format=self.data_format
        )
        return ops.clip(ops.where(transformation["should_apply_blur"], blurred, images), *self.value_range)


class MaxNumBoundingBoxes(ImageLayer):
    """Makes the number of bounding boxes the same for all images: cuts off, or fills up.

    Args:
        max_number: boxes per image.
        fill_value: integer that fills boxes and labels up.

    Takes a dict with "images" and "bounding_boxes", a dict of "boxes" (..., boxes, 4) and "labels" (..., boxes).

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> boxes = {"boxes": np.ones((2, 4)), "labels": np.ones(2)}
        >>> out = layers.MaxNumBoundingBoxes(5)({"images": np.ones((8, 8, 3)), "bounding_boxes": boxes})
        >>> out["bounding_boxes"]["boxes"].shape, out["bounding_boxes"]["labels"].shape
        ((5, 4), (5,))
    """

    CONFIG = ("max_number", "fill_value")

    def __init__(self, max_number: int, fill_value: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_number, self.fill_value = int(max_number), int(fill_value)

    def call(self, data: Any, training: bool = True) -> Any:
        if not isinstance(data, dict) or "bounding_boxes" not in data:
            return data
        boxes = data["bounding_boxes"]
        unknown = sorted(set(boxes) - {"boxes", "labels"})
        if unknown:
            raise KeyError(f"`bounding_boxes` of {self.name} may hold 'boxes' and 'labels'. Received also: {unknown}")
        axes = {"boxes": -2, "labels": -1}
        fitted = {name: self._fitted(ops.convert_to_tensor(x), axes[name]) for name, x in boxes.items()}
        return {**data, "bounding_boxes": fitted}

    def _fitted(self, x: Any, axis: int) -> Any:
        x = ops.take(x, ops.arange(min(x.shape[axis], self.max_number)), axis=axis)
        widths = [(0, 0)] * len(x.shape)
        widths[axis] = (0, self.max_number - x.shape[axis])
        return ops.pad(x, widths, constant_values=self.fill_value)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not isinstance(input_shape, dict) or "bounding_boxes" not in input_shape:
            return input_shape
        boxes, labels = (tuple(input_shape["bounding_boxes"][name]) for name in ("boxes", "labels"))
        fitted = {"boxes": (*boxes[:-2], self.max_number, 4), "labels": (*labels[:-1], self.max_number)}
        return {**input_shape, "bounding_boxes": fitted}
