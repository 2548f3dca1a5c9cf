"""COMPOSITE ops: graphs of primitives with a name, so that they can have a kernel and a gradient of their own."""

from __future__ import annotations

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import FLOATS, expand, keep_shape, want_axes, want_axis, want_dtype, widened
from graphkeras.ir.types import TensorType

EXTRA = {"dtypes": FLOATS}


def _along(name: str):
    def infer(x: TensorType, *, axis: int) -> TensorType:
        want_dtype(name, x, FLOATS)
        want_axis(name, axis, x.rank)
        return x

    return infer


def shifted(b: Builder, x: Node, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """(x minus its maximum over axes, that maximum with the axes kept); the maximum is a constant to gradients."""
    top = b.stop_gradient(b.reduce_max(x, axes=axes, keepdims=True))
    return b.sub(x, top), top


# -- softmax ---------------------------------------------------------------------------------------
def _softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)


def _softmax_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    weighted = b.mul(ct, node)
    total = b.reduce_sum(weighted, axes=(node.attrs["axis"],), keepdims=True)
    return [b.sub(weighted, b.mul(node, total))]


def _softmax_decompose(b: Builder, node: Node) -> Node:
    (x,) = node.inputs
    if x.type.size == 0:
        return x
    axes = (node.attrs["axis"],)
    e = b.exp(shifted(b, x, axes)[0])
    return b.div(e, b.reduce_sum(e, axes=axes, keepdims=True))


register(
    Op(
        "softmax",
        Kind.COMPOSITE,
        _along("softmax"),
        widened(_softmax),
        _softmax_vjp,
        decompose=_softmax_decompose,
        samples=(Sample(((2, 5),), {"axis": 1}), Sample(((3, 2, 2),), {"axis": 0})),
        doc="exp(x) over its sum along `axis`.",
        extra=EXTRA,
    )
)


def _log_softmax(x: np.ndarray, *, axis: int) -> np.ndarray:
    x = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _log_softmax_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    total = b.reduce_sum(ct, axes=(node.attrs["axis"],), keepdims=True)
    return [b.sub(ct, b.mul(b.exp(node), total))]


def _log_softmax_decompose(b: Builder, node: Node) -> Node:
    (x,) = node.inputs
    if x.type.size == 0:
        return x
    axes = (node.attrs["axis"],)
    low = shifted(b, x, axes)[0]
    return b.sub(low, b.log(b.reduce_sum(b.exp(low), axes=axes, keepdims=True)))


register(
    Op(
        "log_softmax",
        Kind.COMPOSITE,
        _along("log_softmax"),
        widened(_log_softmax),
        _log_softmax_vjp,
        decompose=_log_softmax_decompose,
        samples=(Sample(((2, 5),), {"axis": 1}), Sample(((3, 2, 2),), {"axis": 0})),
        doc="Logarithm of softmax.",
        extra=EXTRA,
    )
)


# -- logsumexp -------------------------------------------------------------------------------------
def _logsumexp_infer(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    want_dtype("logsumexp", x, FLOATS)
    want_axes("logsumexp", axes, x.rank)
    if keepdims:
        return x.with_shape(keep_shape(x.shape, axes))
    return x.with_shape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _logsumexp(x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    out = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top
    return out if keepdims else out.reshape([n for i, n in enumerate(x.shape) if i not in axes])


def _logsumexp_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    axes = node.attrs["axes"]
    return [b.mul(expand(b, ct, x.shape, axes), b.exp(b.sub(x, expand(b, node, x.shape, axes))))]


def _logsumexp_decompose(b: Builder, node: Node) -> Node:
    (x,) = node.inputs
    axes = node.attrs["axes"]
    if x.type.size == 0:
        return b.log(b.reduce_sum(b.exp(x), axes=axes, keepdims=node.attrs["keepdims"]))
    top = b.stop_gradient(b.reduce_max(x, axes=axes, keepdims=True))
    top = b.select(b.isfinite(top), top, 0.0)
    total = b.reduce_sum(b.exp(b.sub(x, top)), axes=axes, keepdims=True)
    return b.reshape(b.add(b.log(total), top), shape=node.shape)


register(
    Op(
        "logsumexp",
        Kind.COMPOSITE,
        _logsumexp_infer,
        widened(_logsumexp),
        _logsumexp_vjp,
        decompose=_logsumexp_decompose,
        samples=(
            Sample(((2, 5),), {"axes": (1,), "keepdims": False}),
            Sample(((2, 3, 2),), {"axes": (0, 2), "keepdims": True}),
        ),
        doc="log of the sum of exp over `axes`, without overflow.",
        extra=EXTRA,
    )
)
