"""Every op record and its gradient, compiled for the GPU and run there, against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.op import Op, Sample
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.samples import CASES, DERIVED, check, gradient_graph, optimised_for, value_graph


def run(graph: Graph, arrays: Sequence[np.ndarray], device_name: str) -> list[np.ndarray]:
    with devices.using(device_name) as device:
        program = compile_graph(graph, target=device.target)
    results = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    program.bind([np.array(a, order="C") for a in arrays], results)
    program.run()
    return results


@pytest.mark.parametrize("op, sample", CASES)
def test_value(op: Op, sample: Sample, device_name: str) -> None:
    graph, arrays, tolerance = value_graph(op, sample)
    optimised_for(graph, CUDA)
    check(lambda g, given: run(g, given, device_name), graph, arrays, tolerance)


@pytest.mark.parametrize("op, sample", DERIVED)
def test_gradient_graph(op: Op, sample: Sample, device_name: str) -> None:
    graph, arrays, tolerance = gradient_graph(op, sample)
    optimised_for(graph, CUDA)
    check(lambda g, given: run(g, given, device_name), graph, arrays, tolerance)


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
