"""Numba as the front end of kernels: GRAPHKERAS_FRONTEND=numba.

Kernel sources are a subset of what Numba compiles, and this module holds them to it: it hands Numba the same texts and
the same intrinsics that `translate.py` takes, so that one can be checked against the other. It takes 60 to 200 ms per
kernel where ours takes a few, which is why it is not the default.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import operator
from collections.abc import Iterable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, Flags, PassManager, compile_extra
from numba.core.cpu import FastMathOptions
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.imputils import lower_builtin
from numba.core.registry import cpu_target
from numba.core.typed_passes import NativeLowering, NopythonTypeInference, PreLowerStripPhis
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.core.untyped_passes import (
    FixupArgs,
    IRProcessing,
    ReconstructSSA,
    RewriteSemanticConstants,
    TranslateByteCode,
)
from numba.extending import intrinsic

from graphkeras.codegen.cpu import dialect

I64 = ir.IntType(64)


# -- types ----------------------------------------------------------------------------------------------
class Pointer(types.Type):
    """The kernel language's pointer as Numba sees it."""

    def __init__(self, ours: dialect.Pointer) -> None:
        self.ours = ours
        super().__init__(name=str(ours))


@register_default(Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Pointer) -> None:
        super().__init__(dmm, fe_type, fe_type.ours.llvm)


def _ours(kind: Any, literals: bool = False) -> dialect.Type:
    """Numba's type as one of the kernel language. literals: constants keep their value."""
    if isinstance(kind, types.IntegerLiteral) and literals:
        return dialect.IntegerLiteral(kind.literal_value)
    kind = types.unliteral(kind)
    if isinstance(kind, Pointer):
        return kind.ours
    if isinstance(kind, types.BaseTuple):
        members = {_ours(k) for k in kind}
        if len(members) != 1:
            raise TypeError(f"a tuple of one type is expected, received {kind}")
        return dialect.UniTuple(members.pop(), len(kind))
    found = getattr(dialect.types, {"bool": "boolean"}.get(kind.name, kind.name), None)
    if not isinstance(found, dialect.Type):
        raise TypeError(f"{kind} is no type of the kernel language")
    return found


def _numbas(kind: dialect.Type) -> Any:
    if isinstance(kind, dialect.Pointer):
        return Pointer(kind)
    if isinstance(kind, dialect.UniTuple):
        return types.UniTuple(_numbas(kind.dtype), kind.count)
    return getattr(types, dialect.types.unliteral(kind).name)


def _index(builder: Any, value: Any, kind: Any) -> Any:
    if value.type.width == 64:
        return value
    return builder.sext(value, I64) if kind.signed else builder.zext(value, I64)


@infer_global(operator.getitem)
class _TypeGetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(_numbas(pointer.ours.dtype), pointer, index)
        return None


@infer_global(operator.setitem)
class _TypeSetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, _ = args
        if isinstance(pointer, Pointer) and isinstance(index, types.Integer):
            return signature(types.none, pointer, index, _numbas(pointer.ours.dtype))
        return None


@lower_builtin(operator.getitem, Pointer, types.Integer)
def _lower_getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, kind = sig.args
    address = builder.gep(args[0], [_index(builder, args[1], kind)], inbounds=True)
    return dialect.marked(builder, builder.load(address), pointer.ours.scope)


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
def _lower_setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer, kind, _ = sig.args
    address = builder.gep(args[0], [_index(builder, args[1], kind)], inbounds=True)
    dialect.marked(builder, builder.store(args[2], address), pointer.ours.scope)
    return context.get_dummy_value()


# -- intrinsics -----------------------------------------------------------------------------------------
@functools.cache
def _for_numba(given: dialect.Intrinsic) -> Any:
    """An intrinsic of Numba that types and prints as `given` does."""

    def typed(typingctx: Any, *kinds: Any) -> Any:
        try:
            found = given.resolve(tuple(_ours(k, given.prefer_literal) for k in kinds))
        except TypeError:
            found = None
        if found is None:
            return None
        own, emit = found

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = emit(dialect.Context, builder, own, list(args))
            return context.get_dummy_value() if value is None else value

        return signature(_numbas(own.return_type), *(_numbas(k) for k in own.args)), codegen

    typed.__name__ = typed.__qualname__ = given.__name__
    typed.__signature__ = inspect.signature(given.typed)  # type: ignore[attr-defined]
    return intrinsic(prefer_literal=given.prefer_literal)(typed)


# -- compiling ------------------------------------------------------------------------------------------
class _Capture(JITCodeLibrary):  # type: ignore[misc]
    """Keeps the module that lowering built, instead of optimising and linking it."""

    built: Any = None

    def add_ir_module(self, ir_module: Any) -> None:
        self.built = ir_module


class _KernelCompiler(CompilerBase):  # type: ignore[misc]
    """The stages of Numba that kernels need: no closures, no inlining, no array rewrites."""

    def define_pipelines(self) -> list[Any]:
        manager = PassManager("kernel")
        for stage in (TranslateByteCode, FixupArgs, IRProcessing, RewriteSemanticConstants, ReconstructSSA):
            manager.add_pass(stage, stage.__name__)
        for stage in (NopythonTypeInference, PreLowerStripPhis, NativeLowering):
            manager.add_pass(stage, stage.__name__)
        manager.finalize()
        return [manager]


def lower(source: str, function: str, symbol: str, fast: Iterable[str]) -> str:
    """LLVM IR of `function` as the C function `symbol`, with the helpers that Numba's code calls."""
    filename = f"<kernel {symbol}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    space: dict[str, Any] = {"__name__": symbol}
    exec(compile(source, filename, "exec"), space)
    kernel = space[function]
    space.update({k: _for_numba(v) for k, v in space.items() if isinstance(v, dialect.Intrinsic)})
    flags = Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.nrt = False
    if fast:
        flags.fastmath = FastMathOptions(set(fast))
    typing, lowering = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    lowering.refresh()
    library = _Capture(lowering.codegen(), symbol)
    words = (types.int64,) * kernel.__code__.co_argcount
    result = compile_extra(
        typing, lowering, kernel, words, types.void, flags, {}, library=library, pipeline_class=_KernelCompiler
    )
    _add_entry(library.built, result.fndesc.llvm_func_name, symbol)
    module = binding.parse_assembly(cgutils.normalize_ir_text(str(library.built)))
    for helper in dict.fromkeys(library._linking_libraries):
        module.link_in(helper._get_module_for_linking(), preserve=True)
    return str(module)


def _add_entry(module: Any, inner_name: str, symbol: str) -> None:
    """`void symbol(i64, ...)`, which calls Numba's function and drops its status: kernels do not raise."""
    inner = module.get_global(inner_name)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in inner.args[2:]]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    slots = [builder.alloca(arg.type.pointee) for arg in inner.args[:2]]
    builder.call(inner, [*slots, *entry.args])
    builder.ret_void()
