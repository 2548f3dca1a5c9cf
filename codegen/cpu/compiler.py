"""Kernel source -> LLVM IR -> optimised LLVM IR -> relocatable object with one C symbol.

`translate.py` is the front end (or Numba, see `numba_front.py`); its module runs once through LLVM's O3 pipeline for
our own target machine. The result has no trace of Python: `void gk_<hash>(i64 args, i64 lo, i64 hi)`.

As a worker (`python -m graphkeras.codegen.cpu.compiler --worker`) it reads sources from stdin and answers on stdout.
"""

from __future__ import annotations

import hashlib
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import target

FASTMATH = ("contract", "nsz")
_lock = threading.RLock()  # LLVM's global context is shared by the process


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


def warm_up() -> None:
    """Import what translating takes, so that the first kernel does not wait for it."""
    with _without_interrupts():
        import graphkeras.codegen.cpu.micro
        import graphkeras.codegen.cpu.translate  # noqa: F401


def _translated(source: str, function: str, symbol: str) -> str:
    """LLVM IR of `function` as the C function `symbol`."""
    warm_up()
    from graphkeras.codegen.cpu.dialect import with_loops_named
    from graphkeras.codegen.cpu.translate import translate, with_fast_math

    space: dict[str, Any] = {"__name__": symbol}
    exec(compile(source, f"<kernel {symbol}>", "exec"), space)
    fast = space.get("FASTMATH", FASTMATH)
    if flags.FRONTEND.value == "numba":
        return _numba_front().lower(source, function, symbol, fast)
    module = translate(source, symbol, space, function)
    with_fast_math(module, fast)
    return with_loops_named(str(module))


def _numba_front() -> Any:
    with _without_interrupts():
        from graphkeras.codegen.cpu import numba_front

        return numba_front


def _optimised_module(source: str, function: str, symbol: str) -> Any:
    llvm = target.binding()
    module = llvm.parse_assembly(_translated(source, function, symbol))
    machine = target.target_machine()
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
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
    """Nothing of Python may be left: an object is loaded into processes without a compiler."""
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
    warm_up()
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
