"""Kernel source -> typed IR (Numba) -> optimised LLVM IR -> relocatable object with one C symbol.

Numba serves as the front end only: its module is taken before any optimisation and runs once through LLVM's O3 pipeline
for our own target machine. The result has no trace of Python: `void gk_<hash>(i64 args, i64 lo, i64 hi)`.

As a worker (`python -m graphkeras.codegen.cpu.compiler --worker`) it reads sources from stdin and answers on stdout.
"""

from __future__ import annotations

import functools
import hashlib
import linecache
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from graphkeras.codegen.cpu import target

FASTMATH = ("contract", "nsz")
_lock = threading.RLock()  # Numba's typing and target contexts are shared by the process


class CompileError(RuntimeError):
    """A kernel source that does not compile; the message ends with the numbered source."""


def source_key(source: str) -> str:
    return hashlib.blake2b(source.encode(), digest_size=16).hexdigest()


def symbol_of(source: str) -> str:
    return "gk_" + source_key(source)


def _numbered(source: str) -> str:
    return "\n".join(f"{n:4d}  {line}" for n, line in enumerate(source.splitlines(), 1))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits until the end of the block: an import cut in two cannot be made good in the same process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *what: seen.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
        if seen and callable(before):
            before(*seen[0])


@functools.cache
def _contexts() -> tuple[Any, Any]:
    with _without_interrupts():
        import numba.core.compiler  # noqa: F401
        from numba.core.registry import cpu_target

        import graphkeras.codegen.cpu.support  # noqa: F401  (registers what kernels use)

        typing, lowering = cpu_target.typing_context, cpu_target.target_context
        typing.refresh()
        lowering.refresh()
    return typing, lowering


@functools.cache
def _capture_class() -> Any:
    from numba.core.codegen import JITCodeLibrary

    class Capture(JITCodeLibrary):
        """Keeps the module that lowering built, instead of optimising and linking it."""

        built: Any = None

        def add_ir_module(self, ir_module: Any) -> None:
            self.built = ir_module

    return Capture


