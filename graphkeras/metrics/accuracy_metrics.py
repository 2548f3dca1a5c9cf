"""Shares of right predictions."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import floatx
from graphkeras.core.dtypes import is_int_dtype
from graphkeras.losses.loss import squeeze_or_expand_to_same_rank
from graphkeras.metrics.reduction_metrics import BuiltInMean


def _matches(a: Any, b: Any) -> Any:
    return ops.cast(ops.equal(a, b), floatx())


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where prediction and target are equal, else 0."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.convert_to_tensor(y_true, dtype=y_pred.dtype)
    return _matches(*squeeze_or_expand_to_same_rank(y_true, y_pred))


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """1 where the prediction is on the target's (0 or 1) side of the threshold.

    Example:
        >>> import graphkeras as keras
        >>> keras.metrics.binary_accuracy([0.0, 1.0], [0.2, 0.4]).tolist()
        [1.0, 0.0]
    """
    y_true, y_pred = squeeze_or_expand_to_same_rank(ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred))
    return _matches(y_true, ops.cast(ops.greater(y_pred, threshold), y_true.dtype))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest prediction is that of the (one-hot) target's class."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if tuple(y_true.shape) != tuple(y_pred.shape) and len(y_true.shape) == len(y_pred.shape):
        _refuse_labels("categorical_accuracy", y_true, y_pred)
    return _matches(ops.argmax(y_true, axis=-1), ops.argmax(y_pred, axis=-1))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest prediction is that of the target's class number."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if len(y_true.shape) == len(y_pred.shape):
        if y_true.shape[-1] != 1:
            raise ValueError(
                f"sparse_categorical_accuracy: y_true must hold class numbers of shape {tuple(y_pred.shape[:-1])}; "
                f"received shape {tuple(y_true.shape)}. For one-hot targets use 'categorical_accuracy'."
            )
        y_true = ops.squeeze(y_true, axis=-1)
    found = ops.argmax(y_pred, axis=-1)
    return _matches(y_true, found) if is_int_dtype(y_true.dtype) else _matches(y_true, ops.cast(found, y_true.dtype))


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where the (one-hot) target's class is among the k largest predictions."""
    return sparse_top_k_categorical_accuracy(ops.argmax(y_true, axis=-1), y_pred, k=k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Any:
    """1 where the target's class number is among the k largest predictions.

    Args:
        from_sorted_ids: `y_pred` holds class numbers, the likeliest first, instead of scores.
    """
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.convert_to_tensor(y_true, dtype=y_pred.dtype if from_sorted_ids else "int32")
    shape = y_true.shape
    y_true = ops.reshape(y_true, (-1,))
    y_pred = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
    if from_sorted_ids:
        hits = ops.any(ops.equal(ops.expand_dims(y_true, axis=1), y_pred[:, :k]), axis=1)
    else:
        hits = ops.in_top_k(y_true, y_pred, k=k)
    return ops.reshape(ops.cast(hits, floatx()), shape)


def _refuse_labels(name: str, y_true: Any, y_pred: Any) -> None:
    if y_true.shape[-1] == 1 and y_pred.shape[-1] != 1:
        raise ValueError(
            f"{name}: y_true must be one-hot, of shape {tuple(y_pred.shape)}; received shape {tuple(y_true.shape)}. "
            f"For class numbers use 'sparse_{name}'."
        )


class Accuracy(BuiltInMean):
    """Share of predictions equal to the target.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.Accuracy()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]))
    >>> round(float(metric.result()), 4)
    0.75
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name=name, dtype=dtype)
        self._direction = "up"


class BinaryAccuracy(BuiltInMean):
    """Share of predictions on the right side of a threshold.

    Args:
        threshold: predictions above it count as 1.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.BinaryAccuracy()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    0.5
    """

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        if threshold is not None and (threshold <= 0 or threshold >= 1):
            raise ValueError(f"Argument `threshold` must be between 0 and 1 (exclusive). Received: {threshold}")
        super().__init__(binary_accuracy, name=name, dtype=dtype, threshold=threshold)
        self._direction = "up"


class CategoricalAccuracy(BuiltInMean):
    """Share of samples whose largest output is that of the one-hot target.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.CategoricalAccuracy()
    >>> metric.update_state(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.5
    """

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name=name, dtype=dtype)
        self._direction = "up"


class SparseCategoricalAccuracy(BuiltInMean):
    """Share of samples whose largest output is that of the target's class number.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.SparseCategoricalAccuracy()
    >>> metric.update_state(np.array([2, 1]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.5
    """

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name=name, dtype=dtype)
        self._direction = "up"


class TopKCategoricalAccuracy(BuiltInMean):
    """Share of samples whose one-hot target is among the `k` largest outputs.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.TopKCategoricalAccuracy(k=2)
    >>> metric.update_state(np.array([[0, 0, 1], [0, 1, 0]]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name=name, dtype=dtype, k=k)
        self._direction = "up"


class SparseTopKCategoricalAccuracy(BuiltInMean):
    """Share of samples whose class number is among the `k` largest outputs.

    Args:
        from_sorted_ids: outputs are class numbers, the likeliest first, instead of scores.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.SparseTopKCategoricalAccuracy(k=2)
    >>> metric.update_state(np.array([2, 1]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    1.0
    """

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(
            sparse_top_k_categorical_accuracy, name=name, dtype=dtype, k=k, from_sorted_ids=from_sorted_ids
        )
        self._direction = "up"

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if not self.from_sorted_ids:
            del config["from_sorted_ids"]
        return config
