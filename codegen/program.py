"""A compiled plan with its memory: bind arrays, run steps, look at what it does.

    program = Program(instructions, inputs=[...], outputs=[...], offsets={...}, arena_nbytes=...)
    program.bind([x, w], [y])     # NumPy arrays, checked once; their memory is used in place
    program.run(steps=10)

Constants are kept alive by the program, bound arrays too unless bind(keep=False). Temporaries live in an arena that
all programs share.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.base_program import BaseProgram, Timing
from graphkeras.codegen.cpu import cache, plan_codes, runner
from graphkeras.codegen.cpu.adapt import ThreadChoice
from graphkeras.codegen.image import Image, image_of
from graphkeras.codegen.kernel import Buffer, Kernel
from graphkeras.codegen.schedule import Encoder

SMALL_WORK = 60e-6
"""Seconds of estimated work below which waking the other threads costs more than it gains."""


class Program(BaseProgram):
    """See the module's text; arguments as for `BaseProgram`."""

    # -- construction ------------------------------------------------------------------------------
    def _build(self, status: Buffer | None) -> None:
        code = Encoder(self._offsets).encode(self.instructions)
        slots = {b: len(self._inputs) + k for k, b in enumerate(self._outputs)}
        slots |= {b: k for k, b in enumerate(self._inputs)}
        self._calls = list(code.calls.values())
        image, sources = image_of(
            code,
            slots,
            self._offsets,
            self._donated,
            self.arena_nbytes,
            estimate(self.kernels) if code.parallel else 0.0,
            None if status is None else status.data,
            self.name,
        )
        companions = dict.fromkeys(s for call in self._calls for s in call.kernel.companions)
        self._install(image, cache.load([*sources, *companions])[: len(sources)], status)

    def _install(self, image: Image, addresses: Sequence[int], status: Buffer | None = None) -> None:
        """Put the addresses of kernels, constants and tables where the code expects them. `image` is kept as it is."""
        self.image = image
        self._status = np.zeros(4, np.int64) if status is None else status.data
        slots = len(self._inputs) + len(self._outputs)
        self._bound: list[Callable[[], np.ndarray | None]] = [_nothing] * slots  # weak references
        self._at: list[int] = [0] * slots  # addresses
        self._unbound = slots - len(self._donated)
        known = np.array(addresses, np.int64)
        self._rows, self._data, self._words = image.rows.copy(), image.data.copy(), image.words.copy()[None]
        self._rows[image.calls[:, 0], 1] = known[image.calls[:, 1]]
        self._words[0, image.entries[:, 0]] = known[image.entries[:, 1]]
        self._rows[image.links[:, 0], image.links[:, 1]] = self._data.ctypes.data + 8 * image.links[:, 2]
        kept = [self._status if k == image.status else _kept(c) for k, c in enumerate(image.constants)]
        places = np.array([c.ctypes.data for c in kept], np.int64)
        self._words[0, image.fixed[:, 1]] = places[image.fixed[:, 0]] + image.fixed[:, 2]
        self._kept = kept
        edges = np.searchsorted(image.bound[:, 0], np.arange(slots + 1)).tolist()
        self._places = [(image.bound[a:b, 1], image.bound[a:b, 2]) for a, b in itertools.pairwise(edges)]
        self._choice = ThreadChoice(1)
        self._barrier = runner.aligned(192)
        self._barrier[:] = 0
        self._tables = np.zeros(1, np.int64)
        self._head = np.zeros(plan_codes.HEAD, np.int64)
        self._head[plan_codes.H_CODE] = self._rows.ctypes.data
        self._head[plan_codes.H_BARRIER] = self._barrier.ctypes.data
        self._head[plan_codes.H_STATUS] = self._status.ctypes.data
        self._head[plan_codes.H_CLOCK] = runner.clock()
        self._head_address = self._head.ctypes.data
        self._use_ticks(None)
        self._arena_address = -1
        self._scratch_addresses: list[int] = []
        self._resize(1)

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
                self._words[:, self.image.arena[:, 0]] = self.image.arena[:, 1] + address
        if len(self.image.scratch):
            for thread in range(threads):
                address = runner.scratch(thread).reserve(self.image.scratch_nbytes)
                if address != self._scratch_addresses[thread]:
                    self._scratch_addresses[thread] = address
                    self._words[thread, self.image.scratch[:, 0]] = self.image.scratch[:, 1] + address

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
        words, offsets = self._places[slot]
        self._words[:, words] = offsets + address

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
            if threads is None:
                self._run_chosen(steps)
            else:
                self._go(steps, max(1, threads) if self.image.parallel else 1)
        if self._status[0]:
            self._fail()

    def _run_chosen(self, steps: int) -> None:
        """As many threads as have proved best; a few of the steps, now and then, with the other number."""
        left = steps
        while left and not self._status[0]:
            count = self._threads(steps)
            now = self._choice.share(count, left)
            self._choice.learn(count, now, self._go(now, count))
            left -= now

    def _go(self, steps: int, threads: int) -> float:
        """Seconds that the steps took."""
        self._settle(threads)
        self._head[plan_codes.H_STEPS] = steps
        begin = time.perf_counter()
        runner.run_loop(self._head_address, threads)
        return time.perf_counter() - begin

    def _threads(self, steps: int) -> int:
        most = runner.thread_count()
        if most == 1 or not self.image.parallel or self.image.seconds * steps <= SMALL_WORK:
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
        return [call.kernel for call in self._calls]

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
            return [0.0] * len(self.image.calls)
        return (self._ticks[self.image.calls[:, 0]] * 1e-9 / self._steps_measured).tolist()

    def _use_ticks(self, ticks: np.ndarray | None) -> None:
        self._ticks, self._steps_measured = ticks, 0
        self._head[plan_codes.H_PROFILE] = 0 if ticks is None else ticks.ctypes.data

    def __repr__(self) -> str:
        return (
            f"<Program {self.name}: {len(self.kernels)} kernels, {len(self._rows)} rows, arena {self.arena_nbytes} B>"
        )


def _nothing() -> None:
    """The reference of a slot that was never bound."""


def _kept(constant: np.ndarray) -> np.ndarray:
    """A copy that stays where it is, aligned."""
    array = runner.aligned(max(constant.nbytes, 1))
    array[: constant.nbytes] = constant
    return array


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def estimate(kernels: Sequence[Kernel]) -> float:
    """Rough seconds of one step on one core; only decides whether threads are worth waking."""
    return sum(max(k.flops / 5e10, k.nbytes / 1e10) for k in kernels)
