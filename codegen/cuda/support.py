"""The CUDA kernel language bound to Numba-CUDA: `from graphkeras.codegen.cuda.support import *`.

What the functions do stands in `language.py`. Here each becomes a Numba intrinsic whose body is inline PTX, which any
NVVM reads; a few scalar ones are plain LLVM, so that constants fold and comparisons stay predicates. Nothing of Numba's
run time is used: kernels are compiled to PTX (`compiler.py`) and launched by the driver.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import cuda
from numba.cuda import types
from numba.cuda.extending import intrinsic

from graphkeras.codegen.cuda import language
from graphkeras.codegen.cuda.language import REGISTERS, Intrinsic, flat
from graphkeras.codegen.cuda.macros import macro_of

inf, nan = math.inf, math.nan
device = cuda.jit(device=True)

I1, I8, I32, I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
_TYPES = {
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
    "bool": types.boolean,
    "shared": types.int64,
}
_LLVM = {"f": ir.FloatType(), "d": ir.DoubleType(), "r": I32, "l": I64}
__all__ = ["device", "inf", "macro", "nan"]


def _letter(dtype: str) -> str:
    """Constraint letter of an asm operand."""
    return "r" if dtype == "shared" else REGISTERS.get(dtype, "r")


def _numba(t: str | tuple[str, int]) -> Any:
    return _TYPES[t] if isinstance(t, str) else types.UniTuple(_TYPES[t[0]], t[1])


def _outgoing(builder: Any, value: Any, dtype: str) -> Any:
    """A value as the asm operand takes it."""
    if dtype == "shared":
        return builder.trunc(value, I32)
    if dtype in REGISTERS or value.type == I32:
        return value
    return (builder.sext if dtype.startswith("int") else builder.zext)(value, I32)


def _incoming(builder: Any, value: Any, dtype: str) -> Any:
    if dtype == "bool":
        return builder.icmp_unsigned("!=", value, ir.Constant(I32, 0))
    if dtype in REGISTERS:
        return value
    return builder.trunc(value, ir.IntType(8 * language.SIZES[dtype]))


def _results(builder: Any, call: Any, outs: list[str], tuple_result: bool) -> Any:
    if len(outs) == 1 and not tuple_result:
        return _incoming(builder, call, outs[0])
    values = [
        _incoming(builder, builder.extract_value(call, k) if len(outs) > 1 else call, d) for k, d in enumerate(outs)
    ]
    array = ir.Constant(ir.ArrayType(values[0].type, len(values)), ir.Undefined)
    for k, value in enumerate(values):
        array = builder.insert_value(array, value, k)
    return array


def _emit(builder: Any, spec: Intrinsic, values: list[Any]) -> Any:
    """The asm call; `values` are the flat operands as Numba holds them."""
    ins, outs = flat(spec.ins), flat(spec.outs)
    values = [_outgoing(builder, v, d) for v, d in zip(values, ins, strict=True)]
    letters = [_letter(d) for d in ins]
    if spec.index:
        step = builder.mul(values[1], ir.Constant(I64, spec.index))
        address = builder.add(values[0], step)
        values = [builder.trunc(address, I32) if spec.narrow else address, *values[2:]]
        letters = ["r" if spec.narrow else "l", *letters[2:]]
    results = [_LLVM[_letter(d)] for d in outs]
    result = ir.VoidType() if not outs else results[0] if len(outs) == 1 else ir.LiteralStructType(results)
    constraints = ["=" + _letter(d) for d in outs]
    constraints += [str(k) if k < spec.tied else letter for k, letter in enumerate(letters)]
    if spec.effects:
        constraints.append("~{memory}")
    kind = ir.FunctionType(result, [v.type for v in values])
    asm = ir.InlineAsm(kind, spec.text, ",".join(constraints), side_effect=spec.effects)
    attributes = ("convergent",) if spec.convergent else ()
    call = builder.call(asm, values, attrs=attributes)
    if not outs:
        return None
    return _results(builder, call, outs, not isinstance(spec.outs[0], str))


def _bind(spec: Intrinsic) -> Any:
    """The Numba intrinsic of one spec."""
    wanted = [_numba(t) for t in spec.ins]
    if not spec.outs:
        returned = types.void
    elif len(spec.outs) == 1:
        returned = _numba(spec.outs[0])
    else:
        returned = types.UniTuple(_TYPES[flat(spec.outs)[0]], len(flat(spec.outs)))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = []
        for want, got, arg in zip(wanted, sig.args, args, strict=True):
            if want != got:
                arg = context.cast(builder, arg, got, want)
            if isinstance(want, types.UniTuple):
                values += [builder.extract_value(arg, k) for k in range(want.count)]
            else:
                values.append(arg)
        result = _emit(builder, spec, values)
        return context.get_dummy_value() if result is None else result

    # Numba reads the parameters of the function it is given.
    names = ", ".join(f"a{k}" for k in range(len(wanted)))
    space = {"returned": returned, "wanted": wanted, "codegen": codegen}
    exec(f"def {spec.name}(typingctx, {names}):\n    return returned(*wanted), codegen\n", space)
    return intrinsic(space[spec.name])


def _declare(name: str, function: Any) -> None:
    globals()[name] = function
    __all__.append(name)


def macro(name: str, *parameters: Any) -> Any:
    """A block of PTX that a template made for its own use, by its name in `macros.py`."""
    return _bind(macro_of(name, parameters).intrinsic)


# -- overloaded scalars ---------------------------------------------------------------------------------------
def _scalar(name: str, arity: int, texts: dict[str, str]) -> Any:
    specs = {d: Intrinsic(name, text, (d,), (d,) * arity) for d, text in texts.items()}

    def typed(typingctx: Any, *args: Any) -> Any:
        kind = types.float32 if all(a is types.float32 or isinstance(a, types.Integer) for a in args) else types.float64
        spec = specs[str(kind)]

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return _emit(builder, spec, list(values))

        return kind(*[kind] * arity), codegen

    return _with_arity(name, arity, typed)


def _with_arity(name: str, arity: int, typed: Callable[..., Any]) -> Any:
    names = ", ".join(f"a{k}" for k in range(arity))
    space: dict[str, Any] = {"typed": typed}
    exec(f"def {name}(typingctx, {names}):\n    return typed(typingctx, {names})\n", space)
    return intrinsic(space[name])


def _extremum(smaller: bool) -> Callable[..., Any]:
    text = f"{'min' if smaller else 'max'}.NaN.f32 $0, $1, $2;"
    single = Intrinsic("extremum", text, ("float32",), ("float32", "float32"))

    def typed(typingctx: Any, a: Any, b: Any) -> Any:
        kind = a if a == b else types.float64 if types.float64 in (a, b) else types.int64

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            x, y = values
            if kind is types.float32:
                return _emit(builder, single, [x, y])
            sign = "<" if smaller else ">"
            if isinstance(kind, types.Float):
                better = builder.fcmp_ordered(sign, x, y)
                better = builder.or_(better, builder.fcmp_unordered("uno", x, x))
            else:
                compare = builder.icmp_signed if kind.signed else builder.icmp_unsigned
                better = compare(sign, x, y)
            return builder.select(better, x, y)

        return kind(kind, kind), codegen

    return typed


def _quotient(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return (builder.sdiv if a.signed else builder.udiv)(*values)

    return a(a, a), codegen


def _select(typingctx: Any, c: Any, a: Any, b: Any) -> Any:
    kind = a if a == b else typingctx.unify_types(a, b)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.select(*values)

    return kind(types.boolean, kind, kind), codegen


def _shr_logical(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.lshr(*values)

    return a(a, a), codegen


def _reduce(method: str) -> Callable[..., Any]:
    def typed(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return getattr(builder, method)(*values)

        return a(a, a), codegen

    return typed


def _bitcast(target: str) -> Callable[..., Any]:
    kind = _TYPES[target]

    def typed(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            goal = context.get_value_type(kind)
            return values[0] if values[0].type == goal else builder.bitcast(values[0], goal)

        return kind(x), codegen

    return typed


def _shuffle(name: str) -> Callable[..., Any]:
    def typed(typingctx: Any, x: Any, d: Any) -> Any:
        dtype = "bool" if x is types.boolean else str(x)
        spec = language.shuffle_intrinsic(name, dtype)

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return _emit(builder, spec, list(values))

        return x(x, types.int32), codegen

    return typed


def _wide_number(name: str) -> Callable[..., Any]:
    spec = next(s for s in language.intrinsics() if s.name == name)

    def typed(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return builder.zext(_emit(builder, spec, []), I64)

        return types.int64(), codegen

    return typed


def _shared_memory(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        module = builder.module
        if "gk_shared" not in module.globals:
            array = ir.GlobalVariable(module, ir.ArrayType(I8, 0), "gk_shared", addrspace=3)
            array.linkage, array.align = "external", 1024
        return builder.zext(builder.ptrtoint(module.globals["gk_shared"], I32), I64)

    return types.int64(), codegen


for _name, _arity, _typed in (
    ("minimum", 2, _extremum(True)),
    ("maximum", 2, _extremum(False)),
    ("quotient", 2, _quotient),
    ("select", 3, _select),
    ("shr_logical", 2, _shr_logical),
    ("thread_index", 0, _wide_number("thread_number")),
    ("block_index", 0, _wide_number("block_number")),
    ("block_count", 0, _wide_number("grid_size")),
    ("shared_memory", 0, _shared_memory),
):
    _declare(_name, _with_arity(_name, _arity, _typed))
for _name, _method in (("reduce_add", "fadd"), ("reduce_mul", "fmul")):
    _declare(_name, _with_arity(_name, 2, _reduce(_method)))
for _name, (_arity, _texts) in language.SCALARS.items():
    _declare(_name, _scalar(_name, _arity, _texts))
for _name in language.SHUFFLES:
    _declare(_name, _with_arity(_name, 2, _shuffle(_name)))
for _name, _kind in _TYPES.items():
    if _name not in ("bool", "shared"):
        _declare(_name, _kind)
        _declare("bitcast_" + _name, _with_arity("bitcast_" + _name, 1, _bitcast(_name)))
for _spec in language.intrinsics():
    _declare(_spec.name, _bind(_spec))
for _name, _space, _dtype, _count in language.memory_ops():
    _declare(_name, _bind(language.memory_intrinsic(_space, _dtype, _count)))
