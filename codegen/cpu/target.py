"""The machine that kernels are compiled for, and loading of objects into this process. Needs llvmlite, not the compiler."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from typing import Any

from graphkeras.codegen import flags

LIBC = {"memcpy", "memset", "memmove", "bzero", "sched_yield", "clock_gettime"}
LIBM = {"fma", "floor", "ceil", "trunc", "rint", "sqrt", "fmod", "exp", "log", "sin", "cos", "tan", "pow", "ldexp"}
ALLOWED = LIBC | LIBM | {name + "f" for name in LIBM}
"""External symbols that an object may refer to; the running process provides them."""

_lock = threading.Lock()


@functools.cache
def binding() -> Any:
    """llvmlite.binding, initialised."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def cpu() -> tuple[str, str]:
    """CPU name and features in LLVM's spelling. GRAPHKERAS_CPU=name compiles for another model of this architecture."""
    llvm = binding()
    if flags.CPU.value:
        return flags.CPU.value, ""
    features = llvm.get_host_cpu_features()
    text = features.flatten()
    if features.get("avx512f"):
        text += ",-prefer-256-bit"  # the kernels are dense vector code: full width pays for a lower clock
    return llvm.get_host_cpu_name(), text


@functools.cache
def target_machine() -> Any:
    """The compiler's target machine."""
    return _new_machine()


def _new_machine() -> Any:
    llvm = binding()
    target = llvm.Target.from_default_triple()
    name, features = cpu()
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=name, features=features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


@functools.cache
def _engine() -> Any:
    llvm = binding()
    module = llvm.parse_assembly("")
    module.triple = llvm.get_process_triple()
    return llvm.create_mcjit_compiler(module, _new_machine())  # it frees its machine


def load_objects(objects: Iterable[tuple[str, bytes]]) -> list[int]:
    """Load relocatable objects, given as (symbol, bytes), and return the addresses of their symbols."""
    llvm = binding()
    symbols = []
    with _lock:
        engine = _engine()
        for symbol, data in objects:
            engine.add_object_file(llvm.ObjectFileRef.from_data(data))
            symbols.append(symbol)
        engine.finalize_object()
        addresses = [engine.get_function_address(s) for s in symbols]
    for symbol, address in zip(symbols, addresses, strict=True):
        if not address:
            raise RuntimeError(f"object has no symbol {symbol!r}")
    return addresses
