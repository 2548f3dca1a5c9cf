"""Python control flow on values: compiled equals eager, gradients are those of the path, paths are compiled once.

Whole programs are in tests/programs.
"""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.backend import paths
from tests.programs.checks import Compiles


def batches(count=6, shape=(4, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape) * (i + 1) / 2).astype("float32") for i in range(count)]


# -- programs: functions of one array -----------------------------------------------------------------
def branch(x):
    if ops.mean(x) > 0:
        return ops.tanh(x) * 2
    return ops.square(x) - 1


def early_return(x):
    for i in range(4):
        x = ops.tanh(x * 1.5)
        if ops.max(ops.abs(x)) < 0.9:
            return x + i
    return x


def halving(x):
    while ops.sum(ops.abs(x)) > 1.0:
        x = x / 2
    return x


def newton_root(x):
    target = ops.abs(x) + 0.5
    root = target
    while ops.max(ops.abs(root * root - target)) > 1e-3:
        root = 0.5 * (root + target / root)
    return root


def counted_loop(x):
    steps = int(ops.sum(ops.cast(x > 0, "int32"))) % 5
    total = ops.zeros_like(x)
    for i in range(steps):
        total = total + ops.sin(x) * i
    return total


def break_and_continue(x):
    total = ops.zeros_like(x)
    for row in range(4):
        if ops.sum(x[row]) < 0:
            continue
        total = total + x[row]
        if ops.max(total) > 2:
            break
    return total


def nested_conditions(x):
    if ops.mean(x) > 0 and not (ops.max(x) > 3):
        if ops.min(x) < -1:
            y = ops.relu(x)
        elif ops.min(x) < -0.5:
            y = ops.exp(-x)
        else:
            y = x
    elif ops.any(x > 5) or ops.min(x) < -2:
        y = ops.softplus(x)
    else:
        y = -x
    return y * 3


def recursion(x):
    def split(v, depth):
        if depth == 0 or ops.sum(ops.square(v)) < 0.5:
            return ops.sum(v)
        return ops.tanh(split(v / 2, depth - 1)) + split(v * 0.3, depth - 1)

    return split(x, 3)


def adaptive_time(x):
    state, halted, out = ops.zeros_like(x), ops.zeros(()), ops.zeros_like(x)
    for _ in range(6):
        state = ops.tanh(state + x)
        p = ops.sigmoid(ops.mean(state))
        if halted + p > 0.99:
            return out + (1 - halted) * state
        halted, out = halted + p * 0.5, out + 0.5 * p * state
    return out


def adaptive_ode(x):
    t, h = 0.0, 0.5
    for _ in range(12):
        whole = x + h * -x
        half = x + h / 2 * -x
        half = half + h / 2 * -half
        if ops.max(ops.abs(half - whole)) > 0.1:
            h = h / 2
            continue
        x, t = half, t + h
        if t >= 1.0:
            break
    return x


def experts(x):
    chosen = int(ops.argmax(ops.sum(x, axis=0)))
    return (ops.sin, ops.cos, ops.square)[chosen](x)


def collatz(x):
    n, steps = ops.cast(ops.sum(ops.abs(x)), "int32") + 1, 0
    while n != 1 and steps < 30:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return x * steps


def asserted(x):
    assert ops.all(ops.isfinite(x)), "not finite"
    return x * 2


def numpy_code(x):
    largest = np.sort(ops.abs(x).numpy().ravel())[-3:]
    return x / float(largest.mean())


def python_floats(x):
    scale = ops.max(x).item()
    return x * scale if float(ops.mean(x)) > 0.1 else x + scale


def loop_body_then_branch(x):
    total = ops.fori_loop(0, 3, lambda i, a: a * 0.5 + x, ops.zeros_like(x))
    return total if ops.sum(total) > 0 else -total


def sort_in_python(x):
    keys = ops.sum(x, axis=1).tolist()
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return ops.stack([x[i] for i in order])


def masked(x):
    chosen = x[x > 0.5]
    return ops.sum(chosen) * ops.ones_like(x) + ops.cast(ops.shape(ops.nonzero(x > 1)[0])[0], "float32")


