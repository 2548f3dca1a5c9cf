"""Area under the ROC or precision-recall curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.metrics.confusion import AUCCurve, AUCSummationMethod, confusion_counts, even_thresholds
from graphkeras.metrics.metric import Metric
from graphkeras.saving.serialization_lib import serialize_keras_object

_COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


class AUC(Metric):
    """Area under a curve, from counts at thresholds.

    Args:
        num_thresholds: number of evenly spaced thresholds; more of them make the area more exact.
        curve: "ROC" (true against false positive rate), "PR" (precision against recall) or "PRGAIN".
        summation_method: "interpolation" (trapezoids; for PR after Davis and Goadrich 2006), "minoring" or "majoring"
            (lower or upper sums).
        name: name.
        dtype: dtype of the result.
        thresholds: the thresholds themselves, in [0, 1].
        multi_label: one area for each column, averaged; else all elements together.
        num_labels: number of columns, where it is to be known before the first batch.
        label_weights: weights of the columns.
        from_logits: scores are logits rather than probabilities.

    Example:
        >>> import graphkeras as keras
        >>> round(float(keras.metrics.AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])), 2)
        0.75
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Any = "ROC",
        summation_method: Any = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"
        self.curve = curve if isinstance(curve, AUCCurve) else AUCCurve.from_str(curve)
        given = isinstance(summation_method, AUCSummationMethod)
        self.summation_method = summation_method if given else AUCSummationMethod.from_str(summation_method)
        if thresholds is None and num_thresholds <= 1:
            raise ValueError(
                f"Argument `num_thresholds` must be an integer > 1. Received: num_thresholds={num_thresholds}"
            )
        if num_labels and not multi_label:
            raise ValueError("`num_labels` is needed only when `multi_label` is True.")
        inner = even_thresholds(num_thresholds)[1:-1] if thresholds is None else sorted(thresholds)
        self._init_from_thresholds = thresholds is not None
        self._thresholds = [0.0 - epsilon(), *inner, 1.0 + epsilon()]
        self.num_thresholds = len(self._thresholds)
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else ops.convert_to_tensor(label_weights, dtype=self.dtype)
        self._from_logits = from_logits
        self._built = False
        if not multi_label:
            self._build(())
        elif num_labels:
            self._build((None, num_labels))

    @property
    def thresholds(self) -> list[float]:
        return list(self._thresholds)

    def _build(self, shape: Any) -> None:
        if self.multi_label and len(shape) != 2:
            raise ValueError(
                f"`y_pred` must have rank 2 when `multi_label=True`. Found rank {len(shape)}. Full shape received for "
                f"`y_pred`: {tuple(shape)}"
            )
        counts_shape = (self.num_thresholds, shape[1]) if self.multi_label else (self.num_thresholds,)
        for name in _COUNTS:
            setattr(self, name, self.add_variable(counts_shape, "zeros", name=name))
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_pred = ops.convert_to_tensor(y_pred)
        if not self._built:
            self._build(y_pred.shape)
        counts = confusion_counts(
            y_true,
            ops.sigmoid(y_pred) if self._from_logits else y_pred,
            self._thresholds,
            self.true_positives.dtype,
            sample_weight,
            multi_label=self.multi_label,
            label_weights=None if self.multi_label else self.label_weights,
        )
        for name in _COUNTS:
            getattr(self, name).assign_add(getattr(counts, name))

    def result(self) -> Any:
        if self.curve is AUCCurve.PR and self.summation_method is AUCSummationMethod.INTERPOLATION:
            return self.interpolate_pr_auc()
        x, y = self._curve()
        left, right = y[:-1], y[1:]
        if self.summation_method is AUCSummationMethod.INTERPOLATION:
            heights = (left + right) / 2.0
        else:
            lower = self.summation_method is AUCSummationMethod.MINORING
            heights = ops.minimum(left, right) if lower else ops.maximum(left, right)
        return self._total((x[:-1] - x[1:]) * heights)

    def _curve(self) -> tuple[Any, Any]:
        """Abscissa and ordinate at every threshold."""
        tp, fp, tn, fn = (getattr(self, name).value for name in _COUNTS)
        recall = ops.divide_no_nan(tp, tp + fn)
        if self.curve is AUCCurve.ROC:
            return ops.divide_no_nan(fp, fp + tn), recall
        if self.curve is AUCCurve.PR:
            return recall, ops.divide_no_nan(tp, tp + fp)
        odds = ops.divide_no_nan(tp + fn, tn + fp)  # Flach and Kull 2015
        none = ops.equal(tp, 0.0)
        recall_gain = ops.where(none, 0.0, 1.0 - odds * ops.divide_no_nan(fn, tp))
        precision_gain = ops.where(none, 1.0, 1.0 - odds * ops.divide_no_nan(fp, tp))
        return ops.maximum(recall_gain, 0.0), precision_gain

    def interpolate_pr_auc(self) -> Any:
        """Area under the PR curve with true positives linear in predicted positives between thresholds."""
        tp, fp, _, fn = (getattr(self, name).value for name in _COUNTS)
        p = tp + fp
        dtp, dp = tp[:-1] - tp[1:], p[:-1] - p[1:]
        slope = ops.divide_no_nan(dtp, ops.maximum(dp, 0))
        intercept = tp[1:] - slope * p[1:]
        both = ops.logical_and(p[:-1] > 0, p[1:] > 0)
        ratio = ops.where(both, ops.divide_no_nan(p[:-1], ops.maximum(p[1:], 0)), ops.ones_like(dp))
        area = slope * (dtp + intercept * ops.log(ratio))
        return self._total(ops.divide_no_nan(area, ops.maximum(tp[1:] + fn[1:], 0)))

    def _total(self, areas: Any) -> Any:
        total = ops.sum(areas, axis=0)
        if not self.multi_label:
            return total
        if self.label_weights is None:
            return ops.mean(total)
        return ops.divide_no_nan(ops.sum(total * self.label_weights), ops.sum(self.label_weights))

    def get_config(self) -> dict[str, Any]:
        weights = self.label_weights
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve.value,
            "summation_method": self.summation_method.value,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if weights is None else serialize_keras_object(np.asarray(weights).tolist()),
            "from_logits": self._from_logits,
        }
        if self._init_from_thresholds:
            config["thresholds"] = self._thresholds[1:-1]
        return config
