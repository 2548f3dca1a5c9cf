"""Activation functions, by name ("relu", "gelu", ...) or as functions."""

from __future__ import annotations

import types
from typing import Any

from graphkeras.activations.activations import (
    celu,
    elu,
    exponential,
    gelu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    linear,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    swish,
    tanh,
    tanh_shrink,
    threshold,
)
from graphkeras.saving.identifiers import deserialize_with, resolve, table_of
from graphkeras.saving.object_registration import get_registered_name
from graphkeras.saving.serialization_lib import serialize_keras_object

_TABLE = table_of(
    celu,
    elu,
    exponential,
    gelu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    linear,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
    swish=silu,
    hard_swish=hard_silu,
)


def serialize(activation: Any) -> Any:
    """The name of a built-in activation, the config of any other.

    Raises:
        ValueError: for an object that has neither a name nor a config.
    """
    config = serialize_keras_object(activation)
    if not isinstance(config, dict) or "config" not in config:
        raise ValueError(
            f"Unknown activation function {activation!r} cannot be serialized: it has no name. Use a built-in "
            "activation, or decorate yours with @register_keras_serializable()."
        )
    if not isinstance(activation, types.FunctionType) or not isinstance(config["config"], str):
        return config
    if config["config"] in _TABLE:
        return config["config"]
    return {**config, "config": get_registered_name(activation)}


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The activation that a name or a config describes."""
    return deserialize_with(_TABLE, config, custom_objects)


def get(identifier: Any) -> Any:
    """An activation from a name, a config or a callable; None is `linear`.

    Example:
        >>> from graphkeras import activations
        >>> activations.get("relu").__name__
        'relu'
    """
    return linear if identifier is None else resolve("activation function", identifier, _TABLE)


__all__ = [
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]
