"""exp, log and what is made of them: powers, hyperbolic functions, the sigmoid family."""

from __future__ import annotations

import math

from graphkeras.ir.bodies.scalar import Value, body, horner, table, where
from graphkeras.ir.types import is_int

# log(2) in two parts: the first has few bits, so that its product with a small integer is exact.
LN2_HIGH = {"float32": 0.693359375, "float64": 6.93147180369123816490e-01}
LN2_LOW = {"float32": -2.12194440e-4, "float64": 1.90821492927058770002e-10}
MAGIC = {"float32": (1.5 * 2.0**23, 0x4B400000, "int32"), "float64": (1.5 * 2.0**52, 0x4338000000000000, "int64")}
LIMITS = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}


def power_of_two(n: Value, like: str) -> Value:
    """2^n as a float `like` from an integer n within the normal exponents."""
    shift, bias = (52, 1023) if like == "float64" else (23, 127)
    return ((n + bias) << shift).bitcast(like)


def reduced(x: Value) -> tuple[Value, Value]:
    """(exp(r) - 1, n) with x = n log(2) + r and |r| <= log(2)/2; n is an integer."""
    dtype = x.dtype
    # Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves that integer in the lowest bits of the pattern.
    magic, pattern, bits = MAGIC[dtype]
    shifted = x.fma(1.0 / math.log(2.0), magic)
    n = shifted - magic
    r = n.fma(-LN2_LOW[dtype], n.fma(-LN2_HIGH[dtype], x))
    return horner(r, table(r, "EXP")).fma(r * r, r), shifted.bitcast(bits) - pattern


def exp_value(x: Value) -> Value:
    """2^n in two factors reaches overflow and the denormals."""
    dtype = x.dtype
    low, high = LIMITS[dtype]
    clamped = where(x > low, where(x < high, x, high), low)  # NaN becomes `low`, to be put back at the end
    p, whole = reduced(clamped)
    half = whole >> 1
    result = (p + 1.0) * power_of_two(half, dtype) * power_of_two(whole - half, dtype)
    return where(x.is_nan(), x, result)


def flushed_exp_value(x: Value) -> Value:
    """exp for weights, x up to 88 (709): results below the normal numbers are zero; NaN stays. Half the work of exp."""
    dtype = x.dtype
    magic, pattern, bits = MAGIC[dtype]
    shifted = x.fma(1.0 / math.log(2.0), magic)
    # n times the rounding of log(2) is an error of the relative size of x's own rounding: one part is enough here
    r = (shifted - magic).fma(-math.log(2.0), x)
    p = horner(r, (*table(r, "EXP"), 1.0, 1.0)) * power_of_two(shifted.bitcast(bits) - pattern, dtype)
    return where(x < (-708.0 if dtype == "float64" else -87.0), 0.0, p)


def expm1_value(x: Value) -> Value:
    small = horner(x, table(x, "EXPM1")).fma(x * x, x)
    return where(abs(x) < 0.5, small, exp_value(x) - 1.0)


def split(x: Value, tiny: bool) -> tuple[Value, Value]:
    """(m - 1, e) with x = m 2^e and sqrt(1/2) <= m < sqrt(2), for positive finite x; `tiny`: denormals too."""
    wide = x.dtype == "float64"
    bits, shift, bias, mask = ("int64", 52, 1023, 2**52 - 1) if wide else ("int32", 23, 127, 2**23 - 1)
    small = x < 2.0 ** (1 - bias)
    raw = (where(small, x * 2.0**shift, x) if tiny else x).bitcast(bits)
    # Taking sqrt(1/2) off the pattern makes its exponent field floor(log2(x / sqrt(1/2))).
    root = 0x3FE6A09E667F3BCD if wide else 0x3F3504F3
    offset = raw - root
    e = (offset >> shift).cast(x.dtype)
    m = ((offset & mask) + root).bitcast(x.dtype)
    return m - 1.0, e - where(small, x.const(float(shift)), 0.0) if tiny else e


