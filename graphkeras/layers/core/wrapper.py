"""Wrapper: base of layers that hold another layer."""

from __future__ import annotations

from typing import Any

from graphkeras.layers.layer import Layer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object


class Wrapper(Layer):
    """Base of layers that wrap another one, kept in the attribute `layer`. Not for use by itself.

    Args:
        layer: the wrapped layer.

    Raises:
        ValueError: if `layer` is no layer.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> class Twice(layers.Wrapper):
        ...     def call(self, inputs):
        ...         return 2 * self.layer(inputs)
        >>> Twice(layers.ReLU())(np.ones((1, 2), "float32")).tolist()
        [[2.0, 2.0]]
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Layer {layer} supplied to Wrapper isn't a supported layer type. Please ensure wrapped layer is a "
                f"valid Keras layer. Received: {type(layer).__name__}"
            )
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        layer = deserialize_keras_object(config.pop("layer"), custom_objects=custom_objects)
        return cls(layer, **config)
