"""Losses over whole images, sequences or batches: Dice, Tversky, CTC, circle."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.core.masking import set_keras_mask


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Any:
    """`1 - 2 |A and B| / (|A| + |B|)` of two soft masks (Sørensen and Dice).

    Args:
        axis: axes to sum over; None for all of them.
    """
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    common = ops.sum(y_true * y_pred, axis=axis)
    return 1.0 - 2.0 * common / (ops.sum(y_true, axis=axis) + ops.sum(y_pred, axis=axis) + epsilon())


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Any:
    """Dice with separate prices of the two kinds of error (Salehi et al. 2017).

    Args:
        alpha: price of what is in `y_true` only.
        beta: price of what is in `y_pred` only.
        axis: axes to sum over; None for all of them.
    """
    y_pred = ops.convert_to_tensor(y_pred)
    y_true = ops.cast(y_true, y_pred.dtype)
    common = ops.sum(y_true * y_pred, axis=axis)
    only_true = ops.sum((1 - y_pred) * y_true, axis=axis)
    only_pred = ops.sum(y_pred * (1 - y_true), axis=axis)
    return 1.0 - common / (common + alpha * only_true + beta * only_pred + epsilon())


def ctc(y_true: Any, y_pred: Any) -> Any:
    """Connectionist temporal classification (Graves et al. 2006); class 0 is the blank and pads the labels.

    Args:
        y_true: labels, shape `(batch, length)`, int; 0 after their end.
        y_pred: logits, shape `(batch, steps, classes)`.
    """
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if len(y_true.shape) != 2:
        raise ValueError(
            "Targets `y_true` are expected to be a tensor of shape `(batch_size, max_length)` in integer format. "
            f"Received: y_true.shape={tuple(y_true.shape)}"
        )
    if len(y_pred.shape) != 3:
        raise ValueError(
            "Logits `y_pred` are expected to be a tensor of shape `(batch_size, max_length, num_classes)`. "
            f"Received: y_pred.shape={tuple(y_pred.shape)}"
        )
    labels = ops.cast(y_true, "int32")
    batch, steps = y_pred.shape[:2]
    label_length = ops.sum(ops.cast(ops.not_equal(labels, 0), "int32"), axis=-1)
    output_length = ops.full((batch,), steps, dtype="int32")
    return ops.ctc_loss(labels, y_pred, label_length, output_length, mask_index=0)


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Any:
    """Circle loss on embeddings of unit length (Sun et al. 2020).

    Args:
        y_true: class numbers, shape `(batch,)`.
        y_pred: embeddings, shape `(batch, size)`, of norm 1.
        ref_labels, ref_embeddings: what to compare with; default the batch itself.
        remove_diagonal: leave out the comparison of a sample with itself.
        gamma: steepness.
        margin: distance below which a pair is close enough.
    """
    y_pred = ops.convert_to_tensor(y_pred)
    labels = ops.cast(y_true, "int32")
    references = y_pred if ref_embeddings is None else ops.convert_to_tensor(ref_embeddings)
    ref_labels = labels if ref_labels is None else ops.cast(ref_labels, "int32")
    distance = ops.maximum(1.0 - ops.matmul(y_pred, ops.transpose(references)), 0.0)
    same, other = _pairs(labels, ref_labels, remove_diagonal)
    near = -gamma * ops.maximum(margin + distance, 0.0) * (margin - distance)
    far = gamma * ops.maximum(1.0 + margin - distance, 0.0) * (1.0 - margin - distance)
    minus_infinity = ops.full_like(distance, float("-inf"))
    p = ops.logsumexp(ops.where(same, near, minus_infinity), axis=1)
    n = ops.logsumexp(ops.where(other, far, minus_infinity), axis=1)
    loss = ops.softplus(p + n)
    set_keras_mask(loss, loss > 0)
    return loss


def _pairs(labels: Any, ref_labels: Any, remove_diagonal: bool) -> tuple[Any, Any]:
    """Masks of shape (batch, references): same class, other class."""
    rows, columns = ops.reshape(labels, (-1, 1)), ops.reshape(ref_labels, (1, -1))
    same = ops.equal(rows, columns)
    other = ops.logical_not(same)
    if remove_diagonal:
        height, width = same.shape
        indices = ops.expand_dims(ops.arange(height), 1), ops.expand_dims(ops.arange(width), 0)
        same = ops.logical_and(same, ops.not_equal(*indices))
    return same, other