def _log_core(x: Value, tiny: bool) -> Value:
    """log of a positive finite x; nonsense for others."""
    f, e = split(x, tiny)
    half_square = f * f * 0.5
    if x.dtype == "float64":
        s = f / (f + 2.0)
        z = s * s
        tail = s * (half_square + horner(z, table(z, "LOG_RATIO")) * z) + e * LN2_LOW[x.dtype]
    else:
        tail = horner(f, table(f, "LOG_DIRECT")) * (f * f * f) + e * LN2_LOW[x.dtype]
    return e * LN2_HIGH[x.dtype] + (f - (half_square - tail))


def _log_ends(x: Value, argument: Value, result: Value) -> Value:
    """`result` with the values at and outside the ends of the domain; inf and NaN come back as they are."""
    result = where(argument > 0.0, result, where(argument < 0.0, x.const(math.nan), -math.inf))
    return where(x < math.inf, result, x)


def log_value(x: Value) -> Value:
    return _log_ends(x, x, _log_core(x, tiny=True))


def _log1p_core(x: Value) -> tuple[Value, Value]:
    """(log(u) for u = 1 + x rounded, with the rounding error of u put back; u)."""
    u = x + 1.0
    return _log_core(u, tiny=False) + (x - (u - 1.0)) / u, u


def log1p_value(x: Value) -> Value:
    result, u = _log1p_core(x)
    return _log_ends(x, u, result)


# -- complex forms ---------------------------------------------------------------------------------
def parts(z: Value) -> tuple[Value, Value]:
    return Value(z.h, z.h.real(z.raw)), Value(z.h, z.h.imag(z.raw))


def join(re: Value, im: Value) -> Value:
    return Value(re.h, re.h.complex(re.raw, im.raw))


def modulus(re: Value, im: Value) -> Value:
    a, b = abs(re), abs(im)
    big, small = where(a > b, a, b), where(a > b, b, a)
    ratio = small / where(big.eq(0.0), 1.0, big)
    return big * (ratio * ratio + 1.0).sqrt()


def _complex_exp(z: Value) -> Value:
    from graphkeras.ir.bodies.trigonometric import cosine_value, sine_value

    re, im = parts(z)
    size = exp_value(re)
    return join(size * cosine_value(im), size * sine_value(im))


def _complex_log(z: Value) -> Value:
    from graphkeras.ir.bodies.trigonometric import angle

    re, im = parts(z)
    return join(log_value(modulus(re, im)), angle(im, re))


def _complex_sqrt(z: Value) -> Value:
    re, im = parts(z)
    size = ((modulus(re, im) + abs(re)) * 0.5).sqrt()
    other = im / where(size.eq(0.0), 1.0, size * 2.0)
    right = re >= 0.0
    return join(where(right, size, abs(other)), where(right, other, size.flip_sign(im)))


def _complex_rsqrt(z: Value) -> Value:
    re, im = parts(_complex_sqrt(z))
    norm = re * re + im * im
    return join(re / norm, -im / norm)


# -- bodies ----------------------------------------------------------------------------------------
@body(complex=_complex_exp)
def exp(x: Value) -> Value:
    return exp_value(x)


@body
def expm1(x: Value) -> Value:
    return expm1_value(x)


@body(complex=_complex_log)
def log(x: Value) -> Value:
    return log_value(x)


@body
def log1p(x: Value) -> Value:
    return log1p_value(x)


@body(complex=_complex_sqrt)
def sqrt(x: Value) -> Value:
    return x.sqrt()


@body(complex=_complex_rsqrt)
def rsqrt(x: Value) -> Value:
    return 1.0 / x.sqrt()


def sigmoid_value(x: Value) -> Value:
    """1 / (1 + exp(-x)); 2^n stays a normal number where the result is one, and NaN passes all comparisons."""
    high, low = (88.0, -87.0) if x.dtype == "float32" else (709.0, -708.0)
    u = -x
    u = where(u > high, high, u)
    p, n = reduced(where(u < low, low, u))
    return where(x < -high, 0.0, 1.0 / ((p + 1.0).fma(power_of_two(n, x.dtype), 1.0)))


