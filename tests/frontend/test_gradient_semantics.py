"""GradientTape and the functions over it: the same numbers eager and compiled, and TensorFlow's rules."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops

X = np.array([0.5, -1.0, 2.0], "float32")


def persistent(x):
    with keras.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = ops.sum(ops.sin(y))
    return tape.gradient(z, x), tape.gradient(y, x), tape.gradient([y, z], x)


def nested(x):
    """Third derivative of x^4, and a mixed one."""
    with keras.GradientTape() as outer:
        outer.watch(x)
        with keras.GradientTape() as middle:
            middle.watch(x)
            with keras.GradientTape() as inner:
                inner.watch(x)
                y = ops.sum(x**4)
            first = inner.gradient(y, x)
        second = middle.gradient(first, x)
    return first, second, outer.gradient(second, x)


def gradient_of_a_norm(x):
    """As in WGAN-GP: the norm of a gradient is part of a loss."""
    w = ops.cos(x)
    with keras.GradientTape() as outer:
        outer.watch(x)
        with keras.GradientTape() as inner:
            inner.watch(x)
            y = ops.sum(ops.tanh(x) * w)
        norm = ops.sqrt(ops.sum(inner.gradient(y, x) ** 2))
        loss = (norm - 1) ** 2
    return outer.gradient(loss, x)


def weights_of_the_outputs(x):
    with keras.GradientTape() as tape:
        tape.watch(x)
        a, b = x * x, ops.exp(x)
    return tape.gradient({"a": a, "b": b}, {"x": x}, output_gradients={"a": ops.ones(3), "b": 2 * ops.ones(3)})


def stopped(x):
    with keras.GradientTape() as tape:
        tape.watch(x)
        with tape.stop_recording():
            scale = x + 1
        y = ops.sum(x * scale * ops.stop_gradient(x))
    return tape.gradient(y, x)


def own_gradient(x):
    @ops.custom_gradient
    def clipped(v):
        return ops.exp(v), lambda upstream: ops.clip(upstream * ops.exp(v), -1, 1)

    return keras.grad(lambda v: ops.sum(clipped(v) * 3))(x)


def jacobians(x):
    def f(v):
        return ops.stack([ops.sum(v * v), v[0] * v[1], ops.sin(v[2])])

    return keras.jacobian(f)(x), keras.hessian(lambda v: ops.sum(f(v)))(x)


def forward_and_back(x):
    value, along = keras.jvp(lambda v: ops.tanh(v) * v[::-1], (x,), (ops.ones(3),))
    again, pull = keras.vjp(lambda v: ops.tanh(v) * v[::-1], x)
    return value, along, again, pull(ops.array([1.0, 0.0, 2.0]))


def through_loops(x):
    """Second derivatives through while, scan and cond."""

    def f(v):
        v = ops.while_loop(lambda v: ops.sum(v * v) > 1, lambda v: (ops.sin(v) * 0.8,), (v,))[0]
        v = ops.scan(lambda c, r: (c * r + v, c), v, ops.stack([v, v]))[0]
        return ops.cond(ops.sum(v) > 0, lambda: ops.sum(v**3), lambda: ops.sum(v * v))

    return keras.grad(f)(x), keras.grad(lambda v: ops.sum(keras.grad(f)(v) * ops.cos(v)))(x), keras.hessian(f)(x)


def in_batches(x):
    with keras.GradientTape() as tape:
        m = ops.outer(x, x)
        tape.watch(m)
        y = ops.tanh(ops.cumsum(m, axis=1))
    return tape.batch_jacobian(y, m)


FUNCTIONS = [
    persistent,
    nested,
    gradient_of_a_norm,
    weights_of_the_outputs,
    stopped,
    own_gradient,
    jacobians,
    forward_and_back,
    through_loops,
    in_batches,
]


def leaves(value):
    return [np.asarray(x, "float64") for x in keras.tree.flatten(value)]


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda f: f.__name__)
def test_eager_and_compiled_give_the_same(fn):
    expected = leaves(fn(ops.array(X)))
    found = leaves(keras.function(fn)(X))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_the_numbers_are_right():
    z, y, both = leaves(persistent(ops.array(X)))
    np.testing.assert_allclose(z, 2 * X * np.cos(X * X), rtol=1e-5)
    np.testing.assert_allclose(y, 2 * X, rtol=1e-6)
    np.testing.assert_allclose(both, y + z, rtol=1e-6)
    for found, wanted in zip(leaves(nested(ops.array(X))), (4 * X**3, 12 * X**2, 24 * X), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(leaves(weights_of_the_outputs(ops.array(X)))[0], 2 * X + 2 * np.exp(X), rtol=1e-5)
    np.testing.assert_allclose(leaves(stopped(ops.array(X)))[0], (X + 1) * X, rtol=1e-6)
    np.testing.assert_allclose(leaves(own_gradient(ops.array(X)))[0], np.minimum(3 * np.exp(X), 1), rtol=1e-6)
    jacobian, hessian = leaves(jacobians(ops.array(X)))
    np.testing.assert_allclose(jacobian, [2 * X, [X[1], X[0], 0], [0, 0, np.cos(X[2])]], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hessian, [[2, 1, 0], [1, 2, 0], [0, 0, 2 - np.sin(X[2])]], rtol=1e-5, atol=1e-6)


def test_second_derivatives_through_loops_are_slopes():
    def first(v):
        return leaves(through_loops(ops.convert_to_tensor(v, dtype="float64")))[0]

    x = X.astype("float64")
    hessian = leaves(through_loops(ops.convert_to_tensor(x, dtype="float64")))[2]
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-6
        np.testing.assert_allclose(hessian[i], (first(x + step) - first(x - step)) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_unconnected(compiled):
    used, unused = keras.Variable(2.0), keras.Variable([1.0, 2.0])

    def step(x):
        with keras.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = used * 3
        sources = {"used": used, "unused": unused, "x": x}
        none, zero = (tape.gradient(y, sources, unconnected_gradients=kind) for kind in ("none", "zero"))
        return none, zero, tape.jacobian(y, unused)

    none, zero, jacobian = (keras.function(step) if compiled else step)(ops.array(X))
    assert none["unused"] is None and none["x"] is None and jacobian is None
    assert float(none["used"]) == 3 and float(zero["used"]) == 3
    assert np.array(zero["unused"]).tolist() == [0, 0] and np.array(zero["x"]).tolist() == [0, 0, 0]
