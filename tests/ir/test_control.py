"""scan, while and cond: results, gradients, and gradients of gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.ops import while_gradient
from graphkeras.ir.types import TensorType
from tests.ir.test_ops import check_gradient

BATCH, UNITS, STEPS = 3, 4, 5


def f64(*shape: int) -> TensorType:
    return TensorType(shape, "float64")


def trace(fn: Callable[..., list[Node]], *types: TensorType) -> Graph:
    b = Builder()
    inputs = [b.input(t, f"a{i}") for i, t in enumerate(types)]
    return Graph(inputs, fn(b, *inputs))


def dot(b: Builder, x: Node, w: Node) -> Node:
    return b.dot_general(x, w, contract=((1,), (0,)), batch=((), ()))


def rnn_body(b: Builder, h: Node, n: Node, w: Node, bias: Node, mask: Node, x: Node) -> list[Node]:
    new = b.mul(b.tanh(b.add(b.add(dot(b, h, w), x), bias)), mask)
    return [new, b.add(n, 1), b.mul(new, new)]


def rnn(reverse: bool) -> Callable[[Builder, list[Node]], Node]:
    body = trace(
        rnn_body,
        f64(BATCH, UNITS),
        TensorType((), "int32"),
        f64(UNITS, UNITS),
        f64(UNITS),
        f64(UNITS),
        f64(BATCH, UNITS),
    )

    def make(b: Builder, xs: list[Node]) -> Node:
        h, w, bias, mask, x = xs
        steps = b.const(0, "int32")
        return b.scan(h, steps, w, bias, mask, x, body=body, carries=2, consts=3, length=STEPS, reverse=reverse)

    return make


def rnn_arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(BATCH, UNITS), (UNITS, UNITS), (UNITS,), (UNITS,), (STEPS, BATCH, UNITS)]
    return [rng.uniform(-1, 1, s) for s in shapes]


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_value(reverse: bool) -> None:
    arrays = rnn_arrays()
    b = Builder()
    inputs = [b.input(f64(*a.shape), f"x{i}") for i, a in enumerate(arrays)]
    node = rnn(reverse)(b, inputs)
    h, n, ys = evaluate(Graph(inputs, [b.item(node, i) for i in range(3)]), arrays)
    state, w, bias, mask, x = arrays
    want = np.empty((STEPS, BATCH, UNITS))
    for t in range(STEPS)[::-1] if reverse else range(STEPS):
        state = np.tanh(state @ w + x[t] + bias) * mask
        want[t] = state**2
    np.testing.assert_allclose(h, state, rtol=1e-12)
    np.testing.assert_allclose(ys, want, rtol=1e-12)
    assert int(n) == STEPS


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_scan_gradient(reverse: bool, order: int) -> None:
    check_gradient(rnn_arrays(), rnn(reverse), [0, 1, 2, 3, 4], order=order, rtol=1e-5, step=1e-5)


def test_weight_gradient_is_one_product_after_the_loop() -> None:
    """The backward body holds the product that sends the state back, and none for the weights."""
    arrays = rnn_arrays()
    b = Builder()
    inputs = [b.input(f64(*a.shape), f"x{i}") for i, a in enumerate(arrays)]
    node = rnn(False)(b, inputs)
    (grad,) = gradients(b, [b.item(node, 0)], [inputs[1]])
    assert grad is not None
    graph = Graph(inputs, [grad])
    scans = [n for n in graph.nodes if n.op == "scan"]
    backward = scans[-1].attrs["body"]
    assert sum(n.op == "dot_general" for n in backward.nodes) == 1
    assert any(n.op == "dot_general" for n in graph.nodes)
    saving = next(s.attrs["body"] for s in scans if s.attrs["body"].primal is not None)
    assert saving.primal is node.attrs["body"]
    assert [o.type for o in saving.outputs[:3]] == [o.type for o in saving.primal.outputs]


def test_scan_of_no_steps() -> None:
    body = trace(lambda b, c, x: [b.mul(c, x), c], f64(2), f64(2))
    b = Builder()
    c, xs = b.input(f64(2), "c"), b.input(f64(0, 2), "xs")
    node = b.scan(c, xs, body=body, carries=1, consts=0, length=0, reverse=False)
    (grad,) = gradients(b, [b.item(node, 0)], [c])
    assert grad is not None
    value, ys, g = evaluate(Graph([c, xs], [b.item(node, 0), b.item(node, 1), grad]), [np.ones(2), np.ones((0, 2))])
    np.testing.assert_array_equal(value, [1, 1])
    np.testing.assert_array_equal(g, [1, 1])
    assert ys.shape == (0, 2)


def test_nested_scan_gradient() -> None:
    inner = trace(lambda b, c, w, x: [b.mul(b.add(c, x), w)], f64(2), f64(2), f64(2))

    def outer_body(b: Builder, c: Node, w: Node, xs: Node) -> list[Node]:
        node = b.scan(c, w, xs, body=inner, carries=1, consts=1, length=3, reverse=False)
        return [b.item(node, 0), b.sin(b.item(node, 0))]

    outer = trace(outer_body, f64(2), f64(2), f64(3, 2))
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, s) for s in ((2,), (2,), (4, 3, 2))]
    check_gradient(
        arrays,
        lambda b, xs: b.scan(*xs, body=outer, carries=1, consts=1, length=4, reverse=True),
        [0, 1, 2],
    )


def test_scan_errors() -> None:
    body = trace(lambda b, c, x: [b.cast(c, dtype="float32")], f64(2), f64(2))
    b = Builder()
    c, xs = b.input(f64(2), "c"), b.input(f64(5, 2), "xs")
    with pytest.raises(TypeError, match="next carry expects float64"):
        b.scan(c, xs, body=body, carries=1, consts=0, length=5, reverse=False)
    with pytest.raises(ValueError, match="leading extent"):
        b.scan(c, xs, body=body, carries=1, consts=0, length=4, reverse=False)


def collatz(b: Builder) -> Node:
    i32 = TensorType((), "int32")

    def advance(b: Builder, n: Node, steps: Node) -> list[Node]:
        even = b.eq(b.mod(n, 2), 0)
        return [b.select(even, b.floor_div(n, 2), b.add(b.mul(n, 3), 1)), b.add(steps, 1)]

    body = trace(advance, i32, i32)
    test = trace(lambda b, n, steps: [b.gt(n, 1)], i32, i32)
    return b.emit("while", b.const(6, "int32"), b.const(0, "int32"), cond=test, body=body, carries=2)


def test_while_value() -> None:
    b = Builder()
    assert int(evaluate(Graph([], [b.item(collatz(b), 1)]), [])[0]) == 8  # 6 3 10 5 16 8 4 2 1


def growth(b: Builder, xs: list[Node], steps: int, bound: int = 0) -> Node:
    """v -> tanh(v w) + x / 2 until the counter is at `steps`; a product with the counter makes the steps differ."""

    def advance(b: Builder, i: Node, v: Node, w: Node, x: Node) -> list[Node]:
        scale = b.add(b.mul(b.cast(i, dtype="float64"), 0.1), 1.0)
        return [b.add(i, 1), b.add(b.tanh(b.mul(b.mul(v, w), scale)), b.mul(x, 0.5))]

    types = (TensorType((), "int32"), f64(2, 3), f64(3), f64(2, 3))
    body = trace(advance, *types)
    test = trace(lambda b, i, *rest: [b.lt(i, steps)], *types)
    x, w = xs
    start = b.mul(x, 2.0)
    node = b.emit("while", b.const(0, "int32"), start, w, x, cond=test, body=body, carries=2, bound=bound)
    return b.item(node, 1)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("bound", [0, 9])
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 8, 9])
def test_while_gradient(steps: int, bound: int, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tapes of 2 states: nothing dropped, every second state dropped, stretches longer than the second tape."""
    slots = 10 if bound else 2
    monkeypatch.setattr(while_gradient, "MIN_SLOTS", slots)
    monkeypatch.setattr(while_gradient, "MAX_SLOTS", slots)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (2, 3)), rng.uniform(0.5, 1, 3)]
    make = functools.partial(growth, steps=steps, bound=bound)
    check_gradient(arrays, make, [0, 1], order=order, rtol=1e-5, step=1e-5)


