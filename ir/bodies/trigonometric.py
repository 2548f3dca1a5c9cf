"""Circular functions and their inverses."""

from __future__ import annotations

import math

from graphkeras.ir.bodies.exponential import join, parts, sinh_cosh
from graphkeras.ir.bodies.scalar import Value, body, horner, table, where

# pi/2 in three parts of 33 bits and a rest (the split that fdlibm uses, found by rounding pi/2 bit by bit).
PI_2 = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624871116645580e-21, 8.47842766036889956997e-32)


def _reduced(x: Value) -> tuple[Value, Value]:
    """(r, q) with x = n pi/2 + r, |r| <= pi/4 and q = n modulo 4 as a float; computed in float64.

    Good to the last bit for |x| up to about 1e6; infinities give NaN.
    """
    wide = x.cast("float64")
    n = (wide * (2.0 / math.pi)).rint()
    r = wide
    for part in PI_2:
        r = r - n * part
    q = n - (n * 0.25).floor() * 4.0
    return r.cast(x.dtype), q


def _sin_cos(x: Value) -> tuple[Value, Value]:
    r, q = _reduced(x)
    z = r * r
    s = (horner(z, table(z, "SIN")) * z).fma(r, r)
    c = (horner(z, table(z, "COS")) * z).fma(z, 1.0 - z * 0.5)
    swap = q.eq(1.0) | q.eq(3.0)
    sine, cosine = where(swap, c, s), where(swap, s, c)
    sine = where(q >= 2.0, -sine, sine)
    cosine = where(q.eq(1.0) | q.eq(2.0), -cosine, cosine)
    return sine, cosine


def sine_value(x: Value) -> Value:
    return _sin_cos(x)[0]


def cosine_value(x: Value) -> Value:
    return _sin_cos(x)[1]


def _complex_sin(z: Value) -> Value:
    re, im = parts(z)
    sh, ch = sinh_cosh(im)
    return join(sine_value(re) * ch, cosine_value(re) * sh)


def _complex_cos(z: Value) -> Value:
    re, im = parts(z)
    sh, ch = sinh_cosh(im)
    return join(cosine_value(re) * ch, -(sine_value(re) * sh))


@body(complex=_complex_sin)
def sin(x: Value) -> Value:
    return sine_value(x)


@body(complex=_complex_cos)
def cos(x: Value) -> Value:
    return cosine_value(x)


@body
def tan(x: Value) -> Value:
    sine, cosine = _sin_cos(x)
    return sine / cosine


def angle(y: Value, x: Value) -> Value:
    """atan2: the arc tangent of the smaller over the larger, moved into its octant and quadrant."""
    a, b = abs(x), abs(y)
    steep = b > a
    low, high = where(steep, a, b), where(steep, b, a)
    both = low.eq(math.inf)
    low, high = where(both, 1.0, low), where(both, 1.0, high)
    beyond = low > high * 0.41421356237309503
    over, under = where(beyond, low - high, low), where(beyond, low + high, high)
    t = over / where(under.eq(0.0), 1.0, under)
    z = t * t
    r = (horner(z, table(z, "ATAN")) * z).fma(t, t)
    r = where(beyond, r + math.pi / 4, r)
    r = where(steep, math.pi / 2 - r, r)
    r = where(negative(x), math.pi - r, r)
    return where(x.is_nan() | y.is_nan(), x + y, r.flip_sign(y))


def negative(x: Value) -> Value:
    """Sign bit, -0.0 included."""
    return x.bitcast("int64" if x.dtype == "float64" else "int32") < 0


@body
def atan2(y: Value, x: Value) -> Value:
    return angle(y, x)


@body
def atan(x: Value) -> Value:
    return angle(x, x.const(1.0))


@body
def asin(x: Value) -> Value:
    return angle(x, ((1.0 - x) * (x + 1.0)).sqrt())


@body
def acos(x: Value) -> Value:
    return angle(((1.0 - x) * (x + 1.0)).sqrt(), x)
