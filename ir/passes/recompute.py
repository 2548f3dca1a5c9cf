"""Recompute or store: what the backward pass reads of the forward pass is kept, or computed again from what is kept.

A value that is computed early (in the forward pass) and read late (in the backward pass) lies in memory through the
turning point of the step, where memory is at its peak. Chains of cheap pointwise ops need not: a minimum cut through
the graph of early values decides which are kept, at a price of their bytes, and which are computed again inside the
kernels that read them, at a price of their arithmetic. What is computed again reads the kept values through `barrier`,
which says not before which value of the backward pass that is: so it neither merges with the first computation nor
moves back to it. The same ops run on the same numbers, but a product may melt into a sum in one kernel and not in the
other: the last bit may differ. So values compared for equality (with their maximum, for its gradient) are kept.

Early and late: the level of a value is the longest chain of ops with kernels of their own (products, reductions ...)
that leads to it; late is what depends on a value of the level at which the forward pass ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras.ir.graph import Builder, Graph, reachable
from graphkeras.ir.min_cut import late_side
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.op import Kind, get_op

CHEAP = frozenset(
    "add sub mul neg abs maximum minimum select cast relu eq ne lt le gt ge and or not xor sign floor ceil round "
    "isnan isinf isfinite shl shr stop_gradient".split()
)
MODERATE = frozenset("div sqrt rsqrt rem mod floor_div".split())
PRICES = (0.2, 1.0, 8.0, 0.6)
"""Of one cheap, moderate, other (exp, erf, tanh ...) op or random word for one element, in bytes as dear to keep.

A random word takes longer than a moderate op, but masks of one byte are to be drawn again where they are a part of
the memory that counts: more than one `MASKS`th of what crosses (docs/adr/0008).
"""
MASKS = 50
VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "reverse"})
UNIT = 5  # prices are whole numbers of fifths of a byte: the cut is the same for every size of the batch
SOURCES = frozenset({"input", "const", "iota"})  # there all the time
Cut = frozenset[Node]


def recompute(graph: Graph) -> Graph:
    """The graph with cheap chains computed again where that saves memory; graphs without a backward pass stay."""
    passes = _Passes(graph)
    if not passes.crossing:
        return graph
    chosen = _cut(passes)
    return _rebuild(passes, chosen) if chosen else graph


class _Passes:
    """Which values are early and late, and what of the early ones may be computed again.

    crossing: early values that late ones read. free: early values that may be computed again.
    anchor[n]: for late n, the youngest value with a kernel of its own that n is computed from without another kernel.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.late: set[Node] = set()
        self.anchor: dict[Node, Node] = {}
        self.crossing: dict[Node, list[Node]] = {}
        self.level: dict[Node, int] = {}
        backward = [n for n in graph.nodes if n.origin.phase == "backward"]
        if not backward:
            return
        level = self.level = _levels(graph)
        end = max((level[n] for n in reachable(backward) if n.origin.phase == "forward"), default=0)
        if end == 0:
            return
        for node in graph.nodes:
            if max((level[i] for i in node.inputs), default=0) >= end and node.origin.phase != "forward":
                self.late.add(node)
        for node in graph.nodes:
            if level[node] >= end:
                self.anchor[node] = self._anchor(node)
        for node in graph.nodes:
            for i in dict.fromkeys(node.inputs) if node in self.late else ():
                if i not in self.late and i not in self.anchor:
                    self.crossing.setdefault(i, []).append(node)
        self.free = {n for n in graph.nodes if n not in self.late and n not in self.anchor and self._is_free(n)}
        for node in reversed(graph.nodes):  # a view that is kept is the memory that it looks at
            if node.op in VIEWS and node in self.crossing and node not in self.free:
                self.free.discard(node.inputs[0])
                self.crossing.setdefault(node.inputs[0], [])

    def _anchor(self, node: Node) -> Node:
        if not _is_cheap_kind(node):
            return node
        return max((self.anchor[i] for i in node.inputs if i in self.anchor), key=lambda n: n.id, default=node)

    def _is_free(self, node: Node) -> bool:
        """Whether every reader could compute the value in its own kernel: pointwise, of the readers' shape."""
        if not _is_cheap_kind(node) or len(_squeezed(node)) < 2 or not node.inputs:
            return False  # vectors (statistics, a number for each row) are kept, whatever the batch is
        shape = _squeezed(node)
        if node.op in VIEWS and _squeezed(node.inputs[0]) != shape:
            return scalar_value(node) is not None
        if any(_compares(user) for user in self.graph.users[node]):
            return False
        return all(self._can_hold(user, shape) for user in self.graph.users[node] if user in self.late or _wants(user))

    def _can_hold(self, user: Node, shape: tuple[int, ...]) -> bool:
        if user.origin.phase == "update":
            return False
        kind = get_op(user.op).kind
        if kind is Kind.REDUCE:
            return True
        if user not in self.late and not _is_cheap_kind(user):
            return True  # an early kernel reads the first computation
        return _is_cheap_kind(user) and _squeezed(user) == shape and user.op not in ("transpose", "reverse")


