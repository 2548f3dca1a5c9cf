"""Running reductions, sorting and the largest k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.body import MAX, MIN, PROD, SUM
from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import NUMERIC, REAL, as_int, is_half, want_axis, want_dtype
from graphkeras.ir.types import TensorType

ORDERED = (*REAL, "bool")
UFUNCS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
MONOIDS = {"sum": SUM, "prod": PROD, "max": MAX, "min": MIN}


def distinct(*shape: int) -> Callable[..., Any]:
    """Sample maker of well separated values in random order."""

    def make(rng: np.random.Generator) -> list[np.ndarray]:
        count = int(np.prod(shape))
        return [(rng.permutation(count).reshape(shape) / max(count, 1) * 3 - 1.6).astype(np.float32)]

    return make


# -- cumulative ------------------------------------------------------------------------------------
def _cumulative_infer(x: TensorType, *, axis: int, combine: str, reverse: bool) -> TensorType:
    if combine not in UFUNCS:
        raise ValueError(f"cumulative expects combine to be one of {', '.join(UFUNCS)}; received {combine!r}")
    want_dtype(f"cumulative {combine}", x, NUMERIC if combine in ("sum", "prod") else REAL)
    want_axis("cumulative", axis, x.rank)
    return x


def _cumulative(x: np.ndarray, *, axis: int, combine: str, reverse: bool) -> np.ndarray:
    if is_half(x):
        x = x.astype(np.float32)
    x = np.flip(x, axis) if reverse else x
    out = UFUNCS[combine].accumulate(x, axis=axis, dtype=x.dtype)
    return np.flip(out, axis) if reverse else out


def _cumulative_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    axis, combine, reverse = node.attrs["axis"], node.attrs["combine"], node.attrs["reverse"]

    def back(value: Node) -> Node:
        return b.cumulative(value, axis=axis, combine="sum", reverse=not reverse)

    if combine == "sum":
        return [back(ct)]
    if combine == "prod":
        return [_product_gradient(b, ct, node, back)]
    # The place that holds each running extremum: the latest one where the value equals it.
    last = x.shape[axis] - 1
    here = b.iota(shape=x.shape, dtype="int32", axis=axis)
    source = b.select(b.eq(x, node), here, last if reverse else 0)
    place = b.cumulative(source, axis=axis, combine="min" if reverse else "max", reverse=reverse)
    return [b.scatter_along_axis(b.full_like(x, 0), place, ct, axis=axis, combine="add")]


def _product_gradient(b: Builder, ct: Node, node: Node, back: Callable[[Node], Node]) -> Node:
    """sum of ct * y over later places, divided by x; the first zero counts as 1 in a second product."""
    (x,) = node.inputs
    is_zero = b.eq(x, 0.0)
    count = b.cumulative(b.cast(is_zero, dtype="int32"), **{**node.attrs, "combine": "sum"})
    first = b.emit("and", is_zero, b.eq(count, 1))
    without = b.cumulative(b.select(first, 1.0, x), **node.attrs)
    elsewhere = b.div(back(b.mul(ct, node)), b.select(is_zero, 1.0, x))
    return b.select(first, back(b.mul(ct, without)), b.select(is_zero, 0.0, elsewhere))


register(
    Op(
        "cumulative",
        Kind.OPAQUE,
        _cumulative_infer,
        _cumulative,
        _cumulative_vjp,
        MONOIDS,
        samples=(
            Sample(((3, 4),), {"axis": 1, "combine": "sum", "reverse": False}),
            Sample(((3, 4),), {"axis": 0, "combine": "sum", "reverse": True}),
            Sample(((2, 4),), {"axis": 1, "combine": "prod", "reverse": False}),
            Sample(((2, 4),), {"axis": 1, "combine": "max", "reverse": False}, make=distinct(2, 4)),
            Sample(((4, 2),), {"axis": 0, "combine": "min", "reverse": True}, make=distinct(4, 2)),
        ),
        tolerance=1e-5,
        doc="Running sum, product, maximum or minimum along an axis, from its end when `reverse`.",
        extra={"dtypes": NUMERIC},
    )
)


# -- sort ------------------------------------------------------------------------------------------
def _order(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    """Stable order. Descending is the mirror image of the order of the mirror image, so equals keep their places."""
    if is_half(x):
        x = x.astype(np.float32)
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    mirrored = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(mirrored, axis)


def _sort_infer(x: TensorType, *, axis: int, descending: bool) -> TensorType:
    want_dtype("sort", x, ORDERED)
    want_axis("sort", axis, x.rank)
    return x


def _sort(x: np.ndarray, *, axis: int, descending: bool) -> np.ndarray:
    found = np.sort(x.astype(np.float32) if is_half(x) else x, axis=axis)
    return np.flip(found, axis) if descending else found


def _sort_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    axis = node.attrs["axis"]
    order = b.argsort(x, axis=axis, descending=node.attrs["descending"], stable=True)
    return [b.scatter_along_axis(b.full_like(x, 0), order, ct, axis=axis, combine="add")]


def _argsort_infer(x: TensorType, *, axis: int, descending: bool, stable: bool) -> TensorType:
    want_dtype("argsort", x, ORDERED)
    want_axis("argsort", axis, x.rank)
    return x.with_dtype("int32")


register(
    Op(
        "sort",
        Kind.OPAQUE,
        _sort_infer,
        _sort,
        _sort_vjp,
        samples=(
            Sample(((3, 5),), {"axis": 1, "descending": False}, make=distinct(3, 5)),
            Sample(((4, 2),), {"axis": 0, "descending": True}, make=distinct(4, 2)),
        ),
        doc="Ascending with NaN last, or the reverse of that.",
        extra={"dtypes": ORDERED},
    )
)
register(
    Op(
        "argsort",
        Kind.OPAQUE,
        _argsort_infer,
        lambda x, *, axis, descending, stable: _order(x, axis, descending).astype(np.int32),
        lambda b, ct, node: [None],
        samples=(
            Sample(((3, 5),), {"axis": 1, "descending": False, "stable": True}, differentiable=False),
            Sample(((3, 5),), {"axis": 0, "descending": True, "stable": True}, differentiable=False),
        ),
        doc="The indices that sort; always stable.",
        extra={"dtypes": ORDERED},
    )
)


# -- top_k -----------------------------------------------------------------------------------------
def _top_k_infer(x: TensorType, *, k: int) -> tuple[TensorType, TensorType]:
    want_dtype("top_k", x, ORDERED)
    if x.rank == 0:
        raise ValueError("top_k expects an input with at least one axis; received a scalar")
    k = as_int("top_k", "k", k)
    if not 0 <= k <= x.shape[-1]:
        raise ValueError(f"top_k expects 0 <= k <= {x.shape[-1]}; received k={k}")
    shape = (*x.shape[:-1], k)
    return x.with_shape(shape), TensorType(shape, "int32")


def _top_k(x: np.ndarray, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = _order(x, -1, True)[..., :k]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _top_k_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    (x,) = node.inputs
    if ct[0] is None:
        return [None]
    order = b.item(node, 1)
    return [b.scatter_along_axis(b.full_like(x, 0), order, ct[0], axis=x.type.rank - 1, combine="add")]


register(
    Op(
        "top_k",
        Kind.OPAQUE,
        _top_k_infer,
        _top_k,
        _top_k_vjp,
        samples=(Sample(((3, 6),), {"k": 2}, make=distinct(3, 6)), Sample(((4,),), {"k": 4}, make=distinct(4))),
        doc="The k largest along the last axis in descending order, and their indices; equals by index.",
        extra={"dtypes": ORDERED},
    )
)
