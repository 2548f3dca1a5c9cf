"""The protocol that scalar bodies are written against, its NumPy handler, and the monoids of reductions.

A body is `body(h, *xs, **attrs)`: it combines opaque values only through the methods of a handler `h`. A handler
that prints source makes kernels, one that counts gives costs, and `NumpyHandler` computes on arrays for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from graphkeras.ir.types import is_float, numpy_dtype


class Handler(Protocol):
    """What a body may call. Values are opaque; every value has a dtype name, `h.dtype(x)`.

    Operands of one call have one dtype. Comparisons give bool. `fma(a, b, c)` is a*b + c, fused or not.
    `min` and `max` keep NaN as np.minimum and np.maximum. `shr` is arithmetic for signed dtypes.
    `div` is true division of floats; of integers it truncates towards zero and never sees a zero divisor.
    """

    def dtype(self, x: Any) -> str: ...
    def const(self, value: Any, dtype: str) -> Any: ...
    def cast(self, x: Any, dtype: str) -> Any: ...
    def bitcast(self, x: Any, dtype: str) -> Any: ...
    def add(self, a: Any, b: Any) -> Any: ...
    def sub(self, a: Any, b: Any) -> Any: ...
    def mul(self, a: Any, b: Any) -> Any: ...
    def div(self, a: Any, b: Any) -> Any: ...
    def neg(self, a: Any) -> Any: ...
    def abs(self, a: Any) -> Any: ...
    def fma(self, a: Any, b: Any, c: Any) -> Any: ...
    def min(self, a: Any, b: Any) -> Any: ...
    def max(self, a: Any, b: Any) -> Any: ...
    def sqrt(self, a: Any) -> Any: ...
    def floor(self, a: Any) -> Any: ...
    def ceil(self, a: Any) -> Any: ...
    def trunc(self, a: Any) -> Any: ...
    def rint(self, a: Any) -> Any: ...
    def lt(self, a: Any, b: Any) -> Any: ...
    def le(self, a: Any, b: Any) -> Any: ...
    def gt(self, a: Any, b: Any) -> Any: ...
    def ge(self, a: Any, b: Any) -> Any: ...
    def eq(self, a: Any, b: Any) -> Any: ...
    def ne(self, a: Any, b: Any) -> Any: ...
    def select(self, c: Any, a: Any, b: Any) -> Any: ...
    def and_(self, a: Any, b: Any) -> Any: ...
    def or_(self, a: Any, b: Any) -> Any: ...
    def xor(self, a: Any, b: Any) -> Any: ...
    def not_(self, a: Any) -> Any: ...
    def shl(self, a: Any, b: Any) -> Any: ...
    def shr(self, a: Any, b: Any) -> Any: ...
    def real(self, a: Any) -> Any: ...
    def imag(self, a: Any) -> Any: ...
    def complex(self, a: Any, b: Any) -> Any: ...


class NumpyHandler:
    """Runs a body on NumPy arrays, every step rounded to its dtype as in a kernel."""

    add = staticmethod(np.add)
    sub = staticmethod(np.subtract)
    mul = staticmethod(np.multiply)
    neg = staticmethod(np.negative)
    abs = staticmethod(np.abs)
    min = staticmethod(np.minimum)
    max = staticmethod(np.maximum)
    sqrt = staticmethod(np.sqrt)
    floor = staticmethod(np.floor)
    ceil = staticmethod(np.ceil)
    trunc = staticmethod(np.trunc)
    rint = staticmethod(np.rint)
    lt = staticmethod(np.less)
    le = staticmethod(np.less_equal)
    gt = staticmethod(np.greater)
    ge = staticmethod(np.greater_equal)
    eq = staticmethod(np.equal)
    ne = staticmethod(np.not_equal)
    select = staticmethod(np.where)
    and_ = staticmethod(np.bitwise_and)
    or_ = staticmethod(np.bitwise_or)
    xor = staticmethod(np.bitwise_xor)
    not_ = staticmethod(np.invert)
    shl = staticmethod(np.left_shift)
    shr = staticmethod(np.right_shift)
    real = staticmethod(np.real)
    imag = staticmethod(np.imag)

    @staticmethod
    def dtype(x: Any) -> str:
        return x.dtype.name

    @staticmethod
    def const(value: Any, dtype: str) -> Any:
        return np.asarray(value).astype(numpy_dtype(dtype))[()]

    @staticmethod
    def cast(x: Any, dtype: str) -> Any:
        return np.asarray(x).astype(numpy_dtype(dtype))[()]

    @staticmethod
    def bitcast(x: Any, dtype: str) -> Any:
        x = np.asarray(x)
        return np.ascontiguousarray(x).view(numpy_dtype(dtype)).reshape(x.shape)[()]

    @staticmethod
    def div(a: Any, b: Any) -> Any:
        if a.dtype.kind in "iu":
            inexact = (a % b != 0) & ((a < 0) != (b < 0))
            return (a // b + inexact.astype(a.dtype)).astype(a.dtype)
        return np.true_divide(a, b)

    @staticmethod
    def fma(a: Any, b: Any, c: Any) -> Any:
        """Fused for float32 (through float64); two roundings for float64."""
        if a.dtype == np.float32:
            return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)
        return a * b + c

    @staticmethod
    def complex(a: Any, b: Any) -> Any:
        return (a + 1j * b).astype(np.complex128 if a.dtype == np.float64 else np.complex64)


@dataclass(frozen=True)
class Monoid:
    """An associative, commutative combination.

    identity(dtype) -> tuple of Python numbers, one per field of the accumulator.
    lift(h, x, index) -> fields from one element (index: position along the reduced axis, int32 or int64).
    combine(h, a, b) -> fields; a and b are tuples.
    finish(h, fields) -> the result.
    accumulator(dtype) -> dtype of the first field; further fields are indices (int32).
    """

    name: str
    identity: Callable[[str], tuple[Any, ...]]
    combine: Callable[[Any, tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]]
    lift: Callable[[Any, Any, Any], tuple[Any, ...]] = lambda h, x, index: (x,)
    finish: Callable[[Any, tuple[Any, ...]], Any] = lambda h, fields: fields[0]
    accumulator: Callable[[str], str] = lambda dtype: dtype

    @property
    def fields(self) -> int:
        return len(self.identity("float32"))


def wide(dtype: str) -> str:
    """The dtype in which sums of `dtype` are held."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def lowest(dtype: str) -> Any:
    if dtype == "bool":
        return False
    return -float("inf") if is_float(dtype) else int(np.iinfo(numpy_dtype(dtype)).min)


