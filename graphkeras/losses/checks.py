"""Checks of targets against predictions: a wrong pairing is an error that names the fix, not a wrong number."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.core.tensor import Tensor

SPARSE = {
    "categorical_crossentropy": "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy": "sparse_categorical_crossentropy",
}


def check_class_axis(name: str, axis: Any) -> None:
    if isinstance(axis, bool):
        raise ValueError(f"{name}: argument `axis` must be of type `int`. Received: axis={axis} of type {type(axis)}")


def check_broadcast(name: str, y_true: Any, y_pred: Any) -> None:
    """Targets and predictions must broadcast to one shape."""
    target, output = tuple(y_true.shape), tuple(y_pred.shape)
    for a, b in zip(target[::-1], output[::-1], strict=False):
        if a != b and 1 not in (a, b) and None not in (a, b):
            raise ValueError(
                f"{name}: y_true of shape {target} and y_pred of shape {output} do not fit together. Give targets the "
                "shape of the model's output, or change the number of units of the last layer."
            )


def check_target_shape(name: str, y_true: Any, y_pred: Any) -> None:
    """Targets must have the shape of the predictions (unknown extents match anything)."""
    target, output = tuple(y_true.shape), tuple(y_pred.shape)
    same = len(target) == len(output) and all(
        a == b or a is None or b is None for a, b in zip(target, output, strict=True)
    )
    if same or not output:
        return
    message = f"{name}: y_true and y_pred must have the same shape. Received: y_true {target}, y_pred {output}."
    class_numbers = target == output[:-1] or target == (*output[:-1], 1)
    if class_numbers and name in SPARSE:
        message += (
            f" These targets look like class numbers: use '{SPARSE[name]}' (or {_class_name(SPARSE[name])}), or turn "
            f"them into one-hot rows with utils.to_categorical(y, {output[-1]})."
        )
    elif class_numbers:
        message += f" For {output[-1]} classes given as numbers use 'sparse_categorical_crossentropy'."
    elif len(output) == 2 and output[-1] == 1 and name != "binary_crossentropy":
        message += " The model ends in one output: use 'binary_crossentropy', or one output per class."
    raise ValueError(message)


def _class_name(function: str) -> str:
    return "".join(part.capitalize() for part in function.split("_"))


def check_sparse_labels(name: str, y_true: Any, y_pred: Any, ignore_class: int | None, axis: int) -> None:
    """Class numbers must have the predictions' shape without the class axis, and lie inside the classes."""
    output = tuple(y_pred.shape)
    if not -len(output) <= axis < len(output):
        raise ValueError(f"{name}: argument `axis` must be in [{-len(output)}, {len(output)}). Received: axis={axis}")
    classes = output[axis]
    wanted = output[: axis % len(output)] + output[axis % len(output) + 1 :]
    target = tuple(y_true.shape)
    fits = len(target) == len(wanted) and all(
        a == b or a is None or b is None for a, b in zip(target, wanted, strict=True)
    )
    if not fits:
        one_hot = " These targets look one-hot: use 'categorical_crossentropy'." if target == output else ""
        raise ValueError(
            f"{name}: y_true must hold class numbers and have shape {wanted}, that of y_pred {output} without its "
            f"class axis. Received: y_true {target}.{one_hot}"
        )
    if isinstance(y_true, Tensor) and not y_true.is_traced and classes is not None:
        _check_range(name, y_true.numpy(), classes, ignore_class)


def _check_range(name: str, labels: np.ndarray, classes: int, ignore_class: int | None) -> None:
    wrong = ~((labels >= 0) & (labels < classes))
    if ignore_class is not None:
        wrong &= labels != ignore_class
    if wrong.any():
        found = labels[wrong].reshape(-1)[0]
        raise ValueError(
            f"{name}: class number {found} is out of range: y_pred has {classes} classes, so labels must be in "
            f"[0, {classes}). Give the model's last layer more units, or number the classes from 0"
            + ("." if ignore_class is not None else "; labels to be left out go into `ignore_class`.")
        )
