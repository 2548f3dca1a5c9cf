"""Kernels follow the model, not the data: other batch sizes and sequence lengths ask for no new source.

The steps are traced, lowered and planned as for a run; what they would load is noted instead of compiled.
"""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.backend import executor
from graphkeras.codegen.cpu import cache
from graphkeras.trainers.step import Rows, trace_step

BATCHES = (256, 2, 3, 7, 8, 32, 33, 64, 100, 128, 1000, 4096)
LENGTHS = (20, 3, 4, 5, 7, 8, 11, 16, 17, 24, 31, 32, 33, 50, 64, 65, 100, 128, 200, 500)
ROWS = 5000


def mlp():
    return keras.Sequential(
        [
            keras.Input((784,)),
            layers.Dense(256, activation="relu", kernel_regularizer="l2"),
            layers.LayerNormalization(),
            layers.Dropout(0.3),
            layers.Dense(256, activation="gelu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def cnn():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.SpatialDropout2D(0.2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def resnet():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for filters, stride in ((16, 1), (32, 2)):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
        x = x if stride == 1 else layers.Conv2D(filters, 1, strides=stride, use_bias=False)(x)
        x = layers.add([x, y])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def lstm():
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(1000, 24),
            layers.LSTM(32, return_sequences=True, dropout=0.2),
            layers.Bidirectional(layers.GRU(16)),
            layers.Dense(2, activation="softmax"),
        ]
    )


def transformer():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(1000, 32, mask_zero=True)(inputs)
    x = layers.LayerNormalization()(x + layers.Dropout(0.1)(layers.MultiHeadAttention(2, 16)(x, x)))
    x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(64, activation="relu")(x)))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def embeddings():
    user, film = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    u, f = layers.Embedding(500, 16)(user), layers.Embedding(300, 16)(film)
    x = layers.Concatenate()([u, f, layers.Multiply()([u, f])])
    return keras.Model([user, film], layers.Dense(1)(layers.Dense(32, activation="relu")(x)))


SHAPES = {mlp: (784,), cnn: (8, 8, 1), resnet: (16, 16, 3), lstm: (20,), transformer: (20,), embeddings: ()}


@pytest.fixture
def sources(monkeypatch):
    """sources(model, mode, batch, shape): what a step would load."""
    monkeypatch.setenv("GRAPHKERAS_TARGET", "cpu")
    monkeypatch.setattr(executor, "cache", executor._Cache(1000))  # no program of this test is ever run
    noted: list[str] = []
    monkeypatch.setattr(cache, "load", lambda wanted: noted.extend(wanted) or [1] * len(wanted))

    def of(model, mode, batch, shape):
        noted.clear()
        executor.cache.clear()
        x = np.zeros((ROWS, *shape), "int32" if model.inputs[0].dtype == "int32" else "float32")
        x = tuple(x for _ in model.inputs) if len(model.inputs) > 1 else x
        y = np.zeros((ROWS,), "int32")
        trace_step(model, mode, (x,) if mode == "predict" else (x, y), Rows(batch, mode == "train"))
        assert noted
        return set(noted)

    return of


def compiled_model(make):
    model = make()
    loss = "mse" if make is embeddings else "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=[] if make is embeddings else ["accuracy"])
    return model


@pytest.mark.parametrize("mode", ["train", "test", "predict"])
@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_all_batch_sizes_from_two_on_share_their_kernels(make, mode, sources):
    model = compiled_model(make)
    asked = {batch: sources(model, mode, batch, SHAPES[make]) for batch in BATCHES}
    for first in (256, 2):  # whichever was compiled first, the others find all they need
        fresh = {batch: len(wanted - asked[first]) for batch, wanted in asked.items()}
        assert not any(fresh.values()), f"new sources by batch size after {first}: {fresh}"


@pytest.mark.parametrize("mode", ["train", "predict"])
@pytest.mark.parametrize("make", [lstm, transformer], ids=lambda make: make.__name__)
def test_twenty_sequence_lengths_share_their_kernels(make, mode, sources):
    model = compiled_model(make)
    asked = {length: sources(model, mode, 32, (length,)) for length in LENGTHS}
    known = asked[20] | asked[3]  # attention over a few tokens is spelled out
    fresh = {length: len(wanted - known) for length, wanted in asked.items()}
    assert not any(fresh.values()), f"new sources by length: {fresh}"


def test_a_batch_of_one_compiles_once(sources):
    """Vectors for matrices and nothing to sum: kernels of its own, the same ones every time."""
    model = compiled_model(mlp)
    one, two = (sources(model, "train", batch, (784,)) for batch in (1, 2))
    assert one - two and two & one
    assert sources(model, "train", 1, (784,)) == one
