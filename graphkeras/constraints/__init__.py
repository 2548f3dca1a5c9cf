"""Projections of weights, by class or by name ("max_norm", "non_neg", "unit_norm", "min_max_norm")."""

from __future__ import annotations

from typing import Any

from graphkeras.constraints.constraints import Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from graphkeras.saving.identifiers import deserialize_with, resolve, table_of
from graphkeras.saving.serialization_lib import serialize_keras_object

max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

_TABLE = table_of(Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm, snake_case=True)


def serialize(constraint: Any) -> Any:
    """The config of a constraint."""
    return serialize_keras_object(constraint)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The constraint that a config describes."""
    return deserialize_with(_TABLE, config, custom_objects)


def get(identifier: Any) -> Any:
    """A constraint from a name, a config, a class or an instance; None stays None.

    Example:
        >>> from graphkeras import constraints
        >>> constraints.get("max_norm").max_value
        2
    """
    return resolve("constraint", identifier, _TABLE)


__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]
