"""The graph and its builder.

The builder interns: emitting the same op on the same inputs with the same attributes gives the same node, so
common subexpressions merge as they are built. Nodes point at their inputs and ids grow along every edge; a
Graph is a set of outputs over such nodes and offers its networkx form for algorithms that want one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graphkeras.ir.node import Literal, Node, Origin, attrs_key
from graphkeras.ir.op import get_op
from graphkeras.ir.types import TensorType, numpy_dtype

if TYPE_CHECKING:
    import networkx

NumberLike = bool | int | float | complex


class Builder:
    """Creates interned nodes; `b.add(x, y)` is `b.emit("add", x, y)`."""

    def __init__(self) -> None:
        self._table: dict[Any, Node] = {}
        self._next = 0
        self._origin = Origin()

    # -- sources -----------------------------------------------------------------------------------
    def input(self, type: TensorType, name: str) -> Node:
        """A new graph input; never merged with another one."""
        return self._new("input", (), {"name": name}, type)

    def const(self, value: Any, dtype: str | None = None) -> Node:
        """A constant from a number or an array."""
        array = np.asarray(value) if dtype is None else np.asarray(value).astype(numpy_dtype(dtype))
        return self.emit("const", value=Literal(array))

    def full(self, shape: Sequence[int], value: NumberLike, dtype: str) -> Node:
        """One value in every place; a broadcast scalar, so it costs nothing."""
        return self.emit("broadcast_to", self.const(value, dtype), shape=tuple(shape))

    def full_like(self, node: Node, value: NumberLike) -> Node:
        return self.full(node.shape, value, node.dtype)

    # -- ops ---------------------------------------------------------------------------------------
    def emit(self, op: str, *inputs: Node | NumberLike, **attrs: Any) -> Node:
        """Apply `op`; Python numbers become constants of the first non-bool input's dtype."""
        nodes = self._coerce(op, inputs)
        attrs_id = attrs_key(attrs)
        key = (op, attrs_id, *[n.id for n in nodes])
        found = self._table.get(key)
        if found is not None:
            return found
        type = get_op(op).infer(*[n.type for n in nodes], **attrs)
        node = self._table[key] = self._new(op, nodes, attrs, type, attrs_id)
        return node

    def item(self, node: Node, index: int) -> Node:
        """One result of an op with several results."""
        return self.emit("item", node, index=index)

    def __getattr__(self, op: str) -> Callable[..., Node]:
        if op.startswith("_"):
            raise AttributeError(op)
        get_op(op)
        return lambda *inputs, **attrs: self.emit(op, *inputs, **attrs)

    # -- origin ------------------------------------------------------------------------------------
    def origin(self, origin: Origin) -> _OriginScope:
        """Nodes created inside carry this origin."""
        return _OriginScope(self, origin)

    @property
    def current_origin(self) -> Origin:
        return self._origin

    def begin_in(self, origin: Origin) -> None:
        """Nodes carry this origin where no other scope is open: a body belongs where its loop does."""
        self._origin = origin

    # -- inlining ----------------------------------------------------------------------------------
    def inline(self, graph: Graph, args: Sequence[Node]) -> list[Node]:
        """Emit a graph's nodes here, its inputs replaced by `args`; returns its outputs."""
        if len(args) != len(graph.inputs):
            raise ValueError(f"graph {graph.name!r} takes {len(graph.inputs)} inputs, received {len(args)}")
        table = dict(zip(graph.inputs, args, strict=True))
        self.copy_into(graph.nodes, table)
        return [table[o] for o in graph.outputs]

    def copy_into(self, nodes: Sequence[Node], table: dict[Node, Node]) -> None:
        """Re-emit `nodes` (topological order) through `table`, which is extended."""
        for node in nodes:
            if node not in table:
                table[node] = self.copy_node(node, [table[i] for i in node.inputs])

    def copy_node(self, node: Node, inputs: Sequence[Node]) -> Node:
        """The same op on other inputs, keeping the origin."""
        if node.op == "input":
            type = node.type
        else:
            key = (node.op, node.attrs_key, *[n.id for n in inputs])
            found = self._table.get(key)
            if found is not None:
                return found
            if any(a.type is not b.type and a.type != b.type for a, b in zip(inputs, node.inputs, strict=True)):
                with self.origin(node.origin):
                    return self.emit(node.op, *inputs, **node.attrs)
            type = node.type  # the shape rule has said it already
        made = Node(node.op, tuple(inputs), node.attrs, type, self._next, node.origin, node.attrs_key)
        self._next += 1
        if node.op != "input":
            self._table[key] = made
        return made

    # -- helpers -----------------------------------------------------------------------------------
    def _new(self, op: str, inputs: tuple[Node, ...], attrs: Mapping[str, Any], type: Any, key: Any = None) -> Node:
        node = Node(op, inputs, dict(attrs), type, self._next, self._origin, key)
        self._next += 1
        return node

    def _coerce(self, op: str, inputs: tuple[Node | NumberLike, ...]) -> tuple[Node, ...]:
        for i in inputs:
            if not isinstance(i, Node):
                break
        else:
            return inputs  # type: ignore[return-value]
        dtypes = [i.dtype for i in inputs if isinstance(i, Node)]
        if not dtypes:
            raise TypeError(f"op {op!r} was given numbers only; wrap one in Builder.const to say the dtype")
        dtype = next((d for d in dtypes if d != "bool"), "bool")
        return tuple(i if isinstance(i, Node) else self.const(i, dtype) for i in inputs)


class _OriginScope:
    """A builder's origin for a while; entered for each rewritten node, so it is kept light."""

    __slots__ = ("_builder", "_origin")

    def __init__(self, builder: Builder, origin: Origin) -> None:
        self._builder, self._origin = builder, origin

    def __enter__(self) -> None:
        self._origin, self._builder._origin = self._builder._origin, self._origin

    def __exit__(self, *_: object) -> None:
        self._builder._origin = self._origin


class Graph:
    """Inputs, outputs, and all nodes between them in topological order. Immutable."""

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node], name: str = "graph") -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.name = name
        self.primal: Graph | None = None  # the loop body that this one extends: same first inputs and outputs, and more

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node that an output needs, and every input, inputs before users."""
        return tuple(sorted(reachable(self.outputs) | set(self.inputs), key=lambda n: n.id))

    @cached_property
    def users(self) -> dict[Node, tuple[Node, ...]]:
        """For each node the nodes that read it (each once per distinct user)."""
        found: dict[Node, list[Node]] = {n: [] for n in self.nodes}
        for node in self.nodes:
            for i in dict.fromkeys(node.inputs):
                found[i].append(node)
        return {n: tuple(u) for n, u in found.items()}

    def to_networkx(self) -> networkx.DiGraph:
        """The DAG with nodes as keys, for min-cut, colouring, drawing."""
        import networkx

        graph = networkx.DiGraph(name=self.name)
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from((i, n) for n in self.nodes for i in n.inputs)
        return graph

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.inputs)} in, {len(self.nodes)} nodes, {len(self.outputs)} out>"


def reachable(outputs: Sequence[Node], stop: set[Node] | None = None) -> set[Node]:
    """All nodes that `outputs` depend on, themselves included; the walk does not go below `stop`."""
    seen: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if stop is None or node not in stop:
            stack.extend(node.inputs)
    return seen


def count(shape: Sequence[int]) -> int:
    """Number of elements."""
    return math.prod(shape)
