"""The language of kernel sources: `from graphkeras.codegen.cpu.support import *`.

A kernel is a Python function `kernel(args, lo, hi)` that `translate.py` types and LLVM vectorises. What it may use:

    p = ptr_float32(args, 3)       argument word 3 as a pointer; p[i], p[i] = v; shift(p, n) is p + n elements;
                                   view_int32(p) is the same address with another element type;
                                   either(c, p, q) is p or q, in no alias class
    prefetch(p)                    asks for the cache line at p, which may lie anywhere
    n = int_arg(args, 4)           an integer word          a = float_arg(args, 5)   a float64 word
    float32(x) ... uint64(x)       casts; float -> int saturates (NaN: 0); float32_to_int32(x) is the same, said aloud
    bitcast_<dtype>(x)             the same bits as another type of the same width
    float16_to_float32(u) float32_to_float16(x) bfloat16_to_float32(u) float32_to_bfloat16(x)
                                   half floats live in memory as uint16 (ptr_float16 gives them raw) and are computed in
                                   float32; rounding is to nearest even. float64_to_... rounds once, not twice.
    fma fabs sqrt floor ceil trunc rint minimum maximum select shr_logical quotient
                                   minimum and maximum propagate NaN; select evaluates both sides and never branches
    reduce_add(acc, x) reduce_mul  accumulate in any order, so that a loop over them becomes vector code
    set_status(p, code, node, bad, extent)   report an error (first one wins); p is a pointer to the status words
    inf, nan, unroll-free Python loops over range(...), int64 index arithmetic, + - * / on float32 and float64

Integers meet as int64, also two int32: narrow the result with int32(...). Bools are bytes in memory (ptr_bool loads
uint8).
Nothing here becomes a libm call on x86-64 with SSE4.1 and FMA, or on AArch64.

Aliasing. Every pointer carries the number of its argument, and each load and store says in metadata that it does not
touch memory of another argument. So loops over any number of pointers vectorise without run-time checks, and values
loaded before a loop stay in registers. The price is a rule: **memory that a kernel writes is reached through one
argument only.** In-place means that the source reads and writes the same `p`. A result laid over an input of another
argument is right only where each element written depends on the very element it overwrites.
`shared_float32(args, 3, k)` puts argument 3 into the alias class of argument k: any overlap is then legal, at the
price of run-time checks.
Arguments from SCOPES on are in no class and may alias everything.

Options are module constants of a source. FASTMATH = ("contract", "nsz") is the default; never nnan or ninf: masks use
infinities. `reassoc` would undo compensated arithmetic and range reductions: use reduce_add instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import (
    SCOPES,
    Pointer,
    get_or_insert_function,
    intrinsic,
    signature,
    types,
)

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
_ELEMENTS = {
    "float32": types.float32,
    "float64": types.float64,
    "int8": types.int8,
    "int16": types.int16,
    "int32": types.int32,
    "int64": types.int64,
    "uint8": types.uint8,
    "uint16": types.uint16,
    "uint32": types.uint32,
    "uint64": types.uint64,
}
_STORED = {**_ELEMENTS, "bool": types.uint8, "float16": types.uint16, "bfloat16": types.uint16}


# -- pointers -------------------------------------------------------------------------------------------
def storage(dtype: Any) -> ir.Type:
    """LLVM type of an element in memory."""
    return dtype.llvm


def _load_word(builder: Any, table: Any, k: Any) -> Any:
    """Word k of the argument table, which nobody writes while the kernel runs."""
    base = builder.inttoptr(table, I64.as_pointer())
    word = builder.load(builder.gep(base, [k], inbounds=True))
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word


def _declare(name: str, typed: Callable[..., Any], **options: Any) -> None:
    """Make an intrinsic of a typing function and export it under `name`."""
    typed.__name__ = typed.__qualname__ = name
    globals()[name] = intrinsic(**options)(typed) if options else intrinsic(typed)
    __all__.append(name)


__all__ = ["inf", "nan"]
inf, nan = float("inf"), float("nan")


def _pointer_argument(dtype: Any, aliased: bool) -> Callable[..., Any]:
    def typing(*given: Any) -> Any:
        scope = given[-1].literal_value if isinstance(given[-1], types.IntegerLiteral) else SCOPES

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.inttoptr(_load_word(builder, args[0], args[1]), storage(dtype).as_pointer())

        return signature(Pointer(dtype, scope), *[types.int64] * len(given)), codegen

    def own(typingctx, args, k):  # type: ignore[no-untyped-def]
        return typing(args, k)

    def shared(typingctx, args, k, alias):  # type: ignore[no-untyped-def]
        return typing(args, k, alias)

    return shared if aliased else own


def _pointer_view(dtype: Any) -> Callable[..., Any]:
    def typed(typingctx, p):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.bitcast(args[0], storage(dtype).as_pointer())

        return signature(Pointer(dtype, p.scope), p), codegen

    return typed


for _name, _dtype in _STORED.items():
    _declare("ptr_" + _name, _pointer_argument(_dtype, False), prefer_literal=True)
    _declare("shared_" + _name, _pointer_argument(_dtype, True), prefer_literal=True)
    _declare("view_" + _name, _pointer_view(_dtype))


def _shift(typingctx, p, n):  # type: ignore[no-untyped-def]
    """p + n elements, in the same alias class."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]], inbounds=True)

    return signature(p, p, types.int64), codegen


