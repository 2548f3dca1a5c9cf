"""Evaluation of graphs by the references."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType


def small() -> tuple[Graph, np.ndarray]:
    b = Builder()
    x = b.input(TensorType((3,), "float32"), "x")
    return Graph([x], [b.add(b.mul(x, 0.1), 1e-4), x]), np.array([1, 2, 3], np.float32)


def test_values_and_dtypes() -> None:
    graph, x = small()
    y, same = evaluate(graph, [x])
    np.testing.assert_allclose(y, x * np.float32(0.1) + np.float32(1e-4))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(same, x)


def test_float64_mode() -> None:
    graph, x = small()
    y, _ = evaluate(graph, [x], float64=True)
    assert y.dtype == np.float64


def test_wrong_inputs() -> None:
    graph, x = small()
    with pytest.raises(ValueError, match="takes 1 inputs, received 2"):
        evaluate(graph, [x, x])
    with pytest.raises(ValueError, match=r"expects float32\[3\]"):
        evaluate(graph, [np.zeros(4, np.float32)])


def test_half_results_are_rounded() -> None:
    b = Builder()
    x = b.input(TensorType((2,), "float16"), "x")
    graph = Graph([x], [b.reduce_sum(b.exp(x), axes=(0,), keepdims=False)])
    (y,) = evaluate(graph, [np.array([0.1, 0.2], np.float16)])
    assert y.dtype == np.float16
    assert abs(float(y) - (np.exp(0.1) + np.exp(0.2))) < 3e-3


def test_same_expression_is_one_node() -> None:
    b = Builder()
    x = b.input(TensorType((2,), "float32"), "x")
    assert b.add(x, 1.0) is b.add(x, 1.0)
    assert b.add(x, 0.0) is not b.add(x, -0.0)
