"""Norms and distances."""

from __future__ import annotations

import math
from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    COMPLEX,
    Tensor,
    apply,
    axes_of,
    axis_of,
    cast_to,
    expand,
    floating,
    full_of,
    permute,
    promote,
    reduce,
    reshape_to,
    select,
)
from graphkeras.ops.matrix import singular_values


@keras_op
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Vector norm (one axis) or matrix norm (two axes); None is the root of the sum of squares.

    ord: None, "fro", "nuc", inf, -inf, 0 or a number, as numpy.linalg.norm names them.
    """
    x = floating(x)
    rank = len(x.shape)
    axes = axes_of(axis, rank, "norm")
    if isinstance(axis, (list, tuple)):
        axes = tuple(axis_of(a, rank, "norm") for a in axis)
    if ord is None:
        return _euclid(x, tuple(sorted(axes)), keepdims)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError(
        f"norm: argument `axis` must name one or two axes for ord={ord!r}; received axis={axis}, shape {x.shape}"
    )


def _euclid(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    squares = apply("real", apply("mul", x, apply("conj", x))) if x.dtype in COMPLEX else apply("mul", x, x)
    return safe_sqrt(reduce("reduce_sum", squares, axes, keepdims))


def safe_sqrt(x: Tensor) -> Tensor:
    """sqrt whose gradient at 0 is 0 instead of infinity."""
    zero = apply("eq", x, 0.0)
    root = apply("sqrt", select(zero, full_of((), 1.0, x.dtype), x))
    return select(zero, full_of((), 0.0, x.dtype), root)


def _vector_norm(x: Tensor, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    if isinstance(ord, str):
        raise ValueError(f"norm: argument `ord` must be a number for vectors; received {ord!r} with axis={axes}")
    size = apply("abs", x)
    if ord == 2:
        return _euclid(x, axes, keepdims)
    if ord == math.inf:
        return reduce("reduce_max", size, axes, keepdims)
    if ord == -math.inf:
        return reduce("reduce_min", size, axes, keepdims)
    if ord == 0:
        return reduce("reduce_sum", cast_to(apply("ne", size, 0.0), size.dtype), axes, keepdims)
    if ord == 1:
        return reduce("reduce_sum", size, axes, keepdims)
    total = reduce("reduce_sum", apply("pow", size, float(ord)), axes, keepdims)
    return apply("pow", total, 1.0 / ord)


def _matrix_norm(x: Tensor, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    rows, columns = axes
    if ord == "fro":
        return _euclid(x, tuple(sorted(axes)), keepdims)
    if ord in (1, -1, math.inf, -math.inf):
        summed, over = (rows, columns) if ord in (1, -1) else (columns, rows)
        total = reduce("reduce_sum", apply("abs", x), (summed,), True)
        result = reduce("reduce_max" if ord > 0 else "reduce_min", total, (over,), True)
    elif ord in ("nuc", 2, -2):
        rest = [i for i in range(len(x.shape)) if i not in axes]
        values = singular_values(permute(x, (*rest, rows, columns)))
        how = {"nuc": "reduce_sum", 2: "reduce_max", -2: "reduce_min"}[ord]
        result = reduce(how, values, (len(rest),))
        if keepdims:
            return reshape_to(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
        return result
    else:
        raise ValueError(
            f"norm: argument `ord` must be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf for matrices; received {ord!r}"
        )
    kept = result.shape if keepdims else tuple(n for i, n in enumerate(result.shape) if i not in axes)
    return reshape_to(result, kept)


@keras_op
def cdist(x: Any, y: Any) -> Any:
    """Euclidean distances between the rows of x (..., n, d) and y (..., m, d)."""
    a, b = promote(x, y, also=float)
    difference = apply("sub", expand(a, len(a.shape) - 1), expand(b, len(b.shape) - 2))
    return _euclid(difference, (len(difference.shape) - 1,), False)
