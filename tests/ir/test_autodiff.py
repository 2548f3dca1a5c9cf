"""The gradient transformation itself: sums, un-broadcasting, stops, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.ir.autodiff import GradientError, gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType
from tests.ir.test_ops import check_gradient


def start(*shapes: tuple[int, ...], dtype: str = "float64") -> tuple[Builder, list[Node]]:
    b = Builder()
    return b, [b.input(TensorType(s, dtype), f"x{i}") for i, s in enumerate(shapes)]


def run(inputs: list[Node], outputs: list[Node | None], *arrays: np.ndarray) -> list[np.ndarray]:
    return evaluate(Graph(inputs, [o for o in outputs if o is not None]), list(arrays))


def test_two_uses_add_up() -> None:
    b, (x,) = start((3,))
    (grad,) = gradients(b, [b.add(b.mul(x, x), b.mul(x, 3.0))], [x])
    value = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(run([x], [grad], value)[0], 2 * value + 3)


def test_broadcast_inputs_get_their_own_shape() -> None:
    b, (x, y) = start((2, 3), (3, 1, 1))
    grads = gradients(b, [b.mul(x, y)], [x, y])
    assert [g.shape for g in grads if g is not None] == [(2, 3), (3, 1, 1)]
    check_gradient([np.ones((2, 3)), np.ones((3, 1, 1))], lambda b, xs: b.mul(*xs), [0, 1])


def test_no_path_gives_none() -> None:
    b, (x, y) = start((2,), (2,))
    assert gradients(b, [b.exp(x)], [x, y])[1] is None
    assert gradients(b, [b.exp(b.stop_gradient(x))], [x]) == [None]
    assert gradients(b, [b.cast(x, dtype="int32")], [x]) == [None]


def test_gradient_of_the_input_itself() -> None:
    b, (x,) = start((2,))
    (grad,) = gradients(b, [x], [x])
    np.testing.assert_array_equal(run([x], [grad], np.zeros(2))[0], [1, 1])


def test_partial_treats_targets_as_independent() -> None:
    b, (x,) = start(())
    y = b.mul(x, x)
    out = b.mul(x, y)
    full = gradients(b, [out], [x, y])
    partial = gradients(b, [out], [x, y], partial=True)
    value = np.array(3.0)
    assert [float(v) for v in run([x], full, value)] == [27.0, 3.0]
    assert [float(v) for v in run([x], partial, value)] == [9.0, 3.0]


def test_third_derivative() -> None:
    b, (x,) = start(())
    node = b.mul(b.mul(x, x), b.mul(x, x))
    for _ in range(3):
        node = gradients(b, [node], [x])[0]
    assert float(run([x], [node], np.array(2.0))[0]) == 48.0


def test_results_of_several_outputs() -> None:
    b, (x,) = start((4,))
    node = b.top_k(x, k=2)
    (grad,) = gradients(b, [b.mul(b.item(node, 0), 2.0)], [x])
    np.testing.assert_array_equal(run([x], [grad], np.array([1.0, 4.0, 2.0, 3.0]))[0], [0, 2, 0, 2])


def test_missing_gradient_names_the_op() -> None:
    b, (x,) = start((2, 2))
    with pytest.raises(GradientError, match="'eig'"):
        gradients(b, [b.item(b.eig(x), 0)], [x])


def test_mixed_precision_casts_back() -> None:
    b, (x,) = start((3,), dtype="float32")
    half = b.cast(x, dtype="bfloat16")
    (grad,) = gradients(b, [b.mul(half, half)], [x])
    assert grad is not None and grad.dtype == "float32"


def test_pow_at_zero_has_no_nan() -> None:
    b, (x, y) = start((2,), (2,))
    grads = gradients(b, [b.pow(x, y)], [x, y])
    by_x, by_y = run([x, y], list(grads), np.array([0.0, 0.0]), np.array([0.0, 2.0]))
    np.testing.assert_array_equal(by_x, [0, 0])
    np.testing.assert_array_equal(by_y, [0, 0])


def test_product_through_zeros() -> None:
    x = np.array([2.0, 0.0, 3.0])
    for values in (x, np.array([0.0, 0.0, 3.0])):
        check_gradient([values], lambda b, xs: b.reduce_prod(xs[0], axes=(0,), keepdims=False), [0])
        check_gradient([values], lambda b, xs: b.cumulative(xs[0], axis=0, combine="prod", reverse=False), [0])


def test_repeated_index_set_sends_the_gradient_to_the_last() -> None:
    b, (x, u) = start((3,), (2,))
    index = b.const(np.array([1, 1]), "int32")
    grads = gradients(b, [b.scatter(x, index, u, axis=0, combine="set")], [x, u])
    by_x, by_u = run([x, u], list(grads), np.zeros(3), np.ones(2))
    np.testing.assert_array_equal(by_x, [1, 0, 1])
    np.testing.assert_array_equal(by_u, [0, 1])


def test_an_input_given_twice_to_a_composite_counts_once() -> None:
    """attention(q, v, v): the gradient of v is the sum over both roles, not twice that sum."""
    b = Builder()
    q = b.input(TensorType((2, 3, 2, 4), "float64"), "q")
    v = b.input(TensorType((2, 5, 2, 4), "float64"), "v")
    k = b.input(TensorType((2, 5, 2, 4), "float64"), "k")
    attrs = {"scale": 0.5, "causal": False, "window": 0, "rate": 0.0}
    shared = b.item(b.attention(q, v, v, **attrs), 0)
    apart = b.item(b.attention(q, k, v, **attrs), 0)
    (both,) = gradients(b, [shared], [v])
    by_k, by_v = gradients(b, [apart], [k, v])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 2, 4)), rng.normal(size=(2, 5, 2, 4))
    (got,) = evaluate(Graph([q, v], [both]), [x, y])
    want = sum(evaluate(Graph([q, v, k], [by_k, by_v]), [x, y, y]))
    np.testing.assert_allclose(got, want, rtol=1e-10)
