"""POINTWISE ops of one input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.ir import bodies
from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops import special_reference as special
from graphkeras.ir.ops.rules import (
    ANY,
    BITS,
    INEXACT,
    NUMERIC,
    SIGNED_NUMERIC,
    real_dtype,
    want_dtype,
    widened,
)
from graphkeras.ir.types import COMPLEX, FLOATS, INTS, TensorType, numpy_dtype

Gradient = Callable[[Builder, Node, Node, Node], Node | None]


def _unary(
    name: str,
    reference: Callable[[np.ndarray], Any],
    gradient: Gradient | None,
    body: Callable[..., Any],
    *,
    dtypes: Sequence[str] = FLOATS,
    low: float = -2.0,
    high: float = 2.0,
    tolerance: float = 1e-6,
    result: Callable[[str], str] = lambda d: d,
    doc: str = "",
) -> None:
    """Register one op. gradient(b, ct, x, y) -> cotangent of x; None: the derivative is zero."""

    def infer(x: TensorType) -> TensorType:
        want_dtype(name, x, dtypes)
        return x.with_dtype(result(x.dtype))

    def vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
        return [gradient(b, ct, node.inputs[0], node) if gradient else None]

    samples = [Sample(((2, 3),), low=low, high=high, differentiable=gradient is not None)]
    register(
        Op(
            name,
            Kind.POINTWISE,
            infer,
            widened(reference),
            vjp,
            body,
            samples=tuple(samples),
            tolerance=tolerance,
            doc=doc,
            extra={"dtypes": tuple(dtypes)},
        )
    )


# -- arithmetic ------------------------------------------------------------------------------------
def _abs_gradient(b: Builder, ct: Node, x: Node, y: Node) -> Node:
    if x.dtype in COMPLEX:
        return b.mul(b.cast(ct, dtype=x.dtype), b.conj(b.sign(x)))
    return b.mul(ct, b.sign(x))


_unary("neg", np.negative, lambda b, ct, x, y: b.neg(ct), bodies.neg, dtypes=NUMERIC)
_unary("abs", np.abs, _abs_gradient, bodies.abs_, dtypes=NUMERIC, result=real_dtype, doc="Modulus.")
_unary("sign", special.sign, None, bodies.sign, dtypes=SIGNED_NUMERIC + INTS[4:], doc="-1, 0, 1; z/|z| for complex.")
_unary("floor", np.floor, None, bodies.floor)
_unary("ceil", np.ceil, None, bodies.ceil)
_unary("round", np.rint, None, bodies.round_, doc="To the nearest integer, halves to even.")
_unary("trunc", np.trunc, None, bodies.trunc)

# -- exponentials ----------------------------------------------------------------------------------
_unary("exp", np.exp, lambda b, ct, x, y: b.mul(ct, y), bodies.exp, dtypes=INEXACT)
_unary("expm1", np.expm1, lambda b, ct, x, y: b.mul(ct, b.add(y, 1.0)), bodies.expm1)
_unary("log", np.log, lambda b, ct, x, y: b.div(ct, x), bodies.log, dtypes=INEXACT, low=0.1)
_unary("log1p", np.log1p, lambda b, ct, x, y: b.div(ct, b.add(x, 1.0)), bodies.log1p, low=-0.7)
_unary("sqrt", np.sqrt, lambda b, ct, x, y: b.div(b.mul(ct, 0.5), y), bodies.sqrt, dtypes=INEXACT, low=0.1)
_unary(
    "rsqrt",
    special.rsqrt,
    lambda b, ct, x, y: b.mul(b.mul(ct, -0.5), b.mul(y, b.mul(y, y))),
    bodies.rsqrt,
    dtypes=INEXACT,
    low=0.1,
)

# -- trigonometry ----------------------------------------------------------------------------------
_unary("sin", np.sin, lambda b, ct, x, y: b.mul(ct, b.cos(x)), bodies.sin, dtypes=INEXACT)
_unary("cos", np.cos, lambda b, ct, x, y: b.neg(b.mul(ct, b.sin(x))), bodies.cos, dtypes=INEXACT)
_unary("tan", np.tan, lambda b, ct, x, y: b.mul(ct, b.add(b.mul(y, y), 1.0)), bodies.tan, low=-1.2, high=1.2)


def _one_minus_square(b: Builder, x: Node) -> Node:
    """(1 - x)(1 + x), exact near 1."""
    return b.mul(b.sub(1.0, x), b.add(x, 1.0))


_unary(
    "asin", np.arcsin, lambda b, ct, x, y: b.mul(ct, b.rsqrt(_one_minus_square(b, x))), bodies.asin, low=-0.9, high=0.9
)
_unary(
    "acos",
    np.arccos,
    lambda b, ct, x, y: b.neg(b.mul(ct, b.rsqrt(_one_minus_square(b, x)))),
    bodies.acos,
    low=-0.9,
    high=0.9,
)
_unary("atan", np.arctan, lambda b, ct, x, y: b.div(ct, b.add(b.mul(x, x), 1.0)), bodies.atan)
_unary("sinh", np.sinh, lambda b, ct, x, y: b.mul(ct, b.cosh(x)), bodies.sinh)
_unary("cosh", np.cosh, lambda b, ct, x, y: b.mul(ct, b.sinh(x)), bodies.cosh)
_unary("asinh", np.arcsinh, lambda b, ct, x, y: b.mul(ct, b.rsqrt(b.add(b.mul(x, x), 1.0))), bodies.asinh)
_unary(
    "acosh",
    np.arccosh,
    lambda b, ct, x, y: b.mul(ct, b.rsqrt(b.mul(b.sub(x, 1.0), b.add(x, 1.0)))),
    bodies.acosh,
    low=1.2,
    high=4.0,
)
_unary("atanh", np.arctanh, lambda b, ct, x, y: b.div(ct, _one_minus_square(b, x)), bodies.atanh, low=-0.9, high=0.9)
_unary("tanh", np.tanh, lambda b, ct, x, y: b.mul(ct, _one_minus_square(b, y)), bodies.tanh)

# -- neural ----------------------------------------------------------------------------------------
_unary(
    "sigmoid",
    special.sigmoid,
    lambda b, ct, x, y: b.mul(ct, b.mul(y, b.sub(1.0, y))),
    bodies.sigmoid,
    doc="1 / (1 + exp(-x)).",
)
_unary(
    "softplus",
    lambda x: np.logaddexp(x, x.dtype.type(0)),
    lambda b, ct, x, y: b.mul(ct, b.sigmoid(x)),
    bodies.softplus,
    doc="log(1 + exp(x)).",
)
_unary(
    "relu",
    lambda x: np.maximum(x, x.dtype.type(0)),
    lambda b, ct, x, y: b.select(b.gt(y, 0), ct, 0),  # of the result: then nobody keeps the input
    bodies.relu,
    dtypes=(*FLOATS, *INTS),
    doc="max(x, 0); the gradient at 0 is 0.",
)

# -- special ---------------------------------------------------------------------------------------
_unary(
    "erf",
    special.erf,
    lambda b, ct, x, y: b.mul(b.mul(ct, 2.0 / math.sqrt(math.pi)), b.exp(b.neg(b.mul(x, x)))),
    bodies.erf,
)
_unary(
    "erfinv",
    special.erfinv,
    lambda b, ct, x, y: b.mul(b.mul(ct, math.sqrt(math.pi) / 2.0), b.exp(b.mul(y, y))),
    bodies.erfinv,
    low=-0.9,
    high=0.9,
)
_unary(
    "lgamma",
    special.lgamma,
    lambda b, ct, x, y: b.mul(ct, b.digamma(x)),
    bodies.lgamma,
    low=0.2,
    high=4.0,
    tolerance=1e-5,
)


def _trigamma(b: Builder, x: Node) -> Node:
    """Derivative of digamma: reflection below 1/2, recurrence up to x >= 8, then the asymptotic series."""
    reflect = b.lt(x, 0.5)
    z = b.select(reflect, b.sub(1.0, x), x)
    total = b.full_like(x, 0.0)
    for step in range(8):
        shifted = b.add(z, float(step))
        total = b.add(total, b.div(1.0, b.mul(shifted, shifted)))
    z = b.add(z, 8.0)
    inverse = b.div(1.0, z)
    square = b.mul(inverse, inverse)
    series = b.full_like(x, 7.0 / 6.0)
    for term in (-691.0 / 2730.0, 5.0 / 66.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 1.0 / 6.0):
        series = b.add(b.mul(series, square), term)
    tail = b.add(inverse, b.add(b.mul(square, 0.5), b.mul(b.mul(series, square), inverse)))
    value = b.add(total, tail)
    sine = b.sin(b.mul(x, math.pi))
    mirrored = b.sub(b.div(math.pi**2, b.mul(sine, sine)), value)
    return b.select(reflect, mirrored, value)


_unary(
    "digamma",
    special.digamma,
    lambda b, ct, x, y: b.mul(ct, _trigamma(b, x)),
    bodies.digamma,
    low=0.2,
    high=4.0,
    tolerance=1e-5,
    doc="Derivative of lgamma.",
)

# -- tests on values -------------------------------------------------------------------------------
_unary("isnan", np.isnan, None, bodies.isnan, dtypes=INEXACT, result=lambda d: "bool")
_unary("isinf", np.isinf, None, bodies.isinf, dtypes=INEXACT, result=lambda d: "bool")
_unary("isfinite", np.isfinite, None, bodies.isfinite, dtypes=INEXACT, result=lambda d: "bool")
_unary("not", np.invert, None, bodies.not_, dtypes=BITS, doc="Logical on bool, bitwise on integers.")
_unary("stop_gradient", lambda x: x, None, lambda h, x: x, dtypes=ANY, doc="The value, with a zero derivative.")

# -- complex ---------------------------------------------------------------------------------------


def _imag_gradient(b: Builder, ct: Node, x: Node, y: Node) -> Node | None:
    return b.complex(b.full_like(ct, 0.0), b.neg(ct)) if x.dtype in COMPLEX else None


_unary(
    "real",
    np.real,
    lambda b, ct, x, y: b.cast(ct, dtype=x.dtype),
    lambda h, x: h.real(x) if h.dtype(x) in COMPLEX else x,
    dtypes=INEXACT,
    result=real_dtype,
)
_unary(
    "imag",
    np.imag,
    _imag_gradient,
    lambda h, x: h.imag(x) if h.dtype(x) in COMPLEX else h.sub(x, x),
    dtypes=INEXACT,
    result=real_dtype,
)
_unary(
    "conj",
    np.conj,
    lambda b, ct, x, y: b.conj(ct),
    lambda h, x: h.complex(h.real(x), h.neg(h.imag(x))) if h.dtype(x) in COMPLEX else x,
    dtypes=INEXACT,
)


# -- conversions -----------------------------------------------------------------------------------
def _cast_infer(x: TensorType, *, dtype: str) -> TensorType:
    numpy_dtype(dtype)
    return x.with_dtype(dtype)


def _cast(x: np.ndarray, *, dtype: str) -> np.ndarray:
    if x.dtype.name in COMPLEX and dtype not in (*COMPLEX, "bool"):
        x = x.real
    wanted = numpy_dtype(dtype)
    return x if x.dtype == wanted else x.astype(wanted)


def _cast_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    return [b.cast(ct, dtype=x.dtype) if x.dtype in INEXACT and node.dtype in INEXACT else None]


register(
    Op(
        "cast",
        Kind.POINTWISE,
        _cast_infer,
        _cast,
        _cast_vjp,
        lambda h, x, *, dtype: h.cast(x, dtype),
        samples=(
            Sample(((2, 3),), {"dtype": "float64"}),
            Sample(((4,),), {"dtype": "int32"}, differentiable=False),
            Sample(((4,),), {"dtype": "bool"}, differentiable=False),
        ),
        doc="Convert: floats truncate towards zero, anything non-zero is True, complex keeps its real part.",
        extra={"dtypes": ANY},
    )
)


def _bitcast_infer(x: TensorType, *, dtype: str) -> TensorType:
    before, after = numpy_dtype(x.dtype).itemsize, numpy_dtype(dtype).itemsize
    if before != after:
        raise TypeError(f"bitcast expects dtypes of one size; received {x.dtype} ({before} bytes) to {dtype} ({after})")
    return x.with_dtype(dtype)


register(
    Op(
        "bitcast",
        Kind.POINTWISE,
        _bitcast_infer,
        lambda x, *, dtype: np.ascontiguousarray(x).view(numpy_dtype(dtype)).reshape(x.shape),
        lambda b, ct, node: [None],
        lambda h, x, *, dtype: h.bitcast(x, dtype),
        samples=(Sample(((3,),), {"dtype": "uint32"}, dtypes=("float32",), differentiable=False),),
        doc="The same bits read as another dtype.",
        extra={"dtypes": ("float32", "int32", "uint32")},
    )
)
