"""Sums and means of per-sample values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkeras import ops
from graphkeras.core.config import floatx
from graphkeras.core.masking import get_keras_mask
from graphkeras.losses.loss import Loss, apply_mask, squeeze_or_expand_to_same_rank
from graphkeras.metrics.metric import Metric
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object


def reduce_to_samplewise_values(
    values: Any, sample_weight: Any, reduce_fn: Callable[..., Any], dtype: Any
) -> tuple[Any, Any]:
    """Weighted values and weights, one per sample: other axes are reduced with `reduce_fn`."""
    dtype = dtype or floatx()
    mask = get_keras_mask(values)
    values = ops.cast(values, dtype)
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype=dtype)
        if mask is not None:
            sample_weight = apply_mask(sample_weight, mask, dtype, "sum")
        values, sample_weight = squeeze_or_expand_to_same_rank(values, sample_weight)
        rank = len(sample_weight.shape)
        if len(values.shape) > rank:
            values = reduce_fn(values, axis=list(range(rank, len(values.shape))))
        sample_weight = ops.broadcast_to(sample_weight, values.shape)
        values = values * sample_weight
        if rank > 1:
            sample_weight = reduce_fn(sample_weight, axis=list(range(1, rank)))
    if len(values.shape) > 1:
        values = reduce_fn(values, axis=list(range(1, len(values.shape))))
    return values, sample_weight


class Sum(Metric):
    """Sum of values (times weights).

    Example:
        >>> import graphkeras as keras
        >>> float(keras.metrics.Sum()([1.0, 3.0]))
        4.0
    """

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", dtype=self.dtype, name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, _ = reduce_to_samplewise_values(values, sample_weight, ops.sum, self.dtype)
        self.total.assign_add(ops.sum(values))

    def result(self) -> Any:
        return ops.cast(self.total, self.dtype)


class Mean(Metric):
    """Mean of values, weighted: the sum of `value * weight` divided by the sum of weights.

    Example:
        >>> import graphkeras as keras
        >>> float(keras.metrics.Mean()([1.0, 3.0]))
        2.0
    """

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", dtype=self.dtype, name="total")
        self.count = self.add_variable((), "zeros", dtype=self.dtype, name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, sample_weight = reduce_to_samplewise_values(values, sample_weight, ops.mean, self.dtype)
        self.total.assign_add(ops.sum(values))
        if sample_weight is not None:
            self.count.assign_add(ops.sum(sample_weight))
        else:
            self.count.assign_add(ops.cast(values.shape[0] if values.shape else 1, self.dtype))

    def result(self) -> Any:
        return ops.divide_no_nan(self.total, self.count)


class MeanMetricWrapper(Mean):
    """Mean of a function of targets and predictions.

    Args:
        fn: function `(y_true, y_pred, **kwargs)` that returns one value per sample.
        name: name.
        dtype: dtype of the state.
        **kwargs: passed to `fn`.
    """

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name or "mean_metric_wrapper", dtype=dtype)
        self._fn = fn
        self._fn_kwargs = kwargs
        if isinstance(fn, Loss) or getattr(fn, "__module__", "").startswith(f"{Loss.__module__.split('.')[0]}.losses"):
            self._direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        mask = get_keras_mask(y_pred)
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        super().update_state(values, sample_weight=apply_mask(sample_weight, mask, self.dtype, "sum"))

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "fn": serialize_keras_object(self._fn)}
        return {**config, **serialize_keras_object(self._fn_kwargs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        return cls(**(deserialize_keras_object(config) if "fn" in config else config))


class BuiltInMean(MeanMetricWrapper):
    """A mean metric of this package: its config holds the arguments of `__init__`, not the function."""

    def get_config(self) -> dict[str, Any]:
        config = {k: serialize_keras_object(v) for k, v in self._fn_kwargs.items()}
        return {**Metric.get_config(self), **config}

    def __getattr__(self, name: str) -> Any:
        kwargs = self.__dict__.get("_fn_kwargs", {})
        if name in kwargs:
            return kwargs[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
