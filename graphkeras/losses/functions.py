"""Losses as functions: one value per sample (the last axis, or `axis`, is averaged or summed away)."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.core.masking import set_keras_mask
from graphkeras.losses.checks import (
    check_broadcast,
    check_class_axis,
    check_sparse_labels,
    check_target_shape,
)
from graphkeras.losses.loss import squeeze_or_expand_to_same_rank


def _pair(name: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Targets and predictions as tensors of the predictions' dtype and one rank."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
    check_broadcast(name, y_true, y_pred)
    return y_true, y_pred


# -- regression ------------------------------------------------------------------------------------
def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """`mean((y_true - y_pred)**2)` over the last axis.

    Example:
        >>> import graphkeras as keras
        >>> keras.losses.mean_squared_error([[0.0, 2.0]], [[1.0, 0.0]]).tolist()
        [2.5]
    """
    y_true, y_pred = _pair("mean_squared_error", y_true, y_pred)
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """`mean(|y_true - y_pred|)` over the last axis."""
    y_true, y_pred = _pair("mean_absolute_error", y_true, y_pred)
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """`100 * mean(|y_true - y_pred| / max(|y_true|, epsilon))` over the last axis."""
    y_true, y_pred = _pair("mean_absolute_percentage_error", y_true, y_pred)
    return 100.0 * ops.mean(ops.abs(y_true - y_pred) / ops.maximum(ops.abs(y_true), epsilon()), axis=-1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """`mean((log(1 + y_true) - log(1 + y_pred))**2)` over the last axis; values below epsilon count as epsilon."""
    y_true, y_pred = _pair("mean_squared_logarithmic_error", y_true, y_pred)
    log_true = ops.log1p(ops.maximum(y_true, epsilon()))
    log_pred = ops.log1p(ops.maximum(y_pred, epsilon()))
    return ops.mean(ops.square(log_pred - log_true), axis=-1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    """Minus the cosine of the angle between the two vectors along `axis`: -1 for the same direction."""
    y_true, y_pred = _pair("cosine_similarity", y_true, y_pred)
    return -ops.sum(_unit(y_true, axis) * _unit(y_pred, axis), axis=axis)


def _unit(x: Any, axis: Any) -> Any:
    squared = ops.sum(ops.square(x), axis=axis, keepdims=True)
    # float16 cannot hold 1e-12; its smallest step does the same job
    return x * ops.rsqrt(ops.maximum(squared, 1e-12 if str(x.dtype) != "float16" else 1e-7))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Half the squared error up to `delta`, linear beyond it (Huber 1964); mean over the last axis."""
    y_true, y_pred = _pair("huber", y_true, y_pred)
    error = ops.abs(y_pred - y_true)
    near = 0.5 * ops.square(error)
    return ops.mean(ops.where(error <= delta, near, delta * error - 0.5 * delta * delta), axis=-1)


def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """`mean(log(cosh(y_pred - y_true)))` over the last axis, in a form that does not overflow."""
    y_true, y_pred = _pair("log_cosh", y_true, y_pred)
    error = y_pred - y_true
    return ops.mean(error + ops.softplus(-2.0 * error) - 0.6931471805599453, axis=-1)


# -- margins ---------------------------------------------------------------------------------------
def _signed(y_true: Any) -> Any:
    """Targets in -1, 1: those given as 0, 1 are converted, all of them or none."""
    binary = ops.all(ops.logical_or(ops.equal(y_true, 0), ops.equal(y_true, 1)))
    return ops.where(binary, 2.0 * y_true - 1.0, y_true)