def _prefetch(typingctx, p):  # type: ignore[no-untyped-def]
    """Ask for the cache line at p; the address need not exist."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        call = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(call, [builder.bitcast(args[0], byte), I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return signature(types.none, p), codegen


def _int_arg(typingctx, args, k):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _load_word(builder, args[0], args[1])

    return signature(types.int64, types.int64, types.int64), codegen


def _float_arg(typingctx, args, k):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(_load_word(builder, args[0], args[1]), ir.DoubleType())

    return signature(types.float64, types.int64, types.int64), codegen


def _either(typingctx, condition, p, q):  # type: ignore[no-untyped-def]
    """p or q, in no alias class."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return signature(Pointer(p.dtype, SCOPES), types.boolean, p, q), codegen


_declare("shift", _shift)
_declare("prefetch", _prefetch)
_declare("either", _either)
_declare("int_arg", _int_arg)
_declare("float_arg", _float_arg)


# -- calls of LLVM intrinsics ---------------------------------------------------------------------------
def _suffix(value_type: ir.Type) -> str:
    if isinstance(value_type, ir.IntType):
        return f"i{value_type.width}"
    return {"half": "f16", "float": "f32", "double": "f64"}[str(value_type)]


def call_llvm(builder: Any, name: str, result: ir.Type, values: list[Any], *overloads: ir.Type) -> Any:
    """Call `llvm.<name>`, overloaded on the given types (default: the result's)."""
    full = ".".join(["llvm." + name, *(_suffix(t) for t in overloads or (result,))])
    kind = ir.FunctionType(result, [v.type for v in values])
    function = builder.module.globals.get(full) or ir.Function(builder.module, kind, full)
    return builder.call(function, values)


def _common(a: Any, *others: Any) -> Any:
    """Operands of one type; a Python literal takes the type of its partners."""
    kinds = [types.unliteral(t) for t in (a, *others)]
    typed = [k for k, t in zip(kinds, (a, *others), strict=True) if not isinstance(t, types.Literal)]
    return (typed or kinds)[0]


def _float_function(llvm_name: str, arity: int) -> Callable[..., Any]:
    def check(*kinds: Any) -> Any:
        kind = _common(*kinds)
        if not isinstance(kind, types.Float):
            return None

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return call_llvm(builder, llvm_name, args[0].type, list(args))

        return signature(kind, *[kind] * arity), codegen

    def one(typingctx, a):  # type: ignore[no-untyped-def]
        return check(a)

    def two(typingctx, a, b):  # type: ignore[no-untyped-def]
        return check(a, b)

    def three(typingctx, a, b, c):  # type: ignore[no-untyped-def]
        return check(a, b, c)

    return (one, two, three)[arity - 1]


for _name in ("sqrt", "floor", "ceil", "trunc", "rint", "fabs"):
    _declare(_name, _float_function(_name, 1))
_declare("fma", _float_function("fma", 3))


def _extremum(llvm_float: str, smaller: bool) -> Callable[..., Any]:
    def typed(typingctx, a, b):  # type: ignore[no-untyped-def]
        kind = _common(a, b)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if isinstance(kind, types.Float):
                return call_llvm(builder, llvm_float, args[0].type, list(args))
            signed = isinstance(kind, types.Integer) and kind.signed
            name = ("s" if signed else "u") + ("min" if smaller else "max")
            return call_llvm(builder, name, args[0].type, list(args))

        return signature(kind, kind, kind), codegen

    return typed


_declare("minimum", _extremum("minimum", True))
_declare("maximum", _extremum("maximum", False))


def _select(typingctx, condition, a, b):  # type: ignore[no-untyped-def]
    kind = _common(a, b)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return signature(kind, types.boolean, kind, kind), codegen


def _shr_logical(typingctx, a, b):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.lshr(*args)

    return signature(a, a, a), codegen


