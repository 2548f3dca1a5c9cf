"""Graphs whose rows do not depend on each other: which axis of each value counts the rows, and the same graph for
another number of them.

A body of a loop often treats its batch as nothing but a batch: row r of every result needs row r of the operands and
what all rows share (weights). Then a few rows at a time can run through all iterations without waiting for others.
`row_axes` proves this op by op, starting from the rows of some inputs; which other inputs have rows follows from what
their readers ask for. `with_rows` then builds the graph for fewer rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op

Axes = Mapping[Node, int | None]
Rule = Callable[["_Search", Node, list[int | None]], int | None]


class _Dependent(Exception):
    """Some row needs another one, or this is not known to be otherwise."""


class _Changed(Exception):
    """An input turned out to have rows: look again from the start."""


def row_axes(graph: Graph, rows: int, inputs: Mapping[Node, int], outputs: Sequence[int]) -> dict[Node, int] | None:
    """The axis of the rows for every node that has one; None if rows may depend on each other.

    rows: their number, more than one. inputs: the row axes of some inputs; others may turn out to have rows, too.
    outputs: the axis that each result must have its rows along.
    """
    search = _Search(graph, rows, inputs)
    try:
        found = search.run(outputs)
    except _Dependent:
        return None
    return {n: a for n, a in found.items() if a is not None}


def with_rows(graph: Graph, axes: Mapping[Node, int], rows: int) -> Graph:
    """The graph for `rows` rows; `axes` as `row_axes` found them."""
    b = Builder()
    table: dict[Node, Node] = {}
    for node in graph.nodes:
        axis = axes.get(node)
        if axis is None:
            table[node] = b.copy_node(node, [table[i] for i in node.inputs])
            continue
        shape = _resized(node.shape, axis, rows)
        with b.origin(node.origin):
            if node.op == "input":
                table[node] = b.input(node.type.with_shape(shape), node.attrs["name"])
            else:
                attrs = {**node.attrs, **_SIZED.get(node.op, _same)(node, axis, shape)}
                table[node] = b.emit(node.op, *(table[i] for i in node.inputs), **attrs)
        if table[node].shape != shape:
            raise AssertionError(f"{node!r} for {rows} rows: expected shape {shape}, got {table[node].shape}")
    return Graph([table[i] for i in graph.inputs], [table[o] for o in graph.outputs], graph.name)


def _resized(shape: Sequence[int], axis: int, rows: int) -> tuple[int, ...]:
    return (*shape[:axis], rows, *shape[axis + 1 :])


def _same(node: Node, axis: int, shape: tuple[int, ...]) -> dict[str, Any]:
    return {}


def _shape(node: Node, axis: int, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"shape": shape}


def _stop(node: Node, axis: int, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"stop": _resized(node.attrs["stop"], axis, shape[axis])}


_SIZED = {
    "reshape": _shape,
    "broadcast_to": _shape,
    "conv_input_grad": _shape,
    "pool_sum_grad": _shape,
    "slice": _stop,
}
"""Attributes that hold the number of rows."""


class _Search:
    """Row axes by one walk over the graph, repeated whenever a reader asks an input for rows."""

    def __init__(self, graph: Graph, rows: int, inputs: Mapping[Node, int]) -> None:
        self.graph, self.rows = graph, rows
        self.known: dict[Node, int] = dict(inputs)

    def run(self, outputs: Sequence[int]) -> Axes:
        while True:
            axes: dict[Node, int | None] = {}
            try:
                for node in self.graph.nodes:
                    axes[node] = self._axis(node, axes)
                for node, wanted in zip(self.graph.outputs, outputs, strict=True):
                    self.want(node, axes[node], wanted)
                return axes
            except _Changed:
                continue

    def _axis(self, node: Node, axes: Axes) -> int | None:
        if node in self.known:
            return self.known[node]
        own = [axes[i] for i in node.inputs]
        if all(a is None for a in own):
            return None
        rule = _RULES.get(node.op) or (_pointwise if get_op(node.op).kind is Kind.POINTWISE else None)
        if rule is None:
            raise _Dependent
        return rule(self, node, own)

    def want(self, node: Node, axis: int | None, wanted: int) -> None:
        """`node` is read as having its rows along `wanted`; `axis` is what is known so far."""
        if axis == wanted:
            return
        if axis is not None or node in self.known:
            raise _Dependent
        self._ask(node, wanted)
        raise _Changed

    def _ask(self, node: Node, axis: int) -> None:
        """Make the inputs behind a value that had no rows so far give it rows along `axis`."""
        if node.shape[axis] != self.rows or self.known.get(node, axis) != axis:
            raise _Dependent
        if node.op == "input" or (node.op == "broadcast_to" and not _has_extent(node.inputs[0], node, axis)):
            self.known[node] = axis
            return
        pointwise = get_op(node.op).kind is Kind.POINTWISE
        sources = _BEHIND.get(node.op, _operands if pointwise else _nothing)(node, axis)
        if not sources:
            raise _Dependent
        for source, own in sources:
            self._ask(source, own)


def _has_extent(operand: Node, node: Node, axis: int) -> bool:
    """Whether a broadcast operand has more than one element along the result's axis."""
    own = axis - node.type.rank + operand.type.rank
    return own >= 0 and operand.shape[own] != 1


