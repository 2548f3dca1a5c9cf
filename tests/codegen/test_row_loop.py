"""Scans as one kernel: values, how they are cut, and what does not depend on the cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphkeras.codegen import row_loop
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu.vectors import vectors
from graphkeras.codegen.kernel import Call, Loop
from graphkeras.codegen.program import Program
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType, type_of

UNITS, FEATURES = 20, 24
Body = Callable[..., Sequence[Node]]


def dot(b: Builder, x: Node, w: Node, side: int = 0) -> Node:
    return b.dot_general(x, w, contract=((1,), (side,)), batch=((), ()))


def lstm(b: Builder, h: Node, c: Node, w: Node, x: Node, mask: Node) -> Sequence[Node]:
    rows = h.shape[0]
    z = b.add(dot(b, h, w), x)
    i, f, g, o = (b.slice(z, start=(0, k * UNITS), stop=(rows, (k + 1) * UNITS), step=(1, 1)) for k in range(4))
    new = b.add(b.mul(b.sigmoid(f), c), b.mul(b.sigmoid(i), b.tanh(g)))
    out = b.mul(b.sigmoid(o), b.tanh(new))
    keep = b.reshape(mask, shape=(rows, 1))
    return [b.select(keep, out, h), b.select(keep, new, c), out, h]


def backwards(b: Builder, dh: Node, dc: Node, w: Node, x: Node, mask: Node) -> Sequence[Node]:
    """Like the gradient of a cell: parts side by side, times the turned weights."""
    rows = dh.shape[0]
    parts = [b.slice(x, start=(0, k * UNITS), stop=(rows, (k + 1) * UNITS), step=(1, 1)) for k in range(4)]
    dz = b.concat(*(b.mul(b.add(dh, dc), b.tanh(p)) for p in parts), axis=1)
    keep = b.reshape(mask, shape=(rows, 1))
    return [b.mul(dot(b, dz, w, 1), 0.5), b.select(keep, b.mul(dc, 0.5), dh), dz]


def swapped(b: Builder, h: Node, c: Node, w: Node, x: Node, mask: Node) -> Sequence[Node]:
    part = b.slice(dot(b, h, w), start=(0, 0), stop=h.shape, step=(1, 1))
    return [c, b.tanh(b.add(part, c)), b.reshape(mask, shape=(h.shape[0], 1))]


def mixing(b: Builder, h: Node, c: Node, w: Node, x: Node, mask: Node) -> Sequence[Node]:
    """Rows that depend on each other."""
    mean = b.mul(b.reduce_sum(h, axes=(0,), keepdims=True), 1 / h.shape[0])
    part = b.slice(b.add(dot(b, h, w), x), start=(0, 0), stop=h.shape, step=(1, 1))
    return [b.tanh(b.add(part, mean)), b.add(c, 1.0)]


def scan_graph(body: Body, rows: int, length: int, reverse: bool = False, dtype: str = "float32") -> Graph:
    inner = Builder()
    state, weights = TensorType((rows, UNITS), dtype), TensorType((UNITS, 4 * UNITS), dtype)
    x, mask = TensorType((rows, 4 * UNITS), dtype), TensorType((rows,), "bool")
    inputs = [inner.input(t, f"i{k}") for k, t in enumerate((state, state, weights, x, mask))]
    graph = Graph(inputs, list(body(inner, *inputs)))
    b = Builder()
    types = [state, state, weights, x.with_shape((length, *x.shape)), mask.with_shape((length, rows))]
    outer = [b.input(t, f"o{k}") for k, t in enumerate(types)]
    scan = b.scan(*outer, body=graph, carries=2, consts=1, length=length, reverse=reverse)
    return Graph(outer, [b.item(scan, k) for k in range(len(graph.outputs))])


def arrays_for(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)

    def array(node: Node) -> np.ndarray:
        if node.dtype == "bool":
            return rng.integers(0, 2, node.shape).astype(bool)
        return rng.normal(scale=0.2, size=node.shape).astype(node.dtype)

    return [array(n) for n in graph.inputs]


def results_of(program: Program, graph: Graph, arrays: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
    outputs = [np.full(n.shape, 7, n.dtype) for n in graph.outputs]
    program.bind([a.copy() for a in arrays], outputs)
    program.run(2, threads)  # the second run starts from what the first one left behind
    return outputs


def check(graph: Graph, program: Program, tolerance: float) -> list[np.ndarray]:
    arrays = arrays_for(graph)
    wanted = evaluate(graph, arrays)
    got = results_of(program, graph, arrays)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        assert type_of(a) == type_of(b)
    for threads in (2, 3):
        for a, b in zip(got, results_of(program, graph, arrays, threads), strict=True):
            np.testing.assert_array_equal(a, b)
    return got


def loops(program: Program) -> list[Call]:
    assert not any(isinstance(i, Loop) for i in program.instructions)
    return [i for i in program.instructions if isinstance(i, Call) and i.kernel.parts]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", [2, 9, 16, 33, 64])
@pytest.mark.parametrize("body", [lstm, backwards, swapped])
def test_one_kernel_for_all_steps(body: Body, rows: int, reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_loop, "ENOUGH", 0)
    graph = scan_graph(body, rows, 12, reverse)
    program = compile_graph(graph)
    check(graph, program, 2e-5)
    (call,) = loops(program)
    assert call.kernel.flops > 0 and {n.op for n in call.kernel.nodes} >= {"dot_general", "tanh"}


@pytest.mark.parametrize("rows", [16, 21])
def test_gradients_by_rows(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the interpreter, and along a random direction against differences of the compiled function."""
    monkeypatch.setattr(row_loop, "ENOUGH", 0)
    forward = scan_graph(lstm, rows, 7, dtype="float64")
    b = Builder()
    inputs = [b.input(n.type, f"g{k}") for k, n in enumerate(forward.inputs)]
    results = b.inline(forward, inputs)
    loss = b.add(
        b.reduce_sum(b.mul(results[0], results[1]), axes=(0, 1), keepdims=False),
        b.reduce_sum(b.mul(results[2], results[3]), axes=(0, 1, 2), keepdims=False),
    )
    floats = inputs[:4]
    graph = Graph(inputs, [loss, *(g for g in gradients(b, [loss], floats) if g is not None)])
    assert len(graph.outputs) == 5
    program = compile_graph(graph)
    assert [c.kernel.extent for c in loops(program)] == [-(-rows // 8)] * 2
    arrays = arrays_for(graph)
    found = results_of(program, graph, arrays)
    for a, e in zip(found, evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-12)
    rng, step = np.random.default_rng(1), 1e-5
    ways = [rng.normal(size=n.shape) for n in floats]
    ends = [
        results_of(program, graph, [*(a + sign * step * w for a, w in zip(arrays, ways, strict=False)), arrays[4]])[0]
        for sign in (1, -1)
    ]
    slope = sum(float((g * w).sum()) for g, w in zip(found[1:], ways, strict=True))
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, rtol=1e-6)


def test_in_double_precision() -> None:
    graph = scan_graph(lstm, 24, 30, dtype="float64")
    check(graph, compile_graph(graph), 1e-12)


def test_a_batch_is_shared_by_rows_and_a_small_one_is_not() -> None:
    wide = loops(compile_graph(scan_graph(lstm, 64, 80)))[0].kernel
    assert (wide.extent, wide.chunk) == (4, 1)
    uneven = loops(compile_graph(scan_graph(lstm, 33, 160)))[0].kernel
    assert uneven.extent == 2  # 17 and 16: one row alone would take kernels of its own
    assert loops(compile_graph(scan_graph(lstm, 1, 60)))[0].kernel.extent == 1
    assert loops(compile_graph(scan_graph(lstm, 64, 2)))[0].kernel.extent == 1  # little work
    assert loops(compile_graph(scan_graph(lstm, 8, 900)))[0].kernel.extent == 1  # few rows for the weights


def test_rows_that_depend_on_each_other_stay_together() -> None:
    graph = scan_graph(mixing, 64, 100)
    program = compile_graph(graph)
    check(graph, program, 1e-4)
    assert all(c.kernel.extent == 1 for c in loops(program))


def test_a_body_with_kernels_for_many_threads_stays_a_loop() -> None:
    b = Builder()
    inner = Builder()
    h, w = (inner.input(TensorType(s, "float32"), "i") for s in ((1, 1600), (1600, 1600)))
    body = Graph([h, w], [inner.tanh(dot(inner, h, w))])
    outer = [b.input(n.type, "o") for n in body.inputs]
    graph = Graph(outer, [b.item(b.scan(*outer, body=body, carries=1, consts=1, length=3, reverse=False), 0)])
    assert any(isinstance(i, Loop) for i in compile_graph(graph).instructions)


def test_other_lengths_need_no_other_code() -> None:
    sources = [{s for k in compile_graph(scan_graph(lstm, 32, n)).kernels for s in k.sources} for n in range(160, 180)]
    assert all(s == sources[0] for s in sources)


def test_what_is_the_same_in_all_steps_is_computed_once() -> None:
    def body(b: Builder, h: Node, c: Node, w: Node, x: Node, mask: Node) -> Sequence[Node]:
        calm = b.tanh(b.mul(w, 0.5))
        part = b.slice(dot(b, h, calm), start=(0, 0), stop=h.shape, step=(1, 1))
        return [b.tanh(b.add(part, c)), c]

    graph = scan_graph(body, 32, 160)
    program = compile_graph(graph)
    check(graph, program, 2e-5)
    inside = {n.op for p in loops(program)[0].kernel.parts for n in p.nodes if n.shape == (UNITS, 4 * UNITS)}
    assert not inside


def inside(program: Program) -> list[str]:
    """Names of the kernels of the one loop."""
    (call,) = loops(program)
    return [p.name.split("_")[0] for p in call.kernel.parts]


def test_nothing_is_copied_from_step_to_step() -> None:
    """States are written in place, parts of a concat where they belong, old states handed on before that."""

    def keeping(b: Builder, h: Node, c: Node, w: Node, x: Node, mask: Node) -> Sequence[Node]:
        return [*lstm(b, h, c, w, x, mask)[:2], h, c]

    assert set(inside(compile_graph(scan_graph(keeping, 32, 160)))) == {"dot", "map"}
    assert set(inside(compile_graph(scan_graph(backwards, 32, 160)))) == {"dot", "map"}


def test_weights_are_turned_before_the_loop() -> None:
    graph = scan_graph(backwards, 32, 160)
    assert [i.kernel.name for i in compile_graph(graph).instructions if isinstance(i, Call)].count("copy") == 3
    product = next(p for p in loops(compile_graph(graph))[0].kernel.parts if p.name.startswith("dot"))
    assert "broadcast" in product.source  # not sums along the memory of both operands


def test_a_loop_in_a_loop_is_one_kernel() -> None:
    inner = Builder()
    state, weights = TensorType((4, UNITS), "float32"), TensorType((UNITS, UNITS), "float32")
    h, w = inner.input(state, "h"), inner.input(weights, "w")
    step = Graph([h, w], [inner.tanh(dot(inner, h, w))])
    middle = Builder()
    inputs = [middle.input(t, "i") for t in (state, weights, state)]
    start = middle.add(inputs[0], inputs[2])
    scan = middle.scan(start, inputs[1], body=step, carries=1, consts=1, length=3, reverse=False)
    last = middle.item(scan, 0)
    body = Graph(inputs, [last, middle.mul(last, last)])
    b = Builder()
    outer = [b.input(t, "o") for t in (state, weights, state.with_shape((5, 4, UNITS)))]
    both = b.scan(*outer, body=body, carries=1, consts=1, length=5, reverse=False)
    graph = Graph(outer, [b.item(both, 0), b.item(both, 1)])
    program = compile_graph(graph)
    check(graph, program, 2e-5)
    (call,) = loops(program)
    assert any(p.parts for p in call.kernel.parts) and len(call.kernel.sources) > len(call.kernel.parts)


@pytest.mark.parametrize(
    ("rows", "shared", "shares", "expected"),
    [
        (32, 1 << 18, True, 8),
        (64, 1 << 18, True, 16),
        (1024, 1 << 18, True, 64),
        (15, 1 << 16, False, 8),
        (8, 1 << 16, False, 0),  # twice four rows read the weights twice and gain nothing
        (8, 0, False, 2),
        (32, vectors().l2, True, 16),
        (32, 4 * vectors().l2, True, 0),  # threads that share each product read the weights once
        (256, 4 * vectors().l2, True, 64),
    ],
)
def test_rows_of_an_item(rows: int, shared: int, shares: bool, expected: int) -> None:
    assert row_loop._rows_of_item(rows, shared, shares) == expected
