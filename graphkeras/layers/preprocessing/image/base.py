"""ImageLayer: base of the layers that change images, alone or together with labels and segmentation masks."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.preprocessing.data_layer import DataLayer

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")


class ImageLayer(DataLayer, ConfiguredLayer):
    """Base: takes images `(height, width, channels)` or batches of them, or a dict with the key "images".

    A dict may also hold "labels" and "segmentation_masks", which get the same transformation. Random layers draw it in
    `get_random_transformation`, one for each image; outside training there is none and images pass unchanged.
    """

    CONFIG: tuple[str, ...] = ()
    FACTOR_BOUNDS: tuple[float, float] = (-1, 1)

    def __init__(self, data_format: str | None = None, bounding_box_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bounding_box_format = bounding_box_format  # kept for configs: boxes themselves are refused in `call`
        self.data_format = standardize_data_format(data_format)
        first = self.data_format == "channels_first"
        self.height_axis, self.width_axis = (-2, -1) if first else (-3, -2)

    def store_seed(self, seed: Any) -> None:
        self.seed = seed
        self.generator = gk_random.SeedGenerator(seed)

    # -- for subclasses ----------------------------------------------------------------------------------
    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What to do with the images of `data`, drawn from `seed` or the layer's own generator; None for nothing."""
        return None

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """Batch of images -> batch of images."""
        raise NotImplementedError

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        return labels

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        return segmentation_masks

    # -- calling -----------------------------------------------------------------------------------------
    def call(self, data: Any, training: bool = True) -> Any:
        transformation = self.get_random_transformation(data, training=training)
        if not isinstance(data, dict):
            return self._on_batch(self.transform_images, data, transformation, training)
        if "bounding_boxes" in data:
            raise ValueError(
                f"Layer {self.name} ({type(self).__name__}) does not transform bounding boxes. Received a dict "
                f"with the keys {sorted(data)}; expected 'images', 'labels' and 'segmentation_masks'. Take "
                "'bounding_boxes' out of the dict, or transform them with a layer of your own."
            )
        result = dict(data)
        result["images"] = self._on_batch(self.transform_images, data["images"], transformation, training)
        single = len(data["images"].shape) == 3
        for name, transform in (
            ("labels", self.transform_labels),
            ("segmentation_masks", self.transform_segmentation_masks),
        ):
            if name in data:
                x = ops.expand_dims(data[name], 0) if single else data[name]
                x = transform(x, transformation, training=training)
                result[name] = ops.squeeze(x, 0) if single else x
        return result

    def _on_batch(self, transform: Any, images: Any, transformation: Any, training: bool) -> Any:
        if len(images.shape) == 4:
            return transform(images, transformation, training=training)
        if len(images.shape) == 3:
            return ops.squeeze(transform(ops.expand_dims(images, 0), transformation, training=training), 0)
        raise ValueError(
            "Expected image tensor to have rank 3 (single image) or 4 (batch of images). "
            f"Received: data.shape={tuple(images.shape)}"
        )

    def size_of(self, data: Any) -> tuple[int, int, int]:
        """(batch size, height, width) of the images of `data`; one image is a batch of 1."""
        shape = (data["images"] if isinstance(data, dict) else data).shape
        return (shape[0] if len(shape) == 4 else 1), shape[self.height_axis], shape[self.width_axis]

    def draw(self, batch: int, low: float, high: float, seed: Any) -> Any:
        """One number per image, of shape (batch, 1)."""
        return gk_random.uniform((batch, 1), low, high, seed=self.generator if seed is None else seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def with_size(self, input_shape: Any, height: int, width: int) -> Any:
        """The shape with another height and width; of the entry "images" where it is a dict."""
        if isinstance(input_shape, dict):
            return {**input_shape, "images": self.with_size(input_shape["images"], height, width)}
        if isinstance(input_shape[0], (list, tuple)) or len(input_shape) not in (3, 4):
            raise ValueError(
                "`input_shape` must be a non-nested tuple or list of size 3 (unbatched) or 4 (batched). "
                f"Received: input_shape={input_shape}"
            )
        shape = list(input_shape)
        shape[self.height_axis], shape[self.width_axis] = height, width
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        boxes = {} if self.bounding_box_format is None else {"bounding_box_format": self.bounding_box_format}
        return {"data_format": self.data_format, **boxes, **super().get_config()}

    def factor_range(self, factor: Any, name: str = "factor", bounds: tuple[float, float] | None = None) -> Any:
        """(lower, upper) from a number (both signs within the bounds) or a pair."""
        low, high = bounds or self.FACTOR_BOUNDS
        pair = factor if isinstance(factor, (list, tuple)) else (factor,)
        valid = len(pair) == (2 if isinstance(factor, (list, tuple)) else 1) and all(
            isinstance(v, (int, float)) and low <= v <= high for v in pair
        )
        if not valid:
            raise ValueError(
                f"The `{name}` argument of {type(self).__name__} should be a number (or a list of two numbers) in the "
                f"range [{low}, {high}]. Received: {name}={factor}"
            )
        if len(pair) == 2:
            return tuple(sorted(pair))
        return max(-abs(pair[0]), low), abs(pair[0])


class AffineLayer(ImageLayer):
    """Base of rotation, zoom and translation: `get_random_transformation` gives a dict with "transform" (batch, 8)."""

    def store_filling(self, fill_mode: str, interpolation: str, fill_value: float) -> None:
        for name, value, known in (
            ("fill_mode", fill_mode, FILL_MODES),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                raise NotImplementedError(
                    f"Unknown `{name}` {value} of {type(self).__name__}. Expected of one {known}."
                )
        self.store(fill_mode=fill_mode, interpolation=interpolation, fill_value=fill_value)

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        images = ops.cast(images, self.compute_dtype)
        return self._warp(images, transformation, self.interpolation) if training else images

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any, training: bool = True) -> Any:
        return self._warp(segmentation_masks, transformation, "nearest") if training else segmentation_masks

    def _warp(self, images: Any, transformation: Any, interpolation: str) -> Any:
        if transformation is None:
            return images
        return ops.image.affine_transform(
            images,
            transformation["transform"],
            interpolation=interpolation,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            data_format=self.data_format,
        )


def affine_matrix(a0: Any, a1: Any, a2: Any, b0: Any, b1: Any, b2: Any) -> Any:
    """(batch, 8) from columns (batch, 1): output (x, y) is read at (a0 x + a1 y + a2, b0 x + b1 y + b2)."""
    zero = ops.zeros_like(a0)
    return ops.cast(ops.concatenate([a0, a1, a2, b0, b1, b2, zero, zero], axis=1), "float32")
