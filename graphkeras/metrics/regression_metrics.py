"""Regression errors, cosine similarity, correlations and the coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras import losses, ops
from graphkeras.core.config import epsilon
from graphkeras.core.masking import get_keras_mask
from graphkeras.losses.loss import apply_mask, squeeze_or_expand_to_same_rank
from graphkeras.metrics.metric import Metric
from graphkeras.metrics.reduction_metrics import BuiltInMean, Mean


def _pair(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    y_pred = ops.convert_to_tensor(y_pred)
    return squeeze_or_expand_to_same_rank(ops.convert_to_tensor(y_true, dtype=y_pred.dtype), y_pred)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Cosine of the angle between target and prediction: 1 for the same direction (the loss is minus this)."""
    return -losses.cosine_similarity(y_true, y_pred, axis=axis)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Pearson's correlation coefficient along `axis`."""
    y_true, y_pred = _pair(y_true, y_pred)
    y_true = y_true - ops.mean(y_true, axis=axis, keepdims=True)
    y_pred = y_pred - ops.mean(y_pred, axis=axis, keepdims=True)
    spread = ops.sqrt(ops.mean(ops.square(y_true), axis=axis)) * ops.sqrt(ops.mean(ops.square(y_pred), axis=axis))
    return ops.mean(y_true * y_pred, axis=axis) / spread


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Lin's concordance: correlation that also counts differences of mean and scale (Lin 1989)."""
    y_true, y_pred = _pair(y_true, y_pred)
    mean_true = ops.mean(y_true, axis=axis, keepdims=True)
    mean_pred = ops.mean(y_pred, axis=axis, keepdims=True)
    off_true, off_pred = y_true - mean_true, y_pred - mean_pred
    spread = ops.mean(ops.square(off_true), axis=axis) + ops.mean(ops.square(off_pred), axis=axis)
    shift = ops.squeeze(ops.square(mean_true - mean_pred), axis=axis)
    return 2 * ops.mean(off_true * off_pred, axis=axis) / (spread + shift + epsilon())


class MeanSquaredError(BuiltInMean):
    """Mean of squared differences.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.MeanSquaredError()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    0.1925
    """

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name=name, dtype=dtype)
        self._direction = "down"


class MeanAbsoluteError(BuiltInMean):
    """Mean of absolute differences.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.MeanAbsoluteError()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    0.375
    """

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name=name, dtype=dtype)
        self._direction = "down"


class MeanAbsolutePercentageError(BuiltInMean):
    """Mean of absolute differences in percent of the target."""

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_percentage_error, name=name, dtype=dtype)
        self._direction = "down"


class MeanSquaredLogarithmicError(BuiltInMean):
    """Mean of squared differences of `log(1 + y)`."""

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_logarithmic_error, name=name, dtype=dtype)
        self._direction = "down"


class LogCoshError(BuiltInMean):
    """Mean of `log(cosh(error))`."""

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(losses.log_cosh, name=name, dtype=dtype)
        self._direction = "down"


class RootMeanSquaredError(Mean):
    """Root of the mean of squared differences over all batches.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.RootMeanSquaredError()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    0.4387
    """

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        mask = get_keras_mask(y_pred)
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        weight = apply_mask(sample_weight, mask, self.dtype, "sum")
        super().update_state(ops.square(y_pred - y_true), sample_weight=weight)

    def result(self) -> Any:
        return ops.sqrt(super().result())


class CosineSimilarity(BuiltInMean):
    """Mean cosine of the angle between target and prediction along `axis`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.CosineSimilarity()
    >>> metric.update_state(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.7196
    """

    def __init__(self, name: str = "cosine_similarity", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(cosine_similarity, name=name, dtype=dtype, axis=axis)
        self._direction = "up"

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.axis == -1:
            del config["axis"]
        return config


class PearsonCorrelation(BuiltInMean):
    """Mean of Pearson's correlation along `axis`."""

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name=name, dtype=dtype, axis=axis)
        self._direction = "up"


class ConcordanceCorrelation(BuiltInMean):
    """Mean of Lin's concordance along `axis`."""

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name=name, dtype=dtype, axis=axis)
        self._direction = "up"


