"""REDUCE ops: a monoid over some axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.body import AND, ARGMAX, ARGMIN, MAX, MIN, OR, PROD, SUM, Monoid
from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import BITS, NUMERIC, REAL, expand, is_half, want_axes, want_axis, want_dtype
from graphkeras.ir.types import TensorType

SAMPLES = (
    Sample(((2, 3, 4),), {"axes": (1,), "keepdims": False}),
    Sample(((2, 3, 4),), {"axes": (0, 2), "keepdims": True}),
    Sample(((5,),), {"axes": (0,), "keepdims": False}),
    Sample(((2, 3),), {"axes": (), "keepdims": False}),
)


def _reduce(
    name: str,
    reference: Callable[..., Any],
    gradient: Callable[[Builder, Node, Node, Node, tuple[int, ...]], Node] | None,
    monoid: Monoid,
    dtypes: Sequence[str],
    *,
    needs_values: bool = False,
    doc: str = "",
) -> None:
    """Register one op. gradient(b, ct, x, y, axes): ct and y come expanded to the shape of x."""

    def infer(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
        want_dtype(name, x, dtypes)
        want_axes(name, axes, x.rank)
        if needs_values and any(x.shape[a] == 0 for a in axes):
            raise ValueError(f"{name} over axes={axes} of {x}: an empty axis has no {name.removeprefix('reduce_')}")
        if keepdims:
            return x.with_shape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
        return x.with_shape(tuple(n for i, n in enumerate(x.shape) if i not in axes))

    def run(x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
        if is_half(x):
            x = x.astype(np.float32)
        return np.asarray(reference(x, axis=axes, keepdims=keepdims))

    def vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
        if gradient is None:
            return [None]
        (x,) = node.inputs
        axes = node.attrs["axes"]
        return [gradient(b, expand(b, ct, x.shape, axes), x, expand(b, node, x.shape, axes), axes)]

    samples = SAMPLES if gradient else tuple(Sample(s.shapes, s.attrs, differentiable=False) for s in SAMPLES)
    register(
        Op(
            name,
            Kind.REDUCE,
            infer,
            run,
            vjp,
            monoid,
            samples=samples,
            tolerance=1e-5,
            doc=doc,
            extra={"dtypes": tuple(dtypes)},
        )
    )


def _prod_gradient(b: Builder, ct: Node, x: Node, y: Node, axes: tuple[int, ...]) -> Node:
    """ct * product of the others, with the zeros counted so that nothing divides by one."""
    is_zero = b.eq(x, 0.0)
    zeros = b.reduce_sum(b.cast(is_zero, dtype=x.dtype), axes=axes, keepdims=True)
    others = b.reduce_prod(b.select(is_zero, 1.0, x), axes=axes, keepdims=True)
    here = b.select(b.eq(zeros, 1.0), others, 0.0)
    elsewhere = b.select(b.eq(zeros, 0.0), others, 0.0)
    return b.mul(ct, b.select(is_zero, here, b.div(elsewhere, b.select(is_zero, 1.0, x))))


def _extremum_gradient(b: Builder, ct: Node, x: Node, y: Node, axes: tuple[int, ...]) -> Node:
    """Equal winners share the cotangent."""
    wins = b.cast(b.eq(x, y), dtype=x.dtype)
    return b.mul(ct, b.div(wins, b.reduce_sum(wins, axes=axes, keepdims=True)))


_reduce(
    "reduce_sum",
    lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype),
    lambda b, ct, x, y, axes: ct,
    SUM,
    NUMERIC,
    doc="Sum in the input's dtype; half types are summed in float32.",
)
_reduce(
    "reduce_prod",
    lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype),
    _prod_gradient,
    PROD,
    NUMERIC,
    doc="Product in the input's dtype.",
)
_reduce("reduce_max", np.max, _extremum_gradient, MAX, (*REAL, "bool"), needs_values=True, doc="Maximum; keeps NaN.")
_reduce("reduce_min", np.min, _extremum_gradient, MIN, (*REAL, "bool"), needs_values=True, doc="Minimum; keeps NaN.")
_reduce("reduce_and", np.bitwise_and.reduce, None, AND, BITS, doc="All on bool, bitwise on integers.")
_reduce("reduce_or", np.bitwise_or.reduce, None, OR, BITS, doc="Any on bool, bitwise on integers.")


def _register_arg(name: str, fn: Callable[..., Any], monoid: Monoid) -> None:
    def infer(x: TensorType, *, axis: int) -> TensorType:
        want_dtype(name, x, (*REAL, "bool"))
        axis = want_axis(name, axis, x.rank)
        if x.shape[axis] == 0:
            raise ValueError(f"{name} over axis={axis} of {x}: an empty axis has no extremum")
        return TensorType(x.shape[:axis] + x.shape[axis + 1 :], "int32")

    register(
        Op(
            name,
            Kind.REDUCE,
            infer,
            lambda x, *, axis: fn(x.astype(np.float32) if is_half(x) else x, axis=axis).astype(np.int32),
            lambda b, ct, node: [None],
            monoid,
            samples=(
                Sample(((2, 3, 4),), {"axis": 1}, differentiable=False),
                Sample(((5,),), {"axis": 0}, differentiable=False),
            ),
            doc="Index of the first extreme value; the first NaN wins.",
            extra={"dtypes": (*REAL, "bool")},
        )
    )


_register_arg("argmax", np.argmax, ARGMAX)
_register_arg("argmin", np.argmin, ARGMIN)
