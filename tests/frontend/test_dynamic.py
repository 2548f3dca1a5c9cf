"""Python control flow on values: compiled equals eager, gradients are those of the path, paths are compiled once."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.backend import executor, paths


class Compiles:
    """How many graphs have been compiled inside."""

    def __enter__(self):
        self.before = executor.cache.compiled
        return self

    def __exit__(self, *exc):
        self.count = executor.cache.compiled - self.before


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


# -- models --------------------------------------------------------------------------------------------
class EarlyExit(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [layers.Dense(6, activation="tanh") for _ in range(3)]
        self.head = layers.Dense(1)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
            if ops.mean(ops.abs(x)) < 0.35:
                break
        return self.head(x)


class StochasticDepth(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(6)
        self.blocks = [layers.Dense(6, activation="relu") for _ in range(2)]
        self.head = layers.Dense(1)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x, training=False):
        x = self.first(x)
        for block in self.blocks:
            if training and keras.random.uniform((), seed=self.seeds) < 0.4:
                continue
            x = x + block(x)
        return self.head(x)


class Experts(keras.Model):
    def __init__(self):
        super().__init__()
        self.gate = layers.Dense(3)
        self.experts = [layers.Dense(1) for _ in range(3)]

    def call(self, x):
        gate = ops.mean(ops.softmax(self.gate(x)), axis=0)
        chosen = int(ops.argmax(gate))
        return self.experts[chosen](x) * gate[chosen]


class CarefulStep(keras.Model):
    """A train_step of its own that skips what looks wrong."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(1)
        self.skipped = keras.Variable(0, dtype="int32", trainable=False, name="skipped")

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        with keras.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        if loss > 3.0:
            self.skipped.assign_add(1)
            gradients = [0.1 * g for g in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss, "skipped": self.skipped}


class Printing(EarlyExit):
    seen: list[float]

    def train_step(self, data):
        logs = super().train_step(data)
        self.__dict__.setdefault("seen", []).append(float(logs["loss"]))
        return logs


MODELS = [EarlyExit, StochasticDepth, Experts, CarefulStep, Printing]


def trained(kind, eagerly, metrics=None, epochs=3):
    keras.utils.set_random_seed(5)
    x = np.concatenate(batches(6, (8, 4)))
    y = x.sum(axis=1, keepdims=True)
    model = kind()
    model.compile("adam", "mse", metrics=metrics() if metrics else None, run_eagerly=eagerly)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        history = model.fit(x, y, batch_size=8, epochs=epochs, verbose=0)
        scores = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
        predictions = model.predict(x, batch_size=8, verbose=0)
    return model, history.history, scores, predictions, (x, y)


