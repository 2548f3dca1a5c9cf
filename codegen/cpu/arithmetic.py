"""Operators of the kernel language on scalars, as LLVM instructions, with Python's meaning on 64-bit integers.

Integers are widened to 64 bits before they meet (an unsigned pair stays unsigned); `//` and `%` round down; a divisor
of 0 gives what 1 would. A float32 meets a float32 as such; everything else with a float becomes float64.
"""

from __future__ import annotations

import ast
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import Boolean, Float, Integer, Pointer, Type, UniTuple, types

Value = tuple[Any, Type]
I64 = ir.IntType(64)
FLOATS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
INTEGERS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor"}
COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


class KernelTypeError(TypeError):
    """An expression whose types do not go together."""


def convert(b: Any, value: Any, source: Type, target: Type) -> Any:
    """The value as `target`, by the rules of assignments and calls."""
    source = types.unliteral(source)
    if source == target:
        return value
    if isinstance(source, Pointer) and isinstance(target, Pointer) and source.dtype == target.dtype:
        return value
    if isinstance(source, UniTuple) and isinstance(target, UniTuple) and source.count == target.count:
        made = ir.Constant(target.llvm, ir.Undefined)
        for k in range(target.count):
            part = convert(b, b.extract_value(value, k), source.dtype, target.dtype)
            made = b.insert_value(made, part, k)
        return made
    if isinstance(target, Boolean):
        return truth(b, value, source)
    if not isinstance(target, (Integer, Float)) or not isinstance(source, (Integer, Float, Boolean)):
        raise KernelTypeError(f"a value of type {source} cannot be used as {target}")
    kind = target.llvm
    if isinstance(source, Boolean):
        return b.uitofp(value, kind) if isinstance(target, Float) else b.zext(value, kind)
    if isinstance(source, Float):
        if isinstance(target, Float):
            return b.fptrunc(value, kind) if target.bitwidth < source.bitwidth else b.fpext(value, kind)
        raise KernelTypeError(f"a {source} becomes {target} only by a cast that is spelled out")
    if isinstance(target, Float):
        return b.sitofp(value, kind) if source.signed else b.uitofp(value, kind)
    if target.bitwidth <= source.bitwidth:
        return b.trunc(value, kind) if target.bitwidth < source.bitwidth else value
    return b.sext(value, kind) if source.signed else b.zext(value, kind)


def truth(b: Any, value: Any, kind: Type) -> Any:
    """Whether a value counts as true, as one bit."""
    if isinstance(kind, Boolean):
        return value
    if isinstance(kind, Float):
        return b.fcmp_unordered("!=", value, ir.Constant(kind.llvm, 0.0))
    if isinstance(types.unliteral(kind), Integer):
        return b.icmp_unsigned("!=", value, ir.Constant(value.type, 0))
    raise KernelTypeError(f"a value of type {kind} has no truth")


def common(a: Type, c: Type) -> Type:
    """The type in which two numbers meet."""
    if isinstance(a, Boolean) and isinstance(c, Boolean):
        return a
    if isinstance(a, Float) or isinstance(c, Float):
        return types.float32 if a == c == types.float32 else types.float64
    signs = {k.signed for k in (a, c) if isinstance(k, Integer)}
    if signs == {True, False} and types.uint64 in (a, c):
        raise KernelTypeError(f"{a} and {c} have no common integer type; cast one of them")
    return types.int64 if True in signs else types.uint64 if signs else types.int64


def binary(b: Any, op: type, left: Value, right: Value) -> Value:
    (x, a), (y, c) = left, right
    if not all(isinstance(k, (Integer, Float, Boolean)) for k in (a, c)):
        raise KernelTypeError(f"{op.__name__} of {a} and {c}")
    if op in (ast.LShift, ast.RShift):
        return _shift(b, op, left, right)
    kind = common(a, c)
    if op is ast.Div and not isinstance(kind, Float):
        kind = types.float64
    if isinstance(kind, Boolean) and op not in (ast.BitAnd, ast.BitOr, ast.BitXor):
        kind = types.int64
    x, y = convert(b, x, a, kind), convert(b, y, c, kind)
    if isinstance(kind, Float):
        if op not in FLOATS:
            raise KernelTypeError(f"{op.__name__} of {a} and {c}")
        return getattr(b, FLOATS[op])(x, y), kind
    if op in INTEGERS:
        return getattr(b, INTEGERS[op])(x, y), kind
    if op in (ast.FloorDiv, ast.Mod) and isinstance(kind, Integer):
        return _divide(b, op, x, y, kind), kind
    raise KernelTypeError(f"{op.__name__} of {a} and {c}")


