"""Order: sort, top-k, search, sets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    INTS,
    Tensor,
    apply,
    axis_of,
    cast_to,
    concrete,
    expand,
    full_of,
    need_concrete,
    promote,
    reduce,
    reshape_to,
    to_tensor,
)


def _flat(x: Tensor, axis: Any, op: str) -> tuple[Tensor, int]:
    if axis is None:
        return reshape_to(x, (math.prod(x.shape),)), 0
    return x, axis_of(axis, len(x.shape), op)


@keras_op
def sort(x: Any, axis: Any = -1) -> Any:
    """Elements in rising order along an axis (nan last)."""
    x, where = _flat(to_tensor(x), axis, "sort")
    return apply("sort", x, axis=where, descending=False)


@keras_op
def argsort(x: Any, axis: Any = -1) -> Any:
    """Indices that sort the axis, int32; equal elements keep their order."""
    x, where = _flat(to_tensor(x), axis, "argsort")
    if not x.shape:
        return full_of((), 0, "int32")
    return apply("argsort", x, axis=where, descending=False, stable=True)


@keras_op
def argpartition(x: Any, kth: int, axis: Any = -1) -> Any:
    """Indices with those of the kth smallest elements in front (fully sorted here)."""
    if not isinstance(kth, (int, np.integer)):
        raise ValueError(f"argpartition: argument `kth` must be an integer; received {kth!r}")
    return argsort(x, axis)


@keras_op
def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """The k largest elements of the last axis, falling, and their indices (int32)."""
    x = to_tensor(x)
    if not x.shape or k > x.shape[-1]:
        raise ValueError(f"top_k: argument `k` must be at most the last dimension of shape {x.shape}; received {k}")
    return tuple(apply("top_k", x, k=int(k)))


@keras_op
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Whether each target class is among the k largest predictions of its row (ties count as inside)."""
    scores, where = to_tensor(predictions), to_tensor(targets)
    if len(scores.shape) != 2 or len(where.shape) != 1:
        raise ValueError(
            "in_top_k: `targets` (n,) and `predictions` (n, classes) are expected; received "
            f"{where.shape} and {scores.shape}"
        )
    own = apply("take_along_axis", scores, expand(cast_to(where, "int32"), 1), axis=1)
    better = reduce("reduce_sum", cast_to(apply("gt", scores, own), "int32"), (1,))
    inside = apply("lt", better, int(k))
    return apply("and", inside, apply("isfinite", reshape_to(own, where.shape)))


@keras_op
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Where each value would be inserted in a rising 1-d sequence, int32."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: argument `side` must be 'left' or 'right'; received {side!r}")
    row, x = promote(sorted_sequence, values)
    if len(row.shape) != 1:
        raise ValueError(f"searchsorted: argument `sorted_sequence` must be 1-d; received shape {row.shape}")
    if concrete(row) is not None and concrete(x) is not None:
        return Tensor(np.asarray(np.searchsorted(row.numpy(), x.numpy(), side=side)).astype("int32"))
    passed = apply("lt" if side == "left" else "le", row, expand(x, len(x.shape)))
    return reduce("reduce_sum", cast_to(passed, "int32"), (len(x.shape),))


@keras_op
def digitize(x: Any, bins: Any) -> Any:
    """Index of the bin (rising edges) that each element falls in: the number of edges not above it."""
    row, values = promote(bins, x)
    return searchsorted(row, values, "right")


@keras_op
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element of x1 occurs in x2."""
    a, b = promote(x1, x2)
    b = reshape_to(b, (math.prod(b.shape),))
    if concrete(a) is not None and concrete(b) is not None:
        return Tensor(np.asarray(np.isin(a.numpy(), b.numpy(), assume_unique=assume_unique, invert=invert)))
    found = reduce("reduce_or", apply("eq", expand(a, len(a.shape)), b), (len(a.shape),))
    return apply("not", found) if invert else found


@keras_op
def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    size: int | None = None,
    fill_value: Any = None,
) -> Any:
    """The different elements (or slices along `axis`), rising. Needs values: their number is the shape.

    size: cut to, or filled up with fill_value (default: the smallest element) to this length.
    """
    values = need_concrete(to_tensor(x), "unique", "x")
    found = list(
        np.unique(values, return_index=True, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
    )
    along = 0 if axis is None else axis % values.ndim
    if size is not None:
        found[0], found[1], found[3] = _sized(found, size, fill_value, along)
        found[2] = np.minimum(found[2], max(size - 1, 0))
    wanted = (True, return_index, return_inverse, return_counts)
    results = tuple(
        Tensor(np.ascontiguousarray(f) if i == 0 else np.asarray(f).astype("int32"))
        for i, (f, w) in enumerate(zip(found, wanted, strict=True))
        if w
    )
    return results[0] if len(results) == 1 else results


def _sized(found: list[Any], size: int, fill_value: Any, along: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, index, _, counts = found
    n = values.shape[along]
    if n >= size:
        cut = [slice(None)] * values.ndim
        cut[along] = slice(0, size)
        return values[tuple(cut)], index[:size], counts[:size]
    width = [(0, 0)] * values.ndim
    width[along] = (0, size - n)
    filler = values.take([0] * (size - n), axis=along) if fill_value is None else None
    if filler is None:
        values = np.pad(values, width, constant_values=fill_value)
    else:
        values = np.concatenate([values, filler], axis=along)
    return values, np.pad(index, (0, size - n), constant_values=index[0]), np.pad(counts, (0, size - n))


@keras_op
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often (or with which total weight) each non-negative int occurs in the last axis.

    The length is the largest element + 1, at least `minlength`; when traced it is `minlength`.
    """
    if sparse:
        raise ValueError("bincount: sparse tensors do not exist here; pass sparse=False")
    x = cast_to(to_tensor(x), "int32")
    known = concrete(x)
    if known is None and minlength < 1:
        raise ValueError(
            "bincount: the result's length is the largest element + 1, which is not known when the step is traced; "
            "pass minlength=number of bins"
        )
    length = minlength if known is None else max(minlength, int(known.max()) + 1 if known.size else 0)
    amounts = full_of(x.shape, 1, "int32") if weights is None else to_tensor(weights)
    amounts = cast_to(amounts, "int32") if amounts.dtype in INTS or amounts.dtype == "bool" else amounts
    if len(x.shape) == 1:
        return apply("scatter", full_of((length,), 0, amounts.dtype), x, amounts, axis=0, combine="add")
    zeros = full_of((*x.shape[:-1], length), 0, amounts.dtype)
    return apply("scatter_along_axis", zeros, x, amounts, axis=len(x.shape) - 1, combine="add")
