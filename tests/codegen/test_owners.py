"""A thread works on the same part of an array in every kernel: slices, parts of products, places in the arena."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.codegen import memory
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu import plan_codes, pointwise
from graphkeras.codegen.kernel import Buffer, Call, Int, Kernel, Ptr, Where
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import TensorType

SIZES = (2, 255, 256, 257, 4097, 20_000, 70_001)


# -- slices of segments ---------------------------------------------------------------------------------
def updates(sizes):
    """x - tanh(g) * 0.5 over each x: one launch."""
    b = Builder()
    xs = [b.input(TensorType((n,), "float32"), f"x{n}") for n in sizes]
    gs = [b.input(TensorType((n,), "float32"), f"g{n}") for n in sizes]
    half = b.const(np.float32(0.5))
    new = [b.sub(x, b.mul(b.tanh(g), half)) for x, g in zip(xs, gs, strict=True)]
    return compile_graph(Graph([*xs, *gs], new), {k: k for k in range(len(sizes))})


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 64])
def test_slices_of_many_arrays_cover_each_once_with_the_same_bits(threads):
    program = updates(SIZES)
    [kernel] = program.kernels_run
    assert (kernel.extent, kernel.chunk, kernel.spread) == (pointwise.SLICES, 1, True)
    rng = np.random.default_rng(0)
    xs, gs = ([rng.normal(size=n).astype("float32") for n in SIZES] for _ in "xg")
    alone = [x.copy() for x in xs]
    program.bind([*alone, *gs], alone)
    program.run(threads=1)
    program.bind([*xs, *gs], xs)
    before = [x.copy() for x in xs]
    program.run(threads=threads)
    for x, one, old, g in zip(xs, alone, before, gs, strict=True):
        np.testing.assert_array_equal(x, one)
        np.testing.assert_allclose(x, old - np.tanh(g.astype("float64")) * 0.5, atol=1e-6)


def test_a_thread_takes_its_slices_in_one_call():
    program = updates(SIZES)
    rows = [row for row in program._rows.tolist() if row[0] == plan_codes.PARALLEL]
    assert [row[5] for row in rows] == [1]


def test_small_updates_stay_on_one_thread():
    [kernel] = updates((3, 5)).kernels_run
    assert kernel.chunk == kernel.extent


# -- products with weights that change --------------------------------------------------------------------
def step(batch, depth, columns, update):
    """y = x w; w - 0.1 * w, in the memory of w where `update`."""
    b = Builder()
    x = b.input(TensorType((batch, depth), "float32"), "x")
    w = b.input(TensorType((depth, columns), "float32"), "w")
    y = b.dot_general(x, w, contract=((1,), (0,)), batch=((), ()))
    if not update:
        return compile_graph(Graph([x, w], [y]))
    return compile_graph(Graph([x, w], [y, b.sub(w, b.mul(w, b.const(np.float32(0.1))))]), {1: 1})


def parts_of(program):
    [cut] = {c for k in program.kernels_run for c in k.choices if c.startswith("cut ")}
    return 2 if "parts=2" in cut else 1


def test_few_rows_times_weights_that_change_are_split_along_the_weights_rows():
    assert parts_of(step(32, 784, 256, True)) == 2
    assert parts_of(step(32, 784, 256, False)) == 1  # nobody writes them: sharing costs nothing
    assert parts_of(step(4096, 784, 256, True)) == 1  # partial sums would be larger than the weights
    assert parts_of(step(32, 784, 16, True)) == 1  # a small matrix


def test_one_source_serves_products_that_are_split_and_those_that_are_not():
    def sources(batch):
        kernels = step(batch, 784, 256, True).kernels_run
        return {s for k in kernels for s in (k.source, *k.companions)}

    assert sources(32) == sources(4096)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_split_products_have_the_same_bits_for_any_number_of_threads(threads):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(32, 784)).astype("float32"), rng.normal(size=(784, 256)).astype("float32")
    program = step(32, 784, 256, True)

    def run(count):
        own, y = w.copy(), np.empty((32, 256), "float32")
        program.bind([x, own], [y, own])
        program.run(threads=count)
        return y, own

    (y, new), (one, _) = run(threads), run(1)
    np.testing.assert_array_equal(y, one)
    np.testing.assert_allclose(y, x.astype("float64") @ w.astype("float64"), atol=2e-4)
    np.testing.assert_allclose(new, w - w * np.float32(0.1), rtol=1e-6)


@pytest.mark.parametrize("trailing", [False, True])
def test_a_depth_of_two_axes_in_another_order_is_copied_into_one(trailing):
    """Gradient of a recurrent layer's weights: x is [batch, time, n], the gates' gradient [time, batch, m]."""
    b = Builder()
    x = b.input(TensorType((16, 200, 24), "float32"), "x")
    dz = b.input(TensorType((200, 16, 256), "float32"), "dz")
    contract = ((1, 0), (0, 1)) if trailing else ((0, 1), (1, 0))
    y = b.dot_general(x, dz, contract=contract, batch=((), ()))
    program = compile_graph(Graph([x, dz], [y]))
    assert "copy" in [k.name for k in program.kernels_run]
    rng = np.random.default_rng(2)
    a, d = (rng.normal(size=s).astype("float32") for s in ((16, 200, 24), (200, 16, 256)))
    out = np.empty((24, 256), "float32")
    program.bind([a, d], [out])
    program.run()
    np.testing.assert_allclose(out, np.einsum("btn,tbm->nm", a.astype("float64"), d.astype("float64")), atol=1e-3)


# -- places in the arena ----------------------------------------------------------------------------------
def touch(*buffers: Buffer) -> Call:
    return Call(Kernel("k", "", tuple(Ptr(b) for b in buffers), 1, 1, (), buffers))


def test_a_buffer_lies_with_its_middle_on_that_of_the_memorys_last_user():
    large, small = (Buffer(n, Where.ARENA) for n in (2**20, 2**18))
    plan = memory.plan_memory([touch(large), touch(small)])
    assert plan.nbytes == 2**20
    assert plan.offsets[large] + 2**19 == plan.offsets[small] + 2**17


def test_small_buffers_and_those_that_live_together_stay_low():
    large, other, small = Buffer(2**20, Where.ARENA), Buffer(2**18, Where.ARENA), Buffer(2**10, Where.ARENA)
    plan = memory.plan_memory([touch(large), touch(other, small)])
    assert plan.nbytes == 2**20 and plan.offsets[small] == 0
    together = memory.plan_memory([touch(large, other, small)])
    assert together.nbytes == 2**20 + 2**18 + 2**10


def test_lifetimes_that_overlap_never_share_memory():
    rng = np.random.default_rng(3)
    buffers = [Buffer(int(n), Where.ARENA) for n in 2 ** rng.uniform(8, 20, 60)]
    spans = [sorted(rng.integers(0, 40, 2).tolist()) for _ in buffers]
    calls = [
        touch(*(b for b, (first, last) in zip(buffers, spans, strict=True) if t in (first, last))) for t in range(40)
    ]
    plan = memory.plan_memory(calls)
    places = [(plan.offsets[b], plan.offsets[b] + b.nbytes, *plan.lifetimes[b]) for b in buffers]
    for i, (low, high, first, last) in enumerate(places):
        assert high <= plan.nbytes
        for other_low, other_high, begin, end in places[:i]:
            assert last < begin or end < first or high <= other_low or other_high <= low
    needed = max(sum(b.nbytes for b in buffers if plan.lifetimes[b][0] <= t <= plan.lifetimes[b][1]) for t in range(40))
    assert plan.nbytes < 1.25 * needed


def test_arguments_of_segments_are_their_sizes():
    [kernel] = updates((300, 5000)).kernels_run
    sizes = [a.value for a in kernel.args if isinstance(a, Int)]
    assert sizes == [2, 300, 5000]
