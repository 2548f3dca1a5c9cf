"""Shapes as users give them: iterables of ints and None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Shape = tuple[int | None, ...]


def standardize_shape(shape: Any) -> Shape:
    """A tuple of ints and None. Raises ValueError for anything that is no shape."""
    if shape is None:
        raise ValueError("Undefined shapes are not supported: expected a tuple of ints and None, received None.")
    if isinstance(shape, (str, bytes)) or not hasattr(shape, "__iter__"):
        raise ValueError(
            f"Cannot convert {shape!r} to a shape: expected a tuple of ints and None, such as ({shape!r},)."
        )
    return tuple(_extent(d, shape) for d in shape)


def _extent(value: Any, shape: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, (str, float)):
        raise ValueError(
            f"Cannot convert {shape!r} to a shape. Found invalid dimension {value!r} of type {type(value)}."
        )
    try:
        extent = int(value)
    except Exception as error:
        message = f"Cannot convert {shape!r} to a shape. Found invalid dimension {value!r} of type {type(value)}."
        raise ValueError(message) from error
    if extent < 0:
        raise ValueError(f"Cannot convert {shape!r} to a shape. Negative dimensions are not allowed.")
    return extent


def shapes_match(a: Sequence[int | None], b: Sequence[int | None]) -> bool:
    """Same rank and no two known extents that differ."""
    return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))
