"""Recompute or store in compiled train steps: same training, smaller arenas, no more kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.backend import executor
from graphkeras.codegen import flags, repro
from graphkeras.ir.passes import recompute as stage
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.trainers.step import trace_step
from tests.ir.test_recompute import barriers, random_network

L = keras.layers
WIDTH = 64


def normalised_mlp(depth: int = 6) -> Any:
    x = keras.Input((WIDTH,))
    y = x
    for _ in range(depth):
        y = L.Dropout(0.2)(L.ReLU()(L.BatchNormalization()(L.Dense(WIDTH)(y))))
    return keras.Model(x, L.Dense(1)(y))


def gelu_mlp(depth: int = 6) -> Any:
    x = keras.Input((WIDTH,))
    y = x
    for _ in range(depth):
        y = L.Dropout(0.2)(L.Dense(WIDTH, activation="gelu")(y))
    return keras.Model(x, L.Dense(1)(y))


def residual_cnn() -> Any:
    x = keras.Input((12, 12, 3))
    y = L.Conv2D(8, 3, padding="same", use_bias=False)(x)
    for _ in range(3):
        z = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(y)))
        y = L.ReLU()(L.Add()([y, L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(z))]))
    return keras.Model(x, L.Dense(1)(L.GlobalAveragePooling2D()(y)))


def transformer() -> Any:
    x = keras.Input((12, 16))
    y = x
    for _ in range(2):
        y = L.LayerNormalization()(y + L.Dropout(0.1)(L.MultiHeadAttention(2, 8, dropout=0.1)(y, y)))
        y = L.LayerNormalization()(y + L.Dropout(0.1)(L.Dense(16)(L.Dense(32, activation="gelu")(y))))
    return keras.Model(x, L.Dense(1)(L.GlobalAveragePooling1D()(y)))


def step_of(make: Any, batch: int, off: str = "") -> tuple[Any, Any, list[np.ndarray]]:
    keras.backend.clear_session()
    executor.cache.clear()  # it knows no switches
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(optimizer="sgd", loss="mean_squared_error")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(batch, *s)).astype(np.float32) for s in (model.input_shape[1:], (1,))]
    with flags.PASSES(off):
        return model, trace_step(model, "train", (*arrays, None)), arrays


@pytest.mark.parametrize("make", [normalised_mlp, gelu_mlp, residual_cnn, transformer])
def test_training_is_the_same(make: Any) -> None:
    """Three steps with dropout, batch and layer normalisation, attention, with and without the stage."""
    results = []
    for off in ("", "-recompute"):
        model, step, arrays = step_of(make, 8, off)
        step.run(arrays, 3)
        results.append([np.array(v) for v in model.variables])
        assert barriers(optimise(step.executable.graph, off=off.lstrip("-").split(","))) > 0 or off
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=2e-6)


ARENAS = [(normalised_mlp, 4096, 0.75), (gelu_mlp, 4096, 0.92), (residual_cnn, 256, 0.75)]


@pytest.mark.parametrize(("make", "batch", "most"), ARENAS)
def test_arenas_shrink(make: Any, batch: int, most: float) -> None:
    """By the normalised values, which come from the centred ones again, and by masks; the kernels stay as many."""
    programs = [step_of(make, batch, off)[1].executable.program for off in ("", "-recompute")]
    ours, plain = (p.arena_nbytes for p in programs)
    assert ours <= most * plain, (ours, plain)
    assert len(programs[0].kernels) <= len(programs[1].kernels)
    assert sum(k.nbytes for k in programs[0].kernels) <= sum(k.nbytes for k in programs[1].kernels)


def test_masks_are_drawn_again() -> None:
    """No value of one byte per element, and no random word, is left from the forward pass."""
    _, step, _ = step_of(gelu_mlp, 4096)
    passes = stage._Passes(optimise(step.executable.graph))
    assert not [n for n in passes.crossing if n.op in ("ge", "random_word")]
    words = [n for n in passes.graph.nodes if n.op == "random_word"]
    assert len(words) == 12 and len({n.inputs for n in words}) == 12


def largest_of_noisy() -> Any:
    x = keras.Input((9, WIDTH))
    y = L.GaussianDropout(0.2)(L.GroupNormalization(1)(L.GroupNormalization(1)(x)))
    return keras.Model(x, L.Dense(1)(L.GlobalMaxPooling1D()(y)))


def test_what_is_compared_with_its_maximum_is_kept() -> None:
    """A second computation may differ in its last bit: it would equal the maximum nowhere, and no gradient pass."""
    _, step, _ = step_of(largest_of_noisy, 4096)
    graph = optimise(step.executable.graph)
    compared = [i for n in graph.nodes if n.op == "eq" for i in n.inputs if i.shape == (4096, 9, WIDTH)]
    assert compared and not {*compared} & stage._Passes(graph).free
    after = []
    for off in ("", "-recompute"):
        model, step, arrays = step_of(largest_of_noisy, 6, off)
        step.run(arrays, 1)
        after.append([np.array(v) for v in model.trainable_variables])
    for ours, plain in zip(*after, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_compiled(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PRICES", (0.0,) * 4)  # whatever may be computed again is
    graph = random_network(seed)
    rng = np.random.default_rng(seed)
    assert not repro.differing(graph, [rng.normal(size=i.shape).astype(np.float32) for i in graph.inputs])
