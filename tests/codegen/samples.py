"""The samples of all op records as graphs of values and of gradients, for tests of every target."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from graphkeras.codegen.claims import Claims
from graphkeras.codegen.lower import can_lower
from graphkeras.codegen.target import Target
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.op import Op, Sample, all_ops
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, is_float, is_inexact
from tests.ir.test_ops import build, draw

Arrays = Sequence[np.ndarray]
OPS = sorted(all_ops(), key=lambda op: op.name)
CASES = [pytest.param(op, s, id=f"{op.name}-{i}") for op in OPS for i, s in enumerate(op.samples)]
DERIVED = [c for c in CASES if c.values[0].vjp or c.values[0].decompose]
INTERPRETED = frozenset(
    "cholesky qr svd eigh eig lu inv solve solve_triangular det slogdet lstsq fft ifft rfft irfft fft2 ifft2".split()
)
"""Ops that no target has kernels for, by design; complex numbers neither."""


def items(b: Builder, node: Node) -> list[Node]:
    return [b.item(node, i) for i in range(len(node.type))] if isinstance(node.type, tuple) else [node]


def types_of(node: Node) -> tuple[TensorType, ...]:
    return node.type if isinstance(node.type, tuple) else (node.type,)


def value_graph(op: Op, sample: Sample) -> tuple[Graph, Arrays, float]:
    """(graph, its inputs, tolerance)."""
    arrays = draw(op, sample)
    b, inputs, node = build(op, sample, arrays)
    return Graph(inputs, items(b, node)), arrays, max(op.tolerance, 2e-6) * 4


def gradient_graph(op: Op, sample: Sample) -> tuple[Graph, Arrays, float]:
    """The same of all gradients of the sample; skips where there is none."""
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
    return Graph(inputs, outputs), arrays, max(op.tolerance, 2e-6) * 20


def check(run: Callable[[Graph, Arrays], Sequence[np.ndarray]], graph: Graph, arrays: Arrays, tolerance: float) -> None:
    """What `run` gives is what the interpreter gives."""
    for got, want in zip(run(graph, arrays), evaluate(graph, arrays), strict=True):
        if is_inexact(want.dtype.name):
            wide = want.astype(np.float64)
            scale = np.abs(wide[np.isfinite(wide)]).max(initial=1e-3)
            eps = {"float16": 2e-3, "bfloat16": 2e-2}.get(want.dtype.name, tolerance)
            np.testing.assert_allclose(got.astype(np.float64), wide, rtol=eps, atol=eps * scale)
        else:
            np.testing.assert_array_equal(got, want)


def optimised_for(graph: Graph, target: Target) -> Graph:
    """The graph as `target` gets it; skips what is interpreted by design and fails where a template is missing."""
    if any(t.dtype.startswith("complex") for n in graph.nodes for t in types_of(n)):
        pytest.skip("complex numbers run in the interpreter")
    graph = optimise(graph, Claims(target))
    alien = can_lower(graph, target)
    if alien is not None:
        assert alien.op in INTERPRETED, f"{target.name} has no kernel for {alien.op}"
        pytest.skip(f"{alien.op} runs in the interpreter")
    return graph
