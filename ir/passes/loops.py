"""Loops: one instead of a loop and its copy that saves more, and no loop results that nobody reads."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.node import Node
from graphkeras.ir.passes.rewrite import rebuild

LOOPS = ("scan", "while")
Memo = dict[tuple[Node, int], list[int]]  # inputs that a result of a loop needs


def merge_loops(graph: Graph) -> Graph:
    """Replace a loop by the one that the gradient made of it: the same inputs (a `while` has more carries besides, with
    constant first values), a body that extends its body.

    The results of the first are the first results of the second, so readers change nothing but the loop they read.
    """
    extended: dict[Graph, list[Node]] = {}
    for n in graph.nodes:
        if n.op in LOOPS and n.attrs["body"].primal is not None:
            extended.setdefault(n.attrs["body"].primal, []).append(n)
    wider: dict[Node, Node] = {}
    for n in graph.nodes:
        if n.op in LOOPS:
            found = next((w for w in extended.get(n.attrs["body"], ()) if _extends(w, n)), None)
            if found is not None:
                wider[n] = found
    if not wider:
        return graph

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node not in wider:
            return None
        widest = wider[node]
        while widest in wider:
            widest = wider[widest]
        own = dict(zip(node.inputs, inputs, strict=True))
        return b.emit(node.op, *(own[i] if i in own else _constant(b, i) for i in widest.inputs), **widest.attrs)

    return rebuild(graph, replace)


def _extends(wide: Node, node: Node) -> bool:
    if node.op == "scan":
        return wide.inputs == node.inputs
    carries = node.attrs["carries"]
    consts = len(node.inputs) - carries
    at = len(wide.inputs) - consts
    more = wide.inputs[carries:at]
    same = wide.inputs[:carries] == node.inputs[:carries] and wide.inputs[at:] == node.inputs[carries:]
    return same and all(n.op != "input" for n in reachable(more))


def _constant(b: Builder, node: Node) -> Node:
    return b.copy_node(node, [_constant(b, i) for i in node.inputs])


def prune_loops(graph: Graph) -> Graph:
    """Drop results that nobody reads, then carries, consts and xs that nothing left depends on."""
    while (smaller := _prune(graph)) is not graph:  # what one loop no longer reads another need not compute
        graph = smaller
    return graph


def _prune(graph: Graph) -> Graph:
    memo: Memo = {}
    plans = {n: plan for n in graph.nodes if n.op in LOOPS and (plan := _plan(graph, n, memo)) is not None}
    if not plans:
        return graph
    made: dict[Node, dict[int, int]] = {}

    def replace(b: Builder, node: Node, inputs: Sequence[Node]) -> Node | None:
        if node.op == "item" and node.inputs[0] in plans:
            return b.item(inputs[0], made[node.inputs[0]][node.attrs["index"]])
        if node not in plans:
            return None
        kept_inputs, kept_outputs = plans[node]
        made[node] = {old: new for new, old in enumerate(kept_outputs)}
        return b.emit(node.op, *(inputs[i] for i in kept_inputs), **_smaller(node, kept_inputs, kept_outputs))

    return rebuild(graph, replace)


def _smaller(node: Node, kept_inputs: Sequence[int], kept_outputs: Sequence[int]) -> dict[str, object]:
    """Attributes of a loop with these inputs and results only."""
    attrs = dict(node.attrs)
    body, carries = attrs["body"], attrs["carries"]
    # Loops inside must no longer mention what goes either.
    body = prune_loops(merge_loops(Graph(body.inputs, [body.outputs[i] for i in kept_outputs], body.name)))
    attrs["body"] = Graph([body.inputs[i] for i in kept_inputs], body.outputs, body.name)
    attrs["carries"] = sum(i < carries for i in kept_inputs)
    if node.op == "scan":
        attrs["consts"] = sum(carries <= i < carries + node.attrs["consts"] for i in kept_inputs)
    else:
        cond = prune_loops(merge_loops(attrs["cond"]))
        attrs["cond"] = Graph([cond.inputs[i] for i in kept_inputs], cond.outputs, cond.name)
    return attrs


def _plan(graph: Graph, node: Node, memo: Memo) -> tuple[list[int], list[int]] | None:
    """(inputs to keep, results to keep) by position; None when all are needed."""
    users = graph.users[node]
    if node in graph.outputs or any(u.op != "item" for u in users):
        return None
    kept_inputs, kept_outputs = _needed(node, {u.attrs["index"] for u in users}, memo)
    if len(kept_outputs) == len(node.attrs["body"].outputs) and len(kept_inputs) == len(node.inputs):
        return None
    return kept_inputs, kept_outputs


def _needed(loop: Node, results: set[int], memo: Memo) -> tuple[list[int], list[int]]:
    """Inputs and results that a loop needs for some of its results."""
    body: Graph = loop.attrs["body"]
    carries = loop.attrs["carries"]
    live = set(results)
    asked: set[int] = set()  # inputs that a condition reads
    if loop.op == "while":
        cond: Graph = loop.attrs["cond"]
        read = _reads(cond.outputs, memo)
        asked = {i for i, n in enumerate(cond.inputs) if n in read}
        live |= {i for i in asked if i < carries}
    while True:  # a live result needs the carries that it reads
        read = _reads([body.outputs[i] for i in live], memo)
        more = {i for i in range(carries) if body.inputs[i] in read} - live
        if not more:
            break
        live |= more
    inputs = [i for i, n in enumerate(body.inputs) if (i in live if i < carries else n in read or i in asked)]
    return inputs, sorted(live)


def _reads(outputs: Sequence[Node], memo: Memo) -> set[Node]:
    """What `outputs` depend on; a result of a loop only on what that one result needs."""
    seen: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "item" and node.inputs[0].op in LOOPS:
            loop, index = node.inputs[0], node.attrs["index"]
            if (loop, index) not in memo:
                memo[loop, index] = _needed(loop, {index}, memo)[0]
            stack += [loop.inputs[i] for i in memo[loop, index]]
        else:
            stack += node.inputs
    return seen
