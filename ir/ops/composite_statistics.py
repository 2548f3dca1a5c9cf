"""COMPOSITE op of batch statistics: standardize, with the gradient that needs two sums instead of four."""

from __future__ import annotations

import math

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import want_axes, want_dtype
from graphkeras.ir.types import TensorType

Axes = tuple[int, ...]
FLOATS = ("float32", "float64")


def _infer(x: TensorType, *, axes: Axes, epsilon: float) -> TensorType:
    want_dtype("standardize", x, FLOATS)
    want_axes("standardize", axes, x.rank)
    return x


def _reference(x: np.ndarray, *, axes: Axes, epsilon: float) -> np.ndarray:
    centre = x.mean(axis=axes, keepdims=True)
    return (x - centre) / np.sqrt(x.var(axis=axes, keepdims=True) + x.dtype.type(epsilon))


def statistics(b: Builder, x: Node, axes: Axes) -> tuple[Node, Node, Node]:
    """(mean, x - mean, variance), the means keeping their axes."""
    share = 1.0 / max(1, math.prod(x.shape[a] for a in axes))
    mean = b.mul(b.reduce_sum(x, axes=axes, keepdims=True), share)
    centred = b.sub(x, mean)
    return mean, centred, b.mul(b.reduce_sum(b.mul(centred, centred), axes=axes, keepdims=True), share)


def _parts(b: Builder, node: Node) -> tuple[Node, Node]:
    _, centred, variance = statistics(b, node.inputs[0], node.attrs["axes"])
    inverse = b.rsqrt(b.add(variance, node.attrs["epsilon"]))
    return b.mul(centred, inverse), inverse


def _vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    """dx = (ct - mean(ct) - y mean(ct y)) / std (Ioffe and Szegedy 2015, section 3, collected)."""
    axes = node.attrs["axes"]
    unit, inverse = _parts(b, node)
    share = 1.0 / max(1, math.prod(node.shape[a] for a in axes))
    mean = b.mul(b.reduce_sum(ct, axes=axes, keepdims=True), share)
    slope = b.mul(b.reduce_sum(b.mul(ct, unit), axes=axes, keepdims=True), share)
    return [b.mul(inverse, b.sub(b.sub(ct, mean), b.mul(unit, slope)))]


register(
    Op(
        "standardize",
        Kind.COMPOSITE,
        _infer,
        _reference,
        _vjp,
        decompose=lambda b, node: _parts(b, node)[0],
        samples=(
            Sample(((6, 5),), {"axes": (0,), "epsilon": 1e-3}),
            Sample(((2, 3, 4),), {"axes": (0, 1), "epsilon": 1e-3}),
        ),
        tolerance=1e-5,
        doc="(x - mean) / sqrt(variance + epsilon), both over `axes` (population variance).",
        extra={"dtypes": FLOATS},
    )
)
