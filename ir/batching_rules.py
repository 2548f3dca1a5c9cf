"""How array ops take an axis of samples in front; see `batching.py`.

A rule gets the node, its operands with whether each has the axis, and the number of samples; it returns the batched
node, or None where the op cannot be batched in this case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node

Values = Sequence[tuple[Node, bool]]
Rule = Callable[[Builder, Node, Values, int], Node | None]
RULES: dict[str, Rule] = {}


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def add(fn: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, fn))
        return fn

    return add


def front(b: Builder, node: Node, count: int, batched: bool) -> Node:
    """The value with the axis of samples; one that is the same for all of them is repeated."""
    return node if batched else b.broadcast_to(node, shape=(count, *node.shape))


def align(b: Builder, node: Node, values: Values, count: int) -> list[Node]:
    """Operands that broadcast against each other as the unbatched ones did."""
    rank = node.type.rank
    found = []
    for n, batched in values:
        missing = rank - (n.type.rank - 1)
        if batched and missing:
            n = b.reshape(n, shape=(count,) + (1,) * missing + n.shape[1:])
        found.append(n)
    return found


def _all(b: Builder, values: Values, count: int) -> list[Node]:
    return [front(b, n, count, flag) for n, flag in values]


def _up(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + 1 for a in axes)


# -- one operand, axes moved by one ----------------------------------------------------------------
@_rule("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "logsumexp", "standardize")
@_rule("reverse", "fft")
def _with_axes(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.emit(node.op, values[0][0], **{**node.attrs, "axes": _up(node.attrs["axes"])})


@_rule("argmax", "argmin", "cumulative", "sort", "argsort", "softmax", "log_softmax")
def _with_axis(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.emit(node.op, values[0][0], **{**node.attrs, "axis": node.attrs["axis"] + 1})


@_rule("watched", "silu", "gelu", "sigmoid_crossentropy")
def _elementwise(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.emit(node.op, *align(b, node, values, count), **node.attrs)


@_rule("top_k", "inv", "det", "slogdet", "cholesky", "eigh", "svd", "lu", "qr")
@_rule("solve", "solve_triangular", "sparse_softmax_crossentropy", "softmax_crossentropy")
def _as_it_is(b: Builder, node: Node, values: Values, count: int) -> Node | None:
    """Ops on the last axes, whatever is in front."""
    if node.op == "solve" and node.inputs[1].type.rank != node.inputs[0].type.rank:
        return None
    return b.emit(node.op, *_all(b, values, count), **node.attrs)


@_rule("layer_norm")
def _layer_norm(b: Builder, node: Node, values: Values, count: int) -> Node | None:
    if values[1][1] or values[2][1]:
        return None
    rest = [n for n, _ in values[1:]]
    return b.emit(node.op, values[0][0], *rest, **{**node.attrs, "axis": _up(node.attrs["axis"])})


# -- views -----------------------------------------------------------------------------------------
@_rule("reshape")
def _reshape(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.reshape(values[0][0], shape=(count, *node.shape))


@_rule("broadcast_to")
def _broadcast_to(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.broadcast_to(align(b, node, values, count)[0], shape=(count, *node.shape))


@_rule("transpose")
def _transpose(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.transpose(values[0][0], perm=(0, *_up(node.attrs["perm"])))


@_rule("slice")
def _slice(b: Builder, node: Node, values: Values, count: int) -> Node:
    a = node.attrs
    return b.slice(values[0][0], start=(0, *a["start"]), stop=(count, *a["stop"]), step=(1, *a["step"]))


@_rule("pad")
def _pad(b: Builder, node: Node, values: Values, count: int) -> Node:
    sides = {k: (0, *node.attrs[k]) for k in ("low", "high", "interior")}
    return b.pad(values[0][0], **sides, value=node.attrs["value"])


@_rule("concat")
def _concat(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.concat(*_all(b, values, count), axis=node.attrs["axis"] + 1)


# -- products and windows --------------------------------------------------------------------------
@_rule("dot_general")
def _dot_general(b: Builder, node: Node, values: Values, count: int) -> Node:
    (x, in_x), (y, in_y) = values
    (cx, cy), (bx, by) = node.attrs["contract"], node.attrs["batch"]
    if in_x:
        cx, bx = _up(cx), _up(bx)
    if in_y:
        cy, by = _up(cy), _up(by)
    if in_x and in_y:
        return b.dot_general(x, y, contract=(cx, cy), batch=((0, *bx), (0, *by)))
    made = b.dot_general(x, y, contract=(cx, cy), batch=(bx, by))
    at = len(bx)  # the samples come first among the free axes of their operand
    if in_y:
        at += node.inputs[0].type.rank - len(bx) - len(cx)
    order = (at, *(a for a in range(made.type.rank) if a != at))
    return made if at == 0 else b.transpose(made, perm=order)


@_rule("conv", "pool_max", "pool_sum")
def _window(b: Builder, node: Node, values: Values, count: int) -> Node | None:
    """Samples and batch become one batch."""
    (x, _), *rest = values
    if any(flag for _, flag in rest):
        return None
    flat = b.reshape(x, shape=(count * x.shape[1], *x.shape[2:]))
    made = b.emit(node.op, flat, *(n for n, _ in rest), **node.attrs)
    return b.reshape(made, shape=(count, *node.shape))


# -- gathers ---------------------------------------------------------------------------------------
@_rule("take")
def _take(b: Builder, node: Node, values: Values, count: int) -> Node | None:
    (x, in_x), (indices, in_indices) = values
    axis, mode = node.attrs["axis"], node.attrs["mode"]
    if not in_indices:
        return b.take(x, indices, axis=axis + 1, mode=mode)
    if not in_x:
        made = b.take(x, indices, axis=axis, mode=mode)
        order = (axis, *(a for a in range(made.type.rank) if a != axis))
        return made if axis == 0 else b.transpose(made, perm=order)
    if mode == "check" or indices.dtype.startswith("uint"):
        return None
    from graphkeras.ir.ops.gather import wrapped

    extent = x.shape[axis + 1]
    rest = (*x.shape[1 : axis + 1], *x.shape[axis + 2 :])
    moved = b.transpose(x, perm=(0, axis + 1, *(a for a in range(1, x.type.rank) if a != axis + 1)))
    rows = b.reshape(moved, shape=(count * extent, *rest))
    place, inside = wrapped(b, indices, extent)
    if mode == "clip":
        place = b.minimum(b.maximum(indices, 0), max(extent - 1, 0))
    sample = b.reshape(b.iota(shape=(count,), dtype="int32", axis=0), shape=(count,) + (1,) * (place.type.rank - 1))
    made = b.take(rows, b.add(b.cast(place, dtype="int32"), b.mul(sample, extent)), axis=0, mode="clip")
    inner = indices.type.rank - 1
    if mode == "fill":
        missing = math.nan if x.dtype.startswith(("float", "bfloat", "complex")) else 0
        keep = b.reshape(inside, shape=inside.shape + (1,) * len(rest))
        made = b.select(keep, made, b.const(missing, x.dtype))
    # (samples, indices, axes before, axes after) -> (samples, axes before, indices, axes after)
    before = tuple(range(1 + inner, 1 + inner + axis))
    return b.transpose(made, perm=(0, *before, *range(1, 1 + inner), *range(1 + inner + axis, made.type.rank)))


@_rule("take_along_axis", "scatter_along_axis")
def _along(b: Builder, node: Node, values: Values, count: int) -> Node:
    return b.emit(node.op, *_all(b, values, count), **{**node.attrs, "axis": node.attrs["axis"] + 1})


@_rule("scatter")
def _scatter(b: Builder, node: Node, values: Values, count: int) -> Node | None:
    (x, in_x), (indices, in_indices), (updates, in_updates) = values
    if in_indices:
        return None
    x, updates = front(b, x, count, in_x), front(b, updates, count, in_updates)
    return b.scatter(x, indices, updates, axis=node.attrs["axis"] + 1, combine=node.attrs["combine"])


@_rule("dynamic_slice", "dynamic_update_slice")
def _box(b: Builder, node: Node, values: Values, count: int) -> Node | None:
    arrays = 1 if node.op == "dynamic_slice" else 2
    if any(flag for _, flag in values[arrays:]):
        return None
    attrs = {"sizes": (count, *node.attrs["sizes"])} if arrays == 1 else {}
    starts = [n for n, _ in values[arrays:]]
    return b.emit(node.op, *_all(b, values[:arrays], count), b.const(0, "int32"), *starts, **attrs)
