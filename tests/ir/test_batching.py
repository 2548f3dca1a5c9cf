"""One sample's graph on many samples gives what it gives for each of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphkeras.ir.batching import LOOPED, batch
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.op import Op, Sample, all_ops
from graphkeras.ir.types import TensorType, type_of
from tests.ir.test_control import collatz, growth, rnn, rnn_arrays, trace
from tests.ir.test_ops import build, draw

COUNT = 3
CASES = [(op, s) for op in all_ops() for s in op.samples if op.samples]


def check(graph: Graph, rows: list[list[np.ndarray]], batched: list[bool], tolerance: float) -> Graph:
    """Batched results against those of each row alone; inputs that are not batched are the first row's."""
    b = Builder()
    arrays = [np.stack(row) if flag else row[0] for row, flag in zip(rows, batched, strict=True)]
    inputs = [b.input(type_of(a), f"x{i}") for i, a in enumerate(arrays)]
    made = Graph(inputs, batch(b, graph, inputs, batched, COUNT))
    found = evaluate(made, arrays)
    for k in range(COUNT):
        wanted = evaluate(graph, [row[k] if flag else row[0] for row, flag in zip(rows, batched, strict=True)])
        for got, want in zip(found, wanted, strict=True):
            assert got.dtype == want.dtype and got.shape[1:] == want.shape
            np.testing.assert_allclose(
                got[k].astype("complex128"), want.astype("complex128"), rtol=tolerance, atol=tolerance
            )
    return made


def loops(graph: Graph) -> list[str]:
    return [n.attrs["body"].name for n in graph.nodes if n.op == "scan"]


@pytest.mark.parametrize(("op", "sample"), CASES, ids=lambda x: x.name if isinstance(x, Op) else "")
def test_every_op(op: Op, sample: Sample) -> None:
    first = draw(op, sample)
    rows = [[np.roll(a, k) for k in range(COUNT)] if a.ndim else [a] * COUNT for a in first]
    if op.name in ("cholesky", "eigh", "solve_triangular"):  # which want special matrices
        rows = [[a] * COUNT for a in first]
    builder, inputs, node = build(op, sample, first)
    outputs = [builder.item(node, i) for i in range(len(node.type))] if isinstance(node.type, tuple) else [node]
    graph = Graph(inputs, outputs)
    for batched in itertools.product([False, True], repeat=len(first)):
        if any(batched) and len(first) <= 4:
            check(graph, rows, list(batched), max(op.tolerance, 1e-5))


def test_only_what_depends_on_the_samples_is_batched() -> None:
    b = Builder()
    w, x = (b.input(TensorType((3, 3), "float32"), n) for n in "wx")
    graph = Graph([w, x], [b.dot_general(x, b.exp(w), contract=((1,), (0,)), batch=((), ()))])
    rows = [[np.full((3, 3), k, np.float32) for k in range(COUNT)] for _ in range(2)]
    made = check(graph, rows, [False, True], 1e-6)
    assert [n.shape for n in made.nodes if n.op == "exp"] == [(3, 3)] and not loops(made)


@pytest.mark.parametrize(
    "batched", [[True] * 5, [False, False, False, False, True], [True, False, False, False, False]]
)
def test_scan(batched: list[bool]) -> None:
    inner = Builder()
    arrays = rnn_arrays()
    inputs = [inner.input(TensorType(a.shape, "float64"), f"x{i}") for i, a in enumerate(arrays)]
    node = rnn(True)(inner, inputs)
    graph = Graph(inputs, [inner.item(node, i) for i in range(3)])
    made = check(graph, [[a * (k + 1) / 2 for k in range(COUNT)] for a in arrays], batched, 1e-12)
    assert len(loops(made)) == 1 and LOOPED not in loops(made)[0]


def test_while_runs_until_the_last_sample_is_done() -> None:
    inner = Builder()
    n = inner.input(TensorType((), "int32"), "n")
    loop = collatz(inner)
    table = {loop.inputs[0]: n, loop.inputs[1]: loop.inputs[1]}
    node = inner.copy_node(loop, [table[i] for i in loop.inputs])
    graph = Graph([n], [inner.item(node, 0), inner.item(node, 1)])
    check(graph, [[np.array(k, np.int32) for k in (6, 1, 7)]], [True], 0)


def test_a_loop_with_constants() -> None:
    inner = Builder()
    inputs = [inner.input(TensorType(s, "float64"), "x") for s in ((2, 3), (3,))]
    graph = Graph(inputs, [growth(inner, inputs, 4)])
    rows = [[np.random.default_rng(k).normal(size=i.shape) for k in range(COUNT)] for i in inputs]
    for batched in ([True, False], [False, True], [True, True]):
        check(graph, rows, batched, 1e-12)


@pytest.mark.parametrize("batched", [[True, False], [False, True], [True, True]])
def test_branches(batched: list[bool]) -> None:
    vector = TensorType((2,), "float64")

    def ways(b: Builder, x: Node) -> list[list[Node]]:
        return [[b.sin(x), x], [b.mul(x, x), b.neg(x)], [b.exp(x), b.mul(x, 3.0)]]

    branches = tuple(trace(lambda b, x, k=k: ways(b, x)[k], vector) for k in range(3))
    inner = Builder()
    index, x = inner.input(TensorType((), "int32"), "i"), inner.input(vector, "x")
    node = inner.cond(index, x, branches=branches)
    graph = Graph([index, x], [inner.item(node, 0), inner.item(node, 1)])
    rows = [[np.array(k, np.int32) for k in (-1, 1, 5)], [np.full(2, k / 2) for k in range(COUNT)]]
    check(graph, rows, batched, 1e-12)
