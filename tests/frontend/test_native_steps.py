"""One whole training step of small models, compiled against interpreted: losses, metrics, gradients, every variable."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.trainers.step import trace_step

ROWS = 12


def images(*stack):
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Flatten(), layers.Dense(3, activation="softmax")])


def sequences(*stack):
    return keras.Sequential([keras.Input((7, 5)), *stack, layers.Flatten(), layers.Dense(3, activation="softmax")])


def words(*stack):
    return keras.Sequential([keras.Input((7,), dtype="int32"), *stack, layers.Dense(3, activation="softmax")])


def residual():
    x = keras.Input((8, 8, 3))
    h = layers.Conv2D(3, 3, padding="same", use_bias=False)(x)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.Add()([x, layers.Conv2D(3, 3, padding="same")(h)])
    return keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(h)))


MODELS = {
    "mlp": lambda: sequences(layers.Flatten(), layers.Dense(16, activation="gelu"), layers.LayerNormalization()),
    "cnn": lambda: images(
        layers.Conv2D(6, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Dropout(0.3, seed=1),
    ),
    "strided": lambda: images(layers.Conv2D(4, 3, strides=2, padding="same"), layers.AveragePooling2D(2)),
    "dropout before a convolution": lambda: images(
        layers.Conv2D(16, 3, activation="relu"), layers.Dropout(0.3), layers.Conv2D(32, 3, padding="same")
    ),
    "dropout before a sequence": lambda: sequences(
        layers.Conv1D(32, 3, padding="same"), layers.Dropout(0.3), layers.Conv1D(32, 5, padding="same")
    ),
    "depthwise": lambda: images(layers.DepthwiseConv2D(3, padding="same"), layers.SeparableConv2D(4, 3)),
    "transposed": lambda: images(layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")),
    "conv1d": lambda: sequences(layers.Conv1D(6, 3, padding="causal", activation="tanh"), layers.GroupNormalization(3)),
    "residual": residual,
    "rnn": lambda: sequences(layers.SimpleRNN(6, return_sequences=True)),
    "lstm": lambda: sequences(layers.LSTM(6)),
    "lstm_sequences": lambda: sequences(layers.LSTM(6, return_sequences=True), layers.LSTM(4, go_backwards=True)),
    "gru": lambda: sequences(layers.GRU(6, return_sequences=True)),
    "bidirectional": lambda: sequences(layers.Bidirectional(layers.LSTM(4))),
    "masked": lambda: words(layers.Embedding(9, 5, mask_zero=True), layers.LSTM(4)),
    "embedding": lambda: words(layers.Embedding(9, 5), layers.GlobalAveragePooling1D()),
}


def state_after(model, program, arrays, start):
    for variable, value in start.items():
        variable.assign(value)
    program.run(arrays)
    return {v.path: v.numpy() for v in program.variables}, program.logs(model)


@pytest.mark.parametrize("name", MODELS)
def test_compiled_step_is_the_interpreted_one(name):
    rng = np.random.default_rng(0)
    model = MODELS[name]()
    shape = (ROWS, *model.inputs[0].shape[1:])
    x = rng.integers(0, 9, shape).astype("int32") if len(shape) == 2 else rng.normal(size=shape).astype("float32")
    y = rng.integers(0, 3, ROWS)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model._symbolic_build((x, y))
    slow, fast = (trace_step(model, "train", (x, y), interpret=i) for i in (True, False))
    start = {v: v.numpy() for v in slow.variables}
    expected, logs = state_after(model, slow, [x, y], start)
    found, native_logs = state_after(model, fast, [x, y], start)
    assert expected.keys() == found.keys()
    before = {v.path: value for v, value in start.items()}
    for path, value in expected.items():
        change = np.abs(value - before[path]).max()  # plain SGD: the change is the gradient, scaled
        np.testing.assert_allclose(found[path], value, rtol=1e-4, atol=1e-6 + 2e-3 * change, err_msg=path)
    for key, value in logs.items():
        np.testing.assert_allclose(float(native_logs[key]), float(value), rtol=1e-5, err_msg=key)
