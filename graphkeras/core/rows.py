"""Gradients for many weightings of one output at a time: the rows of Jacobians."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.batching import batch
from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType, numpy_dtype

MAX_BYTES = 1 << 24  # of one value with all rows


def _nbytes(node: Node) -> int:
    types = node.type if isinstance(node.type, tuple) else (node.type,)
    return max(math.prod(t.shape) * numpy_dtype(t.dtype).itemsize for t in types)


def gradient_rows(b: Builder, output: Node, wrt: Sequence[Node], weights: Node) -> list[Node | None]:
    """For each `wrt` node the gradients of `sum(weights[i] * output)` for all i, stacked; None if independent.

    weights: (rows, *output.shape). The backward pass for one row, with what the forward pass knows as constants, is
    given an axis of rows; where that would take much memory it is the body of a scan over the rows.
    """
    seed = b.input(output.type, "weights")
    found = gradients(b, [output], wrt, [seed])
    wanted = [g for g in found if g is not None]
    if not wanted:
        return [None] * len(wrt)
    body, captured = _body(seed, wanted)
    count = weights.shape[0]
    if count * max(_nbytes(n) for n in body.nodes) <= MAX_BYTES:
        batched = batch(b, body, [*captured, weights], [False] * len(captured) + [True], count)
        results = iter(batched)
        return [None if g is None else next(results) for g in found]
    scan = b.emit("scan", *captured, weights, body=body, carries=0, consts=len(captured), length=count, reverse=False)
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
