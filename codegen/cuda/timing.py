"""Times of the kernels of a step, from a second graph of it that records an event after each kernel.

Only a few steps run through that graph, the first one not among them; all others run without events. A time is that
between two events: some microsecond of it is the way from one node of the graph to the next. Kernels in the bodies of
conditional nodes are not timed, as events are not allowed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras.codegen.cuda.driver import Driver
from graphkeras.codegen.kernel import Kernel

STEPS = 3  # that are timed
MOST_KERNELS = 4000  # launches of a step for which events are made


class Marks:
    """Events between the kernels of a graph that is being captured on `stream`."""

    def __init__(self, driver: Driver, stream: Any) -> None:
        self._driver, self.stream = driver, stream
        self._events: list[Any] = []
        self._fresh = False  # nothing was queued since the last event
        self._spans: list[tuple[Kernel, int]] = []

    def before(self) -> None:
        if not self._fresh:
            self._mark()

    def after(self, kernel: Kernel) -> None:
        self._mark()
        self._spans.append((kernel, len(self._events) - 2))

    def passed(self) -> None:
        """Something that is not timed was queued."""
        self._fresh = False

    def _mark(self) -> None:
        self._events.append(self._driver.timer())
        self._driver.mark(self._events[-1], self.stream)
        self._fresh = True

    def drop(self) -> None:
        """The graph is gone: so are its events."""
        for event in self._events:
            self._driver.drop_timer(event)

    def add_to(self, times: dict[Kernel, float]) -> None:
        """Seconds of the newest replay, which is over."""
        for kernel, first in self._spans:
            seconds = self._driver.seconds(self._events[first], self._events[first + 1])
            times[kernel] = times.get(kernel, 0.0) + seconds


class Times:
    """What a program knows about the times of its kernels. left: steps that are still to be timed."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Forget what there is; time a few of the next steps."""
        self.left, self.steps = STEPS, 0
        self._sums: dict[Kernel, float] = {}

    def stop(self) -> None:
        self.left = 0

    def note(self, marks: Marks) -> None:
        marks.add_to(self._sums)
        self.steps += 1
        self.left -= 1

    def of(self, kernels: Sequence[Kernel]) -> list[float]:
        """Seconds per step; 0 for what was not timed."""
        return [self._sums.get(k, 0.0) / max(self.steps, 1) for k in kernels]
