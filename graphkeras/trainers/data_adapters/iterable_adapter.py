"""Batches from generators and from data sets of other libraries (tf.data, torch, grain), recognised by duck typing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from graphkeras.core import tree
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.data_adapters.data_adapter import DataAdapter


def standardize_batch(batch: Any) -> Any:
    """A batch with every leaf as a NumPy array; a list at the top counts as a tuple."""
    if isinstance(batch, list):
        batch = tuple(batch)
    if not isinstance(batch, tuple):
        return _arrays(batch, "x")
    parts = utils.unpack_x_y_sample_weight(batch)
    converted = [_arrays(part, label) for part, label in zip(parts, ("x", "y", "sample_weight"), strict=True)]
    return tuple(converted[: len(batch)])


def _arrays(part: Any, label: str) -> Any:
    return tree.map_structure(lambda leaf: utils.standardize(leaf, label), part, none_is_leaf=False)


class GeneratorDataAdapter(DataAdapter):
    """A Python generator of tuples. It is read once: each epoch continues where the one before stopped."""

    def __init__(self, generator: Iterator[Any]) -> None:
        first = list(itertools.islice(generator, 1))
        if not first:
            raise ValueError("The generator yielded no batch. Expected at least one (x,), (x, y) or (x, y, weights).")
        if not isinstance(first[0], tuple):
            raise ValueError(
                "A Python generator must yield tuples: either (input,) or (inputs, targets) or "
                f"(inputs, targets, sample_weights). Received: {_brief(first[0])}"
            )
        self._source = itertools.chain(first, generator)

    def batches(self) -> Iterator[Any]:
        return (standardize_batch(b) for b in self._source)

    @property
    def num_batches(self) -> None:
        return None

    @property
    def batch_size(self) -> None:
        return None


class IterableDataAdapter(DataAdapter):
    """Any object whose `iter()` starts a new pass over batches: tf.data.Dataset, DataLoader, your own class."""

    def __init__(self, dataset: Any, class_weight: Any = None) -> None:
        self.dataset = dataset
        self.class_weight = class_weight

    def batches(self) -> Iterator[Any]:
        source = self.dataset.as_numpy_iterator() if hasattr(self.dataset, "as_numpy_iterator") else iter(self.dataset)
        for batch in source:
            yield with_class_weight(standardize_batch(batch), self.class_weight, type(self.dataset).__name__)

    @property
    def num_batches(self) -> int | None:
        try:
            count = len(self.dataset)
        except (TypeError, NotImplementedError, AttributeError):
            cardinality = getattr(self.dataset, "cardinality", None)
            if not callable(cardinality):
                return None
            count = int(cardinality())
        return count if count >= 0 else None  # negative: infinite or unknown

    @property
    def batch_size(self) -> int | None:
        size = getattr(self.dataset, "batch_size", None)
        return size if isinstance(size, int) else None


def with_class_weight(batch: Any, class_weight: Any, source: str) -> Any:
    """The batch with sample weights made from class weights."""
    if class_weight is None:
        return batch
    x, y, sample_weight = utils.unpack_x_y_sample_weight(batch)
    if sample_weight is not None:
        raise ValueError(
            f"You cannot specify `class_weight` and `sample_weight` at the same time: {source} already yields sample "
            "weights. Drop one of the two."
        )
    if y is None:
        raise ValueError(f"`class_weight` needs targets, but {source} yields inputs only.")
    if tree.is_nested(y):
        raise ValueError("`class_weight` is only supported for Models with a single output.")
    return x, y, utils.class_weight_to_sample_weights(y, class_weight)


def _brief(value: Any) -> str:
    text = repr(value)
    return f"{text[:200]}{'...' if len(text) > 200 else ''} (of type {type(value).__name__})"
