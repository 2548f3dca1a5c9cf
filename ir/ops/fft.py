"""Discrete Fourier transforms, unnormalised forward and 1/n backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import as_int, complex_dtype, real_dtype, want_axis, want_dtype
from graphkeras.ir.types import COMPLEX, TensorType

KINDS = ("fft", "ifft", "rfft", "irfft")
REALS = ("float32", "float64")
Axes = tuple[int, ...]


def _resized(x: TensorType, axis: int, extent: int, dtype: str) -> TensorType:
    return TensorType((*x.shape[:axis], extent, *x.shape[axis + 1 :]), dtype)


def _infer(x: TensorType, *, kind: str, axes: Axes, length: int | None = None) -> TensorType:
    if kind not in KINDS:
        raise ValueError(f"fft expects kind to be one of {', '.join(KINDS)}; received {kind!r}")
    for axis in axes:
        want_axis(kind, axis, x.rank)
        if x.shape[axis] == 0:
            raise ValueError(f"{kind} expects a non-empty axis {axis}; received {x}")
    want_dtype(kind, x, REALS if kind == "rfft" else COMPLEX)
    if kind in ("fft", "ifft"):
        return x
    if len(axes) != 1:
        raise ValueError(f"{kind} expects one axis; received axes={axes}")
    if kind == "rfft":
        return _resized(x, axes[0], x.shape[axes[0]] // 2 + 1, complex_dtype(x.dtype))
    n = as_int(kind, "length", length)
    if n < 1 or x.shape[axes[0]] != n // 2 + 1:
        raise ValueError(f"irfft of length {n} expects {n // 2 + 1} values on axis {axes[0]}; received {x}")
    return _resized(x, axes[0], n, real_dtype(x.dtype))


def _reference(x: np.ndarray, *, kind: str, axes: Axes, length: int | None = None) -> np.ndarray:
    if kind == "fft":
        return np.fft.fftn(x, axes=axes)
    if kind == "ifft":
        return np.fft.ifftn(x, axes=axes)
    if kind == "rfft":
        return np.fft.rfft(x, axis=axes[0])
    return np.fft.irfft(x, n=length, axis=axes[0])


def _vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    """The transposes of the linear maps (a cotangent multiplies its tangent without conjugation)."""
    (x,) = node.inputs
    kind, axes = node.attrs["kind"], node.attrs["axes"]
    if kind in ("fft", "ifft"):
        return [b.fft(ct, kind=kind, axes=axes)]
    axis = axes[0]
    none = (0,) * x.type.rank
    if kind == "rfft":
        missing = x.shape[axis] - ct.shape[axis]
        high = tuple(missing if i == axis else 0 for i in range(x.type.rank))
        padded = b.pad(ct, low=none, high=high, interior=none, value=0)
        return [b.real(b.fft(padded, kind="fft", axes=axes))]
    n = node.shape[axis]
    weights = np.full(n // 2 + 1, 2.0 / n)
    weights[0] = 1.0 / n
    if n % 2 == 0:
        weights[-1] = 1.0 / n
    shape = tuple(-1 if i == axis else 1 for i in range(x.type.rank))
    factor = b.const(weights.reshape(shape), x.dtype)
    return [b.mul(factor, b.conj(b.fft(ct, kind="rfft", axes=axes)))]


def _complex_of(*shape: int) -> Callable[..., Any]:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        return [(rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)).astype(np.complex64)]

    return make


register(
    Op(
        "fft",
        Kind.OPAQUE,
        _infer,
        _reference,
        _vjp,
        samples=(
            Sample(((3, 5),), {"kind": "fft", "axes": (1,)}, make=_complex_of(3, 5)),
            Sample(((3, 4),), {"kind": "ifft", "axes": (0, 1)}, make=_complex_of(3, 4)),
            Sample(((6, 2),), {"kind": "rfft", "axes": (0,)}),
            Sample(((2, 5),), {"kind": "rfft", "axes": (1,)}),
            Sample(((2, 4),), {"kind": "irfft", "axes": (1,), "length": 6}, make=_complex_of(2, 4)),
            Sample(((2, 4),), {"kind": "irfft", "axes": (1,), "length": 7}, make=_complex_of(2, 4)),
        ),
        tolerance=1e-5,
        doc="kind 'fft' and 'ifft' over any axes of a complex input; 'rfft' (real to n // 2 + 1 values) and its "
        "inverse 'irfft' (length = n) over one axis.",
        extra={"dtypes": REALS},
    )
)
