"""POINTWISE ops of two and three inputs. Cotangents are in output shape; autodiff un-broadcasts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.ir import bodies
from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import (
    ANY,
    BITS,
    INEXACT,
    NUMERIC,
    REAL,
    broadcast,
    complex_dtype,
    same_dtype,
    want_dtype,
    widened,
)
from graphkeras.ir.types import FLOATS, INTS, TensorType

Pair = tuple[Node | None, Node | None]
Gradient = Callable[[Builder, Node, Node, Node, Node], Pair]
SHAPES = (((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 2)))


def _binary(
    name: str,
    reference: Callable[[np.ndarray, np.ndarray], Any],
    gradient: Gradient | None,
    body: Callable[..., Any],
    *,
    dtypes: Sequence[str] = FLOATS,
    low: float | tuple[float, float] = -2.0,
    high: float | tuple[float, float] = 2.0,
    result: Callable[[str], str] = lambda d: d,
    doc: str = "",
) -> None:
    """Register one op. gradient(b, ct, x, y, z) -> cotangents of x and y; None: both derivatives are zero."""

    def infer(x: TensorType, y: TensorType) -> TensorType:
        dtype = same_dtype(name, x, y)
        want_dtype(name, x, dtypes)
        return TensorType(broadcast(name, x, y), result(dtype))

    def vjp(b: Builder, ct: Node, node: Node) -> Sequence[Node | None]:
        x, y = node.inputs
        return gradient(b, ct, x, y, node) if gradient else (None, None)

    samples = tuple(Sample(s, low=low, high=high, differentiable=gradient is not None) for s in SHAPES)
    register(
        Op(
            name,
            Kind.POINTWISE,
            infer,
            widened(reference),
            vjp,
            body,
            samples=samples,
            doc=doc,
            extra={"dtypes": tuple(dtypes)},
        )
    )


# -- arithmetic ------------------------------------------------------------------------------------
_binary("add", np.add, lambda b, ct, x, y, z: (ct, ct), bodies.add, dtypes=NUMERIC)
_binary("sub", np.subtract, lambda b, ct, x, y, z: (ct, b.neg(ct)), bodies.sub, dtypes=NUMERIC)
_binary("mul", np.multiply, lambda b, ct, x, y, z: (b.mul(ct, y), b.mul(ct, x)), bodies.mul, dtypes=NUMERIC)


def _div_gradient(b: Builder, ct: Node, x: Node, y: Node, z: Node) -> Pair:
    by_x = b.div(ct, y)
    return by_x, b.neg(b.mul(by_x, z))


_binary(
    "div", np.true_divide, _div_gradient, bodies.div, dtypes=INEXACT, low=(-2.0, 0.5), doc="True division of floats."
)


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.kind in "iu":
        safe = np.power(x, np.maximum(y, 0))
        return np.where(y < 0, np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y & 1), 0)), safe).astype(x.dtype)
    return np.power(x, y)


def _pow_gradient(b: Builder, ct: Node, x: Node, y: Node, z: Node) -> Pair:
    exponent = scalar_value(y)
    if exponent is not None and exponent != 0:
        by_x = b.mul(ct, b.mul(b.pow(x, b.sub(y, 1.0)), y))
    else:
        is_zero = b.eq(y, 0.0)
        by_x = b.mul(ct, b.select(is_zero, 0.0, b.mul(y, b.pow(x, b.sub(b.select(is_zero, 1.0, y), 1.0)))))
    if y.op == "const":
        return by_x, None
    positive = b.ne(x, 0.0) if x.dtype in INEXACT[4:] else b.gt(x, 0.0)
    by_y = b.mul(ct, b.select(positive, b.mul(z, b.log(b.select(positive, x, 1.0))), 0.0))
    return by_x, by_y


_binary(
    "pow",
    _power,
    _pow_gradient,
    bodies.pow_,
    dtypes=NUMERIC,
    low=(0.2, -2.0),
    doc="Integers: negative exponents give 0 unless the base is 1 or -1. The exponent's gradient is 0 for bases <= 0.",
)


def _extremum_gradient(wins: str) -> Gradient:
    """The winner takes the cotangent; equal values share it."""

    def gradient(b: Builder, ct: Node, x: Node, y: Node, z: Node) -> Pair:
        tie = b.select(b.eq(x, y), b.mul(ct, 0.5), 0.0)
        return b.select(b.emit(wins, x, y), ct, tie), b.select(b.emit(wins, y, x), ct, tie)

    return gradient


_binary("maximum", np.maximum, _extremum_gradient("gt"), bodies.maximum, dtypes=(*REAL, "bool"), doc="Keeps NaN.")
_binary("minimum", np.minimum, _extremum_gradient("lt"), bodies.minimum, dtypes=(*REAL, "bool"), doc="Keeps NaN.")


def _no_zero(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Integer division by zero is defined as 0, so that no value depends on the machine."""

    def reference(x: np.ndarray, y: np.ndarray) -> Any:
        if x.dtype.kind in "iu":
            zero = y == 0
            return np.where(zero, 0, fn(x, np.where(zero, 1, y))).astype(x.dtype)
        return fn(x, y)

    return reference


