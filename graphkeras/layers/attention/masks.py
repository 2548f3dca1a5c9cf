"""Masks of scores: true where a query may attend to a key."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from graphkeras import ops


def causal_mask(queries: int, keys: int) -> Any:
    """(1, queries, keys): no query sees a later key."""
    row, column = _positions(queries, keys)
    return ops.greater_equal(row, column)


def sliding_window_mask(queries: int, keys: int, window: int) -> Any:
    """(1, queries, keys): positions at a distance below `window`, on both sides."""
    row, column = _positions(queries, keys)
    return ops.less(ops.abs(row - column), window)


def _positions(queries: int, keys: int) -> tuple[Any, Any]:
    row = ops.reshape(ops.arange(queries, dtype="int32"), (1, queries, 1))
    return row, ops.reshape(ops.arange(keys, dtype="int32"), (1, 1, keys))


def all_of(masks: Sequence[Any]) -> Any:
    """The masks that are not None joined by AND; None if there is none."""
    given = [ops.cast(m, "bool") for m in masks if m is not None]
    return functools.reduce(ops.logical_and, given) if given else None


def scores_mask(
    query: Any,
    value: Any,
    query_mask: Any,
    value_mask: Any,
    key_mask: Any,
    attention_mask: Any,
    causal: bool,
    window: int | None,
) -> Any:
    """All the masks as one that broadcasts to (batch, queries, keys), or None."""
    lengths = query.shape[1], value.shape[1]
    return all_of(
        [
            attention_mask,
            None if query_mask is None else ops.expand_dims(query_mask, -1),
            None if value_mask is None else ops.expand_dims(value_mask, -2),
            None if key_mask is None else ops.expand_dims(key_mask, -2),
            causal_mask(*lengths) if causal else None,
            None if window is None else sliding_window_mask(*lengths, window),
        ]
    )


def mask_parts(masks: Sequence[Any]) -> list[Any]:
    """(query mask, value mask, key mask, attention mask), where given, each as bool (batch, heads, queries, keys)."""
    query_mask, value_mask, key_mask, attention_mask = masks
    places = ((query_mask, -1), (value_mask, -2), (key_mask, -2))
    parts = [None if m is None else ops.expand_dims(m, axis) for m, axis in places]
    return [with_heads(ops.cast(m, "bool"), 4) for m in (*parts, attention_mask) if m is not None]


def with_heads(mask: Any, rank: int, attention_axes: int = 1) -> Any:
    """The mask with axes of size 1 for what it lacks of (batch, heads, queries, keys), of that rank."""
    while mask is not None and len(mask.shape) < rank:
        place = -2 * attention_axes - 1
        mask = ops.expand_dims(mask, max(place, -len(mask.shape) - 1))
    return mask
