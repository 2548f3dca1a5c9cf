"""Passes over loops."""

from __future__ import annotations

import numpy as np

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.passes.loops import merge_loops, prune_loops
from graphkeras.ir.types import TensorType
from tests.ir.test_control import growth, rnn, rnn_arrays


def gradient_graph() -> tuple[Graph, list[np.ndarray]]:
    arrays = rnn_arrays()
    b = Builder()
    inputs = [b.input(TensorType(a.shape, "float64"), f"x{i}") for i, a in enumerate(arrays)]
    node = rnn(False)(b, inputs)
    loss = b.reduce_sum(b.item(node, 2), axes=(0, 1, 2), keepdims=False)
    grads = [g for g in gradients(b, [loss], inputs) if g is not None]
    return Graph(inputs, [loss, *grads]), arrays


def scans(graph: Graph) -> list:
    return [n for n in graph.nodes if n.op == "scan"]


def test_forward_runs_once() -> None:
    graph, arrays = gradient_graph()
    merged = merge_loops(graph)
    assert len(scans(graph)) == 3 and len(scans(merged)) == 2
    for got, want in zip(evaluate(merged, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_unread_results_go() -> None:
    graph, arrays = gradient_graph()
    merged = merge_loops(graph)
    pruned = prune_loops(merged)
    before, after = scans(merged)[0], scans(pruned)[0]
    assert len(after.type) < len(before.type)
    assert all(t.dtype == "float64" for t in after.type)  # the step counter is gone
    for got, want in zip(evaluate(pruned, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_nothing_to_do_keeps_the_graph() -> None:
    b = Builder()
    x = b.input(TensorType((2,), "float64"), "x")
    graph = Graph([x], [b.exp(x)])
    assert merge_loops(graph) is graph and prune_loops(graph) is graph


def test_a_while_loop_runs_forward_once() -> None:
    arrays = [np.random.default_rng(0).uniform(-1, 1, s) for s in ((2, 3), (3,))]
    b = Builder()
    inputs = [b.input(TensorType(a.shape, "float64"), f"x{i}") for i, a in enumerate(arrays)]
    loss = b.reduce_sum(growth(b, inputs, 5), axes=(0, 1), keepdims=False)
    grad = gradients(b, [loss], inputs)[0]
    assert grad is not None
    graph = Graph(inputs, [loss, grad])
    merged = prune_loops(merge_loops(graph))

    def loops(graph: Graph) -> list:
        return [n for n in graph.nodes if n.op == "while"]

    assert len(loops(graph)) == 3 and len(loops(merged)) == 2
    back = loops(merged)[-1]
    assert len(back.type) < len(loops(graph)[-1].type)  # the sum for w, which nobody reads, is gone
    for got, want in zip(evaluate(merged, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
