"""DataLayer: base of layers that can also be used on plain data outside models."""

from __future__ import annotations

from typing import Any

from graphkeras.layers.layer import Layer


class DataLayer(Layer):
    """Base of the preprocessing layers: besides tensors they accept nested lists and numbers as inputs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._allow_non_tensor_positional_args = True

    def convert_weight(self, weight: Any) -> Any:
        """The weight itself: there is one backend."""
        return weight
