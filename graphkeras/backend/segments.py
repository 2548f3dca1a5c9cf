"""Pieces of a graph that are compiled and run one after the other, and pass values on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkeras.backend import executor
from graphkeras.backend.structure import SAME, Names
from graphkeras.core.variable import Variable
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype

Env = dict[Node, np.ndarray]


@dataclass
class End:
    """The end of a path."""

    outputs: tuple[Node, ...]
    writes: tuple[tuple[Variable, Node], ...]
    reads: Mapping[Variable, Node]
    payload: Any

    @property
    def wanted(self) -> tuple[Node, ...]:
        return (*self.outputs, *(node for _, node in self.writes))


@dataclass
class Segment:
    """One piece of compiled code, between two questions of Python."""

    guard: Node | None = None
    site: str = ""
    children: dict[bytes, Segment] = field(default_factory=dict)
    end: End | None = None
    members: set[Node] = field(default_factory=set)  # nodes that are computed here
    exports: dict[Node, None] = field(default_factory=dict)  # nodes that later segments use
    graph: Graph | None = None
    sources: tuple[Node, ...] = ()  # what the inputs of `graph` stand for
    results: tuple[Node, ...] = ()  # what its outputs stand for
    executable: executor.Executable | None = None
    names: Names = SAME  # what `graph` calls the layers of `executable`
    _donated: dict[Variable, tuple[Node, Node]] = field(default_factory=dict)  # root and new value

    @property
    def wanted(self) -> tuple[Node, ...]:
        """The guard, or what the path returns and assigns."""
        return self.end.wanted if self.end is not None else (self.guard,)  # type: ignore[return-value]

    def export(self, node: Node) -> None:
        """Make `node` a result; a segment that was compiled without it is compiled again when it runs next."""
        if node not in self.exports:
            self.exports[node] = None
            self.graph = self.executable = None

    def run(self, env: Env, name: str) -> None:
        """Compute this segment's results from the values in `env`."""
        if self.graph is None:
            self._compile(name)
        if self.executable is None:
            return
        for variable, (root, _) in self._donated.items():
            del env[root]  # `writable` copies what somebody else holds
            env[root] = variable.writable()
        inputs = [np.require(env[s], requirements="CA") for s in self.sources]
        targets = {write: env[root] for root, write in self._donated.values()}
        outputs = [
            targets[n] if n in targets else np.empty(n.type.shape, numpy_dtype(n.type.dtype)) for n in self.results
        ]
        with self.executable.lock:
            self.executable.owner = self
            self.executable.bind(inputs, outputs, names=self.names)
            try:
                self.executable.run(1)
            finally:
                self.executable.release()
        env.update(zip(self.results, outputs, strict=True))

    def _compile(self, name: str) -> None:
        self.results = tuple(n for n in dict.fromkeys((*self.wanted, *self.exports)) if n in self.members)
        self.graph, self.sources = cut(self.results, self.members, name)
        self._donated = {} if self.end is None or can_fail(self.graph) else self._in_place(self.end)
        places = {s: i for i, s in enumerate(self.sources)}
        aliases = {self.results.index(write): places[root] for root, write in self._donated.values()}
        if self.results:
            self.executable = executor.compile(self.graph, aliases)
            self.names = Names(self.executable.graph, self.graph)

    def _in_place(self, end: End) -> dict[Variable, tuple[Node, Node]]:
        """Variables whose new value can overwrite the old one: nobody asks for the old one afterwards."""
        found: dict[Variable, tuple[Node, Node]] = {}
        used = set(end.outputs)
        wanted = set(end.wanted)
        for variable, write in end.writes:
            root = end.reads.get(variable)
            if root in self.sources and root not in wanted and write in self.results and write not in used:
                found[variable] = (root, write)  # type: ignore[assignment]
                used.add(write)
        return found


def can_fail(graph: Graph) -> bool:
    """Whether a run may stop half-way, at an index out of range."""
    return any(
        node.attrs.get("mode") == "check" or node.op == "take_along_axis" or _holds_graph(node) for node in graph.nodes
    )


def _holds_graph(node: Node) -> bool:
    values = [v for value in node.attrs.values() for v in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(v, Graph) and can_fail(v) for v in values)


def cut(results: Sequence[Node], members: set[Node], name: str) -> tuple[Graph, tuple[Node, ...]]:
    """The graph that computes `results`, whose inputs stand for the nodes outside of `members` that it needs."""
    needed: set[Node] = set()
    stack = list(results)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            if node in members:
                stack.extend(node.inputs)
    builder, table, sources = Builder(), dict[Node, Node](), list[Node]()
    for node in sorted(needed, key=lambda n: n.id):
        if node in members:
            table[node] = builder.copy_node(node, [table[i] for i in node.inputs])
        else:
            table[node] = builder.input(node.type, node.attrs["name"] if node.op == "input" else f"live{node.id}")
            sources.append(node)
    return Graph([table[s] for s in sources], [table[r] for r in results], name), tuple(sources)


def commit(end: End, env: Env) -> list[np.ndarray]:
    """Store the new values of variables; returns the outputs. No array is left in two places."""
    taken: set[int] = {id(v._value) for v, _ in end.writes}
    taken.update(id(a) for n, a in env.items() if n.op == "input")

    def own(node: Node) -> np.ndarray:
        array = env[node]
        if id(array) in taken:
            return np.array(array, order="C")
        taken.add(id(array))
        return array

    writes = [(v, node) for v, node in end.writes if env[node] is not v._value]  # others were written in place
    values = [own(node) for _, node in writes]
    outputs = [own(node) for node in end.outputs]
    for (variable, _), value in zip(writes, values, strict=True):
        variable._value = value
    return outputs
