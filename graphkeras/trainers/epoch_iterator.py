"""What to run next: the batches of an epoch as pieces of work for compiled steps.

Whole arrays give pieces of many steps that differ only in an offset; everything else gives one bound batch at a time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.backend import executor
from graphkeras.core import config, tree
from graphkeras.trainers.data_adapters import get_data_adapter
from graphkeras.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from graphkeras.trainers.data_adapters.data_adapter import DataAdapter
from graphkeras.trainers.step import Rows

UNLIMITED = 1 << 30


@dataclass
class Segment:
    """Steps of one batch size that one program runs in one call."""

    data: Any  # structure of arrays: the batch, or whole arrays with `rows`
    arrays: list[np.ndarray]  # the data inputs of the program
    steps: int
    rows: Rows | None


@dataclass
class Work:
    """A piece of an epoch: the index of its first and last step, and what to run."""

    begin: int
    end: int
    segments: list[Segment]


class EpochIterator:
    """Cuts one data set into epochs and pieces of work.

    Args:
        x, y, sample_weight, batch_size, shuffle, class_weight: as for `fit`.
        steps_per_epoch: steps after which an epoch ends; the next one goes on from there. None: all batches.
        resident: whether whole arrays may be given to the step; False: batch by batch.
        steps_per_execution: epochs have a multiple of so many steps.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        steps_per_epoch: int | None = None,
        shuffle: bool | str = False,
        class_weight: Any = None,
        resident: bool = True,
        steps_per_execution: int = 1,
    ) -> None:
        cap = config.max_steps_per_epoch()
        if cap and (not steps_per_epoch or cap < steps_per_epoch):
            warnings.warn(f"Limiting steps_per_epoch to {cap}", stacklevel=3)
            steps_per_epoch = cap
        self.steps_per_epoch = steps_per_epoch
        self.adapter: DataAdapter = get_data_adapter(
            x, y, sample_weight, batch_size, steps_per_epoch, shuffle, class_weight
        )
        self._known_batches = self.adapter.num_batches
        self._source: _ArraySource | _StreamSource
        if isinstance(self.adapter, ArrayDataAdapter) and self.adapter.is_resident and resident:
            self._source = _ArraySource(self.adapter)
        else:
            self._source = _StreamSource(self.adapter)
        self._execution = steps_per_execution
        self.checked: set[int] = set()  # programs that have looked through the arrays
        self._step = 0
        self.exhausted = False  # the last epoch ended because there was no more data
        self.are_steady = False  # nothing can write to the arrays between epochs: a device need not read them again

    @property
    def num_batches(self) -> int | None:
        """Steps of an epoch, if known."""
        return self.steps_per_epoch or self._known_batches

    @property
    def is_resident(self) -> bool:
        return isinstance(self._source, _ArraySource)

    def peek(self) -> Any:
        """A batch (structure of arrays) to see shapes and dtypes by; it is not used up."""
        return self._source.peek()

    def begin_epoch(self) -> None:
        self.adapter.on_epoch_begin()
        if self.steps_per_epoch is None or self._source.finished:
            self._source.restart()
        if isinstance(self._source, _ArraySource):
            self._source.hold()
        self._step = 0
        self.exhausted = False

    def next(self, limit: int) -> Work | None:
        """The next piece, of at most `limit` steps; None at the end of the epoch."""
        left = UNLIMITED
        if self.steps_per_epoch is not None:  # executions are never cut short by the end of an epoch
            left = math.ceil(self.steps_per_epoch / self._execution) * self._execution - self._step
        segments: list[Segment] = []
        taken = 0
        while taken < min(limit, left):
            segment = self._source.take(min(limit, left) - taken)
            if segment is None:
                self.exhausted = True
                break
            segments.append(segment)
            taken += segment.steps
        if self.exhausted and self.steps_per_epoch is not None:
            self._warn_out_of_data()
        if not segments:
            return None
        begin = self._step
        self._step += taken
        return Work(begin, self._step - 1, segments)

    def end_epoch(self) -> None:
        if self._known_batches is None and self.steps_per_epoch is None and self._step:
            self._known_batches = self._step
        if isinstance(self._source, _ArraySource):
            self._source.let_go(self.are_steady)
        elif self.steps_per_epoch is None:
            self._source.close()
        self.adapter.on_epoch_end()

    def close(self) -> None:
        """After the last epoch: devices keep nothing."""
        if isinstance(self._source, _ArraySource):
            self._source.let_go(False)

    @property
    def steps_done(self) -> int:
        """Steps of this epoch so far."""
        return self._step

    def _warn_out_of_data(self) -> None:
        warnings.warn(
            "Your input ran out of data; interrupting training. Make sure that your dataset or generator can generate "
            "at least `steps_per_epoch * epochs` batches. You may need to use the `.repeat()` function when building "
            "your dataset.",
            stacklevel=4,
        )


