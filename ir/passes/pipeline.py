"""The pipeline: every stage by name, in order. Each can be switched off (`GRAPHKERAS_PASSES=-name`) and is verified after."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.rewrite import rebuild

Stage = Callable[[Graph], Graph]


def decompose(graph: Graph, claimed: Collection[str] = ()) -> Graph:
    """Replace composites by their primitives, bodies of control flow included; ops in `claimed` have a template and stay."""

    def replace(b: Builder, node: Node, inputs: Any) -> Node | None:
        op = get_op(node.op)
        copy = b.copy_node(node, inputs)
        if op.kind is Kind.COMPOSITE and node.op not in claimed:
            assert op.decompose is not None
            return op.decompose(b, copy)
        return None

    before = -1
    while before != len(graph.nodes):  # a composite may decompose into another one
        before = len(graph.nodes)
        graph = rebuild(graph, replace)
        if not any(get_op(n.op).kind is Kind.COMPOSITE and n.op not in claimed for n in graph.nodes):
            break
    return graph


def optimise(graph: Graph, claimed: Collection[str] = ()) -> Graph:
    """Run all stages."""
    return decompose(graph, claimed)
