"""Training on a simulated Hopper: products, convolutions and their gradients on its own tensor cores, in one graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.codegen.cuda import product_launch


def dense() -> keras.Model:
    return keras.Sequential([keras.Input((64,)), layers.Dense(64, "relu"), layers.Dense(64), layers.Dense(1)])


def images() -> keras.Model:
    stack = [keras.Input((3, 2, 64)), layers.Conv2D(64, 3, padding="same", activation="relu"), layers.Flatten()]
    return keras.Sequential([*stack, layers.Dense(1)])


def trained(make: Callable[[], keras.Model], device: str) -> tuple[list[np.ndarray], list[str]]:
    """Weights after two steps, and names of the kernels of a step."""
    keras.utils.set_random_seed(1)
    with keras.device(device):
        model = make()
        model.compile(keras.optimizers.SGD(0.01), "mse")
        rng = np.random.default_rng(0)
        x = rng.standard_normal((128, *model.input_shape[1:])).astype("float32")
        model.fit(x, x.reshape(128, -1).mean(1), batch_size=64, epochs=1, verbose=0)
        weights = model.get_weights()
    (step,) = (p for key, p in model.__dict__["_programs"].items() if key[0] == "train")
    return weights, [k.name for k in step.executable.program.kernels]


@pytest.mark.parametrize("make, at_least", [(dense, 4), (images, 2)])
def test_training(monkeypatch: pytest.MonkeyPatch, make: Callable[[], keras.Model], at_least: int) -> None:
    monkeypatch.setattr(product_launch, "synchronous_cycles", lambda *_: float("inf"))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        got, names = trained(make, "cuda:simulated")
        want, _ = trained(make, "cpu")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert sum("hopper_product" in name for name in names) >= at_least
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3)
