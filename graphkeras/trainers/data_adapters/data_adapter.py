"""What every source of batches offers to the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class DataAdapter:
    """Base of all data adapters: batches, their number if known, and hooks around epochs.

    A subclass implements `batches`; one that holds whole arrays in memory also sets `is_resident`, and the loop then
    binds its arrays once and lets the compiled step gather the batches.
    """

    is_resident = False

    def batches(self) -> Iterator[Any]:
        """The batches of one pass, each `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)` of NumPy arrays."""
        raise NotImplementedError

    def get_numpy_iterator(self) -> Iterator[Any]:
        """The batches of one pass (Keras's name for `batches`)."""
        return self.batches()

    @property
    def num_batches(self) -> int | None:
        """Batches in one pass; None if unknown or infinite."""
        raise NotImplementedError

    @property
    def batch_size(self) -> int | None:
        """Samples per batch; None if it varies or is unknown."""
        raise NotImplementedError

    @property
    def has_partial_batch(self) -> bool | None:
        """Whether the last batch is smaller than the others; None if unknown."""
        return None

    @property
    def partial_batch_size(self) -> int | None:
        """Samples in the last, smaller batch."""
        return None

    def on_epoch_begin(self) -> None:
        """Called before an epoch."""

    def on_epoch_end(self) -> None:
        """Called after an epoch."""
