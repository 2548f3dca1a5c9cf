"""A compiled plan on a CUDA device: the same face as the CPU's `Program`.

One step is captured once as a CUDA graph and replayed for every step. Nothing in it depends on the host: the counters,
learning rate, random state and loss scale of a train step are state like the weights, device memory that the step
itself updates. Loops with a fixed number of trips are unrolled into the graph, unless they are one kernel
(`resident.py`); `while` and `cond` are conditional nodes of the graph. With drivers that know no such nodes the host
reads the condition and queues kernels.

Inputs that are neither state nor leased (batches of a stream) go through two page-locked buffers and two places on the
device in turn, so that the next batch travels while the last one is worked on.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.codegen.base_program import BaseProgram, Status, Timing
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.plans import choosers, chooses, copies_of, launches, refuse_moving_tables
from graphkeras.codegen.cuda.timing import MOST_KERNELS, Marks, Times
from graphkeras.codegen.kernel import (
    Buffer,
    Call,
    Copy,
    Float,
    Instruction,
    Int,
    Kernel,
    Loop,
    Ptr,
    Switch,
    TensorMap,
    Where,
    While,
)
from graphkeras.codegen.schedule import all_calls

GRAPHS = 4
"""Captured graphs that a program keeps: one for each set of addresses it was bound to lately."""
MOST_NODES = 20_000
"""Launches of a step above which it is not captured: building a graph takes some 1 us for each."""


@dataclass
class _Slot:
    """Two places on the device for an input that comes from the host, or one for a result."""

    nbytes: int
    addresses: list[int]
    staging: list[np.ndarray]


class CudaProgram(BaseProgram):
    """See the module's text; arguments as for `BaseProgram`."""

    # -- construction ------------------------------------------------------------------------------
    def _build(self, status: Buffer | None) -> None:
        self.device = devices.current()
        self._arrays: list[Callable[[], np.ndarray | None]] = []
        self._state: frozenset[int] = frozenset()
        self._slots: dict[int, _Slot] = {}
        self._constants: dict[Buffer, int] = {}
        self._graphs: OrderedDict[Any, tuple[Any, int, int]] = OrderedDict()
        self._functions: dict[str, Any] = {}
        self._turn = 0
        self._times, self._steps_run = Times(), 0
        self._timed: list[tuple[Any, Any, Marks]] = []  # at most one: addresses, graph with events, its events
        self._marks: Marks | None = None  # of the graph that is being captured
        self._events: list[Any] = []
        self._status = status if status is not None and any(status in k.writes for k in self.kernels) else None
        decides = chooses(self.instructions)
        self._captured = launches(self.instructions) <= MOST_NODES and (not decides or self.device.driver.has_choices())
        self._choosers = choosers(self.instructions) if decides and self._captured else {}
        refuse_moving_tables(self.instructions)
        self._place_constants(status)
        weakref.finalize(self, _release, self.device, self._constants, self._slots, self._graphs, self._timed)

    def _place_constants(self, status: Buffer | None) -> None:
        found: dict[Buffer, None] = {}
        for call in all_calls(self.instructions):
            found.update(dict.fromkeys(a.buffer for a in call.kernel.args if isinstance(a, (Ptr, TensorMap))))
        for copy in copies_of(self.instructions):
            found.update(dict.fromkeys((copy.source.buffer, copy.target.buffer)))
        device = self.device
        with device.lock:
            device.enter()
            for buffer in found:
                if buffer.where is Where.CONST:
                    address = self._constants[buffer] = device.take(buffer.nbytes, "a constant of a program")
                    device.driver.upload(address, np.ascontiguousarray(buffer.data), device.stream)
            device.driver.synchronize(device.stream)

    # -- use ---------------------------------------------------------------------------------------
    def bind(
        self,
        inputs: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray] = (),
        keep: bool = True,
        state: Sequence[int] = (),
    ) -> None:
        """Use these arrays from now on. state: positions of inputs that stay on the device (variables)."""
        self._check_counts(inputs, outputs)
        for k, (array, buffer) in enumerate(zip(inputs, self._inputs, strict=True)):
            self._check_array("input", k, array, buffer)
        for k, (array, buffer) in enumerate(zip(outputs, self._outputs, strict=True)):
            if k not in self._donated:
                self._check_array("output", k, array, buffer)
        for k, source in self._donated.items():
            if outputs[k] is not inputs[source]:
                raise ValueError(
                    f"{self.name}: output {k} is written over input {source}: expected the same array for both"
                )
        self._arrays = [weakref.ref(a) for a in (*inputs, *outputs)]
        self._alive = (*inputs, *outputs) if keep else ()
        self._state = frozenset(state)

    def run(self, steps: int = 1, threads: int | None = None) -> None:
        """Run the plan `steps` times. Raises KernelError when a kernel found bad data.

        State stays on the device; other results are in their arrays when this returns. Without such results it may
        return before the device is done.
        """
        if len(self._arrays) != len(self._inputs) + len(self._outputs):
            raise RuntimeError(f"{self.name}: bind arrays to all inputs and outputs before run()")
        if steps <= 0:
            return
        device = self.device
        with device.lock:
            device.enter()
            arrays = [reference() for reference in self._arrays]
            if any(a is None for a in arrays):
                raise RuntimeError(f"{self.name}: an array that was bound is gone; bind again")
            turn, places = self._bring(arrays)  # type: ignore[arg-type]
            self._queue_steps(places, steps)
            device.driver.record(self._event(turn), device.stream)
            self._deliver(arrays, places, steps)  # type: ignore[arg-type]

    # -- inputs ------------------------------------------------------------------------------------
    def _bring(self, arrays: Sequence[np.ndarray]) -> tuple[int, dict[Buffer, int]]:
        """Queue the copies of what the device has not; returns whose turn it is, and addresses of all buffers."""
        device, driver = self.device, self.device.driver
        turn = self._turn = self._turn ^ 1
        driver.wait_event(self._event(turn))  # the run that used these places before
        places = dict(self._constants)
        waiting = travelling = False
        for k, buffer in enumerate(self._inputs):
            array = arrays[k]
            if k in self._state or device.is_resident(array):
                resident = device.resident(array)
                waiting |= resident.upload()
                places[buffer] = resident.address
            else:
                slot = self._slot(k, buffer.nbytes, 2)
                staging, places[buffer] = slot.staging[turn], slot.addresses[turn]
                staging[: array.nbytes] = array.reshape(-1).view(np.uint8)
                driver.upload(places[buffer], staging, device.copy_stream)
                travelling = True
        if travelling:
            arrived = self._event(2 + turn)
            driver.record(arrived, device.copy_stream)
            driver.wait(device.stream, arrived)
        if waiting:  # from memory that is not page-locked and may change
            driver.synchronize(device.stream)
        for k, buffer in enumerate(self._outputs):
            if k not in self._donated:
                places[buffer] = self._slot(len(self._inputs) + k, buffer.nbytes, 1).addresses[0]
        places.update(self._arena())
        return turn, places

    def _arena(self) -> dict[Buffer, int]:
        base = self.device.reserve_arena(self.arena_nbytes) if self.arena_nbytes else 0
        return {buffer: base + offset for buffer, offset in self._offsets.items()}

    def _slot(self, k: int, nbytes: int, count: int) -> _Slot:
        if k not in self._slots:
            self.device.driver.synchronize(self.device.stream)  # memory that others gave back may still be read
            addresses = [self.device.take(nbytes, f"input or output {k} of {self.name}") for _ in range(count)]
            staging = [self.device.host_buffer(max(nbytes, 1)) for _ in range(count if count > 1 else 0)]
            self._slots[k] = _Slot(nbytes, addresses, staging)
        return self._slots[k]

    def _event(self, k: int) -> Any:
        while len(self._events) <= k:
            self._events.append(self.device.driver.event())
        return self._events[k]

    # -- steps -------------------------------------------------------------------------------------
    def _queue_steps(self, places: dict[Buffer, int], steps: int) -> None:
        driver, stream = self.device.driver, self.device.stream
        key = tuple(places.values())
        if key not in self._graphs:
            self._graphs[key] = self._prepare(places)
            while len(self._graphs) > GRAPHS:
                driver.synchronize(stream)
                old, entry = self._graphs.popitem(last=False)
                if self._timed and self._timed[0][0] == old:
                    self._end_timing()
                self._drop(entry)
        self._graphs.move_to_end(key)
        graph, tables, _ = self._graphs[key]
        for _ in range(steps):
            self._steps_run += 1
            if (
                graph is not None
                and self._times.left
                and self._steps_run > 1
                and self._replay_timed(key, places, tables)
            ):
                continue
            if graph is not None:
                driver.replay(graph, stream)
            else:
                self._queue(self.instructions, places, self._table_places(tables))

    def _prepare(self, places: dict[Buffer, int]) -> tuple[Any, int, int]:
        """(graph or None, address and size of the argument tables) for these addresses."""
        driver, device = self.device.driver, self.device
        for kernel in (*self.kernels, *self._choosers.values()):
            if kernel.extent > 0 and kernel.source not in self._functions:
                self._functions[kernel.source] = driver.function(kernel)
        raw = b"".join(self._table(k, places) for k in self._table_kernels())
        tables = device.take(len(raw), "argument tables") if raw else 0
        if raw:
            driver.upload(tables, np.frombuffer(raw, np.uint8), device.stream)
            driver.synchronize(device.stream)
        if not self._captured:
            return None, tables, len(raw)
        driver.begin_capture(device.stream)
        try:
            self._queue(self.instructions, places, self._table_places(tables))
        finally:
            graph = driver.end_capture(device.stream)
        return graph, tables, len(raw)

    def _replay_timed(self, key: Any, places: dict[Buffer, int], tables: int) -> bool:
        """One step through a graph with events; False where there is none for these addresses."""
        driver, stream = self.device.driver, self.device.stream
        if not self._timed and launches(self.instructions) <= MOST_KERNELS:
            self._marks = marks = Marks(driver, stream)
            driver.begin_capture(stream)
            try:
                self._queue(self.instructions, places, self._table_places(tables))
            finally:
                self._marks, graph = None, driver.end_capture(stream)
            self._timed.append((key, graph, marks))
        if not self._timed or self._timed[0][0] != key:
            return False
        _, graph, marks = self._timed[0]
        driver.replay(graph, stream)
        driver.synchronize(stream)
        self._times.note(marks)
        if not self._times.left:
            self._end_timing()
        return True

    def _end_timing(self) -> None:
        while self._timed:
            _, graph, marks = self._timed.pop()
            self.device.driver.synchronize(self.device.stream)
            self.device.driver.drop_graph(graph)
            marks.drop()

    def _drop(self, entry: tuple[Any, int, int]) -> None:
        graph, tables, nbytes = entry
        if graph is not None:
            self.device.driver.drop_graph(graph)
        if tables:
            self.device.give(tables, nbytes)

    def _table_kernels(self) -> list[Kernel]:
        return [k for k in self.kernels if k.launch is not None and k.launch.table]

    def _table(self, kernel: Kernel, places: Mapping[Buffer, int]) -> bytes:
        words = self._words(kernel, places)
        return b"".join((np.float64(w) if isinstance(w, float) else np.int64(w)).tobytes() for w in words)

    def _table_places(self, tables: int) -> dict[Kernel, int]:
        found, at = {}, tables
        for kernel in self._table_kernels():
            found[kernel] = at
            at += 8 * len(kernel.args)
        return found

    def _words(self, kernel: Kernel, places: Mapping[Buffer, int]) -> list[Any]:
        words: list[Any] = []
        for arg in kernel.args:
            if isinstance(arg, Ptr):
                words.append(places[arg.buffer] + arg.offset)
            elif isinstance(arg, Int):
                words.append((arg.value + 2**63) % 2**64 - 2**63)
            elif isinstance(arg, Float):
                words.append(float(arg.value))
            elif isinstance(arg, TensorMap):
                words.append(self.device.driver.tensor_map(arg, places[arg.buffer] + arg.offset))
            else:
                raise TypeError(f"kernel {kernel.name}: argument {arg!r} is no Ptr, Int, Float or TensorMap")
        return words

    def _queue(
        self,
        instructions: Sequence[Instruction],
        places: dict[Buffer, int],
        tables: dict[Kernel, int],
        stream: Any = None,
    ) -> None:
        """Launch everything in order; inside a capture this writes the graph. stream: of a body in the graph."""
        driver = self.device.driver
        stream = self.device.stream if stream is None else stream
        marks = self._marks if self._marks is not None and stream is self._marks.stream else None
        for instruction in instructions:
            if isinstance(instruction, Call):
                kernel = instruction.kernel
                if kernel.extent > 0:
                    words = [tables[kernel]] if kernel in tables else self._words(kernel, places)
                    if marks is not None:
                        marks.before()
                    driver.launch(self._functions[kernel.source], kernel, words, stream)
                    if marks is not None:
                        marks.after(kernel)
            elif isinstance(instruction, Copy):
                target = places[instruction.target.buffer] + instruction.target.offset
                source = places[instruction.source.buffer] + instruction.source.offset
                driver.copy(target, source, instruction.nbytes, stream)
                if marks is not None:
                    marks.passed()
            elif isinstance(instruction, Loop):
                self._queue_loop(instruction, places, tables, stream)
            elif isinstance(instruction, (While, Switch)) and self._captured:
                self._queue_choice(instruction, places, tables, stream)
                if marks is not None:
                    marks.passed()
            elif isinstance(instruction, While):
                self._queue(instruction.condition, places, tables)
                while self._read(instruction.flag, places, np.uint8):
                    self._queue(instruction.body, places, tables)
                    self._queue(instruction.condition, places, tables)
            elif isinstance(instruction, Switch):
                index = int(self._read(instruction.index, places, np.int32))
                self._queue(instruction.branches[min(max(index, 0), len(instruction.branches) - 1)], places, tables)
            else:
                raise TypeError(f"{self.name}: a CUDA program cannot run {type(instruction).__name__}")

    def _queue_choice(
        self, instruction: While | Switch, places: dict[Buffer, int], tables: dict[Kernel, int], stream: Any
    ) -> None:
        """A loop or a branch as a node of the graph that is being captured."""
        driver, kernel = self.device.driver, self._choosers[instruction]
        loops = isinstance(instruction, While)
        if isinstance(instruction, While):
            self._queue(instruction.condition, places, tables, stream)
        condition = driver.condition(stream)

        def choose(on: Any) -> None:
            words = [condition, *self._words(kernel, places)[1:]]
            driver.launch(self._functions[kernel.source], kernel, words, on)

        choose(stream)
        parts = [instruction.body] if isinstance(instruction, While) else instruction.branches
        for body, part in zip(driver.choice(stream, condition, loops, len(parts)), parts, strict=True):
            inside = driver.begin_body(body)
            self._queue(part, places, tables, inside)
            if isinstance(instruction, While):
                self._queue(instruction.condition, places, tables, inside)
                choose(inside)
            driver.end_body(inside)

    def _queue_loop(self, loop: Loop, places: dict[Buffer, int], tables: dict[Kernel, int], stream: Any) -> None:
        for trip in range(loop.trips):
            inside = dict(places)
            for step in loop.steps:
                inside[step.window] = inside[step.base] + step.start + trip * step.stride
            self._queue(loop.body, inside, tables, stream)

    def _read(self, pointer: Ptr, places: Mapping[Buffer, int], dtype: Any) -> Any:
        """A number that decides where to go on: the host waits for it."""
        value = np.zeros(1, dtype)
        self.device.driver.download(value, places[pointer.buffer] + pointer.offset, self.device.stream)
        self.device.driver.synchronize(self.device.stream)
        return value[0]

    # -- results -----------------------------------------------------------------------------------
    def _deliver(self, arrays: Sequence[np.ndarray], places: Mapping[Buffer, int], steps: int) -> None:
        driver, device = self.device.driver, self.device
        wait = steps > 1
        for k, buffer in enumerate(self._outputs):
            source = self._donated.get(k)
            if source is not None and (source in self._state or device.is_resident(arrays[source])):
                device.resident(arrays[source]).newest = "device"
            elif buffer.nbytes and arrays[len(self._inputs) + k].nbytes:
                driver.download(arrays[len(self._inputs) + k], places[buffer], device.stream)
                wait = True
        status = np.zeros(4, np.int64)
        if self._status is not None:
            driver.download(status, places[self._status], device.stream)
            wait = True
        if wait:
            driver.synchronize(device.stream)
        if status[0]:
            self._fail(tuple(int(v) for v in status), places)  # type: ignore[arg-type]

    def _fail(self, status: Status, places: Mapping[Buffer, int]) -> None:
        assert self._status is not None
        self.device.driver.upload(places[self._status], np.zeros(4, np.int64), self.device.stream)
        self.device.driver.synchronize(self.device.stream)
        self._raise_status(status)

    # -- looking inside ----------------------------------------------------------------------------
    @property
    def kernels_run(self) -> list[Kernel]:
        return [k for k in self.kernels if k.extent > 0]

    def keep_profile(self) -> None:
        """Time the kernels of a few of the next steps (`timing.py`)."""
        self._times.start()

    def stop_profile(self) -> None:
        """Time no more steps."""
        with self.device.lock:
            self.device.enter()
            self._times.stop()
            self._end_timing()

    def measured(self) -> list[float]:
        """Seconds per step in each of `kernels_run`, of the steps that were timed since `keep_profile`; else 0."""
        return self._times.of(self.kernels_run)

    def profile(self, repeats: int = 10, threads: int | None = None) -> list[Timing]:
        """Time of each kernel in some of `repeats` steps. The bound arrays are as before afterwards."""
        arrays = [a for a in (reference() for reference in self._arrays) if a is not None]
        for array in arrays:
            if self.device.is_resident(array):
                self.device.resident(array).fetch()
        saved = [a.copy() if a.flags.writeable else None for a in arrays]
        self.keep_profile()
        try:
            self.run(max(repeats, 2))
        finally:
            for array, old in zip(arrays, saved, strict=True):
                if old is not None:
                    array[...] = old
                    if self.device.is_resident(array):
                        self.device.resident(array).outdated()
        return [Timing(k.name, t, k.flops, k.nbytes) for k, t in zip(self.kernels_run, self.measured(), strict=True)]

    def __repr__(self) -> str:
        return f"<CudaProgram {self.name}: {len(self.kernels)} kernels, arena {self.arena_nbytes} B, {self.device!r}>"


def _release(
    device: Any, constants: dict[Buffer, int], slots: dict[int, _Slot], graphs: dict[Any, Any], timed: list[Any]
) -> None:
    """A program is gone: its memory goes back to the device."""
    device.dead += [(address, buffer.nbytes) for buffer, address in constants.items()]
    device.dead += [(address, slot.nbytes) for slot in slots.values() for address in slot.addresses]
    device.dead += [(tables, nbytes) for _, tables, nbytes in graphs.values() if tables]
    for slot in slots.values():
        for buffer in slot.staging:
            device.host_pool.setdefault(buffer.nbytes, []).append(buffer)
    device.dead_graphs += [graph for graph, _, _ in graphs.values() if graph is not None]
    device.dead_graphs += [graph for _, graph, _ in timed]