@pytest.mark.parametrize("kind", MODELS, ids=lambda m: m.__name__)
def test_models_train_as_they_do_eagerly(kind):
    eager, eager_history, eager_scores, expected, _ = trained(kind, True)
    model, history, scores, found, _ = trained(kind, False)
    for name in eager_history:
        np.testing.assert_allclose(history[name], eager_history[name], rtol=1e-5)
    np.testing.assert_allclose(scores["loss"], eager_scores["loss"], rtol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(model.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_second_fit_compiles_nothing():
    keras.utils.set_random_seed(5)
    x = np.concatenate(batches(6, (8, 4)))
    model = EarlyExit()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, shuffle=False)  # the first epoch builds layers
        with Compiles() as again:
            model.fit(x, x[:, :1], batch_size=8, verbose=0, shuffle=False)
    assert again.count == 0


def test_python_code_that_uses_floats_runs_in_every_step():
    model, history, *_ = trained(Printing, False, epochs=2)
    assert len(model.seen) == 12
    np.testing.assert_allclose(model.seen[5], history["loss"][0], rtol=1e-6)


def test_numpy_in_a_metric():
    class Largest(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="largest")
            self.value = self.add_weight(name="value", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            errors = np.sort(ops.abs(y_true - y_pred).numpy().ravel())
            self.value.assign(np.maximum(self.value.numpy(), errors[-1]))

        def result(self):
            return self.value

    def made():
        return [Largest()]

    expected, found = (trained(EarlyExit, eagerly, made)[1:3] for eagerly in (True, False))
    np.testing.assert_allclose(found[0]["largest"], expected[0]["largest"], rtol=1e-5)
    np.testing.assert_allclose(found[1]["largest"], expected[1]["largest"], rtol=1e-5)


def test_a_model_without_requests_stays_one_program():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((32, 4)), np.ones((32, 1)), batch_size=8, verbose=0)
    assert not model.__dict__.get("_path_trees")


class Choosing(layers.Layer):
    """A layer that decides; its output shape must be known before there is a value."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = layers.Dense(3), layers.Dense(3, activation="tanh")

    def call(self, x):
        if ops.mean(x) > 0:
            return self.wide(x)
        return self.narrow(x)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_layers_that_decide_in_models_that_do_not(kind):
    layer = Choosing()
    if kind == "functional":
        inputs = keras.Input((4,))
        model = keras.Model(inputs, layers.Dense(1)(layer(inputs)))
    else:
        model = keras.Sequential([layer, layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    x = np.concatenate(batches(6, (8, 4)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        history = model.fit(x, x[:, :1], batch_size=8, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    expected = np.concatenate([model(x[i : i + 8]) for i in range(0, len(x), 8)])
    np.testing.assert_allclose(model.predict(x, batch_size=8, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_print_shows_values_in_every_call(capsys):
    @keras.function
    def shown(x):
        total = ops.sum(x)
        print("total", total, f"{total:.1f}")
        return total * 2

    for n in (1, 1, 2):
        shown(np.full(2, n, "float32"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[-3:]] == ["2.0", "2.0", "4.0"]
    assert "value=4." in lines[-1]


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


# -- function ------------------------------------------------------------------------------------------
def test_function_keeps_structures_and_says_why_it_traces():
    @keras.function
    def pair(d, flag=False):
        return {"sum": d["a"] + d["b"], "flag": flag, "none": None}

    result = pair({"a": np.ones(2, "float32"), "b": np.ones(2, "float32")})
    assert np.array(result["sum"]).tolist() == [2, 2] and result["flag"] is False and result["none"] is None
    pair({"a": np.ones(2, "float32"), "b": np.zeros(2, "float32")})
    pair({"a": np.ones(3, "float32"), "b": np.zeros(3, "float32")})
    pair({"a": np.ones(3, "float32"), "b": np.zeros(3, "float32")}, flag=True)
    assert len(pair.trace_reasons) == 3
    assert "float32[3], last float32[2]" in pair.trace_reasons[1]
    assert "structure" in pair.trace_reasons[2]


def test_function_with_input_signature():
    @keras.function(input_signature=[keras.InputSpec(shape=(None, 2), dtype="float32")])
    def double(x):
        return x * 2

    assert double([[1, 2]]).dtype == "float32"
    with pytest.raises(ValueError, match=r"argument 0 of double\(\) must have shape \(None, 2\)"):
        double([[1, 2, 3]])
    with pytest.raises(TypeError, match="input_signature of 1"):
        double([[1, 2]], [[1, 2]])


def test_function_as_method_and_lowered():
    class Scaler:
        def __init__(self, factor):
            self.factor = keras.Variable(factor)

        @keras.function
        def __call__(self, x):
            return x * self.factor if ops.sum(x) > 0 else x

    two, three = Scaler(2.0), Scaler(3.0)
    x = np.ones(2, "float32")
    assert np.array(two(x)).tolist() == [2, 2] and np.array(three(x)).tolist() == [3, 3]
    lowered = type(two).__call__.__get__(two).lower(x)
    assert "reduce_sum" in lowered.text() and "mul" in str(lowered)
    assert any("def kernel" in source for source in lowered.kernels)
