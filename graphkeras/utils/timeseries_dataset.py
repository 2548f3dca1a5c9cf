"""Windows over series of measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.utils.batches import BatchedDataset


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: Any = None,
    start_index: int | None = None,
    end_index: int | None = None,
    format: str = "tf",
) -> BatchedDataset:
    """A data set of windows `data[i], data[i + rate], ..., data[i + (length - 1) * rate]`.

    Args:
        data: array whose first axis is time.
        targets: array with the target of the window that starts at each time; None for windows alone.
        sequence_length: values per window.
        sequence_stride: steps between the starts of windows.
        sampling_rate: steps between the values of a window.
        batch_size: windows per batch; None gives window after window.
        shuffle: whether each pass has another order.
        seed: of the orders.
        start_index, end_index: the part of the data to use.
        format: accepted for compatibility.

    Returns:
        re-iterable data set of `x` or `(x, y)`, with `len()`.

    Example:

    >>> import numpy as np
    >>> from graphkeras.utils import timeseries_dataset_from_array
    >>> series = np.arange(8)
    >>> x, y = timeseries_dataset_from_array(series[:-3], series[3:], sequence_length=3).first()
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [1, 2, 3], [2, 3, 4]], [3, 4, 5])
    """
    size = len(data)
    _check_range(size, start_index, end_index)
    for name, value in (
        ("sampling_rate", sampling_rate),
        ("sequence_stride", sequence_stride),
    ):
        if value <= 0:
            raise ValueError(f"`{name}` must be higher than 0. Received: {name}={value}")
        if value >= size:
            raise ValueError(
                f"`{name}` must be lower than the length of the data. Received: {name}={value}, for data of length "
                f"{size}"
            )
    if format not in ("tf", "grain"):
        raise ValueError(f'`format` must be "tf" or "grain" (both give the same here). Received: {format!r}')
    data = np.asarray(data)
    start = start_index or 0
    stop = size if end_index is None else end_index
    starts = stop - start - (sequence_length - 1) * sampling_rate
    if targets is not None:
        targets = np.asarray(targets)
        starts = min(starts, len(targets) - start)
    positions = start + np.arange(0, max(starts, 0), sequence_stride)
    offsets = np.arange(sequence_length) * sampling_rate

    def load(indices: np.ndarray) -> Any:
        first = positions[indices]
        x = data[first[..., None] + offsets]
        return x if targets is None else (x, targets[first])

    return BatchedDataset(load, len(positions), batch_size, shuffle, seed)


def _check_range(size: int, start: int | None, end: int | None) -> None:
    if start is not None and not 0 <= start < size:
        raise ValueError(
            f"`start_index` must be 0 or greater and lower than the length of the data, {size}. "
            f"Received: start_index={start}"
        )
    if end is not None and not (start or 0) < end <= size:
        raise ValueError(
            f"`end_index` must be higher than `start_index` and at most the length of the data, {size}. "
            f"Received: start_index={start}, end_index={end}"
        )
