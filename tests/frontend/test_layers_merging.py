"""Merging layers: values, ranks, masks, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras import layers

rng = np.random.default_rng(13)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("Add", lambda a, b: a + b),
        ("Subtract", lambda a, b: a - b),
        ("Multiply", lambda a, b: a * b),
        ("Average", lambda a, b: (a + b) / 2),
        ("Maximum", np.maximum),
        ("Minimum", np.minimum),
    ],
)
def test_elementwise(name: str, function: Any) -> None:
    a, b = rng.normal(size=(2, 2, 3, 4)).astype("float32")
    np.testing.assert_allclose(np.asarray(getattr(layers, name)()([a, b])), function(a, b), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(getattr(layers, name.lower())([a, b])), function(a, b), rtol=1e-6)
    lower = np.asarray(getattr(layers, name)()([a, b[:, 0]]))
    np.testing.assert_allclose(lower, function(a, b[:, :1]), rtol=1e-6)
    with pytest.raises(ValueError, match="incompatible shapes"):
        getattr(layers, name)()([a, b[:, :2]])
    with pytest.raises(ValueError, match="different batch sizes"):
        getattr(layers, name)()([a, b[:1]])
    with pytest.raises(ValueError, match="list"):
        getattr(layers, name)()(a)


def masked(values: Any) -> Any:
    return layers.Masking()(np.array(values, "float32"))


@pytest.mark.parametrize(
    ("name", "one_mask", "expected"),
    [
        ("Add", False, [[0, 0], [1, 2], [1, 2], [6, 8]]),
        ("Subtract", False, [[0, 0], [1, 2], [-1, -2], [0, 0]]),
        ("Multiply", True, [[0, 0], [0, 0], [1, 2], [9, 16]]),
        ("Multiply", False, [[0, 0], [1, 2], [1, 2], [9, 16]]),
        ("Minimum", True, [[0, 0], [0, 0], [1, 2], [3, 4]]),
        ("Minimum", False, [[0, 0], [1, 2], [1, 2], [3, 4]]),
    ],
)
def test_masks(name: str, one_mask: bool, expected: Any) -> None:
    a, b = [[[0, 0], [1, 2], [0, 0], [3, 4]]], [[[0, 0], [0, 0], [1, 2], [3, 4]]]
    output = getattr(layers, name)()([masked(a), np.array(b, "float32") if one_mask else masked(b)])
    assert np.asarray(output).tolist() == [expected]
    if one_mask:
        assert output._keras_mask is None
    else:
        assert np.asarray(output._keras_mask).tolist() == [[False, True, True, True]]


def test_concatenate() -> None:
    a, b = rng.normal(size=(2, 3, 4)).astype("float32"), rng.normal(size=(2, 3, 5)).astype("float32")
    np.testing.assert_array_equal(np.asarray(layers.concatenate([a, b])), np.concatenate([a, b], -1))
    with pytest.raises(ValueError, match="matching shapes except for the concatenation axis"):
        layers.Concatenate(axis=1)([a, b])
    with pytest.raises(ValueError, match="out of bounds"):
        layers.Concatenate(axis=3)([a, b])
    output = layers.Concatenate(axis=1)([masked([[[0, 0], [1, 2]]]), np.ones((1, 1, 2), "float32")])
    assert np.asarray(output._keras_mask).tolist() == [[False, True, True]]


def test_compute_mask_checks_its_arguments() -> None:
    x = np.ones((2, 3), "float32")
    for layer in (layers.Add(), layers.Concatenate()):
        assert layer.compute_mask([x, x], None) is None
        assert layer.compute_mask([x, x], [None, None]) is None
        with pytest.raises(ValueError, match="`mask` should be a list"):
            layer.compute_mask([x, x], x)
        with pytest.raises(ValueError, match="`inputs` should be a list"):
            layer.compute_mask(x, [None, None])
        with pytest.raises(ValueError, match="should have the same length"):
            layer.compute_mask([x, x], [None])


@pytest.mark.parametrize(
    ("axes", "shapes", "equation"),
    [
        (1, ((2, 3), (2, 3)), "bi,bi->b"),
        ((2, 1), ((2, 3, 4), (2, 4, 5)), "bij,bjk->bik"),
        (-1, ((2, 3, 4), (2, 5, 4)), "bij,bkj->bik"),
        ((1, 1), ((2, 3, 4), (2, 3)), "bij,bi->bj"),
        ((2, 3), ((2, 3, 4), (2, 5, 6, 4)), "bij,bklj->bikl"),
    ],
)
def test_dot(axes: Any, shapes: Any, equation: str) -> None:
    a, b = (rng.normal(size=s).astype("float32") for s in shapes)
    expected = np.einsum(equation, a, b)
    expected = expected[:, None] if expected.ndim == 1 else expected
    np.testing.assert_allclose(np.asarray(layers.Dot(axes)([a, b])), expected, rtol=1e-4, atol=1e-5)
    pair = (axes, axes) if isinstance(axes, int) else axes
    a, b = (x / np.linalg.norm(x, axis=i, keepdims=True) for x, i in zip((a, b), pair, strict=True))
    expected = np.einsum(equation, a, b).reshape(expected.shape)
    np.testing.assert_allclose(np.asarray(layers.dot([a, b], axes, normalize=True)), expected, rtol=1e-4, atol=1e-5)


def test_dot_errors() -> None:
    x = np.ones((2, 3), "float32")
    with pytest.raises(TypeError, match="Invalid type for argument `axes`"):
        layers.Dot("1")
    with pytest.raises(ValueError, match="two elements"):
        layers.Dot((1, 2, 3))
    with pytest.raises(ValueError, match="axis values 3"):
        layers.Dot(1)([x, np.ones((2, 4), "float32")])
    with pytest.raises(ValueError, match="batch axis"):
        layers.Dot(0)([x, x])
    with pytest.raises(ValueError, match="list of 2 inputs"):
        layers.Dot(1)([x, x, x])
    with pytest.raises(ValueError, match="exactly 2 inputs"):
        layers.Subtract()([x, x, x])
