"""Counts of true and false positives and negatives at thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.losses.loss import squeeze_or_expand_to_same_rank

NEG_INF = -1e10
SMALL = 8  # thresholds up to which comparing with each is cheaper than a histogram


class AUCCurve(Enum):
    ROC = "ROC"
    PR = "PR"
    PRGAIN = "PRGAIN"

    @staticmethod
    def from_str(key: str) -> AUCCurve:
        if isinstance(key, str) and key.upper() in AUCCurve.__members__:
            return AUCCurve[key.upper()]
        raise ValueError(f'Invalid AUC curve value: "{key}". Expected values are ["PR", "ROC", "PRGAIN"]')


class AUCSummationMethod(Enum):
    INTERPOLATION = "interpolation"
    MAJORING = "majoring"
    MINORING = "minoring"

    @staticmethod
    def from_str(key: str) -> AUCSummationMethod:
        if isinstance(key, str) and key.upper() in AUCSummationMethod.__members__:
            return AUCSummationMethod[key.upper()]
        raise ValueError(
            f'Invalid AUC summation method value: "{key}". Expected values are '
            '["interpolation", "majoring", "minoring"]'
        )


class Counts(NamedTuple):
    """Weighted counts, one per threshold (and per label with `multi_label`)."""

    true_positives: Any
    false_positives: Any
    true_negatives: Any
    false_negatives: Any


def parse_thresholds(thresholds: Any, default: float) -> list[float]:
    """A list of thresholds in [0, 1]; the default for None."""
    if thresholds is None:
        return [default]
    found = list(thresholds) if isinstance(thresholds, (list, tuple, np.ndarray)) else [thresholds]
    wrong = [t for t in found if t is None or t < 0 or t > 1]
    if wrong:
        raise ValueError(f"Threshold values must be in [0, 1]. Received: {wrong}")
    return found


def even_thresholds(count: int) -> list[float]:
    """`count` thresholds from 0 to 1; for one, 1/2."""
    return [0.5] if count == 1 else [i / (count - 1) for i in range(count)]


def are_even(thresholds: Sequence[float]) -> bool:
    """Whether thresholds divide [0, 1] evenly."""
    count = len(thresholds)
    return count >= 3 and np.allclose(thresholds, np.linspace(0, 1, count), atol=epsilon())


def confusion_counts(
    y_true: Any,
    y_pred: Any,
    thresholds: Sequence[float],
    dtype: str,
    sample_weight: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    multi_label: bool = False,
    label_weights: Any = None,
) -> Counts:
    """Counts over a batch.

    Args:
        y_true: targets; everything but 0 counts as positive.
        y_pred: scores.
        thresholds: a prediction is positive where its score is above the threshold.
        top_k: only the k largest scores of a row can be positive.
        class_id: look at this column only.
        multi_label: count each column by itself; else all elements together.
        label_weights: weights of the columns.
    """
    y_true, y_pred = ops.cast(y_true, dtype), ops.cast(y_pred, dtype)
    y_pred, y_true = squeeze_or_expand_to_same_rank(y_pred, y_true)
    _check_shapes(y_true, y_pred)
    if sample_weight is not None:
        sample_weight = ops.expand_dims(ops.cast(sample_weight, dtype), axis=-1)
        _, sample_weight = squeeze_or_expand_to_same_rank(y_true, sample_weight, expand_rank_1=False)
    if top_k is not None:
        y_pred = _keep_top_k(y_pred, top_k)
    if class_id is not None:
        if len(y_pred.shape) == 1:
            raise ValueError(
                "When class_id is provided, y_pred must be a 2D array with shape (num_samples, num_classes), found "
                f"shape: {tuple(y_pred.shape)}"
            )
        y_true, y_pred = (ops.expand_dims(y[..., class_id], -1) for y in (y_true, y_pred))
    weights: Any = 1.0
    for weight in (sample_weight, None if label_weights is None else ops.cast(label_weights, dtype)):
        if weight is not None:
            weights = weights * weight
    positive = ops.cast(ops.not_equal(y_true, 0), dtype)
    true, false = positive * weights, (1.0 - positive) * weights
    shape = (-1, y_pred.shape[-1]) if multi_label else (-1, 1)
    true, false = (ops.reshape(ops.broadcast_to(x, y_pred.shape), shape) for x in (true, false))
    y_pred = ops.reshape(y_pred, shape)
    count = _count_sorted if len(thresholds) > SMALL and _nearly_even(thresholds) else _count_each
    counts = count(true, false, y_pred, thresholds, dtype)
    return counts if multi_label else Counts(*(ops.reshape(c, (len(thresholds),)) for c in counts))


def _check_shapes(y_true: Any, y_pred: Any) -> None:
    if tuple(y_true.shape) != tuple(y_pred.shape):
        raise ValueError(
            f"Shapes {tuple(y_true.shape)} of y_true and {tuple(y_pred.shape)} of y_pred are incompatible: this metric "
            "compares them element by element. Class numbers must be made one-hot first (utils.to_categorical)."
        )


def _nearly_even(thresholds: Sequence[float]) -> bool:
    """Evenly spaced, the outer ones moved by epsilon at most."""
    inner = [0.0, *thresholds[1:-1], 1.0]
    return are_even(inner) and abs(thresholds[0]) <= 2 * epsilon() and abs(thresholds[-1] - 1) <= 2 * epsilon()


def _keep_top_k(scores: Any, k: int) -> Any:
    _, chosen = ops.top_k(scores, k)
    kept = ops.any(ops.cast(ops.one_hot(chosen, scores.shape[-1]), "bool"), axis=-2)
    return ops.where(kept, scores, NEG_INF)


def _count_each(true: Any, false: Any, scores: Any, thresholds: Sequence[float], dtype: str) -> Counts:
    """Compare every score with every threshold: arrays of shape (thresholds, samples, columns), reduced at once."""
    levels = ops.reshape(ops.convert_to_tensor(list(thresholds), dtype=dtype), (-1, 1, 1))
    above = ops.cast(ops.greater(ops.expand_dims(scores, 0), levels), dtype)
    below = 1.0 - above
    tp, fp, fn, tn = (ops.sum(side * kind, axis=1) for side in (above, below) for kind in (true, false))
    return Counts(tp, fp, tn, fn)


def _count_sorted(true: Any, false: Any, scores: Any, thresholds: Sequence[float], dtype: str) -> Counts:
    """Even thresholds: put each score into its bin, then sum bins from the top; linear in the number of scores."""
    count, columns = len(thresholds), scores.shape[-1]
    bins = ops.ceil(ops.clip(scores, 0.0, 1.0) * (count - 1)) - 1  # the highest threshold below the score
    never = bins < 0  # score 0: above no threshold, unless the first one was moved below 0
    if thresholds[0] < 0:
        never = ops.zeros_like(never)
    index = ops.cast(ops.maximum(bins, 0), "int32") * columns + ops.arange(columns, dtype="int32")
    index = ops.reshape(index, (-1,))

    def above(weights: Any) -> Any:
        weights = ops.where(never, ops.zeros_like(weights), weights)
        filled = ops.segment_sum(ops.reshape(weights, (-1,)), index, num_segments=count * columns)
        filled = ops.reshape(filled, (count, columns))
        return ops.flip(ops.cumsum(ops.flip(filled, axis=0), axis=0), axis=0)

    tp, fp = above(true), above(false)
    return Counts(tp, fp, ops.sum(false, axis=0) - fp, ops.sum(true, axis=0) - tp)
