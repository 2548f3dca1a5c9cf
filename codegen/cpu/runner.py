"""Threads and memory of programs: the native loop's address, the worker threads, arena and scratch.

All threads run the same loop over the same plan (SPMD, see docs/adr/0002-spmd-runner.md). Workers are Python threads
that wait in native code, then on a lock; inside the loops nobody holds the interpreter's lock. One run at a time:
programs share arena and threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import cache, plan_codes
from graphkeras.codegen.cpu.cores import available_cores

ALIGN = 64

run_lock = threading.Lock()
"""Held while a program runs."""


def thread_count() -> int:
    """GRAPHKERAS_THREADS, or the available physical cores."""
    return flags.THREADS.value or available_cores()


Loop = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@functools.cache
def _loops() -> tuple[Any, Any]:
    """The native functions of plan_loop.py (head, thread, threads) and of worker_loop.py (box, what, number)."""
    plan, worker = cache.load([plan_loop_source(), worker_loop_source()])
    return Loop(plan), Loop(worker)


def plan_loop_source() -> str:
    """The native loop as kernel source."""
    return (Path(__file__).parent / "plan_loop.py").read_text()


def worker_loop_source() -> str:
    """The loop in which workers wait, as kernel source."""
    return (Path(__file__).parent / "worker_loop.py").read_text()


class _Worker(threading.Thread):
    """Thread number `number` of every run; between runs it looks for the next one for a while, then sleeps."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"graphkeras-{number}", daemon=True)
        self._number = number
        self._go = threading.Lock()
        self._go.acquire()
        plan, self._loop = _loops()
        self._box = aligned(8 * plan_codes.BOX).view(np.int64)
        self._box[:] = 0
        self._box[plan_codes.B_POSTED] = 1  # asleep
        self._box[plan_codes.B_LOOP] = ctypes.cast(plan, ctypes.c_void_p).value or 0
        self._box[plan_codes.B_CLOCK] = clock()
        self._address = self._box.ctypes.data
        self.start()

    def submit(self, head: int, threads: int) -> None:
        self._box[plan_codes.B_HEAD], self._box[plan_codes.B_THREADS] = head, threads
        self._loop(self._address, plan_codes.POST, self._number)
        if self._box[plan_codes.B_ASLEEP]:
            self._go.release()

    def run(self) -> None:
        while True:
            self._go.acquire()
            self._loop(self._address, plan_codes.SERVE, self._number)


def clock() -> int:
    """The clock that native loops read."""
    return getattr(time, "CLOCK_MONOTONIC", 1)


_workers: list[_Worker] = []


def _after_fork() -> None:
    """In a child process: threads do not survive a fork, and a run in progress went on in the parent."""
    global run_lock
    _workers.clear()
    run_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_loop(head: int, threads: int) -> None:
    """Run a plan with `threads` threads, this one among them; returns when all its work is done."""
    loop, _ = _loops()
    while len(_workers) < threads - 1:
        _workers.append(_Worker(len(_workers) + 1))
    for worker in _workers[: threads - 1]:
        worker.submit(head, threads)
    loop(head, 0, threads)


# -- memory ---------------------------------------------------------------------------------------------
def aligned(nbytes: int) -> np.ndarray:
    """Uninitialised bytes at a multiple of 64."""
    raw = np.empty(nbytes + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + nbytes]


class Area:
    """Memory that all programs share and that grows with the largest of them. Nothing in it outlives a run."""

    def __init__(self) -> None:
        self._array = aligned(ALIGN)
        self.address = self._array.ctypes.data

    def reserve(self, nbytes: int) -> int:
        """Address of at least `nbytes` bytes; callers look again before each run, as it moves when it grows."""
        if nbytes > self._array.nbytes:
            self._array = aligned(nbytes)
            self.address = self._array.ctypes.data
        return self.address


arena = Area()
_scratch: list[Area] = []


def scratch(thread: int) -> Area:
    """Private memory of one thread."""
    while len(_scratch) <= thread:
        _scratch.append(Area())
    return _scratch[thread]
