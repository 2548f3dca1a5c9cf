"""Arithmetic notation for scalar bodies: `Value` wraps what a handler handles; `body` makes a body of a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from graphkeras.ir.types import COMPLEX

HALF = ("float16", "bfloat16")
Number = bool | int | float


class Value:
    """A handler's value with operators; numbers take the dtype of the Value they meet."""

    __slots__ = ("h", "raw")

    def __init__(self, h: Any, raw: Any) -> None:
        self.h = h
        self.raw = raw

    @property
    def dtype(self) -> str:
        return self.h.dtype(self.raw)

    def const(self, value: Number, dtype: str | None = None) -> Value:
        return Value(self.h, self.h.const(value, dtype or self.dtype))

    def cast(self, dtype: str) -> Value:
        return self if self.dtype == dtype else Value(self.h, self.h.cast(self.raw, dtype))

    def bitcast(self, dtype: str) -> Value:
        return Value(self.h, self.h.bitcast(self.raw, dtype))

    def _call(self, name: str, *others: Any) -> Value:
        raws = [o.raw if isinstance(o, Value) else self.h.const(o, self.dtype) for o in others]
        return Value(self.h, getattr(self.h, name)(self.raw, *raws))

    def _reflected(self, name: str, other: Number) -> Value:
        return self.const(other)._call(name, self)

    def __add__(self, o: Any) -> Value:
        return self._call("add", o)

    def __radd__(self, o: Any) -> Value:
        return self._reflected("add", o)

    def __sub__(self, o: Any) -> Value:
        return self._call("sub", o)

    def __rsub__(self, o: Any) -> Value:
        return self._reflected("sub", o)

    def __mul__(self, o: Any) -> Value:
        return self._call("mul", o)

    def __rmul__(self, o: Any) -> Value:
        return self._reflected("mul", o)

    def __truediv__(self, o: Any) -> Value:
        return self._call("div", o)

    def __rtruediv__(self, o: Any) -> Value:
        return self._reflected("div", o)

    def __lt__(self, o: Any) -> Value:
        return self._call("lt", o)

    def __le__(self, o: Any) -> Value:
        return self._call("le", o)

    def __gt__(self, o: Any) -> Value:
        return self._call("gt", o)

    def __ge__(self, o: Any) -> Value:
        return self._call("ge", o)

    def __and__(self, o: Any) -> Value:
        return self._call("and_", o)

    def __or__(self, o: Any) -> Value:
        return self._call("or_", o)

    def __xor__(self, o: Any) -> Value:
        return self._call("xor", o)

    def __lshift__(self, o: Any) -> Value:
        return self._call("shl", o)

    def __rshift__(self, o: Any) -> Value:
        return self._call("shr", o)

    def __neg__(self) -> Value:
        return self._call("neg")

    def __invert__(self) -> Value:
        return self._call("not_")

    def __abs__(self) -> Value:
        return self._call("abs")

    # `==` stays Python's identity test; these are the element-wise ones.
    def eq(self, o: Any) -> Value:
        return self._call("eq", o)

    def ne(self, o: Any) -> Value:
        return self._call("ne", o)

    def fma(self, factor: Any, term: Any) -> Value:
        return self._call("fma", factor, term)

    def sqrt(self) -> Value:
        return self._call("sqrt")

    def floor(self) -> Value:
        return self._call("floor")

    def ceil(self) -> Value:
        return self._call("ceil")

    def trunc(self) -> Value:
        return self._call("trunc")

    def rint(self) -> Value:
        return self._call("rint")

    def is_nan(self) -> Value:
        return self.ne(self)

    def flip_sign(self, like: Value) -> Value:
        """Negated where `like` is negative (-0.0 included), by its sign bit."""
        bits, mask = ("int64", -(2**63)) if self.dtype == "float64" else ("int32", -(2**31))
        return (self.bitcast(bits) ^ (like.bitcast(bits) & mask)).bitcast(self.dtype)


def where(condition: Value, x: Any, y: Any) -> Value:
    """Element-wise choice; at least one of x, y is a Value."""
    like = x if isinstance(x, Value) else y
    x, y = (v if isinstance(v, Value) else like.const(v) for v in (x, y))
    return Value(condition.h, condition.h.select(condition.raw, x.raw, y.raw))


def minimum(x: Value, y: Any) -> Value:
    return x._call("min", y)


def maximum(x: Value, y: Any) -> Value:
    return x._call("max", y)


def horner(x: Value, coefficients: Sequence[float], start: Value | None = None) -> Value:
    """Polynomial, highest power first."""
    total = x.const(coefficients[0]) if start is None else start.fma(x, coefficients[0])
    for c in coefficients[1:]:
        total = total.fma(x, c)
    return total


def table(x: Value, name: str) -> Sequence[float]:
    """The coefficients `name` for the dtype of x."""
    from graphkeras.ir.bodies import coefficients

    return getattr(coefficients, name + ("64" if x.dtype == "float64" else "32"))


def body(fn: Callable[..., Value] | None = None, *, complex: Callable[..., Any] | None = None) -> Any:
    """Make a body of a function of Values. Half types are computed in float32 and rounded once at the end.

    complex: the function for complex inputs; it gets and gives Values of complex dtype.
    """
    if fn is None:
        return functools.partial(body, complex=complex)

    @functools.wraps(fn)
    def lower(h: Any, *raws: Any, **attrs: Any) -> Any:
        values = [Value(h, r) for r in raws]
        dtype = values[0].dtype
        if dtype in COMPLEX:
            if complex is None:
                raise NotImplementedError(f"op {fn.__name__!r} has no kernel for {dtype}")
            return complex(*values, **attrs).raw
        if dtype not in HALF:
            return fn(*values, **attrs).raw
        result = fn(*(v.cast("float32") for v in values), **attrs)
        return (result.cast(dtype) if result.dtype == "float32" else result).raw

    return lower
