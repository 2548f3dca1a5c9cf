"""Elementwise functions of one argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    COMPLEX,
    FLOATS,
    INTS,
    Tensor,
    apply,
    cast_to,
    floating,
    full_of,
    numpy_dtype,
    result_type,
    select,
    to_tensor,
    unary,
)


@keras_op
def abs(x: Any) -> Any:
    """Absolute value; the modulus of complex numbers.

    >>> from graphkeras import ops
    >>> ops.abs([-2.0, 3.0])
    <Tensor shape=(2,), dtype=float32, value=[2. 3.]>
    """
    x = to_tensor(x)
    return x if x.dtype == "bool" or x.dtype in ("uint8", "uint16", "uint32", "uint64") else apply("abs", x)


@keras_op
def absolute(x: Any) -> Any:
    """Absolute value; the modulus of complex numbers."""
    return abs(x)


@keras_op
def fabs(x: Any) -> Any:
    """Absolute value as a float."""
    return unary("abs", x)


@keras_op
def negative(x: Any) -> Any:
    """`-x`. Bools are refused: use `logical_not`."""
    x = to_tensor(x)
    if x.dtype == "bool":
        raise TypeError("negative: argument `x` must be a number; received dtype bool. Use logical_not")
    return apply("neg", x)


@keras_op
def sign(x: Any) -> Any:
    """-1, 0 or 1, of the input's dtype."""
    x = to_tensor(x)
    return apply("sign", cast_to(x, "int32") if x.dtype == "bool" else x)


@keras_op
def signbit(x: Any) -> Any:
    """Whether the sign bit is set (true for -0.0 as well)."""
    x = to_tensor(x)
    if x.dtype not in FLOATS:
        return full_of(x.shape, False, "bool") if x.dtype[0] in "ub" else apply("lt", x, 0)
    negative_zero = apply("and", apply("eq", x, 0.0), apply("lt", apply("div", 1.0, x), 0.0))
    return apply("or", apply("lt", x, 0.0), negative_zero)


@keras_op
def floor(x: Any) -> Any:
    """Largest whole number not above x, as a float."""
    return unary("floor", x)


@keras_op
def ceil(x: Any) -> Any:
    """Smallest whole number not below x, as a float."""
    return unary("ceil", x)


@keras_op
def trunc(x: Any) -> Any:
    """x without its fraction."""
    x = to_tensor(x)
    return apply("trunc", x) if x.dtype in FLOATS else x


@keras_op
def round(x: Any, decimals: int = 0) -> Any:
    """Nearest number with `decimals` digits after the point; halves go to the even neighbour."""
    x = to_tensor(x)
    if x.dtype == "bool":
        x = cast_to(x, "int32")
    if x.dtype in INTS:
        if decimals >= 0:
            return x
        scale = 10**-decimals
        return cast_to(apply("mul", apply("round", apply("div", cast_to(x, "float32"), scale)), scale), x.dtype)
    if decimals == 0:
        return apply("round", x)
    scale = 10.0 ** _size(decimals)
    if decimals > 0:
        return apply("div", apply("round", apply("mul", x, scale)), scale)
    return apply("mul", apply("round", apply("div", x, scale)), scale)


def _size(n: int) -> int:
    return n if n >= 0 else -n


@keras_op
def exp(x: Any) -> Any:
    """e to the power x."""
    return unary("exp", x)


@keras_op
def exp2(x: Any) -> Any:
    """2 to the power x."""
    x = floating(x)
    return apply("exp", apply("mul", x, math.log(2.0)))


@keras_op
def expm1(x: Any) -> Any:
    """`exp(x) - 1`, exact for small x."""
    return unary("expm1", x)


@keras_op
def log(x: Any) -> Any:
    """Natural logarithm."""
    return unary("log", x)


@keras_op
def log1p(x: Any) -> Any:
    """`log(1 + x)`, exact for small x."""
    return unary("log1p", x)


@keras_op
def log2(x: Any) -> Any:
    """Logarithm to base 2."""
    return apply("div", unary("log", x), math.log(2.0))


@keras_op
def log10(x: Any) -> Any:
    """Logarithm to base 10."""
    return apply("div", unary("log", x), math.log(10.0))


@keras_op
def sqrt(x: Any) -> Any:
    """Square root."""
    return unary("sqrt", x)


