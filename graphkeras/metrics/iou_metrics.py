"""Intersection over union of predicted and true regions, from a confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.metrics.metric import Metric


class _IoUBase(Metric):
    """Keeps the confusion matrix: rows are true, columns predicted classes."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name=name, dtype=dtype or "int32")
        self._direction = "up"
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.total_cm = self.add_variable(
            (num_classes, num_classes), "zeros", dtype=self.dtype, name="total_confusion_matrix"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch. Classes outside of the matrix and `ignore_class` are left out."""
        y_true = y_true if self.sparse_y_true else ops.argmax(y_true, axis=self.axis)
        y_pred = y_pred if self.sparse_y_pred else ops.argmax(y_pred, axis=self.axis)
        y_true, y_pred = (ops.reshape(ops.cast(y, "int32"), (-1,)) for y in (y_true, y_pred))
        inside = ops.logical_and(
            ops.logical_and(y_true >= 0, y_true < self.num_classes),
            ops.logical_and(y_pred >= 0, y_pred < self.num_classes),
        )
        if self.ignore_class is not None:
            inside = ops.logical_and(inside, ops.not_equal(y_true, self.ignore_class))
        weight = ops.cast(inside, self.dtype)
        if sample_weight is not None:
            weight = weight * self._flat_weight(sample_weight, y_true.shape)
        cells = ops.where(inside, y_true * self.num_classes + y_pred, 0)
        counts = ops.segment_sum(weight, cells, num_segments=self.num_classes**2)
        self.total_cm.assign_add(ops.reshape(counts, (self.num_classes, self.num_classes)))

    def _flat_weight(self, sample_weight: Any, shape: Any) -> Any:
        if "float" in str(getattr(sample_weight, "dtype", "")) and "int" in self.dtype:
            warnings.warn(
                "You are passing weight as `float`, but dtype is `int`. This may result in an incorrect weight due to "
                "type casting. Use integer weights, or pass dtype='float32' to the metric.",
                stacklevel=3,
            )
        weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
        weight = ops.reshape(weight, (-1,)) if len(weight.shape) > 1 else weight
        return ops.broadcast_to(weight, shape)


class IoU(_IoUBase):
    """Mean over some classes of true positives / (true positives + false positives + false negatives).

    Args:
        num_classes: number of classes.
        target_class_ids: the classes to average over.
        name: name.
        dtype: dtype of the counts; int32, so weights must be whole numbers; "float32" for others.
        ignore_class: true class to leave out, such as "void" pixels.
        sparse_y_true: targets are class numbers, else one-hot (argmax is taken).
        sparse_y_pred: predictions are class numbers, else scores.
        axis: the axis of classes.

    Example:
        >>> import graphkeras as keras
        >>> metric = keras.metrics.IoU(num_classes=2, target_class_ids=[0])
        >>> round(float(metric([0, 0, 1, 1], [0, 1, 0, 1])), 3)
        0.333
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )
        if max(target_class_ids) >= num_classes:
            raise ValueError(f"Target class id {max(target_class_ids)} is out of range, which is [0, {num_classes}).")
        self.target_class_ids = list(target_class_ids)

    def result(self) -> Any:
        matrix = ops.cast(self.total_cm, "float32")
        hits = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - hits
        ids = ops.convert_to_tensor(self.target_class_ids, dtype="int32")
        hits, union = ops.take(hits, ids, axis=0), ops.take(union, ids, axis=0)
        seen = ops.cast(union > 1e-9, "float32")  # classes that never occurred do not count
        return ops.sum(seen * hits / (union + epsilon())) / (ops.sum(seen) + epsilon())

    def get_config(self) -> dict[str, Any]:
        keys = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")
        return {**super().get_config(), **{k: getattr(self, k) for k in keys}}


class BinaryIoU(IoU):
    """IoU of classes 0 and 1 with scores above a threshold as class 1.

    Args:
        target_class_ids: (0, 1), (0,) or (1,).
        threshold: scores from it on are class 1.
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name=name, dtype=dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        above = ops.greater_equal(ops.cast(y_pred, "float32"), self.threshold)
        super().update_state(y_true, ops.cast(above, "int32"), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return _config(self, "target_class_ids", "threshold")


class MeanIoU(IoU):
    """IoU averaged over all classes. Arguments: see `IoU`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.MeanIoU(num_classes=2)
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]))
    >>> round(float(metric.result()), 4)
    0.5833
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            range(num_classes),
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )

    def get_config(self) -> dict[str, Any]:
        return _config(self, "num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")


class OneHotIoU(IoU):
    """IoU with one-hot targets. Arguments: see `IoU`."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            target_class_ids,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=False,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )

    def get_config(self) -> dict[str, Any]:
        return _config(self, "num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")


class OneHotMeanIoU(MeanIoU):
    """Mean IoU with one-hot targets. Arguments: see `IoU`."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=False,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )

    def get_config(self) -> dict[str, Any]:
        return _config(self, "num_classes", "ignore_class", "sparse_y_pred", "axis")


def _config(metric: Metric, *keys: str) -> dict[str, Any]:
    return {"name": metric.name, "dtype": metric.dtype, **{k: getattr(metric, k) for k in keys}}
