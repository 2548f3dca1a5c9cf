"""Gradients for many weightings of one output at a time: the rows of Jacobians."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType


def gradient_rows(b: Builder, output: Node, wrt: Sequence[Node], weights: Node) -> list[Node | None]:
    """For each `wrt` node the gradients of `sum(weights[i] * output)` for all i, stacked; None if independent.

    weights: (rows, *output.shape). One scan over the rows: its body is the backward pass, and what the forward pass
    knows comes in as constants.
    """
    seed = b.input(output.type, "weights")
    found = gradients(b, [output], wrt, [seed])
    wanted = [g for g in found if g is not None]
    if not wanted:
        return [None] * len(wrt)
    body, captured = _body(seed, wanted)
    scan = b.emit(
        "scan", *captured, weights, body=body, carries=0, consts=len(captured), length=weights.shape[0], reverse=False
    )
    rows = iter(range(len(wanted)))
    return [None if g is None else b.item(scan, next(rows)) for g in found]


def _body(seed: Node, wanted: Sequence[Node]) -> tuple[Graph, list[Node]]:
    """The graph from a row of weights to gradients, and the nodes outside of it that it uses."""
    nodes = sorted(reachable(wanted), key=lambda n: n.id)
    dependent = {seed}
    for node in nodes:
        if any(i in dependent for i in node.inputs):
            dependent.add(node)
    used = {i for n in dependent for i in n.inputs if i not in dependent and n is not seed}
    used |= {w for w in wanted if w not in dependent}
    captured = [n for n in nodes if n in used and n.op != "const"]
    inner = Builder()
    table = {n: inner.input(n.type, f"const{i}") for i, n in enumerate(captured)}
    table[seed] = inner.input(TensorType(seed.type.shape, seed.type.dtype), "weights")
    inputs = list(table.values())
    for node in nodes:
        if node in table or (node not in dependent and node not in used):
            continue
        table[node] = inner.copy_node(node, [table[i] for i in node.inputs])
    return Graph(inputs, [table[w] for w in wanted], "gradient"), captured
