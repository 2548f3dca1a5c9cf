"""SOURCE ops: values that come from nowhere else in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.ir.node import Literal
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import INTS, REAL, want_axis, want_shape
from graphkeras.ir.types import TensorType, numpy_dtype, type_of


def _input_infer(**attrs: Any) -> TensorType:
    raise TypeError("graph inputs are made by Builder.input(type, name), not by emit")


def _input_reference(**attrs: Any) -> np.ndarray:
    raise RuntimeError("an input has no value of its own; the interpreter takes it from its arguments")


register(Op("input", Kind.SOURCE, _input_infer, _input_reference, doc="A graph input."))


def _const_infer(*, value: Literal) -> TensorType:
    if not isinstance(value, Literal):
        raise TypeError(f"const expects value=Literal(array); received {type(value).__name__}")
    return type_of(value.array)


register(
    Op(
        "const",
        Kind.SOURCE,
        _const_infer,
        lambda *, value: value.array,
        samples=(Sample((), {"value": Literal(np.arange(3, dtype=np.float32))}),),
        doc="A constant array.",
    )
)


def _iota_infer(*, shape: tuple[int, ...], dtype: str, axis: int) -> TensorType:
    shape = want_shape("iota", shape)
    if dtype not in REAL:
        raise TypeError(f"iota expects a float or integer dtype; received {dtype}")
    want_axis("iota", axis, len(shape))
    return TensorType(shape, dtype)


def _iota(*, shape: tuple[int, ...], dtype: str, axis: int) -> np.ndarray:
    line = np.arange(shape[axis]).astype(numpy_dtype(dtype))
    return np.broadcast_to(line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)


def _iota_lower(h: Any, index: Any, *, dtype: str) -> Any:
    """Value at position `index` along the axis."""
    if dtype in INTS:
        return h.cast(index, dtype)
    return h.cast(h.cast(index, "float32" if dtype in ("float16", "bfloat16") else dtype), dtype)


register(
    Op(
        "iota",
        Kind.SOURCE,
        _iota_infer,
        _iota,
        lower=_iota_lower,
        samples=(
            Sample((), {"shape": (5,), "dtype": "int32", "axis": 0}),
            Sample((), {"shape": (2, 3), "dtype": "float32", "axis": 1}),
            Sample((), {"shape": (2, 0), "dtype": "float32", "axis": 0}),
        ),
        doc="Position along `axis`.",
    )
)
