"""The machine's own limits: floating-point peak from registers only, and copy bandwidth from memory.

Both come from LLVM IR compiled for this CPU, run on as many threads as programs use, the best of several tries: a
limit is what can be reached at all. Bandwidth counts bytes read plus bytes written.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphkeras.codegen.cpu import runner, target
from graphkeras.codegen.cpu.vectors import vectors

CHAINS = 24  # independent accumulators: more than latency times the number of FMA units, fewer than the registers
COPY_NBYTES = 64 << 20  # per thread, far more than the caches
Function = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Roof:
    """float32 peak in flops/s (a fused multiply-add is two) and copy bandwidth in bytes/s, one thread and all."""

    flops_one: float
    flops: float
    bytes_one: float
    bytes: float

    def share(self, flops: float, nbytes: float, seconds: float) -> float:
        """How near a kernel comes to the nearest limit: 1 is the least time that its flops and bytes can take."""
        return max(flops / self.flops, nbytes / self.bytes) / seconds


def _fma_ir(lanes: int, chains: int) -> str:
    vector = f"<{lanes} x float>"
    phis = [f"  %a{k} = phi {vector} [ %s, %entry ], [ %b{k}, %loop ]" for k in range(chains)]
    steps = [
        f"  %b{k} = call {vector} @llvm.fma.v{lanes}f32({vector} %a{k}, {vector} %m, {vector} %m)"
        for k in range(chains)
    ]
    sums = [f"  %t{k} = fadd {vector} %{'b0' if k == 1 else f't{k - 1}'}, %b{k}" for k in range(1, chains)]
    return "\n".join(
        [
            f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
            "define void @gk_roof_fma(i64 %out, i64 %unused, i64 %count) {",
            "entry:",
            f"  %p = inttoptr i64 %out to ptr\n  %s = load {vector}, ptr %p, align 4",
            f"  %q = getelementptr {vector}, ptr %p, i64 1\n  %m = load {vector}, ptr %q, align 4",
            "  br label %loop\nloop:",
            "  %i = phi i64 [ 0, %entry ], [ %n, %loop ]",
            *phis,
            *steps,
            "  %n = add i64 %i, 1\n  %go = icmp ult i64 %n, %count\n  br i1 %go, label %loop, label %end\nend:",
            *sums,
            f"  store {vector} %t{chains - 1}, ptr %p, align 4\n  ret void\n}}",
        ]
    )


def _copy_ir(lanes: int) -> str:
    vector = f"<{lanes} x float>"
    return f"""define void @gk_roof_copy(i64 %out, i64 %in, i64 %count) {{
entry:
  %d = inttoptr i64 %out to ptr
  %s = inttoptr i64 %in to ptr
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %n, %loop ]
  %f = getelementptr {vector}, ptr %s, i64 %i
  %t = getelementptr {vector}, ptr %d, i64 %i
  %v = load {vector}, ptr %f, align 64
  store {vector} %v, ptr %t, align 64, !nontemporal !0
  %n = add i64 %i, 1
  %go = icmp ult i64 %n, %count
  br i1 %go, label %loop, label %end
end:
  ret void
}}
!0 = !{{i32 1}}
"""


def _native(symbol: str, text: str) -> Function:
    llvm = target.binding()
    machine = target.target_machine()
    module = llvm.parse_assembly(text)
    module.data_layout = str(machine.target_data)
    address = target.load_objects([(symbol, machine.emit_object(module))])[0]
    return ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(address)


def _together(threads: int, work: Callable[[int], None]) -> float:
    """Seconds from the first start of `work(k)` on any thread to the last end."""
    gate, starts, ends = threading.Barrier(threads), [0.0] * threads, [0.0] * threads

    def body(k: int) -> None:
        gate.wait()
        starts[k] = time.perf_counter()
        work(k)
        ends[k] = time.perf_counter()

    crew = [threading.Thread(target=body, args=(k,)) for k in range(threads)]
    for t in crew:
        t.start()
    for t in crew:
        t.join()
    return max(ends) - min(starts)


def flops_peak(threads: int, tries: int = 5, seconds: float = 0.02) -> float:
    """float32 operations per second that `threads` threads reach on registers."""
    unit = vectors()
    lanes = unit.bytes // 4
    chains = CHAINS if unit.registers >= 32 else 12
    function = _fma(lanes, chains)
    cells = [np.full(2 * lanes, 0.5, np.float32) for _ in range(threads)]
    count, best = 10_000, 0.0

    def work(k: int) -> None:
        function(cells[k].ctypes.data, 0, count)

    for attempt in range(tries + 1):
        taken = _together(threads, work)
        if attempt:
            best = max(best, 2.0 * lanes * chains * count * threads / taken)
        else:
            count = max(count, int(count * seconds / max(taken, 1e-6)))
    return best


@functools.cache
def _fma(lanes: int, chains: int) -> Function:
    return _native("gk_roof_fma", _fma_ir(lanes, chains))


@functools.cache
def _copy(lanes: int) -> Function:
    return _native("gk_roof_copy", _copy_ir(lanes))


def copy_peak(threads: int, tries: int = 5, nbytes: int = COPY_NBYTES) -> float:
    """Bytes per second, read plus written, that `threads` threads copy."""
    function = _copy(16)
    pairs = [(runner.aligned(nbytes), runner.aligned(nbytes)) for _ in range(threads)]
    for copied, source in pairs:
        source.fill(1)
        copied.fill(0)

    def work(k: int) -> None:
        function(pairs[k][0].ctypes.data, pairs[k][1].ctypes.data, nbytes // 64)

    _together(threads, work)
    return max(2.0 * nbytes * threads / _together(threads, work) for _ in range(tries))


@functools.cache
def measure(threads: int, tries: int = 15) -> Roof:
    """The limits of this machine with one thread and with `threads`, measured once per process (about a second)."""
    return Roof(flops_peak(1, tries), flops_peak(threads, tries), copy_peak(1, tries), copy_peak(threads, tries))
