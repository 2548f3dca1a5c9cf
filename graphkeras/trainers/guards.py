"""Indices that come from the data are checked before a run: a bad one must not spoil weights in the middle of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_int

# Ops that only move, copy or recast the values of their first input (concat: of all).
MOVES = frozenset(
    ("cast", "reshape", "transpose", "broadcast_to", "slice", "reverse", "concat", "dynamic_slice", "take")
)


@dataclass(frozen=True)
class IndexCheck:
    """A data input whose values are used as indices into an axis of this extent."""

    position: int
    name: str
    extent: int
    layer: str

    def run(self, arrays: Sequence[np.ndarray]) -> None:
        """Raise ValueError for the first index outside of [-extent, extent)."""
        array = arrays[self.position]
        if not array.size or (-self.extent <= array.min() and array.max() < self.extent):
            return
        wrong = np.argwhere((array < -self.extent) | (array >= self.extent))
        if not len(wrong):  # NaN: it is no index, and the cast decides what becomes of it
            return
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"`{self.name}` holds {array[where]} at index {where}, but layer {self.layer or 'of the model'} looks it "
            f"up in a table of {self.extent} entries: values must lie in 0..{self.extent - 1}. "
            f"An Embedding needs input_dim of at least {int(array.max()) + 1}, or the numbers must be made smaller."
        )


def index_checks(graph: Graph, data: int) -> tuple[tuple[IndexCheck, ...], bool]:
    """What can be checked in the data beforehand, and whether that covers every index the graph checks.

    data: number of leading inputs of the graph that are data.
    """
    positions = {node: i for i, node in enumerate(graph.inputs[:data])}
    found: dict[IndexCheck, None] = {}
    covered = True
    for node in graph.nodes:
        if any(isinstance(v, Graph) and _checks_inside(v) for v in _attr_values(node)):
            covered = False
        if not _is_checked(node):
            continue
        extent = node.inputs[0].shape[node.attrs["axis"]]
        low, high = bounds(node.inputs[1])
        if -extent <= low and high < extent:
            continue
        sources = _sources(node.inputs[1])
        if sources is None or any(s not in positions for s in sources):
            covered = False
            continue
        for source in sources:
            found[IndexCheck(positions[source], source.attrs["name"], extent, node.origin.layer)] = None
    return tuple(found), covered


def bounds(node: Node) -> tuple[float, float]:
    """Least and greatest value that an integer node can have, as far as that is plain to see."""
    if not is_int(node.dtype):
        return -math.inf, math.inf
    if node.op == "const":
        array = node.attrs["value"].array
        return (int(array.min()), int(array.max())) if array.size else (-math.inf, math.inf)
    if node.op in ("maximum", "minimum"):
        (a, b), (c, d) = map(bounds, node.inputs)
        return (max(a, c), max(b, d)) if node.op == "maximum" else (min(a, c), min(b, d))
    if node.op in MOVES and node.op != "cast":  # what a cast makes of a number depends on both dtypes
        found = [bounds(i) for i in (node.inputs if node.op == "concat" else node.inputs[:1])]
        return min(low for low, _ in found), max(high for _, high in found)
    return -math.inf, math.inf


def _is_checked(node: Node) -> bool:
    return (node.op == "take" and node.attrs["mode"] == "check") or node.op == "take_along_axis"


def _attr_values(node: Node) -> list[object]:
    values: list[object] = []
    for value in node.attrs.values():
        values += value if isinstance(value, (tuple, list)) else [value]
    return values


def _checks_inside(graph: Graph) -> bool:
    return any(
        _is_checked(n) or any(isinstance(v, Graph) and _checks_inside(v) for v in _attr_values(n)) for n in graph.nodes
    )


def _sources(node: Node) -> list[Node] | None:
    """The inputs whose values `node` holds, moved around; None if it is computed."""
    if node.op == "input":
        return [node]
    if node.op not in MOVES:
        return None
    inputs = node.inputs if node.op == "concat" else node.inputs[:1]
    found: list[Node] = []
    for i in inputs:
        below = _sources(i)
        if below is None:
            return None
        found += below
    return found
