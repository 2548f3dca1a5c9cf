"""Reads and writes at computed places, boxes, and copies into parts of a result.

Values travel bit by bit, up to 16 bytes at a time. Writes that may meet at one place use no atomics: the first update
of each place owns it and combines all later ones in their order, so the last 'set' wins and sums have the same bits in
every run. Half floats are summed in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cuda.language import HALF, divisor, register_type
from graphkeras.codegen.cuda.pointwise import SMALL
from graphkeras.codegen.cuda.source import THREADS, WARP, Source, decompose
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, LoweringError, concat_parts, lowers
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype

_BITS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}


def raw(view: View, node: Node) -> View:
    """The view as unsigned integers of the same size."""
    if view.itemsize not in _BITS:
        raise LoweringError(f"{node.op} of {view.dtype} in layer {node.origin} has no native kernel")
    return replace(view, dtype=_BITS[view.itemsize])


def split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Extents before, at and after the axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def width_of(inner: int, views: Sequence[View]) -> int:
    """Neighbours along the innermost extent that one access can take."""
    width = 16 // views[0].itemsize
    while width > 1 and (
        inner % width
        or any(v.offset % width or v.buffer.align < min(16, width * v.itemsize) for v in views)
        or width > 8
    ):
        width //= 2
    return width


def _suffix(width: int) -> str:
    return str(width) if width > 1 else ""


class Rows:
    """A kernel whose threads each move `width` neighbours of a result of shape [parts..., inner].

    The names in `parts`, outermost first, and `j` (first column) are set for a thread; `live` opens its block.
    """

    def __init__(self, node: Node, title: str, parts: dict[str, int], inner: int, width: int) -> None:
        self.source = Source(title, (node,))
        self.width, self.inner = width, inner
        vectors = inner // width
        self.items = math.prod(parts.values()) * vectors
        small = self.items * width < SMALL
        counts = [*parts.values(), vectors]
        names = [self.source.word(n) for n in counts]
        dividers = [self.source.word(divisor(n)) if small else "" for n in counts]
        self.total = self.source.word(self.items)
        self.columns = self.source.word(inner)
        self.counts = dict(zip(parts, names, strict=False))
        w = self.w = self.source.w
        w.line(f"item = block_index() * {THREADS} + thread_index()")
        self.live = w.block(f"if item < {self.total}")
        self.live.__enter__()
        decompose(w, "item", names, dividers, [*parts, "vector"])
        w.line(f"j = vector * {width}")

    def finish(self, ctx: Lowering, name: str, nbytes: float) -> None:
        self.live.__exit__(None, None, None)
        if self.items:
            ctx.launch(self.source.kernel(name, -(-self.items // THREADS), nbytes=nbytes))


def _place(source: Source, value: str, extent: str, mode: str) -> None:
    """Set `place` to an index in [0, extent) and, unless clipped, `inside`."""
    w = source.w
    w.line(f"place = int64({value})")
    if mode == "clip":
        w.line(f"place = min(max(place, 0), {extent} - 1)")
        return
    w.line(f"place = select(place < 0, place + {extent}, place)")
    w.line(f"inside = (place >= 0) & (place < {extent})")


def _missing(dtype: str) -> str:
    """The bits of what a row holds that could not be read: NaN, or 0."""
    kind = numpy_dtype(dtype)
    bits = _BITS[kind.itemsize]
    value = np.asarray(np.nan if dtype in HALF or kind.kind in "fc" else 0).astype(kind)
    return f"{bits}({int(value.reshape(1).view(bits)[0])})"


def _report(ctx: Lowering, source: Source, node: Node) -> str:
    """The statement that reports a bad index."""
    status = source.destination(View(ctx.status, "int64", (4,), (1,)))
    number = source.word(node.id)
    return f"set_status({status}, 1, {number}, {{value}}, {{extent}})"


@lowers("take", target="cuda")
def lower_take(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, y = raw(ctx.contiguous(node.inputs[0]), node), raw(ctx.output(node), node)
    indices = ctx.contiguous(node.inputs[1])
    axis, mode = node.attrs["axis"] % len(x.shape), node.attrs["mode"]
    outer, extent, inner = split(x.shape, axis)
    count = math.prod(indices.shape)
    width = width_of(inner, [x, y])
    rows = Rows(node, f"y[o, i, :] = x[o, indices[i], :]; out of range: {mode}", {"o": outer, "i": count}, inner, width)
    s, w = rows.source, rows.w
    limit = s.word(extent)
    load = f"fetch_{indices.dtype}({s.source(indices)}, i)"
    _place(s, load, limit, mode)
    read = f"fetch{_suffix(width)}_{x.dtype}({s.source(x)}, (o * {limit} + place) * {rows.columns} + j)"
    write = f"store{_suffix(width)}_{y.dtype}({s.destination(y)}, (o * {rows.counts['i']} + i) * {rows.columns} + j, "
    if mode == "clip":
        w.line(f"{write}{read})")
    else:
        with w.block("if inside"):
            w.line(f"{write}{read})")
        with w.block("else"):
            if mode == "check":
                w.line(_report(ctx, s, node).format(value=f"int64({load})", extent=limit))
            hole = _missing(node.dtype)
            w.line(f"{write}{hole if width == 1 else '(' + ', '.join([hole] * width) + ')'})")
    rows.finish(ctx, "take", 2.0 * outer * count * inner * x.itemsize)


@lowers("take_along_axis", target="cuda")
def lower_take_along_axis(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, y = raw(ctx.contiguous(node.inputs[0]), node), raw(ctx.output(node), node)
    indices = ctx.contiguous(node.inputs[1])
    axis = node.attrs["axis"] % len(x.shape)
    outer, extent, inner = split(x.shape, axis)
    count = indices.shape[axis]
    rows = Rows(node, "y[o, i, j] = x[o, indices[o, i, j], j]", {"o": outer, "i": count}, inner, 1)
    s, w = rows.source, rows.w
    limit = s.word(extent)
    load = f"fetch_{indices.dtype}({s.source(indices)}, item)"
    _place(s, load, limit, "check")
    target = s.destination(y)
    with w.block("if inside"):
        read = f"fetch_{x.dtype}({s.source(x)}, (o * {limit} + place) * {rows.columns} + j)"
        w.line(f"store_{y.dtype}({target}, item, {read})")
    with w.block("else"):
        w.line(_report(ctx, s, node).format(value=f"int64({load})", extent=limit))
        w.line(f"store_{y.dtype}({target}, item, {_missing(node.dtype)})")
    rows.finish(ctx, "take_along_axis", 2.0 * outer * count * inner * x.itemsize)


# -- scatter --------------------------------------------------------------------------------------------
def combined(combine: str, old: str, new: str, dtype: str) -> str:
    """The expression that joins an update with what is there, in register form."""
    if combine == "set":
        return new
    if dtype == "bool":
        return f"{old} {'|' if combine in ('add', 'max') else '&'} {new}"
    if combine in ("max", "min"):
        return f"{combine}imum({old}, {new})"
    sum_ = f"{old} {'+' if combine == 'add' else '*'} {new}"
    return sum_ if dtype.startswith("float") else f"{dtype}({sum_})"


def _start(ctx: Lowering, node: Node) -> tuple[View, View, View]:
    """(result with x in it, indices, updates)."""
    y = ctx.output(node)
    if node.dtype.startswith("complex"):
        raise LoweringError(f"{node.op} of {node.dtype} in layer {node.origin} has no native kernel")
    ctx.copy(ctx.view(node.inputs[0]), y)
    return y, ctx.contiguous(node.inputs[1]), ctx.contiguous(node.inputs[2])


@lowers("scatter", target="cuda")
def lower_scatter(ctx: Lowering, group: Group) -> None:
    """A warp for each update and 32 columns: if no earlier update has the place, it collects the later ones."""
    node = group.anchor
    y, indices, updates = _start(ctx, node)
    outer, extent, inner = split(y.shape, node.attrs["axis"] % len(y.shape))
    count = math.prod(indices.shape)
    pieces = -(-inner // WARP)
    items = outer * count * pieces
    if not items:
        return
    source = Source(f"y[o, indices[i], :] {node.attrs['combine']} updates[o, i, :], a warp for each", (node,))
    w = source.w
    counts = [outer, count, pieces]
    names, dividers = [source.word(n) for n in counts], [source.word(divisor(n)) for n in counts]
    total, limit, columns = source.word(items), source.word(extent), source.word(inner)
    _, number, _ = names
    w.line(f"item = block_index() * {THREADS // WARP} + (thread_index() >> 5)")
    w.line("lane = thread_index() & 31")
    with w.block(f"if item < {total}"):
        decompose(w, "item", names, dividers, ["o", "i", "piece"])
        fetch = f"fetch_{indices.dtype}({source.source(indices)}, {{at}})"
        _place(source, fetch.format(at="i"), limit, "drop")
        w.line("own = place")
        w.line("mine = inside")
        w.line("first = 0")
        with w.block("while mine & (first < i)"):
            _look(source, fetch, limit, "i")
            w.line("mine = seen == uint32(0)")
            w.line("first = first + 32")
        with w.block("if mine"):
            _collect(source, node, fetch, limit, number, columns, y, updates)
    blocks = -(-items * WARP // THREADS)
    ctx.launch(
        source.kernel("scatter_" + node.attrs["combine"], blocks, nbytes=3.0 * outer * count * inner * y.itemsize)
    )


def _look(source: Source, fetch: str, limit: str, end: str) -> None:
    """`seen`: which of the 32 updates from `first` on, before `end`, have the place `own`."""
    w = source.w
    w.line("at = first + lane")
    _place(source, fetch.format(at=f"min(at, {end} - 1)"), limit, "drop")
    w.line(f"seen = ballot((at < {end}) & (place == own))")


def _collect(
    source: Source, node: Node, fetch: str, limit: str, count: str, columns: str, y: View, updates: View
) -> None:
    w, combine, dtype = source.w, node.attrs["combine"], register_type(node.dtype)
    target, more = source.destination(y), source.source(updates)
    w.line("column = piece * 32 + lane")
    w.line(f"live = column < {columns}")
    w.line(f"column = select(live, column, {columns} - 1)")
    w.line(f"to = (o * {limit} + own) * {columns} + column")
    w.line(f"value = {CpuHandler.literal(0, node.dtype)}")
    with w.block("if live"):
        w.line(f"value = load_{y.dtype}({target}, to)")
    w.line("first = i")
    with w.block(f"while first < {count}"):
        _look(source, fetch, limit, count)
        with w.block("while seen != uint32(0)"):
            w.line("bit = lowest_bit(seen)")
            w.line("seen = uint32(seen & (seen - uint32(1)))")
            w.line(f"new = fetch_{updates.dtype}({more}, (o * {count} + first + bit) * {columns} + column)")
            w.line(f"value = {combined(combine, 'value', 'new', dtype)}")
        w.line("first = first + 32")
    with w.block("if live"):
        w.line(f"store_{y.dtype}({target}, to, value)")


@lowers("scatter_along_axis", target="cuda")
def lower_scatter_along_axis(ctx: Lowering, group: Group) -> None:
    """A thread for each update: it looks whether an earlier one has the place, else collects later ones."""
    node = group.anchor
    y, indices, updates = _start(ctx, node)
    axis = node.attrs["axis"] % len(y.shape)
    outer, extent, inner = split(y.shape, axis)
    count = indices.shape[axis]
    combine, dtype = node.attrs["combine"], register_type(node.dtype)
    rows = Rows(node, f"y[o, indices[o, i, j], j] {combine} updates[o, i, j]", {"o": outer, "i": count}, inner, 1)
    s, w = rows.source, rows.w
    limit, number = s.word(extent), rows.counts["i"]
    base = s.source(indices)
    at = f"(o * {number} + {{i}}) * {rows.columns} + j"
    _place(s, f"fetch_{indices.dtype}({base}, item)", limit, "drop")
    w.line("own = place")
    w.line("mine = inside")
    w.line("k = 0")
    with w.block("while mine & (k < i)"):
        _place(s, f"fetch_{indices.dtype}({base}, {at.format(i='k')})", limit, "drop")
        w.line("mine = place != own")
        w.line("k = k + 1")
    with w.block("if mine"):
        target, more = s.destination(y), s.source(updates)
        w.line(f"to = (o * {limit} + own) * {rows.columns} + j")
        w.line(f"value = load_{y.dtype}({target}, to)")
        with w.block(f"for later in range(i, {number})"):
            w.line(f"from_ = {at.format(i='later')}")
            _place(s, f"fetch_{indices.dtype}({base}, from_)", limit, "drop")
            with w.block("if place == own"):
                new = f"fetch_{updates.dtype}({more}, from_)"
                w.line(f"value = {combined(combine, 'value', new, dtype)}")
        w.line(f"store_{y.dtype}({target}, to, value)")
    rows.finish(ctx, "scatter_along_axis_" + combine, 3.0 * outer * count * inner * y.itemsize)


# -- boxes ----------------------------------------------------------------------------------------------
def _box(ctx: Lowering, node: Node, whole: View, part: View, starts: Sequence[Node], write: bool) -> None:
    """Copy between `part` and a box of `whole` at computed starts; a box that reaches outside is moved inside."""
    rank = len(whole.shape)
    lead = rank  # axes from `lead` on are whole: one run of memory
    while lead and whole.shape[lead - 1] == part.shape[lead - 1]:
        lead -= 1
    inner = math.prod(whole.shape[lead:])
    width = width_of(inner, [whole, part])
    verb = "write" if write else "read"
    sizes = {f"i{axis}": part.shape[axis] for axis in range(lead)} or {"i": 1}
    rows = Rows(node, f"{verb} a box at computed starts", sizes, inner, width)
    s, w = rows.source, rows.w
    place = "0"
    for axis in range(lead):
        start = ctx.contiguous(starts[axis])
        extent, size = s.word(whole.shape[axis]), s.word(part.shape[axis])
        w.line(f"first{axis} = min(max(int64(fetch_{start.dtype}({s.source(start)}, 0)), 0), {extent} - {size})")
        place = f"({place}) * {extent} + first{axis} + i{axis}" if axis else f"first{axis} + i{axis}"
    w.line(f"at = ({place}) * {rows.columns} + j")
    kind, n = part.dtype, _suffix(width)
    if write:
        w.line(f"store{n}_{kind}({s.destination(whole)}, at, fetch{n}_{kind}({s.source(part)}, item * {width}))")
    else:
        w.line(f"store{n}_{kind}({s.destination(part)}, item * {width}, fetch{n}_{kind}({s.source(whole)}, at))")
    rows.finish(ctx, node.op, 2.0 * math.prod(part.shape) * part.itemsize)


@lowers("dynamic_slice", target="cuda")
def lower_dynamic_slice(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, *starts = node.inputs
    _box(ctx, node, raw(ctx.contiguous(x), node), raw(ctx.output(node), node), starts, write=False)


@lowers("dynamic_update_slice", target="cuda")
def lower_dynamic_update_slice(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, update, *starts = node.inputs
    y = raw(ctx.output(node), node)
    ctx.copy(raw(ctx.view(x), node), y)
    _box(ctx, node, y, raw(ctx.contiguous(update), node), starts, write=True)


# -- copies into parts ----------------------------------------------------------------------------------
@lowers("concat", target="cuda")
def lower_concat(ctx: Lowering, group: Group) -> None:
    """Each operand is copied to its part of the result, unless it was computed there."""
    node = group.anchor
    for operand, part in zip(node.inputs, concat_parts(node, ctx.output(node)), strict=True):
        ctx.copy(raw(ctx.view(operand), node), raw(part, node))


@lowers("pad", target="cuda")
def lower_pad(ctx: Lowering, group: Group) -> None:
    """Fill the result with the value, then copy x to its (spread) place."""
    node = group.anchor
    x, y = raw(ctx.view(node.inputs[0]), node), raw(ctx.output(node), node)
    size = math.prod(y.shape)
    low, interior = node.attrs["low"], node.attrs["interior"]
    if size != math.prod(x.shape):
        fill(ctx, node, y, size, node.attrs["value"])
    if math.prod(x.shape):
        steps = [math.prod(y.shape[axis + 1 :]) for axis in range(len(y.shape))]
        offset = y.offset + sum(lo * s for lo, s in zip(low, steps, strict=True))
        strides = tuple(s * (k + 1) for s, k in zip(steps, interior, strict=True))
        ctx.copy(x, replace(y, shape=x.shape, strides=strides, offset=offset))


def fill(ctx: Lowering, node: Node, y: View, size: int, value: object) -> None:
    """One value everywhere; its bits are an argument."""
    kind = numpy_dtype(node.dtype)
    bits = int(np.asarray(value).astype(kind).reshape(1).view(_BITS[kind.itemsize])[0])
    rows = Rows(node, "one value everywhere", {"i": 1}, size, width_of(size, [y]))
    word = rows.source.word(bits if bits < 2**63 else bits - 2**64)
    values = ", ".join([f"{y.dtype}({word})"] * rows.width)
    target = rows.source.destination(y)
    rows.w.line(f"store{_suffix(rows.width)}_{y.dtype}({target}, j, {f'({values})' if rows.width > 1 else values})")
    rows.finish(ctx, "fill", float(size * y.itemsize))
