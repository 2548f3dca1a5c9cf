"""Reductions of reductions: one pass over the data instead of two."""

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
