"""The pipeline: every stage by name, in order. Each can be switched off (`GRAPHKERAS_PASSES=-name`) and is verified after."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.algebra import ALGEBRA, STABILISE
from graphkeras.ir.passes.canonical import CANONICAL, pointwise_rules
from graphkeras.ir.passes.folding import folding_rules
from graphkeras.ir.passes.loops import merge_scans, prune_scans
from graphkeras.ir.passes.rewrite import Rule, all_rules, rebuild, rewrite

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


@functools.cache
def _rules(stage: str) -> tuple[Rule, ...]:
    if stage == "canonicalise":
        return all_rules(CANONICAL, pointwise_rules())
    if stage == "fold":
        return tuple(folding_rules())
    return {"algebra": ALGEBRA, "stabilise": STABILISE}[stage]


STAGES = (
    "canonicalise",
    "algebra",
    "fold",
    "stabilise",
    "decompose",
    "canonicalise",
    "fold",
    "algebra",
    "canonicalise",
)


def optimise(
    graph: Graph,
    claimed: Collection[str] = (),
    *,
    off: Collection[str] = (),
    on_fire: Callable[[Rule, Node, Node], None] | None = None,
    after: Callable[[str, Graph], None] | None = None,
) -> Graph:
    """Run all stages, in the bodies of control flow too; those named in `off` are left out (all but decompose).

    on_fire(rule, node, replacement) is called for each rewrite, after(stage, graph) after each stage.
    """
    if "loops" not in off:  # first, while the bodies are still the ones that the gradient refers to
        graph = prune_scans(merge_scans(graph))
    graph = _map_bodies(graph, lambda body: optimise(body, claimed, off=off, on_fire=on_fire, after=after))
    for name in STAGES:
        if name == "decompose":
            graph = decompose(graph, claimed)
        elif name not in off:
            graph = rewrite(graph, _rules(name), on_fire)
        if after is not None:
            after(name, graph)
    return graph


def _map_bodies(graph: Graph, fn: Stage) -> Graph:
    """The graph with `fn` applied to every graph that is an attribute of a node."""

    def convert(value: Any) -> Any:
        if isinstance(value, Graph):
            return fn(value)
        return tuple(convert(v) for v in value) if isinstance(value, tuple) else value

    def replace(b: Builder, node: Node, inputs: Any) -> Node | None:
        if not any(_holds_graph(v) for v in node.attrs.values()):
            return None
        return b.emit(node.op, *inputs, **{k: convert(v) for k, v in node.attrs.items()})

    if not any(_holds_graph(v) for n in graph.nodes for v in n.attrs.values()):
        return graph
    return rebuild(graph, replace)


def _holds_graph(value: Any) -> bool:
    return isinstance(value, Graph) or (isinstance(value, tuple) and any(isinstance(v, Graph) for v in value))
