"""The simulator of CUDA kernels finds what a GPU would punish, and its twins do what the language says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphkeras.codegen.cuda import language, simulator
from graphkeras.codegen.cuda.simulator_memory import Memory
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import TensorType
from tests.codegen.cuda_harness import Device, kernels

HEAD = "from graphkeras.codegen.cuda.support import *\n\nSIGNATURE = 'ii'\nTHREADS = {}\n\n\ndef kernel(a0, a1):\n"


def run(body: str, args: list[int], memory: Memory, threads: int = 64, blocks: int = 1, shared: int = 1024):
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return simulator.run(HEAD.format(threads) + lines, args, blocks=blocks, memory=memory, shared=shared)


def reduction(shape: tuple[int, int]) -> Graph:
    b = Builder()
    x = b.input(TensorType(shape, "float32"), "x")
    return Graph([x], [b.reduce_sum(x, axes=(0,), keepdims=False)])


@pytest.mark.parametrize("shape", [(40, 33), (9, 400)])
def test_a_missing_barrier_is_a_race(shape: tuple[int, int]) -> None:
    device = Device()
    (kernel,) = kernels(reduction(shape))
    device.launch(kernel)  # as it is: no race
    assert kernel.source.count("sync_threads()") == 1
    kernel.source = kernel.source.replace("    sync_threads()\n", "")
    with pytest.raises(simulator.SimulationError, match="race"):
        device.launch(kernel)


REVERSE = """
t = thread_index()
shared_store_float32(shared_memory(), t, fetch_float32(a0, t))
sync_threads()
store_float32(a1, t, shared_load_float32(shared_memory(), 63 - t))
"""


def test_values_through_shared_memory() -> None:
    memory = Memory()
    x = np.arange(64, dtype=np.float32)
    source, target = memory.upload(x), memory.allocate(256)
    report = run(REVERSE, [source, target], memory)
    report.raise_if_wrong()
    np.testing.assert_array_equal(memory.download(target, (64,), x.dtype), x[::-1])
    assert max(report.conflicts.values()) == 1


def test_a_barrier_of_the_warp_orders_the_warp_only() -> None:
    memory = Memory()
    args = [memory.upload(np.zeros(64, np.float32)), memory.allocate(256)]
    within = REVERSE.replace("sync_threads", "sync_warp").replace("63 - t", "t ^ 31")
    run(within, args, memory).raise_if_wrong()
    assert run(REVERSE.replace("sync_threads", "sync_warp"), args, memory).races


@pytest.mark.parametrize(
    "body, kind",
    [
        ("store_float32(a0, 0, float32(1.0))", "race"),  # all threads at once
        ("store_float32(a0, block_index() * 0 + thread_index(), float32(1.0))", "race"),  # two blocks
        ("store_float32(a0, thread_index() ^ 1, load_float32(a0, thread_index()))", "race"),  # read, then overwritten
        ("store_float32(a0, 64 * block_index() + thread_index() + 1, float32(1.0))", "wild address"),
        ("x = fetch4_float32(a0, thread_index() & 3)", "misaligned"),
        ("x = shared_load_float32(shared_memory(), thread_index())", "uninitialised"),
        ("shared_store_float32(shared_memory(), thread_index() + 200, float32(0.0))", "wild address"),
        ("if thread_index() < 40:\n    sync_threads()", "divergence"),
        ("if thread_index() < 40:\n    x = shuffle_xor(thread_index(), int32(1))", "divergence"),
    ],
)
def test_what_a_gpu_would_punish(body: str, kind: str) -> None:
    memory = Memory()
    address = memory.upload(np.zeros(128, np.float32))
    report = run(body, [address, 0], memory, blocks=2)
    assert {p.kind for p in report.problems.values()} == {kind}
    with pytest.raises(simulator.SimulationError, match=kind):
        report.raise_if_wrong()


def test_bank_conflicts_are_counted() -> None:
    memory = Memory()
    for stride, degree in ((1, 1), (2, 2), (32, 32), (33, 1)):
        report = run(
            f"shared_store_float32(shared_memory(), thread_index() * {stride}, float32(0.0))",
            [0, 0],
            memory,
            threads=32,
            shared=8192,
        )
        assert max(report.conflicts.values()) == degree


def test_loops_and_branches_that_differ_between_threads() -> None:
    memory = Memory()
    target = memory.allocate(512)
    body = """
t = thread_index()
total = 0
for i in range(t):
    if (i & 1) == 0 and i > 2:
        total += i
    else:
        total -= 1
while total > 100:
    total = total >> 1
store_int64(a0, t, total if t > 5 else -t)
"""
    run(body, [target, 0], memory).raise_if_wrong()
    expected = []
    for t in range(64):
        total = sum(i if i % 2 == 0 and i > 2 else -1 for i in range(t))
        while total > 100:
            total >>= 1
        expected.append(total if t > 5 else -t)
    np.testing.assert_array_equal(memory.download(target, (64,), np.dtype(np.int64)), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 10, 33, 641, 1000, 65537, 2**31 - 1])
def test_division_by_multiplication(n: int) -> None:
    word = language.divisor(n)
    magic, shift = word & 0xFFFFFFFF, word >> 32
    rng = np.random.default_rng(n)
    edges = [0, 1, n - 1, n, n + 1, 2 * n - 1, 2**31 - 1, *map(int, rng.integers(0, 2**31, 2000))]
    for i in (e for e in edges if e < 2**31):
        assert (((i * magic) >> 32) + i) >> shift == i // n
    assert word < 2**63 and not math.isnan(word)


def test_every_function_has_a_twin() -> None:
    report = simulator.Report()
    machine = simulator.Machine(Memory(), range(1), 1, 32, 16, report)
    from graphkeras.codegen.cuda.simulator_ops import namespace

    known = namespace(machine)
    names = [s.name for s in language.intrinsics()] + [n for n, *_ in language.memory_ops()]
    names += [*language.SCALARS, *language.SHUFFLES]
    assert not [n for n in names if n not in known]
