"""Sequences of unequal length to one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences as an array of shape (number of sequences, maxlen, ...): short ones filled up, long ones cut.

    Args:
        sequences: list of sequences (lists, or arrays whose shapes agree but for the first axis).
        maxlen: length of the result; default that of the longest sequence.
        dtype: dtype of the result; `object` for strings.
        padding: "pre" or "post": at which end to fill.
        truncating: "pre" or "post": from which end to cut.
        value: what to fill with.

    Raises:
        ValueError: for elements without a length, unequal shapes, or other values of `padding` and `truncating`.

    Example:

    >>> from graphkeras.utils import pad_sequences
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2).tolist()
    [[0, 1], [2, 3], [5, 6]]
    """
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for name, end in (("Truncating", truncating), ("Padding", padding)):
        if end not in ("pre", "post"):
            raise ValueError(f'{name} type "{end}" not understood. Expected "pre" or "post".')
    lengths, sample = [], None
    for sequence in sequences:
        if not hasattr(sequence, "__len__"):
            raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {sequence!r}")
        lengths.append(len(sequence))
        if sample is None and len(sequence):
            sample = np.asarray(sequence).shape[1:]
    maxlen = max(lengths, default=0) if maxlen is None else maxlen
    is_string = np.issubdtype(np.dtype(dtype), np.str_)
    if isinstance(value, str) and np.dtype(dtype) != object and not is_string:
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)}\nYou should set `dtype=object` for "
            "variable length strings."
        )
    result = np.full((len(lengths), maxlen, *(sample or ())), value, dtype=dtype)
    for row, sequence in zip(result, sequences, strict=True):
        if not len(sequence):
            continue
        part = np.asarray(sequence[-maxlen:] if truncating == "pre" and maxlen else sequence[:maxlen], dtype=dtype)
        if part.shape[1:] != (sample or ()):
            raise ValueError(
                f"Shape of sample {part.shape[1:]} of sequence is different from expected shape {sample}: {sequence!r}"
            )
        if padding == "post":
            row[: len(part)] = part
        elif len(part):
            row[-len(part) :] = part
    return result