def hinge(y_true: Any, y_pred: Any) -> Any:
    """`mean(max(1 - y_true * y_pred, 0))` over the last axis, with targets in -1, 1 (or 0, 1)."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = _signed(ops.cast(y_true, y_pred.dtype))
    return ops.mean(ops.maximum(1.0 - y_true * y_pred, 0.0), axis=-1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """`mean(max(1 - y_true * y_pred, 0)**2)` over the last axis, with targets in -1, 1 (or 0, 1)."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = _signed(ops.cast(y_true, y_pred.dtype))
    return ops.mean(ops.square(ops.maximum(1.0 - y_true * y_pred, 0.0)), axis=-1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """`max(highest wrong score - right score + 1, 0)` with one-hot targets."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    right = ops.sum(y_true * y_pred, axis=-1)
    wrong = ops.max((1.0 - y_true) * y_pred, axis=-1)
    return ops.maximum(wrong - right + 1.0, 0.0)


# -- probabilities ---------------------------------------------------------------------------------
def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """`sum(y_true * log(y_true / y_pred))` over the last axis, both clipped to [epsilon, 1]."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.clip(ops.cast(y_true, y_pred.dtype), epsilon(), 1.0)
    return ops.sum(y_true * ops.log(y_true / ops.clip(y_pred, epsilon(), 1.0)), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """`mean(y_pred - y_true * log(y_pred))` over the last axis: the Poisson likelihood's negative logarithm."""
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    return ops.mean(y_pred - y_true * ops.log(y_pred + epsilon()), axis=-1)


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: Any = -1
) -> Any:
    """Cross-entropy of targets in [0, 1], mean over `axis`.

    Args:
        from_logits: whether `y_pred` are logits (more accurate) rather than probabilities.
        label_smoothing: moves targets this fraction of the way to 1/2.

    Example:
        >>> import graphkeras as keras
        >>> round(float(keras.losses.binary_crossentropy([[1.0]], [[0.5]])[0]), 4)
        0.6931
    """
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    check_target_shape("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=from_logits), axis=axis)


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: Any = -1,
) -> Any:
    """Binary cross-entropy times `(1 - p)**gamma`, p being the probability of the true class (Lin et al. 2018).

    Args:
        apply_class_balancing: also weight class 1 by `alpha` and class 0 by `1 - alpha`.
    """
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        y_pred = ops.sigmoid(y_pred)
    entropy = ops.binary_crossentropy(y_true, y_pred)
    p_true = y_true * y_pred + (1 - y_true) * (1 - y_pred)
    loss = ops.power(1.0 - p_true, gamma) * entropy
    if apply_class_balancing:
        loss = (y_true * alpha + (1 - y_true) * (1 - alpha)) * loss
    return ops.mean(loss, axis=axis)


def _categorical(name: str, y_true: Any, y_pred: Any, label_smoothing: float, axis: Any) -> tuple[Any, Any]:
    """Checked and smoothed one-hot targets, and predictions."""
    check_class_axis(name, axis)
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.convert_to_tensor(y_true)
    check_target_shape(name, y_true, y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    if y_pred.shape and y_pred.shape[-1] == 1:
        warnings.warn(
            f"{name}: expected y_pred of shape (batch, classes) with more than one class. Received: "
            f"y_pred.shape={tuple(y_pred.shape)}. For two classes and one output use 'binary_crossentropy'.",
            SyntaxWarning,
            stacklevel=3,
        )
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[-1]
    return y_true, y_pred


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """Cross-entropy of one-hot targets (or class probabilities).

    Args:
        y_true: shape `(..., classes)`. For class numbers use `sparse_categorical_crossentropy`.
        from_logits: whether `y_pred` are logits; probabilities are normalised to sum to 1.
        label_smoothing: this much of each target is spread over all classes.
        axis: the axis of classes.
    """
    y_true, y_pred = _categorical("categorical_crossentropy", y_true, y_pred, label_smoothing, axis)
    return ops.categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Categorical cross-entropy with each class's term times `alpha * (1 - p)**gamma` (Lin et al. 2018).

    Args:
        alpha: a number, or one weight per class.
    """
    y_true, y_pred = _categorical("categorical_focal_crossentropy", y_true, y_pred, label_smoothing, axis)
    if from_logits:
        y_pred = ops.softmax(y_pred, axis=axis)
    p = ops.clip(y_pred / ops.sum(y_pred, axis=axis, keepdims=True), epsilon(), 1.0 - epsilon())
    alpha = alpha if isinstance(alpha, (int, float)) else ops.cast(alpha, p.dtype)
    return ops.sum(ops.power(1.0 - p, gamma) * alpha * (-y_true * ops.log(p)), axis=axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """Cross-entropy of targets given as class numbers.

    Args:
        y_true: class numbers, the shape of `y_pred` without its class axis (or with extent 1 there).
        from_logits: whether `y_pred` are logits.
        ignore_class: targets with this number give loss 0 and are left out of the mean.
        axis: the axis of classes.

    Raises:
        ValueError: for class numbers outside of the classes, where the values are known; in a compiled step they
            give nan.

    Example:
        >>> import graphkeras as keras
        >>> loss = keras.losses.sparse_categorical_crossentropy([1], [[0.25, 0.5, 0.25]])
        >>> round(float(loss[0]), 4)
        0.6931
    """
    y_true = ops.convert_to_tensor(y_true)
    y_pred = ops.convert_to_tensor(y_pred)
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[axis] == 1:
        y_true = ops.squeeze(y_true, axis=axis)
    check_sparse_labels("sparse_categorical_crossentropy", y_true, y_pred, ignore_class, axis)
    classes = y_pred.shape[axis]
    labels = ops.cast(y_true, "int32")
    kept = None
    if ignore_class is not None:
        kept = ops.not_equal(labels, ignore_class)
        labels = ops.where(kept, labels, 0)
        y_pred = ops.where(ops.expand_dims(kept, axis), y_pred, ops.zeros_like(y_pred))
    inside = ops.logical_and(labels >= 0, labels < classes)
    loss = ops.sparse_categorical_crossentropy(
        ops.clip(labels, 0, classes - 1), y_pred, from_logits=from_logits, axis=axis
    )
    loss = ops.where(inside, loss, float("nan"))  # a label without a class must not look like a small loss
    if kept is not None:
        loss = ops.where(kept, loss, ops.zeros_like(loss))
        set_keras_mask(loss, kept)
    return loss


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float) -> Any:
    """`(1 - p**q) / q` with p the probability of the true class, robust to wrong labels (Zhang and Sabuncu 2018).

    Args:
        y_true: class numbers.
        y_pred: probabilities.
        q: between 0 (cross-entropy) and 1 (absolute error).
    """
    y_pred = ops.convert_to_tensor(y_pred)
    labels = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
    p = ops.sum(y_pred * labels, axis=-1)
    return (1.0 - ops.power(p, q)) / q
