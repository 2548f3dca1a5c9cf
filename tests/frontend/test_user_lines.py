"""Errors in user code name the user's line, compiled and eager alike, and everything works afterwards."""

from __future__ import annotations

import inspect
import traceback

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops


def line_of(fn, text):
    """Number of the first line of a function that holds `text`."""
    lines, first = inspect.getsourcelines(fn)
    return first + next(i for i, line in enumerate(lines) if text in line)


@pytest.fixture(params=[False, True], ids=["eager", "compiled"])
def compiled(request):
    return request.param


def test_an_index_out_of_range(compiled):
    def look_up(table, i):
        rows = table * 2
        return ops.take(rows, i, axis=0)  # here

    run = keras.function(look_up) if compiled else look_up
    table = ops.ones((3, 2))
    with pytest.raises(IndexError, match=r"take.* 7\b") as caught:
        run(table, ops.array([0, 7]))
    place = f"{__file__}:{line_of(look_up, '# here')}"
    frames = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(caught.value.__traceback__)]
    assert place in str(caught.value) or place in frames
    assert np.array(run(table, ops.array([0, 2]))).tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("needed", [True, False], ids=["value needed", "value not needed"])
def test_an_index_out_of_range_in_an_eager_tape(needed):
    """The gradient of a lookup needs no value of it; the error comes all the same, and where the lookup is."""

    def slope(table, i):
        with keras.GradientTape() as tape:
            tape.watch(table)
            rows = ops.take(table, i, axis=0)  # here
            loss = ops.sum(rows * rows if needed else rows * 2)
        return tape.gradient(loss, table)

    table = ops.ones((3, 2))
    with pytest.raises(IndexError, match=r"take.* 7\b") as caught:
        slope(table, ops.array([0, 7]))
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__)]
    assert (__file__, line_of(slope, "# here")) in frames
    assert np.array(slope(table, ops.array([0, 2]))).tolist() == [[2, 2], [0, 0], [2, 2]]


def test_an_index_out_of_range_in_an_eager_step():
    class Lookup(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding, self.dense = layers.Embedding(10, 3), layers.Dense(1)

        def call(self, tokens):
            return self.dense(ops.mean(self.embedding(tokens), axis=1))  # here

    model = Lookup()
    model.compile("sgd", "mse", run_eagerly=True)
    good, bad, y = np.zeros((4, 3), "int32"), np.full((4, 3), 99, "int32"), np.ones((4, 1), "float32")
    model.fit(good, y, verbose=0)
    before = model.get_weights()
    with pytest.raises(IndexError, match="99") as caught:
        model.fit(bad, y, verbose=0)
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__)]
    assert (__file__, line_of(Lookup.call, "# here")) in frames
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    model.fit(good, y, verbose=0)


def test_shapes_that_do_not_fit(compiled):
    def join(x):
        if ops.sum(x) > 3:
            return ops.concatenate([x, ops.ones((2, 2))])  # here
        return x

    run = keras.function(join) if compiled else join
    assert np.array(run(ops.zeros(3))).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="concatenate") as caught:
        run(ops.ones(3) * 2)
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__)]
    assert (__file__, line_of(join, "# here")) in frames
    assert np.array(run(ops.ones(3))).tolist() == [1, 1, 1]


def test_an_error_in_a_decision_of_a_model_step(compiled):
    class Guarded(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, x):
            y = self.dense(x)
            if ops.max(x) > 5:
                raise ArithmeticError("too large")  # here
            return y

    model = Guarded()
    model.compile("sgd", "mse", run_eagerly=not compiled)
    x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    with pytest.raises(ArithmeticError, match="too large") as caught:
        model.fit(np.concatenate([x, 9 * x]), np.concatenate([y, y]), batch_size=8, shuffle=False, verbose=0)
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(caught.value.__traceback__)]
    assert (__file__, line_of(Guarded.call, "# here")) in frames
    after = model.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))  # the first batch counts
    model.fit(x, y, verbose=0)
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_nothing_of_a_failed_step_stays():
    """Compiled, a step happens wholly or not at all."""
    count = keras.Variable(0)

    @keras.function
    def step(table, i):
        count.assign_add(1)
        if ops.sum(table) > 100:
            raise RuntimeError("sum")
        return ops.take(table, i, axis=0)

    step(ops.ones(3), np.array(1))
    for bad in ((ops.ones(3), np.array(5)), (ops.ones(3) * 100, np.array(1))):
        with pytest.raises((IndexError, RuntimeError)):
            step(*bad)
        assert int(count) == 1
    step(ops.ones(3), np.array(2))
    assert int(count) == 2


@pytest.mark.parametrize("ask", [float, int, bool, lambda t: t.numpy(), lambda t: t.item(), lambda t: ops.sum(t + 1)])
@pytest.mark.parametrize("values", [False, True], ids=["decisions", "values"])
def test_a_tensor_that_outlives_its_run(values, ask):
    """The compiled run keeps no such value; a message says what to do, and printing it is allowed."""
    kept = []

    @keras.function
    def double(x):
        if values:
            float(x)
        kept.append(x * 2)
        return x + 1

    assert float(double(np.float32(3))) == 4
    with pytest.raises(RuntimeError, match="kept and used after its trace had ended"):
        ask(kept[-1])
    assert "float32" in str(kept[-1])
    assert float(double(np.float32(4))) == 5