class R2Score(Metric):
    """Coefficient of determination: 1 minus squared errors over squared deviations from the mean.

    Targets and predictions have shape `(batch, outputs)`.

    Args:
        class_aggregation: "uniform_average" (mean of the outputs' scores), "variance_weighted_average" or None (one
            score for each output).
        num_regressors: number of predictors for the adjusted score; 0 for the plain one.
        name: name.
        dtype: dtype of the state.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.R2Score()
    >>> metric.update_state(np.array([[1.0], [2.0], [3.0]]), np.array([[1.1], [1.9], [3.2]]))
    >>> round(float(metric.result()), 4)
    0.97
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"
        known = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in known:
            raise ValueError(
                f"Invalid value for argument `class_aggregation`. Expected one of {known}. "
                f"Received: class_aggregation={class_aggregation}"
            )
        if num_regressors < 0:
            raise ValueError(
                "Invalid value for argument `num_regressors`. Expected a value >= 0. "
                f"Received: num_regressors={num_regressors}"
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.num_samples = self.add_variable((), "zeros", name="num_samples")
        self._built = False

    def _build(self, y_true_shape: Any, y_pred_shape: Any) -> None:
        known = (s is not None for s in (y_pred_shape[-1], y_true_shape[-1]))
        if len(y_pred_shape) != 2 or len(y_true_shape) != 2 or not all(known):
            raise ValueError(
                "R2Score expects 2D inputs with shape (batch_size, output_dim), with output_dim fully defined (not "
                f"None). Received input shapes: y_pred.shape={tuple(y_pred_shape)} and "
                f"y_true.shape={tuple(y_true_shape)}."
            )
        shape = (y_pred_shape[-1],)
        self.squared_sum = self.add_variable(shape, "zeros", name="squared_sum")
        self.sum = self.add_variable(shape, "zeros", name="sum")
        self.total_mse = self.add_variable(shape, "zeros", name="residual")
        self.count = self.add_variable(shape, "zeros", name="count")
        self._built = True

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        if not self._built:
            self._build(y_true.shape, y_pred.shape)
        weight = ops.convert_to_tensor(1.0 if sample_weight is None else sample_weight, dtype=self.dtype)
        weight = ops.expand_dims(weight, axis=1) if len(weight.shape) == 1 else weight
        weight = ops.broadcast_to(weight, y_true.shape)
        self.sum.assign_add(ops.sum(y_true * weight, axis=0))
        self.squared_sum.assign_add(ops.sum(y_true * y_true * weight, axis=0))
        self.total_mse.assign_add(ops.sum(ops.square(y_true - y_pred) * weight, axis=0))
        self.count.assign_add(ops.sum(weight, axis=0))
        size = y_true.shape[0] * y_true.shape[1]
        self.num_samples.assign_add(ops.cast(size, self.num_samples.dtype))

    def result(self) -> Any:
        spread = self.squared_sum - self.sum * (self.sum / self.count)
        scores = 1 - self.total_mse / spread
        scores = ops.where(ops.isinf(scores), ops.zeros_like(scores), scores)
        if self.class_aggregation == "uniform_average":
            scores = ops.mean(scores)
        elif self.class_aggregation == "variance_weighted_average":
            scores = ops.sum(spread * scores) / ops.sum(spread)
        return scores if self.num_regressors == 0 else self._adjusted(scores)

    def _adjusted(self, score: Any) -> Any:
        """The score corrected for the number of predictors, where there are enough samples for it."""
        samples = self.num_samples.value
        if not samples.is_traced and float(samples.numpy()) <= self.num_regressors + 1:
            fewer = float(samples.numpy()) < self.num_regressors + 1
            reason = "More independent predictors than datapoints" if fewer else "Division by zero"
            warnings.warn(f"{reason} in adjusted R2 score. Falling back to standard R2 score.", stacklevel=3)
            return score
        freedom = samples - self.num_regressors - 1.0
        enough = freedom > 0
        adjusted = 1.0 - (1.0 - score) * (samples - 1.0) / ops.where(enough, freedom, 1.0)
        return ops.where(enough, adjusted, score)

    def get_config(self) -> dict[str, Any]:
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}
