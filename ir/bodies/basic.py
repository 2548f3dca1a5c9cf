"""Arithmetic, rounding, comparison and bits: bodies that are little more than the handler's own operations."""

from __future__ import annotations

import math
from typing import Any

from graphkeras.ir.bodies.exponential import modulus, parts
from graphkeras.ir.bodies.scalar import HALF, Value, body, where
from graphkeras.ir.bodies.scalar import maximum as _maximum
from graphkeras.ir.bodies.scalar import minimum as _minimum
from graphkeras.ir.types import is_int


def _same(fn: Any) -> Any:
    """A body whose formula holds for complex numbers too."""
    return body(fn, complex=fn)


@_same
def neg(x: Value) -> Value:
    return -x


@_same
def add(x: Value, y: Value) -> Value:
    return x + y


@_same
def sub(x: Value, y: Value) -> Value:
    return x - y


@_same
def mul(x: Value, y: Value) -> Value:
    return x * y


@_same
def div(x: Value, y: Value) -> Value:
    return x / y


@body(complex=lambda z: modulus(*parts(z)))
def abs_(x: Value) -> Value:
    return x if x.dtype.startswith("uint") else abs(x)


def _complex_sign(z: Value) -> Value:
    re, im = parts(z)
    size = modulus(re, im)
    size = where(size.eq(0.0), 1.0, size)
    return Value(z.h, z.h.complex((re / size).raw, (im / size).raw))


@body(complex=_complex_sign)
def sign(x: Value) -> Value:
    if x.dtype.startswith("uint"):
        return where(x.ne(0), x.const(1), 0)
    return where(x > 0, x.const(1), where(x < 0, x.const(-1), x))


@body
def floor(x: Value) -> Value:
    return x.floor()


@body
def ceil(x: Value) -> Value:
    return x.ceil()


@body
def round_(x: Value) -> Value:
    return x.rint()


@body
def trunc(x: Value) -> Value:
    return x.trunc()


@body
def relu(x: Value) -> Value:
    return _maximum(x, 0)


@body
def maximum(x: Value, y: Value) -> Value:
    return x | y if x.dtype == "bool" else _maximum(x, y)


@body
def minimum(x: Value, y: Value) -> Value:
    return x & y if x.dtype == "bool" else _minimum(x, y)


# -- division with remainder -----------------------------------------------------------------------
def _int_divmod(x: Value, y: Value, floored: bool) -> tuple[Value, Value]:
    """Quotient and remainder; both 0 for a zero divisor. Dividing by -1 is negating, which cannot trap."""
    zero = y.eq(0)
    safe = where(zero, y.const(1), y)
    if x.dtype.startswith("uint"):
        quotient = x / safe
        return where(zero, y.const(0), quotient), where(zero, y.const(0), x - quotient * safe)
    minus = y.eq(-1)
    quotient = where(minus, -x, x / where(minus, y.const(1), safe))
    remainder = x - quotient * safe
    if floored:
        off = remainder.ne(0) & ((remainder ^ safe) < 0)
        quotient = where(off, quotient - 1, quotient)
        remainder = where(off, remainder + safe, remainder)
    return where(zero, y.const(0), quotient), where(zero, y.const(0), remainder)


def _float_rem(x: Value, y: Value) -> Value:
    """x - trunc(x/y) y, computed in float64; the remainder loses digits for quotients above 2^29 (float64: 2^0)."""
    a, b = abs(x.cast("float64")), abs(y.cast("float64"))
    quotient = (a / b).floor()
    r = (-quotient).fma(b, a)
    r = where(r < 0.0, r + b, r)
    r = where(r >= b, r - b, r)
    r = where(b.eq(math.inf) & (a < math.inf), a, r)
    return r.cast(x.dtype).flip_sign(x)


@body
def rem(x: Value, y: Value) -> Value:
    return _int_divmod(x, y, floored=False)[1] if is_int(x.dtype) else _float_rem(x, y)


def _float_mod(x: Value, y: Value) -> Value:
    r = _float_rem(x, y)
    off = r.ne(0.0) & ((r < 0.0).ne(y < 0.0))
    return where(r.eq(0.0), abs(r).flip_sign(y), where(off, r + y, r))


@body
def mod(x: Value, y: Value) -> Value:
    return _int_divmod(x, y, floored=True)[1] if is_int(x.dtype) else _float_mod(x, y)


@body
def floor_div(x: Value, y: Value) -> Value:
    if is_int(x.dtype):
        return _int_divmod(x, y, floored=True)[0]
    exact = ((x - _float_mod(x, y)) / y).rint()
    far = where((x < 0.0).ne(y < 0.0) & x.ne(0.0), x.const(-1.0), 0.0)
    exact = where(abs(y).eq(math.inf) & (abs(x) < math.inf), far, exact)
    return where(y.eq(0.0), x / y, exact)


# -- comparison ------------------------------------------------------------------------------------
@_same
def eq(x: Value, y: Value) -> Value:
    return x.eq(y)


@_same
def ne(x: Value, y: Value) -> Value:
    return x.ne(y)


@body
def lt(x: Value, y: Value) -> Value:
    return x < y


@body
def le(x: Value, y: Value) -> Value:
    return x <= y


@body
def gt(x: Value, y: Value) -> Value:
    return x > y


@body
def ge(x: Value, y: Value) -> Value:
    return x >= y


def _either(fn: Any) -> Any:
    def run(z: Value) -> Value:
        re, im = parts(z)
        return fn(re) | fn(im)

    return run


def _infinite(x: Value) -> Value:
    return abs(x).eq(math.inf)


def _finite(x: Value) -> Value:
    return abs(x) < math.inf


def _complex_finite(z: Value) -> Value:
    re, im = parts(z)
    return _finite(re) & _finite(im)


@body(complex=_either(Value.is_nan))
def isnan(x: Value) -> Value:
    return x.is_nan()


@body(complex=_either(_infinite))
def isinf(x: Value) -> Value:
    return _infinite(x)


@body(complex=_complex_finite)
def isfinite(x: Value) -> Value:
    return _finite(x)


# -- bits ------------------------------------------------------------------------------------------
@body
def not_(x: Value) -> Value:
    return ~x


@body
def and_(x: Value, y: Value) -> Value:
    return x & y


@body
def or_(x: Value, y: Value) -> Value:
    return x | y


@body
def xor(x: Value, y: Value) -> Value:
    return x ^ y


@body
def shl(x: Value, y: Value) -> Value:
    return x << y


@body
def shr(x: Value, y: Value) -> Value:
    return x >> y


def nextafter(h: Any, x: Any, y: Any) -> Any:
    """Step the bit pattern, read as an integer, away from or towards zero."""
    a, b = Value(h, x), Value(h, y)
    dtype = a.dtype
    bits = {"float64": "int64", "float32": "int32"}.get(dtype, "int16")
    wide_a, wide_b = (v.cast("float32") if dtype in HALF else v for v in (a, b))
    pattern = a.bitcast(bits)
    outward = (wide_b > wide_a).eq(wide_a > 0)
    stepped = pattern + where(outward, pattern.const(1), -1)
    sign_bit = -(2 ** (8 * {"int64": 8, "int32": 4, "int16": 2}[bits] - 1))
    from_zero = (b.bitcast(bits) & sign_bit) | 1
    moved = where(wide_a.eq(0.0), from_zero, stepped).bitcast(dtype)
    moved = where(wide_a.eq(wide_b), b, moved)
    return where(wide_a.is_nan(), a, where(wide_b.is_nan(), b, moved)).raw
