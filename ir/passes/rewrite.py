"""The rewriting driver: sets of rules in, a new graph out.

A rule looks at one node (its inputs are already rewritten) and returns a replacement, emitted in the given builder, or
None. The driver rebuilds the graph in topological order and applies the rules of a node's op until none fires. Rules
are data: a name, the ops they look at, and the function; `GRAPHKERAS_DEBUG=6` prints each one that fires.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node

MAX_FIRINGS = 32  # of rules on one node: a loop between rules is a bug, found early


@dataclass(frozen=True)
class Rule:
    """ops: names of the ops whose nodes the rule looks at; apply(b, node) -> replacement or None."""

    name: str
    ops: tuple[str, ...]
    apply: Callable[[Builder, Node], Node | None]


def rule(*ops: str) -> Callable[[Callable[[Builder, Node], Node | None]], Rule]:
    """Make a Rule of a function; its name is the function's."""

    def decorate(fn: Callable[[Builder, Node], Node | None]) -> Rule:
        return Rule(fn.__name__, ops, fn)

    return decorate


def rewrite(graph: Graph, rules: Sequence[Rule], on_fire: Callable[[Rule, Node, Node], None] | None = None) -> Graph:
    """The graph with `rules` applied everywhere; inputs and outputs keep their order."""
    by_op = _by_op(tuple(rules))
    b = Builder()
    table: dict[Node, Node] = {}
    if not any(n.op in by_op for n in graph.nodes):
        return graph
    for node in graph.nodes:
        made = b.copy_node(node, [table[i] for i in node.inputs])
        if made.op in by_op:
            with b.origin(node.origin):
                made = _settle(b, made, by_op, on_fire)
        table[node] = made
    return Graph([table[i] for i in graph.inputs], [table[o] for o in graph.outputs], graph.name)


@functools.lru_cache(maxsize=64)
def _by_op(rules: tuple[Rule, ...]) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for r in rules:
        for op in r.ops:
            found.setdefault(op, []).append(r)
    return found


def _settle(
    b: Builder,
    node: Node,
    by_op: dict[str, list[Rule]],
    on_fire: Callable[[Rule, Node, Node], None] | None,
) -> Node:
    for _ in range(MAX_FIRINGS):
        for r in by_op.get(node.op, ()):
            found = r.apply(b, node)
            if found is not None and found is not node:
                if on_fire is not None:
                    on_fire(r, node, found)
                node = found
                break
        else:
            return node
    raise AssertionError(f"rules do not settle on {node!r}: {', '.join(r.name for r in by_op[node.op])}")


def rebuild(graph: Graph, replace: Callable[[Builder, Node, Sequence[Node]], Node | None]) -> Graph:
    """The graph with nodes replaced by what `replace(b, node, new_inputs)` returns (None: copied)."""
    b = Builder()
    table: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = [table[i] for i in node.inputs]
        with b.origin(node.origin):
            made = replace(b, node, inputs)
        table[node] = made if made is not None else b.copy_node(node, inputs)
    return Graph([table[i] for i in graph.inputs], [table[o] for o in graph.outputs], graph.name)


def all_rules(*sets: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(r for s in sets for r in s)
