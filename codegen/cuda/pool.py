"""Pooling and its gradients: a thread for up to four neighbouring channels of a result, which walks the window's taps.

Gradients look at it from the input's side: each element collects what the windows that meet it send, tap by tap, so
nothing is written twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cuda.conv import locate, moves_of
from graphkeras.codegen.cuda.gather import Rows, width_of
from graphkeras.codegen.cuda.language import divisor, register_type
from graphkeras.codegen.cuda.source import decompose
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.ir.body import lowest
from graphkeras.ir.node import Node


class Pool:
    """A pooling kernel being written: one result per thread and channel, a loop over taps."""

    def __init__(self, node: Node, title: str, own: Sequence[int], other: Sequence[int], views: Sequence[View]) -> None:
        """own: shape of the result; other: shape of the array that the taps meet."""
        self.node, self.rank = node, len(own) - 2
        channels = own[-1]
        self.width = min(4, min(width_of(channels, [v]) for v in views))
        self.parts = {"n": own[0], **{f"p{a}": n for a, n in enumerate(own[1:-1])}}
        self.rows = Rows(node, title, self.parts, channels, self.width)
        self.source, self.w = self.rows.source, self.rows.w
        window = node.attrs["window"]
        self.taps = math.prod(window)
        self.tap_count = self.source.word(self.taps)
        self.window = [(self.source.word(n), self.source.word(divisor(n))) for n in window]
        self.extents = [self.source.word(n) for n in other[1:-1]]
        low = [lo for lo, _ in node.attrs["padding"]]
        self.moves = moves_of(self.source, node.attrs["strides"], low, [1] * self.rank)

    def load(self, view: View, name: str, at: str) -> list[str]:
        """Print the load of this thread's channels; returns one expression for each."""
        suffix = str(self.width) if self.width > 1 else ""
        self.w.line(f"{name} = fetch{suffix}_{view.dtype}({self.pointers[view]}, {at})")
        return [f"{name}[{q}]" for q in range(self.width)] if self.width > 1 else [name]

    def reads(self, *views: View) -> None:
        self.pointers = {v: self.source.source(v) for v in views}

    def walk(self, back: bool, inside: Callable[[str], None], tap: str = "tap", end: str = "") -> None:
        """Print the loop over taps; `inside` gets the offset of the element that is met, in a block where it exists."""
        w = self.w
        with w.block(f"for {tap} in range({end or self.tap_count})"):
            names = [f"t{a}" for a in range(self.rank)]
            decompose(w, tap, [e for e, _ in self.window], [d for _, d in self.window], names)
            pixel = locate(w, self.moves, self.extents, self.node.attrs["strides"], back)
            with w.block("if ok"):
                w.line(f"at = ({pixel}) * {self.rows.columns} + j")
                inside("at")

    def here(self) -> str:
        """Offset of the thread's own result."""
        return f"item * {self.width}"

    def store(self, view: View, values: Sequence[str]) -> None:
        suffix, group = (str(self.width), f"({', '.join(values)})") if self.width > 1 else ("", values[0])
        self.w.line(f"store{suffix}_{view.dtype}({self.source.destination(view)}, {self.here()}, {group})")

    def start(self, stem: str, value: str) -> list[str]:
        names = [f"{stem}{q}" for q in range(self.width)]
        for name in names:
            self.w.line(f"{name} = {value}")
        return names

    def finish(self, ctx: Lowering, nbytes: float) -> None:
        self.rows.finish(ctx, self.node.op, nbytes)


def _number(node: Node, value: object) -> str:
    return CpuHandler.literal(value, node.dtype)


def _sum(a: str, b: str, dtype: str) -> str:
    return f"{a} + {b}" if dtype.startswith("float") else f"{dtype}({a} + {b})"


