"""Runs a graph with the NumPy references: the oracle of every test and the path of eager calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import get_op
from graphkeras.ir.types import TensorType, is_float, numpy_dtype


def evaluate(graph: Graph, arrays: Sequence[np.ndarray], *, float64: bool = False) -> list[np.ndarray]:
    """Outputs of the graph for the given input arrays.

    float64: compute every float value in float64 (constants and casts too), for reference results.
    """
    if len(arrays) != len(graph.inputs):
        raise ValueError(f"graph {graph.name!r} takes {len(graph.inputs)} inputs, received {len(arrays)}")
    values: dict[Node, Any] = {}
    for node, array in zip(graph.inputs, arrays, strict=True):
        array = np.asarray(array)
        if tuple(array.shape) != node.type.shape:
            raise ValueError(
                f"input {node.attrs['name']!r} of graph {graph.name!r} expects {node.type}, "
                f"received shape {array.shape}"
            )
        values[node] = _wide(array) if float64 else array
    last_use = _last_uses(graph)
    for position, node in enumerate(graph.nodes):
        if node not in values:
            values[node] = apply_reference(node, [values[i] for i in node.inputs], float64=float64)
        for dead in last_use.get(position, ()):
            del values[dead]
    return [values[o] for o in graph.outputs]


def apply_reference(node: Node, arrays: Sequence[Any], *, float64: bool = False) -> Any:
    """One node's value from its inputs' values."""
    op = get_op(node.op)
    attrs = dict(node.attrs)
    if float64 and is_float(attrs.get("dtype", "")):
        attrs["dtype"] = "float64"
    with np.errstate(all="ignore"):
        result = op.reference(*arrays, **attrs)
    return _wide_all(result) if float64 else conform(result, node.type)


def conform(result: Any, type: TensorType | tuple[TensorType, ...]) -> Any:
    """Give a reference's result exactly the dtype that the shape rule promised."""
    if isinstance(type, tuple):
        return tuple(conform(r, t) for r, t in zip(result, type, strict=True))
    array = np.asarray(result)
    wanted = numpy_dtype(type.dtype)
    return array if array.dtype == wanted else array.astype(wanted)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if is_float(array.dtype.name) else array


def _wide_all(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_wide_all(r) for r in result)
    return _wide(np.asarray(result))


def _last_uses(graph: Graph) -> Mapping[int, list[Node]]:
    last: dict[Node, int] = {}
    for position, node in enumerate(graph.nodes):
        for i in node.inputs:
            last[i] = position
    for output in graph.outputs:
        last.pop(output, None)
    found: dict[int, list[Node]] = {}
    for node, position in last.items():
        found.setdefault(position, []).append(node)
    return found