@pytest.mark.parametrize("index, order", [(0, 1), (1, 1), (7, 1), (0, 2), (1, 2)])
def test_cond(index: int, order: int) -> None:
    branches = (
        trace(lambda b, x, y: [b.mul(x, y), b.sin(x)], f64(3), f64(3)),
        trace(lambda b, x, y: [b.exp(y), b.mul(y, 3.0)], f64(3), f64(3)),
    )

    def make(b: Builder, xs: list[Node]) -> Node:
        return b.cond(b.const(index, "int32"), *xs, branches=branches)

    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, 3) for _ in range(2)]
    b = Builder()
    inputs = [b.input(f64(3), n) for n in "xy"]
    node = make(b, inputs)
    got = evaluate(Graph(inputs, [b.item(node, 0)]), arrays)[0]
    np.testing.assert_allclose(got, arrays[0] * arrays[1] if index == 0 else np.exp(arrays[1]))
    check_gradient(arrays, make, [0, 1], order=order, step=1e-5)


def test_custom_gradient() -> None:
    forward = trace(lambda b, x, w: [b.mul(x, w), b.exp(x)], f64(2), f64(2))
    backward = trace(lambda b, x, w, p, q: [b.add(b.mul(p, 10.0), b.mul(q, x))], f64(2), f64(2), f64(2), f64(2))
    b = Builder()
    x, w = b.input(f64(2), "x"), b.input(f64(2), "w")
    both = [b.custom(x, w, forward=forward, backward=backward, index=i, args=1) for i in range(2)]
    by_x, by_w = gradients(b, both, [x, w])
    assert by_x is not None and by_w is None
    arrays = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    value, grad = evaluate(Graph([x, w], [both[0], by_x]), arrays)
    np.testing.assert_allclose(value, [3, 8])
    np.testing.assert_allclose(grad, [11, 12])
    (second,) = gradients(b, [by_x], [x])
    assert second is not None
    np.testing.assert_allclose(evaluate(Graph([x, w], [second]), arrays)[0], [1, 1])
