"""Identity and Masking: layers that pass their inputs on."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.masking import set_keras_mask
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.layer import Layer
from graphkeras.saving import deserialize_keras_object


class Identity(Layer):
    """Returns its inputs, a tensor or a nested structure of them.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Identity()(np.ones((1, 2), "float32")).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return inputs


class Masking(ConfiguredLayer):
    """Marks the steps of sequences whose features all equal `mask_value`, and sets them to zero.

    Later layers that understand masks skip these steps. Inputs `(batch, steps, features)` keep their shape; the mask,
    True for the steps that count, has shape `(batch, steps)`.

    Args:
        mask_value: the value that means "no data".

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> x = np.array([[[1.0, 2.0], [0.0, 0.0]]], "float32")
        >>> layers.Masking()(x)._keras_mask.tolist()
        [[True, False]]
    """

    CONFIG = ("mask_value",)

    def __init__(self, mask_value: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(mask_value, dict) and mask_value.get("config"):  # a serialised tensor
            mask_value = deserialize_keras_object(mask_value)
        self.mask_value = mask_value
        self.supports_masking = True
        self._build_at_init()

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.any(ops.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs: Any) -> Any:
        mask = self.compute_mask(inputs)
        outputs = ops.where(ops.expand_dims(mask, -1), inputs, 0)
        set_keras_mask(outputs, mask)
        return outputs
