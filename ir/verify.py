"""Checks that a graph is well formed: run after each stage in tests and from GRAPHKERAS_DEBUG=1 on."""

from __future__ import annotations

from typing import Any

from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, attrs_key
from graphkeras.ir.op import get_op
from graphkeras.ir.types import TensorType

WIDE = frozenset({"float64", "complex128"})


class GraphError(AssertionError):
    """A graph breaks a rule of the IR; the message names the stage that made it, and the node."""


def verify(graph: Graph, before: Graph | None = None, stage: str = "") -> None:
    """Raise GraphError unless the graph is well formed.

    Ids increase along edges and are unique, no node appears twice under two ids (a node of another builder), types are
    what the shape rules say, attributes are hashable, inputs are listed; bodies of control flow are checked alike.

    before: the graph that `stage` was given: types of inputs and outputs must be the same, and no float64 may appear
    out of nothing.
    """
    where = f"after {stage!r}, " if stage else ""
    where += f"graph {graph.name!r}: "
    _inputs(graph, where)
    seen_ids: dict[int, Node] = {}
    seen_keys: dict[Any, Node] = {}
    for node in graph.nodes:
        if seen_ids.setdefault(node.id, node) is not node:
            raise GraphError(f"{where}{node!r} and {seen_ids[node.id]!r} have one id: nodes of two builders are mixed")
        late = [i for i in node.inputs if i.id >= node.id]
        if late:
            raise GraphError(f"{where}{node!r} comes before its operand {late[0]!r}: ids must grow along edges")
        if node.op != "input":
            key = (node.op, _attributes(node, where), *(i.id for i in node.inputs))
            if seen_keys.setdefault(key, node) is not node:
                raise GraphError(f"{where}{node!r} repeats {seen_keys[key]!r}: builders give one node for one value")
            _type(node, where)
    if before is not None:
        _against(graph, before, where)
    for body in nested(graph):
        verify(body, stage=stage)


def nested(graph: Graph) -> list[Graph]:
    """The graphs that are attributes of this graph's nodes, each once."""
    found: dict[Graph, None] = {}
    for node in graph.nodes:
        for value in node.attrs.values():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Graph):
                    found[item] = None
    return list(found)


def dtypes(graph: Graph) -> set[str]:
    """All dtypes of values in the graph and its bodies."""
    types = {t for n in graph.nodes for t in (n.type if isinstance(n.type, tuple) else (n.type,))}
    return {t.dtype for t in types}.union(*(dtypes(g) for g in nested(graph)))


def _inputs(graph: Graph, where: str) -> None:
    listed = set(graph.inputs)
    if len(listed) != len(graph.inputs):
        raise GraphError(f"{where}an input is listed twice: {', '.join(map(repr, graph.inputs))}")
    for node in graph.inputs:
        if node.op != "input":
            raise GraphError(f"{where}{node!r} is listed as an input, but is the result of an op")
    for node in graph.nodes:
        if node.op == "input" and node not in listed:
            raise GraphError(f"{where}{node!r} ({node.attrs['name']!r}) is read, but not listed as an input")


def _attributes(node: Node, where: str) -> Any:
    try:
        key = attrs_key(node.attrs)
        hash(key)
    except TypeError as error:
        raise GraphError(f"{where}{node!r} has an attribute without a hash ({error}): {dict(node.attrs)}") from None
    if node.attrs_key != key:
        raise GraphError(f"{where}{node!r} was changed after it was made: attributes are {dict(node.attrs)}")
    return key


def _type(node: Node, where: str) -> None:
    try:
        wanted = get_op(node.op).infer(*(i.type for i in node.inputs), **node.attrs)
    except (TypeError, ValueError) as error:
        raise GraphError(f"{where}{node!r} breaks its shape rule: {error}") from None
    if wanted != node.type:
        raise GraphError(f"{where}{node!r} has type {node.type}, its shape rule says {wanted}")
    for type in wanted if isinstance(wanted, tuple) else (wanted,):
        if not isinstance(type, TensorType) or not all(isinstance(n, int) for n in type.shape):
            raise GraphError(f"{where}{node!r} has a type that is not made of ints: {type!r}")


def _against(graph: Graph, before: Graph, where: str) -> None:
    for what, now, then in (("inputs", graph.inputs, before.inputs), ("outputs", graph.outputs, before.outputs)):
        if [n.type for n in now] != [n.type for n in then]:
            raise GraphError(
                f"{where}the types of its {what} changed from {', '.join(str(n.type) for n in then)} "
                f"to {', '.join(str(n.type) for n in now)}"
            )
    new = (dtypes(graph) & WIDE) - dtypes(before)
    if new:
        culprit = next((n for n in graph.nodes if getattr(n.type, "dtype", "") in new), None)
        raise GraphError(f"{where}{', '.join(sorted(new))} appeared, first in {culprit!r}")
