"""NumPy references of functions that NumPy lacks (SciPy is not a dependency)."""

from __future__ import annotations

import math

import numpy as np


def sign(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "c":
        size = np.abs(x)
        return np.where(size == 0, 0, x / np.where(size == 0, 1, size)).astype(x.dtype)
    return np.sign(x)


def rsqrt(x: np.ndarray) -> np.ndarray:
    return x.dtype.type(1) / np.sqrt(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


def _elementwise(fn: object, x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(fn, 1, 1)(x.astype(np.float64))).astype(x.dtype)  # type: ignore[call-overload]


def erf(x: np.ndarray) -> np.ndarray:
    return _elementwise(math.erf, x)


def _lgamma(x: float) -> float:
    if x == -math.inf or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x) if x < 2.5e305 else math.inf * x


def lgamma(x: np.ndarray) -> np.ndarray:
    return _elementwise(_lgamma, x)


def _digamma(x: float) -> float:
    """Reflection for x < 0, recurrence up to 10, asymptotic series (DLMF 5.11.2)."""
    if math.isnan(x) or x == -math.inf:
        return math.nan
    if x == math.inf:
        return x
    if x == 0:
        return math.copysign(math.inf, -x)
    if x < 0:
        if x == math.floor(x):
            return math.nan
        return _digamma(1.0 - x) - math.pi / math.tan(math.pi * math.fmod(x, 1.0))
    total = 0.0
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    f = 1.0 / (x * x)
    series = f * (1 / 12 - f * (1 / 120 - f * (1 / 252 - f * (1 / 240 - f * (1 / 132 - f * 691 / 32760)))))
    return total + math.log(x) - 0.5 / x - series


def digamma(x: np.ndarray) -> np.ndarray:
    return _elementwise(_digamma, x)


# Numerators and denominators, lowest power first, of the normal quantile in three ranges (Wichura 1988, AS 241).
_CENTRE = (
    (
        3.3871328727963666080,
        133.14166789178437745,
        1971.5909503065514427,
        13731.693765509461125,
        45921.953931549871457,
        67265.770927008700853,
        33430.575583588128105,
        2509.0809287301226727,
    ),
    (
        1.0,
        42.313330701600911252,
        687.18700749205790830,
        5394.1960214247511077,
        21213.794301586595867,
        39307.895800092710610,
        28729.085735721942674,
        5226.4952788528545610,
    ),
)
_TAIL = (
    (
        1.42343711074968357734,
        4.63033784615654529590,
        5.76949722146069140550,
        3.64784832476320460504,
        1.27045825245236838258,
        0.241780725177450611770,
        0.0227238449892691845833,
        7.74545014278341407640e-4,
    ),
    (
        1.0,
        2.05319162663775882187,
        1.67638483018380384940,
        0.689767334985100004550,
        0.148103976427480074590,
        0.0151986665636164571966,
        5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)
_FAR = (
    (
        6.65790464350110377720,
        5.46378491116411436990,
        1.78482653991729133580,
        0.296560571828504891230,
        0.0265321895265761230930,
        1.24266094738807843860e-3,
        2.71155556874348757815e-5,
        2.01033439929228813265e-7,
    ),
    (
        1.0,
        0.599832206555887937690,
        0.136929880922735805310,
        0.0148753612908506148525,
        7.86869131145613259100e-4,
        1.84631831751005468180e-5,
        1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)


def _horner(table: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    value = np.full_like(x, table[-1])
    for coefficient in table[-2::-1]:
        value *= x
        value += coefficient
    return value


def _ratio(tables: tuple[tuple[float, ...], tuple[float, ...]], x: np.ndarray) -> np.ndarray:
    return _horner(tables[0], x) / _horner(tables[1], x)


def _erfinv_part(x: np.ndarray) -> np.ndarray:
    """erfinv(x) is the normal quantile of (1 + x) / 2, divided by the root of 2."""
    size = np.abs(x)
    half = 0.5 * np.minimum(size, 0.85)
    result = half * _ratio(_CENTRE, 0.180625 - half * half)
    outer = size > 0.85
    r = np.sqrt(-np.log(0.5 * (1.0 - size[outer])))
    tail, far = np.minimum(r, 5.0) - 1.6, np.maximum(r, 5.0) - 5.0
    result[outer] = np.where(r <= 5.0, _ratio(_TAIL, tail), _ratio(_FAR, far))
    result[size == 1.0] = np.inf
    result[~(size <= 1.0)] = np.nan
    return np.copysign(result / math.sqrt(2.0), x)


def erfinv(x: np.ndarray) -> np.ndarray:
    """Computed in float64, in parts that stay in the cache: random initializers take millions of values."""
    flat = np.asarray(x).reshape(-1)
    result = np.empty_like(flat)
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, 1 << 14):
            part = slice(start, start + (1 << 14))
            result[part] = _erfinv_part(flat[part].astype(np.float64))
    return result.reshape(np.shape(x))