def _compares(user: Node) -> bool:
    """Whether a value's last bit decides: equality with another value, not with a constant."""
    return user.op in ("eq", "ne") and all(scalar_value(i) is None for i in user.inputs)


def _wants(user: Node) -> bool:
    """Whether an early reader might be computed again itself."""
    return _is_cheap_kind(user)


def _is_cheap_kind(node: Node) -> bool:
    return not isinstance(node.type, tuple) and (node.op in VIEWS or get_op(node.op).kind is Kind.POINTWISE)


def _squeezed(node: Node) -> tuple[int, ...]:
    return tuple(n for n in node.shape if n != 1)


def _levels(graph: Graph) -> dict[Node, int]:
    level: dict[Node, int] = {}
    for node in graph.nodes:
        below = max((level[i] for i in node.inputs), default=0)
        level[node] = below + bool(node.inputs and not _is_cheap_kind(node) and node.op != "item")
    return level


def _price(node: Node, masks: bool) -> int:
    """Of computing a value again, in units; masks: whether random ones are worth it."""
    if node.op in VIEWS:
        return 0
    kind = 0 if node.op in CHEAP else 1 if node.op in MODERATE else 3 if node.op == "random_word" and masks else 2
    return node.type.size * round(PRICES[kind] * UNIT)


def _keeping(node: Node) -> int:
    """The price of keeping a value, in units."""
    return node.type.nbytes * UNIT if len(_squeezed(node)) > 1 else 0


def _cut(passes: _Passes) -> Cut:
    """The values to compute again: those on the late side of a minimum cut."""
    needed = [n for n in passes.crossing if n in passes.free]
    if not needed:
        return frozenset()
    region: set[Node] = set()  # free values that late readers are computed from through free values
    stack = list(needed)
    while stack:
        node = stack.pop()
        if node not in region:
            region.add(node)
            stack.extend(i for i in node.inputs if i in passes.free)
    words = sum(n.type.size * UNIT for n in region if n.op == "random_word")
    # what comes from the weights by pointwise ops alone does not grow with the batch: it must not weigh
    growing = [n for n in passes.crossing if passes.level[n] and _source(n).op not in SOURCES]
    masks = MASKS * words > sum(_keeping(n) for n in growing)
    edges: dict[tuple[Any, Any], int | None] = {}
    for node in sorted(region, key=lambda n: n.id):
        edges["early", (node, 0)] = _price(node, masks)
        # the memory of a view is that of what it looks at
        edges[(node, 0), (node, 1)] = _keeping(node) if node.op not in VIEWS else None
        for i in dict.fromkeys(node.inputs):
            if i in region:
                edges[(i, 1), (node, 0)] = None
            elif scalar_value(i) is None:
                kept = _source(i).op in SOURCES or i in passes.crossing
                edges["early", (i, 1)] = 0 if kept else _keeping(i)
                edges[(i, 1), (node, 0)] = None
    for node in needed:
        edges[(node, 1), "late"] = None
    late = late_side(edges, "early", "late")
    return frozenset(n for n in region if (n, 0) in late)


def _source(node: Node) -> Node:
    while node.op in VIEWS:
        node = node.inputs[0]
    return node


def _rebuild(passes: _Passes, chosen: Cut) -> Graph:
    """The graph in which late readers of chosen values compute them again."""
    b = Builder()
    table: dict[Node, Node] = {}
    made: dict[tuple[Node, Node], Node] = {}

    def kept(node: Node, after: Node) -> Node:
        plain = scalar_value(node) is not None or _source(node).op == "iota"
        return table[node] if plain else b.barrier(table[node], table[after])

    def again(node: Node, after: Node) -> Node:
        if node not in chosen:
            return kept(node, after)
        if (node, after) not in made:
            inputs = [again(i, after) for i in node.inputs]
            with b.origin(node.origin._replace(phase="backward")):
                made[node, after] = b.emit(node.op, *inputs, **node.attrs)
        return made[node, after]

    for node in passes.graph.nodes:
        with b.origin(node.origin):
            inputs: Sequence[Node] = [
                again(i, passes.anchor[node]) if i in chosen and node in passes.late else table[i] for i in node.inputs
            ]
            table[node] = b.copy_node(node, inputs)
    graph = passes.graph
    return Graph([table[i] for i in graph.inputs], [table[o] for o in graph.outputs], graph.name)
