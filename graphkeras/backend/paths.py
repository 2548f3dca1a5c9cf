"""Functions whose Python code depends on values, as a tree of compiled segments.

A segment computes what its guard asks for and what later segments need; the guard's value says which segment is next;
the last one of a path computes results and new values of variables, which are stored when everything has succeeded.
A path that has not been seen is traced (`guarded.py`) and added to the tree. Where Python uses floats or arrays, or
there are too many paths, it runs in each call (`interactive.py`).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.backend.executor import Executable, Piece
from graphkeras.backend.guarded import Guard, GuardedTrace, PathChanged, Roots, StateGrown, ValuesUsed
from graphkeras.backend.interactive import Constants, InteractiveTrace
from graphkeras.backend.segments import End, Env, Segment, commit
from graphkeras.backend.structure import Names
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace, eager, origin
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_inexact, numpy_dtype

MAX_PATHS = 64
MAX_SETTINGS = 4  # values of one variable of floats
MAX_TRACES = 16  # in one call
MAX_CHANGES = 4

# Computed again where they are used: cheaper than keeping them.
CHEAP = frozenset(("const", "broadcast_to", "iota", "reshape", "transpose", "watched"))


@dataclass
class Recorded:
    """What the traced function returned: tensors, and anything else that describes them."""

    outputs: Sequence[Tensor]
    payload: Any = None


class PathTree:
    """All paths seen so far of one function for inputs of given shapes.

    Args:
        name: for messages and graphs.
        record: traces the function: makes its inputs with `trace.input`, in the order of the arrays of `run`.
    """

    def __init__(self, name: str, record: Callable[[Any], Recorded]) -> None:
        self.name, self.record = name, record
        self.paths = 0
        self.traces = 0
        self.interactive = False  # Python code uses values: it has to run in each call
        self._constants = Constants()
        self._latest: Sequence[tuple[Executable | None, Names]] = ()  # of the last call in which Python ran
        self._changes = 0
        self._warned: set[str] = set()
        self._lock = threading.RLock()
        self.forget()

    def forget(self) -> None:
        """Drop all paths."""
        self.roots = Roots()
        self.root: Segment | None = None
        self.paths = 0

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        """Run the path that the values lead to, traced first if it is new; returns payload and outputs."""
        with self._lock:
            for _ in range(MAX_TRACES):
                if self.interactive:
                    break
                env, answers, last = self._walk(arrays)
                if last is not None and last.end is not None:
                    return last.end.payload, commit(last.end, env)
                if self._is_full(last):
                    break
                self._add(arrays, env, answers)
            return self._run_interactively(arrays)

    def _run_interactively(self, arrays: Sequence[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        """Let Python run, and compute what it asks for."""
        while True:
            trace = InteractiveTrace(self.name, arrays, self._constants)
            try:
                with eager(), trace, origin(phase="forward"):
                    end = self._end(trace)
            except StateGrown:
                continue
            trace.compute(Segment(end=end))
            self._latest = trace.computed
            return end.payload, commit(end, trace.env)

    def _end(self, trace: Trace) -> End:
        recorded = self.record(trace)
        return End(
            tuple(trace.lift(t) for t in recorded.outputs),
            tuple((v, trace.lift(t)) for v, t in trace.writes.items()),
            trace.reads,
            recorded.payload,
        )

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
        setting = last.guard.op == "input" and is_inexact(last.guard.dtype)
        if setting and len(last.children) >= MAX_SETTINGS:
            self.interactive = True
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
            f"{text}{f', in {site}' if site else ''}. Further ones are compiled piece by piece while Python runs, "
            "which is slower. To decide for each sample, or often, use ops.where, ops.cond or ops.while_loop.",
            stacklevel=3,
        )

    def segments(self) -> Iterator[Segment]:
        """All segments, each before those that follow it."""
        waiting = [] if self.root is None else [self.root]
        while waiting:
            segment = waiting.pop(0)
            yield segment
            waiting += segment.children.values()

    def pieces(self) -> list[Piece]:
        """What has been compiled: segments, each before its branches; then the parts of the last call of Python."""
        found: list[Piece] = []

        def walk(segment: Segment, after: str) -> None:
            where = "up to a decision in " + _short(segment.site) if segment.guard is not None else "to the end"
            if segment.executable is not None:
                found.append(Piece(f"segment {len(found) + 1}, {after}, {where}", segment.executable, segment.names))
            for value, child in segment.children.items():
                assert segment.guard is not None
                walk(child, f"after {_short(segment.site)} gave {_value(segment.guard, value)}")

        if self.root is not None:
            walk(self.root, "from the start")
        for number, (executable, names) in enumerate(self._latest):
            if executable is not None:
                title = f"part {number + 1} of the last call, which handed values to Python"
                found.append(Piece(title, executable, names))
        return found

    # -- growing -----------------------------------------------------------------------------------
    def _add(self, arrays: Sequence[np.ndarray], env: Env, answers: Sequence[tuple[Node, np.ndarray]]) -> None:
        """Trace the path that begins with these answers and add it."""
        self.traces += 1
        trace = GuardedTrace(self.roots, arrays, env, answers)
        try:
            with eager(), trace, origin(phase="forward"):
                end = self._end(trace)
            if len(trace.guards) < len(answers):
                raise PathChanged
            path = self._path(trace.guards)
        except ValuesUsed:
            self.interactive = True
            return
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


def _short(site: str) -> str:
    return site.replace("\\", "/").rsplit("/", 1)[-1]


def _value(guard: Node, raw: bytes) -> str:
    """An answer in words."""
    value = np.frombuffer(raw, numpy_dtype(guard.dtype)).reshape(guard.shape)
    return str(value.item()) if value.size == 1 else f"an array like {value.ravel()[:3].tolist()}"


def _divide(path: Sequence[Segment]) -> None:
    """Say for each node of a path which segment computes it, and which values pass from one segment to a later one.

    A node belongs to the first segment that needs it; what an earlier guard needs does not depend on what comes after
    it, so segments that several paths share agree.
    """
    owner: dict[Node, Segment] = {}
    for segment in path:
        for node in _new_nodes(segment.wanted, owner):
            if node.op in CHEAP:
                segment.members.add(node)
                continue
            owner[node] = (owner.get(node.inputs[0]) if node.op == "item" else None) or segment
            owner[node].members.add(node)
    for segment in path:
        used = [i for n in segment.members if owner.get(n, segment) is segment for i in n.inputs]
        for node in (*used, *segment.wanted):
            home = owner.get(node)
            if home is not None and home is not segment:
                home.export(node)


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
