"""The processor that kernels are compiled for, and loading of objects into this process.

Needs llvmlite, not the compiler.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graphkeras.codegen import flags

LIBC = {"memcpy", "memset", "memmove", "bzero", "sched_yield", "clock_gettime"}
LIBM = {"fma", "floor", "ceil", "trunc", "rint", "sqrt", "fmod", "exp", "log", "sin", "cos", "tan", "pow", "ldexp"}
ALLOWED = LIBC | LIBM | {name + "f" for name in LIBM}
"""External symbols that an object may refer to; the running process provides them."""

_lock = threading.Lock()


_AARCH64 = (
    "aarch64",
    "a64fx",
    "ampere",
    "apple-",
    "carmel",
    "cortex-",
    "exynos-",
    "falkor",
    "grace",
    "kryo",
    "neoverse-",
    "oryon",
    "saphira",
    "thunderx",
    "tsv110",
)
"""How LLVM's names of AArch64 processors begin."""

_MACHINES = {
    (b"\x7fELF", 18): {62: "x86_64", 183: "aarch64"},
    (b"\xcf\xfa\xed\xfe", 4): {7: "x86_64", 12: "aarch64"},
}
"""(magic of an object format, offset of the number of its machine): machines by their number."""


@dataclass(frozen=True)
class Processor:
    """What to compile for, in LLVM's spelling; `native`: whether this process can run it, the features aside."""

    triple: str
    name: str
    features: str
    native: bool

    @property
    def architecture(self) -> str:
        """ "x86_64", "aarch64", ..."""
        return _architecture(self.triple)


def _architecture(triple: str) -> str:
    name = triple.split("-")[0]
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)


@functools.cache
def binding() -> Any:
    """llvmlite.binding, initialised."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def host() -> Processor:
    """The processor of this machine."""
    llvm = binding()
    features = llvm.get_host_cpu_features()
    text = features.flatten()
    if features.get("avx512f"):
        text += ",-prefer-256-bit"  # the kernels are dense vector code: full width pays for a lower clock
    return Processor(llvm.get_process_triple(), llvm.get_host_cpu_name(), text, True)


def processor() -> Processor:
    """The processor to compile for: the host's, or the one that GRAPHKERAS_CPU names."""
    return named(flags.CPU.value) if flags.CPU.value else host()


@functools.cache
def named(name: str) -> Processor:
    """The processor that LLVM calls `name`, of this architecture or of AArch64."""
    own = host().triple
    if not name.startswith(_AARCH64) or _architecture(own) == "aarch64":
        return Processor(own, name, "", True)
    return Processor("-".join(["aarch64", *own.split("-")[1:]]), name, "", False)


def target_machine() -> Any:
    """The compiler's target machine for `processor()`."""
    return _kept_machine(processor())


@functools.cache
def _kept_machine(wanted: Processor) -> Any:
    return _new_machine(wanted)


def _new_machine(wanted: Processor) -> Any:
    llvm = binding()
    if not wanted.native:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(wanted.triple)
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=wanted.name, features=wanted.features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


@functools.cache
def _engine() -> Any:
    llvm = binding()
    module = llvm.parse_assembly("")
    module.triple = llvm.get_process_triple()
    return llvm.create_mcjit_compiler(module, _new_machine(host()))  # it frees its machine


def _machine_of(data: bytes) -> str | None:
    """The architecture that an object says it is for, where its format is known."""
    for (magic, offset), machines in _MACHINES.items():
        if data.startswith(magic):
            return machines.get(int.from_bytes(data[offset : offset + 2], "little"))
    return None


def _refuse_foreign(symbol: str, data: bytes) -> None:
    found, own = _machine_of(data), host().architecture
    if found is not None and found != own:
        raise RuntimeError(
            f"Kernel {symbol} is code for {found}, and this process runs on {own}: it can be read, not run. "
            f"GRAPHKERAS_CPU is {flags.CPU.value!r}; unset it, or name a processor of {own}."
        )


def load_objects(objects: Iterable[tuple[str, bytes]]) -> list[int]:
    """Load relocatable objects, given as (symbol, bytes), and return the addresses of their symbols.

    Raises RuntimeError, before anything is loaded, where an object is for another architecture than this process.
    """
    llvm = binding()
    objects = list(objects)
    for symbol, data in objects:
        _refuse_foreign(symbol, data)
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
