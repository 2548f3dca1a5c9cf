"""GATHER ops: reads and writes at computed places.

Negative indices count from the end, as in NumPy. Scattered updates whose index is out of range are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import ANY, same_dtype, want_axis, want_ints
from graphkeras.ir.types import TensorType

MODES = ("check", "clip", "fill")
COMBINES = ("add", "set", "max", "min", "mul")
EXTRA = {"dtypes": ANY}


def check_range(name: str, indices: np.ndarray, extent: int) -> None:
    """Raise IndexError naming the first index outside [-extent, extent)."""
    bad = (indices < -extent) | (indices >= extent)
    if bad.any():
        value = indices[bad].flat[0]
        raise IndexError(f"{name}: index {value} is out of range for an axis of extent {extent}")


def wrapped(b: Builder, indices: Node, extent: int) -> tuple[Node, Node]:
    """(indices with negatives counted from the end and clamped, whether each was in range)."""
    if indices.dtype.startswith("uint"):
        positive, inside = indices, b.lt(indices, b.const(min(extent, 2**31 - 1), indices.dtype))
    else:
        positive = b.select(b.lt(indices, 0), b.add(indices, extent), indices)
        inside = b.emit("and", b.ge(positive, 0), b.lt(positive, extent))
    return b.minimum(b.maximum(positive, 0), max(extent - 1, 0)), inside


# -- take ------------------------------------------------------------------------------------------
def _take_infer(x: TensorType, indices: TensorType, *, axis: int, mode: str) -> TensorType:
    want_ints("take", indices)
    axis = want_axis("take", axis, x.rank)
    if mode not in MODES:
        raise ValueError(f"take expects mode to be one of {', '.join(MODES)}; received {mode!r}")
    if x.shape[axis] == 0 and indices.size and mode != "fill":
        raise ValueError(f"take cannot read from axis {axis} of {x}: it is empty")
    return x.with_shape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def _take(x: np.ndarray, indices: np.ndarray, *, axis: int, mode: str) -> np.ndarray:
    extent = x.shape[axis]
    indices = indices.astype(np.int64)
    if mode == "check":
        check_range("take", indices, extent)
        return np.take(x, indices, axis=axis)
    if mode == "clip":
        return np.take(x, np.clip(indices, 0, extent - 1), axis=axis)
    inside = (indices >= -extent) & (indices < extent)
    inside = inside.reshape(inside.shape + (1,) * (x.ndim - axis - 1))
    if extent == 0:
        x, extent = np.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype), 1
    found = np.take(x, np.where(indices < 0, indices + extent, indices).clip(0, extent - 1), axis=axis)
    missing = np.nan if x.dtype.kind in "fcV" else 0
    return np.where(inside, found, np.asarray(missing).astype(x.dtype))


def _take_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, indices = node.inputs
    axis = node.attrs["axis"]
    if node.attrs["mode"] == "clip":
        indices = b.minimum(b.maximum(indices, 0), max(x.shape[axis] - 1, 0))
    return [b.scatter(b.full_like(x, 0), indices, ct, axis=axis, combine="add"), None]


def _indices(low: int, high: int, *shapes: tuple[int, ...], position: int = 1, dtype: str = "int32") -> Any:
    """Sample maker: floats of the given shapes with integers in [low, high) at `position`."""

    def make(rng: np.random.Generator) -> list[np.ndarray]:
        arrays = [rng.uniform(-2, 2, s).astype(np.float32) for s in shapes]
        arrays[position] = rng.integers(low, high, shapes[position]).astype(dtype)
        return arrays

    return make


register(
    Op(
        "take",
        Kind.GATHER,
        _take_infer,
        _take,
        _take_vjp,
        samples=(
            Sample(((5, 3), (4,)), {"axis": 0, "mode": "check"}, make=_indices(-5, 5, (5, 3), (4,))),
            Sample(((2, 5), (2, 3)), {"axis": 1, "mode": "clip"}, make=_indices(-3, 9, (2, 5), (2, 3))),
            Sample(((2, 5, 2), ()), {"axis": 1, "mode": "check"}, make=_indices(0, 5, (2, 5, 2), ())),
            Sample(((5,), (6,)), {"axis": 0, "mode": "fill"}, make=_indices(-5, 5, (5,), (6,))),
            Sample(((5,), (6,)), {"axis": 0, "mode": "fill"}, make=_indices(3, 9, (5,), (6,)), differentiable=False),
        ),
        doc="x[..., indices, ...] along `axis`. Out of range: an error (check), the nearest element (clip), NaN or 0 "
        "(fill).",
        extra=EXTRA,
    )
)


# -- scatter ---------------------------------------------------------------------------------------
def _scatter_infer(x: TensorType, indices: TensorType, updates: TensorType, *, axis: int, combine: str) -> TensorType:
    want_ints("scatter", indices)
    same_dtype("scatter", x, updates)
    axis = want_axis("scatter", axis, x.rank)
    want_combine("scatter", combine)
    expected = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    if updates.shape != expected:
        raise ValueError(
            f"scatter of indices {indices.shape} into axis {axis} of {x} expects updates of shape {expected}; "
            f"received {updates.shape}"
        )
    return x


def want_combine(name: str, combine: str) -> None:
    if combine not in COMBINES:
        raise ValueError(f"{name} expects combine to be one of {', '.join(COMBINES)}; received {combine!r}")


UFUNCS = {"add": np.add, "max": np.maximum, "min": np.minimum, "mul": np.multiply}


def combine_at(out: np.ndarray, where: Any, updates: np.ndarray, combine: str) -> None:
    """out[where] = combine(out[where], updates) in place, repeated places included."""
    if combine == "set":
        out[where] = updates
    else:
        UFUNCS[combine].at(out, where, updates)


def _accumulator(x: np.ndarray) -> np.ndarray:
    return np.array(x, dtype=np.float32 if x.dtype.name in ("float16", "bfloat16") else x.dtype)


def _scatter(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axis: int, combine: str) -> np.ndarray:
    out = _accumulator(x)
    extent = x.shape[axis]
    flat = indices.reshape(-1).astype(np.int64)
    rows = np.moveaxis(updates.reshape((*x.shape[:axis], flat.size, *x.shape[axis + 1 :])), axis, 0)
    inside = (flat >= -extent) & (flat < extent)
    if not inside.all():
        flat, rows = flat[inside], rows[inside]
    combine_at(np.moveaxis(out, axis, 0), flat, rows.astype(out.dtype), combine)
    return out


def _masked(b: Builder, values: Node, keep: Node, axis: int) -> Node:
    """`values` (an updates-shaped node) where the index-shaped `keep` holds, else 0."""
    trailing = values.type.rank - axis - keep.type.rank
    return b.select(b.reshape(keep, shape=keep.shape + (1,) * trailing), values, 0)


def _winners(b: Builder, indices: Node, place: Node, inside: Node, extent: int) -> Node:
    """Which of the updates that write to one place is the last one."""
    if indices.type.size == 0:
        return inside
    order = b.reshape(b.iota(shape=(indices.type.size,), dtype="int32", axis=0), shape=indices.shape)
    table = b.scatter(b.full((extent,), -1, "int32"), indices, order, axis=0, combine="set")
    return b.emit("and", inside, b.eq(b.take(table, place, axis=0, mode="clip"), order))


@dataclass(frozen=True)
class Along:
    """How a kind of scatter reads and writes at its indices, for its gradient.

    read(source): what stands at the places. write(into, updates, combine): the scatter itself. keep(value, where):
    value where `where` (of the indices' shape), else 0. last(inside): of updates to one place, whether it is the last.
    """

    read: Callable[[Node], Node]
    write: Callable[[Node, Node, str], Node]
    keep: Callable[[Node, Node], Node]
    last: Callable[[Node], Node]


def scatter_gradient(b: Builder, ct: Node, node: Node, make: Callable[[Node, Node, int], Along]) -> list[Node | None]:
    """make(indices, places, axis): how the scatter `node` goes along its axis."""
    x, indices, updates = node.inputs
    axis, combine = node.attrs["axis"], node.attrs["combine"]
    if indices.type.size == 0 or x.type.size == 0:
        return [ct, None, b.full_like(updates, 0)]
    place, inside = wrapped(b, indices, x.shape[axis])
    along = make(indices, place, axis)
    if combine == "add":
        return [ct, None, along.keep(along.read(ct), inside)]
    if combine == "set":
        by_x = along.write(ct, b.full_like(updates, 0), "set")
        return [by_x, None, along.keep(along.read(ct), along.last(inside))]
    if combine == "mul":
        by_updates = b.div(along.read(b.mul(ct, node)), updates)
        return [along.write(ct, updates, "mul"), None, along.keep(by_updates, inside)]
    kept = b.cast(b.eq(x, node), dtype=x.dtype)
    won = along.keep(b.cast(b.eq(updates, along.read(node)), dtype=x.dtype), inside)
    shared = b.div(ct, along.write(kept, won, "add"))
    return [b.mul(shared, kept), None, b.mul(along.read(shared), won)]


def _scatter_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    def make(indices: Node, place: Node, axis: int) -> Along:
        return Along(
            read=lambda source: b.take(source, place, axis=axis, mode="clip"),
            write=lambda into, updates, combine: b.scatter(into, indices, updates, axis=axis, combine=combine),
            keep=lambda value, where: _masked(b, value, where, axis),
            last=lambda inside: _winners(b, indices, place, inside, node.shape[axis]),
        )

    return scatter_gradient(b, ct, node, make)


register(
    Op(
        "scatter",
        Kind.GATHER,
        _scatter_infer,
        _scatter,
        _scatter_vjp,
        samples=(
            *tuple(
                Sample(((5, 2), (4,), (4, 2)), {"axis": 0, "combine": c}, make=_indices(-7, 7, (5, 2), (4,), (4, 2)))
                for c in COMBINES
            ),
            Sample(
                ((2, 5), (2, 2), (2, 2, 2)),
                {"axis": 1, "combine": "add"},
                make=_indices(0, 3, (2, 5), (2, 2), (2, 2, 2)),
            ),
        ),
        tolerance=1e-5,
        doc="x with `updates` combined into x[..., indices, ...]; of several 'set' to one place the last stays. The "
        "gradient of 'mul' divides by the updates.",
        extra=EXTRA,
    )
)
