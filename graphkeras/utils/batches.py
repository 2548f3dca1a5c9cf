"""Data sets of batches that are read again and again: what `*_dataset_from_*` return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphkeras.core import tree


class BatchedDataset:
    """Batches made when they are asked for; each `iter()` is a new pass.

    Args:
        load: indices of samples -> the batch (or the sample, without a batch size).
        count: number of samples.
        batch_size: samples per batch; None gives sample after sample.
        shuffle: whether each pass has another order.
        seed: of the orders.

    Attributes `class_names` and `file_paths` are set by functions that read folders. `map`, `take`, `skip`, `cache`,
    `prefetch` and `shuffle` work as in other libraries' data sets.

    Example:

    >>> import numpy as np
    >>> from graphkeras.utils import timeseries_dataset_from_array
    >>> data = timeseries_dataset_from_array(np.arange(10), None, sequence_length=3, batch_size=4)
    >>> [x.shape for x in data]
    [(4, 3), (4, 3)]
    >>> len(data), data.take(1).map(lambda x: x.sum(axis=1)).first().tolist()
    (2, [3, 6, 9, 12])
    """

    class_names: Any = None
    file_paths: Any = None

    def __init__(
        self,
        load: Callable[[np.ndarray], Any],
        count: int,
        batch_size: int | None = 32,
        shuffle: bool = False,
        seed: Any = None,
    ) -> None:
        if batch_size is not None and (isinstance(batch_size, bool) or int(batch_size) < 1):
            raise ValueError(f"`batch_size` must be a positive integer or None. Received: batch_size={batch_size}")
        self._load = load
        self._count = count
        self.batch_size = batch_size
        self._rng = np.random.default_rng(seed) if shuffle else None
        self._steps: tuple[Callable[[Any], Any], ...] = ()
        self._start, self._stop = 0, -(-count // (batch_size or 1))
        self._kept: dict[int, Any] | None = None

    def __len__(self) -> int:
        return max(self._stop - self._start, 0)

    def cardinality(self) -> int:
        """Same as `len`."""
        return len(self)

    def __iter__(self) -> Iterator[Any]:
        order = np.arange(self._count)
        if self._rng is not None:
            self._rng.shuffle(order)
        for k in range(self._start, self._stop):
            if self._kept is not None and k in self._kept:
                yield self._kept[k]
                continue
            batch = self._load(order[k] if self.batch_size is None else self._part(order, k))
            for step in self._steps:
                batch = step(*batch) if isinstance(batch, tuple) else step(batch)
            if self._kept is not None:
                self._kept[k] = batch
            yield batch

    def _part(self, order: np.ndarray, k: int) -> np.ndarray:
        size = self.batch_size or 1
        return order[k * size : (k + 1) * size]

    def as_numpy_iterator(self) -> Iterator[Any]:
        """One pass."""
        return iter(self)

    def first(self) -> Any:
        """The first batch of a new pass."""
        return next(iter(self))

    def _copy(self) -> BatchedDataset:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def map(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> BatchedDataset:
        """A data set with `fn` applied to each batch; pairs are passed as two arguments. Tensors become arrays."""
        other = self._copy()
        other._steps = (*self._steps, lambda *batch: _arrays(fn(*batch)))
        if self._kept is not None:
            other._kept = {}
        return other

    def take(self, count: int) -> BatchedDataset:
        """The first batches only."""
        other = self._copy()
        other._stop = self._stop if count < 0 else min(self._stop, self._start + count)
        return other

    def skip(self, count: int) -> BatchedDataset:
        """Without the first batches."""
        other = self._copy()
        other._start = self._start + count
        return other

    def cache(self, *args: Any) -> BatchedDataset:
        """A data set that keeps its batches in memory; its order no longer changes."""
        other = self._copy()
        other._kept = {}
        return other

    def prefetch(self, *args: Any) -> BatchedDataset:
        """Accepted for compatibility; returns the data set itself."""
        return self

    def shuffle(self, *args: Any, seed: Any = None, **kwargs: Any) -> BatchedDataset:
        """A data set with another order in each pass."""
        other = self._copy()
        other._rng = np.random.default_rng(seed)
        return other


def _arrays(batch: Any) -> Any:
    """Tensors as arrays; lists stay what they are."""
    return tree.map_structure(lambda x: x if isinstance(x, (np.ndarray, str)) else np.asarray(x), batch)
