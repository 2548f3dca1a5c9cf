"""Data adapters: one way to read arrays, generators, PyDatasets and other libraries' data sets."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterator
from typing import Any

from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.data_adapters.array_data_adapter import ArrayDataAdapter, can_convert_arrays
from graphkeras.trainers.data_adapters.data_adapter import DataAdapter
from graphkeras.trainers.data_adapters.iterable_adapter import GeneratorDataAdapter, IterableDataAdapter
from graphkeras.trainers.data_adapters.py_dataset_adapter import PyDataset, PyDatasetAdapter


def get_data_adapter(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    shuffle: bool | str = False,
    class_weight: Any = None,
) -> DataAdapter:
    """The adapter for what was passed to fit, evaluate or predict.

    Raises ValueError for types that are no data, and for y, sample_weight or class_weight beside a data set that
    already holds them.
    """
    if isinstance(x, DataAdapter):
        return x
    if can_convert_arrays((x, y, sample_weight)):
        return ArrayDataAdapter(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps=steps_per_epoch,
            shuffle=shuffle,
            class_weight=class_weight,
        )
    kind = _dataset_kind(x)
    if kind is None:
        raise ValueError(_unrecognized(x, y))
    for argument, meaning, value in (("y", "the targets", y), ("sample_weight", "the sample weights", sample_weight)):
        if value is not None:
            raise ValueError(
                f"When providing `x` as a {kind}, `{argument}` should not be passed. Instead, {meaning} should be "
                f"included as part of the {kind}."
            )
    if class_weight is not None and kind in ("torch DataLoader", "grain dataset", "generator"):
        raise ValueError(
            f"Argument `class_weight` is not supported for {kind} inputs. Received: class_weight={class_weight}. "
            "Yield (inputs, targets, sample_weights) instead."
        )
    if isinstance(x, PyDataset):
        if shuffle and shuffle is not SHUFFLE_DEFAULT and x.num_batches is None:
            _warn_shuffle("an infinite PyDataset")
        return PyDatasetAdapter(x, class_weight=class_weight, shuffle=shuffle)
    if shuffle and shuffle is not SHUFFLE_DEFAULT:
        _warn_shuffle(f"a {kind}")
    if isinstance(x, types.GeneratorType) or (isinstance(x, Iterator) and kind == "generator"):
        return GeneratorDataAdapter(x)
    return IterableDataAdapter(x, class_weight=class_weight)


class _ShuffleDefault(int):
    """`shuffle=True` that the user did not write: no warning where it cannot be honoured."""


SHUFFLE_DEFAULT = _ShuffleDefault(1)


def _warn_shuffle(source: str) -> None:
    warnings.warn(
        f"`shuffle=True` was passed, but will be ignored since the data `x` was provided as {source}, which decides "
        "about the order of its batches itself.",
        stacklevel=3,
    )


def _dataset_kind(x: Any) -> str | None:
    """What to call a data set in messages; None if it is none."""
    if isinstance(x, PyDataset):
        return "PyDataset"
    for cls in type(x).__mro__:
        module = str(cls.__module__)
        if "torch.utils.data" in module:
            return "torch DataLoader"
        if module.startswith("tensorflow.") and "Dataset" in cls.__name__:
            return "tf.data.Dataset"
        if module.split(".")[0] == "grain":
            return "grain dataset"
    if isinstance(x, (types.GeneratorType, Iterator)):
        return "generator"
    if hasattr(x, "__iter__") and not isinstance(x, (list, tuple, dict, set, frozenset, str, bytes, range)):
        return None if utils.is_array_like(x) else "dataset"
    return None


def _unrecognized(x: Any, y: Any) -> str:
    text = str(x)
    shown = text[:200] + "..." if len(text) > 200 else text
    message = f"Unrecognized data type: x={shown} (of type {type(x)})"
    if isinstance(x, (list, tuple)) or isinstance(y, (list, tuple)):
        message += (
            ". A Python list is a structure of several inputs, not an array: convert lists of numbers with "
            "`np.array(...)`."
        )
    return message
