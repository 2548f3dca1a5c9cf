"""Control flow and results of ops with several results."""

from __future__ import annotations

from typing import Any

from graphkeras.ir.op import Kind, Op, register
from graphkeras.ir.types import TensorType


def _item_infer(types: Any, *, index: int) -> TensorType:
    if not isinstance(types, tuple):
        raise TypeError(f"item expects a node with several results; received {types}")
    if not 0 <= index < len(types):
        raise IndexError(f"item expects 0 <= index < {len(types)}; received {index}")
    return types[index]


register(
    Op(
        "item",
        Kind.OPAQUE,
        _item_infer,
        lambda values, *, index: values[index],
        None,  # autodiff gathers the cotangents of all items
        doc="Result `index` of an op with several results.",
    )
)
