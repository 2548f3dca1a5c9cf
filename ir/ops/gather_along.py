"""GATHER ops with an index per element along one axis, and slices at computed places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.gather import (
    COMBINES,
    Along,
    check_range,
    combine_at,
    scatter_gradient,
    want_combine,
)
from graphkeras.ir.ops.rules import ANY, same_dtype, want_axis, want_ints
from graphkeras.ir.types import TensorType

EXTRA = {"dtypes": ANY}


def _want_line(name: str, x: TensorType, indices: TensorType, axis: int) -> None:
    want_ints(name, indices)
    axis = want_axis(name, axis, x.rank)
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    if indices.rank != x.rank or indices.shape[:axis] + indices.shape[axis + 1 :] != rest:
        raise ValueError(
            f"{name} expects indices with the extents of x except on axis {axis}; received x {x} and indices {indices}"
        )


def _places(indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """Full index arrays: `indices` on `axis`, the own position elsewhere."""
    grid = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    grid[axis] = indices
    return tuple(np.broadcast_arrays(*grid))


# -- take_along_axis -------------------------------------------------------------------------------
def _take_infer(x: TensorType, indices: TensorType, *, axis: int) -> TensorType:
    _want_line("take_along_axis", x, indices, axis)
    return x.with_shape(indices.shape)


def _take(x: np.ndarray, indices: np.ndarray, *, axis: int) -> np.ndarray:
    indices = indices.astype(np.int64)
    check_range("take_along_axis", indices, x.shape[axis])
    return np.take_along_axis(x, indices, axis)


def _take_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, indices = node.inputs
    return [b.scatter_along_axis(b.full_like(x, 0), indices, ct, axis=node.attrs["axis"], combine="add"), None]


def _make(axis: int, low: int, high: int, *shapes: tuple[int, ...]) -> Callable[..., Any]:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        arrays = [rng.uniform(0.5, 2, s).astype(np.float32) for s in shapes]
        arrays[1] = rng.integers(low, high, shapes[1]).astype(np.int32)
        return arrays

    return make


register(
    Op(
        "take_along_axis",
        Kind.GATHER,
        _take_infer,
        _take,
        _take_vjp,
        samples=(
            Sample(((3, 5), (3, 2)), {"axis": 1}, make=_make(1, -5, 5, (3, 5), (3, 2))),
            Sample(((4, 2, 2), (6, 2, 2)), {"axis": 0}, make=_make(0, 0, 4, (4, 2, 2), (6, 2, 2))),
        ),
        doc="result[i, j] = x[i, indices[i, j]] for axis 1, and so on for other axes.",
        extra=EXTRA,
    )
)


# -- scatter_along_axis ----------------------------------------------------------------------------
def _scatter_infer(x: TensorType, indices: TensorType, updates: TensorType, *, axis: int, combine: str) -> TensorType:
    name = "scatter_along_axis"
    _want_line(name, x, indices, axis)
    same_dtype(name, x, updates)
    want_combine(name, combine)
    if updates.shape != indices.shape:
        raise ValueError(f"{name} expects updates of the indices' shape {indices.shape}; received {updates.shape}")
    return x


def _scatter(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axis: int, combine: str) -> np.ndarray:
    out = np.array(x, dtype=np.float32 if x.dtype.name in ("float16", "bfloat16") else x.dtype)
    indices = indices.astype(np.int64)
    inside = (indices >= -x.shape[axis]) & (indices < x.shape[axis])
    where = tuple(p[inside] for p in _places(indices, axis))
    combine_at(out, where, updates[inside].astype(out.dtype), combine)
    return out


def _scatter_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    def make(indices: Node, place: Node, axis: int) -> Along:
        def write(into: Node, updates: Node, combine: str) -> Node:
            return b.scatter_along_axis(into, indices, updates, axis=axis, combine=combine)

        def read(source: Node) -> Node:
            return b.take_along_axis(source, place, axis=axis)

        def last(inside: Node) -> Node:
            order = b.iota(shape=indices.shape, dtype="int32", axis=axis)
            table = write(b.full(node.shape, -1, "int32"), order, "set")
            return b.emit("and", inside, b.eq(read(table), order))

        return Along(read, write, lambda value, where: b.select(where, value, 0), last)

    return scatter_gradient(b, ct, node, make)


register(
    Op(
        "scatter_along_axis",
        Kind.GATHER,
        _scatter_infer,
        _scatter,
        _scatter_vjp,
        samples=tuple(
            Sample(
                ((3, 5), (3, 4), (3, 4)),
                {"axis": 1, "combine": c},
                make=_make(1, -7, 7, (3, 5), (3, 4), (3, 4)),
            )
            for c in COMBINES
        ),
        tolerance=1e-5,
        doc="x with updates[i, j] combined into x[i, indices[i, j]] for axis 1, and so on; rules as for scatter.",
        extra=EXTRA,
    )
)


# -- dynamic slices --------------------------------------------------------------------------------
def _want_starts(name: str, x: TensorType, starts: tuple[TensorType, ...], sizes: tuple[int, ...]) -> None:
    if len(starts) != x.rank or len(sizes) != x.rank:
        raise ValueError(
            f"{name} expects one start and one size per axis of {x}; received {len(starts)} starts and sizes {sizes}"
        )
    for s in starts:
        want_ints(name, s, "starts")
        if s.shape != ():
            raise ValueError(f"{name} expects scalar starts; received {s}")
    if any(not 0 <= k <= n for k, n in zip(sizes, x.shape, strict=True)):
        raise ValueError(f"{name} expects sizes within the shape {x.shape}; received {sizes}")


def _box(shape: tuple[int, ...], starts: tuple[np.ndarray, ...], sizes: tuple[int, ...]) -> tuple[slice, ...]:
    """Starts are moved so that the box lies inside."""
    firsts = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, shape, sizes, strict=True)]
    return tuple(slice(f, f + k) for f, k in zip(firsts, sizes, strict=True))


def _dynamic_slice_infer(x: TensorType, *starts: TensorType, sizes: tuple[int, ...]) -> TensorType:
    _want_starts("dynamic_slice", x, starts, sizes)
    return x.with_shape(tuple(sizes))


def _dynamic_slice_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, *starts = node.inputs
    return [b.dynamic_update_slice(b.full_like(x, 0), ct, *starts), *(None for _ in starts)]


def _dynamic_update_infer(x: TensorType, update: TensorType, *starts: TensorType) -> TensorType:
    same_dtype("dynamic_update_slice", x, update)
    _want_starts("dynamic_update_slice", x, starts, update.shape)
    return x


def _dynamic_update(x: np.ndarray, update: np.ndarray, *starts: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[_box(x.shape, starts, update.shape)] = update
    return out


def _dynamic_update_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    _, update, *starts = node.inputs
    by_x = b.dynamic_update_slice(ct, b.full_like(update, 0), *starts)
    return [by_x, b.dynamic_slice(ct, *starts, sizes=update.shape), *(None for _ in starts)]


def _with_starts(shapes: tuple[tuple[int, ...], ...], starts: tuple[int, ...]) -> Callable[..., Any]:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        floats = [rng.uniform(-1, 1, s).astype(np.float32) for s in shapes]
        return floats + [np.array(s, np.int32) for s in starts]

    return make


register(
    Op(
        "dynamic_slice",
        Kind.GATHER,
        _dynamic_slice_infer,
        lambda x, *starts, sizes: x[_box(x.shape, starts, sizes)],
        _dynamic_slice_vjp,
        samples=(
            Sample(((4, 5), (), ()), {"sizes": (2, 3)}, make=_with_starts(((4, 5),), (1, 2))),
            Sample(((4, 5), (), ()), {"sizes": (2, 3)}, make=_with_starts(((4, 5),), (9, -3))),
        ),
        doc="The box of `sizes` at computed starts; a box that reaches outside is moved inside.",
        extra=EXTRA,
    )
)
register(
    Op(
        "dynamic_update_slice",
        Kind.GATHER,
        _dynamic_update_infer,
        _dynamic_update,
        _dynamic_update_vjp,
        samples=(
            Sample(((4, 5), (2, 3), (), ()), make=_with_starts(((4, 5), (2, 3)), (1, 2))),
            Sample(((4, 5), (2, 3), (), ()), make=_with_starts(((4, 5), (2, 3)), (9, -3))),
        ),
        doc="x with the box at computed starts replaced; a box that reaches outside is moved inside.",
        extra=EXTRA,
    )
)