def highest(dtype: str) -> Any:
    if dtype == "bool":
        return True
    return float("inf") if is_float(dtype) else int(np.iinfo(numpy_dtype(dtype)).max)


def all_bits(dtype: str) -> Any:
    if dtype == "bool":
        return True
    info = np.iinfo(numpy_dtype(dtype))
    return -1 if info.min < 0 else int(info.max)


def _max(h: Any, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    return ((h.or_ if h.dtype(a[0]) == "bool" else h.max)(a[0], b[0]),)


def _min(h: Any, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    return ((h.and_ if h.dtype(a[0]) == "bool" else h.min)(a[0], b[0]),)


def _arg(better: str) -> Callable[[Any, tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]]:
    """Combine (value, index): the better value, NaN best of all, the smaller index among equals."""

    def combine(h: Any, a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        if h.dtype(a[0]) == "bool":
            a, b = (h.cast(a[0], "int32"), a[1]), (h.cast(b[0], "int32"), b[1])
            value, index = combine(h, a, b)
            return h.ne(value, h.const(0, "int32")), index
        wins = getattr(h, better)(b[0], a[0])
        same = h.eq(b[0], a[0])
        if is_float(h.dtype(a[0])):
            a_nan, b_nan = h.ne(a[0], a[0]), h.ne(b[0], b[0])
            wins = h.or_(h.and_(b_nan, h.not_(a_nan)), h.and_(wins, h.not_(a_nan)))
            same = h.or_(same, h.and_(a_nan, b_nan))
        wins = h.or_(wins, h.and_(same, h.lt(b[1], a[1])))
        return h.select(wins, b[0], a[0]), h.select(wins, b[1], a[1])

    return combine


def _with_index(h: Any, x: Any, index: Any) -> tuple[Any, ...]:
    return x, h.cast(index, "int32")


_LAST = 2**31 - 1
SUM = Monoid("sum", lambda d: (0,), lambda h, a, b: (h.add(a[0], b[0]),), accumulator=wide)
PROD = Monoid("prod", lambda d: (1,), lambda h, a, b: (h.mul(a[0], b[0]),), accumulator=wide)
MAX = Monoid("max", lambda d: (lowest(d),), _max)
MIN = Monoid("min", lambda d: (highest(d),), _min)
AND = Monoid("and", lambda d: (all_bits(d),), lambda h, a, b: (h.and_(a[0], b[0]),))
OR = Monoid("or", lambda d: (False if d == "bool" else 0,), lambda h, a, b: (h.or_(a[0], b[0]),))
ARGMAX = Monoid("argmax", lambda d: (lowest(d), _LAST), _arg("gt"), _with_index, lambda h, fields: fields[1])
ARGMIN = Monoid("argmin", lambda d: (highest(d), _LAST), _arg("lt"), _with_index, lambda h, fields: fields[1])
