"""Scans: one loop instead of a loop and its copy that saves more, and no loop results that nobody reads."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.node import Node
from graphkeras.ir.passes.rewrite import rebuild


def merge_scans(graph: Graph) -> Graph:
    """Replace a scan by the one that the gradient made of it: same inputs, a body that extends its body.

    The results of the first are the first results of the second, so readers change nothing but the loop they read.
    """
    scans = [n for n in graph.nodes if n.op == "scan"]
    extended = {(n.attrs["body"].primal, n.inputs): n for n in scans if n.attrs["body"].primal is not None}

    def widest(node: Node) -> Node:
        while (node.attrs["body"], node.inputs) in extended:
            node = extended[node.attrs["body"], node.inputs]
        return node

    if not any(widest(n) is not n for n in scans):
        return graph

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node.op != "scan":
            return None
        return b.emit("scan", *inputs, **widest(node).attrs)

    return rebuild(graph, replace)


def prune_scans(graph: Graph) -> Graph:
    """Drop stacked results that nobody reads, then carries, consts and xs that nothing left depends on."""
    plans = {n: plan for n in graph.nodes if n.op == "scan" and (plan := _plan(graph, n)) is not None}
    if not plans:
        return graph
    made: dict[Node, dict[int, int]] = {}

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node.op == "item" and node.inputs[0] in plans:
            return b.item(inputs[0], made[node.inputs[0]][node.attrs["index"]])
        if node not in plans:
            return None
        kept_inputs, kept_outputs = plans[node]
        body, carries, consts = node.attrs["body"], node.attrs["carries"], node.attrs["consts"]
        made[node] = {old: new for new, old in enumerate(kept_outputs)}
        smaller = Graph([body.inputs[i] for i in kept_inputs], [body.outputs[i] for i in kept_outputs], body.name)
        return b.scan(
            *(inputs[i] for i in kept_inputs),
            **{
                **node.attrs,
                "body": smaller,
                "carries": sum(i < carries for i in kept_inputs),
                "consts": sum(carries <= i < carries + consts for i in kept_inputs),
            },
        )

    return rebuild(graph, replace)


def _plan(graph: Graph, node: Node) -> tuple[list[int], list[int]] | None:
    """(inputs to keep, results to keep) by position; None when all are needed."""
    body: Graph = node.attrs["body"]
    carries = node.attrs["carries"]
    users = graph.users[node]
    if node in graph.outputs or any(u.op != "item" for u in users):
        return None
    live = {u.attrs["index"] for u in users}
    while True:  # a live result needs the carries that it reads
        read = reachable([body.outputs[i] for i in live])
        more = {i for i in range(carries) if body.inputs[i] in read} - live
        if not more:
            break
        live |= more
    kept_inputs = [i for i, n in enumerate(body.inputs) if (i in live if i < carries else n in read)]
    if len(live) == len(body.outputs) and len(kept_inputs) == len(body.inputs):
        return None
    return kept_inputs, sorted(live)
