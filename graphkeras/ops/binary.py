"""Elementwise functions of two arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    COMPLEX,
    FLOATS,
    PYTHON_NUMBERS,
    Tensor,
    apply,
    cast_to,
    concrete,
    floating,
    full_of,
    promote,
    promote_floating,
    reduce,
    result_type,
    select,
    to_tensor,
)


@keras_op
def add(x1: Any, x2: Any) -> Any:
    """`x1 + x2` with broadcasting; on bools: or.

    >>> from graphkeras import ops
    >>> ops.add([1, 2], 0.5)
    <Tensor shape=(2,), dtype=float32, value=[1.5 2.5]>
    """
    a, b = promote(x1, x2)
    return apply("or" if a.dtype == "bool" else "add", a, b)


@keras_op
def subtract(x1: Any, x2: Any) -> Any:
    """`x1 - x2` with broadcasting."""
    a, b = promote(x1, x2)
    if a.dtype == "bool":
        raise TypeError("subtract: bools cannot be subtracted; received two arguments of dtype bool. Use logical_xor")
    return apply("sub", a, b)


@keras_op
def multiply(x1: Any, x2: Any) -> Any:
    """`x1 * x2` with broadcasting; on bools: and."""
    a, b = promote(x1, x2)
    return apply("and" if a.dtype == "bool" else "mul", a, b)


@keras_op
def divide(x1: Any, x2: Any) -> Any:
    """`x1 / x2` with broadcasting; ints give floats."""
    a, b = promote_floating(x1, x2)
    return apply("div", a, b)


@keras_op
def true_divide(x1: Any, x2: Any) -> Any:
    """`x1 / x2` with broadcasting; ints give floats."""
    a, b = promote_floating(x1, x2)
    return apply("div", a, b)


@keras_op
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """`x1 / x2`, and 0 where x2 is 0 (its gradient there is 0 too)."""
    a, b = promote_floating(x1, x2)
    if b.trace is None and b.shape == ():  # a metric's result, outside of any trace: one op instead of four
        return apply("div", a, b) if b.numpy() != 0 else full_of(a.shape, 0.0, b.dtype)
    zero = apply("eq", b, 0.0)
    quotient = apply("div", a, select(zero, full_of((), 1.0, b.dtype), b))
    return select(zero, full_of((), 0.0, b.dtype), quotient)


@keras_op
def floor_divide(x1: Any, x2: Any) -> Any:
    """Largest whole number not above `x1 / x2`."""
    a, b = _numbers(x1, x2)
    return apply("floor_div", a, b)


@keras_op
def mod(x1: Any, x2: Any) -> Any:
    """Remainder with the sign of x2."""
    a, b = _numbers(x1, x2)
    return apply("mod", a, b)


@keras_op
def fmod(x1: Any, x2: Any) -> Any:
    """Remainder with the sign of x1 (as in C)."""
    a, b = _numbers(x1, x2)
    return apply("rem", a, b)


def _numbers(x1: Any, x2: Any) -> list[Tensor]:
    a, b = promote(x1, x2)
    return [cast_to(a, "int32"), cast_to(b, "int32")] if a.dtype == "bool" else [a, b]


@keras_op
def power(x1: Any, x2: Any) -> Any:
    """`x1 ** x2`; small whole exponents become products, so that their gradients are exact at 0."""
    a, b = _numbers(x1, x2)
    if isinstance(x2, (int, float)) and not isinstance(x2, bool):
        if x2 == 1:
            return a
        if x2 == 2:
            return apply("mul", a, a)
        if x2 == 3:
            return apply("mul", apply("mul", a, a), a)
    return apply("pow", a, b)


@keras_op
def maximum(x1: Any, x2: Any) -> Any:
    """Larger of two, nan if either is nan."""
    a, b = promote(x1, x2)
    return apply("or" if a.dtype == "bool" else "maximum", a, b)


@keras_op
def minimum(x1: Any, x2: Any) -> Any:
    """Smaller of two, nan if either is nan."""
    a, b = promote(x1, x2)
    return apply("and" if a.dtype == "bool" else "minimum", a, b)


@keras_op
def fmax(x1: Any, x2: Any) -> Any:
    """Larger of two; a nan loses against a number."""
    a, b = promote(x1, x2)
    if a.dtype not in FLOATS:
        return apply("or" if a.dtype == "bool" else "maximum", a, b)
    return select(apply("isnan", a), b, select(apply("isnan", b), a, apply("maximum", a, b)))


@keras_op
def fmin(x1: Any, x2: Any) -> Any:
    """Smaller of two; a nan loses against a number."""
    a, b = promote(x1, x2)
    if a.dtype not in FLOATS:
        return apply("and" if a.dtype == "bool" else "minimum", a, b)
    return select(apply("isnan", a), b, select(apply("isnan", b), a, apply("minimum", a, b)))


@keras_op
def arctan2(x1: Any, x2: Any) -> Any:
    """Angle of the point (x2, x1) in radians, in (-pi, pi]."""
    a, b = promote_floating(x1, x2)
    return apply("atan2", a, b)


@keras_op
def hypot(x1: Any, x2: Any) -> Any:
    """`sqrt(x1**2 + x2**2)` without overflow on the way."""
    a, b = promote_floating(x1, x2)
    a, b = apply("abs", a), apply("abs", b)
    large, small = apply("maximum", a, b), apply("minimum", a, b)
    zero = apply("eq", large, 0.0)
    ratio = apply("div", small, select(zero, full_of((), 1.0, a.dtype), large))
    result = apply("mul", large, apply("sqrt", apply("add", apply("mul", ratio, ratio), 1.0)))
    return select(apply("isinf", large), large, result)


@keras_op
def logaddexp(x1: Any, x2: Any) -> Any:
    """`log(exp(x1) + exp(x2))` without overflow."""
    a, b = promote_floating(x1, x2)
    return _logaddexp(a, b)


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    difference = apply("sub", a, b)
    # Equal infinities differ by nan; their sum is themselves.
    result = apply("add", apply("maximum", a, b), apply("log1p", apply("exp", apply("neg", apply("abs", difference)))))
    return select(apply("isnan", difference), apply("add", a, b), result)


@keras_op
def logaddexp2(x1: Any, x2: Any) -> Any:
    """`log2(2**x1 + 2**x2)` without overflow."""
    a, b = promote_floating(x1, x2)
    ln2 = math.log(2.0)
    return apply("div", _logaddexp(apply("mul", a, ln2), apply("mul", b, ln2)), ln2)


@keras_op
def heaviside(x1: Any, x2: Any) -> Any:
    """0 below 0, 1 above, x2 at 0."""
    a, b = promote(x1, x2)
    if a.dtype not in FLOATS:
        a, b = floating(a), floating(b)
    one, zero = full_of((), 1.0, a.dtype), full_of((), 0.0, a.dtype)
    result = select(apply("lt", a, 0.0), zero, select(apply("eq", a, 0.0), b, one))
    return select(apply("isnan", a), a, result)


@keras_op
def nextafter(x1: Any, x2: Any) -> Any:
    """Next representable number after x1 towards x2."""
    a, b = promote_floating(x1, x2)
    return apply("nextafter", a, b)


@keras_op
def ldexp(x1: Any, x2: Any) -> Any:
    """`x1 * 2**x2` for whole x2."""
    a, n = floating(x1), to_tensor(x2)
    if n.dtype in FLOATS or n.dtype in COMPLEX:
        raise TypeError(f"ldexp: argument `x2` must be an integer tensor; received dtype {n.dtype}")
    a, b = promote(a, n)
    return apply("mul", a, apply("round", apply("pow", 2.0, b)) if a.dtype == "float64" else apply("pow", 2.0, b))


def _integers(x1: Any, x2: Any, op: str) -> list[Tensor]:
    a, b = _numbers(x1, x2)
    if a.dtype in FLOATS or a.dtype in COMPLEX:
        raise TypeError(f"{op}: arguments must be integers; received dtype {a.dtype}")
    return [a, b]


@keras_op
def gcd(x1: Any, x2: Any) -> Any:
    """Greatest common divisor (Euclid)."""
    a, b = _integers(x1, x2, "gcd")
    return _gcd(a, b)


def _gcd(a: Tensor, b: Tensor) -> Tensor:
    if concrete(a) is not None and concrete(b) is not None:
        return Tensor(np.gcd(a.numpy(), b.numpy()))
    from graphkeras.ops.control import while_loop

    unsigned = a.dtype[0] == "u"
    a, b = (x if unsigned else apply("abs", x) for x in (a, b))
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = (apply("broadcast_to", x, shape=shape) for x in (a, b))

    def unfinished(a: Tensor, b: Tensor) -> Tensor:
        return reduce("reduce_or", apply("ne", b, 0), tuple(range(len(shape))))

    def step(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        done = apply("eq", b, 0)
        rest = apply("rem", a, select(done, full_of((), 1, b.dtype), b))
        return select(done, a, b), select(done, b, rest)

    return while_loop(unfinished, step, (a, b))[0]


@keras_op
def lcm(x1: Any, x2: Any) -> Any:
    """Least common multiple."""
    a, b = _integers(x1, x2, "lcm")
    divisor = _gcd(a, b)
    zero = apply("eq", divisor, 0)
    size = apply("mul", apply("floor_div", a, select(zero, full_of((), 1, a.dtype), divisor)), b)
    return size if a.dtype[0] == "u" else apply("abs", size)


# -- comparisons -------------------------------------------------------------------------------------
def _compare(primitive: str, x1: Any, x2: Any) -> Tensor:
    a, b = promote(x1, x2)
    return apply(primitive, a, b)


@keras_op
def equal(x1: Any, x2: Any) -> Any:
    """Elementwise `x1 == x2`."""
    return _compare("eq", x1, x2)


@keras_op
def not_equal(x1: Any, x2: Any) -> Any:
    """Elementwise `x1 != x2`."""
    return _compare("ne", x1, x2)


@keras_op
def less(x1: Any, x2: Any) -> Any:
    """Elementwise `x1 < x2`."""
    return _compare("lt", x1, x2)


@keras_op
def less_equal(x1: Any, x2: Any) -> Any:
    """Elementwise `x1 <= x2`."""
    return _compare("le", x1, x2)


@keras_op
def greater(x1: Any, x2: Any) -> Any:
    """Elementwise `x1 > x2`."""
    return _compare("gt", x1, x2)


@keras_op
def greater_equal(x1: Any, x2: Any) -> Any:
    """Elementwise `x1 >= x2`."""
    return _compare("ge", x1, x2)


@keras_op
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """`|x1 - x2| <= atol + rtol * |x2|` elementwise; equal infinities are close."""
    a, b = promote(x1, x2)
    if a.dtype not in FLOATS and a.dtype not in COMPLEX:
        a, b = floating(a), floating(b)
    bound = apply("add", apply("mul", apply("abs", b), rtol), atol)
    near = apply("le", apply("abs", apply("sub", a, b)), bound)
    finite = apply("and", apply("isfinite", a), apply("isfinite", b))
    result = apply("or", apply("and", near, finite), apply("eq", a, b))
    if equal_nan:
        result = apply("or", result, apply("and", apply("isnan", a), apply("isnan", b)))
    return result


@keras_op
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all elements are close (see `isclose`)."""
    close = isclose(x1, x2, rtol, atol, equal_nan)
    return reduce("reduce_and", close, tuple(range(len(close.shape))))


