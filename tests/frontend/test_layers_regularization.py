"""Dropout and noise: distribution, reproducibility, shapes of masks, traced calls, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras import layers
from tests.frontend.layer_cases import run_traced


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, "float32")


def test_dropout_scales_what_it_keeps() -> None:
    layer = layers.Dropout(0.25, seed=1)
    output = np.asarray(layer(ones(200, 200), training=True))
    assert set(np.unique(output)) == {np.float32(0.0), np.float32(1 / 0.75)}
    assert abs((output == 0).mean() - 0.25) < 0.01
    np.testing.assert_array_equal(np.asarray(layer(ones(3, 4))), ones(3, 4))
    np.testing.assert_array_equal(np.asarray(layers.Dropout(0.0)(ones(3, 4), training=True)), ones(3, 4))
    np.testing.assert_array_equal(np.asarray(layers.Dropout(1.0)(ones(3, 4), training=True)), np.zeros((3, 4)))


def test_dropout_is_reproducible_and_moves_on() -> None:
    first, second = layers.Dropout(0.5, seed=3), layers.Dropout(0.5, seed=3)
    a, b = (np.asarray(layer(ones(50, 50), training=True)) for layer in (first, second))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, np.asarray(first(ones(50, 50), training=True)))
    assert len(first.variables) == 1 and first.weights == []


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dropout(0.5, seed=2), (6, 7)),
        (layers.AlphaDropout(0.5, seed=2), (6, 7)),
        (layers.GaussianDropout(0.5, seed=2), (6, 7)),
        (layers.GaussianNoise(0.5, seed=2), (6, 7)),
        (layers.SpatialDropout1D(0.5, seed=2), (3, 4, 5)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_traced_call_draws_the_same_numbers_and_assigns_the_new_state(layer: Any, shape: tuple[int, ...]) -> None:
    x = ones(*shape)
    before = layer.seed_generator.state.numpy()
    traced, written = run_traced(layer, x, training=True)
    np.testing.assert_array_equal(layer.seed_generator.state.numpy(), before)
    eager = np.asarray(layer(x, training=True))
    np.testing.assert_allclose(traced, eager, rtol=1e-6, atol=1e-6)
    (state,) = written.values()
    np.testing.assert_array_equal(state, layer.seed_generator.state.numpy())
    assert not np.array_equal(state, before)


def test_noise_shape_shares_the_mask() -> None:
    output = np.asarray(layers.Dropout(0.5, noise_shape=(None, 1, 3), seed=4)(ones(20, 5, 3), training=True))
    assert (output == output[:, :1]).all() and 0 < (output == 0).mean() < 1
    for bad, message in (
        ("ab", "tuple or list of integers"),
        ((1, 2.5), "integers or None"),
        ((1, 0), "positive integers or None"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.Dropout(0.5, noise_shape=bad)


@pytest.mark.parametrize(("rank", "data_format"), [(1, None), (2, "channels_last"), (2, "channels_first"), (3, None)])
def test_spatial_dropout_drops_whole_channels(rank: int, data_format: str | None) -> None:
    arguments = {} if data_format is None else {"data_format": data_format}
    layer = getattr(layers, f"SpatialDropout{rank}D")(0.5, seed=5, **arguments)
    first = data_format == "channels_first"
    x = ones(8, 6, *(4,) * rank) if first else ones(8, *(4,) * rank, 6)
    output = np.asarray(layer(x, training=True))
    output = np.moveaxis(output, 1, -1) if first else output
    flat = output.reshape(8, -1, 6)
    assert (flat == flat[:, :1]).all()
    assert set(np.unique(flat)) == {np.float32(0.0), np.float32(2.0)}


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = np.random.default_rng(0).normal(size=(400, 400)).astype("float32")
    output = np.asarray(layers.AlphaDropout(0.3, seed=6)(x, training=True))
    assert abs(output.mean()) < 0.02 and abs(output.std() - 1) < 0.02
    assert len(np.unique(output)) < x.size * 0.75


def test_gaussian_layers_have_the_promised_moments() -> None:
    noise = np.asarray(layers.GaussianNoise(0.5, seed=7)(0 * ones(300, 300), training=True))
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 0.5) < 0.01
    factor = np.asarray(layers.GaussianDropout(0.2, seed=8)(ones(300, 300), training=True))
    assert abs(factor.mean() - 1) < 0.01 and abs(factor.std() - 0.5) < 0.01


@pytest.mark.parametrize("name", ["Dropout", "AlphaDropout", "GaussianDropout", "SpatialDropout1D"])
def test_rate_must_be_a_fraction(name: str) -> None:
    for bad in (-0.1, 1.5):
        with pytest.raises(ValueError, match="Expected a float value between 0 and 1"):
            getattr(layers, name)(bad)


def test_activity_regularization_is_a_mean_over_the_batch() -> None:
    layer = layers.ActivityRegularization(l1=0.5, l2=2.0)
    x = 2 * ones(4, 3)
    np.testing.assert_array_equal(np.asarray(layer(x)), x)
    assert float(layer.losses[0]) == pytest.approx(0.5 * 6 + 2.0 * 12)