@keras_op
def rsqrt(x: Any) -> Any:
    """`1 / sqrt(x)`."""
    return unary("rsqrt", x)


@keras_op
def cbrt(x: Any) -> Any:
    """Cube root; negative numbers have negative roots."""
    x = floating(x)
    size = apply("abs", x)
    zero = apply("eq", size, 0.0)
    root = apply("exp", apply("div", apply("log", select(zero, full_of((), 1.0, x.dtype), size)), 3.0))
    # One Newton step takes the last bits: r - (r^3 - a) / (3 r^2).
    square_ = apply("mul", root, root)
    step = apply("div", apply("sub", apply("mul", square_, root), size), apply("mul", square_, 3.0))
    finite = apply("isfinite", size)
    root = apply("sub", root, select(finite, step, full_of((), 0.0, x.dtype)))
    return select(zero, x, apply("mul", apply("sign", x), root))


@keras_op
def square(x: Any) -> Any:
    """`x * x`."""
    x = to_tensor(x)
    if x.dtype == "bool":
        x = cast_to(x, "int32")
    return apply("mul", x, x)


@keras_op
def reciprocal(x: Any) -> Any:
    """`1 / x`."""
    return apply("div", 1.0, floating(x))


@keras_op
def sin(x: Any) -> Any:
    """Sine of an angle in radians."""
    return unary("sin", x)


@keras_op
def cos(x: Any) -> Any:
    """Cosine of an angle in radians."""
    return unary("cos", x)


@keras_op
def tan(x: Any) -> Any:
    """Tangent of an angle in radians."""
    return unary("tan", x)


@keras_op
def arcsin(x: Any) -> Any:
    """Angle in [-pi/2, pi/2] whose sine is x."""
    return unary("asin", x)


@keras_op
def arccos(x: Any) -> Any:
    """Angle in [0, pi] whose cosine is x."""
    return unary("acos", x)


@keras_op
def arctan(x: Any) -> Any:
    """Angle in [-pi/2, pi/2] whose tangent is x."""
    return unary("atan", x)


@keras_op
def sinh(x: Any) -> Any:
    """Hyperbolic sine."""
    return unary("sinh", x)


@keras_op
def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    return unary("cosh", x)


@keras_op
def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return unary("tanh", x)


@keras_op
def arcsinh(x: Any) -> Any:
    """Inverse of sinh."""
    return unary("asinh", x)


@keras_op
def arccosh(x: Any) -> Any:
    """Inverse of cosh on [1, inf)."""
    return unary("acosh", x)


@keras_op
def arctanh(x: Any) -> Any:
    """Inverse of tanh on (-1, 1)."""
    return unary("atanh", x)


@keras_op
def deg2rad(x: Any) -> Any:
    """Degrees to radians."""
    return apply("mul", floating(x), math.pi / 180.0)


@keras_op
def rad2deg(x: Any) -> Any:
    """Radians to degrees."""
    return apply("mul", floating(x), 180.0 / math.pi)


@keras_op
def sinc(x: Any) -> Any:
    """`sin(pi x) / (pi x)`, 1 at 0."""
    x = floating(x)
    zero = apply("eq", x, 0.0)
    y = apply("mul", select(zero, full_of((), 1.0, x.dtype), x), math.pi)
    return select(zero, full_of((), 1.0, x.dtype), apply("div", apply("sin", y), y))


@keras_op
def erf(x: Any) -> Any:
    """Error function."""
    return unary("erf", x)


@keras_op
def erfc(x: Any) -> Any:
    """`1 - erf(x)`."""
    return apply("sub", 1.0, unary("erf", x))


@keras_op
def erfinv(x: Any) -> Any:
    """Inverse of the error function on (-1, 1)."""
    return unary("erfinv", x)


@keras_op
def i0(x: Any) -> Any:
    """Modified Bessel function of the first kind, order 0 (Abramowitz and Stegun 9.8.1 and 9.8.2)."""
    x = apply("abs", floating(x))
    near = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)
    far = (
        0.39894228,
        0.01328592,
        0.00225319,
        -0.00157565,
        0.00916281,
        -0.02057706,
        0.02635537,
        -0.01647633,
        0.00392377,
    )
    small = apply("lt", x, 3.75)
    one = full_of((), 1.0, x.dtype)
    t = apply("div", select(small, x, one), 3.75)
    u = apply("div", 3.75, select(small, full_of((), 3.75, x.dtype), x))
    big = select(small, one, x)
    large = apply("mul", apply("div", apply("exp", big), apply("sqrt", big)), _polynomial(u, far))
    return select(small, _polynomial(apply("mul", t, t), near), large)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Horner's rule; coefficients from the constant term up."""
    total = full_of((), coefficients[-1], x.dtype)
    for c in reversed(coefficients[:-1]):
        total = apply("add", apply("mul", total, x), c)
    return total


