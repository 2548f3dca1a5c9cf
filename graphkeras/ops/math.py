"""Reductions by segment."""

from __future__ import annotations

from typing import Any

from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.operation import keras_op
from graphkeras.core.trace import ScratchTrace
from graphkeras.ops.base import apply, cast_to, concrete, current_trace, full_of, highest, lowest, to_tensor


def _segment(data: Any, segment_ids: Any, num_segments: int | None, combine: str, op: str) -> Any:
    x, ids = to_tensor(data), cast_to(to_tensor(segment_ids), "int32")
    if len(ids.shape) != 1:
        raise ValueError(
            f"Argument `segment_ids` should be an 1-D vector, got shape: {ids.shape}. Consider flatten input."
        )
    if not x.shape or x.shape[0] != ids.shape[0]:
        raise ValueError(
            f"Argument `segment_ids` and `data` should have same leading dimension. Got {ids.shape} v.s. {x.shape}"
        )
    if num_segments is None:
        known = concrete(ids)
        if known is None and isinstance(current_trace(), ScratchTrace):
            return KerasTensor((None, *x.shape[1:]), x.dtype)
        if known is None:
            raise ValueError(f"{op}: argument `num_segments` must be given when the step is traced; received None")
        num_segments = int(known.max()) + 1 if known.size else 0
    start: Any = {"add": 0, "mul": 1, "max": lowest(x.dtype), "min": highest(x.dtype)}[combine]
    base = full_of((num_segments, *x.shape[1:]), start, x.dtype)
    # Ids outside the segments are dropped, negative ones too (they do not count from the end).
    ids = apply("select", apply("lt", ids, 0), full_of((), num_segments, "int32"), ids)
    return apply("scatter", base, ids, x, axis=0, combine=combine)


@keras_op
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Sum of the rows of each segment; num_segments defaults to the largest id + 1.

    >>> from graphkeras import ops
    >>> ops.segment_sum([1, 2, 3], [0, 0, 1])
    <Tensor shape=(2,), dtype=int32, value=[3 3]>
    """
    return _segment(data, segment_ids, num_segments, "add", "segment_sum")


@keras_op
def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Largest row element of each segment, -inf (or the smallest int) in empty ones."""
    return _segment(data, segment_ids, num_segments, "max", "segment_max")


@keras_op
def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Smallest row element of each segment, inf (or the largest int) in empty ones."""
    return _segment(data, segment_ids, num_segments, "min", "segment_min")


@keras_op
def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """Product of the rows of each segment, 1 in empty ones."""
    return _segment(data, segment_ids, num_segments, "mul", "segment_prod")