@functools.cache
def _pipeline() -> Any:
    """The stages of Numba that kernels need: no closures, no inlining, no array rewrites (a fifth faster)."""
    from numba.core.compiler import CompilerBase, PassManager
    from numba.core.typed_passes import NativeLowering, NopythonTypeInference, PreLowerStripPhis
    from numba.core.untyped_passes import (
        FixupArgs,
        IRProcessing,
        ReconstructSSA,
        RewriteSemanticConstants,
        TranslateByteCode,
    )

    class KernelCompiler(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            manager = PassManager("kernel")
            for stage in (TranslateByteCode, FixupArgs, IRProcessing, RewriteSemanticConstants, ReconstructSSA):
                manager.add_pass(stage, stage.__name__)
            for stage in (NopythonTypeInference, PreLowerStripPhis, NativeLowering):
                manager.add_pass(stage, stage.__name__)
            manager.finalize()
            return [manager]

    return KernelCompiler


_resolved: dict[Any, Any] = {}


@contextmanager
def _remembering(typing: Any) -> Iterator[None]:
    """While a kernel is typed: operators and intrinsics resolve once per process for each tuple of operand types.

    Numba searches all its overloads anew for every `a + b`, half of the time that typing takes.
    """
    from numba.core import types

    resolve = typing.resolve_function_type

    def remembered(func: Any, args: Any, kws: Any) -> Any:
        if kws or not isinstance(func, types.Function):
            return resolve(func, args, kws)
        found = _resolved.get((func, args))
        if found is None:
            found = resolve(func, args, kws)
            if found is not None:
                _resolved[func, args] = found
        return found

    typing.resolve_function_type = remembered
    try:
        yield
    finally:
        del typing.resolve_function_type


def _lower(source: str, function: str, symbol: str) -> tuple[str, list[Any]]:
    """Numba's IR of `function` plus a C entry point, and the libraries of jitted helpers that it calls."""
    from numba.core import cgutils, types
    from numba.core.compiler import Flags, compile_extra
    from numba.core.cpu import FastMathOptions

    filename = f"<kernel {symbol}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    space: dict[str, Any] = {"__name__": symbol}
    exec(compile(source, filename, "exec"), space)
    flags = Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.nrt = False
    chosen = space.get("FASTMATH", FASTMATH)
    if chosen:
        flags.fastmath = FastMathOptions(set(chosen))
    typing, lowering = _contexts()
    typing.refresh()
    lowering.refresh()
    library = _capture_class()(lowering.codegen(), symbol)
    words = (types.int64, types.int64, types.int64)
    with _remembering(typing):
        result = compile_extra(
            typing, lowering, space[function], words, types.void, flags, {}, library=library, pipeline_class=_pipeline()
        )
    _add_entry(library.built, result.fndesc.llvm_func_name, symbol)
    helpers = [lib._get_module_for_linking() for lib in dict.fromkeys(library._linking_libraries)]
    return cgutils.normalize_ir_text(str(library.built)), helpers


def _add_entry(module: Any, inner_name: str, symbol: str) -> None:
    """`void symbol(i64, i64, i64)`, which calls Numba's function and drops its status: kernels do not raise."""
    from llvmlite import ir

    inner = module.get_global(inner_name)
    word = ir.IntType(64)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [word, word, word]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    slots = [builder.alloca(arg.type.pointee) for arg in inner.args[:2]]
    builder.call(inner, [*slots, *entry.args])
    builder.ret_void()


def _optimised_module(source: str, function: str, symbol: str) -> Any:
    llvm = target.binding()
    text, helpers = _lower(source, function, symbol)
    module = llvm.parse_assembly(text)
    for helper in helpers:
        module.link_in(helper, preserve=True)
    machine = target.target_machine()
    module.data_layout = str(machine.target_data)
    for value in (*module.functions, *module.global_variables):
        if value.name != symbol and not value.is_declaration:
            value.linkage = "internal"
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    tuning.loop_interleaving = tuning.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    return module


def _check_symbols(module: Any, symbol: str) -> None:
    """Nothing of Python may be left: an object is loaded into processes that have no Numba."""
    foreign = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    foreign = [name for name in foreign if name not in target.ALLOWED]
    if foreign:
        raise CompileError(
            f"kernel {symbol} calls {', '.join(foreign)}, which compiled kernels cannot link to; "
            "use the functions of graphkeras.codegen.cpu.support (no exceptions, arrays, lists or libm calls)"
        )


def _module(source: str, function: str = "kernel") -> Any:
    symbol = symbol_of(source)
    with _lock:
        try:
            module = _optimised_module(source, function, symbol)
            _check_symbols(module, symbol)
        except Exception as error:
            raise CompileError(f"kernel {symbol} does not compile: {error}\n{_numbered(source)}") from error
    return module


def optimised_ir(source: str) -> str:
    """LLVM IR of a kernel after all passes: look here for vector types such as `<16 x float>`."""
    return str(_module(source))


def assembly(source: str) -> str:
    """Assembly of a kernel for the host (or GRAPHKERAS_CPU)."""
    return target.target_machine().emit_assembly(_module(source))


def compile_object(source: str) -> bytes:
    """Relocatable object of a kernel source; its one symbol is `symbol_of(source)`."""
    return target.target_machine().emit_object(_module(source))


# -- worker processes -----------------------------------------------------------------------------------
def write_message(stream: IO[bytes], kind: int, payload: bytes) -> None:
    stream.write(struct.pack("<BQ", kind, len(payload)) + payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[int, bytes] | None:
    head = stream.read(9)
    if len(head) < 9:
        return None
    kind, size = struct.unpack("<BQ", head)
    return kind, stream.read(size)


def _worker() -> None:
    """Answer each source with (0, object) or (1, error text) until stdin closes."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not spoil the protocol
    _contexts()
    write_message(output, 0, b"ready")
    while (message := read_message(sys.stdin.buffer)) is not None:
        try:
            answer = 0, compile_object(message[1].decode())
        except Exception as error:
            answer = 1, str(error).encode()
        write_message(output, *answer)


if __name__ == "__main__":
    if sys.argv[1:] != ["--worker"]:
        sys.exit("usage: python -m graphkeras.codegen.cpu.compiler --worker")
    _worker()
