"""Pipeline: preprocessing layers in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras.core import tree
from graphkeras.core.masking import get_keras_mask
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object


class Pipeline(DataLayer):
    """Applies layers one after the other, to tensors or plain data. Not for use as part of a model.

    Args:
        layers: list of layers.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> pipeline = layers.Pipeline([layers.Resizing(4, 4), layers.Rescaling(1 / 255)])
        >>> pipeline(np.full((1, 8, 8, 3), 255.0, "float32")).shape
        (1, 4, 4, 3)
    """

    def __init__(self, layers: Sequence[Any], name: str | None = None) -> None:
        super().__init__(name=name)
        self._pipeline_layers = layers
        self._convert_input_args = False

    @property
    def layers(self) -> Any:
        return self._pipeline_layers

    def call(self, inputs: Any, training: bool = True, mask: Any = None) -> Any:
        for layer in self._pipeline_layers:
            kwargs: dict[str, Any] = {}
            if layer._call_has_mask_arg:
                kwargs["mask"] = mask
            if layer._call_has_training_arg and training is not None:
                kwargs["training"] = training
            inputs = layer(inputs, **kwargs)
            mask = tree.map_structure(get_keras_mask, inputs)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {"layers": serialize_keras_object(list(self._pipeline_layers)), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        layers = config.get("layers")
        if not isinstance(layers, (list, tuple)):
            raise ValueError(
                "`Pipeline` config must contain a `layers` key mapping to a list of serialized layers. Received "
                f"config with layers={layers}."
            )
        made = [deserialize_keras_object(x, custom_objects=custom_objects) for x in layers]
        return cls(**{**config, "layers": made})
