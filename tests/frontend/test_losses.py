"""Losses against float64 NumPy, reductions, weights, masks, errors, and traced against eager."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import losses, ops
from tests.frontend.math_helpers import run_traced

RNG = np.random.default_rng(0)
TRUE = RNG.uniform(0.05, 1.5, (6, 4))
PRED = RNG.uniform(0.05, 1.5, (6, 4))
LOGITS = RNG.normal(0, 2, (6, 4))
PROBS = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
CLASSES = RNG.integers(0, 4, 6)
ONE_HOT = np.eye(4)[CLASSES]
SIGNS = np.sign(RNG.normal(size=(6, 4)))
BINARY = (RNG.uniform(size=(6, 4)) > 0.5).astype("float64")
P = 1 / (1 + np.exp(-LOGITS))
EPS = 1e-7


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _bce(y, p):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


CASES = {
    "mean_squared_error": (TRUE, PRED, {}, ((TRUE - PRED) ** 2).mean(-1)),
    "mean_absolute_error": (TRUE, PRED, {}, np.abs(TRUE - PRED).mean(-1)),
    "mean_absolute_percentage_error": (TRUE, PRED, {}, 100 * (np.abs(TRUE - PRED) / TRUE).mean(-1)),
    "mean_squared_logarithmic_error": (TRUE, PRED, {}, ((np.log1p(TRUE) - np.log1p(PRED)) ** 2).mean(-1)),
    "cosine_similarity": (TRUE, PRED, {}, -(_unit(TRUE) * _unit(PRED)).sum(-1)),
    "huber": (
        TRUE,
        PRED,
        {"delta": 0.3},
        np.where(np.abs(TRUE - PRED) <= 0.3, 0.5 * (TRUE - PRED) ** 2, 0.3 * np.abs(TRUE - PRED) - 0.5 * 0.3**2).mean(
            -1
        ),
    ),
    "log_cosh": (TRUE, PRED, {}, np.log(np.cosh(TRUE - PRED)).mean(-1)),
    "hinge": (SIGNS, LOGITS, {}, np.maximum(1 - SIGNS * LOGITS, 0).mean(-1)),
    "squared_hinge": (BINARY, LOGITS, {}, (np.maximum(1 - (2 * BINARY - 1) * LOGITS, 0) ** 2).mean(-1)),
    "categorical_hinge": (
        ONE_HOT,
        LOGITS,
        {},
        np.maximum(((1 - ONE_HOT) * LOGITS).max(-1) - (ONE_HOT * LOGITS).sum(-1) + 1, 0),
    ),
    "kl_divergence": (
        PROBS[::-1],
        PROBS,
        {},
        (np.clip(PROBS[::-1], EPS, 1) * np.log(np.clip(PROBS[::-1], EPS, 1) / np.clip(PROBS, EPS, 1))).sum(-1),
    ),
    "poisson": (TRUE, PRED, {}, (PRED - TRUE * np.log(PRED + EPS)).mean(-1)),
    "binary_crossentropy": (BINARY, P, {}, _bce(BINARY, P).mean(-1)),
    "binary_focal_crossentropy": (
        BINARY,
        LOGITS,
        {"from_logits": True, "gamma": 1.5, "apply_class_balancing": True},
        (
            (BINARY * 0.25 + (1 - BINARY) * 0.75) * (1 - (BINARY * P + (1 - BINARY) * (1 - P))) ** 1.5 * _bce(BINARY, P)
        ).mean(-1),
    ),
    "categorical_crossentropy": (ONE_HOT, 3 * PROBS, {}, -(ONE_HOT * np.log(PROBS)).sum(-1)),
    "categorical_focal_crossentropy": (
        ONE_HOT,
        LOGITS,
        {"from_logits": True},
        (0.25 * (1 - PROBS) ** 2 * -ONE_HOT * np.log(PROBS)).sum(-1),
    ),
    "sparse_categorical_crossentropy": (CLASSES, PROBS, {}, -(ONE_HOT * np.log(PROBS)).sum(-1)),
    "dice": (
        BINARY,
        P,
        {"axis": (0, 1)},
        1 - 2 * (BINARY * P).sum() / (BINARY.sum() + P.sum() + EPS),
    ),
    "tversky": (
        BINARY,
        P,
        {"alpha": 0.3, "beta": 0.8},
        1
        - (BINARY * P).sum()
        / ((BINARY * P).sum() + 0.3 * ((1 - P) * BINARY).sum() + 0.8 * (P * (1 - BINARY)).sum() + EPS),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_function_matches_numpy(name):
    y_true, y_pred, arguments, expected = CASES[name]
    fn = getattr(losses, name)
    pred = y_pred.astype("float32")
    eager = fn(y_true, ops.convert_to_tensor(pred), **arguments)
    np.testing.assert_allclose(eager.numpy(), expected, rtol=2e-5, atol=1e-6)
    target = y_true if y_true.dtype.kind == "i" else y_true.astype("float32")
    (traced,) = run_traced(lambda t, p: fn(t, p, **arguments), [target, pred])
    np.testing.assert_allclose(traced, eager.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_logits_and_probabilities_agree(smoothing):
    for name, y, p in (("categorical_crossentropy", ONE_HOT, PROBS), ("binary_crossentropy", BINARY, P)):
        fn = getattr(losses, name)
        a = fn(y, p, label_smoothing=smoothing)
        b = fn(y, LOGITS.astype("float32"), from_logits=True, label_smoothing=smoothing)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4)


def test_huge_logits_stay_finite():
    logits = np.array([[1e4, 0.0, -1e4]], "float32")
    loss = losses.sparse_categorical_crossentropy([2], logits, from_logits=True)
    assert loss.numpy().tolist() == [2e4]
    loss = losses.binary_crossentropy([[0.0, 1.0]], np.array([[1e4, 1e4]], "float32"), from_logits=True)
    assert loss.numpy().tolist() == [5e3]


REDUCED = {
    "sum": lambda v, w: (v * w).sum(),
    "sum_over_batch_size": lambda v, w: (v * w).mean(),
    "mean": lambda v, w: (v * w).mean(),
    "mean_with_sample_weight": lambda v, w: (v * w).sum() / w.sum(),
    "none": lambda v, w: v * w,
    None: lambda v, w: v * w,
}


@pytest.mark.parametrize("reduction", REDUCED)
def test_reductions_with_weights(reduction):
    weights = RNG.uniform(size=6)
    loss = losses.MeanSquaredError(reduction=reduction)(TRUE, PRED, sample_weight=weights)
    expected = REDUCED[reduction](((TRUE - PRED) ** 2).mean(-1), weights)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_mask_gives_the_mean_over_kept_values():
    pred = ops.convert_to_tensor(PRED.astype("float32"))
    pred._keras_mask = ops.convert_to_tensor([True, False, True, True, False, True])
    kept = [0, 2, 3, 5]
    values = ((TRUE - PRED) ** 2).mean(-1)
    np.testing.assert_allclose(float(losses.MeanSquaredError()(TRUE, pred)), values[kept].mean(), rtol=1e-5)


def test_ignored_class_is_left_out():
    labels = CLASSES.copy()
    labels[1] = -1
    loss = losses.SparseCategoricalCrossentropy(ignore_class=-1)(labels, PROBS)
    values = -np.log(PROBS[np.arange(6), CLASSES])
    np.testing.assert_allclose(float(loss), np.delete(values, 1).mean(), rtol=1e-5)


def test_class_axis_in_the_middle():
    probs = np.moveaxis(RNG.dirichlet(np.ones(3), (2, 5)), -1, 1)  # (batch, classes, 5)
    labels = RNG.integers(0, 3, (2, 5))
    expected = -np.log(np.take_along_axis(probs, labels[:, None], 1))[:, 0]
    loss = losses.sparse_categorical_crossentropy(labels, probs, axis=1)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_labels_out_of_range_are_never_a_number():
    with pytest.raises(ValueError, match=r"class number 7 is out of range: y_pred has 4 classes"):
        losses.SparseCategoricalCrossentropy()(np.array([0, 7]), PROBS[:2])
    for wrong in (7, -1):
        (traced,) = run_traced(
            lambda y, p: losses.sparse_categorical_crossentropy(y, p, from_logits=True),
            [np.array([0, wrong], "int32"), LOGITS[:2].astype("float32")],
        )
        assert np.isfinite(traced[0]) and np.isnan(traced[1])


def test_integer_labels_for_a_one_hot_loss_name_the_sparse_one():
    with pytest.raises(ValueError, match=r"must have the same shape.*sparse_categorical_crossentropy"):
        losses.CategoricalCrossentropy()(CLASSES, PROBS)
    with pytest.raises(ValueError, match="look one-hot: use 'categorical_crossentropy'"):
        losses.SparseCategoricalCrossentropy()(ONE_HOT, PROBS)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"mean_squared_error: y_true of shape \(6,\) and y_pred of shape \(6, 4\)"):
        losses.mean_squared_error(CLASSES, PRED)
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        losses.MeanSquaredError(reduction="average")
    with pytest.raises(ValueError, match=r"sample_weight.*cannot be broadcast"):
        losses.MeanSquaredError()(TRUE, PRED, sample_weight=np.ones(4))
    with pytest.raises(ValueError, match="interval"):
        losses.CategoricalGeneralizedCrossEntropy(q=1.5)


def test_a_loss_of_the_whole_batch_is_scaled_by_the_mean_weight():
    weights = np.array([1.0, 2.0, 3.0])
    plain, scaled = losses.Dice()(BINARY[:3], P[:3]), losses.Dice()(BINARY[:3], P[:3], sample_weight=weights)
    np.testing.assert_allclose(float(scaled), 2 * float(plain), rtol=1e-6)


def test_dtype_of_the_computation():
    assert str(losses.MeanSquaredError(dtype="float16")(TRUE, PRED).dtype) == "float16"
    assert str(losses.MeanSquaredError()(TRUE, PRED.astype("float16")).dtype) == "float32"


def test_circle_prefers_close_pairs_of_one_class():
    labels = np.array([0, 0, 1, 1])
    apart = np.eye(4, dtype="float32")
    together = np.repeat(np.eye(2, 4, dtype="float32"), 2, axis=0)
    assert float(losses.Circle()(labels, together)) < float(losses.Circle()(labels, apart))


def test_custom_loss_class_and_function():
    class Quartic(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return ops.mean((y_true - y_pred) ** 4, axis=-1)

    np.testing.assert_allclose(float(Quartic()(TRUE, PRED)), ((TRUE - PRED) ** 4).mean(), rtol=1e-4)
    assert losses.get("MSE") is losses.mean_squared_error
    assert isinstance(losses.get("CategoricalHinge"), losses.CategoricalHinge)