def _quotient(typingctx, a, b):  # type: ignore[no-untyped-def]
    """Integer a / b towards zero, in their own width; b is neither 0 nor -1 (bodies see to it)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sdiv(*args) if a.signed else builder.udiv(*args)

    return signature(a, a, a), codegen


def _accumulate(method: str) -> Callable[..., Any]:
    def typed(typingctx, acc, x):  # type: ignore[no-untyped-def]
        floating = isinstance(acc, types.Float)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if not floating:
                return getattr(builder, method)(*args)
            return getattr(builder, "f" + method)(*args, flags=("reassoc", "contract", "nsz"))

        return signature(acc, acc, acc), codegen

    return typed


_declare("select", _select)
_declare("shr_logical", _shr_logical)
_declare("quotient", _quotient)
_declare("reduce_add", _accumulate("add"))
_declare("reduce_mul", _accumulate("mul"))


# -- conversions ----------------------------------------------------------------------------------------
def _convert(builder: Any, value: Any, source: Any, target: Any) -> Any:
    """Scalar cast: C rules between integers and between floats; saturating from float to integer."""
    kind = storage(target)
    if source is types.boolean:
        return builder.uitofp(value, kind) if isinstance(target, types.Float) else builder.zext(value, kind)
    if isinstance(source, types.Float):
        if isinstance(target, types.Integer):
            name = "fptosi.sat" if target.signed else "fptoui.sat"
            return call_llvm(builder, name, kind, [value], kind, value.type)
        if source is target:
            return value
        return builder.fptrunc(value, kind) if target is types.float32 else builder.fpext(value, kind)
    if isinstance(target, types.Float):
        return builder.sitofp(value, kind) if source.signed else builder.uitofp(value, kind)
    if kind.width <= value.type.width:
        return builder.trunc(value, kind) if kind.width < value.type.width else value
    return builder.sext(value, kind) if source.signed else builder.zext(value, kind)


def _cast(target: Any, only: Any = None) -> Callable[..., Any]:
    def typed(typingctx, x):  # type: ignore[no-untyped-def]
        source = types.unliteral(x)
        if not isinstance(source, types.Number | types.Boolean) or (only and source is not only):
            return None

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _convert(builder, args[0], source, target)

        return signature(target, source), codegen

    return typed


def _bitcast(target: Any) -> Callable[..., Any]:
    def typed(typingctx, x):  # type: ignore[no-untyped-def]
        if x.bitwidth != target.bitwidth:
            raise TypeError(f"bitcast to {target}: expected a {target.bitwidth}-bit value, received {x}")

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.bitcast(args[0], storage(target))

        return signature(target, x), codegen

    return typed


for _name, _dtype in _ELEMENTS.items():
    _declare(_name, _cast(_dtype))
    _declare("bitcast_" + _name, _bitcast(_dtype))
    if isinstance(_dtype, types.Integer):
        _declare("float32_to_" + _name, _cast(_dtype, types.float32))
        _declare("float64_to_" + _name, _cast(_dtype, types.float64))


def _odd_float32(builder: Any, value: Any) -> Any:
    """float64 -> float32 rounded to odd, so that rounding once more to a half float is rounding once."""
    near = builder.fptrunc(value, ir.FloatType())
    back = builder.fpext(near, ir.DoubleType())
    bits = builder.bitcast(near, I32)
    exact = builder.fcmp_unordered("ueq", back, value)  # NaN stays as it is
    too_big = builder.fcmp_ordered(
        ">", call_llvm(builder, "fabs", back.type, [back]), call_llvm(builder, "fabs", value.type, [value])
    )
    down = builder.select(too_big, builder.sub(bits, I32(1)), bits)  # towards zero
    return builder.bitcast(builder.select(exact, bits, builder.or_(down, I32(1))), ir.FloatType())


def _half_from(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.fptrunc(value, ir.HalfType()), I16)


def _half_to(builder: Any, value: Any) -> Any:
    return builder.fpext(builder.bitcast(value, ir.HalfType()), ir.FloatType())


def _brain_from(builder: Any, value: Any) -> Any:
    """Upper half of a float32, rounded to nearest even by integer arithmetic; NaNs are kept quiet."""
    bits = builder.bitcast(value, I32)
    lowest = builder.and_(builder.lshr(bits, I32(16)), I32(1))
    rounded = builder.lshr(builder.add(bits, builder.add(lowest, I32(0x7FFF))), I32(16))
    quiet = builder.or_(builder.lshr(bits, I32(16)), I32(0x40))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, quiet, rounded), I16)


def _brain_to(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(value, I32), I32(16)), ir.FloatType())


def _conversion(emit: Callable[..., Any], source: Any, target: Any) -> Callable[..., Any]:
    def typed(typingctx, x):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emit(builder, args[0])

        return signature(target, source), codegen

    return typed


for _name, _narrow, _widen in (("float16", _half_from, _half_to), ("bfloat16", _brain_from, _brain_to)):
    _declare(f"{_name}_to_float32", _conversion(_widen, types.uint16, types.float32))
    _declare(f"float32_to_{_name}", _conversion(_narrow, types.float32, types.uint16))
    _declare(
        f"float64_to_{_name}",
        _conversion(lambda b, v, narrow=_narrow: narrow(b, _odd_float32(b, v)), types.float64, types.uint16),
    )


# -- errors ---------------------------------------------------------------------------------------------
def _set_status(typingctx, p, code, node, bad, extent):  # type: ignore[no-untyped-def]
    """Fill the four status words if nobody did before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        swapped = builder.cmpxchg(args[0], I64(0), args[1], "monotonic", "monotonic")
        with builder.if_then(builder.extract_value(swapped, 1), likely=False):
            for k, value in enumerate(args[2:], 1):
                builder.store(value, builder.gep(args[0], [I64(k)]))
        return context.get_dummy_value()

    word = types.int64
    return signature(types.none, p, word, word, word, word), codegen


_declare("set_status", _set_status)
