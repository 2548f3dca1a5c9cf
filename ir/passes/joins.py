"""What two nodes do in two passes over the data, done in one: reductions of reductions, pooling and its gradient."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.passes.rewrite import rebuild

OPS = frozenset({"reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or"})


def join_reductions(graph: Graph) -> Graph:
    """sum(sum(x, a), b) = sum(x, both), where nobody else reads the inner one (then both are computed anyway)."""
    outputs = set(graph.outputs)
    inner = {
        n.inputs[0]
        for n in graph.nodes
        if n.op in OPS
        and n.inputs[0].op == n.op
        and n.inputs[0] not in outputs
        and len(graph.users[n.inputs[0]]) == 1
        and not n.attrs["keepdims"]
        and not n.inputs[0].attrs["keepdims"]
    }
    if not inner:
        return graph

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node.op not in OPS or node.inputs[0] not in inner:
            return None
        (first,) = inputs
        taken = first.attrs["axes"]
        left = [a for a in range(first.inputs[0].type.rank) if a not in taken]
        axes = sorted([*taken, *(left[a] for a in node.attrs["axes"])])
        return b.emit(node.op, first.inputs[0], axes=tuple(axes), keepdims=False)

    return rebuild(graph, replace)


def remember_maxima(graph: Graph) -> Graph:
    """Where the gradient of a max pooling is needed, the pooling notes which tap held each maximum.

    A byte for each result instead of the whole input and result: less to keep until the backward pass, less to read.
    """
    keys = {_pooling(n.inputs[0], n) for n in graph.nodes if n.op == "pool_max_grad" and _own_result(n)}
    if not keys:
        return graph
    made: dict[tuple[Node, tuple[object, ...]], Node] = {}

    def noted(b: Builder, x: Node, node: Node, new_x: Node) -> Node:
        key = _pooling(x, node)
        if key not in made:
            made[key] = b.emit("pool_max_index", new_x, **{k: node.attrs[k] for k in SETTINGS})
        return made[key]

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node.op == "pool_max" and _pooling(node.inputs[0], node) in keys:
            return b.emit("item", noted(b, node.inputs[0], node, inputs[0]), index=0)
        if node.op == "pool_max_grad" and _own_result(node):
            index = b.emit("item", noted(b, node.inputs[0], node, inputs[0]), index=1)
            settings = {k: node.attrs[k] for k in SETTINGS}
            return b.emit("pool_index_grad", index, inputs[2], shape=node.shape, **settings)
        return None

    return rebuild(graph, replace)


SETTINGS = ("window", "strides", "padding")


def _pooling(x: Node, node: Node) -> tuple[Node, tuple[object, ...]]:
    return x, tuple(node.attrs[k] for k in SETTINGS)


def _own_result(grad: Node) -> bool:
    """Whether a gradient's y is the pooling of its x."""
    x, y, _ = grad.inputs
    return y.op == "pool_max" and _pooling(y.inputs[0], y) == _pooling(x, grad)
