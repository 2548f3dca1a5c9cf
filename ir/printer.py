"""Graphs as text: stable, readable, and read back by `parser.parse`.

    graph "step" (%0, %1) {
      %0 = input("x") : float32[2,3]
      %1 = input("y") : float32[3]
      %2 = const(2.0) : float32[]
      %3 = mul(%0, %2) : float32[2,3]  # dense/scale (model.py:12)
      %4 = reduce_sum(%3, axes=(0,), keepdims=False) : float32[3]
      return %4
    }

Numbers follow the order of the nodes. Constants of more than INLINE elements are written as their hash and kept in a
side table. Bodies of control flow are written where they are first met and given a number, `&0`; `extends` names the
body whose results a body begins with (what a gradient makes of a loop).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Literal, Node, Origin
from graphkeras.ir.types import is_float, numpy_dtype

INLINE = 16  # elements


def to_text(graph: Graph, constants: MutableMapping[str, np.ndarray] | None = None) -> str:
    """The graph as text; `constants` (hash -> array) receives the arrays that are too large to be written inline.

    Raises TypeError where an attribute has no text form.

        >>> from graphkeras.ir.graph import Builder, Graph
        >>> from graphkeras.ir.types import TensorType
        >>> b = Builder()
        >>> x = b.input(TensorType((2,), "float32"), "x")
        >>> print(to_text(Graph([x], [b.exp(x)], "g")))
        graph "g" (%0) {
          %0 = input("x") : float32[2]
          %1 = exp(%0) : float32[2]
          return %1
        }
    """
    return "\n".join(_Printer({} if constants is None else constants).graph(graph))


def equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs are the same but for the ids of nodes and their origins."""
    return _bare(a) == _bare(b)


def _bare(graph: Graph) -> str:
    return "\n".join(_Printer({}, origins=False).graph(graph))


class _Printer:
    def __init__(self, constants: MutableMapping[str, np.ndarray], origins: bool = True) -> None:
        self.constants = constants
        self.origins = origins
        self.numbers: dict[Graph, int] = {}

    def graph(self, graph: Graph, head: str = "graph") -> Iterator[str]:
        position = {n: f"%{k}" for k, n in enumerate(graph.nodes)}
        yield f"{head} {json.dumps(graph.name)} ({', '.join(position[n] for n in graph.inputs)}) {{"
        for node in graph.nodes:
            yield from ("  " + line for line in self._node(node, position))
        yield f"  return {', '.join(position[n] for n in graph.outputs)}"
        yield "}"

    def _node(self, node: Node, position: dict[Node, str]) -> list[str]:
        if node.op == "input":
            parts = [json.dumps(node.attrs["name"])]
        elif node.op == "const":
            parts = [self._constant(node.attrs["value"])]
        else:
            parts = [position[i] for i in node.inputs]
            parts += [f"{k}={self._value(v)}" for k, v in sorted(node.attrs.items())]
        type = f"({', '.join(map(str, node.type))})" if isinstance(node.type, tuple) else str(node.type)
        text = f"{position[node]} = {node.op}({', '.join(parts)}) : {type}"
        if self.origins and node.origin != Origin():
            text += f"  # {origin_text(node.origin)}"
        return text.split("\n")

    def _constant(self, literal: Literal) -> str:
        array = literal.array
        if array.size > INLINE:
            key = hashlib.blake2b(f"{array.dtype}{array.shape}".encode() + array.tobytes(), digest_size=8).hexdigest()
            self.constants[key] = array
            return f"@{key}"
        if not array.shape:
            return element_text(array[()])
        return f"[{', '.join(element_text(v) for v in array.ravel())}]"

    def _value(self, value: Any) -> str:
        if isinstance(value, Graph):
            return self._body(value)
        if isinstance(value, Literal):
            return self._constant(value)
        if isinstance(value, tuple):
            inner = ", ".join(self._value(v) for v in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, str):
            return json.dumps(value)
        if value is None or isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
            return element_text(value)
        raise TypeError(f"an attribute of type {type(value).__name__} has no text form: {value!r}")

    def _body(self, graph: Graph) -> str:
        if graph in self.numbers:
            return f"&{self.numbers[graph]}"
        primal = f" extends {self._body(graph.primal)}" if graph.primal is not None else ""
        number = self.numbers[graph] = len(self.numbers)
        return "\n".join(self.graph(graph, f"graph &{number}{primal}"))


def element_text(value: Any) -> str:
    """A number so that reading it gives the same bits (payloads of NaNs aside)."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (complex, np.complexfloating)):
        return f"complex({float(value.real)!r}, {float(value.imag)!r})"
    assert isinstance(value, float) or is_float(np.asarray(value).dtype.name), value
    return repr(float(value))


def origin_text(origin: Origin) -> str:
    """Origin as the printer's comment: layer, (file:line), [phase] unless it is the forward pass."""
    phase = f" [{origin.phase}]" if origin.phase != "forward" else ""
    return f"{origin}{phase}"


def save_constants(path: Path, constants: Mapping[str, np.ndarray]) -> None:
    """Write the side table as .npz; arrays go as bytes, so that every dtype is possible."""
    named = {f"{k}|{a.dtype.name}|{'x'.join(map(str, a.shape))}": a.reshape(-1) for k, a in constants.items()}
    arrays: dict[str, Any] = {k: np.frombuffer(a.tobytes(), np.uint8) for k, a in named.items()}
    np.savez_compressed(path, **arrays)


def load_constants(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_constants` wrote."""
    found = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            key, dtype, shape = name.split("|")
            array = np.frombuffer(file[name].tobytes(), numpy_dtype(dtype))
            found[key] = array.reshape([int(n) for n in shape.split("x") if n])
    return found
