"""compile, fit, evaluate, predict: values against NumPy, native loops, own steps."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops
from graphkeras.backend import executor
from graphkeras.callbacks import Callback
from graphkeras.trainers import loop
from tests.frontend.training import data, linear, numpy_sgd


# -- values ------------------------------------------------------------------------------------------
def test_fit_is_sgd(target):
    x, y = data(50)
    model = linear()
    start = model.get_weights()[0]
    history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)  # the last batch has 2 samples
    kernel, losses = numpy_sgd(start, x, y, 16, 3)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-4)
    assert history.epoch == [0, 1, 2]
    assert history.params == {"verbose": 0, "epochs": 3, "steps": 4}
    assert model.history is history


def test_evaluate_and_predict_agree_with_numpy(target):
    x, y = data(50)
    model = linear(metrics=["mae"])
    kernel = model.get_weights()[0]
    loss, mae = model.evaluate(x, y, batch_size=16, verbose=0)
    np.testing.assert_allclose(loss, np.mean((x @ kernel - y) ** 2), rtol=1e-5)
    np.testing.assert_allclose(mae, np.mean(np.abs(x @ kernel - y)), rtol=1e-5)
    assert set(model.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "mae"}
    np.testing.assert_allclose(model.predict(x, batch_size=16, verbose=0), x @ kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict(x[:3]), x[:3] @ kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.predict_on_batch(x[:7]), x[:7] @ kernel, rtol=1e-5, atol=1e-6)


def test_fast_predict_sees_new_weights(target):
    x, y = data(50)
    model = linear()
    for _ in range(3):
        np.testing.assert_allclose(model.predict(x[:2]), x[:2] @ model.get_weights()[0], rtol=1e-5, atol=1e-6)
        model.fit(x, y, verbose=0)
    model.set_weights([np.ones((4, 1))])
    np.testing.assert_allclose(model.predict(x[:2]), x[:2].sum(1, keepdims=True), rtol=1e-5, atol=1e-6)
    result = model.predict(x[:2])
    model.predict(x[2:4])
    np.testing.assert_allclose(result, x[:2].sum(1, keepdims=True), rtol=1e-5, atol=1e-6)  # not overwritten
    np.testing.assert_allclose(model.predict(x[:2].astype("float64")), result, rtol=1e-5, atol=1e-6)


def test_sample_weight(target):
    x, y = data(48)
    weight = np.linspace(0, 2, 48).astype("float32")
    model = linear(metrics=["mse"], weighted_metrics=["mse"])
    start = model.get_weights()[0]
    error = ((x @ start - y) ** 2)[:, 0]
    found = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], np.mean(weight * error), rtol=1e-5)
    np.testing.assert_allclose(found["mse"], np.mean(error), rtol=1e-5)
    np.testing.assert_allclose(found["weighted_mse"], np.average(error, weights=weight), rtol=1e-5)
    model.fit(x, y, sample_weight=weight, batch_size=16, shuffle=False, verbose=0)
    kernel, _ = numpy_sgd(start, x, y, 16, 1, weight=weight)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weight(interpreted, one_hot):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(32, 4)).astype("float32")
    labels = rng.integers(0, 3, 32)
    y = np.eye(3, dtype="float32")[labels] if one_hot else labels[:, None]
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.0), loss)
    probability = model.predict(x, verbose=0)[np.arange(32), labels]
    weight = np.array([1.0, 3.0, 0.5])[labels]  # class 0 is not named: it weighs 1
    history = model.fit(x, y, class_weight={1: 3.0, "2": 0.5}, verbose=0)
    np.testing.assert_allclose(history.history["loss"][0], np.mean(-np.log(probability) * weight), rtol=1e-5)
    with pytest.raises(ValueError, match="class_weight"):
        model.fit(x, y, class_weight={"cat": 2.0}, verbose=0)


def test_validation_split_takes_the_last_samples(interpreted):
    x, y = data(50)
    model = linear(optimizer=keras.optimizers.SGD(0.0))
    kernel = model.get_weights()[0]
    history = model.fit(x, y, validation_split=0.3, verbose=0)
    np.testing.assert_allclose(history.history["val_loss"][0], np.mean((x[35:] @ kernel - y[35:]) ** 2), rtol=1e-5)
    np.testing.assert_allclose(history.history["loss"][0], np.mean((x[:35] @ kernel - y[:35]) ** 2), rtol=1e-5)


def test_validation_freq_and_initial_epoch(interpreted):
    x, y = data(20)
    history = linear().fit(x, y, validation_data=(x, y), epochs=6, initial_epoch=1, validation_freq=[2, 6], verbose=0)
    assert history.epoch == [1, 2, 3, 4, 5]
    assert len(history.history["val_loss"]) == 2


def test_steps_per_epoch_continues_and_warns_at_the_end(interpreted):
    x, y = data(40)
    model = linear()
    seen = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(x, y, batch_size=8, steps_per_epoch=3, epochs=3, shuffle=False, verbose=0, callbacks=[note])
    assert seen == [0, 1, 2, 0, 1, 0, 1, 2]


def test_shuffle_visits_every_sample_once(interpreted):
    class Sum(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="total")
            self.total = self.add_weight(shape=(10,), initializer="zeros", name="total")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total.assign_add(ops.sum(ops.one_hot(ops.cast(y_true[:, 0], "int32"), 10), axis=0))

        def result(self):
            return ops.max(self.total) - ops.min(self.total) + ops.sum(self.total)

    x = np.ones((10, 4), "float32")
    y = np.arange(10, dtype="float32")[:, None]
    for shuffle in (True, "batch", False):
        model = linear(metrics=[Sum()], optimizer=keras.optimizers.SGD(0.0))
        history = model.fit(x, y, batch_size=4, shuffle=shuffle, verbose=0)
        assert history.history["total"] == [10.0]


# -- several outputs ----------------------------------------------------------------------------------
def two_outputs():
    x = keras.Input((4,))
    a = keras.layers.Dense(1, name="a", kernel_initializer="ones")(x)
    b = keras.layers.Dense(1, name="b", kernel_initializer="zeros")(x)
    return keras.Model(x, [a, b])


def test_two_losses_by_list_and_dict(interpreted):
    x, y = data(30)
    expected_a = np.mean((x.sum(1, keepdims=True) - y) ** 2)
    expected_b = np.mean(np.abs(2 * y))
    for loss, weights, metrics in (
        (["mse", "mae"], [1.0, 0.5], [["mae"], None]),
        ({"a": "mse", "b": "mae"}, {"a": 1.0, "b": 0.5}, {"a": ["mae"]}),
    ):
        model = two_outputs()
        model.compile("sgd", loss, loss_weights=weights, metrics=metrics)
        logs = model.evaluate(x, [y, 2 * y], verbose=0, return_dict=True)
        assert set(logs) == {"loss", "a_loss", "b_loss", "a_mae"}
        np.testing.assert_allclose(logs["a_loss"], expected_a, rtol=1e-5)
        np.testing.assert_allclose(logs["b_loss"], expected_b, rtol=1e-5)
        np.testing.assert_allclose(logs["loss"], expected_a + 0.5 * expected_b, rtol=1e-5)
    by_name = model.evaluate(x, {"a": y, "b": 2 * y}, verbose=0, return_dict=True)
    np.testing.assert_allclose(by_name["loss"], logs["loss"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"Expected keys \['a', 'b'\] in loss dict"):
        model.compile("sgd", {"a": "mse", "c": "mae"})
        model.fit(x, [y, y], verbose=0)


def test_output_without_loss(interpreted):
    x, y = data(30)
    model = two_outputs()
    model.compile("sgd", ["mse", None])
    loss = model.evaluate(x, [y, y], verbose=0)
    np.testing.assert_allclose(loss, np.mean((x.sum(1, keepdims=True) - y) ** 2), rtol=1e-5)


# -- native loop --------------------------------------------------------------------------------------
class CountedRuns:
    """Counts native calls, and Python calls made while they run."""

    def __init__(self, monkeypatch):
        self.calls, self.steps = 0, 0
        original = executor.NativeExecutable.run

        def run(executable, steps=1):
            self.calls += 1
            self.steps += steps
            return original(executable, steps)

        monkeypatch.setattr(executor.NativeExecutable, "run", run)


def test_no_python_between_batches(monkeypatch):
    """Steady state: one native call covers many batches, and Python calls do not grow with their number."""
    monkeypatch.setenv("GRAPHKERAS_TARGET", "cpu")
    x, y = data(64 * 8)
    model = linear()
    for size in (8, 16):
        model.fit(x, y, batch_size=size, epochs=8, verbose=0)

    def python_calls(batch_size):
        count = 0

        def tick(frame, event, argument):
            nonlocal count
            count += event == "call"

        sys.setprofile(tick)
        try:
            model.fit(x, y, batch_size=batch_size, verbose=0)
        finally:
            sys.setprofile(None)
        return count

    loop.chunks_of(model, "train").steps = 1 << 20
    few = python_calls(16)
    loop.chunks_of(model, "train").steps = 1 << 20
    runs = CountedRuns(monkeypatch)
    many = python_calls(8)
    assert runs.steps == 64 and runs.calls == 1
    assert many - few < 10  # twice the batches, the same Python


def test_partial_batch_compiles_no_kernel(monkeypatch):
    """Another batch size costs a new plan and no machine code."""
    monkeypatch.setenv("GRAPHKERAS_TARGET", "cpu")
    from graphkeras.codegen.cpu import cache

    x, y = data(96)
    model = linear()
    loaded = set()
    original = cache.load
    monkeypatch.setattr(cache, "load", lambda sources: loaded.update(sources) or original(sources))
    model.fit(x[:90], y[:90], batch_size=32, verbose=0)
    known = set(loaded)
    loaded.clear()
    model.fit(x[:85], y[:85], batch_size=32, verbose=0)  # another partial batch, another data set size
    model.fit(x[:85], y[:85], batch_size=24, verbose=0)
    assert loaded and loaded <= known


def test_batch_callbacks_get_every_batch(target):
    x, y = data(50)
    seen = []

    class Note(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(("begin", batch))

        def on_train_batch_end(self, batch, logs=None):
            seen.append(("end", batch, sorted(logs)))

    linear(metrics=["mae"]).fit(x, y, batch_size=20, verbose=0, callbacks=[Note()])
    logs = ["loss", "mae"]
    assert seen == [("begin", 0), ("end", 0, logs), ("begin", 1), ("end", 1, logs), ("begin", 2), ("end", 2, logs)]


def test_steps_per_execution_gives_the_last_index(interpreted):
    x, y = data(16)
    seen = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    linear(steps_per_execution=3).fit(x, y, batch_size=4, verbose=0, callbacks=[note])
    assert seen == [2, 5]


# -- own steps ------------------------------------------------------------------------------------------
def test_own_train_step_is_compiled(target):
    class Doubling(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, use_bias=False)
            self.tracker = keras.metrics.Mean(name="own")
            self.python_steps = 0

        def call(self, x):
            return self.dense(x)

        def train_step(self, batch):
            self.python_steps += 1
            x, y = batch
            with keras.GradientTape() as tape:
                loss = ops.mean((self(x, training=True) - 2 * y) ** 2)
            variables = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            self.tracker.update_state(loss)
            return {"own": self.tracker.result(), "last": loss}

        @property
        def metrics(self):
            return [self.tracker]

    x, y = data(40)
    model = Doubling()
    model.compile(keras.optimizers.SGD(0.05))
    model(x[:1])
    start = model.get_weights()[0]
    history = model.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0)
    kernel, losses = numpy_sgd(start, x, 2 * y, 10, 3)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history.history["own"], losses, rtol=1e-4)
    assert len(history.history["last"]) == 3
    assert model.python_steps == 1  # traced once, run 12 times


def test_two_optimizers_in_one_step(interpreted):
    """A step that updates twice differentiates the second loss at the new weights."""

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.w = self.add_weight(shape=(), initializer="ones", name="w")

        def call(self, x):
            return x * self.w

        def train_step(self, x):
            for _ in range(2):
                with keras.GradientTape() as tape:
                    loss = ops.sum(self.w * self.w)
                self.optimizer.apply(tape.gradient(loss, [self.w]), [self.w])
            return {"loss": loss}

    model = Twice()
    model.compile(keras.optimizers.SGD(0.25))
    model.fit(np.ones((4, 1), "float32"), batch_size=4, verbose=0)
    np.testing.assert_allclose(float(model.w), 0.25)  # halves at each update


def test_run_eagerly_gives_values_and_the_same_result(interpreted):
    x, y = data(40)
    seen = []

    class Peek(keras.layers.Layer):
        def call(self, inputs):
            seen.append(float(ops.mean(inputs)))
            return inputs

        def compute_output_shape(self, input_shape):
            return input_shape

    results = []
    for eagerly in (False, True):
        inputs = keras.Input((4,))
        model = keras.Sequential([inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
        if eagerly:
            model.add(Peek())
        model.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"], run_eagerly=eagerly)
        seen.clear()
        history = model.fit(x, y, batch_size=10, shuffle=False, epochs=2, verbose=0)
        results.append((model.get_weights()[0], history.history["loss"], history.history["mae"]))
    assert len(seen) >= 8 and all(np.isfinite(seen))
    for lazy, eager in zip(*results, strict=True):
        np.testing.assert_allclose(lazy, eager, rtol=1e-5)


def test_add_loss_and_regularizers(interpreted):
    class Penalty(keras.layers.Layer):
        def call(self, x):
            self.add_loss(0.5 * ops.mean(x))
            return x

    x, y = data(20)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            Penalty(),
            keras.layers.Dense(1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.1)),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse")
    kernel = model.get_weights()[0]
    expected = np.mean((x @ kernel - y) ** 2) + 0.5 * x.mean() + 0.1 * np.sum(kernel**2)
    np.testing.assert_allclose(model.fit(x, y, verbose=0).history["loss"][0], expected, rtol=1e-5)
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), expected, rtol=1e-5)


def test_trainable_change_takes_effect_without_compile(interpreted):
    x, y = data(20)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.layers[0].trainable = False
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    frozen = model.layers[0].get_weights()[0]
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], frozen)
    model.layers[0].trainable = True
    with pytest.warns(UserWarning, match="trainable"):
        model.fit(x, y, verbose=0)
    assert np.abs(model.layers[0].get_weights()[0] - frozen).max() > 0
    model.layers[1].trainable = False
    kept = model.layers[1].get_weights()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[1].get_weights()[0], kept)


def test_subclassed_model_is_built_by_fit(interpreted):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [keras.layers.Dense(5, activation="relu"), keras.layers.Dense(1)]

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    x, y = data(20)
    model = Net()
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    assert model.built and model.count_params() == 4 * 5 + 5 + 5 + 1


def test_on_batch_methods(interpreted):
    x, y = data(16)
    model = linear(metrics=["mae"], optimizer=keras.optimizers.SGD(0.0))
    loss, mae = model.train_on_batch(x, y)
    np.testing.assert_allclose([loss, mae], model.test_on_batch(x, y), rtol=1e-6)
    assert set(model.train_on_batch(x, y, return_dict=True)) == {"loss", "mae"}
    assert model.train_on_batch(x, y) == [loss, mae]  # metrics start anew each time


def test_dropout_differs_between_steps_and_training(target):
    model = keras.Sequential([keras.Input((50,)), keras.layers.Dropout(0.5, seed=3)])
    model.compile("sgd", lambda y_true, y_pred: ops.mean(y_pred, axis=-1))
    x = np.ones((64, 50), "float32")
    y = np.ones((64, 1), "float32")
    first, second = (model.train_on_batch(x, y) for _ in range(2))
    assert first != second and abs(first - 1) < 0.2
    np.testing.assert_allclose(model.predict(x[:4]), x[:4])


def test_verbose_formats(interpreted, capsys):
    x, y = data(20)
    linear().fit(x, y, verbose=2, epochs=2, batch_size=10)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2" and lines[1].startswith("2/2 - 0s - ") and " - loss: " in lines[1]
    linear().fit(x, y, batch_size=10)
    shown = capsys.readouterr().out
    assert "\x1b[1m2/2\x1b[0m \x1b[32m" + "━" * 20 + "\x1b[0m" in shown and shown.endswith("\n")
    with pytest.raises(ValueError, match="verbose"):
        linear().fit(x, y, verbose=3)


def test_compile_config_round_trip():
    model = linear(metrics=["mae"], loss_weights=None)
    config = model.get_compile_config()
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    other.compile_from_config(config)
    assert other.loss == "mse" and float(other.optimizer.learning_rate) == pytest.approx(0.05)
    assert other.optimizer.built
