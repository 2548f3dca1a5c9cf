"""Diagonals of matrices."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    Tensor,
    apply,
    axis_of,
    broadcast,
    cast_to,
    full_of,
    permute,
    reshape_to,
    result_type,
    select,
    to_tensor,
)
from graphkeras.ops.creation import _band
from graphkeras.ops.reduction import sum
from graphkeras.ops.shaping import stack


@keras_op
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of two axes, as the last axis."""
    x = to_tensor(x)
    rank = len(x.shape)
    i, j = axis_of(axis1, rank, "diagonal"), axis_of(axis2, rank, "diagonal")
    if i == j:
        raise ValueError(f"diagonal: `axis1` and `axis2` must differ; received {axis1} and {axis2}")
    rest = [a for a in range(rank) if a not in (i, j)]
    y = permute(x, (*rest, i, j))
    rows, columns = y.shape[-2:]
    row, column = builtins.max(-offset, 0), builtins.max(offset, 0)
    n = builtins.max(0, builtins.min(rows - row, columns - column))
    where = np.arange(n, dtype="int32") * (columns + 1) + (row * columns + column)
    flat = reshape_to(y, (*y.shape[:-2], rows * columns))
    return apply("take", flat, to_tensor(where), axis=len(rest), mode="clip")


@keras_op
def diag(x: Any, k: int = 0) -> Any:
    """A matrix with x on its k-th diagonal, or the k-th diagonal of a matrix."""
    x = to_tensor(x)
    if len(x.shape) == 1:
        return _diagonal_matrix(x, k)
    if len(x.shape) != 2:
        raise ValueError(f"diag: argument `x` must be 1-d or 2-d; received shape {x.shape}")
    return diagonal(x, k)


def _diagonal_matrix(x: Tensor, k: int) -> Tensor:
    n = x.shape[0] + builtins.abs(k)
    before, after = builtins.max(-k, 0), builtins.max(k, 0)
    rows = apply("pad", x, low=(before,), high=(after,), interior=(0,), value=0)
    return select(_band(n, n, k, "eq"), broadcast(reshape_to(rows, (n, 1)), (n, n)), full_of((), 0, x.dtype))


@keras_op
def diagflat(x: Any, k: int = 0) -> Any:
    """A matrix with the flattened x on its k-th diagonal."""
    x = to_tensor(x)
    return _diagonal_matrix(reshape_to(x, (math.prod(x.shape),)), k)


@keras_op
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Sum of the diagonal of two axes."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


@keras_op
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of a vector as columns: N of them, falling unless `increasing`."""
    x = to_tensor(x)
    if len(x.shape) != 1:
        raise ValueError(f"vander: argument `x` must be 1-d; received shape {x.shape}")
    n = x.shape[0] if N is None else N
    if x.dtype == "bool":
        x = cast_to(x, result_type(int))
    columns = [full_of(x.shape, 1, x.dtype)]
    for _ in range(1, n):
        columns.append(apply("mul", columns[-1], x))
    columns = columns[:n]
    return stack(columns if increasing else columns[::-1], 1) if columns else full_of((x.shape[0], 0), 0, x.dtype)
