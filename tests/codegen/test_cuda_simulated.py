"""Kernels lowered for CUDA, run by the simulator, against the interpreter: values, races, wild addresses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphkeras.codegen.claims import Claims
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.codegen.lower import can_lower
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.op import Op, Sample
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import is_float, is_inexact
from tests.codegen.cuda_harness import simulate
from tests.codegen.test_compiled_ops import CASES, _types, items
from tests.ir.test_ops import build, draw


def check(graph: Graph, arrays: Sequence[np.ndarray], tolerance: float) -> None:
    if any(t.dtype.startswith("complex") for n in graph.nodes for t in _types(n)):
        pytest.skip("complex numbers run in the interpreter")
    graph = optimise(graph, Claims(CUDA))
    alien = can_lower(graph, CUDA)
    if alien is not None:
        pytest.skip(f"no CUDA kernel for {alien.op}")
    for got, want in zip(simulate(graph, arrays), evaluate(graph, arrays), strict=True):
        if is_inexact(want.dtype.name):
            wide = want.astype(np.float64)
            scale = np.abs(wide[np.isfinite(wide)]).max(initial=1e-3)
            eps = {"float16": 2e-3, "bfloat16": 2e-2}.get(want.dtype.name, tolerance)
            np.testing.assert_allclose(got.astype(np.float64), wide, rtol=eps, atol=eps * scale)
        else:
            np.testing.assert_array_equal(got, want)


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
    outputs = [g for g in gradients(b, results, [inputs[i] for i in wanted]) if g is not None]
    if not outputs:
        pytest.skip("the gradient is zero")
    check(Graph(inputs, outputs), arrays, max(op.tolerance, 2e-6) * 20)
