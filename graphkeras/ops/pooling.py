"""Pooling: the largest or mean element of windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.core.config import standardize_data_format
from graphkeras.core.operation import keras_op
from graphkeras.ops.base import HALF, Tensor, apply, cast_to, dot_general, floating, permute, to_tensor
from graphkeras.ops.convolution import from_last, spatial, to_last, window_padding


def _prepared(inputs: Any, pool_size: Any, strides: Any, data_format: Any, padding: str, op: str) -> tuple[Any, ...]:
    layout = standardize_data_format(data_format)
    x = to_last(to_tensor(inputs), layout)
    rank = len(x.shape) - 2
    if rank < 1:
        raise ValueError(f"{op}: argument `inputs` must be (batch, spatial..., channels); received shape {x.shape}")
    window = spatial(pool_size, rank, "pool_size", op)
    steps = window if strides is None else spatial(strides, rank, "strides", op)
    return x, window, steps, window_padding(padding, x.shape[1:-1], window, steps, op), layout


@keras_op
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None) -> Any:
    """Largest element of each window; strides default to the window.

    >>> from graphkeras import ops
    >>> ops.max_pool(ops.ones((1, 4, 4, 3)), 2).shape
    (1, 2, 2, 3)
    """
    x, window, steps, pads, layout = _prepared(inputs, pool_size, strides, data_format, padding, "max_pool")
    return from_last(apply("pool_max", x, window=window, strides=steps, padding=pads), layout)


@keras_op
def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """Mean of each window; padding is not counted."""
    x, window, steps, pads, layout = _prepared(inputs, pool_size, strides, data_format, padding, "average_pool")
    x = floating(x)
    wide = cast_to(x, "float32") if x.dtype in HALF else x
    total = apply("pool_sum", wide, window=window, strides=steps, padding=pads)
    if not any(lo or hi for lo, hi in pads):
        result = apply("mul", total, 1.0 / float(np.prod(window)))
    else:
        counts = _window_counts(x.shape[1:-1], total.shape[1:-1], window, steps, pads)
        result = apply("mul", total, to_tensor((1.0 / counts)[None, ..., None], total.dtype))
    return from_last(cast_to(result, x.dtype), layout)


def _window_counts(sizes: Any, results: Any, window: Any, steps: Any, pads: Any) -> np.ndarray:
    """How many elements of the input each window holds."""
    counts = np.ones((), dtype=np.float64)
    for n, m, w, s, (low, _) in zip(sizes, results, window, steps, pads, strict=True):
        first = np.arange(m) * s - low
        inside = np.minimum(first + w, n) - np.maximum(first, 0)
        counts = np.multiply.outer(counts, inside)
    return counts


def _adaptive(inputs: Any, output_size: Any, data_format: Any, op: str) -> tuple[Tensor, tuple[int, ...], str]:
    layout = standardize_data_format(data_format)
    x = to_last(floating(inputs), layout)
    rank = len(x.shape) - 2
    given = (output_size,) * rank if isinstance(output_size, int) else tuple(output_size)
    if len(given) != rank:
        raise ValueError(f"{op}: argument `output_size` must be an int or {rank} of them; received {output_size}")
    sizes = tuple(n if m is None else int(m) for m, n in zip(given, x.shape[1:-1], strict=True))
    return x, sizes, layout


def _edges(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Window i of m over n elements begins at floor(i n / m) and ends before ceil((i + 1) n / m)."""
    i = np.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


@keras_op
def adaptive_average_pool(inputs: Any, output_size: Any, data_format: Any = None) -> Any:
    """Means of windows chosen so that the result has `output_size`."""
    x, sizes, layout = _adaptive(inputs, output_size, data_format, "adaptive_average_pool")
    for axis, m in enumerate(sizes, start=1):
        n = x.shape[axis]
        first, last = _edges(n, m)
        place = np.arange(n)
        member = (place >= first[:, None]) & (place < last[:, None])
        weights = to_tensor(member / (last - first)[:, None], x.dtype)
        moved = dot_general(x, weights, ((axis,), (1,)))  # the new axis comes last
        rank = len(x.shape)
        x = permute(moved, (*range(axis), rank - 1, *range(axis, rank - 1)))
    return from_last(x, layout)


@keras_op
def adaptive_max_pool(inputs: Any, output_size: Any, data_format: Any = None) -> Any:
    """Largest elements of windows chosen so that the result has `output_size`."""
    x, sizes, layout = _adaptive(inputs, output_size, data_format, "adaptive_max_pool")
    for axis, m in enumerate(sizes, start=1):
        first, last = _edges(x.shape[axis], m)
        width = int((last - first).max()) if m else 0
        where = np.minimum(first[:, None] + np.arange(width), last[:, None] - 1).astype("int32")
        windows = apply("take", x, to_tensor(where), axis=axis, mode="clip")
        x = apply("reduce_max", windows, axes=(axis + 1,), keepdims=False)
    return from_last(x, layout)
