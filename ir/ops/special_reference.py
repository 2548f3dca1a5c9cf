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


def _erfinv(x: float) -> float:
    """A rational start (Winitzki), then Halley steps on erf, or on erfc where erf is flat."""
    if x != x or abs(x) > 1.0:
        return math.nan
    if abs(x) == 1.0:
        return math.copysign(math.inf, x)
    size = abs(x)
    half_log = 0.5 * math.log1p(-size * size)
    start = 2.0 / (math.pi * 0.147) + half_log
    y = math.sqrt(max(math.sqrt(start * start - 2.0 * half_log / 0.147) - start, 0.0))
    if size < 1e-4:
        y = size * math.sqrt(math.pi) / 2.0
    for _ in range(4):
        error = math.erf(y) - size if size < 0.5 else (1.0 - size) - math.erfc(y)
        step = error / (2.0 / math.sqrt(math.pi) * math.exp(-y * y))
        y -= step / (1.0 + y * step)
    return math.copysign(y, x)


def erfinv(x: np.ndarray) -> np.ndarray:
    return _elementwise(_erfinv, x)