# -- logic and bits ----------------------------------------------------------------------------------
def _logical(primitive: str, x1: Any, x2: Any) -> Tensor:
    return apply(primitive, cast_to(to_tensor(x1), "bool"), cast_to(to_tensor(x2), "bool"))


@keras_op
def logical_and(x1: Any, x2: Any) -> Any:
    """Truth of `x1 and x2` (nonzero is true)."""
    return _logical("and", x1, x2)


@keras_op
def logical_or(x1: Any, x2: Any) -> Any:
    """Truth of `x1 or x2`."""
    return _logical("or", x1, x2)


@keras_op
def logical_xor(x1: Any, x2: Any) -> Any:
    """Truth of exactly one of x1, x2."""
    return _logical("xor", x1, x2)


def _bits(primitive: str, x: Any, y: Any) -> Tensor:
    a, b = promote(x, y)
    if a.dtype in FLOATS or a.dtype in COMPLEX:
        raise TypeError(f"bitwise {primitive}: arguments must be integers or bools; received dtype {a.dtype}")
    return apply(primitive, a, b)


@keras_op
def bitwise_and(x: Any, y: Any) -> Any:
    """Bits set in both."""
    return _bits("and", x, y)


@keras_op
def bitwise_or(x: Any, y: Any) -> Any:
    """Bits set in either."""
    return _bits("or", x, y)


