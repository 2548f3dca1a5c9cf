"""Initializers: distributions, repetition, shapes; regularizers, constraints, activations against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import activations, constraints, initializers, ops, regularizers
from graphkeras.initializers.constant_initializers import named_window
from graphkeras.initializers.random_initializers import compute_fans
from tests.frontend.math_helpers import run_traced

SHAPE = (120, 80)
VARIANCES = {
    "glorot_uniform": 2 / 200,
    "glorot_normal": 2 / 200,
    "he_uniform": 2 / 120,
    "he_normal": 2 / 120,
    "lecun_uniform": 1 / 120,
    "lecun_normal": 1 / 120,
    "random_normal": 0.05**2,
    "random_uniform": 0.1**2 / 12,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_moments(name):
    values = initializers.get(name)(SHAPE).numpy()
    assert values.shape == SHAPE and values.dtype == np.float32
    np.testing.assert_allclose(values.var(), VARIANCES[name], rtol=0.06)
    assert abs(values.mean()) < 4 * math.sqrt(VARIANCES[name] / values.size)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform", "lecun_uniform"])
def test_uniform_bounds(name):
    values = np.abs(initializers.get(name)(SHAPE).numpy())
    limit = math.sqrt(3 * VARIANCES[name])
    assert 0.99 * limit < values.max() <= limit


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "lecun_normal"])
def test_truncation(name):
    values = initializers.get(name)(SHAPE).numpy()
    assert np.abs(values).max() <= 2 * math.sqrt(VARIANCES[name]) / 0.8796256610342398 + 1e-6


@pytest.mark.parametrize("name", [*VARIANCES, "truncated_normal", "orthogonal", "variance_scaling"])
def test_same_seed_same_values(name):
    cls = type(initializers.get(name))
    one, two, other = cls(seed=7), cls(seed=7), cls(seed=8)
    first = one((5, 6)).numpy()
    assert np.array_equal(first, one((5, 6)).numpy()) and np.array_equal(first, two((5, 6)).numpy())
    assert not np.array_equal(first, other((5, 6)).numpy())
    unseeded = cls()
    assert np.array_equal(unseeded((3, 4)).numpy(), unseeded((3, 4)).numpy())
    assert not np.array_equal(unseeded((3, 4)).numpy(), cls()((3, 4)).numpy())


def test_seed_generator_gives_new_values_each_time():
    initializer = initializers.RandomNormal(seed=keras.random.SeedGenerator(3))
    assert not np.array_equal(initializer((4,)).numpy(), initializer((4,)).numpy())


@pytest.mark.parametrize("shape", [(6, 6), (10, 4), (4, 10), (3, 3, 2, 5)])
def test_orthogonal(shape):
    matrix = initializers.Orthogonal(gain=2.0, seed=1)(shape).numpy().reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_constants():
    assert initializers.Constant([1.0, 2.0])((3, 2)).numpy().tolist() == [[1.0, 2.0]] * 3
    assert initializers.Ones()((2,), dtype="int32").numpy().dtype == np.int32
    assert initializers.Identity(gain=3.0)((2, 3)).numpy().tolist() == [[3, 0, 0], [0, 3, 0]]
    with pytest.raises(ValueError, match="2D matrices"):
        initializers.Identity()((2, 2, 2))
    with pytest.raises(ValueError, match="Expected `shape` to be"):
        initializers.get(np.ones((2, 3)))((3, 2))


def test_fans():
    assert compute_fans((3, 3, 16, 32)) == (144, 288)
    assert compute_fans((7,)) == (7, 7) and compute_fans(()) == (1, 1)
    assert compute_fans((8, 4, 2), input_axes=[0], output_axes=[1, 2]) == (8, 8)


def test_stft_kernel_is_a_windowed_transform():
    signal = np.random.default_rng(0).normal(size=16)
    real = initializers.STFT("real", "hann", None, periodic=True)((16, 1, 9)).numpy()[:, 0]
    imag = initializers.STFT("imag", "hann", None, periodic=True)((16, 1, 9)).numpy()[:, 0]
    expected = np.fft.rfft(signal * named_window("hann", 16, periodic=True))
    np.testing.assert_allclose(signal @ real + 1j * (signal @ imag), expected, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: initializers.VarianceScaling(mode="fan"), lambda: initializers.VarianceScaling(scale=-1)]
)
def test_bad_arguments(make):
    with pytest.raises(ValueError, match=r"[aA]rgument"):
        make()


W = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")


def _orthogonality(w):
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    gram = np.abs(unit @ unit.T)
    return 0.1 * (gram.sum() - np.trace(gram)) / 2 / 6


PENALTIES = [
    (regularizers.L1(0.2), 0.2 * np.abs(W).sum()),
    (regularizers.L2(0.3), 0.3 * (W**2).sum()),
    (regularizers.L1L2(0.2, 0.3), 0.2 * np.abs(W).sum() + 0.3 * (W**2).sum()),
    (regularizers.OrthogonalRegularizer(0.1), _orthogonality(W)),
]


@pytest.mark.parametrize("regularizer, expected", PENALTIES, ids=lambda x: type(x).__name__)
def test_regularizers(regularizer, expected):
    np.testing.assert_allclose(float(regularizer(ops.convert_to_tensor(W))), expected, rtol=1e-5)
    np.testing.assert_allclose(run_traced(regularizer, [W])[0], expected, rtol=1e-5)


def test_regularizer_arguments():
    for wrong in (-0.1, float("nan"), "0.1"):
        with pytest.raises(ValueError, match="expected a non-negative float"):
            regularizers.L2(wrong)


NORMS = np.linalg.norm(W, axis=0, keepdims=True)
PROJECTIONS = [
    (constraints.MaxNorm(1.0), W * np.minimum(NORMS, 1.0) / NORMS),
    (constraints.NonNeg(), np.maximum(W, 0)),
    (constraints.UnitNorm(axis=1), W / np.linalg.norm(W, axis=1, keepdims=True)),
    (constraints.MinMaxNorm(0.5, 1.0, rate=0.5), W * (0.5 * np.clip(NORMS, 0.5, 1.0) + 0.5 * NORMS) / NORMS),
]


@pytest.mark.parametrize("constraint, expected", PROJECTIONS, ids=lambda x: type(x).__name__)
def test_constraints(constraint, expected):
    np.testing.assert_allclose(constraint(ops.convert_to_tensor(W)).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run_traced(constraint, [W])[0], expected, rtol=1e-5, atol=1e-6)


X = np.linspace(-4, 9, 27).astype("float32")
SIGMOID = 1 / (1 + np.exp(-X))
FUNCTIONS = {
    "relu": ({}, np.maximum(X, 0)),
    "relu max": ({"max_value": 5.0}, np.clip(X, 0, 5)),
    "relu slope": (
        {"negative_slope": 0.1, "threshold": 1.0, "max_value": 5.0},
        np.where(X >= 5, 5, np.where(X > 1, X, 0.1 * (X - 1))),
    ),
    "leaky_relu": ({}, np.where(X > 0, X, 0.2 * X)),
    "elu": ({"alpha": 0.5}, np.where(X > 0, X, 0.5 * np.expm1(X))),
    "silu": ({}, X * SIGMOID),
    "sigmoid": ({}, SIGMOID),
    "softplus": ({}, np.log1p(np.exp(X))),
    "softsign": ({}, X / (1 + np.abs(X))),
    "gelu": ({}, 0.5 * X * (1 + np.vectorize(math.erf)(X / math.sqrt(2)))),
    "hard_sigmoid": ({}, np.clip(X / 6 + 0.5, 0, 1)),
    "hard_silu": ({}, X * np.clip(X / 6 + 0.5, 0, 1)),
    "mish": ({}, X * np.tanh(np.log1p(np.exp(X)))),
    "exponential": ({}, np.exp(X)),
    "softmax": ({}, np.exp(X - X.max()) / np.exp(X - X.max()).sum()),
    "tanh_shrink": ({}, X - np.tanh(X)),
    "linear": ({}, X),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(name):
    arguments, expected = FUNCTIONS[name]
    fn = getattr(activations, name.split()[0])
    np.testing.assert_allclose(fn(ops.convert_to_tensor(X), **arguments).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run_traced(lambda x: fn(x, **arguments), [X])[0], expected, rtol=1e-5, atol=1e-6)


def test_activations_by_name():
    assert activations.get(None) is activations.linear
    assert activations.get("swish") is activations.silu
    assert activations.serialize(activations.relu) == "relu"
    assert activations.deserialize("gelu") is activations.gelu
