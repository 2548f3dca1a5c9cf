"""Models trained on the GPU and on the CPU from the same start: the loss curves agree."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers

pytestmark = pytest.mark.filterwarnings("error:.*runs on the CPU.*", "error:.*runs interpreted.*")
SMALL = bool(os.environ.get("GRAPHKERAS_QUICK"))


def mlp() -> keras.Model:
    return keras.Sequential(
        [keras.Input((20,)), layers.Dense(32, "relu"), layers.Dropout(0.2), layers.Dense(4, "softmax")]
    )


def normalised() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(24),
            layers.BatchNormalization(),
            layers.LayerNormalization(),
            layers.Activation("gelu"),
            layers.Dense(4, "softmax"),
        ]
    )


def convolutional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(64),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4, "softmax"),
        ]
    )


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((20,)), layers.Reshape((5, 4)), layers.LSTM(16), layers.Dense(4, "softmax")])


def attentive() -> keras.Model:
    x = inputs = keras.Input((20,))
    x = layers.Dense(16)(layers.Reshape((5, 4))(x))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(4, "softmax")(x))


MODELS = [mlp, normalised, convolutional, recurrent, attentive]


def curve(make: Callable[[], keras.Model], device_name: str, resident: bool) -> tuple[list[float], list[np.ndarray]]:
    keras.utils.set_random_seed(11)
    rng = np.random.default_rng(4)
    n = 64 if SMALL else 512
    x = rng.standard_normal((n, 20)).astype("float32")
    y = (x[:, :4] @ rng.standard_normal((4, 4))).argmax(1)
    with keras.device(device_name):
        model = make()
        model.compile(
            optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        epochs = 2 if SMALL else 5
        if resident:
            history = model.fit(x, y, batch_size=32, epochs=epochs, shuffle=True, verbose=0)
        else:
            batches = [(x[k : k + 32], y[k : k + 32]) for k in range(0, n, 32)]
            history = model.fit(
                (b for _ in range(epochs) for b in batches), steps_per_epoch=n // 32, epochs=epochs, verbose=0
            )
        return history.history["loss"], model.get_weights()


@pytest.mark.parametrize("resident", [True, False], ids=["arrays", "stream"])
@pytest.mark.parametrize("make", MODELS, ids=lambda m: m.__name__)
def test_loss_curves_agree(make: Callable[[], keras.Model], resident: bool, device_name: str) -> None:
    there, weights = curve(make, device_name, resident)
    here, expected = curve(make, "cpu", resident)
    np.testing.assert_allclose(there, here, rtol=2e-3)
    for a, b in zip(weights, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2 * max(1.0, abs(b).max()))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns(policy: str, device_name: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        losses, _ = curve(mlp, device_name, True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < losses[0]
