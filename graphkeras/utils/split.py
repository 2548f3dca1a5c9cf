"""Splitting data sets in two."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.utils.batches import BatchedDataset


def split_dataset(
    dataset: Any,
    left_size: Any = None,
    right_size: Any = None,
    shuffle: bool = False,
    seed: Any = None,
    preferred_backend: Any = None,
) -> tuple[BatchedDataset, BatchedDataset]:
    """Split a data set that fits in memory into two.

    Args:
        dataset: array, list of samples, tuple (or list, or dict) of arrays, or data set; batches are taken apart.
        left_size, right_size: fraction (float) or number (int) of samples; one of them may be left out.
        shuffle: whether samples are put in a random order first.
        seed: of that order.
        preferred_backend: accepted for compatibility.

    Returns:
        two re-iterable data sets of samples (of batches, if `dataset` had batches).

    Example:

    >>> import numpy as np
    >>> from graphkeras.utils import split_dataset
    >>> left, right = split_dataset(np.arange(10), left_size=0.7)
    >>> len(left), [int(x) for x in right]
    (7, [7, 8, 9])
    """
    samples, batch_size = _samples(dataset)
    left, right = _sizes(left_size, right_size, len(samples))
    order = np.arange(len(samples))
    if shuffle:
        np.random.default_rng(seed).shuffle(order)

    def part(indices: np.ndarray) -> BatchedDataset:
        def load(positions: Any) -> Any:
            if np.ndim(positions) == 0:
                return samples[indices[positions]]
            chosen = [samples[indices[i]] for i in positions]
            return tree.map_structure(lambda *leaves: np.array(leaves), *chosen)

        return BatchedDataset(load, len(indices), batch_size)

    return part(order[:left]), part(order[len(samples) - right :])


def _samples(dataset: Any) -> tuple[list[Any], int | None]:
    """All samples, and the size of the batches they came in."""
    if isinstance(dataset, np.ndarray):
        return list(dataset), None
    if isinstance(dataset, (tuple, dict)) or (isinstance(dataset, list) and _is_list_of_arrays(dataset)):
        lengths = {len(leaf) for leaf in tree.flatten(dataset)}
        if len(lengths) != 1:
            raise ValueError(f"All arrays of `dataset` must have the same length. Received lengths {sorted(lengths)}.")
        return [tree.map_structure(lambda leaf, k=k: leaf[k], dataset) for k in range(lengths.pop())], None
    if isinstance(dataset, list):
        return dataset, None
    batch_size = getattr(dataset, "batch_size", getattr(dataset, "_batch_size", None))
    if not hasattr(dataset, "__iter__") and not hasattr(dataset, "__getitem__"):
        raise TypeError(
            "The `dataset` argument must be an array, a list or tuple of them, a dict, or a data set. "
            f"Received: {dataset} of type {type(dataset)}"
        )
    source = dataset.as_numpy_iterator() if hasattr(dataset, "as_numpy_iterator") else iter(dataset)
    if batch_size is None:
        return list(source), None
    samples: list[Any] = []
    for batch in source:
        arrays = tree.map_structure(np.asarray, batch)
        count = len(tree.flatten(arrays)[0])
        samples += [tree.map_structure(lambda leaf, k=k: leaf[k], arrays) for k in range(count)]
    return samples, int(batch_size)


def _is_list_of_arrays(dataset: list[Any]) -> bool:
    return bool(dataset) and all(isinstance(x, np.ndarray) and x.ndim > 0 for x in dataset)


def _sizes(left: Any, right: Any, total: int) -> tuple[int, int]:
    if total == 0:
        raise ValueError("Received an empty dataset. `dataset` must be a non-empty list or data set.")
    if left is None and right is None:
        raise ValueError("At least one of the `left_size` or `right_size` must be specified. Received: both None")
    for name, value in (("left_size", left), ("right_size", right)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"Invalid `{name}` Type. Expected: int or float or None, Received: {type(value)}.")
        if not 0 < value < (1 if isinstance(value, float) else total):
            raise ValueError(
                f"`{name}` should be either a positive integer smaller than {total}, or a float within the range "
                f"`[0, 1]`. Received: {name}={value}"
            )
    if isinstance(left, float) and isinstance(right, float) and left + right > 1:
        raise ValueError("The sum of `left_size` and `right_size` is greater than 1. It must be at most 1.")
    counts = [round(v * total) if isinstance(v, float) else v for v in (left, right)]
    first = total - counts[1] if counts[0] is None else counts[0]
    second = total - first if counts[1] is None else counts[1]
    if first + second > total:
        raise ValueError(
            f"The sum of `left_size` and `right_size` should be at most the length of the dataset, {total}. "
            f"Received: {first} + {second}"
        )
    if not first or not second:
        raise ValueError(
            f"With `dataset` of length={total}, `left_size`={first} and `right_size`={second}: one of the splits will "
            "be empty. Adjust the sizes."
        )
    return int(first), int(second)
