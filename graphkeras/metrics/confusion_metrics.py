"""Metrics made of counts at one or a few thresholds: positives and negatives, precision, recall, trade-offs."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.metrics.confusion import (
    NEG_INF,
    Counts,
    confusion_counts,
    even_thresholds,
    parse_thresholds,
)
from graphkeras.metrics.metric import Metric


class _Counting(Metric):
    """Keeps the named counts at thresholds."""

    _kept: tuple[str, ...]
    thresholds: list[float]
    top_k: int | None = None
    class_id: int | None = None

    def _add_counts(self) -> None:
        for name in self._kept:
            setattr(self, name, self.add_variable((len(self.thresholds),), "zeros", name=name))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        dtype = self.variables[0].dtype
        counts = confusion_counts(
            y_true, y_pred, self.thresholds, dtype, sample_weight, top_k=self.top_k, class_id=self.class_id
        )
        for name in self._kept:
            getattr(self, name).assign_add(getattr(counts, name))

    def _one_or_all(self, values: Any) -> Any:
        return values[0] if len(self.thresholds) == 1 else ops.convert_to_tensor(values)


class _ConfusionMatrixConditionCount(_Counting):
    """One count. `_count` names the field of `Counts`."""

    _count: str
    _kept = ("accumulator",)

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.thresholds = parse_thresholds(thresholds, 0.5)
        self._add_counts()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        counts: Counts = confusion_counts(y_true, y_pred, self.thresholds, self.accumulator.dtype, sample_weight)
        self.accumulator.assign_add(getattr(counts, self._count))

    def result(self) -> Any:
        return self._one_or_all(self.accumulator)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self.init_thresholds}


class FalsePositives(_ConfusionMatrixConditionCount):
    """Weight of negatives predicted as positive.

    Args:
        thresholds: one or several in [0, 1]; default 0.5.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.FalsePositives()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    _count = "false_positives"


class FalseNegatives(_ConfusionMatrixConditionCount):
    """Weight of positives predicted as negative. Arguments: see `FalsePositives`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.FalseNegatives()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    _count = "false_negatives"


class TrueNegatives(_ConfusionMatrixConditionCount):
    """Weight of negatives predicted as negative. Arguments: see `FalsePositives`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.TrueNegatives()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    _count = "true_negatives"


class TruePositives(_ConfusionMatrixConditionCount):
    """Weight of positives predicted as positive. Arguments: see `FalsePositives`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.TruePositives()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    _count = "true_positives"


class _Share(_Counting):
    """True positives divided by true positives and errors of one kind."""

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"
        self.init_thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        self.thresholds = parse_thresholds(thresholds, 0.5 if top_k is None else NEG_INF)
        self._add_counts()

    def result(self) -> Any:
        right, wrong = (getattr(self, name) for name in self._kept)
        return self._one_or_all(ops.divide_no_nan(right, ops.add(right, wrong)))

    def get_config(self) -> dict[str, Any]:
        own = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


class Precision(_Share):
    """Share of the predicted positives that are positive.

    Args:
        thresholds: one or several in [0, 1]; default 0.5, or none with `top_k`.
        top_k: only the k largest scores of each sample can be positive.
        class_id: look at this column only.

    Example:
        >>> import graphkeras as keras
        >>> metric = keras.metrics.Precision()
        >>> float(metric([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0])) > 0.66
        True
    """

    _kept = ("true_positives", "false_positives")


class Recall(_Share):
    """Share of the positives that are predicted as positive. Arguments: see `Precision`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.Recall()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    0.5
    """

    _kept = ("true_positives", "false_negatives")


class SensitivitySpecificityBase(_Counting):
    """The best value of one rate among the thresholds where another one is at least `value`."""

    _kept = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    _argument: str
    _rates: tuple[str, str]  # the constrained one, the one to maximise

    def __init__(
        self,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if not 0 <= value <= 1:
            raise ValueError(
                f"Argument `{self._argument}` must be in the range [0, 1]. Received: {self._argument}={value}"
            )
        if num_thresholds <= 0:
            raise ValueError(
                f"Argument `num_thresholds` must be an integer > 0. Received: num_thresholds={num_thresholds}"
            )
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"
        self.value = value
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        self.thresholds = even_thresholds(num_thresholds)
        setattr(self, self._argument, value)
        self._add_counts()

    def _rate(self, name: str) -> Any:
        tp, fp = self.true_positives, self.false_positives
        part, other = {
            "recall": (tp, self.false_negatives),
            "specificity": (self.true_negatives, fp),
            "precision": (tp, fp),
        }[name]
        return ops.divide_no_nan(part, ops.add(part, other))

    def result(self) -> Any:
        constrained, wanted = (self._rate(name) for name in self._rates)
        feasible = ops.greater_equal(constrained, self.value)
        return ops.max(ops.where(feasible, wanted, ops.zeros_like(wanted)))

    def get_config(self) -> dict[str, Any]:
        own = {"num_thresholds": self.num_thresholds, self._argument: self.value, "class_id": self.class_id}
        return {**super().get_config(), **own}


class SensitivityAtSpecificity(SensitivitySpecificityBase):
    """Highest sensitivity (recall) among thresholds with at least the given specificity.

    Args:
        specificity: in [0, 1].
        num_thresholds: evenly spaced thresholds to try.
        class_id: look at this column only.
    """

    _argument = "specificity"
    _rates = ("specificity", "recall")

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(specificity, num_thresholds, class_id, name, dtype)


class SpecificityAtSensitivity(SensitivitySpecificityBase):
    """Highest specificity among thresholds with at least the given sensitivity.

    Args:
        sensitivity: in [0, 1].
        num_thresholds: evenly spaced thresholds to try.
        class_id: look at this column only.
    """

    _argument = "sensitivity"
    _rates = ("recall", "specificity")

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)


class PrecisionAtRecall(SensitivitySpecificityBase):
    """Highest precision among thresholds with at least the given recall.

    Args:
        recall: in [0, 1].
        num_thresholds: evenly spaced thresholds to try.
        class_id: look at this column only.
    """

    _argument = "recall"
    _rates = ("recall", "precision")

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(recall, num_thresholds, class_id, name, dtype)


class RecallAtPrecision(SensitivitySpecificityBase):
    """Highest recall among thresholds with at least the given precision.

    Args:
        precision: in [0, 1].
        num_thresholds: evenly spaced thresholds to try.
        class_id: look at this column only.
    """

    _argument = "precision"
    _rates = ("precision", "recall")

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(precision, num_thresholds, class_id, name, dtype)
