"""Helpers for label and feature arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.core import config
from graphkeras.core.tensor import Operators, Tensor


def normalize(x: Any, axis: int = -1, order: int | float = 2) -> Any:
    """Divide `x` by its norm of the given order along `axis`; vectors of norm 0 stay as they are.

    Args:
        x: array-like of any shape.
        axis: axis along which the norm is taken.
        order: order of the norm, > 0; 2 is the Euclidean one.

    Returns:
        an array, or a tensor if `x` is one.

    Example:

    >>> normalize([[3.0, 4.0]])
    array([[0.6, 0.8]])
    """
    array = np.asarray(x)
    if not isinstance(order, (int, float)) or order <= 0:
        raise ValueError(f"normalize() needs `order` to be a number > 0. Received: order={order!r}")
    norm = np.atleast_1d(np.linalg.norm(array, order, axis))
    norm[norm == 0] = 1
    result = array / np.expand_dims(norm, axis)
    return Tensor(result) if isinstance(x, Operators) else result


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """One-hot rows from integer labels.

    Args:
        x: integer array-like of shape (...,) or (..., 1), values in 0..num_classes-1.
        num_classes: number of columns; default: max(x) + 1.

    Returns:
        Array of shape (..., num_classes) of dtype floatx (a tensor if `x` is one).

    Example:

    >>> to_categorical([0, 2], num_classes=3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    is_tensor = isinstance(x, Operators)
    labels = np.asarray(x).astype("int64")
    shape = labels.shape
    if len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    labels = labels.reshape(-1)
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"to_categorical() expects labels in 0..{classes - 1} (num_classes={num_classes}). "
            f"Received values from {labels.min()} to {labels.max()}; pass a larger num_classes or re-number the labels."
        )
    result = np.zeros((labels.shape[0], classes), dtype=config.floatx())
    result[np.arange(labels.shape[0]), labels] = 1
    result = result.reshape((*shape, classes))
    return Tensor(result) if is_tensor else result
