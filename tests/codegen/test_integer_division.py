"""Integer mod and floor_div of negative numbers, several in one kernel: widened division once got them wrong."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType


@pytest.mark.parametrize("dtype", ["int32", "int64", "int8"])
@pytest.mark.parametrize("divisor", [3, -3, 7])
def test_many_in_one_kernel(dtype: str, divisor: int) -> None:
    b = Builder()
    x = b.input(TensorType((40, 9), "float32"), "x")
    y = b.input(TensorType((40, 9), "float32"), "y")
    outputs = []
    for place in (b.floor(x), b.add(b.floor(x), 1.0)):
        for other in (b.floor(y), b.add(b.floor(y), 1.0)):
            i, j = b.cast(place, dtype=dtype), b.cast(other, dtype=dtype)
            outputs.append(b.add(b.mul(b.mod(i, divisor), 5), b.mod(j, divisor)))
            outputs.append(b.sub(b.floor_div(i, divisor), b.rem(j, divisor)))
            outputs.append(b.mul(b.sub(x, place), b.sub(y, other)))
    graph = Graph([x, y], outputs)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-9, 9, (40, 9)).astype(np.float32) for _ in range(2)]
    program = compile_graph(graph)
    results = [np.empty(o.type.shape, o.dtype) for o in outputs]
    program.bind(arrays, results)
    program.run()
    for got, want in zip(results, evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
