"""Every op record and its gradient, compiled for the GPU and run there, against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.codegen.lower import can_lower
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.op import Op, Sample
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, is_float, is_inexact, numpy_dtype
from tests.codegen.test_compiled_ops import CASES, _types, items
from tests.ir.test_ops import build, draw


def run(graph: Graph, arrays: Sequence[np.ndarray], device_name: str) -> list[np.ndarray]:
    with devices.using(device_name):
        program = compile_graph(graph, target=CUDA)
    results = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    program.bind([np.array(a, order="C") for a in arrays], results)
    program.run()
    return results


def check(graph: Graph, arrays: Sequence[np.ndarray], tolerance: float, device_name: str) -> None:
    if any(t.dtype.startswith("complex") for n in graph.nodes for t in _types(n)):
        pytest.skip("complex numbers run in the interpreter")
    alien = can_lower(optimise(graph), CUDA)
    if alien is not None:
        pytest.skip(f"no CUDA kernel for {alien.op}")
    for got, want in zip(run(graph, arrays, device_name), evaluate(graph, arrays), strict=True):
        if is_inexact(want.dtype.name):
            wide = want.astype(np.float64)
            scale = np.abs(wide[np.isfinite(wide)]).max(initial=1e-3)
            eps = {"float16": 2e-3, "bfloat16": 2e-2}.get(want.dtype.name, tolerance)
            np.testing.assert_allclose(got.astype(np.float64), wide, rtol=eps, atol=eps * scale)
        else:
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("op, sample", CASES)
def test_value(op: Op, sample: Sample, device_name: str) -> None:
    arrays = draw(op, sample)
    b, inputs, node = build(op, sample, arrays)
    check(Graph(inputs, items(b, node)), arrays, max(op.tolerance, 2e-6) * 4, device_name)


@pytest.mark.parametrize("op, sample", [c for c in CASES if c.values[0].vjp or c.values[0].decompose])
def test_gradient_graph(op: Op, sample: Sample, device_name: str) -> None:
    arrays = draw(op, sample)
    wanted = [i for i, a in enumerate(arrays) if is_float(a.dtype.name)]
    if not wanted or not sample.differentiable:
        pytest.skip("no float input")
    b, inputs, node = build(op, sample, arrays)
    results = [r for r in items(b, node) if is_float(r.dtype)]
    outputs = [g for g in gradients(b, results, [inputs[i] for i in wanted]) if g is not None] if results else []
    if not outputs:
        pytest.skip("the gradient is zero")
    check(Graph(inputs, outputs), arrays, max(op.tolerance, 2e-6) * 20, device_name)


@pytest.mark.parametrize("shape", [(3, 70_000), (70_000, 3), (1000, 1000), (1, 1_000_003), (257, 4096)])
def test_reductions_of_awkward_sizes(shape: tuple[int, int], device_name: str) -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.input(TensorType(shape, "float32"), "x")
    outputs = [b.reduce_sum(x, axes=a, keepdims=False) for a in ((0,), (1,), (0, 1))] + [b.softmax(x, axis=1)]
    graph = Graph([x], [*outputs, b.argmax(x, axis=1), b.argmax(x, axis=0)])
    array = rng.standard_normal(shape).astype(np.float32)
    first = run(graph, [array], device_name)
    wide = array.astype(np.float64)
    for got, want in zip(first, (wide.sum(0), wide.sum(1), wide.sum()), strict=False):
        np.testing.assert_allclose(got, want, atol=1e-5 * np.sqrt(wide.size), rtol=1e-5)
    np.testing.assert_array_equal(first[4], array.argmax(1))
    np.testing.assert_array_equal(first[5], array.argmax(0))
    for a, again in zip(first, run(graph, [array], device_name), strict=True):
        np.testing.assert_array_equal(a, again)  # the same bits in every run
