"""Cross-entropies, per sample."""

from __future__ import annotations

from typing import Any

from graphkeras.core.config import epsilon
from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    INTS,
    Tensor,
    apply,
    axis_of,
    cast_to,
    expand,
    floating,
    permute,
    reduce,
    reshape_to,
    to_tensor,
)


def _clipped(x: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1, where the logarithm is infinite."""
    small = epsilon()
    return apply("minimum", apply("maximum", x, small), 1.0 - small)


@keras_op
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """`-(t log p + (1 - t) log(1 - p))` elementwise; p = sigmoid(output) with `from_logits`."""
    output = floating(output)
    target = to_tensor(target, output.dtype)
    if target.shape != output.shape:
        raise ValueError(
            "binary_crossentropy: `target` and `output` must have the same shape; received "
            f"{target.shape} and {output.shape}"
        )
    if from_logits:
        return apply("sigmoid_crossentropy", output, target)
    p = _clipped(output)
    positive = apply("mul", target, apply("log", p))
    negative = apply("mul", apply("sub", 1.0, target), apply("log", apply("sub", 1.0, p)))
    return apply("neg", apply("add", positive, negative))


def _last(x: Tensor, axis: int) -> Tensor:
    """x with the class axis last."""
    rank = len(x.shape)
    return permute(x, (*(i for i in range(rank) if i != axis), axis))


@keras_op
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """`-sum(target * log p)` over the class axis; p = softmax(output) with `from_logits`, else output normalised."""
    output = floating(output)
    target = to_tensor(target, output.dtype)
    if target.shape != output.shape:
        raise ValueError(
            f"categorical_crossentropy: `target` and `output` must have the same shape; received {target.shape} and "
            f"{output.shape}. Integer labels need sparse_categorical_crossentropy"
        )
    if len(target.shape) < 1:
        raise ValueError("categorical_crossentropy: arguments must have at least 1 dimension; received shape ()")
    where = axis_of(axis, len(output.shape), "categorical_crossentropy")
    if from_logits:
        return apply("softmax_crossentropy", _last(output, where), _last(target, where))
    p = _clipped(apply("div", output, reduce("reduce_sum", output, (where,), True)))
    return apply("neg", reduce("reduce_sum", apply("mul", target, apply("log", p)), (where,)))


@keras_op
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """`-log p[target]` for integer class labels; p = softmax(output) with `from_logits`, else output normalised."""
    output = floating(output)
    if len(output.shape) < 1:
        raise ValueError("sparse_categorical_crossentropy: `output` must have at least 1 dimension; received shape ()")
    where = axis_of(axis, len(output.shape), "sparse_categorical_crossentropy")
    labels = to_tensor(target)
    labels = labels if labels.dtype in INTS else cast_to(labels, "int32")
    if len(labels.shape) == len(output.shape) and labels.shape[-1] == 1:
        labels = reshape_to(labels, labels.shape[:-1])
    expected = output.shape[:where] + output.shape[where + 1 :]
    if labels.shape != expected:
        raise ValueError(
            f"sparse_categorical_crossentropy: `target` must have the shape of `output` {output.shape} without its "
            f"class axis, {expected}; received {labels.shape}"
        )
    scores = _last(output, where)
    if from_logits:
        return apply("sparse_softmax_crossentropy", scores, labels)
    last = len(scores.shape) - 1
    p = _clipped(apply("div", scores, reduce("reduce_sum", scores, (last,), True)))
    chosen = apply("take_along_axis", p, expand(labels, last), axis=last)
    return apply("neg", apply("log", reshape_to(chosen, expected)))