# -- rules: the row axis of a result from those of its operands, of which at least one has rows ----------
def _pointwise(search: _Search, node: Node, own: list[int | None]) -> int | None:
    rank = node.type.rank
    axis = next(a + rank - i.type.rank for i, a in zip(node.inputs, own, strict=True) if a is not None)
    for i, a in zip(node.inputs, own, strict=True):
        if a is not None or _has_extent(i, node, axis):
            search.want(i, a, axis - rank + i.type.rank)
    return axis


def _along_others(search: _Search, node: Node, own: list[int | None]) -> int | None:
    """Ops that work along one axis and keep the shape."""
    if own[0] is None or node.attrs["axis"] % node.inputs[0].type.rank == own[0]:
        raise _Dependent
    return own[0]


def _reduce(search: _Search, node: Node, own: list[int | None]) -> int | None:
    axis, rank = own[0], node.inputs[0].type.rank
    given = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    axes = {a % rank for a in given}
    if axis is None or axis in axes:
        raise _Dependent
    return axis if node.attrs.get("keepdims") else axis - sum(a < axis for a in axes)


def _free_axes(node: Node, side: int) -> list[int]:
    used = {*node.attrs["contract"][side], *node.attrs["batch"][side]}
    return [a for a in range(node.inputs[side].type.rank) if a not in used]


def _dot(search: _Search, node: Node, own: list[int | None]) -> int | None:
    batch = node.attrs["batch"]
    for side in (0, 1):
        axis = own[side]
        if axis is not None and axis in batch[side]:
            position = batch[side].index(axis)
            search.want(node.inputs[1 - side], own[1 - side], batch[1 - side][position])
            return position
    if None not in own:
        raise _Dependent
    side = own.index(None) ^ 1
    free = _free_axes(node, side)
    if own[side] not in free:
        raise _Dependent
    return len(batch[0]) + (len(_free_axes(node, 0)) if side else 0) + free.index(own[side])  # type: ignore[arg-type]


def _transpose(search: _Search, node: Node, own: list[int | None]) -> int | None:
    return list(node.attrs["perm"]).index(own[0])


def _kept_axis(shape: Sequence[int], axis: int, other: Sequence[int]) -> int:
    """The axis of a reshaped array that walks the same elements as `axis` did."""
    before = math.prod(shape[:axis])
    for k, n in enumerate(other):
        if n == shape[axis] and math.prod(other[:k]) == before:
            return k
    raise _Dependent


def _reshape(search: _Search, node: Node, own: list[int | None]) -> int | None:
    source = node.inputs[0]
    if own[0] is None or 0 in source.shape:
        raise _Dependent
    return _kept_axis(source.shape, own[0], node.shape)


def _broadcast(search: _Search, node: Node, own: list[int | None]) -> int | None:
    assert own[0] is not None
    return own[0] + node.type.rank - node.inputs[0].type.rank


def _slice(search: _Search, node: Node, own: list[int | None]) -> int | None:
    axis = own[0]
    if axis is None or node.shape[axis] != search.rows or node.attrs["step"][axis] != 1:
        raise _Dependent
    return axis


def _reverse(search: _Search, node: Node, own: list[int | None]) -> int | None:
    if own[0] in {a % node.type.rank for a in node.attrs["axes"]}:
        raise _Dependent
    return own[0]


