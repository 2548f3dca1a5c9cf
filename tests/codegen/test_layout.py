"""Transposes in compiled train steps: how many kernels only copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.backend import executor
from graphkeras.codegen import flags
from graphkeras.trainers.step import trace_step

L = keras.layers
SMALL = 4096  # bytes: copies of vectors and of small weights are not what this is about


def channels_first(order: str = "channels_first") -> tuple[Any, tuple[int, ...]]:
    """A convolution, batch normalisation and pooling stack."""
    axis = 1 if order == "channels_first" else -1
    shape = (3, 24, 24) if order == "channels_first" else (24, 24, 3)
    model = keras.Sequential([keras.Input(shape)])
    for filters in (8, 16):
        model.add(L.Conv2D(filters, 3, padding="same", use_bias=False, data_format=order))
        model.add(L.BatchNormalization(axis=axis))
        model.add(L.ReLU())
        model.add(L.MaxPooling2D(2, data_format=order))
    model.add(L.Conv2D(16, 3, activation="relu", data_format=order))
    model.add(L.GlobalAveragePooling2D(data_format=order))
    model.add(L.Dense(4))
    return model, shape


def attention() -> tuple[Any, tuple[int, ...]]:
    x = keras.Input((20, 16))
    y = L.LayerNormalization()(x + L.MultiHeadAttention(2, 8)(x, x))
    return keras.Model(x, L.Dense(4)(L.GlobalAveragePooling1D()(y))), (20, 16)


def permutes() -> tuple[Any, tuple[int, ...]]:
    """Mixing along one axis after the other, as in an MLP-Mixer, with activations between the permutations."""
    x = keras.Input((24, 12))
    y = L.Permute((2, 1))(x)
    y = L.Permute((2, 1))(L.Dense(24, activation="relu")(L.Activation("tanh")(y))) + x
    y = L.Permute((2, 1))(L.LeakyReLU()(L.Permute((2, 1))(L.Dense(12, activation="relu")(y)))) * x
    return keras.Model(x, L.Dense(4)(L.GlobalAveragePooling1D()(y))), (24, 12)


def train_step(model: Any, shape: tuple[int, ...], batch: int = 32) -> Any:
    model.compile(optimizer="sgd", loss="mean_squared_error")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(batch, *shape)).astype(np.float32), rng.normal(size=(batch, 4)).astype(np.float32), None
    return trace_step(model, "train", data), data


def copies(step: Any) -> list[int]:
    """Bytes moved by each kernel that only copies."""
    kernels = step.executable.program.kernels
    return [int(k.nbytes) for k in kernels if k.name == "copy" and k.nbytes > 2 * SMALL]


@pytest.mark.parametrize(("make", "most"), [(channels_first, 2), (attention, 2), (permutes, 0)])
def test_copies_in_a_train_step(make: Any, most: int) -> None:
    keras.utils.set_random_seed(0)
    step, _ = train_step(*make())
    with flags.PASSES("-layout"):
        keras.backend.clear_session()
        executor.cache.clear()  # it knows no switches
        keras.utils.set_random_seed(0)
        plain, _ = train_step(*make())
    assert len(copies(step)) <= most, copies(step)
    ours, without = (p.executable.program.kernels for p in (step, plain))
    assert sum(k.nbytes for k in ours) <= 1.05 * sum(k.nbytes for k in without)


def test_channels_first_trains_as_channels_last_does() -> None:
    results = []
    for order in ("channels_first", "channels_last"):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model, _ = channels_first(order)
        model.compile(optimizer="sgd", loss="mean_squared_error")
        x = np.random.default_rng(0).normal(size=(16, 3, 24, 24)).astype(np.float32)
        y = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
        x = x if order == "channels_first" else np.moveaxis(x, 1, -1).copy()
        losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
        results.append((losses, model.get_weights()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for first, last in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(first, last, rtol=1e-4, atol=1e-5)