@lowers("pool_max", "pool_sum", target="cuda")
def lower_pool(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, y = ctx.contiguous(node.inputs[0]), ctx.output(node)
    largest = node.op == "pool_max"
    pool = Pool(node, f"{'largest value' if largest else 'sum'} of each window", node.shape, x.shape, [x, y])
    pool.reads(x)
    totals = pool.start("best", _number(node, lowest(node.dtype) if largest else 0))

    def inside(at: str) -> None:
        for name, value in zip(totals, pool.load(x, "v", at), strict=True):
            more = f"maximum({name}, {value})" if largest else _sum(name, value, register_type(node.dtype))
            pool.w.line(f"{name} = {more}")

    pool.walk(False, inside)
    pool.store(y, totals)
    pool.finish(ctx, float(math.prod(x.shape) * x.itemsize + math.prod(y.shape) * y.itemsize))


@lowers("pool_max_index", target="cuda")
def lower_pool_max_index(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x = ctx.contiguous(node.inputs[0])
    y, index = (ctx.result(node, k, group.items) for k in range(2))
    pool = Pool(node, "largest value of each window, and its first tap", y.shape, x.shape, [x, y, index])
    pool.reads(x)
    best = pool.start("best", CpuHandler.literal(lowest(y.dtype), y.dtype))
    first = pool.start("first", pool.tap_count)

    def inside(at: str) -> None:
        for old, place, value in zip(best, first, pool.load(x, "v", at), strict=True):
            hit = f"({value} > {old}) | (({place} == {pool.tap_count}) & ({value} == {old}))"
            pool.w.line(f"{place} = select({hit}, tap, {place})")
            pool.w.line(f"{old} = maximum({old}, {value})")

    pool.walk(False, inside)
    pool.store(y, best)
    none = [f"{index.dtype}(select({b} == {b}, {p}, {pool.tap_count}))" for b, p in zip(best, first, strict=True)]
    pool.store(index, none)
    pool.finish(ctx, float(math.prod(x.shape) * x.itemsize + math.prod(y.shape) * (y.itemsize + index.itemsize)))


@lowers("pool_sum_grad", "pool_index_grad", target="cuda")
def lower_pool_sum_grad(ctx: Lowering, group: Group) -> None:
    """What windows send to an element: all of dy, or only where the element's tap is the one that was remembered."""
    node = group.anchor
    dy, dx = ctx.contiguous(node.inputs[-1]), ctx.output(node)
    index = ctx.contiguous(node.inputs[0]) if node.op == "pool_index_grad" else None
    views = [dy, dx] if index is None else [dy, dx, index]
    pool = Pool(node, "what each element of x gets from the windows that meet it", node.shape, dy.shape, views)
    pool.reads(*(v for v in views if v is not dx))
    totals = pool.start("sum", _number(node, 0))

    def inside(at: str) -> None:
        values = pool.load(dy, "v", at)
        taps = pool.load(index, "k", at) if index is not None else []
        for q, (name, value) in enumerate(zip(totals, values, strict=True)):
            if taps:
                value = f"select(int64({taps[q]}) == tap, {value}, {_number(node, 0)})"
            pool.w.line(f"{name} = {_sum(name, value, register_type(node.dtype))}")

    pool.walk(True, inside)
    pool.store(dx, totals)
    pool.finish(ctx, float(math.prod(dy.shape) * dy.itemsize + math.prod(dx.shape) * dx.itemsize))


@lowers("pool_max_grad", target="cuda")
def lower_pool_max_grad(ctx: Lowering, group: Group) -> None:
    """The gradient goes to a window's first maximum: an element asks the earlier taps of each window that it ties."""
    node = group.anchor
    x, y, dy = (ctx.contiguous(i) for i in node.inputs)
    dx = ctx.output(node)
    pool = Pool(node, "dy of each window sent to its first maximum", node.shape, y.shape, [x, y, dy, dx])
    pool.reads(x, y, dy)
    w = pool.w
    inputs = [pool.source.word(n) for n in x.shape[1:-1]]
    mine = pool.load(x, "mine", pool.here())
    totals = pool.start("sum", _number(node, 0))

    def inside(at: str) -> None:
        tops = pool.load(y, "top", at)
        values = pool.load(dy, "v", at)
        wins = [f"win{q}" for q in range(pool.width)]
        for win, own, top in zip(wins, mine, tops, strict=True):
            w.line(f"{win} = {own} == {top}")
        with w.block("for earlier in range(tap)"):
            names = [f"e{a}" for a in range(pool.rank)]
            decompose(w, "earlier", [e for e, _ in pool.window], [d for _, d in pool.window], names)
            place = "n"
            w.line("real = True")
            for a, (step, _, low, _) in enumerate(pool.moves):
                w.line(f"g{a} = s{a} * {step} - {low} + e{a}")
                w.line(f"real = real & (g{a} >= 0) & (g{a} < {inputs[a]})")
                place = f"({place}) * {inputs[a]} + g{a}"
            with w.block("if real"):
                others = pool.load(x, "other", f"({place}) * {pool.rows.columns} + j")
                for win, other, top in zip(wins, others, tops, strict=True):
                    w.line(f"{win} = {win} & ({other} != {top})")
        for name, win, value in zip(totals, wins, values, strict=True):
            w.line(f"{name} = {_sum(name, f'select({win}, {value}, {_number(node, 0)})', register_type(node.dtype))}")

    pool.walk(True, inside)
    pool.store(dx, totals)
    pool.finish(ctx, float(2 * math.prod(x.shape) * x.itemsize + 2 * math.prod(y.shape) * y.itemsize))
