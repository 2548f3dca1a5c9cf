"""Models whose layers and steps look at values: compiled equals eager."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from tests.frontend.test_dynamic import batches
from tests.programs.checks import Compiles


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


def test_losses_and_metrics_that_decide():
    """A loss that asserts and branches, a metric that loops and counts with `and`, `or`, `not`, int() and item()."""

    def robust(y_true, y_pred):
        error = ops.abs(y_true - y_pred)
        assert ops.all(ops.isfinite(error))
        if ops.max(error) > 2 and not ops.all(error > 1):
            return ops.mean(error)
        return ops.mean(error * error)

    class Halvings(keras.metrics.Metric):
        """How often the largest error has to be halved to be below 0.1, over all batches."""

        def __init__(self):
            super().__init__(name="halvings")
            self.total = self.add_weight(name="total", initializer="zeros")
            self.worst = self.add_weight(name="worst", initializer="zeros", dtype="int32")

        def update_state(self, y_true, y_pred, sample_weight=None):
            error, count = ops.max(ops.abs(y_true - y_pred)), 0
            while error > 0.1 or count < 1:
                error, count = error / 2, count + 1
            self.total.assign_add(float(count))
            if count > int(self.worst):
                self.worst.assign(count)

        def result(self):
            return self.total + ops.cast(self.worst, "float32") / 100

    x = np.concatenate(batches(6, (8, 4)))
    y = x.sum(axis=1, keepdims=True)
    histories = []
    for eagerly in (True, False):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.02), robust, metrics=[Halvings()], run_eagerly=eagerly)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history
        histories.append(history)
        scores = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
        histories[-1] |= {f"val {k}": [v] for k, v in scores.items()}
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5)
    model.compile(keras.optimizers.SGD(0.02), robust)
    with pytest.raises(AssertionError):
        model.fit(x * np.inf, y, batch_size=8, verbose=0)
