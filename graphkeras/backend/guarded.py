"""A trace with values: where Python asks for one, it is computed, noted as a guard, and the trace goes on.

The traces of all paths through one function share a builder, and building is hash consing: what two paths have in
common is the same nodes. So a tree of paths (`paths.py`) can be cut into segments without comparing graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.backend.structure import structure
from graphkeras.core.errors import user_place
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace, check_single
from graphkeras.core.variable import Variable
from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.interpreter import apply_reference
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType, is_inexact


class PathChanged(BaseException):
    """The same values led Python another way than before: it looked at something that is not a tensor.

    No Exception, so that no handler in traced code stops it.
    """


class ValuesUsed(BaseException):
    """Python asked for a value that is no decision: a float, an array."""


class StateGrown(PathChanged):
    """Tracing a path has made new variables that other paths must know."""


@dataclass(frozen=True)
class Guard:
    """A value that Python asked for: its node, the answer, and the user's line."""

    node: Node
    value: np.ndarray
    site: str


class SharedBuilder(Builder):
    """A builder that also merges equal bodies of loops and branches."""

    def __init__(self) -> None:
        super().__init__()
        self._bodies: dict[Any, Graph] = {}

    def emit(self, op: str, *inputs: Any, **attrs: Any) -> Node:
        return super().emit(op, *inputs, **{k: self._shared(v) for k, v in attrs.items()})

    def _shared(self, value: Any) -> Any:
        if isinstance(value, Graph):
            return self._bodies.setdefault(structure(value), value)
        if isinstance(value, tuple) and any(isinstance(v, Graph) for v in value):
            return tuple(self._shared(v) for v in value)
        return value


class Roots:
    """The inputs that all paths share: explicit ones in order, and variables."""

    def __init__(self) -> None:
        self.builder = SharedBuilder()
        self.inputs: list[Node] = []
        self.variables: dict[Variable, Node] = {}

    def input(self, index: int, type: TensorType, name: str) -> Node:
        if index == len(self.inputs):
            self.inputs.append(self.builder.input(type, name))
        return self.inputs[index]

    def variable(self, variable: Variable) -> Node:
        if variable not in self.variables:
            type = TensorType(tuple(variable.shape), variable._dtype)
            self.variables[variable] = self.builder.input(type, variable.path)
        return self.variables[variable]


class GuardedTrace(Trace):
    """Records one path.

    Args:
        roots: what all paths share.
        arrays: values of the explicit inputs.
        values: values of other nodes that are known already.
        answers: the guards of the path so far, as a compiled run found them; what is asked after them is computed with
            the NumPy references.
    """

    def __init__(
        self,
        roots: Roots,
        arrays: Sequence[np.ndarray],
        values: Mapping[Node, np.ndarray],
        answers: Sequence[tuple[Node, np.ndarray]],
    ) -> None:
        super().__init__()
        self.roots, self.builder = roots, roots.builder
        self.known: dict[Node, Any] = dict(values)
        self.arrays, self.answers = arrays, answers
        self.guards: list[Guard] = []
        self._given: dict[Node, np.ndarray] = {}

    def input(self, type: TensorType, name: str = "") -> Tensor:
        index = len(self.inputs)
        node = self.roots.input(index, type, name or f"arg{index}")
        self.known[node] = self.arrays[index]
        self.inputs.append(node)
        return Tensor(node, self)

    def read(self, variable: Variable) -> Tensor:
        if variable not in self.values:
            node = self.roots.variable(variable)
            self.known.setdefault(node, variable._value)
            self.reads[variable] = node
            self.values[variable] = Tensor(node, self)
        return self.values[variable]

    def concrete_value(self, tensor: Tensor) -> np.ndarray:
        self.check_live(tensor)
        node = _unwatched(tensor.data)  # type: ignore[arg-type]
        constant = all(n.op != "input" for n in reachable([node]))
        variable = node.op == "input" and node not in self.inputs  # a setting, which seldom changes
        if constant or variable or (tensor.size == 1 and not is_inexact(node.dtype)):
            return self._answer(node).copy()
        raise ValuesUsed

    def text(self, tensor: Tensor) -> str:
        if self.ended:
            return repr(tensor)
        raise ValuesUsed  # it has to be shown in every call

    def concrete_bool(self, tensor: Tensor) -> bool:
        check_single(tensor)
        self.check_live(tensor)
        node = _unwatched(tensor.data)  # type: ignore[arg-type]
        if node.dtype != "bool":
            node = self.builder.emit("ne", node, self.builder.const(0, node.dtype))
        return bool(self._answer(node))

    def concrete_int(self, tensor: Tensor) -> int:
        self.check_live(tensor)
        node = _unwatched(tensor.data)  # type: ignore[arg-type]
        if node.dtype.startswith(("float", "bfloat")):  # 2.3 and 2.7 are one path
            node = self.builder.emit("trunc", node)
        return int(self._answer(node))

    def _answer(self, node: Node) -> np.ndarray:
        if node in self._given:
            return self._given[node]
        if all(n.op != "input" for n in reachable([node])):  # known without a run
            return self._evaluate(node)
        number = len(self.guards)
        if number < len(self.answers):
            asked, value = self.answers[number]
            if asked is not node:
                raise PathChanged
        else:
            value = self._evaluate(node)
        self.guards.append(Guard(node, value, "{}:{}".format(*user_place())))
        self._given[node] = self.known[node] = value
        return value

    def _evaluate(self, node: Node) -> np.ndarray:
        known = self.known
        if node not in known:
            for n in sorted(reachable([node], stop=set(known)), key=lambda n: n.id):
                if n not in known:
                    known[n] = apply_reference(n, [known[i] for i in n.inputs])
        return known[node]


def _unwatched(node: Node) -> Node:
    """The value itself, which is the same for all tapes."""
    while node.op == "watched":
        node = node.inputs[0]
    return node
