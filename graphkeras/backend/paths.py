"""Functions whose Python code depends on values, as a tree of compiled segments.

A segment computes what its guard asks for and what later segments need; the guard's value says which segment is next;
the last one of a path computes results and new values of variables, which are stored when everything has succeeded.
A path that has not been seen is traced (`guarded.py`) and added to the tree.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkeras.backend import executor
from graphkeras.backend.guarded import Guard, GuardedTrace, PathChanged, Roots, StateGrown
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import eager, origin
from graphkeras.core.variable import Variable
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_inexact, numpy_dtype

MAX_PATHS = 64
MAX_EXACT = 8  # values of one float, or of one array, each of which has a path of its own
MAX_TRACES = 16  # in one call
MAX_CHANGES = 4

# Computed again where they are used: cheaper than keeping them.
CHEAP = frozenset(("const", "broadcast_to", "iota", "reshape", "transpose"))

Env = dict[Node, np.ndarray]


@dataclass
class Recorded:
    """What the traced function returned: tensors, and anything else that describes them."""

    outputs: Sequence[Tensor]
    payload: Any = None


@dataclass
class End:
    """The end of a path."""

    outputs: tuple[Node, ...]
    writes: tuple[tuple[Variable, Node], ...]
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
        inputs = [np.require(env[s], requirements="CA") for s in self.sources]
        outputs = [np.empty(n.type.shape, numpy_dtype(n.type.dtype)) for n in self.results]
        with self.executable.lock:
            self.executable.owner = self
            self.executable.bind(inputs, outputs)
            try:
                self.executable.run(1)
            finally:
                self.executable.release()
        env.update(zip(self.results, outputs, strict=True))

    def _compile(self, name: str) -> None:
        wanted = (self.guard,) if self.end is None else self.end.wanted
        self.results = tuple(n for n in dict.fromkeys((*wanted, *self.exports)) if n in self.members)  # type: ignore[misc]
        self.graph, self.sources = cut(self.results, self.members, name)
        self.executable = executor.compile(self.graph) if self.results else None


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


class PathTree:
    """All paths seen so far of one function for inputs of given shapes.

    Args:
        name: for messages and graphs.
        record: traces the function: makes its inputs with `trace.input`, in the order of the arrays of `run`.
    """

    def __init__(self, name: str, record: Callable[[GuardedTrace], Recorded]) -> None:
        self.name, self.record = name, record
        self.paths = 0
        self.traces = 0
        self._changes = 0
        self._warned: set[str] = set()
        self._lock = threading.RLock()
        self.forget()

    def forget(self) -> None:
        """Drop all paths."""
        self.roots = Roots()
        self.root: Segment | None = None
        self.paths = 0

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray]] | None:
        """Run the path that the values lead to, traced first if it is new.

        Returns:
            payload and arrays of the outputs. None: there are too many paths; variables are untouched then, and the
            caller runs the function without compiling.
        """
        with self._lock:
            for _ in range(MAX_TRACES):
                env, answers, last = self._walk(arrays)
                if last is not None and last.end is not None:
                    return last.end.payload, _commit(last.end, env)
                if self._is_full(last):
                    return None
                self._add(arrays, env, answers)
            return None

    def _walk(self, arrays: Sequence[np.ndarray]) -> tuple[Env, list[tuple[Node, np.ndarray]], Segment | None]:
        """Run segments until the path ends, or leads where nobody has been."""
        env: Env = {v: k._value for k, v in self.roots.variables.items()}
        env.update(zip(self.roots.inputs, arrays, strict=False))
        answers: list[tuple[Node, np.ndarray]] = []
        last, segment = None, self.root
        while segment is not None:
            segment.run(env, self.name)
            last = segment
            if segment.guard is None:
                break
            value = env[segment.guard]
            answers.append((segment.guard, value))
            segment = segment.children.get(value.tobytes())
        return env, answers, last

    def _is_full(self, last: Segment | None) -> bool:
        if self._changes > MAX_CHANGES:
            self._warn(f"{self.name} takes different ways for equal values: it depends on state outside of tensors", "")
            return True
        if last is None or last.guard is None:
            return False
        exact = is_inexact(last.guard.dtype) or len(last.guard.shape) > 0
        if exact and len(last.children) >= MAX_EXACT:
            text = f"{self.name} has used {len(last.children)} different values of one tensor in Python"
            self._warn(f"{text}, which makes each of them a path of its own", last.site)
            return True
        if self.paths >= MAX_PATHS:
            self._warn(f"{self.name} has taken {self.paths} different paths", last.site)
            return True
        return False

    def _warn(self, text: str, site: str) -> None:
        if site in self._warned:
            return
        self._warned.add(site)
        warnings.warn(
            f"{text}{f', in {site}' if site else ''}. Further paths run without compiling, which is slow. Compare "
            "tensors (`if loss < limit:` rather than `if float(loss) < limit:`), or decide in the graph with "
            "ops.where, ops.cond or ops.while_loop.",
            stacklevel=2,
        )

    def segments(self) -> Iterator[Segment]:
        """All segments, each before those that follow it."""
        waiting = [] if self.root is None else [self.root]
        while waiting:
            segment = waiting.pop(0)
            yield segment
            waiting += segment.children.values()

    # -- growing -----------------------------------------------------------------------------------
    def _add(self, arrays: Sequence[np.ndarray], env: Env, answers: Sequence[tuple[Node, np.ndarray]]) -> None:
        """Trace the path that begins with these answers and add it."""
        self.traces += 1
        trace = GuardedTrace(self.roots, arrays, env, answers)
        try:
            with eager(), trace, origin(phase="forward"):
                recorded = self.record(trace)
                end = End(
                    tuple(trace.lift(t) for t in recorded.outputs),
                    tuple((v, trace.lift(t)) for v, t in trace.writes.items()),
                    recorded.payload,
                )
            if len(trace.guards) < len(answers):
                raise PathChanged
            path = self._path(trace.guards)
        except PathChanged as change:  # begin anew
            self._changes += not isinstance(change, StateGrown)
            self.forget()
            return
        if path[-1].end is not None:
            return
        path[-1].end = end
        self.paths += 1
        _divide(path)

    def _path(self, guards: Sequence[Guard]) -> list[Segment]:
        """The segments of a path, made where there are none yet."""
        if self.root is None:
            self.root = Segment()
        path = [self.root]
        for guard in guards:
            segment = path[-1]
            if segment.end is not None or segment.guard not in (None, guard.node):
                raise PathChanged
            segment.guard, segment.site = guard.node, segment.site or guard.site
            path.append(segment.children.setdefault(guard.value.tobytes(), Segment()))
        if path[-1].guard is not None:
            raise PathChanged
        return path


def _divide(path: Sequence[Segment]) -> None:
    """Say for each node of a path which segment computes it, and which values pass from one segment to a later one.

    A node belongs to the first segment that needs it; what an earlier guard needs does not depend on what comes after
    it, so segments that several paths share agree.
    """
    owner: dict[Node, Segment] = {}
    for segment in path:
        wanted = (segment.guard,) if segment.end is None else segment.end.wanted
        for node in _new_nodes(wanted, owner):  # type: ignore[arg-type]
            if node.op in CHEAP:
                segment.members.add(node)
                continue
            owner[node] = (owner.get(node.inputs[0]) if node.op == "item" else None) or segment
            owner[node].members.add(node)
    for segment in path:
        wanted = (segment.guard,) if segment.end is None else segment.end.wanted
        used = [i for n in segment.members if owner.get(n, segment) is segment for i in n.inputs]
        for node in (*used, *wanted):  # type: ignore[misc]
            home = owner.get(node)  # type: ignore[arg-type]
            if home is not None and home is not segment:
                home.export(node)  # type: ignore[arg-type]
                segment.members.discard(node)  # type: ignore[arg-type]


def _new_nodes(wanted: Iterable[Node], owner: dict[Node, Segment]) -> list[Node]:
    """Nodes below `wanted` that no segment computes yet, inputs before users."""
    seen: set[Node] = set()
    stack = list(wanted)
    while stack:
        node = stack.pop()
        if node not in seen and node not in owner and node.op != "input":
            seen.add(node)
            stack.extend(node.inputs)
    return sorted(seen, key=lambda n: n.id)


def _commit(end: End, env: Env) -> list[np.ndarray]:
    """Store the new values of variables; returns the outputs. No array is left in two places."""
    taken: set[int] = {id(v._value) for v, _ in end.writes}
    taken.update(id(a) for n, a in env.items() if n.op == "input")

    def own(node: Node) -> np.ndarray:
        array = env[node]
        if id(array) in taken:
            return np.array(array, order="C")
        taken.add(id(array))
        return array

    values = [own(node) for _, node in end.writes]
    outputs = [own(node) for node in end.outputs]
    for (variable, _), value in zip(end.writes, values, strict=True):
        variable._value = value
    return outputs