def _shift(b: Any, op: type, left: Value, right: Value) -> Value:
    (x, a), (y, c) = left, right
    if not isinstance(a, Integer) or not isinstance(c, Integer):
        raise KernelTypeError(f"{op.__name__} of {a} and {c}")
    kind = types.int64 if a.signed else types.uint64
    x, y = convert(b, x, a, kind), convert(b, y, c, types.int64 if c.signed else types.uint64)
    if op is ast.LShift:
        return b.shl(x, y), kind
    return (b.ashr(x, y) if a.signed else b.lshr(x, y)), kind


def _divide(b: Any, op: type, x: Any, y: Any, kind: Integer) -> Any:
    """x // y or x % y, rounded down."""
    if not isinstance(y, ir.Constant):
        y = b.select(b.icmp_unsigned("==", y, I64(0)), I64(1), y)
    if not kind.signed:
        return b.udiv(x, y) if op is ast.FloorDiv else b.urem(x, y)
    rest = b.srem(x, y)
    down = b.and_(b.icmp_signed("!=", rest, I64(0)), b.icmp_signed("<", b.xor(rest, y), I64(0)))
    if op is ast.Mod:
        return b.select(down, b.add(rest, y), rest)
    quotient = b.sdiv(x, y)
    return b.select(down, b.sub(quotient, I64(1)), quotient)


def compare(b: Any, op: type, left: Value, right: Value) -> Value:
    (x, a), (y, c) = left, right
    if not all(isinstance(k, (Integer, Float, Boolean)) for k in (a, c)) or op not in COMPARE:
        raise KernelTypeError(f"{op.__name__} of {a} and {c}")
    kind = a if a == c else common(a, c)
    x, y = convert(b, x, a, kind), convert(b, y, c, kind)
    symbol = COMPARE[op]
    if isinstance(kind, Float):
        return (b.fcmp_unordered if symbol == "!=" else b.fcmp_ordered)(symbol, x, y), types.boolean
    signed = isinstance(kind, Integer) and kind.signed
    return (b.icmp_signed if signed else b.icmp_unsigned)(symbol, x, y), types.boolean


def unary(b: Any, op: type, operand: Value) -> Value:
    x, a = operand
    if op is ast.Not:
        return b.not_(truth(b, x, a)), types.boolean
    if isinstance(a, Float) and op is ast.USub:
        return b.fneg(x), a
    if not isinstance(a, (Integer, Boolean)) or op not in (ast.USub, ast.Invert, ast.UAdd):
        raise KernelTypeError(f"{op.__name__} of {a}")
    kind = types.uint64 if isinstance(a, Integer) and not a.signed and op is ast.Invert else types.int64
    x = convert(b, x, a, kind)
    return (b.neg(x) if op is ast.USub else b.not_(x) if op is ast.Invert else x), kind


def extreme(b: Any, smaller: bool, left: Value, right: Value) -> Value:
    """Python's min and max of integers."""
    (x, a), (y, c) = left, right
    kind = common(a, c)
    if not isinstance(kind, Integer):
        raise KernelTypeError(f"min and max of {a} and {c}: use minimum and maximum for floats")
    x, y = convert(b, x, a, kind), convert(b, y, c, kind)
    less = (b.icmp_signed if kind.signed else b.icmp_unsigned)("<", *((x, y) if smaller else (y, x)))
    return b.select(less, x, y), kind


def absolute(b: Any, operand: Value) -> Value:
    x, a = operand
    if not isinstance(a, Integer):
        raise KernelTypeError(f"abs of {a}: use fabs for floats")
    x = convert(b, x, a, types.int64)
    return b.select(b.icmp_signed("<", x, I64(0)), b.neg(x), x), types.int64
