"""A compiled plan with its memory: bind arrays, run steps, look at what it does.

    program = Program(instructions, inputs=[...], outputs=[...], offsets={...}, arena_nbytes=...)
    program.bind([x, w], [y])     # NumPy arrays, checked once; their memory is used in place
    program.run(steps=10)

Constants are kept alive by the program, bound arrays too unless bind(keep=False). Temporaries live in an arena that
all programs share.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.base_program import BaseProgram, Timing
from graphkeras.codegen.cpu import cache, plan_codes, runner
from graphkeras.codegen.cpu.adapt import ThreadChoice
from graphkeras.codegen.kernel import Buffer, Kernel, Where
from graphkeras.codegen.schedule import Code, Encoder

SMALL_WORK = 60e-6
"""Seconds of estimated work below which waking the other threads costs more than it gains."""


class Program(BaseProgram):
    """See the module's text; arguments as for `BaseProgram`."""

    # -- construction ------------------------------------------------------------------------------
    def _build(self, status: Buffer | None) -> None:
        self._status = np.zeros(4, np.int64) if status is None else status.data
        slots = len(self._inputs) + len(self._outputs)
        self._bound: list[Callable[[], np.ndarray | None]] = [_nothing] * slots  # weak references
        self._at: list[int] = [0] * slots  # addresses
        self._unbound = slots - len(self._donated)
        self._link(Encoder(self._offsets).encode(self.instructions))

    def _link(self, code: Code) -> None:
        """Load the kernels and put their addresses, and those that are known of buffers, into the code."""
        calls = list(code.calls.items())
        sources = [*(call.kernel.source for _, call in calls), *(source for _, source in code.entries)]
        companions = dict.fromkeys(s for _, call in calls for s in call.kernel.companions)
        addresses = cache.load([*sources, *companions])[: len(sources)]
        rows = np.array(code.rows, np.int64).reshape(len(code.rows), plan_codes.SIZE)
        data = np.array(code.data or [0], np.int64)
        for (row, _), address in zip(calls, addresses, strict=False):
            rows[row, 1] = address
        for (word, _), address in zip(code.entries, addresses[len(calls) :], strict=True):
            code.words[word] = address
        for row, column, first in code.links:
            rows[row, column] = data.ctypes.data + 8 * first
        self._code, self._rows, self._data = code, rows, data
        self._places = {
            buffer: (np.array([w for w, _ in pairs]), np.array([o for _, o in pairs], np.int64))
            for buffer, pairs in code.relocations.items()
        }
        self._position = {b: k for k, b in enumerate((*self._inputs, *self._outputs))}
        self._const_words()
        self._choice = ThreadChoice(1)
        self._seconds = estimate(self.kernels) if code.parallel else 0.0
        self._words = np.array([code.words], np.int64)
        self._barrier = runner.aligned(192)
        self._barrier[:] = 0
        self._tables = np.zeros(1, np.int64)
        self._head = np.zeros(plan_codes.HEAD, np.int64)
        self._head[plan_codes.H_CODE] = rows.ctypes.data
        self._head[plan_codes.H_BARRIER] = self._barrier.ctypes.data
        self._head[plan_codes.H_STATUS] = self._status.ctypes.data
        self._head[plan_codes.H_CLOCK] = getattr(time, "CLOCK_MONOTONIC", 1)
        self._head_address = self._head.ctypes.data
        self._use_ticks(None)
        self._arena_address = -1
        self._scratch_addresses: list[int] = []
        for buffer, address in self._constants:
            self._place(buffer, address)
        self._resize(1)

    def _const_words(self) -> None:
        """Constants are copied to where they stay, aligned; what the lowering shares (status) is used in place."""
        self._constants: list[tuple[Buffer, int]] = []
        self._kept: list[np.ndarray] = []
        for buffer in self._places:
            if buffer.where is Where.CONST:
                array = buffer.data
                if array is not self._status:
                    array = runner.aligned(max(buffer.data.nbytes, 1))
                    array[: buffer.data.nbytes] = np.frombuffer(buffer.data.tobytes(), np.uint8)
                self._kept.append(array)
                self._constants.append((buffer, array.ctypes.data))
            elif buffer.where is Where.ARENA:
                end = self._offsets.get(buffer, 0) + buffer.nbytes
                if buffer not in self._offsets or end > self.arena_nbytes:
                    raise ValueError(
                        f"{self.name}: buffer {buffer.label!r} has no place in the arena (a window outside its Loop?)"
                    )
            elif buffer not in self._position:
                raise ValueError(
                    f"{self.name}: buffer {buffer.label!r} is neither an input nor an output of the program"
                )

    def _place(self, buffer: Buffer, address: int) -> None:
        found = self._places.get(buffer)
        if found is not None:
            self._words[:, found[0]] = found[1] + address

    def _resize(self, threads: int) -> None:
        """Give each thread its table of words."""
        if len(self._words) != threads:
            self._words = np.repeat(self._words[:1], threads, axis=0)
        self._scratch_addresses = [-1] * threads
        row = self._words.strides[0]
        self._tables = self._words.ctypes.data + row * np.arange(threads, dtype=np.int64)
        self._head[plan_codes.H_WORDS] = self._tables.ctypes.data

    def _settle(self, threads: int) -> None:
        """Shared memory moves when it grows: point the words at where it is now."""
        if len(self._scratch_addresses) < threads:
            self._resize(threads)
        if self.arena_nbytes:
            address = runner.arena.reserve(self.arena_nbytes)
            if address != self._arena_address:
                self._arena_address = address
                for buffer in self._places:
                    if buffer.where is Where.ARENA:
                        self._place(buffer, address + self._offsets[buffer])
        if self._code.scratch:
            for thread in range(threads):
                address = runner.scratch(thread).reserve(self._code.scratch_nbytes)
                if address != self._scratch_addresses[thread]:
                    self._scratch_addresses[thread] = address
                    for word, offset in self._code.scratch:
                        self._words[thread, word] = address + offset

    # -- use ---------------------------------------------------------------------------------------
    def bind(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray] = (), keep: bool = True) -> None:
        """Use the memory of these arrays from now on. Arrays bound before at the same place cost next to nothing.

        keep: hold the arrays, so that they live as long as they are bound; False: the caller sees to it.
        An output that takes the memory of an input (they share a Buffer) must be given as the same array.
        """
        self._check_counts(inputs, outputs)
        first = len(self._inputs)
        changed = False
        for k, array in enumerate(inputs):
            if self._bound[k]() is not array:
                changed = True
                self._bind_one("input", k, k, array, self._inputs[k])
        for k, array in enumerate(outputs):
            if k in self._donated:
                self._same_memory(k, array, inputs[self._donated[k]])
            elif self._bound[first + k]() is not array:
                changed = True
                self._bind_one("output", k, first + k, array, self._outputs[k])
        self._alive = (*inputs, *outputs) if keep else ()
        if changed and not set(self._at[:first]).isdisjoint(self._at[first:]):
            self._refuse_overlap()

    def _same_memory(self, number: int, array: np.ndarray, source: np.ndarray) -> None:
        if array is not source and _address(array) != _address(source):
            raise ValueError(
                f"{self.name}: output {number} is written over input {self._donated[number]}: "
                "expected the same array for both, received two"
            )

    def _refuse_overlap(self) -> None:
        first = len(self._inputs)
        for number, address in enumerate(self._at[first:]):
            size = self._outputs[number].nbytes
            if address and size and number not in self._donated and address in self._at[:first]:
                self._bound = [_nothing] * len(self._bound)
                self._unbound = len(self._bound) - len(self._donated)
                raise ValueError(
                    f"{self.name}: output {number} is bound to the memory of input {self._at.index(address)}; "
                    "pass another array, or compile the program with that output donated to that input"
                )

    def _bind_one(self, what: str, number: int, slot: int, array: np.ndarray, buffer: Buffer) -> None:
        self._check_array(what, number, array, buffer)
        address = _address(array)
        self._unbound -= self._bound[slot] is _nothing
        self._bound[slot], self._at[slot] = weakref.ref(array), address
        self._place(buffer, address)

    def run(self, steps: int = 1, threads: int | None = None) -> None:
        """Run the plan `steps` times. Same bits for any number of threads.

        Raises KernelError when a kernel found bad data; the steps after it are not run.
        """
        if self._unbound:
            raise RuntimeError(f"{self.name}: bind arrays to all inputs and outputs before run()")
        if steps <= 0:
            return
        self._steps_measured += steps
        with runner.run_lock:
            count = self._threads(steps) if threads is None else max(1, threads) if self._code.parallel else 1
            self._settle(count)
            self._head[plan_codes.H_STEPS] = steps
            begin = time.perf_counter()
            runner.run_loop(self._head_address, count)
            if threads is None and self._code.parallel:
                self._choice.learn(count, steps, time.perf_counter() - begin)
        if self._status[0]:
            self._fail()

    def _threads(self, steps: int) -> int:
        most = runner.thread_count()
        if most == 1 or self._seconds * steps <= SMALL_WORK:
            return 1
        if self._choice.most != most:
            self._choice = ThreadChoice(most)
        return self._choice.pick()

    def _fail(self) -> None:
        status = tuple(int(v) for v in self._status)
        self._status[:] = 0
        self._raise_status(status)  # type: ignore[arg-type]

    # -- looking inside ----------------------------------------------------------------------------
    def profile(self, repeats: int = 10, threads: int | None = None) -> list[Timing]:
        """Time of each kernel in a run of `repeats` steps, seen from thread 0 (waiting for others is not in it).

        The bound arrays are as before afterwards.
        """
        bound = [reference() for reference in self._bound]
        saved = [a.copy() if a is not None and a.flags.writeable else None for a in bound]
        kept = self._ticks
        self.keep_profile()
        try:
            self.run(repeats, threads)
            measured = self.measured()
        finally:
            self._use_ticks(kept)
            for array, old in zip(bound, saved, strict=True):
                if array is not None and old is not None:
                    array[...] = old
        pairs = zip(self.kernels_run, measured, strict=True)
        return [Timing(kernel.name, seconds, kernel.flops, kernel.nbytes) for kernel, seconds in pairs]

    @property
    def kernels_run(self) -> list[Kernel]:
        """The kernels that have work, in the order of `measured`."""
        return [call.kernel for call in self._code.calls.values()]

    def keep_profile(self) -> None:
        """Measure every run from now on; costs some 50 ns per kernel."""
        self._use_ticks(np.zeros(len(self._rows), np.int64))

    def stop_profile(self) -> None:
        """Measure no longer, unless GRAPHKERAS_DEBUG asks for it."""
        if flags.DEBUG.value < 2:
            self._use_ticks(None)

    def measured(self) -> list[float]:
        """Seconds per step in each of `kernels_run` since `keep_profile` (0 before)."""
        if self._ticks is None or not self._steps_measured:
            return [0.0] * len(self._code.calls)
        return [float(self._ticks[row]) * 1e-9 / self._steps_measured for row in self._code.calls]

    def _use_ticks(self, ticks: np.ndarray | None) -> None:
        self._ticks, self._steps_measured = ticks, 0
        self._head[plan_codes.H_PROFILE] = 0 if ticks is None else ticks.ctypes.data

    def __repr__(self) -> str:
        return (
            f"<Program {self.name}: {len(self.kernels)} kernels, {len(self._rows)} rows, arena {self.arena_nbytes} B>"
        )


def _nothing() -> None:
    """The reference of a slot that was never bound."""


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def estimate(kernels: Sequence[Kernel]) -> float:
    """Rough seconds of one step on one core; only decides whether threads are worth waking."""
    return sum(max(k.flops / 5e10, k.nbytes / 1e10) for k in kernels)
