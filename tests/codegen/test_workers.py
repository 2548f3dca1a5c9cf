"""Worker threads between runs: they look for the next one for a while, then sleep, and miss none."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu import plan_codes, runner
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import TensorType

N = 40_000


def counting():
    """x + 1 in place, on several threads."""
    b = Builder()
    x = b.input(TensorType((N,), "float32"), "x")
    program = compile_graph(Graph([x], [b.add(x, b.const(np.float32(1.0)))]), {0: 0})
    assert program.image.parallel
    array = np.zeros(N, "float32")
    program.bind([array], [array])
    return program, array


@pytest.mark.parametrize("gap", [0.0, 2e-4, 5e-4, 2e-3])
def test_no_run_is_missed_whatever_passes_between_them(gap):
    program, array = counting()
    for _ in range(200):
        program.run(threads=3)
        if gap:
            time.sleep(gap)
    np.testing.assert_array_equal(array, np.full(N, 200.0, "float32"))


def test_runs_from_several_threads_with_changing_pauses():
    programs = [counting() for _ in range(3)]

    def work(number, program):
        rng = np.random.default_rng(number)
        for threads in rng.integers(1, 5, 60).tolist():
            program.run(steps=2, threads=threads)
            time.sleep(rng.choice([0.0, 1e-4, 6e-4]))

    pool = [threading.Thread(target=work, args=(k, program)) for k, (program, _) in enumerate(programs)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    for _, array in programs:
        np.testing.assert_array_equal(array, np.full(N, 120.0, "float32"))


def test_workers_sleep_when_nothing_comes():
    program, _ = counting()
    program.run(threads=3)
    time.sleep(0.05)
    assert all(w._box[plan_codes.B_POSTED] % 2 == 1 for w in runner._workers)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1


def test_a_worker_that_waited_long_does_not_wait_awake():
    program, _ = counting()
    for _ in range(3):
        program.run(threads=2)
        time.sleep(0.02)
    before = runner._workers[0]._box[plan_codes.B_IDLE]
    program.run(threads=2)
    time.sleep(0.01)
    assert runner._workers[0]._box[plan_codes.B_IDLE] > before
    assert runner._workers[0]._box[plan_codes.B_POSTED] % 2 == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_process_has_workers_of_its_own():
    program, array = counting()
    program.run(threads=3)
    child = os.fork()
    if child == 0:
        program.run(threads=3)
        os._exit(0 if (array == 2.0).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(array, np.full(N, 1.0, "float32"))
