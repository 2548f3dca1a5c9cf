"""Normalisation layers against NumPy; moving averages, masks, frozen layers, adapt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras import layers
from tests.frontend.layer_cases import run_traced

rng = np.random.default_rng(11)


def standardized(x: np.ndarray, axes: Any, epsilon: float) -> np.ndarray:
    x = x.astype("float64")
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize(("shape", "axis"), [((8, 3), -1), ((4, 5, 6, 3), -1), ((4, 3, 5, 6), 1)])
def test_batch_normalization(shape: tuple[int, ...], axis: int) -> None:
    x = rng.normal(5.0, 3.0, size=shape).astype("float32")
    layer = layers.BatchNormalization(axis=axis, momentum=0.9, epsilon=1e-3)
    layer.build(shape)
    gamma, beta = rng.normal(size=(2, 3)).astype("float32")
    layer.set_weights([gamma, beta, np.full(3, 1.0, "float32"), np.full(3, 4.0, "float32")])
    axes = tuple(a for a in range(len(shape)) if a != axis % len(shape))
    along = [1] * len(shape)
    along[axis] = 3
    g, b = gamma.reshape(along), beta.reshape(along)
    np.testing.assert_allclose(np.asarray(layer(x)), (x - 1) / np.sqrt(4.001) * g + b, rtol=1e-4, atol=1e-4)
    expected = standardized(x, axes, 1e-3) * g + b
    traced, written = run_traced(layer, x, training=True)
    np.testing.assert_allclose(traced, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.asarray(layer(x, training=True)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.asarray(layer.moving_mean), 0.9 + 0.1 * x.mean(axes), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(layer.moving_variance), 3.6 + 0.1 * x.var(axes), rtol=1e-4)
    assert set(written) == {"moving_mean", "moving_variance"}
    np.testing.assert_allclose(written["moving_mean"], np.asarray(layer.moving_mean), rtol=1e-5)


def test_frozen_batch_normalization_uses_moving_averages() -> None:
    layer = layers.BatchNormalization(epsilon=0.0)
    x = rng.normal(5.0, 3.0, size=(6, 2)).astype("float32")
    layer.build(x.shape)
    layer.trainable = False
    np.testing.assert_allclose(np.asarray(layer(x, training=True)), x, rtol=1e-6)
    assert np.asarray(layer.moving_mean).tolist() == [0.0, 0.0]
    assert len(layer.trainable_weights) == 0 and len(layer.non_trainable_weights) == 4


def test_batch_variance_keeps_its_digits_far_from_zero() -> None:
    x = (rng.normal(size=(4096, 1)) + 1e4).astype("float32")
    layer = layers.BatchNormalization(momentum=0.0)
    layer(x, training=True)
    assert abs(float(np.asarray(layer.moving_variance)[0]) / x.astype("float64").var() - 1) < 1e-2


def test_batch_normalization_of_half_precision_is_computed_in_float32() -> None:
    x = np.full((4, 1), 60000.0, "float16") * np.array([[1], [-1], [1], [-1]], "float16")
    layer = layers.BatchNormalization(dtype="mixed_float16", momentum=0.0)
    output = layer(x, training=True)
    assert output.dtype == "float16"
    np.testing.assert_allclose(np.abs(np.asarray(output, "float32")), 1.0, rtol=1e-2)
    np.testing.assert_allclose(np.asarray(layer.moving_variance), [3.6e9], rtol=1e-2)


def test_batch_normalization_ignores_masked_steps() -> None:
    x = rng.normal(size=(3, 5, 2)).astype("float32")
    mask = rng.random((3, 5)) < 0.6
    layer = layers.BatchNormalization(momentum=0.0)
    layer(x, training=True, mask=mask)
    np.testing.assert_allclose(np.asarray(layer.moving_mean), x[mask].mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(layer.moving_variance), x[mask].var(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="one dimension less"):
        layer(x, training=True, mask=np.ones((3, 5, 2), bool))


def test_batch_renormalization_starts_like_batch_normalization() -> None:
    """With averages equal to the batch statistics, r = 1 and d = 0."""
    x = rng.normal(size=(64, 2)).astype("float32")
    layer = layers.BatchNormalization(renorm=True, epsilon=1e-3)
    layer.build(x.shape)
    layer.renorm_mean.assign(x.mean(0))
    layer.renorm_stddev.assign(np.sqrt(x.var(0) + 1e-3))
    np.testing.assert_allclose(np.asarray(layer(x, training=True)), standardized(x, 0, 1e-3), rtol=1e-3, atol=1e-4)
    layer.renorm_mean.assign(np.zeros(2, "float32"))
    layer.renorm_stddev.assign(np.full(2, 2.0, "float32"))
    np.testing.assert_allclose(np.asarray(layer(x, training=True)), x / 2.0, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="Received invalid keys"):
        layers.BatchNormalization(renorm=True, renorm_clipping={"max": 1.0})
    with pytest.raises(ValueError, match="rmax should be"):
        layers.BatchNormalization(renorm=True, renorm_clipping={"rmax": 0.0, "rmin": 1.0})
    with pytest.raises(ValueError, match="dmax should be non-negative"):
        layers.BatchNormalization(renorm=True, renorm_clipping={"dmax": -1.0})


@pytest.mark.parametrize("axis", [-1, 1, [1, 2], [-1, 1]])
def test_layer_normalization(axis: Any) -> None:
    x = rng.normal(2.0, 3.0, size=(2, 3, 4)).astype("float32")
    axes = tuple(sorted(a % 3 for a in (axis if isinstance(axis, list) else [axis])))
    layer = layers.LayerNormalization(axis=axis, epsilon=1e-4)
    layer.build(x.shape)
    assert tuple(layer.gamma.shape) == tuple(x.shape[a] for a in axes)
    gamma, beta = rng.normal(size=(2, *layer.gamma.shape)).astype("float32")
    layer.set_weights([gamma, beta])
    shape = [x.shape[a] if a in axes else 1 for a in range(3)]
    expected = standardized(x, axes, 1e-4) * gamma.reshape(shape) + beta.reshape(shape)
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(TypeError, match="int or a list/tuple of ints"):
        layers.LayerNormalization(axis={"axis": -1})


@pytest.mark.parametrize(("groups", "axis"), [(1, -1), (2, -1), (6, -1), (-1, -1), (3, 1)])
def test_group_normalization(groups: int, axis: int) -> None:
    shape = (2, 4, 5, 6) if axis == -1 else (2, 6, 4, 5)
    x = rng.normal(1.0, 2.0, size=shape).astype("float32")
    output = np.asarray(layers.GroupNormalization(groups, axis=axis, epsilon=1e-4)(x))
    last = np.moveaxis(x, axis, -1)
    parts = last.reshape(2, 4, 5, groups if groups > 0 else 6, -1)
    expected = standardized(parts, (1, 2, 4), 1e-4).reshape(last.shape)
    np.testing.assert_allclose(output, np.moveaxis(expected, -1, axis), rtol=1e-4, atol=1e-4)


def test_group_normalization_errors() -> None:
    for bad in (0, -2, 1.5, "32"):
        with pytest.raises(ValueError, match="argument `groups`"):
            layers.GroupNormalization(bad)
    with pytest.raises(ValueError, match="cannot be more than the number of channels"):
        layers.GroupNormalization(7).build((2, 6))
    with pytest.raises(ValueError, match="must be a multiple of the number of channels"):
        layers.GroupNormalization(4).build((2, 6))
    with pytest.raises(ValueError, match="should have a defined dimension"):
        layers.GroupNormalization(2).build((2, None))


def test_rms_and_unit_normalization() -> None:
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(np.asarray(layers.RMSNormalization()(x)), expected, rtol=1e-4)
    expected = x / np.sqrt((x**2).sum((1, 2), keepdims=True))
    np.testing.assert_allclose(np.asarray(layers.UnitNormalization(axis=[1, 2])(x)), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="out of bounds"):
        layers.UnitNormalization(axis=3)(x)


def test_spectral_normalization() -> None:
    x = rng.normal(size=(3, 5)).astype("float32")
    layer = layers.SpectralNormalization(layers.Dense(4), power_iterations=50)
    layer(x)
    kernel = np.asarray(layer.layer.kernel)
    output = np.asarray(layer(x, training=True))
    sigma = np.linalg.svd(kernel, compute_uv=False)[0]
    np.testing.assert_allclose(np.asarray(layer.layer.kernel), kernel / sigma, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(output, x @ kernel / sigma, rtol=1e-3, atol=1e-4)
    zeros = layers.SpectralNormalization(layers.Dense(4, kernel_initializer="zeros"))
    assert np.isfinite(np.asarray(zeros(x, training=True))).all()
    with pytest.raises(ValueError, match="nor 'embeddings'"):
        layers.SpectralNormalization(layers.ReLU())(x)
    with pytest.raises(ValueError, match="greater than zero"):
        layers.SpectralNormalization(layers.Dense(2), power_iterations=0)


@pytest.mark.parametrize("axis", [-1, None, (1, 2), 1])
def test_normalization_adapts_to_data(axis: Any) -> None:
    data = rng.normal(3.0, 2.0, size=(50, 4, 3)).astype("float32")
    kept = () if axis is None else tuple(a % 3 for a in (axis if isinstance(axis, tuple) else (axis,)))
    reduced = tuple(a for a in range(3) if a not in kept)
    expected = (data - data.mean(reduced, keepdims=True)) / data.std(reduced, keepdims=True)
    whole = layers.Normalization(axis=axis)
    whole.adapt(data)
    batched = layers.Normalization(axis=axis)
    batched.adapt(data[i : i + 16] for i in range(0, 50, 16))
    for layer in (whole, batched):
        np.testing.assert_allclose(np.asarray(layer(data)), expected, rtol=1e-3, atol=1e-4)
    inverse = layers.Normalization(axis=axis, invert=True)
    inverse.adapt(data)
    np.testing.assert_allclose(np.asarray(inverse(expected)), data, rtol=1e-3, atol=1e-3)


def test_normalization_adapts_again_inside_a_traced_call() -> None:
    layer = layers.Normalization()
    layer.adapt(np.array([[0.0], [2.0]], "float32"))
    traced, _ = run_traced(layer, np.array([[3.0]], "float32"))
    assert traced.tolist() == [[2.0]]
    assert [w.name for w in layer.weights] == ["mean", "variance", "count"]


def test_normalization_errors() -> None:
    with pytest.raises(ValueError, match="both `mean` and `variance`"):
        layers.Normalization(mean=1.0)
    with pytest.raises(ValueError, match="same shape"):
        layers.Normalization(mean=[1.0, 2.0], variance=[1.0])
    with pytest.raises(ValueError, match="empty iterable"):
        layers.Normalization().adapt([])
    with pytest.raises(TypeError, match="Unsupported data type"):
        layers.Normalization().adapt(3)
    with pytest.raises(TypeError, match="shape"):
        layers.Normalization().adapt([[1.0, 2.0]])
    with pytest.raises(ValueError, match="known shape"):
        layers.Normalization().build((2, None))
    layer = layers.Normalization()
    layer.adapt(np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="incompatible shape"):
        layer.adapt(np.ones((2, 4), "float32"))


def test_rescaling() -> None:
    x = np.array([[0, 255]], "uint8")
    output = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    assert output.dtype == "float32"
    np.testing.assert_allclose(np.asarray(output), [[-1.0, 1.0]], rtol=1e-6)
    per_channel = layers.Rescaling([1.0, 2.0])(np.ones((1, 2), "float32"))
    assert np.asarray(per_channel).tolist() == [[1.0, 2.0]]
