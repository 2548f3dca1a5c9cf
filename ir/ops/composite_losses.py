"""COMPOSITE ops: cross-entropies on logits."""

from __future__ import annotations

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.composite import shifted
from graphkeras.ir.ops.rules import FLOATS, broadcast, expand, same_dtype, want_dtype, want_ints, widened
from graphkeras.ir.types import TensorType

EXTRA = {"dtypes": FLOATS}


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


# -- sparse labels ---------------------------------------------------------------------------------
def _sparse_infer(logits: TensorType, labels: TensorType) -> TensorType:
    name = "sparse_softmax_crossentropy"
    want_dtype(name, logits, FLOATS)
    want_ints(name, labels, "labels")
    if logits.rank == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(f"{name} expects logits (..., classes) and labels (...); received {logits} and {labels}")
    if logits.shape[-1] == 0:
        raise ValueError(f"{name} expects at least one class; received logits {logits}")
    return logits.with_shape(logits.shape[:-1])


def _sparse(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    classes = logits.shape[-1]
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        raise IndexError(
            f"sparse_softmax_crossentropy: label {labels[bad].flat[0]} is out of range for logits of {classes} classes"
        )
    return -np.take_along_axis(_log_softmax(logits), labels.astype(np.int64)[..., None], -1)[..., 0]


def one_hot(b: Builder, logits: Node, labels: Node) -> Node:
    """bool of the logits' shape: whether the position is the label."""
    position = b.iota(shape=logits.shape, dtype=labels.dtype, axis=logits.type.rank - 1)
    return b.eq(position, b.reshape(labels, shape=(*labels.shape, 1)))


def _sparse_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    logits, labels = node.inputs
    last = logits.type.rank - 1
    p = b.softmax(logits, axis=last)
    difference = b.sub(p, b.cast(one_hot(b, logits, labels), dtype=logits.dtype))
    return [b.mul(difference, expand(b, ct, logits.shape, (last,))), None]


def _sparse_decompose(b: Builder, node: Node) -> Node:
    logits, labels = node.inputs
    axes = (logits.type.rank - 1,)
    low, _ = shifted(b, logits, axes)
    total = b.log(b.reduce_sum(b.exp(low), axes=axes, keepdims=False))
    chosen = b.reduce_sum(b.select(one_hot(b, logits, labels), low, 0.0), axes=axes, keepdims=False)
    extent = b.const(logits.shape[-1], "int64")
    wide = b.cast(labels, dtype="int64")
    valid = b.emit("and", b.ge(wide, 0), b.lt(wide, extent))
    return b.select(valid, b.sub(total, chosen), float("nan"))


def _labelled(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.uniform(-2, 2, (2, 3, 5)).astype(np.float32), rng.integers(0, 5, (2, 3)).astype(np.int32)]


register(
    Op(
        "sparse_softmax_crossentropy",
        Kind.COMPOSITE,
        _sparse_infer,
        widened(_sparse),
        _sparse_vjp,
        decompose=_sparse_decompose,
        samples=(Sample(((2, 3, 5), (2, 3)), make=_labelled),),
        doc="-log softmax(logits)[label] over the last axis. A label out of range raises IndexError in eager code and "
        "gives NaN in compiled code.",
        extra=EXTRA,
    )
)


# -- dense targets ---------------------------------------------------------------------------------
def _dense_infer(logits: TensorType, targets: TensorType) -> TensorType:
    name = "softmax_crossentropy"
    same_dtype(name, logits, targets)
    want_dtype(name, logits, FLOATS)
    if logits.shape != targets.shape or logits.rank == 0 or logits.shape[-1] == 0:
        raise ValueError(f"{name} expects logits and targets of one shape (..., classes); received {logits}, {targets}")
    return logits.with_shape(logits.shape[:-1])


def _dense_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    logits, targets = node.inputs
    axes = (logits.type.rank - 1,)
    ct = expand(b, ct, logits.shape, axes)
    total = b.reduce_sum(targets, axes=axes, keepdims=True)
    by_logits = b.mul(ct, b.sub(b.mul(b.softmax(logits, axis=axes[0]), total), targets))
    return [by_logits, b.neg(b.mul(ct, b.log_softmax(logits, axis=axes[0])))]


def _dense_decompose(b: Builder, node: Node) -> Node:
    logits, targets = node.inputs
    axes = (logits.type.rank - 1,)
    low, _ = shifted(b, logits, axes)
    total = b.log(b.reduce_sum(b.exp(low), axes=axes, keepdims=False))
    chosen = b.reduce_sum(b.mul(targets, low), axes=axes, keepdims=False)
    return b.sub(b.mul(total, b.reduce_sum(targets, axes=axes, keepdims=False)), chosen)


register(
    Op(
        "softmax_crossentropy",
        Kind.COMPOSITE,
        _dense_infer,
        widened(lambda logits, targets: -(targets * _log_softmax(logits)).sum(axis=-1)),
        _dense_vjp,
        decompose=_dense_decompose,
        samples=(Sample(((2, 3, 5), (2, 3, 5))),),
        doc="-sum of targets * log softmax(logits) over the last axis.",
        extra=EXTRA,
    )
)


# -- binary targets --------------------------------------------------------------------------------
def _sigmoid_infer(logits: TensorType, targets: TensorType) -> TensorType:
    dtype = same_dtype("sigmoid_crossentropy", logits, targets)
    want_dtype("sigmoid_crossentropy", logits, FLOATS)
    return TensorType(broadcast("sigmoid_crossentropy", logits, targets), dtype)


def _sigmoid(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))


def _sigmoid_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    logits, targets = node.inputs
    return [b.mul(ct, b.sub(b.sigmoid(logits), targets)), b.neg(b.mul(ct, logits))]


register(
    Op(
        "sigmoid_crossentropy",
        Kind.COMPOSITE,
        _sigmoid_infer,
        widened(_sigmoid),
        _sigmoid_vjp,
        decompose=lambda b, node: b.sub(b.softplus(node.inputs[0]), b.mul(*node.inputs)),
        samples=(Sample(((2, 3), (2, 3))), Sample(((2, 3), (3,)))),
        doc="-targets log sigmoid(logits) - (1 - targets) log sigmoid(-logits), element by element.",
        extra=EXTRA,
    )
)
