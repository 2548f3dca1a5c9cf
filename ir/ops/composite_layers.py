"""COMPOSITE ops: layer normalisation, gated activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import (
    FLOATS,
    HALF,
    same_dtype,
    want_axes,
    want_dtype,
    widened,
)
from graphkeras.ir.ops.special_reference import erf as erf_reference
from graphkeras.ir.ops.special_reference import sigmoid as sigmoid_reference
from graphkeras.ir.types import TensorType

EXTRA = {"dtypes": FLOATS}
Axes = tuple[int, ...]


def wide(b: Builder, node: Node) -> Node:
    """Half types in float32."""
    return b.cast(node, dtype="float32") if node.dtype in HALF else node


# -- layer normalisation ---------------------------------------------------------------------------
def _norm_infer(x: TensorType, gamma: TensorType, beta: TensorType, *, axis: Axes, epsilon: float) -> TensorType:
    name = "layer_norm"
    same_dtype(name, x, gamma, beta)
    want_dtype(name, x, FLOATS)
    want_axes(name, axis, x.rank)
    expected = tuple(x.shape[a] for a in axis)
    if gamma.shape != expected or beta.shape != expected:
        raise ValueError(
            f"{name} over axis={axis} of {x} expects gamma and beta of shape {expected}; "
            f"received {gamma.shape} and {beta.shape}"
        )
    return x


def _norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, *, axis: Axes, epsilon: float) -> np.ndarray:
    mean = x.mean(axis=axis, keepdims=True)
    variance = np.square(x - mean).mean(axis=axis, keepdims=True)
    shape = [n if i in axis else 1 for i, n in enumerate(x.shape)]
    return (x - mean) / np.sqrt(variance + x.dtype.type(epsilon)) * gamma.reshape(shape) + beta.reshape(shape)


def _normalised(b: Builder, x: Node, axis: Axes, epsilon: float) -> tuple[Node, Node]:
    """((x - mean) / std, 1 / std), in float32 or wider."""
    x = wide(b, x)
    share = 1.0 / max(1, math.prod(x.shape[a] for a in axis))
    mean = b.mul(b.reduce_sum(x, axes=axis, keepdims=True), share)
    centred = b.sub(x, mean)
    variance = b.mul(b.reduce_sum(b.mul(centred, centred), axes=axis, keepdims=True), share)
    inverse = b.rsqrt(b.add(variance, epsilon))
    return b.mul(centred, inverse), inverse


def _scale_shape(x: Node, axis: Axes) -> Axes:
    return tuple(n if i in axis else 1 for i, n in enumerate(x.shape))


def _norm_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, gamma, _ = node.inputs
    axis = node.attrs["axis"]
    unit, inverse = _normalised(b, x, axis, node.attrs["epsilon"])
    ct = wide(b, ct)
    share = 1.0 / max(1, math.prod(gamma.shape))
    others = tuple(i for i in range(x.type.rank) if i not in axis)
    g = b.mul(ct, b.reshape(wide(b, gamma), shape=_scale_shape(x, axis)))
    mean_g = b.mul(b.reduce_sum(g, axes=axis, keepdims=True), share)
    mean_gu = b.mul(b.reduce_sum(b.mul(g, unit), axes=axis, keepdims=True), share)
    by_x = b.mul(inverse, b.sub(b.sub(g, mean_g), b.mul(unit, mean_gu)))
    by_gamma = b.reduce_sum(b.mul(ct, unit), axes=others, keepdims=False)
    by_beta = b.reduce_sum(ct, axes=others, keepdims=False)
    return [b.cast(v, dtype=x.dtype) if v.dtype != x.dtype else v for v in (by_x, by_gamma, by_beta)]


def _norm_decompose(b: Builder, node: Node) -> Node:
    x, gamma, beta = node.inputs
    axis = node.attrs["axis"]
    unit, _ = _normalised(b, x, axis, node.attrs["epsilon"])
    shape = _scale_shape(x, axis)
    scaled = b.mul(unit, b.reshape(wide(b, gamma), shape=shape))
    out = b.add(scaled, b.reshape(wide(b, beta), shape=shape))
    return b.cast(out, dtype=x.dtype) if out.dtype != x.dtype else out


register(
    Op(
        "layer_norm",
        Kind.COMPOSITE,
        _norm_infer,
        widened(_norm),
        _norm_vjp,
        decompose=_norm_decompose,
        samples=(
            Sample(((3, 5), (5,), (5,)), {"axis": (1,), "epsilon": 1e-3}),
            Sample(((2, 3, 4), (3, 4), (3, 4)), {"axis": (1, 2), "epsilon": 1e-5}),
        ),
        tolerance=1e-5,
        doc="(x - mean) / sqrt(variance + epsilon) * gamma + beta over `axis`; gamma, beta: those axes' extents.",
        extra=EXTRA,
    )
)


# -- activations -----------------------------------------------------------------------------------
def _same_infer(name: str) -> Any:
    def infer(x: TensorType, **attrs: Any) -> TensorType:
        want_dtype(name, x, FLOATS)
        return x

    return infer


def _silu_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    s = b.sigmoid(x)
    return [b.mul(ct, b.mul(s, b.add(b.mul(x, b.sub(1.0, s)), 1.0)))]


register(
    Op(
        "silu",
        Kind.COMPOSITE,
        _same_infer("silu"),
        widened(lambda x: x * sigmoid_reference(x)),
        _silu_vjp,
        decompose=lambda b, node: b.mul(node.inputs[0], b.sigmoid(node.inputs[0])),
        samples=(Sample(((2, 3),)),),
        doc="x sigmoid(x).",
        extra=EXTRA,
    )
)
CUBIC = 0.044715
ROOT = math.sqrt(2.0 / math.pi)


def _gelu(x: np.ndarray, *, approximate: bool) -> np.ndarray:
    kind = x.dtype.type
    if approximate:
        return kind(0.5) * x * (kind(1) + np.tanh(kind(ROOT) * (x + kind(CUBIC) * x**3)))
    return kind(0.5) * x * (kind(1) + erf_reference(x * kind(math.sqrt(0.5))))


def _gelu_parts(b: Builder, x: Node, approximate: bool) -> Node:
    """tanh or erf of the scaled input."""
    if approximate:
        return b.tanh(b.mul(b.mul(x, ROOT), b.add(b.mul(b.mul(x, x), CUBIC), 1.0)))
    return b.erf(b.mul(x, math.sqrt(0.5)))


def _gelu_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    approximate = node.attrs["approximate"]
    t = _gelu_parts(b, x, approximate)
    share = b.mul(b.add(t, 1.0), 0.5)
    square = b.mul(x, x)
    if approximate:
        slope = b.mul(b.sub(1.0, b.mul(t, t)), b.mul(b.add(b.mul(square, 3.0 * CUBIC), 1.0), 0.5 * ROOT))
    else:
        slope = b.mul(b.exp(b.mul(square, -0.5)), 1.0 / math.sqrt(2.0 * math.pi))
    return [b.mul(ct, b.add(share, b.mul(x, slope)))]


def _gelu_decompose(b: Builder, node: Node) -> Node:
    (x,) = node.inputs
    return b.mul(b.mul(x, 0.5), b.add(_gelu_parts(b, x, node.attrs["approximate"]), 1.0))


register(
    Op(
        "gelu",
        Kind.COMPOSITE,
        _same_infer("gelu"),
        widened(_gelu),
        _gelu_vjp,
        decompose=_gelu_decompose,
        samples=(Sample(((2, 3),), {"approximate": False}), Sample(((2, 3),), {"approximate": True})),
        doc="x times the normal distribution function of x, exact or with tanh (Hendrycks, Gimpel 2016).",
        extra=EXTRA,
    )
)
