"""The pipeline: every stage by name, in order. Each can be switched off (`GRAPHKERAS_PASSES=-name`) and verified after.

A single rule is switched off by its name in the same way: `GRAPHKERAS_PASSES=-add_zero`.
Dead code needs no stage of its own: a graph's nodes are what its outputs reach, so what nobody reads is gone at once;
`loops` removes what a loop computes for nobody.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.algebra import ALGEBRA, STABILISE
from graphkeras.ir.passes.attention import replace_attention
from graphkeras.ir.passes.canonical import CANONICAL, pointwise_rules
from graphkeras.ir.passes.folding import folding_rules
from graphkeras.ir.passes.joins import join_reductions, remember_maxima
from graphkeras.ir.passes.layout import LAYOUT, choose_orders
from graphkeras.ir.passes.loops import merge_loops, prune_loops
from graphkeras.ir.passes.recompute import recompute
from graphkeras.ir.passes.rewrite import Rule, all_rules, rebuild, rewrite
from graphkeras.ir.verify import verify

Stage = Callable[[Graph], Graph]


Claims = Callable[[Node], bool]


def nothing(node: Node) -> bool:
    """No composite has a template."""
    return False


def decompose(graph: Graph, claimed: Claims = nothing) -> Graph:
    """Replace composites by their primitives; those for which `claimed(node)` holds have a template and stay."""
    kept: dict[Node, bool] = {}

    def stays(node: Node) -> bool:
        if node not in kept:
            kept[node] = get_op(node.op).kind is not Kind.COMPOSITE or claimed(node)
        return kept[node]

    def step(graph: Graph) -> Graph:
        results: dict[Node, tuple[Node, ...]] = {}

        def replace(b: Builder, node: Node, inputs: Any) -> Node | None:
            if node.op == "item" and node.inputs[0] in results:
                return results[node.inputs[0]][node.attrs["index"]]
            if stays(node):
                return None
            make = get_op(node.op).decompose
            assert make is not None
            made = make(b, b.copy_node(node, inputs))
            if not isinstance(node.type, tuple):
                return made
            results[node] = made
            return made[0]  # nobody but its items reads it

        return rebuild(graph, replace)

    while not all(stays(n) for n in graph.nodes):  # a composite may decompose into another one
        graph = step(graph)
    return graph


@functools.cache
def _rules(stage: str) -> tuple[Rule, ...]:
    if stage == "canonicalise":
        return all_rules(CANONICAL, pointwise_rules())
    if stage == "fold":
        return tuple(folding_rules())
    return {"algebra": ALGEBRA, "stabilise": STABILISE, "layout": LAYOUT}[stage]


DOCS = {
    "loops": "a loop and its copy that saves more become one; loop results that nobody reads go",
    "attention": "softmax(q k^T) v written out becomes one op, where nobody else reads the weights",
    "canonicalise": "one form for what can be written in several ways: views, broadcasts, trivial ops",
    "algebra": "identities that hold for every number, NaN and infinities included, and strength reduction",
    "fold": "what depends on constants only is computed once",
    "stabilise": "log of softmax or sigmoid in the form that does not overflow",
    "layout": "one order of axes in memory for values that belong together; products take transposes in",
    "recompute": "what the backward pass reads of the forward pass is kept or computed again, by a minimum cut",
    "join": "a reduction of a reduction becomes one; max pooling notes for its gradient where the maxima were",
    "decompose": "composites become primitives (cannot be switched off)",
}
"""What each stage does, in one line."""
PLAIN = frozenset({"loops", "attention", "join", "decompose", "recompute"})
"""Stages that are functions of the whole graph, not sets of rules."""

STAGES = (
    "attention",
    "canonicalise",
    "algebra",
    "fold",
    "stabilise",
    "decompose",
    "canonicalise",
    "layout",
    "join",
    "fold",
    "algebra",
    "canonicalise",
    "recompute",
)


VERIFY = False  # whether `optimise` checks the graph after each stage when it is not told; tests set it


def names() -> frozenset[str]:
    """Everything that can be switched off: stages and single rules."""
    rules = (r.name for stage in DOCS if stage not in PLAIN for r in _rules(stage))
    return frozenset({*DOCS, *rules}) - {"decompose"}


def rules_of(stage: str) -> tuple[str, ...]:
    """Names of a stage's rules; none for stages that are not made of rules."""
    return () if stage in PLAIN else tuple(dict.fromkeys(r.name for r in _rules(stage)))


def optimise(
    graph: Graph,
    claimed: Claims = nothing,
    *,
    off: Collection[str] = (),
    on_fire: Callable[[Rule, Node, Node], None] | None = None,
    after: Callable[[str, Graph], None] | None = None,
    check: bool | None = None,
) -> Graph:
    """Run all stages, in the bodies of control flow too; stages and rules named in `off` are left out (not decompose).

    on_fire(rule, node, replacement) is called for each rewrite, after(stage, graph) after each stage (a body's stages
    are called "body name: stage"). check: verify the graph after each stage (default VERIFY); raises GraphError.
    """
    check = VERIFY if check is None else check

    def done(stage: str, made: Graph) -> Graph:
        if check and made is not graph:
            verify(made, graph, stage)
        if after is not None:
            after(stage, made)
        return made

    def body(inner: Graph) -> Graph:
        report = None if after is None else lambda stage, made: after(f"{inner.name}: {stage}", made)
        return optimise(inner, claimed, off={*off, "recompute"}, on_fire=on_fire, after=report, check=check)

    if check:
        verify(graph, stage="tracing")
    if "loops" not in off:  # first, while the bodies are still the ones that the gradient refers to
        graph = done("loops", prune_loops(merge_loops(graph)))
    graph = done("bodies", _map_bodies(graph, body))
    for name in STAGES:
        if name == "decompose":
            graph = done(name, decompose(graph, claimed))
        elif name == "attention" and name not in off:
            graph = done(name, replace_attention(graph))
        elif name == "join" and name not in off:
            graph = done(name, remember_maxima(join_reductions(graph)))
        elif name == "recompute" and name not in off:
            graph = done(name, recompute(graph))
        elif name not in off:
            if name == "layout":
                graph = choose_orders(graph)
            graph = done(name, rewrite(graph, _active(name, frozenset(off)), on_fire))
    return graph


@functools.lru_cache(maxsize=256)
def _active(stage: str, off: frozenset[str]) -> tuple[Rule, ...]:
    return tuple(r for r in _rules(stage) if r.name not in off)


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
