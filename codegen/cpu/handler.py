"""The CPU handler of scalar bodies: prints kernel statements, one per operation.

A body (`Op.lower`) is written once against the handler protocol of `graphkeras.ir.body`; this handler turns it into
source. Values are names that know their dtype. Half floats are held in float32 registers and rounded when stored;
bools are i1 in registers and one byte in memory.
"""

from __future__ import annotations

from typing import Any

from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.op import Op
from graphkeras.ir.types import is_float, is_int

HALF = ("float16", "bfloat16")


class Val(str):
    """A printed expression (mostly a variable name) and its dtype."""

    dtype: str

    def __new__(cls, text: str, dtype: str) -> Val:
        value = super().__new__(cls, text)
        value.dtype = dtype
        return value


class CpuHandler:
    """Implements the handler protocol by printing to a Writer."""

    def __init__(self, writer: Writer) -> None:
        self.w = writer

    def apply(self, op: Op, inputs: list[tuple[str, str]], node: Node) -> str:
        """Print one pointwise node; returns the name of its value."""
        values = [Val(name, self.register_dtype(dtype)) for name, dtype in inputs]
        if node.op == "cast":
            return self.cast(values[0], node.dtype)
        attrs = dict(node.attrs)
        return op.lower(self, *values, **attrs)

    # -- dtypes and memory -------------------------------------------------------------------------
    @staticmethod
    def register_dtype(dtype: str) -> str:
        return "float32" if dtype in HALF else dtype

    @staticmethod
    def literal(value: Any, dtype: str) -> str:
        if dtype == "bool":
            return "True" if value else "False"
        if is_float(dtype):
            return f"{CpuHandler.register_dtype(dtype)}({_float_text(float(value))})"
        return f"{dtype}({int(value)})"

    @staticmethod
    def from_memory(text: str, dtype: str) -> str:
        if dtype in HALF:
            return f"{dtype}_to_float32({text})"
        return f"({text} != 0)" if dtype == "bool" else text

    @staticmethod
    def to_memory(name: str, dtype: str) -> str:
        if dtype in HALF:
            return f"float32_to_{dtype}({name})"
        return f"uint8({name})" if dtype == "bool" else name

    @staticmethod
    def cast_text(text: str, source: str, target: str) -> str:
        if source == target:
            return text
        if target == "bool":
            return f"({text} != 0)"
        if is_float(source) and is_int(target):
            return f"{source}_to_{target}({text})"
        return f"{target}({text})"

    # -- protocol: values --------------------------------------------------------------------------
    def dtype(self, x: Val) -> str:
        return x.dtype

    def const(self, value: Any, dtype: str) -> Val:
        return Val(self.literal(value, dtype), self.register_dtype(dtype))

    def _let(self, text: str, dtype: str) -> Val:
        name = self.w.name("t")
        self.w.line(f"{name} = {text}")
        return Val(name, dtype)

    def _number(self, x: Any, like: Val) -> Val:
        return x if isinstance(x, Val) else self.const(x, like.dtype)

    def _arith(self, symbol: str, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        a, b = self._number(a, like), self._number(b, like)
        text = f"{a} {symbol} {b}"
        return self._let(f"{like.dtype}({text})" if is_int(like.dtype) else text, like.dtype)

    # -- protocol: arithmetic ----------------------------------------------------------------------
    def add(self, a: Any, b: Any) -> Val:
        return self._arith("+", a, b)

    def sub(self, a: Any, b: Any) -> Val:
        return self._arith("-", a, b)

    def mul(self, a: Any, b: Any) -> Val:
        return self._arith("*", a, b)

    def div(self, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        if is_float(like.dtype):
            return self._arith("/", a, b)
        # // would widen to int64 and round down.
        return self._let(f"quotient({self._number(a, like)}, {self._number(b, like)})", like.dtype)

    def neg(self, a: Val) -> Val:
        return self._let(f"{a.dtype}(-{a})" if is_int(a.dtype) else f"-{a}", a.dtype)

    def abs(self, a: Val) -> Val:
        if is_int(a.dtype):
            return self._let(a if a.dtype.startswith("u") else f"{a.dtype}(abs({a}))", a.dtype)
        return self._let(f"fabs({a})", a.dtype)

    def fma(self, a: Any, b: Any, c: Any) -> Val:
        like = next(v for v in (a, b, c) if isinstance(v, Val))
        a, b, c = (self._number(v, like) for v in (a, b, c))
        return self._let(f"fma({a}, {b}, {c})", like.dtype)

    def min(self, a: Any, b: Any) -> Val:
        return self._pair("minimum", a, b)

    def max(self, a: Any, b: Any) -> Val:
        return self._pair("maximum", a, b)

    def _pair(self, function: str, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        return self._let(f"{function}({self._number(a, like)}, {self._number(b, like)})", like.dtype)

    def sqrt(self, a: Val) -> Val:
        return self._let(f"sqrt({a})", a.dtype)

    def floor(self, a: Val) -> Val:
        return self._let(f"floor({a})", a.dtype)

    def ceil(self, a: Val) -> Val:
        return self._let(f"ceil({a})", a.dtype)

    def trunc(self, a: Val) -> Val:
        return self._let(f"trunc({a})", a.dtype)

    def rint(self, a: Val) -> Val:
        return self._let(f"rint({a})", a.dtype)

    # -- protocol: comparison and logic ------------------------------------------------------------
    def _compare(self, symbol: str, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        return self._let(f"{self._number(a, like)} {symbol} {self._number(b, like)}", "bool")

    def lt(self, a: Any, b: Any) -> Val:
        return self._compare("<", a, b)

    def le(self, a: Any, b: Any) -> Val:
        return self._compare("<=", a, b)

    def gt(self, a: Any, b: Any) -> Val:
        return self._compare(">", a, b)

    def ge(self, a: Any, b: Any) -> Val:
        return self._compare(">=", a, b)

    def eq(self, a: Any, b: Any) -> Val:
        return self._compare("==", a, b)

    def ne(self, a: Any, b: Any) -> Val:
        return self._compare("!=", a, b)

    def select(self, c: Val, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        return self._let(f"select({c}, {self._number(a, like)}, {self._number(b, like)})", like.dtype)

    def and_(self, a: Any, b: Any) -> Val:
        return self._bits("&", a, b)

    def or_(self, a: Any, b: Any) -> Val:
        return self._bits("|", a, b)

    def xor(self, a: Any, b: Any) -> Val:
        return self._bits("^", a, b)

    def _bits(self, symbol: str, a: Any, b: Any) -> Val:
        like = a if isinstance(a, Val) else b
        text = f"{self._number(a, like)} {symbol} {self._number(b, like)}"
        return self._let(text if like.dtype == "bool" else f"{like.dtype}({text})", like.dtype)

    def not_(self, a: Val) -> Val:
        return self._let(f"{a} ^ True" if a.dtype == "bool" else f"{a.dtype}(~{a})", a.dtype)

    def shl(self, a: Any, b: Any) -> Val:
        return self._arith("<<", a, b)

    def shr(self, a: Any, b: Any) -> Val:
        return self._arith(">>", a, b)

    # -- protocol: conversions ---------------------------------------------------------------------
    def cast(self, a: Val, dtype: str) -> Val:
        if dtype in HALF:  # round through memory form, stay in a float32 register
            wide = self.cast_text(a, a.dtype, "float32")
            return self._let(f"{dtype}_to_float32(float32_to_{dtype}({wide}))", "float32")
        if a.dtype == dtype:
            return a
        return self._let(self.cast_text(a, a.dtype, dtype), dtype)

    def bitcast(self, a: Val, dtype: str) -> Val:
        return self._let(f"bitcast_{dtype}({a})", dtype)


def _float_text(value: float) -> str:
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return repr(value)