class _ArraySource:
    """Whole arrays, an order and an offset that the compiled step moves itself."""

    def __init__(self, adapter: ArrayDataAdapter) -> None:
        self.adapter = adapter
        self.arrays = [leaf for leaf in tree.flatten(adapter.data) if leaf is not None]
        self.offset = np.zeros((), dtype=np.int64)
        self.order: np.ndarray | None = None
        self._row = adapter.num_samples  # the row that comes next, as Python sees it

    @property
    def finished(self) -> bool:
        return self._row >= self.adapter.num_samples

    def restart(self) -> None:
        self.order = self.adapter.order()
        self._row = 0

    def hold(self) -> None:
        """The arrays stay as they are until the end of the epoch."""
        executor.hold_data(self.arrays if self.order is None else [*self.arrays, self.order])

    def let_go(self, are_steady: bool) -> None:
        """The epoch has ended. are_steady: the arrays, but not their order, are the same in the next one."""
        if are_steady:
            executor.park_data(self.arrays)
        else:
            executor.release_data(self.arrays)

    def take(self, limit: int) -> Segment | None:
        n, batch = self.adapter.num_samples, self.adapter.batch_size
        if self._row >= n:
            return None
        size = min(batch, n - self._row)
        steps = min((n - self._row) // size, limit)
        self.offset[()] = self._row
        self._row += steps * size
        arrays = [*self.arrays, *([] if self.order is None else [self.order]), self.offset.copy()]
        return Segment(self.adapter.data, arrays, steps, Rows(size, self.order is not None))

    def peek(self) -> Any:
        size = min(self.adapter.batch_size, self.adapter.num_samples)
        return tree.map_structure(lambda a: a[:size], self.adapter.data, none_is_leaf=False)


class _StreamSource:
    """Batches that arrive one by one."""

    def __init__(self, adapter: DataAdapter) -> None:
        self.adapter = adapter
        self._iterator: Iterator[Any] | None = None
        self._peeked: list[Any] = []
        self._taken = 0
        self._ended = True

    def restart(self) -> None:
        if not self._peeked:
            self.close()
        if self._iterator is None:
            self._iterator = iter(self.adapter.batches())
        self._taken = 0
        self._ended = False

    @property
    def finished(self) -> bool:
        count = self.adapter.num_batches
        return self._ended or (count is not None and self._taken >= count)

    def take(self, limit: int) -> Segment | None:
        batch = self._peeked.pop() if self._peeked else self._next()
        if batch is None:
            self._ended = True
            return None
        self._taken += 1
        arrays = [leaf for leaf in tree.flatten(batch) if leaf is not None]
        return Segment(batch, arrays, 1, None)

    def _next(self) -> Any:
        return None if self._iterator is None else next(self._iterator, None)

    def peek(self) -> Any:
        if not self._peeked:
            if self._iterator is None:
                self._iterator = iter(self.adapter.batches())
            batch = self._next()
            if batch is None:
                raise ValueError("The data set yielded no batch. Expected at least one.")
            self._peeked.append(batch)
        return self._peeked[0]

    def close(self) -> None:
        """Stop fetching: ends worker threads of a pass that was cut short."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()
        self._iterator = None
