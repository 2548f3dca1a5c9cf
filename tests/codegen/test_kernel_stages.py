"""What GRAPHKERAS_PASSES switches off in the lowering: each switch changes the kernels, and no result."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.codegen import flags
from graphkeras.codegen.kernel import Loop


def dense() -> keras.Model:
    return keras.Sequential([keras.Input((6, 12)), layers.Dense(8, "tanh"), layers.Dense(3)])


def images() -> keras.Model:
    stack = [keras.Input((24, 24, 16)), layers.Conv2D(16, 3, padding="same", activation="tanh"), layers.Dense(3)]
    return keras.Sequential(stack)


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((6, 12)), layers.LSTM(8, return_sequences=True), layers.Dense(3)])


def attentive() -> keras.Model:
    x = keras.Input((6, 12))
    return keras.Model(x, layers.Dense(3)(layers.MultiHeadAttention(2, 8)(x, x)))


MODELS = {
    "fuse": dense,
    "join_launches": dense,
    "winograd": images,
    "row_loops": recurrent,
    "attention_tiles": attentive,
}


def test_every_switch_has_a_model() -> None:
    assert set(MODELS) == set(flags.KERNEL_STAGES)


def trained(name: str, off: str) -> tuple[list[np.ndarray], object]:
    """Weights after a few steps of Adam, and the program that made them."""
    keras.utils.set_random_seed(3)
    with flags.PASSES(off):
        model = MODELS[name]()
        model.compile("adam", "mse")
        rng = np.random.default_rng(0)
        x = rng.standard_normal((16, *model.input_shape[1:]), dtype=np.float32)
        y = rng.standard_normal((16, *model.output_shape[1:]), dtype=np.float32)
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    (step,) = (p for key, p in model.__dict__["_programs"].items() if key[0] == "train")
    return model.get_weights(), step.executable.program


def sources(program) -> set[str]:
    return {s for k in program.kernels for s in k.sources}


@pytest.mark.parametrize("name", MODELS)
def test_a_switch_changes_kernels_and_no_result(name: str) -> None:
    (with_it, usual), (without, plain) = trained(name, ""), trained(name, f"-{name}")
    for a, b in zip(with_it, without, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    if name == "join_launches":
        assert len(plain.kernels) > len(usual.kernels)
    else:
        assert sources(plain) != sources(usual)
    if name == "row_loops":
        assert any(isinstance(i, Loop) for i in plain.instructions)
        assert not any(isinstance(i, Loop) for i in usual.instructions)
    if name == "attention_tiles":
        assert any("attention_tiles is switched off" in why for _, why in plain.declined)
