"""Max pooling that remembers where each maximum was, in the smallest integer, so that the gradient needs no x and no y.

Models emit `pool_max` and `pool_max_grad`; where a graph has both, the stage "join" puts these in their place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras.ir.body import lowest
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import FLOATS, want_dtype, want_shape, widened
from graphkeras.ir.ops.window import (
    EXTRA,
    NUMBERS,
    POOLS,
    Ints,
    Pairs,
    distinct,
    padded_with,
    pool_shape,
    pool_taps,
)
from graphkeras.ir.types import TensorType


def memory_dtype(window: Ints) -> str:
    """The smallest type that holds a tap's number, and one number more: no tap."""
    taps = math.prod(window)
    return "uint8" if taps < 2**8 else "uint16" if taps < 2**16 else "int32"


def _index_infer(x: TensorType, *, window: Ints, strides: Ints, padding: Pairs) -> tuple[TensorType, TensorType]:
    want_dtype("pool_max_index", x, NUMBERS)
    y = x.with_shape(pool_shape("pool_max_index", x.shape, window, strides, padding))
    return y, TensorType(y.shape, memory_dtype(window))


def _index(x: np.ndarray, *, window: Ints, strides: Ints, padding: Pairs) -> tuple[np.ndarray, np.ndarray]:
    shape = pool_shape("pool_max_index", x.shape, window, strides, padding)
    real = padded_with(np.ones(x.shape, bool), padding, False)
    padded = padded_with(x, padding, lowest(x.dtype.name))
    places = list(pool_taps(shape, window, strides))
    everything = [padded[where] for where in places]
    y = np.maximum.reduce([*everything, np.full(shape, lowest(x.dtype.name), x.dtype)])
    hits = np.stack([(v == y) & real[where] for v, where in zip(everything, places, strict=True)])
    first = np.where(hits.any(0), hits.argmax(0), len(everything))
    return y, first.astype(memory_dtype(window))


def _grad_infer(
    index: TensorType, dy: TensorType, *, shape: Ints, window: Ints, strides: Ints, padding: Pairs
) -> TensorType:
    name = "pool_index_grad"
    expected = pool_shape(name, want_shape(name, shape), window, strides, padding)
    if index.shape != expected or dy.shape != expected or index.dtype != memory_dtype(window):
        raise ValueError(
            f"{name} expects index ({memory_dtype(window)}) and dy of shape {expected} for an input of shape {shape}; "
            f"received {index.dtype} {index.shape} and {dy.shape}"
        )
    return TensorType(shape, dy.dtype)


def _grad(index: np.ndarray, dy: np.ndarray, *, shape: Ints, window: Ints, strides: Ints, padding: Pairs) -> np.ndarray:
    out = padded_with(np.zeros(shape, dy.dtype), padding, 0)
    for number, where in enumerate(pool_taps(dy.shape, window, strides)):
        out[where] += np.where(index == number, dy, dy.dtype.type(0))
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(shape[1:-1], padding, strict=True))
    return np.ascontiguousarray(out[(slice(None), *inner)])


def _grad_case(shape: Ints, settings: dict[str, Any]) -> Any:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        y, index = _index(distinct(shape)(rng)[0], **settings)
        return [index, rng.uniform(-1, 1, y.shape).astype(np.float32)]

    return make


register(
    Op(
        "pool_max_index",
        Kind.WINDOW,
        _index_infer,
        widened(_index),
        samples=tuple(Sample((x,), s, make=distinct(x), differentiable=False) for x, _, s in POOLS),
        doc="(largest value, number of the first tap that holds it) of each window; the number of taps if none does.",
        extra=EXTRA,
    )
)
register(
    Op(
        "pool_index_grad",
        Kind.WINDOW,
        _grad_infer,
        _grad,
        samples=tuple(
            Sample((y, y), {"shape": x, **s}, dtypes=("uint8", "float32"), make=_grad_case(x, s), differentiable=False)
            for x, y, s in POOLS
        ),
        tolerance=1e-5,
        doc="dy of each window sent to the tap that `pool_max_index` remembered.",
        extra={"dtypes": FLOATS},
    )
)
