"""Rescaling: a fixed linear map of the values."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import image_data_format
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object


class Rescaling(DataLayer):
    """`inputs * scale + offset`, in training and inference. Integers become floats.

    Args:
        scale: number, or one number per channel.
        offset: number, or one number per channel.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Rescaling(1 / 255)(np.array([[0, 255]], "uint8")).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset
        self.supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, inputs: Any) -> Any:
        scale, offset = self._per_channel(self.scale), self._per_channel(self.offset)
        return ops.add(ops.multiply(ops.cast(inputs, self.compute_dtype), scale), offset)

    def _per_channel(self, value: Any) -> Any:
        value = ops.cast(value, self.compute_dtype)
        if value.shape and image_data_format() == "channels_first":
            return ops.reshape(value, (*value.shape, *(1,) * (3 - len(value.shape))))
        return value

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": serialize_keras_object(self.scale),
            "offset": serialize_keras_object(self.offset),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        numbers = {n: deserialize_keras_object(config[n], custom_objects=custom_objects) for n in ("scale", "offset")}
        return cls(**{**config, **numbers})
