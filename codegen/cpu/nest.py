"""What reduction kernels share: the nest of loops, the passes over it, heads and results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphkeras.codegen.body import Body
from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.codegen.cpu.pointwise import HEADER, SMALL, chunk_of, describe
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.index_maps import merged_level, resolve
from graphkeras.codegen.kernel import Arg, Int, Kernel
from graphkeras.codegen.writer import Writer
from graphkeras.ir.body import Monoid
from graphkeras.ir.node import Node
from graphkeras.ir.op import get_op

if TYPE_CHECKING:
    from graphkeras.codegen.cpu.reduce_split import Cut

CHEAP = frozenset(
    "add sub mul neg abs maximum minimum select cast relu eq ne lt le gt ge and or not xor sign floor isnan".split()
)
"""Operations that a later pass does again rather than load."""


Accumulator = tuple[str, str, int, int]  # name, dtype, argument word, reduction


class Nest:
    """The loops of a reduction: axis groups, which of them are reduced, and their extents as words of the table."""

    def __init__(self, group: Group, body: Body, literal: bool = False) -> None:
        """literal: the innermost extent is a matter of the model, not of the data."""
        self.group, self.body, self.literal = group, body, literal
        space = group.space
        self.extents = [math.prod(space[a] for a in axes) for axes in body.groups]
        self.is_reduced = [bool(axes) and axes[-1] in group.axes for axes in body.groups]
        self.reduced = [g for g, r in enumerate(self.is_reduced) if r]
        self.kept = [g for g, r in enumerate(self.is_reduced) if not r]
        self.length = math.prod(self.extents[g] for g in self.reduced)
        self.results = math.prod(self.extents[g] for g in self.kept)
        self.args: list[Arg] = [Int(n) for n in self.extents]
        self.index = [f"i{g}" for g in range(len(self.extents))]
        self.monoids = [get_op(r.op).lower for r in group.reduces]

    def declare(self, w: Writer) -> None:
        # The only extent is the batch, as a rule: another batch size must not make another kernel.
        last = len(self.extents) - 1 if len(self.extents) > 1 and self.literal else None
        for g, n in enumerate(self.extents):
            w.line(f"n{g} = {n}" if g == last and n < SMALL else f"n{g} = int_arg(args, {g})")

    def decompose(self, w: Writer, item: str, groups: Sequence[int]) -> None:
        """Indices of `groups` from one flat number."""
        rest = item
        for position, g in enumerate(groups):
            if position == len(groups) - 1:
                w.line(f"i{g} = {rest}")
                return
            below = " * ".join(f"n{k}" for k in groups[position + 1 :])
            w.line(f"i{g} = {rest} // ({below})")
            after = w.name("rest")
            w.line(f"{after} = {rest} - i{g} * ({below})")
            rest = after

    def position(self) -> str:
        """Flat position along the reduced groups."""
        text = "0"
        for g in self.reduced:
            text = f"i{g}" if text == "0" else f"({text}) * n{g} + i{g}"
        return text

    def fields(self, k: int) -> list[tuple[str, str]]:
        """(identity literal, dtype) of each accumulator field of reduction k."""
        monoid: Monoid = self.monoids[k]
        source = self.group.reduces[k].inputs[0].dtype
        first = CpuHandler.register_dtype(monoid.accumulator(source))
        values = monoid.identity(first)
        dtypes = [first] + ["int32"] * (len(values) - 1)
        return [(CpuHandler.literal(v, d), d) for v, d in zip(values, dtypes, strict=True)]

    def accumulate(self, w: Writer, k: int, old: Sequence[str], value: str, position: str) -> list[str]:
        """Statements for combine(old, lift(value)); returns the expressions of the new fields."""
        monoid: Monoid = self.monoids[k]
        dtypes = [d for _, d in self.fields(k)]
        h = CpuHandler(w)
        source = self.group.reduces[k].inputs[0].dtype
        x = h.cast(Val(value, CpuHandler.register_dtype(source)), dtypes[0])
        if monoid.name in ("sum", "prod") and dtypes[0].startswith("float"):
            return [f"reduce_{'add' if monoid.name == 'sum' else 'mul'}({old[0]}, {x})"]
        lifted = monoid.lift(h, x, Val(f"int64({position})", "int64"))
        return list(monoid.combine(h, tuple(Val(o, d) for o, d in zip(old, dtypes, strict=True)), lifted))

    def finish(self, w: Writer, k: int, fields: Sequence[str]) -> str:
        monoid: Monoid = self.monoids[k]
        dtypes = [d for _, d in self.fields(k)]
        h = CpuHandler(w)
        result = monoid.finish(h, tuple(Val(f, d) for f, d in zip(fields, dtypes, strict=True)))
        wanted = self.group.reduces[k].dtype
        return result if CpuHandler.register_dtype(wanted) == result.dtype else h.cast(result, wanted)

    def merge(self, w: Writer, k: int, old: Sequence[str], new: Sequence[str]) -> list[str]:
        dtypes = [d for _, d in self.fields(k)]
        pair = [tuple(Val(v, d) for v, d in zip(vs, dtypes, strict=True)) for vs in (old, new)]
        return list(self.monoids[k].combine(CpuHandler(w), *pair))


class Levels:
    """Which pass over the row computes what."""

    def __init__(self, group: Group, body: Body) -> None:
        self.group, self.body = group, body
        self.members = set(group.nodes)
        self.passes: dict[Node, int] = {}
        for node in group.nodes:
            level = self.level(node)
            found = 0
            for i in node.inputs:
                base = resolve(i)
                if base in self.members:
                    after = int((level == "full" or node in group.reduces) and self.level(base) == "row")
                    found = max(found, self.passes[base] + after)
            self.passes[node] = found
        self.count = 1 + max(self.passes.values(), default=0)

    def level(self, node: Node) -> str:
        return "row" if node in self.group.reduces else merged_level(self.group, node) or "full"

    def reduces(self, number: int) -> list[Node]:
        return [r for r in self.group.reduces if self.passes[r] == number]

    def stores(self, number: int, level: str) -> list[Node]:
        return [n for n in self.group.stored if self.passes[n] == number and self.level(n) == level]

    def row_nodes(self, number: int) -> list[Node]:
        return [
            n
            for n in self.body.nodes
            if self.passes[n] == number and self.level(n) == "row" and n not in self.group.reduces
        ]

    def full_nodes(self, number: int, kept: dict[Node, str]) -> list[Node]:
        """Elementwise nodes to compute in pass `number`, in order; those in `kept` are at hand."""
        wanted = [r.inputs[0] for r in self.reduces(number)] + self.stores(number, "full")
        found: set[Node] = set()
        stack = [resolve(n) for n in wanted]
        while stack:
            node = stack.pop()
            if node in self.members and node not in found and self.level(node) == "full" and node not in kept:
                found.add(node)
                stack.extend(resolve(i) for i in node.inputs)
        return sorted(found, key=lambda n: n.id)

    def saved(self, number: int) -> list[Node]:
        """Nodes of pass `number` that a later pass should find in a scratch row instead of computing them again."""
        later: set[Node] = set()
        for p in range(number + 1, self.count):
            later |= set(self.full_nodes(p, {}))
        here = set(self.full_nodes(number, {}))
        return [
            n
            for n in sorted(later & here, key=lambda n: n.id)
            if self.passes[n] == number and n.op not in CHEAP and n not in self.group.stored
        ]


def reduction_kernel(nest: Nest, kind: str, w: Writer, args: list[Arg], cut: Cut | None = None) -> Kernel:
    """The launch of a reduction that is whole (`cut` None or of one part), cut, or combines the parts of a cut one."""
    group, body = nest.group, nest.body
    size = nest.length * nest.results
    items = nest.results // (max(nest.extents[-1], 1) if kind == "column_" and nest.kept else 1)
    chunk = chunk_of(items, size)
    reads, writes, nbytes = body.reads, body.writes, body.traffic
    if cut is not None and cut.parts > 1:
        full = {n for n in group.stored if n not in group.reduces and merged_level(group, n) == "full"}
        writes = (*body.writes_of(full), *cut.partials)
        items, chunk, kind = items * cut.parts, 1, cut.name
    elif cut is not None and cut.joined:
        size = nest.results * cut.joined
        reads, nbytes, kind = (*body.reads, *cut.partials), 4.0 * size, cut.name
        chunk = chunk_of(items, size)
    return Kernel(
        name=kind + group.reduces[-1].op,
        source=w.text(),
        args=tuple(args),
        extent=items,
        chunk=chunk,
        reads=tuple(dict.fromkeys(reads)),
        writes=tuple(dict.fromkeys(writes)),
        flops=float(size * max(1, len(group.nodes))),
        nbytes=nbytes,
        nodes=tuple(group.nodes),
    )


def head(w: Writer, nest: Nest, title: str) -> None:
    for line in describe(nest.group.nodes, title):
        w.line(line)
    w.line(HEADER)


class nested:
    """Loops over axis groups, entered as one context."""

    def __init__(self, w: Writer, nest: Nest, groups: Sequence[int], ranges: dict[int, str] | None = None) -> None:
        self.w = w
        self.heads = [f"for i{g} in range({(ranges or {}).get(g, f'n{g}')})" for g in groups]
        self.open: list[Callable[..., object]] = []

    def __enter__(self) -> None:
        for head in self.heads:
            block = self.w.block(head)
            block.__enter__()
            self.open.append(block.__exit__)

    def __exit__(self, *exc: object) -> None:
        for close in reversed(self.open):
            close(None, None, None)


def row_results(w: Writer, nest: Nest, levels: Levels, number: int, values: dict[Node, str]) -> None:
    index = [f"i{g}" if not r else "0" for g, r in enumerate(nest.is_reduced)]
    done = nest.body.emit(w, values, index, only=levels.row_nodes(number), store=levels.stores(number, "row"))
    for node in (*levels.row_nodes(number), *levels.reduces(number)):
        values[node] = done[node]
