"""Fusion: which nodes share a kernel.

Nodes are visited in topological order. A pointwise node that only one other node reads waits for its reader (so that
what is cheap is computed where it is used); every other node is placed: into the group of a producer where that is
legal, else into a group of its own. Legality is a test on iteration spaces and index maps and on the absence of a
cycle; every refusal is kept with its reason (`Group.refusals`), for `explain()` and GRAPHKERAS_DEBUG=3.

Kinds of groups: "map" (pointwise only), "row" (reduces the innermost axis: softmax, layer norm; later passes over the
same row may read its results), "column" (reduces outer axes, keeps the innermost: bias gradients, batch statistics),
"template" (one product, convolution, gather ... with a pointwise epilogue).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphkeras.codegen.index_maps import (
    FREE_VIEWS,
    assumed_view,
    depends_on,
    epilogue_groups,
    is_row_sum,
    merged_level,
    readers,
    resolve,
    same_element,
    spread,
    squeeze,
    template_groups,
    waits_for,
)
from graphkeras.codegen.views import mergeable
from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.op import Kind, get_op

if TYPE_CHECKING:
    from graphkeras.codegen.body import Body

NO_KERNEL = frozenset({"input", "const", "iota", "item"})
MAX_OPERANDS = 24
MAX_NODES = 96
MAX_ROW = 16384  # elements of a row that later passes may read again: it has to stay in the cache
ARG_REDUCES = frozenset({"argmax", "argmin"})


@dataclass(eq=False)
class Group:
    """Nodes of one kernel."""

    kind: str
    space: tuple[int, ...]
    nodes: list[Node]
    index: int
    anchor: Node = None  # type: ignore[assignment]  # the node that a template computes; other kinds have none
    reduces: list[Node] = field(default_factory=list)
    axes: tuple[int, ...] = ()
    mask: int = 0  # bits of all groups merged into this one
    ancestors: int = 0
    refusals: list[tuple[Node, str]] = field(default_factory=list)
    # filled by the lowering:
    epilogue: Body = None  # type: ignore[assignment]  # of templates
    items: dict[int, Node] = field(default_factory=dict)  # result index -> its `item` node
    stored: list[Node] = field(default_factory=list)  # members that are read from outside

    @property
    def kept(self) -> tuple[int, ...]:
        return tuple(n for a, n in enumerate(self.space) if a not in self.axes)


class Fusion:
    """One run over a graph. `groups` gives the result in an executable order."""

    def __init__(self, graph: Graph, *, enabled: bool = True, sums_rows: bool = False) -> None:
        self.graph = graph
        self.sums_rows = sums_rows
        self.enabled = enabled
        self.owner: dict[Node, Group] = {}
        self.waiting: set[Node] = set()
        self.outputs = set(graph.outputs)
        self._all: list[Group] = []
        self._made = 0

    def run(self) -> list[Group]:
        for node in self.graph.nodes:
            if node.op in NO_KERNEL or node.op in FREE_VIEWS:
                continue
            kind = get_op(node.op).kind
            if kind is Kind.POINTWISE and self.enabled and self._waits(node):
                self.waiting.add(node)
            elif kind is Kind.POINTWISE:
                self._place_pointwise(node)
            elif kind is Kind.REDUCE:
                self._place_reduce(node)
            else:
                self._place_template(node)
        if self.enabled:
            self._merge_siblings()
        return self._schedule()

    # -- placing -----------------------------------------------------------------------------------
    def _waits(self, node: Node) -> bool:
        users = readers(self.graph, node)
        if len(users) != 1 or node in self.outputs or node.type.size <= 1:
            return False
        if users[0].op in FREE_VIEWS:  # stop_gradient is pointwise, but no kernel computes it
            return False
        kind = get_op(users[0].op).kind
        if kind is Kind.POINTWISE:
            return squeeze(users[0].shape) == squeeze(node.shape)
        return kind is Kind.REDUCE

    def _cluster(self, node: Node) -> list[Node]:
        """The node and all producers that waited for it, in topological order."""
        found, stack = {node}, [node]
        while stack:
            for i in stack.pop().inputs:
                if i in self.waiting:
                    self.waiting.remove(i)
                    found.add(i)
                    stack.append(i)
        return sorted(found, key=lambda n: n.id)

    def _place_pointwise(self, node: Node) -> None:
        self._place(Group("map", node.shape, self._cluster(node), -1), node)

    def _place_reduce(self, node: Node) -> None:
        source = node.inputs[0]
        space = source.shape
        attr = node.attrs["axis"] if node.op in ARG_REDUCES else node.attrs["axes"]
        axes = tuple(a % max(len(space), 1) for a in (attr if isinstance(attr, tuple) else (attr,))) if space else ()
        last = max((a for a, n in enumerate(space) if n != 1), default=-1)
        kind = "row" if last in axes or last < 0 else "column"
        group = Group(kind, space, self._cluster(node), -1, reduces=[node], axes=axes)
        self._place(group, node)

    def _place_template(self, node: Node) -> None:
        space = node.shape if not isinstance(node.type, tuple) else ()
        self._place(Group("template", space, [node], -1, anchor=node), node, join=False)

    def _place(self, new: Group, node: Node, join: bool = True) -> None:
        producers = self._producers(new)
        chosen: Group | None = None
        if join and self.enabled:
            for group in sorted(producers, key=lambda g: g.index, reverse=True):
                reason = self._refusal(group, chosen or new, producers, chosen)
                if reason is None:
                    chosen = self._join(group, chosen or new)
                else:
                    group.refusals.append((node, reason))
        group = chosen or new
        if group.index < 0:
            self._add(group)
        for member in group.nodes:
            self.owner[member] = group
        self._update_ancestors(group)

    def _add(self, group: Group) -> None:
        group.index = self._made
        group.mask |= 1 << self._made
        self._made += 1
        self._all.append(group)

    def _producers(self, group: Group) -> list[Group]:
        members = set(group.nodes)
        found: dict[Group, None] = {}
        for node in group.nodes:
            for i in node.inputs:
                for base in (resolve(i), *waits_for(i)):
                    if base.op == "item":
                        base = base.inputs[0]
                    if base not in members and base in self.owner:
                        found[self.owner[base]] = None
        return list(found)

    # -- legality ----------------------------------------------------------------------------------
    def _refusal(self, old: Group, new: Group, producers: Sequence[Group], chosen: Group | None) -> str | None:
        """Why `new` (a fresh cluster, or a group already extended by it) cannot share a kernel with `old`."""
        reason = self._kinds(old, new)
        if reason is None:
            reason = self._maps(old, new)
        if reason is None and len(old.nodes) + len(new.nodes) > MAX_NODES:
            reason = f"the kernel would have more than {MAX_NODES} operations"
        if reason is None and len(self._operands([*old.nodes, *new.nodes])) > MAX_OPERANDS:
            reason = f"the kernel would have more than {MAX_OPERANDS} operands"
        if reason is None and self._cycle(old, new, producers):
            reason = "another operand depends on this kernel: a cycle"
        return reason

    def _kinds(self, old: Group, new: Group) -> str | None:
        sums = old.kind == "template" and self.sums_rows and is_row_sum(old.anchor)
        if _is_update(old) != _is_update(new) and not sums:
            return "state updates run as one launch for all weights"
        if old.kind == "template" and new.kind == "template":
            return "two products or gathers do not share a kernel"
        if old.kind == "template":
            assert old.anchor is not None
            if epilogue_groups(old.anchor) is None or (is_row_sum(old.anchor) and not sums):
                return f"{old.anchor.op} takes no epilogue"
            if new.kind != "map":
                return "a reduction does not follow a product inside one kernel"
        if new.kind == "template" and old.kind != "map":
            return "only pointwise work joins a product"
        if old.axes and new.axes and (old.space != new.space or old.axes != new.axes):
            return "the reductions run over different axes"
        if old.kind == "column" and new.kind == "column":
            return "a second pass over columns needs the first one's result"
        if old.kind == "map" and new.axes and squeeze(old.space) != squeeze(new.space):
            return "the iteration spaces differ"
        if old.kind == "map" and new.kind == "map" and squeeze(old.space) != squeeze(new.space):
            return "the iteration spaces differ"
        return None

    def _maps(self, old: Group, new: Group) -> str | None:
        """Every value that passes between them must be the same element of one iteration space."""
        merged = self._shape_of_merge(old, new)
        members = {n: merged_level(merged, n) for n in [*old.nodes, *new.nodes]}
        if None in members.values():
            return "a shape does not fit the kernel's iteration space"
        if merged.kind == "column" and any(
            level == "full" and depends_on(n, set(merged.reduces), members) for n, level in members.items()
        ):
            return "a column result is complete only after the last row"
        if merged.kind == "row" and self._row_too_long(merged, members):
            return "the row is too long to be walked twice in the cache"
        if merged.anchor is not None and any(resolve(i) in members for i in merged.anchor.inputs):
            return "the product reads it, so it has to be complete before"
        groups = template_groups(merged)
        for node in (*old.nodes, *new.nodes):
            for i in () if node is merged.anchor else node.inputs:
                base = resolve(i)
                if base in members:
                    if not same_element(merged, i, base, members[base], node, members[node]):
                        return "an index map between the two is not the identity"
                elif groups is not None and not self._operand_fits(i, node, merged, groups):
                    return "an operand is not walked with one stride per axis of the product's tile"
        return None

    def _shape_of_merge(self, old: Group, new: Group) -> Group:
        lead = next((g for g in (old, new) if g.kind == "template"), None) or (old if old.axes else new)
        return Group(
            lead.kind, lead.space, [], -1, anchor=lead.anchor, reduces=[*old.reduces, *new.reduces], axes=lead.axes
        )

    def _row_too_long(self, merged: Group, members: dict[Node, str | None]) -> bool:
        length = math.prod(merged.space[a] for a in merged.axes)
        rows = math.prod(merged.kept)
        again = any(
            depends_on(n, set(merged.reduces), members)
            for n, level in members.items()
            if level == "full" or n in merged.reduces
        )
        return again and (length > MAX_ROW or (rows == 1 and length > 4096))

    def _operand_fits(self, node: Node, user: Node, group: Group, groups: Sequence[Sequence[int]]) -> bool:
        if scalar_value(node) is not None:
            return True
        layout = assumed_view(node)
        if layout is None:
            return False
        strides = spread(group, layout, user)
        return all(mergeable(group.space, strides, axes) is not None for axes in groups)

    def _operands(self, nodes: Iterable[Node]) -> set[Node]:
        members = set(nodes)
        found = set()
        for node in members:
            for i in node.inputs:
                if resolve(i) not in members and scalar_value(i) is None:
                    found.add(i)
        for node in members:
            if node in self.outputs or any(u not in members for u in readers(self.graph, node)):
                found.add(node)
        return found

    def _cycle(self, old: Group, new: Group, producers: Sequence[Group]) -> bool:
        mask = old.mask | (new.mask if new.index >= 0 else 0)
        outside = [g for g in producers if g is not old and g is not new]
        if any(g.ancestors & mask and not g.mask & mask for g in outside):
            return True
        if new.index < 0:
            return False
        return any(
            not g.mask & mask
            and (
                (g.ancestors & old.mask and new.ancestors & g.mask)
                or (g.ancestors & new.mask and old.ancestors & g.mask)
            )
            for g in self._all
        )

    # -- merging -----------------------------------------------------------------------------------
    def _join(self, old: Group, new: Group) -> Group:
        merged = self._shape_of_merge(old, new)
        old.kind, old.space, old.axes = merged.kind, merged.space, merged.axes
        old.anchor, old.reduces = merged.anchor, merged.reduces
        old.nodes = sorted({*old.nodes, *new.nodes}, key=lambda n: n.id)
        old.refusals += new.refusals
        if new.index >= 0:
            self._all.remove(new)
            old.mask |= new.mask
            old.ancestors |= new.ancestors
        for node in old.nodes:
            self.owner[node] = old
        return old

    def _update_ancestors(self, group: Group) -> None:
        for producer in self._producers(group):
            if producer is not group:
                group.ancestors |= producer.mask | producer.ancestors
        group.ancestors &= ~group.mask
        for other in self._all:
            if other is not group and other.ancestors & group.mask:
                other.ancestors |= group.ancestors | group.mask

    def _merge_siblings(self) -> None:
        """Independent reductions over the same data share one pass; independent scalar work shares one kernel."""
        for kind in ("column", "map"):
            for group in [g for g in self._all if g.kind == kind]:
                if group not in self._all or (kind == "map" and math.prod(group.space) != 1):
                    continue
                for other in [g for g in self._all if g.kind == kind and g is not group]:
                    if self._siblings(group, other):
                        self._join(group, other)
                        self._update_ancestors(group)
        self._merge_updates()

    def _merge_updates(self) -> None:
        """Updates of one weight and its state that do not need one another, but read the same arrays: one pass."""
        reading: dict[Node, list[Group]] = {}
        for group in self._all:
            if group.kind == "map" and _is_update(group) and math.prod(group.space) > 1:
                for i in dict.fromkeys(i for n in group.nodes for i in n.inputs):
                    if i.shape == group.space and self.owner.get(i) is not group:
                        reading.setdefault(i, []).append(group)
        for groups in reading.values():
            for other in groups[1:]:
                first = self.owner[groups[0].nodes[0]]
                if first is not self.owner[other.nodes[0]] and self._siblings(first, other):
                    self._join(first, other)
                    self._update_ancestors(first)

    def _siblings(self, a: Group, b: Group) -> bool:
        if a.ancestors & b.mask or b.ancestors & a.mask:
            return False
        if any(g is not a and g is not b and _between(g, a, b) for g in self._all):
            return False
        if len(a.nodes) + len(b.nodes) > MAX_NODES or len(self._operands([*a.nodes, *b.nodes])) > MAX_OPERANDS:
            return False
        if a.kind == "map":
            return a.space == b.space if math.prod(a.space) > 1 else math.prod(b.space) == 1
        shared = {i for n in a.nodes for i in n.inputs} & {i for n in b.nodes for i in n.inputs}
        return a.space == b.space and a.axes == b.axes and any(i.shape == a.space for i in shared)

    # -- order -------------------------------------------------------------------------------------
    def _schedule(self) -> list[Group]:
        """Producers first; among the ready ones state updates last, then by age."""
        import heapq

        needs = {g: {p for p in self._producers(g) if p is not g} for g in self._all}
        users: dict[Group, list[Group]] = {g: [] for g in self._all}
        for group, producers in needs.items():
            for p in producers:
                users[p].append(group)
        missing = {g: len(p) for g, p in needs.items()}
        ready = [(_priority(g), g.index, g) for g in self._all if not missing[g]]
        heapq.heapify(ready)
        order = []
        while ready:
            group = heapq.heappop(ready)[2]
            order.append(group)
            for user in users[group]:
                missing[user] -= 1
                if not missing[user]:
                    heapq.heappush(ready, (_priority(user), user.index, user))
        if len(order) != len(self._all):
            raise AssertionError("fusion made a cycle")
        return order


def _is_update(group: Group) -> bool:
    return group.nodes[-1].origin.phase == "update"


def _between(g: Group, a: Group, b: Group) -> bool:
    return bool((g.ancestors & a.mask and b.ancestors & g.mask) or (g.ancestors & b.mask and a.ancestors & g.mask))


def _priority(group: Group) -> tuple[int, int]:
    return (int(all(n.origin.phase == "update" for n in group.nodes)), group.nodes[-1].id)
