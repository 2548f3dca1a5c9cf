"""erf, its inverse, and the logarithm of the gamma function with its derivative."""

from __future__ import annotations

import math

from graphkeras.ir.bodies.coefficients import ERFCX64
from graphkeras.ir.bodies.exponential import exp_value, log_value
from graphkeras.ir.bodies.scalar import Value, body, horner, maximum, table, where
from graphkeras.ir.bodies.trigonometric import cosine_value, sine_value


def _erfc_beyond_one(a: Value) -> Value:
    """erfc(a) for a >= 1."""
    if a.dtype == "float64":
        a = where(a > 6.3, 6.3, a)
        t = (a - 2.0) / (a + 2.0)
        return exp_value(-(a * a)) * horner(t, ERFCX64)
    return exp_value(horner(where(a > 4.0, 4.0, a), table(a, "LOG_ERFC")))


def erf_value(x: Value) -> Value:
    a = abs(x)
    near = x * horner(x * x, table(x, "ERF"))
    far = (1.0 - _erfc_beyond_one(where(a > 1.0, a, 1.0))).flip_sign(x)
    return where(a < 1.0, near, where(x.is_nan(), x, far))


@body
def erf(x: Value) -> Value:
    return erf_value(x)


# M. Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2010): single precision, central and tail.
ERFINV_CENTRAL = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
ERFINV_TAIL = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)


def _erfinv_start(x: Value) -> Value:
    w = -log_value((1.0 - x) * (x + 1.0))
    central = horner(w - 2.5, ERFINV_CENTRAL)
    tail = horner(maximum(w, 5.0).sqrt() - 3.0, ERFINV_TAIL)
    return where(w < 5.0, central, tail) * x


@body
def erfinv(x: Value) -> Value:
    """Float64 adds two Halley steps, on erfc where erf is flat."""
    y = _erfinv_start(x)
    if x.dtype == "float64":
        a = abs(x)
        y = abs(y)
        y = where(y < 6.3, y, 6.3)
        for _ in range(2):
            central = a - y * horner(y * y, table(y, "ERF"))
            tail = _erfc_beyond_one(where(y > 1.0, y, 1.0)) - (1.0 - a)
            error = where(y < 1.0, central, tail)
            step = error * exp_value(y * y) * (math.sqrt(math.pi) / 2.0)
            y = y + step / (1.0 - y * step)
        y = y.flip_sign(x)
    at_end = where(abs(x).eq(1.0), x * math.inf, y)
    return where(abs(x) <= 1.0, at_end, math.nan)


# C. Lanczos, "A precision approximation of the gamma function" (1964), g = 7 with 9 terms.
LANCZOS = (
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)


def _to_integer(x: Value) -> tuple[Value, Value]:
    """(distance to the nearest integer, whether x lies below that integer)."""
    d = x - x.rint()
    return abs(d), d < 0.0


def _lgamma_right(z: Value) -> Value:
    """log Gamma(z) for z >= 1/2."""
    total = z.const(0.99999999999980993)
    for k, c in enumerate(LANCZOS):
        total = total + c / (z + float(k))
    t = z + 6.5
    value = (z - 0.5) * log_value(t) - t + (log_value(total) + 0.5 * math.log(2.0 * math.pi))
    return where(z < math.inf, value, z)


@body
def lgamma(x: Value) -> Value:
    """In float64 for float32: close to its zeros at 1 and 2 the terms cancel."""
    dtype = x.dtype
    x = x.cast("float64")
    left = x < 0.5
    right = _lgamma_right(where(left, 1.0 - x, x))
    gap, _ = _to_integer(x)
    sine = where(gap < 1e-9, gap, sine_value(gap * math.pi) * (1.0 / math.pi))
    mirrored = -log_value(sine) - right
    value = where(left, mirrored, right)
    value = where(x.is_nan(), x, where(x.eq(-math.inf), math.inf, value))
    return value.cast(dtype)


DIGAMMA = (691.0 / 32760.0, -1.0 / 132.0, 1.0 / 240.0, -1.0 / 252.0, 1.0 / 120.0, -1.0 / 12.0)


@body
def digamma(x: Value) -> Value:
    """Recurrence up by 10, then the asymptotic series (DLMF 5.5.2, 5.11.2); reflection for negative x."""
    dtype = x.dtype
    x = x.cast("float64")
    left = x < 0.0
    z = where(left, 1.0 - x, x)
    total = 1.0 / z
    for k in range(1, 10):
        total = total + 1.0 / (z + float(k))
    s = z + 10.0
    f = 1.0 / (s * s)
    right = log_value(s) - 0.5 / s + horner(f, DIGAMMA) * f - total
    gap, below = _to_integer(x)
    angle = gap * math.pi
    cotangent = cosine_value(angle) / sine_value(angle)
    mirrored = right - where(below, -cotangent, cotangent) * math.pi
    whole = gap.eq(0.0) & left
    value = where(left, where(whole, x.const(math.nan), mirrored), right)
    value = where(x.is_nan(), x, value)
    return value.cast(dtype)
