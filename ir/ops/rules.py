"""Helpers that the op records share: dtype and shape checks, references of half types, common cotangents."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.types import COMPLEX, FLOATS, INTS, SIGNED, TensorType, dtype_name

INEXACT = (*FLOATS, *COMPLEX)
NUMERIC = (*FLOATS, *COMPLEX, *INTS)
REAL = (*FLOATS, *INTS)
BITS = (*INTS, "bool")
ANY = (*FLOATS, *COMPLEX, *INTS, "bool")
HALF = ("float16", "bfloat16")
SIGNED_NUMERIC = (*FLOATS, *COMPLEX, *SIGNED)


def want_dtype(name: str, type: TensorType, allowed: Sequence[str]) -> None:
    if type.dtype not in allowed:
        raise TypeError(f"{name} expects one of the dtypes {', '.join(allowed)}; received {type.dtype}")


def same_dtype(name: str, *types: TensorType) -> str:
    first = types[0].dtype
    for other in types[1:]:
        if other.dtype != first:
            raise TypeError(f"{name} expects inputs of one dtype; received {first} and {other.dtype}: cast one of them")
    return first


def broadcast(name: str, *types: TensorType) -> tuple[int, ...]:
    """NumPy's rule, trailing axes aligned."""
    first = types[0].shape
    for t in types:
        if t.shape != first:
            break
    else:
        return first
    rank = max([len(t.shape) for t in types])
    found = [1] * rank
    for t in types:
        for axis, extent in enumerate(t.shape, rank - len(t.shape)):
            if extent != 1:
                if found[axis] not in (1, extent):
                    shapes = " and ".join(str(x.shape) for x in types)
                    raise ValueError(
                        f"{name} cannot broadcast {shapes}: axis {axis - rank} has {found[axis]} and {extent}"
                    )
                found[axis] = extent
    return tuple(found)


def want_axis(name: str, axis: Any, rank: int) -> int:
    """A single axis attribute: a non-negative int below the rank."""
    axis = as_int(name, "axis", axis)
    if not 0 <= axis < rank:
        raise ValueError(f"{name} expects 0 <= axis < {rank}; received axis={axis}")
    return axis


def want_axes(name: str, axes: Any, rank: int) -> tuple[int, ...]:
    """A tuple of distinct ascending axes."""
    if not isinstance(axes, tuple):
        raise TypeError(f"{name} expects axes as a tuple; received {axes!r}")
    for axis in axes:
        want_axis(name, axis, rank)
    if list(axes) != sorted(set(axes)):
        raise ValueError(f"{name} expects distinct axes in ascending order; received axes={axes}")
    return axes


def want_rank(name: str, type: TensorType, rank: int, what: str = "input") -> None:
    if type.rank != rank:
        raise ValueError(f"{name} expects {what} of rank {rank}; received {type}")


def want_ints(name: str, type: TensorType, what: str = "indices") -> None:
    if type.dtype not in INTS:
        raise TypeError(f"{name} expects {what} of an integer dtype; received {type.dtype}")


def as_int(name: str, what: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} expects an integer {what}; received {value!r}") from None


def want_shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple):
        raise TypeError(f"{name} expects shape as a tuple; received {shape!r}")
    found = tuple(as_int(name, "extent", n) for n in shape)
    if any(n < 0 for n in found):
        raise ValueError(f"{name} expects non-negative extents; received shape={shape}")
    return found


def real_dtype(dtype: str) -> str:
    return {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)


def complex_dtype(dtype: str) -> str:
    return {"float64": "complex128", "complex128": "complex128"}.get(dtype, "complex64")


def is_half(array: np.ndarray) -> bool:
    return dtype_name(array.dtype) in HALF


def widened(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that computes half types in float32; the interpreter rounds the result back."""

    def reference(*arrays: np.ndarray, **attrs: Any) -> Any:
        return fn(*(a.astype(np.float32) if is_half(a) else a for a in arrays), **attrs)

    reference.__name__ = getattr(fn, "__name__", "reference")
    return reference


# -- pieces of gradients ---------------------------------------------------------------------------
def keep_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """`shape` with extent 1 at `axes`."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def expand(b: Builder, node: Node, shape: Sequence[int], axes: Sequence[int]) -> Node:
    """A reduced value brought back to `shape`: extent 1 at the reduced axes, then broadcast."""
    kept = keep_shape(shape, axes)
    if node.shape != kept:
        node = b.reshape(node, shape=kept)
    return b.broadcast_to(node, shape=tuple(shape)) if kept != tuple(shape) else node


def zeros_like(b: Builder, node: Node) -> Node:
    return b.full_like(node, 0)


def real_of(b: Builder, node: Node) -> Node:
    return b.real(node) if node.dtype in COMPLEX else node


def invert(perm: Sequence[int]) -> tuple[int, ...]:
    found = [0] * len(perm)
    for i, p in enumerate(perm):
        found[p] = i
    return tuple(found)


def swap_last(b: Builder, node: Node) -> Node:
    """Matrix transpose of the last two axes."""
    rank = node.type.rank
    return b.transpose(node, perm=(*range(rank - 2), rank - 1, rank - 2))


def matmul(b: Builder, x: Node, y: Node) -> Node:
    """Batched matrix product of equal batch shapes."""
    lead = tuple(range(x.type.rank - 2))
    return b.dot_general(x, y, contract=((x.type.rank - 1,), (y.type.rank - 2,)), batch=(lead, lead))


def prod(values: Sequence[int]) -> int:
    return math.prod(values)
