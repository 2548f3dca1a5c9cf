"""PyDataset: batches by index, fetched by threads or processes while the model trains."""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from graphkeras.trainers.data_adapters.data_adapter import DataAdapter
from graphkeras.trainers.data_adapters.iterable_adapter import standardize_batch, with_class_weight


class PyDataset:
    """Base class of data sets that make one batch per index.

    Implement `__getitem__(index)`, which returns a whole batch `(x,)`, `(x, y)` or `(x, y, sample_weight)`, and
    `__len__`, the number of batches (or the property `num_batches`, None for an endless data set). `on_epoch_begin`
    and `on_epoch_end` are called around every epoch.

    Args:
        workers: threads (or processes) that fetch batches ahead.
        use_multiprocessing: fetch in new processes; the data set must then be picklable.
        max_queue_size: most batches fetched ahead.

    Example:

    >>> import numpy as np
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         x = np.arange(4.0)[:, None] + 4 * index
    ...         return x, x**2
    >>> len(Squares())
    3
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self._workers = workers
        self._use_multiprocessing = use_multiprocessing
        self._max_queue_size = max_queue_size

    def _setting(self, name: str, default: Any) -> Any:
        if "_" + name not in self.__dict__:
            self._warn_if_super_not_called()
        return self.__dict__.get("_" + name, default)

    def _warn_if_super_not_called(self) -> None:
        warnings.warn(
            f"Your `PyDataset` class {type(self).__name__} should call `super().__init__(**kwargs)` in its "
            "constructor. `**kwargs` can include `workers`, `use_multiprocessing`, `max_queue_size`. Do not pass these "
            "arguments to `fit()`, as they will be ignored.",
            stacklevel=3,
        )

    @property
    def workers(self) -> int:
        return self._setting("workers", 1)

    @workers.setter
    def workers(self, value: int) -> None:
        self._workers = value

    @property
    def use_multiprocessing(self) -> bool:
        return self._setting("use_multiprocessing", False)

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._use_multiprocessing = value

    @property
    def max_queue_size(self) -> int:
        return self._setting("max_queue_size", 10)

    @max_queue_size.setter
    def max_queue_size(self, value: int) -> None:
        self._max_queue_size = value

    def __getitem__(self, index: int) -> Any:
        """The batch at `index`, 0 <= index < num_batches."""
        raise NotImplementedError(f"{type(self).__name__} must implement __getitem__(self, index).")

    @property
    def num_batches(self) -> int | None:
        """Number of batches; None for an endless data set."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(
            f"{type(self).__name__} must implement __len__(self), or the property `num_batches` (None if endless)."
        )

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch, for example to shuffle."""


class PyDatasetAdapter(DataAdapter):
    """Feeds from a PyDataset; batches come in the order of their indices (shuffled if asked), whoever fetches them."""

    def __init__(self, x: PyDataset, class_weight: Any = None, shuffle: bool | str = False) -> None:
        self.py_dataset = x
        self.class_weight = class_weight
        self.shuffle = shuffle

    def batches(self) -> Iterator[Any]:
        dataset = self.py_dataset
        workers, processes = dataset.workers, dataset.use_multiprocessing
        if workers > 1 or (workers > 0 and processes):
            from graphkeras.trainers.data_adapters.prefetch import prefetch  # pools of processes are slow to import

            fetched = prefetch(dataset, self._indices(), workers, processes, max(dataset.max_queue_size, 1))
        else:
            fetched = (dataset[i] for i in self._indices())
        return (self._standardize(batch) for batch in fetched)

    def _indices(self) -> Iterable[int]:
        count = self.py_dataset.num_batches
        if count is None:
            return itertools.count()
        indices = list(range(count))
        if self.shuffle:
            random.shuffle(indices)
        return indices

    def _standardize(self, batch: Any) -> Any:
        if not isinstance(batch, (dict, tuple, list)) and hasattr(batch, "__array__"):
            batch = (batch,)
        if isinstance(batch, list):
            batch = tuple(batch)
        if not isinstance(batch, dict) and not (isinstance(batch, tuple) and 1 <= len(batch) <= 3):
            raise ValueError(
                "PyDataset.__getitem__() must return a tuple or a dict. If a tuple, it must be ordered either (input,) "
                f"or (inputs, targets) or (inputs, targets, sample_weights). Received: {str(batch)[:100]}... of type "
                f"{type(batch)}"
            )
        return with_class_weight(standardize_batch(batch), self.class_weight, type(self.py_dataset).__name__)

    @property
    def num_batches(self) -> int | None:
        count = self.py_dataset.num_batches
        return None if count is None or count == math.inf else int(count)

    @property
    def batch_size(self) -> None:
        return None

    def on_epoch_begin(self) -> None:
        self.py_dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.py_dataset.on_epoch_end()
