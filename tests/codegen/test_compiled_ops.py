"""Every op record, compiled, against the interpreter: values, and the gradient's graph as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.lower import can_lower
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.op import Op, Sample, all_ops
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, is_float, is_inexact, numpy_dtype
from tests.ir.test_ops import build, draw

NOT_NATIVE = "linear algebra, FFT and complex numbers run in the interpreter"
OPS = sorted(all_ops(), key=lambda op: op.name)
CASES = [pytest.param(op, s, id=f"{op.name}-{i}") for op in OPS for i, s in enumerate(op.samples)]


def run_compiled(graph: Graph, arrays: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
    program = compile_graph(graph)
    results = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    program.bind([np.array(a, order="C") for a in arrays], results)
    program.run(1, threads=threads)
    return results


def items(b: Builder, node: Node) -> list[Node]:
    return [b.item(node, i) for i in range(len(node.type))] if isinstance(node.type, tuple) else [node]


def check(graph: Graph, arrays: Sequence[np.ndarray], tolerance: float) -> None:
    if (
        any(t.dtype.startswith("complex") for n in graph.nodes for t in _types(n))
        or can_lower(optimise(graph)) is not None
    ):
        pytest.skip(NOT_NATIVE)
    expected = evaluate(graph, arrays)
    for got, want in zip(run_compiled(graph, arrays), expected, strict=True):
        if is_inexact(want.dtype.name):
            wide = want.astype(np.float64)
            scale = np.abs(wide[np.isfinite(wide)]).max(initial=1e-3)
            eps = {"float16": 2e-3, "bfloat16": 2e-2}.get(want.dtype.name, tolerance)
            np.testing.assert_allclose(got.astype(np.float64), wide, rtol=eps, atol=eps * scale)
        else:
            np.testing.assert_array_equal(got, want)


def _types(node: Node) -> tuple[TensorType, ...]:
    return node.type if isinstance(node.type, tuple) else (node.type,)


@pytest.mark.parametrize("op, sample", CASES)
def test_value(op: Op, sample: Sample) -> None:
    arrays = draw(op, sample)
    b, inputs, node = build(op, sample, arrays)
    check(Graph(inputs, items(b, node)), arrays, max(op.tolerance, 2e-6) * 4)


@pytest.mark.parametrize("op, sample", [c for c in CASES if c.values[0].vjp or c.values[0].decompose])
def test_gradient_graph(op: Op, sample: Sample) -> None:
    arrays = draw(op, sample)
    wanted = [i for i, a in enumerate(arrays) if is_float(a.dtype.name)]
    if not wanted or not sample.differentiable:
        pytest.skip("no float input")
    b, inputs, node = build(op, sample, arrays)
    results = [r for r in items(b, node) if is_float(r.dtype)]
    if not results:
        pytest.skip("no float result")
    found = gradients(b, results, [inputs[i] for i in wanted])
    outputs = [g for g in found if g is not None]
    if not outputs:
        pytest.skip("the gradient is zero")
    check(Graph(inputs, outputs), arrays, max(op.tolerance, 2e-6) * 20)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["add", "exp", "tanh", "reduce_sum", "softmax", "dot_general", "sigmoid", "sqrt"])
def test_dtypes(name: str, dtype: str) -> None:
    op = next(o for o in OPS if o.name == name)
    arrays = draw(op, op.samples[0], dtype)
    b, inputs, node = build(op, op.samples[0], arrays)
    check(Graph(inputs, items(b, node)), arrays, 1e-12)


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