_binary(
    "mod",
    _no_zero(np.mod),
    lambda b, ct, x, y, z: (ct, b.neg(b.mul(ct, b.floor(b.div(x, y))))),
    bodies.mod,
    dtypes=REAL,
    low=(-5.0, 0.9),
    high=(5.0, 1.1),
    doc="Remainder with the sign of the divisor; integers modulo 0 give 0.",
)
_binary(
    "rem",
    _no_zero(np.fmod),
    lambda b, ct, x, y, z: (ct, b.neg(b.mul(ct, b.trunc(b.div(x, y))))),
    bodies.rem,
    dtypes=REAL,
    low=(-5.0, 0.9),
    high=(5.0, 1.1),
    doc="Remainder with the sign of the dividend; integers modulo 0 give 0.",
)
_binary("floor_div", _no_zero(np.floor_divide), None, bodies.floor_div, dtypes=REAL, low=(-5.0, 0.5), high=(5.0, 2.0))


def _atan2_gradient(b: Builder, ct: Node, y: Node, x: Node, z: Node) -> Pair:
    scaled = b.div(ct, b.add(b.mul(x, x), b.mul(y, y)))
    return b.mul(scaled, x), b.neg(b.mul(scaled, y))


_binary("atan2", np.arctan2, _atan2_gradient, bodies.atan2, low=0.3, doc="Angle of the point (second, first).")


def _nextafter(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype.name == "bfloat16":
        import ml_dtypes  # noqa: F401  (registers the ufunc loop)
    return np.nextafter(x, y)


# -- comparison ------------------------------------------------------------------------------------
for _name, _ufunc, _allowed in (
    ("eq", np.equal, ANY),
    ("ne", np.not_equal, ANY),
    ("lt", np.less, (*REAL, "bool")),
    ("le", np.less_equal, (*REAL, "bool")),
    ("gt", np.greater, (*REAL, "bool")),
    ("ge", np.greater_equal, (*REAL, "bool")),
):
    _binary(_name, _ufunc, None, getattr(bodies, _name), dtypes=_allowed, result=lambda d: "bool")

# -- bits ------------------------------------------------------------------------------------------
_binary("and", np.bitwise_and, None, bodies.and_, dtypes=BITS, doc="Logical on bool, bitwise on integers.")
_binary("or", np.bitwise_or, None, bodies.or_, dtypes=BITS, doc="Logical on bool, bitwise on integers.")
_binary("xor", np.bitwise_xor, None, bodies.xor, dtypes=BITS, doc="Logical on bool, bitwise on integers.")
_binary("shl", np.left_shift, None, bodies.shl, dtypes=INTS, low=(-100, 0), high=(100, 7))
_binary(
    "shr",
    np.right_shift,
    None,
    bodies.shr,
    dtypes=INTS,
    low=(-100, 0),
    high=(100, 7),
    doc="Arithmetic for signed integers, logical for unsigned ones.",
)


def _nextafter_infer(x: TensorType, y: TensorType) -> TensorType:
    dtype = same_dtype("nextafter", x, y)
    want_dtype("nextafter", x, FLOATS)
    return TensorType(broadcast("nextafter", x, y), dtype)


register(
    Op(
        "nextafter",
        Kind.POINTWISE,
        _nextafter_infer,
        _nextafter,
        lambda b, ct, node: (None, None),
        bodies.nextafter,
        samples=(Sample(((4,), (4,)), differentiable=False),),
        doc="The representable neighbour of the first towards the second.",
        extra={"dtypes": FLOATS},
    )
)


# -- complex ---------------------------------------------------------------------------------------
def _complex_infer(re: TensorType, im: TensorType) -> TensorType:
    dtype = same_dtype("complex", re, im)
    want_dtype("complex", re, ("float32", "float64"))
    return TensorType(broadcast("complex", re, im), complex_dtype(dtype))


register(
    Op(
        "complex",
        Kind.POINTWISE,
        _complex_infer,
        lambda re, im: (re + 1j * im).astype(complex_dtype(re.dtype.name)),
        lambda b, ct, node: (b.real(ct), b.neg(b.imag(ct))),
        lambda h, re, im: h.complex(re, im),
        samples=(Sample(((2, 3), (3,))),),
        doc="A complex number from its parts.",
        extra={"dtypes": ("float32", "float64")},
    )
)


# -- select ----------------------------------------------------------------------------------------
def _select_infer(condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    want_dtype("select (condition)", condition, ("bool",))
    dtype = same_dtype("select", x, y)
    return TensorType(broadcast("select", condition, x, y), dtype)


def _select_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    condition = node.inputs[0]
    return [None, b.select(condition, ct, 0), b.select(condition, 0, ct)]


register(
    Op(
        "select",
        Kind.POINTWISE,
        _select_infer,
        lambda condition, x, y: np.where(condition, x, y),
        _select_vjp,
        lambda h, condition, x, y: h.select(condition, x, y),
        samples=(
            Sample(((2, 3), (2, 3), (2, 3)), dtypes=("bool", "float32", "float32")),
            Sample(((2, 1), (3,), ()), dtypes=("bool", "float32", "float32")),
        ),
        doc="First value where the condition holds, else the second.",
        extra={"dtypes": ANY},
    )
)
