"""A graph for one sample, run on many: every value that depends on the samples gets an axis in front.

`batch` emits a graph's nodes again. A node that no batched value reaches stays as it is and is computed once; the
others go by a rule for their op (`batching_rules.py`, and the control flow here). An op without a rule becomes a scan
over the samples of this one op; the scan's body is named after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras.ir.batching_rules import RULES, Values, align, front
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op

LOOPED = "row by row"  # in the names of loops over samples


def batch(b: Builder, graph: Graph, args: Sequence[Node], batched: Sequence[bool], count: int) -> list[Node]:
    """Emit `graph` for `count` samples; all results have the samples in front.

    args: what stands for the graph's inputs; where `batched`, with an axis of `count` in front.
    """
    results = _emit(b, graph, args, batched, count)
    return [front(b, n, count, flag) for n, flag in results]


def _emit(
    b: Builder, graph: Graph, args: Sequence[Node], batched: Sequence[bool], count: int
) -> list[tuple[Node, bool]]:
    table = dict(zip(graph.inputs, zip(args, batched, strict=True), strict=True))
    for node in graph.nodes:
        if node not in table:
            values = [table[i] for i in node.inputs]
            with b.origin(node.origin):
                if any(flag for _, flag in values):
                    table[node] = _apply(b, node, values, count), True
                else:
                    table[node] = b.copy_node(node, [n for n, _ in values]), False
    return [table[o] for o in graph.outputs]


def _apply(b: Builder, node: Node, values: Values, count: int) -> Any:
    """The batched node; for several results one node with several, or a tuple of nodes."""
    op = get_op(node.op)
    if node.op in RULES:
        found = RULES[node.op](b, node, values, count)
        return _one_by_one(b, node, values, count) if found is None else found
    if op.kind is Kind.POINTWISE:
        return b.emit(node.op, *align(b, node, values, count), **node.attrs)
    if node.op in ("scan", "while", "cond"):
        return {"scan": _scan, "while": _while, "cond": _cond}[node.op](b, node, values, count)
    if node.op == "item":
        whole: Any = values[0][0]
        return whole[node.attrs["index"]] if isinstance(whole, tuple) else b.item(whole, node.attrs["index"])
    if op.kind is Kind.COMPOSITE and op.decompose is not None and not isinstance(node.type, tuple):
        inner = Builder()
        inputs = [inner.input(i.type, f"in{k}") for k, i in enumerate(node.inputs)]
        parts = Graph(inputs, [op.decompose(inner, inner.copy_node(node, inputs))], node.op)
        return batch(b, parts, [n for n, _ in values], [flag for _, flag in values], count)[0]
    return _one_by_one(b, node, values, count)


def _one_by_one(b: Builder, node: Node, values: Values, count: int) -> Node:
    """The op in a loop over the samples."""
    inner = Builder()
    fixed = [k for k, (_, flag) in enumerate(values) if not flag]
    order = [*fixed, *(k for k, (_, flag) in enumerate(values) if flag)]
    inputs = {k: inner.input(node.inputs[k].type, f"in{k}") for k in order}
    made = inner.copy_node(node, [inputs[k] for k in range(len(values))])
    outputs = [inner.item(made, i) for i in range(len(node.type))] if isinstance(node.type, tuple) else [made]
    body = Graph([inputs[k] for k in order], outputs, f"{node.op} {LOOPED}")
    loop = b.emit(
        "scan",
        *(values[k][0] for k in order),
        body=body,
        carries=0,
        consts=len(fixed),
        length=count,
        reverse=False,
    )
    return loop if isinstance(node.type, tuple) else b.item(loop, 0)


# -- control flow ----------------------------------------------------------------------------------
def batched_graph(graph: Graph, batched: Sequence[bool], count: int, name: str = "") -> Graph:
    """A graph of its own on inputs that have the samples in front where `batched`; all its results have them."""
    inner = Builder()
    inputs = [
        inner.input(i.type.with_shape((count, *i.shape)) if flag else i.type, f"in{k}")
        for k, (i, flag) in enumerate(zip(graph.inputs, batched, strict=True))
    ]
    return Graph(inputs, batch(inner, graph, inputs, batched, count), name or graph.name)


def _scan(b: Builder, node: Node, values: Values, count: int) -> tuple[Node, ...]:
    """One scan whose carries hold all samples; what is scanned over keeps its steps in front."""
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    flags = [flag for _, flag in values]
    flags[:carries] = [True] * carries
    inputs = [front(b, n, count, flag) for n, flag in values[:carries]]
    inputs += [n for n, _ in values[carries : carries + consts]]
    inputs += [_swapped(b, n) if flag else n for n, flag in values[carries + consts :]]
    body = batched_graph(node.attrs["body"], flags, count)
    loop = b.emit("scan", *inputs, **{**node.attrs, "body": body})
    items = [b.item(loop, i) for i in range(len(node.type))]
    return (*items[:carries], *(_swapped(b, n) for n in items[carries:]))


def _swapped(b: Builder, node: Node) -> Node:
    return b.transpose(node, perm=(1, 0, *range(2, node.type.rank)))


def _while(b: Builder, node: Node, values: Values, count: int) -> Node:
    """Steps until the condition holds for no sample; samples for which it does not hold keep their state."""
    carries = node.attrs["carries"]
    start = [front(b, n, count, flag) for n, flag in values[:carries]]
    consts = [n for n, _ in values[carries:]]
    flags = [True] * carries + [flag for _, flag in values[carries:]]
    holds = batched_graph(node.attrs["cond"], flags, count)
    step = batched_graph(node.attrs["body"], flags, count)

    test = Builder()
    inputs = [test.input(i.type, f"in{k}") for k, i in enumerate(holds.inputs)]
    some = test.reduce_or(test.inline(holds, inputs)[0], axes=(0,), keepdims=False)
    cond = Graph(inputs, [some], holds.name)

    inner = Builder()
    inputs = [inner.input(i.type, f"in{k}") for k, i in enumerate(step.inputs)]
    active = inner.inline(holds, inputs)[0]
    after = [
        inner.select(inner.reshape(active, shape=(count,) + (1,) * (old.type.rank - 1)), new, old)
        for new, old in zip(inner.inline(step, inputs), inputs, strict=False)
    ]
    body = Graph(inputs, after, step.name)
    return b.emit("while", *start, *consts, **{**node.attrs, "cond": cond, "body": body})


def _cond(b: Builder, node: Node, values: Values, count: int) -> Any:
    """One branch if all samples take the same; else all branches, and each sample's own result of them."""
    (index, varies), *operands = values
    branches = node.attrs["branches"]
    if not varies:
        flags = [flag for _, flag in operands]
        made = tuple(batched_graph(g, flags, count) for g in branches)
        return b.emit("cond", index, *(n for n, _ in operands), branches=made)
    if any(_loops(g) for g in branches):  # which might not end where it is not meant to run
        return _one_by_one(b, node, values, count)
    args, flags = [n for n, _ in operands], [flag for _, flag in operands]
    results = [batch(b, g, args, flags, count) for g in branches]
    chosen = results[-1]
    for position in range(len(branches) - 2, -1, -1):
        here = b.le(index, position)
        chosen = [
            b.select(b.reshape(here, shape=(count,) + (1,) * (mine.type.rank - 1)), mine, other)
            for mine, other in zip(results[position], chosen, strict=True)
        ]
    return tuple(chosen)


def _loops(graph: Graph) -> bool:
    inner = [v for n in graph.nodes for a in n.attrs.values() for v in (a if isinstance(a, tuple) else (a,))]
    return any(n.op == "while" for n in graph.nodes) or any(_loops(g) for g in inner if isinstance(g, Graph))
