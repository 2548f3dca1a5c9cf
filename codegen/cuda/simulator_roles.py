"""Blocks whose warpgroups have different work and wait for one another: producers and consumers.

Each warpgroup (128 threads) is a machine of its own, which runs the whole kernel in a thread of the operating system.
One of them runs at a time, until it waits for a barrier. Copies of the copy engine land as late as they may: when
nobody can go on without them. If then still nobody can, the block is stuck, which is a problem.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.codegen.cuda.simulator import Machine, Report
from graphkeras.codegen.cuda.simulator_memory import Memory, SharedMemory
from graphkeras.codegen.cuda.simulator_order import GRAIN, Order, join

GROUP = 128


class Stuck(Exception):
    """Nobody can go on; unwinds the warpgroups."""


class Turns:
    """Lets one of several jobs run at a time.

    late: makes something happen that may let a waiting job go on; False where there is nothing left.
    """

    def __init__(self, jobs: Sequence[Callable[[], None]], late: Callable[[], bool]) -> None:
        self._late = late
        self._ready: list[Callable[[], bool] | None] = [lambda: True] * len(jobs)  # None: done
        self._go = [threading.Semaphore(0) for _ in jobs]
        self._back = threading.Semaphore(0)
        self._stuck = False
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._body, args=(k, job), daemon=True) for k, job in enumerate(jobs)]

    def _body(self, number: int, job: Callable[[], None]) -> None:
        self._go[number].acquire()
        try:
            job()
        except Stuck:
            pass
        except BaseException as error:
            self._errors.append(error)
        self._ready[number] = None
        self._back.release()

    def wait(self, number: int, ready: Callable[[], bool]) -> None:
        """Called by job `number`: go on when `ready()`; Stuck where that will never be."""
        if ready():
            return
        self._ready[number] = ready
        self._back.release()
        self._go[number].acquire()
        if self._stuck:
            raise Stuck

    def run(self) -> None:
        """Until all jobs are done; raises what one of them raised."""
        for thread in self._threads:
            thread.start()
        while any(r is not None for r in self._ready):
            turn = next((k for k, r in enumerate(self._ready) if r is not None and r()), None)
            if turn is None and not self._errors and self._late():
                continue
            self._stuck = turn is None or bool(self._errors)
            if turn is None:
                turn = next(k for k, r in enumerate(self._ready) if r is not None)
            self._go[turn].release()
            self._back.acquire()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]


class Block:
    """What the warpgroups of a block share: memory, barriers, copies under way, clocks."""

    def __init__(self, shared: int, groups: int) -> None:
        self.shared = SharedMemory(1, shared)
        self.order = Order(self.shared.nbytes, groups)
        self.groups = groups
        self.barriers: dict[int, Any] = {}
        self.copies: list[Callable[[], None]] = []
        self.turns: Turns
        self._arrived, self._rounds, self._told = 0, 0, np.zeros(0, np.int64)
        self._random = np.random.default_rng(0)

    def land(self) -> bool:
        """One of the copies under way, whichever."""
        if not self.copies:
            return False
        self.copies.pop(int(self._random.integers(len(self.copies))))()
        return True

    def meet(self, group: int) -> None:
        """sync_threads: all warpgroups."""
        self._told = join(self._told, self.order.publish(group))
        self._arrived += 1
        mine = self._rounds
        if self._arrived == self.groups:
            self._arrived, self._rounds = 0, self._rounds + 1
        self.turns.wait(group, lambda: self._rounds > mine)
        self.order.learn(group, self._told)


class Warpgroup(Machine):
    """128 threads of a block, in lock-step."""

    def __init__(self, memory: Memory, number: int, grid: int, threads: int, own: Block, group: int, report: Report):
        super().__init__(memory, range(number, number + 1), grid, threads, 16, report)
        part = slice(GROUP * group, GROUP * (group + 1))
        self.lanes = GROUP
        self.thread, self.local_block = self.thread[part], self.local_block[part]
        self.block, self.mask, self.identity = self.block[part], self.mask[part], self.identity[part]
        self.block_clock, self.warp_clock = self.block_clock[part], self.warp_clock[part]
        self.own, self.group, self.shared = own, group, own.shared

    def sync(self) -> None:
        self.together("the barrier", GROUP)
        self.own.meet(self.group)
        self.block_clock[self.mask] += 1
        self.warp_clock[self.mask] += 1

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Let others run until `ready()`."""
        try:
            self.own.turns.wait(self.group, ready)
        except Stuck:
            self.problem("deadlock", f"{what} will never be: nobody is left who could go on")
            raise

    def ordered(self, at: np.ndarray, nbytes: int, write: bool) -> None:
        """Ordinary accesses to shared memory, looked at by the clocks too."""
        places = np.unique((at[:, None] + np.arange(0, nbytes, min(nbytes, GRAIN))) // GRAIN)
        found = self.own.order.threads(self.group, places, write)
        if found is not None:
            self.problem("race", found)


def run_block(
    code: Any, args: Sequence[Any], number: int, grid: int, threads: int, shared: int, memory: Memory, report: Report
) -> None:
    """One block: `code` is the rewritten kernel source."""
    from graphkeras.codegen.cuda.simulator import UNSET
    from graphkeras.codegen.cuda.simulator_ops import namespace

    own = Block(shared, threads // GROUP)
    own.shared.checked = memory.checked

    def job(group: int) -> Callable[[], None]:
        machine = Warpgroup(memory, number, grid, threads, own, group, report)
        space = {"M_": machine, "UNSET_": UNSET, **namespace(machine)}

        def body() -> None:
            with np.errstate(all="ignore"):
                exec(code, space)
                space["kernel"](*args)

        return body

    own.turns = Turns([job(g) for g in range(own.groups)], own.land)
    own.turns.run()