@keras_op
def bitwise_xor(x: Any, y: Any) -> Any:
    """Bits set in exactly one."""
    return _bits("xor", x, y)


def _shift(primitive: str, x: Any, y: Any) -> Tensor:
    a = to_tensor(x) if not isinstance(x, PYTHON_NUMBERS) else x
    b = y if isinstance(y, PYTHON_NUMBERS) else to_tensor(y)
    left, right = promote(a, b)
    if left.dtype == "bool":
        left, right = cast_to(left, result_type(int)), cast_to(right, result_type(int))
    if left.dtype in FLOATS or left.dtype in COMPLEX:
        raise TypeError(f"bit shift: arguments must be integers; received dtype {left.dtype}")
    return apply(primitive, left, right)


@keras_op
def bitwise_left_shift(x: Any, y: Any) -> Any:
    """`x << y`."""
    return _shift("shl", x, y)


@keras_op
def left_shift(x: Any, y: Any) -> Any:
    """`x << y`."""
    return _shift("shl", x, y)


@keras_op
def bitwise_right_shift(x: Any, y: Any) -> Any:
    """`x >> y`, keeping the sign."""
    return _shift("shr", x, y)


@keras_op
def right_shift(x: Any, y: Any) -> Any:
    """`x >> y`, keeping the sign."""
    return _shift("shr", x, y)


