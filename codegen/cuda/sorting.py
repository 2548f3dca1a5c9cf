"""Sorting, the largest k, and running reductions along one axis.

A sort works on lines [line][place] of keys and their places: chunks of 128 are sorted by counting how many come before
each element, then runs are merged, twice as long each time; an element's place in the merged run is its own place plus
what a binary search finds in the other run. Every pass is a kernel with a thread for each element. Stable, NaN last.
"""

from __future__ import annotations

import math

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cuda.gather import Rows, combined, split
from graphkeras.codegen.cuda.language import register_type
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, LoweringError, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node

CHUNK = 128
_COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}


def _input(ctx: Lowering, node: Node) -> View:
    view = ctx.contiguous(node.inputs[0])
    if view.dtype.startswith("complex"):
        raise LoweringError(f"{node.op} of {view.dtype} in layer {node.origin} has no native kernel")
    return view


@lowers("cumulative", target="cuda")
def lower_cumulative(ctx: Lowering, group: Group) -> None:
    """A thread for each line."""
    node = group.anchor
    x, y = _input(ctx, node), ctx.output(node)
    outer, n, inner = split(x.shape, node.attrs["axis"] % len(x.shape))
    if not math.prod(x.shape):
        return
    combine, dtype = _COMBINE[node.attrs["combine"]], register_type(x.dtype)
    rows = Rows(node, f"running {node.attrs['combine']} along one axis", {"o": outer}, inner, 1)
    s, w = rows.source, rows.w
    count, source, target = s.word(n), s.source(x), s.destination(y)
    w.line(f"start = o * {count} * {rows.columns} + j")
    w.line(f"total = {CpuHandler.literal(0, node.dtype)}")
    with w.block(f"for i in range({count})"):
        w.line(f"at = start + {f'({count} - 1 - i)' if node.attrs['reverse'] else 'i'} * {rows.columns}")
        w.line(f"x = fetch_{x.dtype}({source}, at)")
        w.line(f"total = select(i == 0, x, {combined(combine, 'total', 'x', dtype)})")
        w.line(f"store_{y.dtype}({target}, at, total)")
    rows.finish(ctx, "cumulative", 2.0 * math.prod(x.shape) * x.itemsize)


