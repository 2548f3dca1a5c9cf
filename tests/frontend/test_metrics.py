"""Metrics against NumPy over several batches, eager and traced; state, weights, masks, errors."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import metrics, ops
from tests.frontend.math_helpers import run_traced

RNG = np.random.default_rng(2)
N, K = 12, 4
SCORES = RNG.uniform(0.02, 0.98, (N, K))
TRUE = RNG.normal(size=(N, K))
PRED = TRUE + 0.5 * RNG.normal(size=(N, K))
CLASSES = RNG.integers(0, K, N)
ONE_HOT = np.eye(K)[CLASSES]
BINARY = (RNG.uniform(size=(N, K)) > 0.5).astype("float64")
WEIGHTS = RNG.uniform(0.1, 2, N)
FOUND = SCORES.argmax(-1)


def _mean(values, w):
    values = values.reshape(len(values), -1).mean(-1) if values.ndim > 1 else values
    return (values * w).sum() / w.sum()


def _counts(w, threshold=0.5):
    w, above = w[:, None], threshold < SCORES
    kinds = (BINARY * above, (1 - BINARY) * above, (1 - BINARY) * ~above, BINARY * ~above)
    return [(kind * w).sum() for kind in kinds]


def _f_score(beta, average):
    def score(w):
        picked = (SCORES > 0.5) * 1.0
        axis = None if average == "micro" else 0
        tp, fp, fn = (
            (m * w[:, None]).sum(axis) for m in (picked * BINARY, picked * (1 - BINARY), (1 - picked) * BINARY)
        )
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        values = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
        if average == "weighted":
            return np.average(values, weights=(BINARY * w[:, None]).sum(0))
        return values if average is None else values.mean()

    return score


def _iou(w, classes):
    matrix = np.zeros((K, K))
    np.add.at(matrix, (CLASSES, FOUND), w)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return np.mean([matrix[c, c] / union[c] for c in classes if union[c] > 0])


def _r2(w, weighted=False):
    w = w[:, None]
    mean = (TRUE * w).sum(0) / w.sum(0)
    spread = ((TRUE - mean) ** 2 * w).sum(0)
    scores = 1 - ((TRUE - PRED) ** 2 * w).sum(0) / spread
    return np.average(scores, weights=spread if weighted else None)


def _top(k):
    return (np.argsort(-SCORES, -1)[:, :k] == CLASSES[:, None]).any(-1).astype("float64")


def _cosine():
    return (TRUE * PRED).sum(-1) / np.linalg.norm(TRUE, axis=-1) / np.linalg.norm(PRED, axis=-1)


PROBS = SCORES / SCORES.sum(-1, keepdims=True)
CROSS = -np.log(PROBS[np.arange(N), CLASSES])

# name: (metric, targets, predictions, expected(weights))
CASES = {
    "Accuracy": (metrics.Accuracy, CLASSES, FOUND, lambda w: _mean((CLASSES == FOUND) * 1.0, w)),
    "BinaryAccuracy": (metrics.BinaryAccuracy, BINARY, SCORES, lambda w: _mean((SCORES > 0.5) == BINARY, w)),
    "CategoricalAccuracy": (metrics.CategoricalAccuracy, ONE_HOT, SCORES, lambda w: _mean((CLASSES == FOUND) * 1.0, w)),
    "SparseCategoricalAccuracy": (
        metrics.SparseCategoricalAccuracy,
        CLASSES,
        SCORES,
        lambda w: _mean((CLASSES == FOUND) * 1.0, w),
    ),
    "TopK": (lambda: metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, SCORES, lambda w: _mean(_top(2), w)),
    "SparseTopK": (lambda: metrics.SparseTopKCategoricalAccuracy(k=3), CLASSES, SCORES, lambda w: _mean(_top(3), w)),
    "MeanSquaredError": (metrics.MeanSquaredError, TRUE, PRED, lambda w: _mean((TRUE - PRED) ** 2, w)),
    "RootMeanSquaredError": (
        metrics.RootMeanSquaredError,
        TRUE,
        PRED,
        lambda w: np.sqrt(_mean((TRUE - PRED) ** 2, w)),
    ),
    "LogCoshError": (metrics.LogCoshError, TRUE, PRED, lambda w: _mean(np.log(np.cosh(TRUE - PRED)), w)),
    "CosineSimilarity": (metrics.CosineSimilarity, TRUE, PRED, lambda w: _mean(_cosine(), w)),
    "Pearson": (
        metrics.PearsonCorrelation,
        TRUE,
        PRED,
        lambda w: _mean(np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(TRUE, PRED, strict=True)]), w),
    ),
    "CategoricalCrossentropy": (metrics.CategoricalCrossentropy, ONE_HOT, SCORES, lambda w: _mean(CROSS, w)),
    "SparseCrossentropy": (metrics.SparseCategoricalCrossentropy, CLASSES, SCORES, lambda w: _mean(CROSS, w)),
    "TruePositives": (metrics.TruePositives, BINARY, SCORES, lambda w: _counts(w)[0]),
    "FalsePositives": (metrics.FalsePositives, BINARY, SCORES, lambda w: _counts(w)[1]),
    "TrueNegatives": (metrics.TrueNegatives, BINARY, SCORES, lambda w: _counts(w)[2]),
    "FalseNegatives": (
        lambda: metrics.FalseNegatives(thresholds=[0.2, 0.8]),
        BINARY,
        SCORES,
        lambda w: [_counts(w, t)[3] for t in (0.2, 0.8)],
    ),
    "Precision": (metrics.Precision, BINARY, SCORES, lambda w: _counts(w)[0] / sum(_counts(w)[:2])),
    "Recall": (metrics.Recall, BINARY, SCORES, lambda w: _counts(w)[0] / (_counts(w)[0] + _counts(w)[3])),
    "F1 micro": (
        lambda: metrics.F1Score(average="micro", threshold=0.5),
        BINARY,
        SCORES,
        _f_score(1.0, "micro"),
    ),
    "FBeta weighted": (
        lambda: metrics.FBetaScore(beta=2.0, average="weighted", threshold=0.5),
        BINARY,
        SCORES,
        _f_score(2.0, "weighted"),
    ),
    "FBeta": (lambda: metrics.FBetaScore(beta=0.5, threshold=0.5), BINARY, SCORES, _f_score(0.5, None)),
    "MeanIoU": (lambda: metrics.MeanIoU(K, dtype="float32"), CLASSES, FOUND, lambda w: _iou(w, range(K))),
    "OneHotIoU": (
        lambda: metrics.OneHotIoU(K, [0, 2], dtype="float32"),
        ONE_HOT,
        SCORES,
        lambda w: _iou(w, [0, 2]),
    ),
    "R2Score": (metrics.R2Score, TRUE, PRED, _r2),
    "R2Score weighted": (
        lambda: metrics.R2Score(class_aggregation="variance_weighted_average"),
        TRUE,
        PRED,
        lambda w: _r2(w, weighted=True),
    ),
}


def _feed(metric, y_true, y_pred, weights, traced):
    for part in (slice(0, 5), slice(5, N)):
        arrays = [y_true[part], y_pred[part].astype("float32" if y_pred.dtype.kind == "f" else "int32")]
        arrays[0] = arrays[0].astype("int32" if y_true.dtype.kind == "i" else "float32")
        arrays += [] if weights is None else [weights[part].astype("float32")]
        if traced:
            run_traced(lambda *a: metric.update_state(*a), arrays)
        else:
            metric.update_state(*arrays)
    return np.asarray(run_traced(metric.result, [])[0] if traced else metric.result())


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_two_batches_match_numpy(name, weighted, traced):
    make, y_true, y_pred, expected = CASES[name]
    metric = make()
    weights = WEIGHTS if weighted else None
    found = _feed(metric, y_true, y_pred, weights, traced)
    np.testing.assert_allclose(found, expected(WEIGHTS if weighted else np.ones(N)), rtol=2e-5, atol=1e-6)
    metric.reset_state()
    assert all(not v.numpy().any() for v in metric.variables)


def _exact_roc_auc(labels, scores, weights):
    positive, negative = labels > 0, labels == 0
    pairs = scores[positive][:, None] - scores[negative][None]
    pair_weights = weights[positive][:, None] * weights[negative][None]
    return ((pairs > 0) * pair_weights).sum() / pair_weights.sum()


@pytest.mark.parametrize("traced", [False, True])
def test_auc_comes_close_to_the_exact_area(traced):
    labels = (RNG.uniform(size=300) > 0.6).astype("float64")
    scores = np.clip(0.3 * labels + RNG.uniform(0, 0.7, 300), 0, 1)
    weights = RNG.uniform(0.5, 1.5, 300)
    metric = metrics.AUC(num_thresholds=2000)
    arrays = [labels.astype("float32"), scores.astype("float32"), weights.astype("float32")]
    if traced:
        run_traced(metric.update_state, arrays)
    else:
        metric.update_state(*arrays)
    np.testing.assert_allclose(float(metric.result()), _exact_roc_auc(labels, scores, weights), atol=2e-3)


def test_counting_by_histogram_is_counting_one_by_one():
    labels, scores = BINARY.reshape(-1), SCORES.reshape(-1)
    even, odd = metrics.AUC(num_thresholds=21), metrics.AUC(thresholds=[0.05 * i for i in range(1, 20)] + [0.995])
    for metric in (even, odd):
        metric.update_state(labels, scores)
    for name in ("true_positives", "false_positives", "true_negatives", "false_negatives"):
        ours = getattr(odd, name).numpy()
        np.testing.assert_allclose(getattr(even, name).numpy()[:20], ours[:20], atol=1e-4)


def test_auc_of_several_labels_and_curves():
    multi = metrics.AUC(multi_label=True, num_thresholds=500)
    multi.update_state(BINARY, SCORES)
    single = []
    for column in range(K):
        metric = metrics.AUC(num_thresholds=500)
        metric.update_state(BINARY[:, column], SCORES[:, column])
        single.append(float(metric.result()))
    np.testing.assert_allclose(float(multi.result()), np.mean(single), rtol=1e-5)
    perfect = metrics.AUC(curve="PR")
    perfect.update_state([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    np.testing.assert_allclose(float(perfect.result()), 1.0, rtol=1e-5)


def test_trade_offs():
    labels = np.array([0, 0, 0, 1, 1])
    scores = np.array([0.0, 0.3, 0.8, 0.3, 0.8])
    assert float(metrics.PrecisionAtRecall(0.5)(labels, scores)) == 0.5
    assert float(metrics.RecallAtPrecision(0.45)(labels, scores)) == 1.0
    assert float(metrics.RecallAtPrecision(0.6)(labels, scores)) == 0.0
    np.testing.assert_allclose(float(metrics.SensitivityAtSpecificity(0.6)(labels, scores)), 0.5)
    np.testing.assert_allclose(float(metrics.SpecificityAtSensitivity(1.0)(labels, scores)), 1 / 3, rtol=1e-6)


def test_top_k_and_class_of_precision():
    y_true = np.array([[0, 1, 0], [1, 0, 0]])
    y_pred = np.array([[0.1, 0.3, 0.2], [0.2, 0.6, 0.1]])
    assert float(metrics.Precision(top_k=1)(y_true, y_pred)) == 0.5
    assert float(metrics.Recall(class_id=1, thresholds=0.25)(y_true, y_pred)) == 1.0


def test_mask_leaves_samples_out():
    pred = ops.convert_to_tensor(PRED.astype("float32"))
    pred._keras_mask = ops.convert_to_tensor(WEIGHTS > 1)
    expected = ((TRUE - PRED) ** 2).mean(-1)[WEIGHTS > 1].mean()
    np.testing.assert_allclose(float(metrics.MeanSquaredError()(TRUE, pred)), expected, rtol=1e-5)
    np.testing.assert_allclose(float(metrics.RootMeanSquaredError()(TRUE, pred)), np.sqrt(expected), rtol=1e-5)


def test_mean_and_sum():
    mean, total = metrics.Mean(), metrics.Sum()
    for values, weights in (([1.0, 3.0], None), ([5.0, 7.0], [1.0, 0.0])):
        mean.update_state(values, sample_weight=weights)
        total.update_state(values, sample_weight=weights)
    assert (float(mean.result()), float(total.result())) == (3.0, 9.0)
    mean.reset_state()
    assert float(mean.result()) == 0.0


def test_stateless_use():
    metric = metrics.Mean()
    state = metric.stateless_update_state(metric.stateless_reset_state(), [2.0, 4.0])
    assert float(metric.stateless_result(state)) == 3.0
    assert float(metric.result()) == 0.0
    with pytest.raises(ValueError, match="but expected 2 variables"):
        metric.stateless_result(state[:1])


def test_function_metrics_and_directions():
    metric = metrics.MeanMetricWrapper(keras.losses.mean_absolute_error, name="mine")
    np.testing.assert_allclose(float(metric(TRUE, PRED)), np.abs(TRUE - PRED).mean(), rtol=1e-5)
    assert (metric._direction, metrics.AUC()._direction) == ("down", "up")
    assert isinstance(metrics.get("mae"), metrics.MeanAbsoluteError)


def test_custom_metric_without_super_is_an_error():
    class Forgetful(metrics.Metric):
        def __init__(self):
            self.total = self.add_variable((), "zeros")

    with pytest.raises(RuntimeError, match="forgot to call"):
        Forgetful()


def test_errors_name_the_better_metric():
    with pytest.raises(ValueError, match="sparse_categorical_accuracy"):
        metrics.CategoricalAccuracy()(CLASSES[:, None], SCORES)
    with pytest.raises(ValueError, match="use 'categorical_accuracy'"):
        metrics.SparseCategoricalAccuracy()(ONE_HOT, SCORES)
    with pytest.raises(ValueError, match="made one-hot first"):
        metrics.Precision()(CLASSES, SCORES)
    with pytest.raises(ValueError, match="Threshold values must be in"):
        metrics.Precision(thresholds=[1.5])