@keras_op
def gammainc(x1: Any, x2: Any) -> Any:
    """Regularised lower incomplete gamma function P(x1, x2): series below x1 + 1, continued fraction above.

    Formulas: Abramowitz and Stegun 6.5.29 and 6.5.31 (modified Lentz evaluation).
    """
    a, x = promote_floating(x1, x2)
    shape = np.broadcast_shapes(a.shape, x.shape)
    a, x = apply("broadcast_to", a, shape=shape), apply("broadcast_to", x, shape=shape)
    positive = apply("gt", x, 0.0)
    one = full_of((), 1.0, x.dtype)
    safe = select(positive, x, one)
    front = apply("exp", apply("sub", apply("sub", apply("mul", a, apply("log", safe)), safe), apply("lgamma", a)))
    low = apply("lt", safe, apply("add", a, 1.0))
    series = apply("mul", front, _gamma_series(a, select(low, safe, one)))
    high = apply("add", a, 2.0)
    fraction = apply("sub", 1.0, apply("mul", front, _gamma_fraction(a, select(low, high, safe))))
    result = select(low, series, fraction)
    return select(positive, result, full_of((), 0.0, x.dtype))


def _gamma_series(a: Tensor, x: Tensor, terms: int = 60) -> Tensor:
    term = apply("div", 1.0, a)
    total = term
    for n in range(1, terms):
        term = apply("div", apply("mul", term, x), apply("add", a, float(n)))
        total = apply("add", total, term)
    return total


def _gamma_fraction(a: Tensor, x: Tensor, terms: int = 40) -> Tensor:
    b = apply("sub", apply("add", x, 1.0), a)
    c = full_of(a.shape, 1e30, x.dtype) if x.dtype in ("float32", "float64") else full_of(a.shape, 1e4, x.dtype)
    d = apply("div", 1.0, b)
    h = d
    for n in range(1, terms):
        an = apply("mul", apply("sub", a, float(n)), float(n))
        b = apply("add", b, 2.0)
        d = apply("div", 1.0, apply("add", apply("mul", an, d), b))
        c = apply("add", b, apply("div", an, c))
        h = apply("mul", h, apply("mul", d, c))
    return h
