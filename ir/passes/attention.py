"""Attention written out by hand, `softmax(q k^T scale + masks) v`, becomes the op `attention`.

Looked for is a product of values with a softmax over keys, whose argument is a product of queries and keys that was
scaled, shifted by masks, or replaced by a very low number where a mask says so; dropout may follow the softmax. Batch
axes (at most two) come first in the weights, then queries, then keys. Only weights that nobody else reads are taken.

Both the stage and the gradient (`ir/autodiff.py`) look: differentiated as one op, the weights never meet the backward
pass, and the stage finds the forward product with no other reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.ops.attention import drop_limit
from graphkeras.ir.passes.rewrite import rebuild

LOW = {"float16": -3e4, "bfloat16": -1e6, "float32": -1e6}
"""A score at most this is as good as hidden; -inf is left alone, because rows of it alone give NaN."""


@dataclass
class Found:
    """Operands of an attention that a graph spells out, and the nodes between them and its result."""

    values: Node
    value_axes: tuple[tuple[int, ...], int]  # batch axes and key axis of the values
    weights_first: bool
    rank: int
    inside: list[Node] = field(default_factory=list)
    masks: list[tuple[Node, str]] = field(default_factory=list)  # "add"ed, or bool and true where to "keep" or "hide"
    scale: float = 1.0
    queries: Node | None = None
    keys: Node | None = None
    query_axes: tuple[tuple[int, ...], int, int] = ((), 0, 0)  # batch axes, length, size
    key_axes: tuple[tuple[int, ...], int, int] = ((), 0, 0)
    key: Node | None = None  # of dropout
    rate: float = 0.0


def replace_attention(graph: Graph) -> Graph:
    """The stage."""
    outputs = set(graph.outputs)

    def private(found: Found, node: Node) -> bool:
        """Whether only one chain leads from the scores to the result."""
        members = {*found.inside, node}
        return not any(n in outputs or any(u not in members for u in graph.users[n]) for n in found.inside)

    chosen = {n for n in graph.nodes if (found := find(n)) is not None and private(found, n)}
    if not chosen:
        return graph

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node not in chosen:
            return None
        found = find(b.copy_node(node, inputs))
        return None if found is None else emit(b, found)[0]

    return rebuild(graph, replace)


def for_gradient(
    b: Builder, node: Node, nodes: Callable[[], Collection[Node]], targets: Collection[Node]
) -> tuple[Node, list[Node]] | None:
    """(attention in place of `node`, the values it is differentiated by), where nothing else needs the weights.

    nodes(): all that are differentiated; targets: what the gradient is asked for.
    """
    found = find(node)
    if found is None or any(n in targets for n in found.inside):
        return None
    members = {*found.inside, node}
    if any(i in members for n in nodes() if n not in members for i in n.inputs if i is not node):
        return None
    return emit(b, found)


# -- looking -----------------------------------------------------------------------------------------
def find(node: Node) -> Found | None:
    """The attention whose last product `node` is."""
    if node.op != "dot_general" or node.dtype not in LOW:
        return None
    for side in (0, 1):
        found = _product(node, side)
        if found is not None and _weights(found, node.inputs[side]):
            return found
    return None


def _product(node: Node, side: int) -> Found | None:
    """The product as weights (batch, queries, keys), operand `side`, times values."""
    weights, values = node.inputs[side], node.inputs[1 - side]
    contract, batch = (node.attrs[name] for name in ("contract", "batch"))
    rank = weights.type.rank
    lead = tuple(range(rank - 2))
    if rank > 4 or values.type.rank != rank or batch[side] != lead or contract[side] != (rank - 1,):
        return None
    return Found(values, (batch[1 - side], contract[1 - side][0]), side == 0, rank)


def _weights(found: Found, node: Node) -> bool:
    """Walk back from the weights to queries and keys; whether all was understood."""
    node = _past_casts(found, node)
    if node.op == "select" and not _dropout(found, node):
        return False
    if node.op == "select":
        node = _past_casts(found, node.inputs[1].inputs[0])
    if node.op != "softmax" or node.attrs["axis"] != found.rank - 1:
        return False
    found.inside.append(node)
    return _scores(found, node.inputs[0])


def _past_casts(found: Found, node: Node) -> Node:
    while node.op == "cast" and node.dtype in LOW and node.inputs[0].dtype in LOW:
        found.inside.append(node)
        node = node.inputs[0]
    return node


def _dropout(found: Found, node: Node) -> bool:
    """select(random bits >= limit, weights / (1 - rate), 0), as `random.dropout` writes it."""
    allowed, scaled, zero = node.inputs
    factor = scalar_value(scaled.inputs[1]) if scaled.op == "mul" else None
    if allowed.op != "ge" or scalar_value(zero) != 0 or factor is None or float(factor) <= 1:
        return False
    bits, limit = allowed.inputs[0], scalar_value(allowed.inputs[1])
    if bits.op != "random_bits" or bits.shape != node.shape or limit is None:
        return False
    rate = int(limit) / 2.0**32
    if drop_limit(rate) != int(limit) or not math.isclose(float(factor), 1 / (1 - rate), rel_tol=1e-5):
        return False
    found.key, found.rate = bits.inputs[0], rate
    found.inside += [node, scaled]
    return True


def _scores(found: Found, node: Node) -> bool:
    """Masks and scales, from the last to the first, down to the product."""
    while True:
        if node.op == "transpose" or node.op == "dot_general":
            return _queries_and_keys(found, node)
        found.inside.append(node)
        if node.op == "cast" and node.inputs[0].dtype in LOW:
            node = node.inputs[0]
        elif node.op in ("mul", "div") and (scaled := _scaled(node)) is not None:
            node, factor = scaled
            found.scale *= factor
        elif node.op == "select" and (hidden := _hidden(node)) is not None:
            if found.scale != 1.0:  # the low number was scaled too
                return False
            node, mask, kind = hidden
            found.masks.append((mask, kind))
        elif node.op == "add" and (added := _added(node)) is not None:
            if found.scale != 1.0:
                return False
            node, mask = added
            found.masks.append((mask, "add"))
        else:
            return False


def _scaled(node: Node) -> tuple[Node, float] | None:
    a, b = node.inputs
    number = scalar_value(b)
    if number is None and node.op == "mul":
        a, b = b, a
        number = scalar_value(b)
    if number is None or a.shape != node.shape or not number:
        return None
    return a, 1.0 / float(number) if node.op == "div" else float(number)


def _hidden(node: Node) -> tuple[Node, Node, str] | None:
    mask, first, second = node.inputs
    for kind, scores, low in (("keep", first, second), ("hide", second, first)):
        number = scalar_value(low)
        if number is not None and -math.inf < float(number) <= LOW[node.dtype] and scores.shape == node.shape:
            return scores, mask, kind
    return None


def _added(node: Node) -> tuple[Node, Node] | None:
    """(scores, mask): the operand that leads to a product is the scores."""
    for scores, mask in (node.inputs, node.inputs[::-1]):
        if scores.shape == node.shape and _leads_to_product(scores):
            return scores, mask
    return None


def _leads_to_product(node: Node) -> bool:
    for _ in range(16):
        if node.op == "dot_general":
            return True
        if node.op in ("mul", "div"):
            scaled = _scaled(node)
            if scaled is None:
                return False
            node = scaled[0]
        elif node.op in ("cast", "transpose"):
            node = node.inputs[0]
        elif node.op == "select":
            hidden = _hidden(node)
            if hidden is None:
                return False
            node = hidden[0]
        elif node.op == "add":
            added = _added(node)
            if added is None:
                return False
            node = added[0]
        else:
            return False
    return False


def _queries_and_keys(found: Found, node: Node) -> bool:
    rank = found.rank
    perm = tuple(range(rank))
    if node.op == "transpose":
        perm = node.attrs["perm"]
        found.inside.append(node)
        node = node.inputs[0]
    if node.op != "dot_general" or node.dtype not in LOW:
        return False
    found.inside.append(node)
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    count = rank - 2
    if any(x.type.rank != rank for x in node.inputs) or len(batch[0]) != count or len(contract[0]) != 1:
        return False
    # axes of the product: batch, the free axis of the first operand, that of the second
    if sorted(perm[:count]) != list(range(count)):
        return False
    sides = (0, 1) if perm[count:] == (count, count + 1) else (1, 0)
    axes = []
    for side in sides:
        used = {*batch[side], *contract[side]}
        (length,) = (i for i in range(rank) if i not in used)
        axes.append((tuple(batch[side][p] for p in perm[:count]), length, contract[side][0]))
    found.queries, found.keys = node.inputs[sides[0]], node.inputs[sides[1]]
    found.query_axes, found.key_axes = axes
    return found.queries.shape[axes[0][2]] > 0 and found.keys.shape[axes[1][1]] > 0


# -- making ------------------------------------------------------------------------------------------
def emit(b: Builder, found: Found) -> tuple[Node, list[Node]]:
    """(what stands for the last product, the operands that a gradient may flow to)."""
    assert found.queries is not None and found.keys is not None
    q = _by_heads(b, found.queries, *found.query_axes)
    k = _by_heads(b, found.keys, *found.key_axes)
    batch, length = found.value_axes
    (size,) = (i for i in range(found.rank) if i not in batch and i != length)
    v = _by_heads(b, found.values, batch, length, size)
    plane = (q.shape[1], k.shape[1])
    causal = [m for m, kind in found.masks if kind == "keep" and m.shape[-2:] == plane and _is_causal(m)]
    extra = [_mask(b, m, found, kind, q.dtype) for m, kind in found.masks if m not in causal]
    if found.key is not None:
        extra.append(found.key)
    attrs = {"scale": found.scale, "causal": bool(causal), "window": 0, "rate": found.rate}
    out = b.item(b.emit("attention", q, k, v, *extra, **attrs), 0)
    last = (1, 3) if found.weights_first else (3, 1)
    turned = b.transpose(out, perm=(0, 2, *last))
    shape = turned.shape
    lead = {2: (), 3: shape[:1], 4: shape[:2]}[found.rank]
    result = b.reshape(turned, shape=(*lead, *shape[2:]))
    sources = [found.queries, found.keys, found.values, *(m for m, kind in found.masks if kind == "add")]
    return result, list(dict.fromkeys(sources))


def _by_heads(b: Builder, x: Node, batch: tuple[int, ...], length: int, size: int) -> Node:
    """As (batch, length, heads, size)."""
    perm = (batch[0], length, batch[1], size) if len(batch) == 2 else (*batch, length, size)
    turned = x if perm == tuple(range(len(perm))) else b.transpose(x, perm=perm)
    if len(batch) == 2:
        return turned
    return b.reshape(turned, shape=(x.shape[batch[0]] if batch else 1, x.shape[length], 1, x.shape[size]))


def _is_causal(mask: Node) -> bool:
    """Whether a mask over (queries, keys) says that the query's position is not before the key's."""
    if mask.op not in ("ge", "le"):
        return False
    query, key = mask.inputs if mask.op == "ge" else mask.inputs[::-1]
    return _counted_axis(query) == -2 and _counted_axis(key) == -1


def _counted_axis(node: Node) -> int | None:
    """The axis, from the last, along which a value counts 0, 1, 2 ..., where it is the same along all others."""
    if node.op == "iota":
        return node.attrs["axis"] - node.type.rank
    if node.op == "broadcast_to":  # from an extent of 1 nothing is counted
        axis = _counted_axis(node.inputs[0])
        return axis if axis is not None and node.inputs[0].shape[axis] == node.shape[axis] else None
    if node.op == "reshape" and node.inputs[0].op == "iota" and node.inputs[0].type.rank == 1:
        size = node.type.size
        return next((i - node.type.rank for i, n in enumerate(node.shape) if n == size), None)
    return None


def _mask(b: Builder, mask: Node, found: Found, kind: str, dtype: str) -> Node:
    """As the op takes it: rank 4, true where a key is seen."""
    if kind == "hide":
        mask = b.emit("not", mask)
    shape = (1,) * (found.rank - mask.type.rank) + mask.shape
    if found.rank < 4:  # the one axis of heads comes after the batch
        shape = (1,) * (3 - found.rank) + shape
        shape = (shape[0], 1, *shape[1:])
    if shape != mask.shape:
        mask = b.reshape(mask, shape=shape)
    return mask if kind != "add" or mask.dtype == dtype else b.cast(mask, dtype=dtype)


__all__ = ["Found", "emit", "find", "for_gradient", "replace_attention"]
