"""A device without a GPU: the driver's interface on top of the simulator. For tests; thousands of times slower.

What is queued runs as late as the interface allows, when somebody waits for it: a program that forgets to wait, or
changes memory that a queued copy has still to read, gets wrong numbers here too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.codegen.cuda import simulator
from graphkeras.codegen.cuda.driver import DeviceMemoryError, DriverError
from graphkeras.codegen.cuda.simulator_memory import Memory
from graphkeras.codegen.kernel import Kernel, TensorMap

Task = Callable[[], None]


class Stream:
    """A queue of tasks; None stands for an event to wait for."""

    def __init__(self) -> None:
        self.tasks: deque[Task | Event] = deque()
        self.recording: list[Task] | None = None

    def put(self, task: Task) -> None:
        if self.recording is not None:
            self.recording.append(task)
        else:
            self.tasks.append(task)

    def run(self) -> None:
        while self.tasks:
            self.step()

    def step(self) -> None:
        """Run the next task; after a failure nothing of what was queued behind it runs."""
        task = self.tasks.popleft()
        try:
            if isinstance(task, Event):
                task.reach()
            else:
                task()
        except BaseException:
            self.tasks.clear()
            raise


class Event:
    """Reached when everything that its stream held at the last record has run."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.pending = 0

    def reach(self) -> None:
        while self.pending:
            assert self.stream is not None
            if not self.stream.tasks:  # dropped after a failure
                self.pending = 0
                return
            self.stream.step()


class SimulatedDriver:
    """See the module's text. check: look for races in every kernel."""

    name = "simulated device"
    arch = (9, 0)

    def __init__(self, nbytes: int = 1 << 28, check: bool = True) -> None:
        self._memory = Memory()
        self._sizes: dict[int, int] = {}
        self._total, self._used = nbytes, 0
        self._check = check
        self._capturing = False
        self._conditions = 0
        self.launches = 0  # kernels run so far
        self.replays = 0

    # -- memory ------------------------------------------------------------------------------------
    def memory(self) -> tuple[int, int]:
        return self._total - self._used, self._total

    def allocate(self, nbytes: int) -> int:
        self._refuse_in_capture("an allocation")
        if self._used + nbytes > self._total:
            raise DeviceMemoryError(f"{nbytes} bytes wanted, {self._total - self._used} free")
        self._used += nbytes
        address = self._memory.allocate(nbytes)
        self._sizes[address] = nbytes
        return address

    def free(self, address: int) -> None:
        self._refuse_in_capture("a release of memory")
        self._used -= self._sizes.pop(address)
        self._memory.free(address)

    def host_buffer(self, nbytes: int) -> np.ndarray:
        return np.zeros(nbytes, np.uint8)

    def upload(self, address: int, host: np.ndarray, stream: Stream) -> None:
        stream.put(lambda: self._memory.write(address, host))

    def download(self, host: np.ndarray, address: int, stream: Stream) -> None:
        def task() -> None:
            host.reshape(-1).view(np.uint8)[:] = self._memory.read(address, host.nbytes)

        if not host.flags.c_contiguous:
            raise DriverError("downloads go to contiguous arrays")
        stream.put(task)

    def copy(self, target: int, source: int, nbytes: int, stream: Stream) -> None:
        stream.put(lambda: self._memory.write(target, self._memory.read(source, nbytes)))

    # -- kernels -----------------------------------------------------------------------------------
    def function(self, kernel: Kernel) -> str:
        return kernel.source

    def tensor_map(self, spec: TensorMap, address: int) -> int:
        return self._memory.describe(spec, address)

    def launch(self, function: str, kernel: Kernel, words: Sequence[Any], stream: Stream) -> None:
        assert kernel.launch is not None
        launch, blocks, args = kernel.launch, simulator.blocks_of(kernel), list(words)

        def task() -> None:
            self.launches += 1
            report = simulator.run(
                function, args, blocks=blocks, memory=self._memory, shared=launch.shared, check=self._check
            )
            report.raise_if_wrong()

        stream.put(task)

    # -- streams, graphs, events -------------------------------------------------------------------
    def stream(self) -> Stream:
        return Stream()

    def begin_capture(self, stream: Stream) -> None:
        if stream.recording is not None:
            raise DriverError("the stream is being captured already")
        stream.recording, self._capturing = [], True

    def end_capture(self, stream: Stream) -> list[Task]:
        tasks, stream.recording, self._capturing = stream.recording, None, False
        if tasks is None:
            raise DriverError("the stream is not being captured")
        return tasks

    def has_choices(self) -> bool:
        return True

    def condition(self, stream: Stream) -> int:
        if stream.recording is None:
            raise DriverError("a condition outside of a capture")
        self._conditions += 1
        return self._conditions

    def choice(self, stream: Stream, condition: int, loops: bool, count: int) -> list[list[Task]]:
        bodies: list[list[Task]] = [[] for _ in range(count)]
        values = self._memory.conditions

        def task() -> None:
            if condition not in values:
                raise DriverError("no kernel has set the condition of a node")
            if loops:
                while values[condition]:
                    for inner in bodies[0]:
                        inner()
            elif values[condition] < count:
                for inner in bodies[values[condition]]:
                    inner()
            del values[condition]

        stream.put(task)
        return bodies

    def begin_body(self, body: list[Task]) -> Stream:
        stream = Stream()
        stream.recording = body
        return stream

    def end_body(self, stream: Stream) -> None:
        stream.recording = None

    def replay(self, graph: list[Task], stream: Stream) -> None:
        self.replays += 1
        stream.tasks.extend(graph)

    def drop_graph(self, graph: list[Task]) -> None:
        graph.clear()

    def event(self) -> Event:
        return Event()

    def timer(self) -> list[float]:
        return [0.0]

    def drop_timer(self, timer: list[float]) -> None:
        timer.clear()

    def mark(self, timer: list[float], stream: Stream) -> None:
        def task() -> None:
            timer[0] = time.perf_counter()

        stream.put(task)

    def seconds(self, first: list[float], second: list[float]) -> float:
        if not 0.0 < first[0] <= second[0]:
            raise DriverError("times of events that were not recorded, or in another order")
        return second[0] - first[0]

    def record(self, event: Event, stream: Stream) -> None:
        def reached() -> None:
            event.pending -= 1

        event.stream = stream
        event.pending += 1
        stream.put(reached)

    def wait(self, stream: Stream, event: Event) -> None:
        stream.tasks.append(event)

    def wait_event(self, event: Event) -> None:
        self._refuse_in_capture("waiting")
        event.reach()

    def synchronize(self, stream: Stream) -> None:
        self._refuse_in_capture("waiting")
        stream.run()

    def _refuse_in_capture(self, what: str) -> Any:
        if self._capturing:
            raise DriverError(f"{what} while a graph is being captured")
