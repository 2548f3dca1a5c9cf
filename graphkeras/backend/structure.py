"""What graphs have in common, and what they call it: traces of equal structure share one executable, not their names.

Two graphs have the same structure if they compute the same in the same way and their nodes come from the same places,
whatever these are called: a layer of one stands for one layer of the other. So what was compiled for one trace can
tell any other trace, in its own words, which layer a kernel or an error belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, Origin, attr_key

Place = tuple[str, str, int]  # of an Origin: layer, file, line


def structure(graph: Graph) -> Any:
    """A hashable value that is equal for graphs of the same structure."""
    return _structure(graph, {})


def _structure(graph: Graph, places: dict[Place, int]) -> Any:
    position = {node: i for i, node in enumerate(graph.nodes)}
    rows = []
    for node in graph.nodes:
        origin = node.origin
        place = places.setdefault(origin[:3], len(places))
        attrs = () if node.op == "input" else tuple((k, _key(v, places)) for k, v in sorted(node.attrs.items()))
        rows.append((node.op, tuple(position[i] for i in node.inputs), attrs, node.type, place, origin.phase))
    ends = tuple(position[n] for n in graph.inputs), tuple(position[n] for n in graph.outputs)
    return tuple(rows), ends


def _key(value: Any, places: dict[Place, int]) -> Any:
    if isinstance(value, Graph):
        return _structure(value, places)
    if isinstance(value, (tuple, list)):
        return tuple(_key(v, places) for v in value)
    return attr_key(value)


class Names:
    """What one trace calls the places that another graph of the same structure was compiled from.

    Args:
        compiled, traced: the two graphs; without them, or where they agree, every place keeps its name.
    """

    def __init__(self, compiled: Graph | None = None, traced: Graph | None = None) -> None:
        self._places: dict[Place, Place] = {}
        if compiled is None or traced is None or compiled is traced:
            return
        for old, new in zip(_nodes(compiled), _nodes(traced), strict=True):
            if old.origin[:3] != new.origin[:3]:
                self._places[old.origin[:3]] = new.origin[:3]

    def __call__(self, origin: Origin) -> Origin:
        place = self._places.get(origin[:3])
        return origin if place is None else Origin(*place, origin.phase)


SAME = Names()
"""Every place keeps its name."""


def _nodes(graph: Graph) -> Iterator[Node]:
    """All nodes, those of bodies after the node that has them."""
    for node in graph.nodes:
        yield node
        if node.op != "input":
            for _, value in sorted(node.attrs.items()):
                yield from _inside(value)


def _inside(value: Any) -> Iterator[Node]:
    if isinstance(value, Graph):
        yield from _nodes(value)
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _inside(v)