# -- tests of numbers --------------------------------------------------------------------------------
def _number_test(primitive: str, x: Any, for_ints: bool) -> Tensor:
    x = to_tensor(x)
    if x.dtype in FLOATS or x.dtype in COMPLEX:
        return apply(primitive, x)
    return full_of(x.shape, for_ints, "bool")


@keras_op
def isfinite(x: Any) -> Any:
    """Neither infinite nor nan."""
    return _number_test("isfinite", x, True)


@keras_op
def isinf(x: Any) -> Any:
    """Plus or minus infinity."""
    return _number_test("isinf", x, False)


@keras_op
def isnan(x: Any) -> Any:
    """Not a number."""
    return _number_test("isnan", x, False)


@keras_op
def isneginf(x: Any) -> Any:
    """Minus infinity."""
    x = to_tensor(x)
    return apply("eq", x, -math.inf) if x.dtype in FLOATS else full_of(x.shape, False, "bool")


@keras_op
def isposinf(x: Any) -> Any:
    """Plus infinity."""
    x = to_tensor(x)
    return apply("eq", x, math.inf) if x.dtype in FLOATS else full_of(x.shape, False, "bool")


@keras_op
def isreal(x: Any) -> Any:
    """No imaginary part."""
    x = to_tensor(x)
    return apply("eq", apply("imag", x), 0.0) if x.dtype in COMPLEX else full_of(x.shape, True, "bool")


@keras_op
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """nan and infinities replaced by numbers (by default 0 and the largest finite ones)."""
    x = to_tensor(x)
    if x.dtype not in FLOATS:
        return x
    limits = _finfo(x.dtype)
    top = limits[1] if posinf is None else posinf
    bottom = limits[0] if neginf is None else neginf
    x = select(apply("isnan", x), full_of((), nan, x.dtype), x)
    x = select(apply("eq", x, math.inf), full_of((), top, x.dtype), x)
    return select(apply("eq", x, -math.inf), full_of((), bottom, x.dtype), x)


def _finfo(dtype: str) -> tuple[float, float]:
    if dtype == "bfloat16":
        import ml_dtypes

        info: Any = ml_dtypes.finfo(numpy_dtype(dtype))
    else:
        info = np.finfo(dtype)
    return float(info.min), float(info.max)


# -- logic and bits ----------------------------------------------------------------------------------
@keras_op
def logical_not(x: Any) -> Any:
    """Truth of `not x` (nonzero is true)."""
    return apply("not", cast_to(to_tensor(x), "bool"))


@keras_op
def bitwise_not(x: Any) -> Any:
    """Every bit flipped."""
    return apply("not", to_tensor(x))


@keras_op
def bitwise_invert(x: Any) -> Any:
    """Every bit flipped."""
    return apply("not", to_tensor(x))


@keras_op
def stop_gradient(variable: Any) -> Any:
    """The same value, a constant for differentiation."""
    x = to_tensor(variable)
    return apply("stop_gradient", x) if x.is_traced else x


@keras_op
def copy(x: Any) -> Any:
    """The same values in memory of their own."""
    x = to_tensor(x)
    return x if x.is_traced else Tensor(x.numpy().copy())


@keras_op
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """x limited to [x_min, x_max] (None: no limit on that side)."""
    x = to_tensor(x)
    keys = [k for k in (x_min, x_max) if k is not None]
    dtype = result_type(x.dtype, *(getattr(k, "dtype", type(k)) for k in keys if not isinstance(k, (list, tuple))))
    x = cast_to(x, "int32" if dtype == "bool" else dtype)
    if x_min is not None:
        x = apply("maximum", x, to_tensor(x_min, x.dtype))
    if x_max is not None:
        x = apply("minimum", x, to_tensor(x_max, x.dtype))
    return x
