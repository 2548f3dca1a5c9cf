"""GradientTape in eager code and in compiled steps."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops


def test_variables_and_values_are_at_hand():
    w = keras.Variable([1.0, 2.0])
    with keras.GradientTape() as tape:
        y = w * w
        assert float(ops.sum(y)) == 5.0  # values while recording
        if float(y[0]) > 0.5:  # Python decides on values
            y = y * 3.0
        loss = ops.sum(y)
    np.testing.assert_allclose(tape.gradient(loss, w), [6.0, 12.0])
    assert float(loss) == 15.0


def test_structures_and_unconnected():
    a, b = keras.Variable(2.0), keras.Variable([1.0, 1.0])
    with keras.GradientTape() as tape:
        loss = a**3
    grads = tape.gradient(loss, {"a": a, "b": b})
    assert float(grads["a"]) == pytest.approx(12.0) and grads["b"] is None
    np.testing.assert_array_equal(tape.gradient(loss, [b], unconnected_gradients="zero")[0], [0.0, 0.0])
    with pytest.raises(ValueError, match="unconnected_gradients"):
        tape.gradient(loss, a, unconnected_gradients="nan")


def test_watched_tensor_is_given_back():
    x = ops.array([1.0, 2.0, 3.0])
    with keras.GradientTape() as tape:
        tape.watch(x)
        y = ops.sum(ops.sin(x))
    np.testing.assert_allclose(tape.gradient(y, x), np.cos([1.0, 2.0, 3.0]), rtol=1e-6)
    np.testing.assert_array_equal(x.numpy(), [1.0, 2.0, 3.0])
    assert not x.is_traced
    with pytest.raises(ValueError, match="takes tensors"), keras.GradientTape() as tape:
        tape.watch(np.ones(3))


def test_second_derivative():
    x = keras.Variable(3.0)
    with keras.GradientTape() as outer:
        with keras.GradientTape() as inner:
            y = x**3
        first = inner.gradient(y, x)
    assert float(first) == pytest.approx(27.0)
    assert float(outer.gradient(first, x)) == pytest.approx(18.0)


def test_output_gradients():
    w = keras.Variable([1.0, 2.0])
    with keras.GradientTape() as tape:
        y = w * w
    np.testing.assert_allclose(tape.gradient(y, w, output_gradients=[1.0, 10.0]), [2.0, 40.0])


def test_assignments_take_effect_after_the_tape():
    layer = keras.layers.BatchNormalization(momentum=0.5)
    x = ops.array(np.random.default_rng(0).normal(3.0, 1.0, (16, 2)).astype("float32"))
    layer(x)
    with keras.GradientTape() as tape:
        loss = ops.sum(layer(x, training=True) ** 2)
    assert len(tape.gradient(loss, layer.trainable_variables)) == 2
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.5 * np.asarray(x).mean(0), rtol=1e-5)


def test_an_error_in_the_tape_assigns_nothing():
    v = keras.Variable(1.0)
    with pytest.raises(RuntimeError, match="stop"), keras.GradientTape():
        v.assign(5.0)
        raise RuntimeError("stop")
    assert float(v) == 1.0
    assert float(v + 1.0) == 2.0


def test_own_loop_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    y = x @ np.array([[1.0], [2.0], [3.0]], "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.1)
    losses = []
    for _ in range(30):
        with keras.GradientTape() as tape:
            loss = ops.mean((model(x, training=True) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]


def test_gradient_of_integers_is_refused():
    v = keras.Variable(1, dtype="int32")
    with keras.GradientTape() as tape:
        y = v + 1
    with pytest.raises(ValueError, match="float target"):
        tape.gradient(y, v)


@pytest.fixture(params=[False, True], ids=["eager", "compiled"])
def run(request):
    return keras.function if request.param else lambda fn: fn


def test_what_came_before_the_tape_is_constant(run):
    """A target network's value, and an assignment, as in Q-learning and in training with two optimizers."""
    w, c = keras.Variable([1.0, 2.0]), keras.Variable(2.0)

    def step():
        target = ops.sum(w * w)
        c.assign(c + target)
        with keras.GradientTape() as tape:
            value = ops.sum(w * w)  # the same computation, and in the tape it counts
            loss = value * ops.stop_gradient(value) - target * value + c * ops.sum(w)
        return tape.gradient(loss, [w, c, target])

    by_w, by_c, by_target = run(step)()
    np.testing.assert_allclose(by_w, [7.0, 7.0])  # (5 - 5) 2 w + (2 + 5)
    assert float(by_c) == 3.0 and by_target is None
    np.testing.assert_allclose(w.numpy(), [1.0, 2.0])
    assert float(c) == 7.0


def test_a_watched_tensor_counts_from_the_tape_on(run):
    def step(x):
        before = ops.sum(x * x)
        with keras.GradientTape() as outer:
            outer.watch(x)
            with keras.GradientTape() as inner:
                inner.watch(x)
                y = ops.sum(x * x * x)
            first = inner.gradient(y, x)
            z = ops.sum(first * before)
        return outer.gradient(z, x), first, before

    second, first, before = run(step)(ops.array([1.0, 2.0]))
    np.testing.assert_allclose(first, [3.0, 12.0])
    np.testing.assert_allclose(second, [30.0, 60.0])
    assert float(before) == 5.0


def test_what_nobody_watches_has_no_gradient(run):
    def step(x):
        with keras.GradientTape() as tape:
            y = ops.sum(x * x)
        return tape.gradient(y, x), tape.gradient(y, x, unconnected_gradients="zero")

    none, zero = run(step)(ops.array([1.0, 2.0]))
    assert none is None and np.array(zero).tolist() == [0.0, 0.0]


def test_settings_are_read_in_a_tape():
    """A float that Python reads in every step and that seldom changes is no reason to run Python in every step."""
    temperature = keras.Variable(2.0, trainable=False)
    w = keras.Variable(3.0)

    @keras.function
    def step(x):
        before = w * temperature
        with keras.GradientTape() as tape:
            y = w * x * float(temperature)
        return tape.gradient(y, w) + before

    assert float(step(np.float32(1))) == 8.0
    assert float(step(np.float32(2))) == 10.0
    assert [t.interactive for t in step._trees.values()] == [False]


@pytest.mark.parametrize("compiled", [False, True])
def test_only_watched_variables_where_the_tape_does_not_watch_by_itself(compiled):
    a, b = keras.Variable(2.0), keras.Variable(3.0)

    def slopes(x):
        with keras.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(a)
            loss = a * a * b * x
        assert [v is a for v in tape.watched_variables()] == [True]
        one, none = tape.gradient(loss, [a, b])
        assert none is None
        assert tape.jacobian(loss, b) is None
        return one, tape.gradient(loss, b, unconnected_gradients="zero")

    run = keras.function(slopes) if compiled else slopes
    assert [float(g) for g in run(np.float32(2))] == [24.0, 0.0]