def _pad(search: _Search, node: Node, own: list[int | None]) -> int | None:
    axis = own[0]
    if axis is None or any(node.attrs[k][axis] for k in ("low", "high", "interior")):
        raise _Dependent
    return axis


def _beside_axis(search: _Search, node: Node, own: list[int | None]) -> int | None:
    """All operands along one axis: rows are any other one."""
    axis = next(a for a in own if a is not None)
    if axis == node.attrs["axis"] % node.type.rank:
        raise _Dependent
    for i, a in zip(node.inputs, own, strict=True):
        search.want(i, a, axis)
    return axis


def _take(search: _Search, node: Node, own: list[int | None]) -> int | None:
    """Rows of the indices, or rows of the table beside the axis that is looked up."""
    table, indices = own
    axis = node.attrs["axis"] % node.inputs[0].type.rank
    if table is None:
        return axis + indices  # type: ignore[operator]
    if indices is not None or table == axis:
        raise _Dependent
    return table if table < axis else table - 1 + node.inputs[1].type.rank


def _images(search: _Search, node: Node, own: list[int | None]) -> int | None:
    """Convolution and pooling: the first operands have the batch in front, the kernel has none."""
    for i, a in zip(node.inputs, own, strict=True):
        if node.op.startswith("conv") and i is node.inputs[1]:
            if a is not None:
                raise _Dependent
        else:
            search.want(i, a, 0)
    return 0


# -- the other way: the operands, and their axes, that the rows of a result come from --------------------
Sources = list[tuple[Node, int]]


def _nothing(node: Node, axis: int) -> Sources:
    return []


def _operands(node: Node, axis: int) -> Sources:
    rank = node.type.rank
    return [(i, axis - rank + i.type.rank) for i in node.inputs if _has_extent(i, node, axis)]


def _same_axis(node: Node, axis: int) -> Sources:
    return [(i, axis) for i in node.inputs]


def _behind_dot(node: Node, axis: int) -> Sources:
    """A free axis of the result belongs to one operand, an axis of the batch to both."""
    batch, left = node.attrs["batch"], _free_axes(node, 0)
    own = axis - len(batch[0])
    if own < 0:
        return [(i, batch[k][axis]) for k, i in enumerate(node.inputs)]
    if own < len(left):
        return [(node.inputs[0], left[own])]
    return [(node.inputs[1], _free_axes(node, 1)[own - len(left)])]


def _behind_reduce(node: Node, axis: int) -> Sources:
    source = node.inputs[0]
    given = node.attrs["axes"] if "axes" in node.attrs else (node.attrs["axis"],)
    kept = [a for a in range(source.type.rank) if a not in {g % source.type.rank for g in given}]
    return [(source, axis if node.attrs.get("keepdims") else kept[axis])]


def _behind_take(node: Node, axis: int) -> Sources:
    own = axis - node.attrs["axis"] % node.inputs[0].type.rank
    return [(node.inputs[1], own)] if 0 <= own < node.inputs[1].type.rank else []


def _behind_images(node: Node, axis: int) -> Sources:
    kernel = node.inputs[1] if node.op.startswith("conv") else None
    return [(i, 0) for i in node.inputs if i is not kernel] if axis == 0 else []


_REDUCTIONS = "reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or argmax argmin".split()
_IMAGES = "conv conv_input_grad pool_max pool_sum pool_max_grad pool_sum_grad".split()
_ALONG = "cumulative sort argsort".split()

_BEHIND: dict[str, Callable[[Node, int], Sources]] = {
    "broadcast_to": _operands,
    "transpose": lambda node, axis: [(node.inputs[0], node.attrs["perm"][axis])],
    "reshape": lambda node, axis: [(node.inputs[0], _kept_axis(node.shape, axis, node.inputs[0].shape))],
    "dot_general": _behind_dot,
    "take": _behind_take,
    **dict.fromkeys(("slice", "reverse", "pad", "concat", "take_along_axis", *_ALONG), _same_axis),
    **dict.fromkeys(_REDUCTIONS, _behind_reduce),
    **dict.fromkeys(_IMAGES, _behind_images),
}

_RULES: dict[str, Rule] = {
    "dot_general": _dot,
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "reverse": _reverse,
    "pad": _pad,
    "concat": _beside_axis,
    "take": _take,
    "take_along_axis": _beside_axis,
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_ALONG, _along_others),
    **dict.fromkeys(_IMAGES, _images),
}
