"""Canonicalise: one form for what can be written in several ways, mostly about views and broadcasts."""

from __future__ import annotations

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.rewrite import rule


@rule("reshape")
def reshape_of_reshape(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.shape == n.shape:
        return x
    if x.op == "reshape":
        return b.reshape(x.inputs[0], shape=n.shape)
    value = scalar_value(x) if x.op == "broadcast_to" else None
    return b.broadcast_to(x.inputs[0], shape=n.shape) if value is not None and x.inputs[0].type.rank == 0 else None


@rule("transpose")
def transpose_of_transpose(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    perm = n.attrs["perm"]
    if perm == tuple(range(len(perm))):
        return x
    if x.op == "transpose":
        inner = x.attrs["perm"]
        return b.transpose(x.inputs[0], perm=tuple(inner[p] for p in perm))
    moved = [p for p in perm if x.shape[p] != 1]
    return b.reshape(x, shape=n.shape) if moved == sorted(moved) else None


@rule("transpose")
def transpose_of_product(b: Builder, n: Node) -> Node | None:
    """Swapping the free axes of a product is the product of the swapped operands, and its result is contiguous."""
    (x,) = n.inputs
    if x.op != "dot_general":
        return None
    contract, batch = x.attrs["contract"], x.attrs["batch"]
    lead = len(batch[0])
    rows = x.inputs[0].type.rank - lead - len(contract[0])
    rank = x.type.rank
    swapped = (*range(lead), *range(lead + rows, rank), *range(lead, lead + rows))
    if n.attrs["perm"] != swapped:
        return None
    attrs = {**x.attrs, "contract": contract[::-1], "batch": batch[::-1]}
    return b.dot_general(x.inputs[1], x.inputs[0], **attrs)


@rule("broadcast_to")
def broadcast_of_broadcast(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.shape == n.shape:
        return x
    if x.op == "broadcast_to":
        return b.broadcast_to(x.inputs[0], shape=n.shape)
    if x.op == "const" and x.type.rank and x.type.size == 1:
        return b.broadcast_to(b.const(x.attrs["value"].array.reshape(())), shape=n.shape)
    return None


@rule("cast")
def cast_to_itself(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.dtype == n.dtype:
        return x
    if x.op == "broadcast_to":
        return b.broadcast_to(b.cast(x.inputs[0], dtype=n.dtype), shape=n.shape)
    return None


@rule("slice")
def whole_slice(b: Builder, n: Node) -> Node | None:
    return n.inputs[0] if n.inputs[0].shape == n.shape else None


@rule("concat")
def concat_of_one(b: Builder, n: Node) -> Node | None:
    return n.inputs[0] if len(n.inputs) == 1 else None


@rule("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or")
def reduce_nothing(b: Builder, n: Node) -> Node | None:
    """Over no axes, or over axes of extent one: a reshape."""
    (x,) = n.inputs
    if all(x.shape[a] == 1 for a in n.attrs["axes"]):
        return b.reshape(x, shape=n.shape)
    if n.attrs["keepdims"]:  # one form: reduce, then reshape
        return b.reshape(b.emit(n.op, x, axes=n.attrs["axes"], keepdims=False), shape=n.shape)
    return None


@rule("reduce_sum")
def sum_of_broadcast(b: Builder, n: Node) -> Node | None:
    """Summing along axes that were only repeated is a multiplication."""
    (x,) = n.inputs
    if x.op != "broadcast_to" or not x.type.dtype.startswith("float"):
        return None
    source = x.inputs[0]
    lead = x.type.rank - source.type.rank
    repeated = [a for a in n.attrs["axes"] if a < lead or (source.shape[a - lead] == 1 and x.shape[a] != 1)]
    if len(repeated) != len(n.attrs["axes"]):
        return None
    times = 1
    for a in repeated:
        times *= x.shape[a]
    kept = tuple(m for a, m in enumerate(x.shape) if a not in repeated)
    inner = tuple(m for a, m in enumerate((1,) * lead + source.shape) if a not in repeated)
    return b.broadcast_to(b.mul(b.reshape(source, shape=inner), float(times)), shape=kept)


POINTWISE_SKIP = frozenset({"cast", "bitcast", "stop_gradient"})


def _hoist_broadcast(b: Builder, n: Node) -> Node | None:
    """f(broadcast x, broadcast y) = broadcast f(x, y) where x and y are single numbers: computed once."""
    if n.type.rank == 0 or not all(i.op == "broadcast_to" and i.inputs[0].type.rank == 0 for i in n.inputs):
        return None
    return b.broadcast_to(b.emit(n.op, *(i.inputs[0] for i in n.inputs), **n.attrs), shape=n.shape)


def _drop_broadcast(b: Builder, n: Node) -> Node | None:
    """An operand need not be broadcast where the others give the shape: the op does it."""
    if len(n.inputs) < 2:
        return None
    for k, i in enumerate(n.inputs):
        if i.op != "broadcast_to":
            continue
        bare = i.inputs[0]
        if any(o.shape == n.shape for j, o in enumerate(n.inputs) if j != k) and bare.type.rank <= n.type.rank:
            inputs = [*n.inputs]
            inputs[k] = bare
            return b.emit(n.op, *inputs, **n.attrs)
    return None


def pointwise_rules() -> list:
    from graphkeras.ir.op import all_ops
    from graphkeras.ir.passes.rewrite import Rule

    names = tuple(op.name for op in all_ops() if op.kind is Kind.POINTWISE and op.name not in POINTWISE_SKIP)
    assert all(get_op(name).kind is Kind.POINTWISE for name in names)
    return [Rule("hoist_broadcast", names, _hoist_broadcast), Rule("drop_broadcast", names, _drop_broadcast)]


def _zero_pad(n: Node) -> tuple[int, int, int] | None:
    """(axis, low, high) of a pad with zeros along one axis."""
    if n.op != "pad" or n.attrs["value"] != 0 or any(n.attrs["interior"]):
        return None
    low, high = n.attrs["low"], n.attrs["high"]
    axes = [a for a in range(len(low)) if low[a] or high[a]]
    return (axes[0], low[axes[0]], high[axes[0]]) if len(axes) == 1 and min(*low, *high) >= 0 else None


@rule("add")
def sum_of_parts(b: Builder, n: Node) -> Node | None:
    """pad(x, after) + pad(y, before) = concat(x, y) where the parts touch: what the gradient of a split is."""
    found = [_zero_pad(i) for i in n.inputs]
    if None in found or n.inputs[0].shape != n.inputs[1].shape:
        return None
    (axis, low, high), (other, low2, high2) = found  # type: ignore[misc]
    size = n.shape[axis]
    if axis != other or size not in (high + low2, high2 + low):
        return None
    first, second = n.inputs if size == high + low2 else n.inputs[::-1]
    whole = b.concat(first.inputs[0], second.inputs[0], axis=axis)
    if whole.shape == n.shape:
        return whole
    ends = [min(low, low2), min(high, high2)]
    edge = [tuple(e if a == axis else 0 for a in range(len(n.shape))) for e in ends]
    return b.pad(whole, low=edge[0], high=edge[1], interior=(0,) * len(n.shape), value=n.inputs[0].attrs["value"])


@rule("concat")
def concat_of_concat(b: Builder, n: Node) -> Node | None:
    """One concat instead of nested ones."""
    if not any(i.op == "concat" and i.attrs["axis"] == n.attrs["axis"] for i in n.inputs):
        return None
    flat: list[Node] = []
    for i in n.inputs:
        flat += i.inputs if i.op == "concat" and i.attrs["axis"] == n.attrs["axis"] else [i]
    return b.concat(*flat, axis=n.attrs["axis"])


CANONICAL = (
    reshape_of_reshape,
    transpose_of_transpose,
    transpose_of_product,
    broadcast_of_broadcast,
    cast_to_itself,
    whole_slice,
    concat_of_one,
    concat_of_concat,
    sum_of_parts,
    reduce_nothing,
    sum_of_broadcast,
)
