"""Checks of whole arrays on the host, before training: what would spoil a run is said at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.trainers.data_adapters import data_adapter_utils as utils

PROBED = 8  # rows with NaN whose loss is looked at


def check_arrays(model: Any, data: Any, warn: bool = True) -> None:
    """Refuse NaN that would reach the weights, and class numbers that the model has no output for.

    Args:
        model: a built and compiled model.
        data: packed whole arrays (x, y, sample_weight).
        warn: False to look at the class numbers only.

    Raises:
        ValueError: names what holds the NaN, where, and what to do. A model that gives a finite loss for such rows
            (it replaces them, or masks them) is trained as it is; one with a train_step of its own is only warned.
    """
    x, y, sample_weight = utils.unpack_x_y_sample_weight(data)
    for label, array in utils.labelled_leaves(x, y, sample_weight) if warn else ():
        if has_nan(array):
            _judge_nan(model, label, array, (x, y, sample_weight))
            break
    if y is not None:
        check_labels(model, y)
        if warn:
            _warn_about_probabilities(model, y)


def _judge_nan(model: Any, label: str, array: np.ndarray, data: tuple[Any, Any, Any]) -> None:
    """Whether the NaN in `array` costs the model its weights: the loss of some rows that have it says so."""
    places = np.isnan(array)
    rows = np.flatnonzero(places.reshape(len(array), -1).any(axis=1))[:PROBED]
    first = tuple(int(i) for i in np.argwhere(places)[0])
    found = f"`{label}` contains {int(places.sum())} NaN values (of {array.size}), the first at index {first}"
    finite = _loss_is_finite(model, tree.map_structure(lambda a: None if a is None else a[rows], data))
    if finite:
        return
    advice = "Clean it, for example with np.nan_to_num, or drop the rows, or replace them in the model (ops.where)."
    if finite is None:
        warnings.warn(f"{found}: loss and weights of {model.name!r} may become NaN. {advice}", stacklevel=6)
        return
    raise ValueError(
        f"{found}. Expected numbers: the loss of {model.name!r} on such rows is not finite, and one step with it would "
        f"make every weight NaN. Nothing was trained. {advice}"
    )


def _loss_is_finite(model: Any, data: tuple[Any, Any, Any]) -> bool | None:
    """Whether these rows have a finite loss; None where that cannot be known without running the user's own step."""
    from graphkeras.core.scopes import StatelessScope
    from graphkeras.trainers.trainer import Trainer

    if type(model).train_step is not Trainer.train_step:
        return None
    x, y, sample_weight = data
    try:
        with StatelessScope():  # nothing that this changes is kept
            y_pred = model(x, training=False)
            loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
        return bool(np.isfinite(np.asarray(loss)).all())
    except Exception:  # whatever is wrong here is said by the training itself, with its own words
        return None


def _warn_about_probabilities(model: Any, y: Any) -> None:
    """Targets of a binary cross-entropy are probabilities: with others the loss has no lower bound."""
    compiled = model._compile_loss
    if compiled is None or not compiled.built or tree.is_nested(y):
        return
    for path, loss, _, _ in compiled.losses:
        if path or getattr(getattr(loss, "fn", None), "__name__", "") != "binary_crossentropy":
            continue
        if isinstance(y, np.ndarray) and y.size and y.dtype.kind in "fiu" and (y.min() < 0 or y.max() > 1):
            warnings.warn(
                f"`y` holds values from {y.min()} to {y.max()}, but the loss {loss.name!r} of {model.name!r} expects "
                "probabilities or labels from 0 to 1. For class numbers use 'sparse_categorical_crossentropy' with one "
                "unit per class; for other numbers 'mse'.",
                stacklevel=6,
            )


def has_nan(array: np.ndarray) -> bool:
    """Whether a float array holds a NaN. A sum is cheaper than a map of all elements, and NaN survives it."""
    if array.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        total = array.sum(dtype=np.float64) if array.flags.c_contiguous else np.nan
    return bool(np.isnan(total)) and bool(np.isnan(array).any())


def _compared(model: Any, y_pred: Any, y: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any, Any]]:
    """(path, loss, target, output) of each loss; nothing where structures differ: the step itself says so."""
    compiled = model._compile_loss
    if compiled is None or not compiled.built:
        return
    try:
        y = compiled.align(y, y_pred)
    except (ValueError, KeyError, TypeError):
        return
    for path, loss, _, _ in compiled.losses:
        yield path, loss, _at(y, path), _at(y_pred, path)


def check_labels(model: Any, y: Any) -> None:
    """Class numbers of sparse losses must lie in the range of the output they are compared with."""
    y_pred = model.__dict__.get("_output_spec")
    for path, loss, target, output in _compared(model, y_pred, y) if y_pred is not None else ():
        if not isinstance(target, np.ndarray) or not hasattr(output, "shape") or not _is_sparse(loss):
            continue
        classes = output.shape[getattr(loss, "_fn_kwargs", {}).get("axis", -1)]
        ignored = getattr(loss, "_fn_kwargs", {}).get("ignore_class")
        if classes is None or not target.size:
            continue
        wrong = (target < 0) | (target >= classes)
        if ignored is not None:
            wrong &= target != ignored
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            label = "y" + "".join(f"[{p!r}]" for p in path)
            units = f"Give the last layer {int(target.max()) + 1} units, or number" if target.max() > 0 else "Number"
            raise ValueError(
                f"`{label}` holds the label {target[where]} at index {where}, but the output of {model.name!r} has "
                f"{classes} class{'es' * (classes > 1)}: labels must lie in 0..{classes - 1} ({int(wrong.sum())} of "
                f"{target.size} do not). {units} the labels from 0."
                + (" For two classes and one unit use 'binary_crossentropy'." if classes == 1 else "")
            )


SAME_SHAPE = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
)


def check_target_shapes(model: Any, y_pred: Any, y: Any) -> None:
    """Targets of regression losses have the outputs' shape: broadcasting one against the other is a mistake.

    Args:
        y_pred, y: structures of anything with a shape.
    """
    for path, loss, target, output in _compared(model, y_pred, y):
        if not hasattr(target, "shape") or not hasattr(output, "shape"):
            continue
        if getattr(getattr(loss, "fn", None), "__name__", "") not in SAME_SHAPE:
            continue
        expected, received = tuple(output.shape[1:]), tuple(target.shape[1:])
        if _without_last_one(expected) != _without_last_one(received) and None not in expected:
            label = "y" + "".join(f"[{p!r}]" for p in path)
            raise ValueError(
                f"`{label}` has shape {tuple(target.shape)}, but the output of {model.name!r} that it is compared with "
                f"by the loss {loss.name!r} has shape {(None, *expected)}. Expected targets of shape "
                f"{(None, *expected)}: reshape them, or change the number of units of the last layer."
            )


def _without_last_one(shape: tuple[Any, ...]) -> tuple[Any, ...]:
    return shape[:-1] if shape[-1:] == (1,) else shape


def _is_sparse(loss: Any) -> bool:
    from graphkeras import losses

    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        return True
    return getattr(loss, "fn", None) is losses.sparse_categorical_crossentropy


def _at(structure: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        if not tree.is_nested(structure):
            return None
        structure = structure[key]
    return structure
