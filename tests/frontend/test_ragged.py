"""Batches as they come: lengths that differ, unknown extents, several steps per call, and a debugger inside a step."""

from __future__ import annotations

import bdb
import sys

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.core.tensor import Tensor
from graphkeras.trainers.step import StepProgram

SIZES = [(6, 5), (4, 9), (6, 3), (1, 7), (6, 5)]


def sentences(seed=0):
    """Batches of token ids, padded to the longest of each batch; the target is the share of token 1."""
    rng = np.random.default_rng(seed)
    for count, length in SIZES:
        ids = rng.integers(1, 9, (count, length)).astype("int32")
        ends = rng.integers(1, length + 1, count)
        ids[np.arange(length) >= ends[:, None]] = 0
        share = ((ids == 1).sum(axis=1) / ends).astype("float32")
        yield ids, share[:, None]


def padded(length=9):
    """The same sentences in arrays."""
    xs, ys = zip(*sentences(), strict=True)
    return np.concatenate([np.pad(x, ((0, 0), (0, length - x.shape[1]))) for x in xs]), np.concatenate(ys)


def reader(**compiled):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse", "metrics": ["mae"], **compiled})
    return model


class Sentences(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.batches = list(sentences())

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, i):
        return self.batches[i]


def assert_same_weights(a, b, **tolerance):
    for left, right in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, **{"rtol": 1e-4, "atol": 1e-6, **tolerance})


def test_batches_of_different_lengths_train_as_in_eager_mode():
    compiled, eager, sequence = reader(), reader(run_eagerly=True), reader()
    histories = [model.fit(sentences(), verbose=0).history for model in (compiled, eager)]
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-4)
    assert_same_weights(compiled, eager)
    assert all(isinstance(p, StepProgram) for p in compiled._programs.values())
    sequence.fit(Sentences(), shuffle=False, verbose=0)
    assert_same_weights(sequence, compiled, rtol=0, atol=0)


def test_padding_changes_nothing():
    """Masks reach through embedding, recurrent layer, attention, sum and mean."""
    model = reader()
    model.fit(sentences(), verbose=0)
    x, y = padded()
    apart = np.concatenate([model.predict_on_batch(ids) for ids, _ in sentences()])
    np.testing.assert_allclose(model.predict(x, batch_size=32, verbose=0), apart, rtol=1e-4, atol=1e-6)
    streamed = model.evaluate(Sentences(), verbose=0)
    np.testing.assert_allclose(streamed, model.evaluate(x, y, batch_size=32, verbose=0), rtol=1e-4)
    again = model.predict(Sentences(), verbose=0)
    np.testing.assert_allclose(again, apart, rtol=1e-4, atol=1e-6)


def test_images_of_different_sizes():
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, activation="relu", padding="same")(inputs)
    x = layers.BatchNormalization()(layers.MaxPooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    assert model.output_shape == (None, 2) and x.shape == (None, None, None, 4)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(3)
    batches = [(rng.normal(size=(3, h, w, 1)), np.array([0, 1, 1])) for h, w in ((6, 8), (9, 7), (6, 8), (5, 5))]
    history = model.fit(iter(batches), verbose=0).history
    assert np.isfinite(history["loss"]).all() and int(model.optimizer.iterations) == 4
    assert len([k for k in model._programs if k[0] == "train"]) == 3


@pytest.mark.parametrize("source", ["arrays", "stream"])
def test_steps_per_execution(source):
    """The same training, with batch callbacks once per three steps, and once for the rest."""
    plain, several = reader(), reader(steps_per_execution=3)
    calls = {}
    for model in (plain, several):
        seen = calls[model] = []
        note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, seen=seen: seen.append(batch))
        if source == "arrays":
            model.fit(*padded(), batch_size=5, shuffle=False, verbose=0, callbacks=[note])
        else:
            model.fit(Sentences(), shuffle=False, verbose=0, callbacks=[note])
    assert_same_weights(plain, several, rtol=0, atol=0)
    assert calls[plain] == [0, 1, 2, 3, 4] and calls[several] == [2, 5]


# -- a debugger --------------------------------------------------------------------------------------
class Debugged(keras.Model):
    """Stops in `call`, in a layer's `call` and in `train_step`."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        h = self.dense(x)
        breakpoint()
        return ops.sum(h, axis=-1, keepdims=True)

    def train_step(self, data):
        logs = super().train_step(data)
        breakpoint()
        return logs


def test_breakpoints_see_values(monkeypatch):
    seen = []

    def hook():
        frame = sys._getframe(1)
        seen.append((frame.f_code.co_name, dict(frame.f_locals)))

    monkeypatch.setattr(sys, "breakpointhook", hook)
    model = Debugged()
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = np.arange(12.0).reshape(6, 2).astype("float32"), np.ones((6, 1), "float32")
    model.fit(x, y, batch_size=3, shuffle=False, verbose=0)
    names = [name for name, _ in seen]
    assert names.count("train_step") == 2 and names.count("call") >= 2
    stops = [local for name, local in seen if name == "call"]
    # An unbuilt model runs once on shapes alone; from then on a debugger sees values.
    first = next(i for i, local in enumerate(stops) if "value=" in repr(local["h"]))
    assert first <= 1 and len(stops) - first >= 2
    for local in stops[first:]:
        assert isinstance(local["h"], Tensor) and "value=" in repr(local["h"])
        np.testing.assert_allclose(
            np.asarray(ops.sum(local["h"], axis=-1)), np.asarray(local["h"]).sum(axis=-1), rtol=1e-6
        )
    np.testing.assert_array_equal(np.asarray(stops[-1]["x"]), x[3:])
    assert float(seen[-1][1]["logs"]["loss"]) > 0


def test_a_debugger_steps_through_call(monkeypatch):
    """pdb's machinery: stop at the breakpoint, go on line by line, look at locals, change one."""

    class Recorder(bdb.Bdb):
        lines: list = []

        def user_line(self, frame):
            if frame.f_code.co_name == "call" and "h" in frame.f_locals:
                self.lines.append(float(ops.sum(frame.f_locals["h"])))
                self.set_continue()
            else:
                self.set_next(frame)

    def hook():
        Recorder().set_trace(sys._getframe(1))

    monkeypatch.setattr(sys, "breakpointhook", hook)
    before = sys.gettrace()
    model = Debugged()
    model.compile("sgd", "mse", run_eagerly=True)
    try:
        model.predict(np.ones((2, 2), "float32"), verbose=0)
    finally:
        sys.settrace(before)
    assert Recorder.lines and np.isfinite(Recorder.lines).all()


def test_breakpoints_in_a_compiled_step_stop_once_while_it_is_traced(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: seen.append(1))
    model = Debugged()
    model.compile("sgd", "mse")
    x, y = np.ones((6, 2), "float32"), np.ones((6, 1), "float32")
    model.fit(x, y, batch_size=3, epochs=4, verbose=0)
    count = len(seen)
    model.fit(x, y, batch_size=3, epochs=4, verbose=0)
    assert len(seen) == count
