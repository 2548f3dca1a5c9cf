"""Nodes of the graph: frozen, typed, and told where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from graphkeras.ir.types import TensorType


class Origin(NamedTuple):
    """Where a node comes from: the layer's path, the user's source line, and the part of the step."""

    layer: str = ""
    file: str = ""
    line: int = 0
    phase: str = "forward"

    def __str__(self) -> str:
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.layer or '<no layer>'}{where}"


class Literal:
    """The value of a `const` node: an array that compares and hashes by dtype, shape and bytes."""

    __slots__ = ("_key", "array")

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.array(array, order="C")
        self.array.flags.writeable = False
        raw = self.array.tobytes()
        digest = raw if len(raw) <= 32 else hashlib.blake2b(raw, digest_size=16).digest()
        self._key = (self.array.dtype.name, self.array.shape, digest)

    @property
    def key(self) -> tuple[str, tuple[int, ...], bytes]:
        """Dtype, shape, and the bytes or, of many, their hash."""
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"Literal({self.array!r})"


NodeType = TensorType | tuple[TensorType, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One application of an op. `id` grows along every edge, so sorting by id is a topological order."""

    op: str
    inputs: tuple[Node, ...]
    attrs: Mapping[str, Any]
    type: Any  # TensorType, or a tuple of them for ops with several results (read through `item`)
    id: int
    origin: Origin = field(default=Origin())
    attrs_key: Any = None  # hashable form of attrs, made once: graphs are copied many times

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    def __repr__(self) -> str:
        args = ", ".join(f"%{i.id}" for i in self.inputs)
        return f"<%{self.id} = {self.op}({args}) : {self.type}>"


def attr_key(value: Any) -> Any:
    """A hashable stand-in that keeps apart what Python compares equal (1, 1.0, True; 0.0, -0.0)."""
    kind = type(value)
    if kind is int or kind is bool or kind is str or kind is Literal:
        return (kind.__name__, value)
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, tuple):
        return tuple([attr_key(v) for v in value])
    return (kind.__name__, value)


def attrs_key(attrs: Mapping[str, Any]) -> Any:
    """Hashable form of all attributes, names in order."""
    if not attrs:
        return ()
    items = attrs.items() if len(attrs) == 1 else sorted(attrs.items())
    return tuple([(k, attr_key(v)) for k, v in items])


def scalar_value(node: Node) -> Any:
    """The Python number of a rank-0 (or one-value splat) constant, else None."""
    if node.op == "const":
        array = node.attrs["value"].array
        if array.size == 1:
            return array.reshape(()).item()
    if node.op == "broadcast_to":
        return scalar_value(node.inputs[0])
    return None