@body
def sigmoid(x: Value) -> Value:
    return sigmoid_value(x)


@body
def softplus(x: Value) -> Value:
    return where(x > 0.0, x, 0.0) + _log1p_core(exp_value(-abs(x)))[0]


@body
def tanh(x: Value) -> Value:
    """z / (z + 2) with z = exp(2|x|) - 1 = 2^n (exp(r) - 1) + (2^n - 1), exact to the last bits near zero, too."""
    u = abs(x)
    u = u + u
    end = 30.0 if x.dtype == "float32" else 60.0
    p, n = reduced(where(u > end, end, u))
    scale = power_of_two(n, x.dtype)
    z = p.fma(scale, scale - 1.0)
    return (z / (z + 2.0)).flip_sign(x)


def sinh_cosh(x: Value) -> tuple[Value, Value]:
    """exp of half the argument, squared, does not overflow before the result does."""
    a = abs(x)
    t = exp_value(a * 0.5)
    up, down = t * 0.5 * t, 0.5 / t / t
    z = x * x
    small = (horner(z, table(z, "SINH")) * z).fma(x, x)
    return where(a < 1.0, small, (up - down).flip_sign(x)), up + down


@body
def sinh(x: Value) -> Value:
    return sinh_cosh(x)[0]


@body
def cosh(x: Value) -> Value:
    return sinh_cosh(x)[1]


@body
def asinh(x: Value) -> Value:
    a = abs(x)
    big = a > (1e18 if x.dtype == "float64" else 1e10)
    square = a * a
    near = a + square / ((square + 1.0).sqrt() + 1.0)
    result = log1p_value(where(big, a, near)) + where(big, x.const(math.log(2.0)), 0.0)
    return where(x.is_nan(), x, result.flip_sign(x))


@body
def acosh(x: Value) -> Value:
    big = x > (1e18 if x.dtype == "float64" else 1e10)
    t = x - 1.0
    near = t + t.sqrt() * (x + 1.0).sqrt()
    return log1p_value(where(big, t, near)) + where(big, x.const(math.log(2.0)), 0.0)


@body
def atanh(x: Value) -> Value:
    a = abs(x)
    return (log1p_value((a + a) / (1.0 - a)) * 0.5).flip_sign(x)


# -- powers ----------------------------------------------------------------------------------------
def _integer_power(x: Value, y: Value) -> Value:
    """Square and multiply over every bit of the exponent, wrapping as the dtype does."""
    bits = {"8": 8, "16": 16, "32": 32, "64": 64}[x.dtype.lstrip("uint")]
    signed = not x.dtype.startswith("u")
    result, base = x.const(1), x
    for i in range(bits - 1 if signed else bits):
        result = where(((y >> i) & 1).ne(0), result * base, result)
        base = base * base
    if not signed:
        return result
    negative = where(x.eq(1), x.const(1), where(x.eq(-1), 1 - ((y & 1) << 1), 0))
    return where(y < 0, negative, result)


def _float_power(x: Value, y: Value) -> Value:
    """exp(y log|x|), in float64 for float32 so that the exponential does not magnify the logarithm's rounding."""
    a = abs(x)
    result = exp_value(y.cast("float64") * log_value(a.cast("float64"))).cast(x.dtype)
    result = where(a.eq(1.0), 1.0, result)
    whole = y.floor().eq(y)
    half = y * 0.5
    odd = whole & half.floor().ne(half) & (abs(y) < math.inf)
    finite_negative = (x < 0.0) & (a < math.inf)
    result = where(finite_negative & ~whole, math.nan, result)
    result = where(odd, result.flip_sign(x), result)
    result = where(x.is_nan() | y.is_nan(), x + y, result)
    return where(y.eq(0.0) | x.eq(1.0), 1.0, result)


def _complex_power(z: Value, w: Value) -> Value:
    return _complex_exp(w * _complex_log(z))


@body(complex=_complex_power)
def pow_(x: Value, y: Value) -> Value:
    return _integer_power(x, y) if is_int(x.dtype) else _float_power(x, y)
