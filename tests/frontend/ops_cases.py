"""Helpers of the op tests: one function run eagerly, traced, and on symbolic tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import type_of


def traced(fn: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """fn's result when its arguments are traced, computed by the interpreter from the recorded graph."""
    with Trace() as trace:
        result = fn(*(trace.input(type_of(a)) for a in arrays))
        graph = trace.finish(tree.flatten(result))
    values = evaluate(graph, arrays)
    return tree.pack_sequence_as(result, values)


def gradient(fn: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """Gradients of the sum of fn's result with respect to all arguments."""
    with Trace() as trace:
        inputs = [trace.input(type_of(a)) for a in arrays]
        out = fn(*inputs)
        found = gradients(trace.builder, [out.data], [t.data for t in inputs])
        graph = trace.finish([Tensor(g, trace) for g in found])
    return evaluate(graph, arrays)


def check(fn: Callable[..., Any], expected: Any, *arrays: np.ndarray, tol: float = 1e-5, symbolic: bool = True) -> None:
    """Eager and traced runs give the expected values; shapes and dtypes of symbolic results are the same.

    symbolic=False: fn's inner functions close over its arguments, which symbolic tensors do not allow.
    """
    eager = tree.flatten(fn(*arrays))
    graph = tree.flatten(traced(fn, *arrays))
    specs = tree.flatten(fn(*(KerasTensor(a.shape, a.dtype.name) for a in arrays))) if symbolic else graph
    results = expected if len(eager) > 1 else [expected]
    for e, g, s, want in zip(eager, graph, specs, results, strict=True):
        want = np.asarray(want)
        assert e.shape == want.shape == g.shape == tuple(s.shape), (e.shape, want.shape, g.shape, s.shape)
        assert e.dtype == g.dtype.name == str(s.dtype)
        np.testing.assert_allclose(np.asarray(e).astype("float64"), want.astype("float64"), rtol=tol, atol=tol)
        np.testing.assert_allclose(g.astype("float64"), np.asarray(e).astype("float64"), rtol=tol, atol=tol)


def numeric_gradient(fn: Callable[..., Any], *arrays: np.ndarray, h: float = 1e-5) -> list[np.ndarray]:
    """Central differences in float64."""
    wide = [a.astype("float64") for a in arrays]
    found = []
    for i, a in enumerate(wide):
        slopes = np.zeros_like(a)
        for place in np.ndindex(a.shape):
            ends = []
            for step in (h, -h):
                moved = [w.copy() for w in wide]
                moved[i][place] += step
                ends.append(float(np.sum(np.asarray(fn(*(Tensor(m) for m in moved))))))
            slopes[place] = (ends[0] - ends[1]) / (2 * h)
        found.append(slopes)
    return found