# -- sorting --------------------------------------------------------------------------------------------
class Sort:
    """The passes of one sort."""

    def __init__(self, ctx: Lowering, node: Node, axis: int, descending: bool) -> None:
        self.ctx, self.node, self.descending = ctx, node, descending
        self.x = _input(ctx, node)
        self.outer, self.n, self.inner = split(self.x.shape, axis)
        self.lines = self.outer * self.inner
        self.dtype = "int32" if self.x.dtype == "bool" else register_type(self.x.dtype)
        self.keys = self._scratch()
        self._chunks()
        run = CHUNK
        while run < self.n:
            self._merge(run)
            run *= 2

    def _scratch(self) -> tuple[View, View]:
        shape = (self.lines, self.n)
        return self.ctx.new(shape, self.dtype, "keys"), self.ctx.new(shape, "int32", "places")

    def _before(self, w: Writer, a: str, b: str) -> str:
        """Expression: a comes strictly before b."""
        if self.descending:
            a, b = b, a
        less = f"({a} < {b})"
        return f"({less} | (({b} != {b}) & ({a} == {a})))" if self.dtype.startswith("float") else less

    def _chunks(self) -> None:
        keys, places = self.keys
        rows = Rows(
            self.node, "sort chunks by counting what comes before", {"o": self.outer, "i": self.n}, self.inner, 1
        )
        s, w = rows.source, rows.w
        n, source = rows.counts["i"], s.source(self.x)

        def key(i: str) -> str:
            value = f"fetch_{self.x.dtype}({source}, (o * {n} + {i}) * {rows.columns} + j)"
            return f"int32({value})" if self.x.dtype == "bool" else value

        w.line(f"own = {key('i')}")
        w.line(f"first = (i // {CHUNK}) * {CHUNK}")
        w.line("rank = first")
        with w.block(f"for k in range(first, min(first + {CHUNK}, {n}))"):
            w.line(f"other = {key('k')}")
            w.line(f"ahead = {self._before(w, 'other', 'own')}")
            w.line(f"behind = {self._before(w, 'own', 'other')}")
            w.line("rank = select(ahead | ((ahead == behind) & (k < i)), rank + 1, rank)")
        w.line(f"to = (o * {rows.columns} + j) * {n} + rank")
        w.line(f"store_{self.dtype}({s.destination(keys)}, to, own)")
        w.line(f"store_int32({s.destination(places)}, to, int32(i))")
        rows.finish(self.ctx, "sort_chunks", 3.0 * self.lines * self.n * keys.itemsize)

    def _merge(self, run: int) -> None:
        """Merge pairs of runs. Ties: the left run's elements first."""
        keys, places = self.keys
        merged, moved = self._scratch()
        rows = Rows(self.node, "merge pairs of runs", {"line": self.lines}, self.n, 1)
        s, w = rows.source, rows.w
        length, n = s.word(run), rows.columns
        source = s.source(keys)
        w.line(f"base = (j // (2 * {length})) * 2 * {length}")
        w.line(f"middle = min(base + {length}, {n})")
        w.line(f"stop = min(base + 2 * {length}, {n})")
        w.line("left = j < middle")
        w.line(f"own = fetch_{self.dtype}({source}, line * {n} + j)")
        w.line("start = select(left, middle, base)")
        w.line("low = start")
        w.line("high = select(left, stop, middle)")
        with w.block("while low < high"):
            w.line("half = (low + high) >> 1")
            w.line(f"other = fetch_{self.dtype}({source}, line * {n} + half)")
            w.line(f"ahead = {self._before(w, 'other', 'own')}")
            w.line(f"behind = {self._before(w, 'own', 'other')}")
            w.line("ahead = ahead | ((ahead == behind) & (not left))")
            w.line("low = select(ahead, half + 1, low)")
            w.line("high = select(ahead, high, half)")
        w.line(f"to = line * {n} + j + low - middle")  # own place in the pair + what the other run has before it
        w.line(f"store_{self.dtype}({s.destination(merged)}, to, own)")
        w.line(f"store_int32({s.destination(moved)}, to, fetch_int32({s.source(places)}, line * {n} + j))")
        rows.finish(self.ctx, "sort_merge", 4.0 * self.lines * self.n * keys.itemsize)
        self.keys = merged, moved

    def store(self, values: View | None, places: View | None, keep: int) -> None:
        """The first `keep` entries of each line to their places in the results."""
        rows = Rows(self.node, "store sorted lines", {"o": self.outer, "i": keep}, self.inner, 1)
        s, w = rows.source, rows.w
        n = s.word(self.n)
        w.line(f"at = (o * {rows.columns} + j) * {n} + i")
        if values is not None:
            key = f"fetch_{self.dtype}({s.source(self.keys[0])}, at)"
            key = f"({key} != int32(0))" if values.dtype == "bool" else key
            w.line(f"store_{values.dtype}({s.destination(values)}, item, {key})")
        if places is not None:
            w.line(f"store_int32({s.destination(places)}, item, fetch_int32({s.source(self.keys[1])}, at))")
        rows.finish(self.ctx, self.node.op, 2.0 * self.lines * keep * 4)


@lowers("sort", "argsort", target="cuda")
def lower_sort(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    axis = node.attrs["axis"] % len(node.shape)
    if node.type.size:
        sort = Sort(ctx, node, axis, node.attrs.get("descending", False))
        output = ctx.output(node)
        sort.store(output if node.op == "sort" else None, output if node.op == "argsort" else None, node.shape[axis])


@lowers("top_k", target="cuda")
def lower_top_k(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    values, places = (ctx.result(node, k, group.items) for k in range(2))
    if math.prod(values.shape):
        sort = Sort(ctx, node, len(values.shape) - 1, True)
        sort.store(values, places, values.shape[-1])
