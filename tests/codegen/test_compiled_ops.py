"""Every op record, compiled, against the interpreter: values, and the gradient's graph as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.target import CPU
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Op, Sample
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.samples import CASES, DERIVED, OPS, check, gradient_graph, items, optimised_for, value_graph
from tests.ir.test_ops import build, draw


def run_compiled(graph: Graph, arrays: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
    program = compile_graph(graph)
    results = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    program.bind([np.array(a, order="C") for a in arrays], results)
    program.run(1, threads=threads)
    return results


@pytest.mark.parametrize("op, sample", CASES)
def test_value(op: Op, sample: Sample) -> None:
    graph, arrays, tolerance = value_graph(op, sample)
    optimised_for(graph, CPU)
    check(run_compiled, graph, arrays, tolerance)


@pytest.mark.parametrize("op, sample", DERIVED)
def test_gradient_graph(op: Op, sample: Sample) -> None:
    graph, arrays, tolerance = gradient_graph(op, sample)
    optimised_for(graph, CPU)
    check(run_compiled, graph, arrays, tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["add", "exp", "tanh", "reduce_sum", "softmax", "dot_general", "sigmoid", "sqrt"])
def test_dtypes(name: str, dtype: str) -> None:
    op = next(o for o in OPS if o.name == name)
    arrays = draw(op, op.samples[0], dtype)
    b, inputs, node = build(op, op.samples[0], arrays)
    check(run_compiled, Graph(inputs, items(b, node)), arrays, 1e-12)


# -- structure: kernels per pattern --------------------------------------------------------------------
def kernels_of(make: Callable[..., list[Node]], *shapes: tuple[int, ...]) -> list[str]:
    b = Builder()
    inputs = [b.input(TensorType(s, "float32"), f"x{i}") for i, s in enumerate(shapes)]
    return [k.name for k in compile_graph(Graph(inputs, make(b, *inputs))).kernels]


def _layer_norm(b: Builder, x: Node, gamma: Node, beta: Node) -> Node:
    return b.layer_norm(x, gamma, beta, axis=(1,), epsilon=1e-5)


def test_softmax_is_one_kernel() -> None:
    assert len(kernels_of(lambda b, x: [b.softmax(x, axis=1)], (32, 100))) == 1


def test_layer_norm_is_one_kernel() -> None:
    assert len(kernels_of(lambda b, x, g, c: [_layer_norm(b, x, g, c)], (32, 64), (64,), (64,))) == 1


def test_dense_with_bias_and_activation_is_one_kernel() -> None:
    def dense(b: Builder, x: Node, w: Node, c: Node) -> list[Node]:
        return [b.relu(b.add(b.dot_general(x, w, contract=((1,), (0,)), batch=((), ())), c))]

    assert len(kernels_of(dense, (32, 64), (64, 48), (48,))) == 1


def test_updates_of_all_weights_are_one_kernel() -> None:
    def step(b: Builder, *xs: Node) -> list[Node]:
        return [b.sub(w, b.mul(g, 0.1)) for w, g in zip(xs[::2], xs[1::2], strict=True)]

    assert len(kernels_of(step, (64, 48), (64, 48), (48,), (48,), (5, 5, 3), (5, 5, 3))) == 1


def test_same_bits_for_any_number_of_threads() -> None:
    b = Builder()
    x = b.input(TensorType((300, 257), "float32"), "x")
    w = b.input(TensorType((257, 130), "float32"), "w")
    y = b.relu(b.dot_general(x, w, contract=((1,), (0,)), batch=((), ())))
    outputs = [
        b.reduce_sum(y, axes=(0,), keepdims=False),
        b.reduce_sum(y, axes=(0, 1), keepdims=False),
        b.softmax(y, axis=1),
    ]
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=n.shape).astype(np.float32) for n in (x, w)]
    graph = Graph([x, w], outputs)
    for one, two in zip(run_compiled(graph, arrays, 1), run_compiled(graph, arrays, 2), strict=True):
        np.testing.assert_array_equal(one, two)
