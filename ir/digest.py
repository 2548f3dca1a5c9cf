"""A graph's digest: equal for graphs that compute the same in the same way, in this process or another one.

Names of inputs, layers and lines are not part of it; the phases of the step are, as passes look at them.
"""

from __future__ import annotations

import hashlib
from typing import Any

from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Literal
from graphkeras.ir.types import TensorType


class NoDigest(TypeError):
    """An attribute is an object that only this process knows, such as a function."""


def digest(graph: Graph) -> bytes:
    """32 bytes. Raises NoDigest where an attribute is neither a number, text, array, graph nor a tuple of them."""
    return hashlib.blake2b(_text(graph).encode(), digest_size=32).digest()


def _text(graph: Graph) -> str:
    position = {node: str(i) for i, node in enumerate(graph.nodes)}
    types: dict[int, str] = {}  # by identity: passes and shape rules share most of them
    lines = []
    for node in graph.nodes:
        kind = types.get(id(node.type))
        if kind is None:
            kind = types[id(node.type)] = _value(node.type)
        attrs = "" if node.op == "input" or not node.attrs else _attrs(node.attrs)
        inputs = ",".join([position[i] for i in node.inputs])
        lines.append(f"{node.op}({inputs}){attrs}:{kind}@{node.origin.phase}")
    lines.append(">".join(",".join([position[n] for n in ends]) for ends in (graph.inputs, graph.outputs)))
    return "\n".join(lines)


def _attrs(attrs: Any) -> str:
    items = attrs.items() if len(attrs) == 1 else sorted(attrs.items())
    return "{" + ";".join([f"{k}={_value(v)}" for k, v in items]) + "}"


def _value(value: Any) -> str:
    """Text that tells apart what Python compares equal (1, 1.0, True; 0.0, -0.0)."""
    kind = type(value)
    if kind is int or kind is bool or kind is str or value is None:
        return repr(value)
    if kind is tuple or kind is list:
        return "(" + ",".join([_value(v) for v in value]) + ",)"
    if kind is TensorType:
        return f"{value.dtype}{value.shape}"
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, complex):
        return f"{value.real.hex()}+{value.imag.hex()}j"
    if isinstance(value, Literal):
        return f"literal{value.key}"
    if isinstance(value, Graph):
        return f"[{_text(value)}]"
    raise NoDigest(f"{kind.__name__} in an attribute")
