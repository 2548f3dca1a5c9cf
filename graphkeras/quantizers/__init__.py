"""Quantizers: weights and activations as small integers."""

from typing import Any

from graphkeras.quantizers.quantization_config import Int4QuantizationConfig as Int4QuantizationConfig
from graphkeras.quantizers.quantization_config import Int8QuantizationConfig as Int8QuantizationConfig
from graphkeras.quantizers.quantization_config import QuantizationConfig as QuantizationConfig
from graphkeras.quantizers.quantizers import AbsMaxQuantizer as AbsMaxQuantizer
from graphkeras.quantizers.quantizers import Quantizer as Quantizer
from graphkeras.quantizers.quantizers import abs_max_quantize as abs_max_quantize
from graphkeras.quantizers.quantizers import (
    abs_max_quantize_grouped_with_zero_point as abs_max_quantize_grouped_with_zero_point,
)
from graphkeras.quantizers.quantizers import pack_int4 as pack_int4
from graphkeras.quantizers.quantizers import unpack_int4 as unpack_int4
from graphkeras.saving import deserialize_keras_object, serialize_keras_object

NAMES = {"AbsMaxQuantizer": AbsMaxQuantizer, "abs_max_quantizer": AbsMaxQuantizer, "Quantizer": Quantizer}


def serialize(initializer: Any) -> dict[str, Any]:
    """The config of a quantizer."""
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """A quantizer from its config."""
    return deserialize_keras_object(config, module_objects=NAMES, custom_objects=custom_objects)


def get(identifier: Any, **kwargs: Any) -> Any:
    """A quantizer from its name, config or class; None and quantizers are returned as they are.

    Raises:
        ValueError: for anything else.
    """
    if identifier is None or isinstance(identifier, Quantizer):
        return identifier
    if isinstance(identifier, dict):
        return deserialize(identifier)
    found = NAMES.get(identifier) if isinstance(identifier, str) else identifier
    if isinstance(found, type):
        return found(**kwargs)
    if callable(found):
        return found
    raise ValueError(f"Could not interpret quantizer identifier: {identifier}. Known names: {sorted(NAMES)}")