PROGRAMS = [
    branch,
    early_return,
    halving,
    newton_root,
    counted_loop,
    break_and_continue,
    nested_conditions,
    recursion,
    adaptive_time,
    adaptive_ode,
    experts,
    collatz,
    asserted,
    numpy_code,
    python_floats,
    loop_body_then_branch,
    sort_in_python,
    masked,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_compiled_equals_eager(program):
    compiled = keras.function(program)
    for x in batches():
        np.testing.assert_allclose(compiled(x), program(ops.array(x)), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_second_visit_compiles_nothing(program):
    compiled = keras.function(program)
    for _ in range(2):  # numbers that turn out to vary become inputs in the second call
        for x in batches():
            compiled(x)
    traces = [t.traces for t in compiled._trees.values()]
    with Compiles() as again:
        for x in batches():
            compiled(x)
    assert again.count == 0
    assert [t.traces for t in compiled._trees.values()] == traces


@pytest.mark.parametrize(
    "program",
    [p for p in PROGRAMS if p not in (counted_loop, asserted, numpy_code, python_floats, masked)],
    ids=lambda p: p.__name__,
)
def test_gradients_are_those_of_the_path(program):
    weights = np.linspace(0.5, 1.5, 12).reshape(4, 3)

    def loss(x):
        y = program(x)
        return ops.sum(y * weights if y.shape == (4, 3) else y)

    def gradient(x):
        w = keras.Variable(np.zeros((4, 3)), dtype="float64")
        with keras.GradientTape() as tape:
            value = loss(x + w)
        return tape.gradient(value, w)

    compiled = keras.function(gradient)
    for x in batches(3):
        x = x.astype("float64")
        found = np.array(compiled(x))
        expected = np.zeros_like(x)
        for i in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[i] = 1e-6
            after, before = (loss(ops.convert_to_tensor(v, dtype="float64")) for v in (x + step, x - step))
            expected[i] = (float(after) - float(before)) / 2e-6
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_recursion_over_a_tree_of_python_objects():
    cell = layers.Dense(3, activation="tanh")
    leaf_vectors = ops.array(np.random.default_rng(0).normal(size=(5, 1, 3)).astype("float32"))

    def encode(node, vectors):
        if isinstance(node, int):
            return vectors[node]
        left, right = (encode(n, vectors) for n in node)
        joined = cell(ops.concatenate([left, right], axis=-1))
        return joined if ops.sum(joined) > 0 else -joined  # a decision in every node

    compiled = keras.function(encode)
    for shape in ((0, 1), ((0, 1), 2), ((0, (1, 2)), (3, 4))):
        np.testing.assert_allclose(compiled(shape, leaf_vectors), encode(shape, leaf_vectors), rtol=1e-6, atol=1e-6)
    with Compiles() as again:
        compiled(((0, (1, 2)), (3, 4)), leaf_vectors)
    assert again.count == 0


# -- state ---------------------------------------------------------------------------------------------
def test_assignments_and_random_numbers_happen_once_and_in_order():
    counter = keras.Variable(0.0)
    seeds = keras.random.SeedGenerator(1)

    @keras.function
    def draw():
        counter.assign_add(1.0)
        first = keras.random.uniform((), seed=seeds)
        if first > 0.5:
            counter.assign(counter * 2.0)
            return first, keras.random.uniform((), seed=seeds)
        return first, first

    found = [tuple(map(float, draw())) for _ in range(8)]
    total = float(counter)
    counter.assign(0.0)
    seeds.state.assign([1, 0])
    draw_again = draw.__wrapped__
    np.testing.assert_allclose(found, [tuple(map(float, draw_again())) for _ in range(8)], rtol=1e-6)
    assert total == float(counter)


def test_state_is_untouched_by_an_error_and_the_line_is_the_users():
    steps = keras.Variable(0.0)

    @keras.function
    def checked(x):
        steps.assign_add(1.0)
        if ops.max(x) > 10:
            raise OverflowError("too large")
        return x + steps

    assert float(checked(np.float32(1))) == 2.0
    with pytest.raises(OverflowError, match="too large") as caught:
        checked(np.float32(11))
    assert caught.traceback[-1].path.name == "test_dynamic.py"
    assert float(steps) == 1.0
    assert float(checked(np.float32(1))) == 3.0


def test_an_assertion_that_fails_later():
    compiled = keras.function(asserted)
    compiled(np.ones(3, "float32"))
    with pytest.raises(AssertionError, match="not finite"):
        compiled(np.array([1, np.inf, 0], "float32"))
    assert np.array(compiled(np.ones(3, "float32"))).tolist() == [2, 2, 2]


def test_failing_user_code_leaves_the_model_usable():
    class Strict(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, x):
            if ops.max(x) > 100:
                raise FloatingPointError("input out of range")
            return self.dense(x)

    model = Strict()
    model.compile("sgd", "mse")
    x = np.ones((8, 2), "float32")
    model.fit(x, x[:, :1], verbose=0)
    weights = model.get_weights()
    with pytest.raises(FloatingPointError, match="out of range"):
        model.fit(x * 1000, x[:, :1], verbose=0)
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    model.fit(x, x[:, :1], verbose=0)
    assert model.predict(x, verbose=0).shape == (8, 1)


# -- limits --------------------------------------------------------------------------------------------
def test_paths_are_bounded_and_the_warning_names_the_line(monkeypatch):
    monkeypatch.setattr(paths, "MAX_PATHS", 4)

    @keras.function
    def scaled(x):
        return x * int(x)  # one path for each number

    with pytest.warns(UserWarning, match=r"scaled has taken 4 different paths, in .*test_dynamic\.py:\d+"):
        found = [float(scaled(np.float32(n))) for n in range(10)]
    assert found == [n * n for n in range(10)]
    assert next(iter(scaled._trees.values())).paths == 4
    with Compiles() as again:
        assert float(scaled(np.float32(77))) == 77 * 77
    assert again.count == 0


def test_decisions_outside_of_tensors_are_noticed():
    calls = []

    @keras.function
    def moody(x):
        calls.append(1)
        if len(calls) % 2:
            x = x + 1
        return x if ops.sum(x) > 100 else -x

    assert abs(float(moody(np.float32(1)))) in (1, 2)
    assert abs(float(moody(np.float32(1000)))) in (1000, 1001)


def test_truth_of_many_elements_points_to_where():
    with pytest.raises(ValueError, match=r"ops\.where"):
        keras.function(lambda x: x if x > 0 else -x)(np.ones(3, "float32"))


def test_inside_a_graph_loop_there_are_no_values():
    @keras.function
    def wrong(x):
        return ops.fori_loop(0, 3, lambda i, a: a + 1 if ops.sum(a) > 0 else a, x)

    with pytest.raises(RuntimeError, match=r"inside a function given to scan"):
        wrong(np.ones(3, "float32"))
