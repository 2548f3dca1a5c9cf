"""Weights of a convolution in another order: turned for the gradient of the input, or in panels of columns, or both;
or several groups of them as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphkeras.codegen.cpu.params import HEADER, Params, comment, small_kernel
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

ITEM = 16384  # elements of a chunk of work


def panelled(ctx: Lowering, group: Group, w: View, panel: int) -> View:
    """w[t, c, o] as panels[o // panel, t, c, o % panel], zero past the last column."""
    rows, cout = math.prod(w.shape[:-1]), w.shape[-1]
    panels = -(-cout // panel)
    target = ctx.new((panels, *w.shape[:-1], panel), w.dtype, "panels of weights")
    params = Params()
    params.source("w", w)
    params.target("panels", target)
    params.ints(rows=rows, cout=cout)
    lines = [
        "for row in range(lo, hi):",
        f"    for j in range(0, cout, {panel}):",
        f"        place = shift(panels, (j // {panel} * rows + row) * {panel})",
        "        source = shift(w, row * cout + j)",
        f"        if cout - j >= {panel}:",
        f"            for o in range({panel}):",
        "                place[o] = source[o]",
        "        else:",
        "            for o in range(cout - j):",
        "                place[o] = source[o]",
        f"            for o in range(cout - j, {panel}):",
        f"                place[o] = {w.dtype}(0)",
    ]
    head = f"Weights in panels of {panel} columns, which the tiles then read from end to end. One item is one row."
    moved = 2.0 * target.itemsize * math.prod(target.shape)
    chunk = max(1, ITEM // cout)
    ctx.launch(small_kernel("panel_weights", head, params, lines, rows, chunk, group.anchor, moved))
    return target


def joined(ctx: Lowering, group: Group, w: View, cout: int, n: int) -> View:
    """w[t, c, (g, i, o)] as joined[t, (j, c), (g, i, o)] for n groups i in one: w where i is j, and zero elsewhere."""
    cin, columns = w.shape[-2:]
    target = ctx.new((*w.shape[:-2], n * cin, columns), w.dtype, "weights of joined groups")
    lines = [
        "tap = row // (n * cin)",
        "j = row // cin - tap * n",
        "for o in range(columns):",
        f"    place[o] = {w.dtype}(0)",
        "line = shift(source, (tap * cin + row % cin) * columns)",
        *_GROUP,
    ]
    head = "Weights of several groups as those of one, with zeros between the groups. One item is one channel of a tap."
    _between_groups(ctx, group, "join_groups", head, w, target, cin, cout, n, lines)
    return target


def parted(ctx: Lowering, group: Group, dw: View, cout: int, n: int, target: View) -> None:
    """The gradient of `joined`: of each channel's row, the columns of its own group."""
    lines = [
        "tap = row // cin",
        "for j in range(n):",
        "    line = shift(source, ((tap * n + j) * cin + row - tap * cin) * columns)",
        *("    " + text for text in _GROUP),
    ]
    head = "Gradients of weights, of which several groups were joined. One item is one channel of a tap."
    _between_groups(ctx, group, "part_groups", head, dw, target, target.shape[-2], cout, n, lines)


_GROUP = (
    "for first in range(j * cout, columns, n * cout):",
    "    for o in range(first, first + cout):",
    "        place[o] = line[o]",
)  # columns of every j-th of n groups


def _between_groups(
    ctx: Lowering,
    group: Group,
    name: str,
    head: str,
    source: View,
    target: View,
    cin: int,
    cout: int,
    n: int,
    lines: Sequence[str],
) -> None:
    """Launches `lines`, which fill the row at `place` of the target; cin: of one of the n groups."""
    params, columns = Params(), target.shape[-1]
    params.source("source", source)
    params.target("target", target)
    params.ints(n=n, cin=cin, cout=cout, columns=columns)
    body = ["for row in range(lo, hi):", "    place = shift(target, row * columns)", *("    " + x for x in lines)]
    rows, moved = math.prod(target.shape[:-1]), 2.0 * target.itemsize * math.prod(target.shape)
    ctx.launch(small_kernel(name, head, params, body, rows, max(1, ITEM // columns), group.anchor, moved))


def along_depth(ctx: Lowering, group: Group, w: View, taps: Sequence[Sequence[int]] | None, multiple: int) -> View:
    """w[t, c, o] as rows[o, t, c]; with taps, turned: rows[c, t', o]. Rows up to a `multiple` are undefined."""
    *window, cin, cout = w.shape
    chosen = [range(n) for n in window] if taps is None else taps
    table = np.ravel_multi_index(np.meshgrid(*chosen, indexing="ij"), window).reshape(-1)
    rows, depth = (cout, cin) if taps is None else (cin, cout)
    target = ctx.new((-(-rows // multiple) * multiple, len(table), depth), w.dtype, "weights along the depth")
    params = Params()
    params.source("w", w)
    params.target("rows", target)
    params.source("taps", ctx.array_view(table.astype(np.int64)))
    params.ints(count=len(table), depth=depth)
    params.ints(tap_step=cin * cout, row_step=1 if taps is None else cout, step=cout if taps is None else 1)
    lines = [
        "for row in range(lo, hi):",
        "    for t in range(count):",
        "        place = shift(rows, (row * count + t) * depth)",
        "        source = shift(w, taps[t] * tap_step + row * row_step)",
        "        for k in range(depth):",
        "            place[k] = source[k * step]",
    ]
    head = "Weights with all taps and inputs of an output next to each other. One item is an output."
    moved, chunk = 2.0 * w.itemsize * rows * depth * len(table), max(1, ITEM // max(1, depth * len(table)))
    ctx.launch(small_kernel("weights_along_depth", head, params, lines, rows, chunk, group.anchor, moved))
    return target


def turned(
    ctx: Lowering,
    group: Group,
    w: View,
    taps: Sequence[Sequence[int]],
    groups: int,
    panel: int | None = None,
    target: View | None = None,
) -> View:
    """w[t, c, g * cout + o] as turned[t', o, g * cin + c], for the given taps of each axis in order.

    panel: as panels[c // panel, t', o, c % panel] instead; then there is one group. target: where to.
    """
    cin, cout, count = w.shape[-2], w.shape[-1] // groups, math.prod(map(len, taps))
    shape: tuple[int, ...] = (*map(len, taps), cout, cin * groups)
    if panel:
        shape = (-(-cin // panel), *shape[:-1], panel)
    target = target or ctx.new(shape, w.dtype, "turned weights")
    if not count:
        return target
    text, params, spatial = Writer(), Params(), len(taps)
    where = "turned[c // panel, t, o, c % panel]" if panel else "turned[t, o, g, c]"
    comment(text, f"Weights with taps flipped and channels exchanged: {where} = w[taps - t, c, g, o].")
    text.line(HEADER)
    text.line("from graphkeras.codegen.cpu.transpose import transpose")
    text.line()
    text.line(f'SQUARE = transpose("{w.dtype}")')
    text.line()
    text.line()
    params.source("w", w)
    params.target("turned", target)
    side = vector_width(w.dtype)
    strips = -(-cout // side)
    params.ints(cin=cin, cout=cout, groups=groups, strips=strips, all_taps=count)
    counts = params.table("count", [len(t) for t in taps])
    firsts = params.table("first", [t[0] for t in taps])
    steps = params.table("step", [t[1] - t[0] if len(t) > 1 else 0 for t in taps])
    widths = params.table("width", w.shape[:spatial])
    with text.block("def kernel(args, lo, hi)"):
        params.declare(text)
        with text.block("for item in range(lo, hi)"):
            text.line("tap = quotient(item, strips)")
            text.line(f"o0 = (item - tap * strips) * {side}")
            text.line("rest = tap")
            for i in reversed(range(spatial)):
                text.line(f"t{i} = {firsts[i]} + rest % {counts[i]} * {steps[i]}")
                text.line(f"rest = rest // {counts[i]}")
            flat = "t0"
            for i in range(1, spatial):
                flat = f"({flat}) * {widths[i]} + t{i}"
            text.line(f"source = shift(w, ({flat}) * cin * groups * cout)")
            _print_squares(text, w.dtype, panel)
    moved = 2.0 * target.itemsize * math.prod(target.shape)
    count, chunk = count * strips, max(1, -(-ITEM // (cin * min(cout, side) * groups)))
    args, reads, writes = tuple(params.args), (w.buffer,), (target.buffer,)
    ctx.launch(
        Kernel("turn_weights", text.text(), args, count, chunk, reads, writes, 0.0, moved, tuple(group.nodes[:1]))
    )
    return target


def _print_squares(w: Writer, dtype: str, panel: int | None) -> None:
    """The item's strip of channels out, square by square; a square lies in one panel, which is whole vectors."""
    side = vector_width(dtype)
    line, padded = (panel, f"cin + {panel - 1} - (cin - 1) % {panel}") if panel else ("groups * cin", "cin")
    with w.block("for g in range(groups)"), w.block(f"for c0 in range(0, {padded}, {side})"):
        if panel:
            w.line(f"place = shift(turned, ((c0 // {panel} * all_taps + tap) * cout + o0) * {panel} + c0 % {panel})")
        else:
            w.line("place = shift(turned, ((tap * cout + o0) * groups + g) * cin + c0)")
        w.line("square = shift(source, (c0 * groups + g) * cout + o0)")
        with w.block(f"if cin - c0 >= {side} and cout - o0 >= {side}"):
            w.line(f"SQUARE(square, groups * cout, place, {line})")
        with w.block("else"), w.block(f"for o in range(min({side}, cout - o0))"):
            with w.block(f"for c in range(min({side}, cin - c0))"):
                w.line(f"place[o * ({line}) + c] = square[c * groups * cout + o]")
            if panel:
                with w.block(f"for c in range(max(0, cin - c0), {side})"):
                    w.line(f"place[o * {panel} + c] = {dtype}(0)")
