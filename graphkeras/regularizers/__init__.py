"""Penalties on weights, biases and outputs, by class or by name ("l1", "l2", "l1l2", "orthogonal_regularizer")."""

from __future__ import annotations

from typing import Any

from graphkeras.regularizers.regularizers import L1, L1L2, L2, OrthogonalRegularizer, Regularizer
from graphkeras.saving.identifiers import deserialize_with, resolve, table_of
from graphkeras.saving.serialization_lib import serialize_keras_object

l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer

_TABLE = table_of(Regularizer, L1, L2, L1L2, OrthogonalRegularizer, snake_case=True, l1_l2=L1L2)


def serialize(regularizer: Any) -> Any:
    """The config of a regularizer."""
    return serialize_keras_object(regularizer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The regularizer that a config describes."""
    return deserialize_with(_TABLE, config, custom_objects)


def get(identifier: Any) -> Any:
    """A regularizer from a name, a config, a class or an instance; None stays None.

    Example:
        >>> from graphkeras import regularizers
        >>> regularizers.get("l2").l2
        0.01
    """
    return resolve("regularizer", identifier, _TABLE)


__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]
