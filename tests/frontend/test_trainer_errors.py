"""Training that is interrupted or fails: the error says what to do, and the model stays usable."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import ops
from graphkeras.callbacks import Callback
from graphkeras.trainers.step import trace_step
from tests.frontend.training import data, linear, numpy_sgd


def test_keyboard_interrupt_leaves_a_usable_model(target):
    x, y = data(50)
    model = linear()

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    start = model.get_weights()[0]
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=10, shuffle=False, verbose=0, callbacks=[Stop()])
    kernel, _ = numpy_sgd(start, x[:20], y[:20], 10, 1)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])
    assert model.predict(x, verbose=0).shape == (50, 1)


def test_ctrl_c_is_noticed_during_native_runs(monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_TARGET", "cpu")
    x, y = data(4000)
    model = linear(optimizer=keras.optimizers.SGD(1e-3))
    model.fit(x, y, batch_size=10, verbose=0)
    before = int(model.optimizer.iterations)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    given = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start jobs that ignore it
    try:
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, batch_size=10, epochs=10**6, verbose=0)
    finally:
        signal.signal(signal.SIGINT, given)
    assert time.monotonic() - start < 30
    assert int(model.optimizer.iterations) > before
    assert np.isfinite(model.evaluate(x, y, verbose=0))
    assert len(model.fit(x, y, verbose=0).history["loss"]) == 1


def embedding(computed):
    inputs = keras.Input((4,), dtype="int32")
    table = keras.layers.Embedding(10, 3, embeddings_initializer="ones")
    h = keras.layers.Flatten()(table(inputs + 0 * inputs if computed else inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(h))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


@pytest.mark.parametrize("computed", [False, True])
def test_index_out_of_range_spoils_no_weights(target, computed):
    """Indices that are data are checked beforehand; after a failing step with computed ones the state is put back."""
    x = np.random.default_rng(0).integers(0, 10, (40, 4)).astype("int32")
    y = x.sum(1, keepdims=True).astype("float32")
    model = embedding(computed)
    start = model.get_weights()
    if computed:
        model.fit(x[:20], y[:20], batch_size=10, shuffle=False, verbose=0)
    expected = model.get_weights()
    model.set_weights(start)
    x[25, 2] = 99
    with pytest.raises((ValueError, IndexError, RuntimeError), match="99"):
        model.fit(x, y, batch_size=10, shuffle=False, verbose=0)
    for found, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert np.isfinite(model.fit(x[:20], y[:20], verbose=0).history["loss"][0])


def test_error_in_the_middle_of_an_epoch(target):
    """The layer fails when it sees the last, smaller batch; the steps before it count."""

    class Picky(keras.layers.Layer):
        def call(self, x):
            if x.shape[0] == 10:
                raise ValueError("Picky cannot take 10 rows")
            return x

    x, y = data(50)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False), Picky()])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    start = model.get_weights()[0]
    with pytest.raises(ValueError, match="Picky cannot take 10 rows"):
        model.fit(x, y, batch_size=20, shuffle=False, verbose=0)
    kernel, _ = numpy_sgd(start, x[:40], y[:40], 20, 1)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
    model.fit(x[:40], y[:40], batch_size=20, verbose=0)
    assert model.predict(x[:5]).shape == (5, 1)


def test_generator_that_fails(interpreted):
    x, y = data(40)

    def batches():
        yield x[:10], y[:10]
        yield x[10:20], y[10:20]
        raise RuntimeError("disk on fire")

    model = linear()
    start = model.get_weights()[0]
    with pytest.raises(RuntimeError, match="disk on fire"):
        model.fit(batches(), verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], numpy_sgd(start, x[:20], y[:20], 10, 1)[0], rtol=1e-4)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "Data cardinality is ambiguous"),
        (lambda x, y: (x[:0], y[:0]), "empty"),
        (lambda x, y: (x.astype(str), y), "Invalid dtype"),
        (lambda x, y: (x.tolist(), y), "Unrecognized data type"),
        (lambda x, y: (x[:, :3], y), "incompatible|expected"),
        (lambda x, y: (x, np.concatenate([y, y], 1)), "shape"),
    ],
)
def test_bad_data(interpreted, change, message):
    x, y = data(20)
    model = linear()
    before = model.get_weights()[0]
    with pytest.raises(ValueError, match=message):
        model.fit(*change(x, y), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)
    model.fit(x, y, verbose=0)


def test_label_out_of_range(interpreted):
    x = np.ones((8, 4), "float32")
    y = np.array([0, 1, 2, 1, 0, 5, 2, 1])
    model = linear(units=3, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match=r"label 5 at index \(5,\).*3 classes"):
        model.fit(x, y, verbose=0)
    model.fit(x, y % 3, verbose=0)


def test_nan_is_reported_by_name(interpreted):
    x, y = data(20)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"`x` contains 1 NaN"):
        linear().fit(x, y, verbose=0)


def test_names_are_checked_at_compile():
    model = linear()
    for compiled in ({"loss": "meen_squared_error"}, {"metrics": ["acuracy"]}, {"optimizer": "adamm"}):
        with pytest.raises(ValueError, match=r"Could not interpret|Did you mean"):
            model.compile(**compiled)
    with pytest.raises(ValueError, match=r"list, tuple, or dict"):
        model.compile("sgd", "mse", metrics="mae")


def test_not_compiled():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="compile"):
        model.fit(np.ones((4, 4)), np.ones((4, 1)))


def test_recompiling_keeps_what_is_not_given(interpreted):
    x, y = data(20)
    model = linear(metrics=["mae"])
    model.compile("sgd")
    assert set(model.fit(x, y, verbose=0).history) == {"loss", "mae"}


def test_indices_that_the_graph_keeps_in_range_need_no_copy_of_the_state():
    """Labels are clipped to the classes by the loss, so that no step can fail half way; a table's indices are not."""
    x, y = np.zeros((4, 3), np.int32), np.zeros((4,), np.int64)

    def guarded(*layers):
        head = (keras.layers.Flatten(), keras.layers.Dense(5))
        model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers, *head])
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return trace_step(model, "train", (x, y, None)).guarded

    def looked_up(low, high):
        table = keras.layers.Embedding(7, 2)
        return keras.layers.Lambda(lambda t: ops.clip(t + 1, low, high)), table

    assert guarded(keras.layers.Embedding(7, 2))  # checked in the data, before the step
    assert guarded(*looked_up(0, 6))
    assert not guarded(*looked_up(0, 7))
    assert not guarded(*looked_up(-8, 6))
    assert not guarded(keras.layers.Lambda(lambda t: t + 1), keras.layers.Embedding(7, 2))
