"""Jacobians of tapes, stop_recording, and grad, vjp, jvp, jacobian, hessian: eager and compiled, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4)).astype("float32")
X = RNG.normal(size=4).astype("float32")


@pytest.fixture(params=[False, True], ids=["eager", "compiled"])
def run(request):
    """Calls a function of arrays, compiled or not."""

    def call(fn, *args):
        return keras.function(fn)(*args) if request.param else fn(*map(ops.convert_to_tensor, args))

    return call


def smooth(x):
    return ops.tanh(ops.matmul(A, x))


def smooth_jacobian(x):
    return (1 - np.tanh(A @ x) ** 2)[:, None] * A


def test_tape_jacobian(run):
    w = keras.Variable(X)
    unused = keras.Variable([1.0, 2.0])

    def both(scale):
        with keras.GradientTape() as tape:
            y = smooth(w) * scale
        return tape.jacobian(y, [w, unused], unconnected_gradients="zero")

    found, zero = run(both, np.float32(2))
    np.testing.assert_allclose(found, 2 * smooth_jacobian(X), rtol=1e-5, atol=1e-6)
    assert zero.shape == (3, 2) and not np.any(zero)


def test_tape_jacobian_of_a_matrix_and_none(run):
    def rows(x):
        with keras.GradientTape() as tape:
            tape.watch(x)
            y = ops.matmul(x, ops.transpose(A))
        assert tape.jacobian(y, keras.Variable(1.0)) is None
        return tape.jacobian(y, x)

    x = RNG.normal(size=(2, 4)).astype("float32")
    expected = np.einsum("ik,jl->ijkl", np.eye(2), A)
    np.testing.assert_allclose(run(rows, x), expected, atol=1e-6)


def test_batch_jacobian(run):
    def each(x):
        with keras.GradientTape() as tape:
            tape.watch(x)
            y = ops.tanh(ops.matmul(x, ops.transpose(A)))
        return tape.batch_jacobian(y, x)

    x = RNG.normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(run(each, x), [smooth_jacobian(row) for row in x], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="equal first extent"), keras.GradientTape() as tape:
        v = keras.Variable(np.ones((3, 2)))
        tape.batch_jacobian(ops.ones((2, 2)) * 1.0, v)


def test_stop_recording(run):
    def part(x):
        with keras.GradientTape() as tape:
            tape.watch(x)
            with tape.stop_recording():
                factor = x * x
            y = ops.sum(factor * x)
        return tape.gradient(y, x)

    np.testing.assert_allclose(run(part, X), X * X, rtol=1e-6)


def test_reset_and_watched_variables():
    w = keras.Variable(2.0)
    with keras.GradientTape() as tape:
        y = w * w
        assert [v is w for v in tape.watched_variables()] == [True]
    assert float(tape.gradient(y, w)) == 4.0


def test_watched_constant_inside_a_function_is_given_back():
    held = ops.array([1.0, 2.0])

    @keras.function
    def slope(scale):
        with keras.GradientTape() as tape:
            tape.watch(held)
            y = ops.sum(held * held * scale)
        return tape.gradient(y, held)

    assert np.array(slope(np.float32(3))).tolist() == [6, 12]
    assert held.numpy().tolist() == [1, 2] and not held.is_traced


def test_value_and_grad_of_structures(run):
    def loss(params, x):
        return ops.sum(params["w"] * x) + params["b"] ** 2, {"seen": x}

    def both(w, b, x):
        return keras.value_and_grad(loss, has_aux=True)({"w": w, "b": b}, x)

    (value, aux), gradient = run(both, np.float32([1, 2]), np.float32(3), np.float32([5, 6]))
    assert float(value) == 26 and np.array(aux["seen"]).tolist() == [5, 6]
    assert np.array(gradient["w"]).tolist() == [5, 6] and float(gradient["b"]) == 6


def test_grad_for_several_arguments_and_twice(run):
    def several(x, y):
        return keras.grad(lambda a, b: ops.sum(a * b * b), argnums=(0, 1))(x, y)

    for found, expected in zip(run(several, X, 2 * X), (4 * X * X, 4 * X * X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    third = keras.grad(keras.grad(keras.grad(lambda x: x**4)))
    assert float(run(third, np.float32(2))) == 48


def test_vjp_and_jvp(run):
    v = RNG.normal(size=4).astype("float32")
    u = RNG.normal(size=3).astype("float32")

    def reverse(x, u):
        value, pull = keras.vjp(smooth, x)
        return value, pull(u)[0]

    value, found = run(reverse, X, u)
    np.testing.assert_allclose(value, np.tanh(A @ X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, u @ smooth_jacobian(X), rtol=1e-5, atol=1e-6)
    value, found = run(lambda x, v: keras.jvp(smooth, [x], [v]), X, v)
    np.testing.assert_allclose(value, np.tanh(A @ X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, smooth_jacobian(X) @ v, rtol=1e-5, atol=1e-6)


def test_jacobian_and_hessian(run):
    np.testing.assert_allclose(run(keras.jacobian(smooth), X), smooth_jacobian(X), rtol=1e-5, atol=1e-6)
    found = run(keras.hessian(lambda x: ops.sum(smooth(x))), X)
    t = np.tanh(A @ X)
    np.testing.assert_allclose(found, np.einsum("i,ij,ik->jk", -2 * t * (1 - t**2), A, A), rtol=1e-4, atol=1e-5)


def test_derivatives_follow_the_path_taken(run):
    def branched(x):
        return ops.sum(x * x) if ops.sum(x) > 0 else ops.sum(x)

    for x in (np.float32([1, 2]), np.float32([-1, -2])):
        expected = 2 * x if x.sum() > 0 else np.ones(2)
        np.testing.assert_allclose(run(keras.grad(branched), x), expected)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"float scalar tensor. Received: shape \(4,\)"):
        keras.grad(lambda x: x)(X)
    with pytest.raises(ValueError, match="argument 0 must hold float tensors"):
        keras.grad(lambda x: x)(np.arange(3))
    with pytest.raises(ValueError, match="names argument 2, received 1"):
        keras.grad(lambda x: x, argnums=2)(X)
    with pytest.raises(ValueError, match="one float tensor"), keras.GradientTape() as tape:
        tape.jacobian([ops.ones(2)], keras.Variable(1.0))


def test_only_the_argument_is_differentiated_for():
    """The same value from elsewhere is a constant, eager and compiled alike."""
    weight = keras.Variable(3.0)

    def closure(x):
        return keras.grad(lambda a: a * x)(x)

    def two(x):
        return keras.grad(lambda a, b: a * b * b)(x, x)

    def read():
        return keras.grad(lambda a: a * weight)(weight)

    x = ops.array(3.0)
    for fn, args, expected in ((closure, [x], 3.0), (two, [x], 9.0), (read, [], 3.0)):
        assert float(fn(*args)) == float(keras.function(fn)(*args)) == expected, fn.__name__
