"""Reads and writes at computed places, and copies into parts of a result.

Arrays are seen as (outer, axis, inner) around the indexed axis. Reads share the rows of the result among threads.
Writes never use atomics: an item owns some columns of some outer row and walks all updates in order, so that the last
'set' wins and sums have the same bits whatever the threads do.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphkeras.codegen.cpu.params import Params, place_of, rows_per_chunk, small_kernel
from graphkeras.codegen.cpu.product import widened
from graphkeras.codegen.cpu.row_sums import lower_row_sums
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.index_maps import is_row_sum
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, LoweringError, concat_parts, lowers
from graphkeras.ir.node import Node

HALF = ("float16", "bfloat16")
OUT_OF_RANGE = 1  # first status word
LINE = 64  # bytes of a cache line
AHEAD = 4096  # bytes between what is copied and what is asked for
COLUMNS = 16  # columns that one item of a scatter owns, at least: one cache line


def raw(view: View, node: Node) -> View:
    """The view with an element type that kernels can move: complex64 as 64-bit words."""
    if view.dtype == "complex64":
        return replace(view, dtype="uint64")
    if view.dtype == "complex128":
        raise LoweringError(f"{node.op} of complex128 in layer {node.origin} has no native kernel")
    return view


def split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Extents before, at and after the axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _missing(dtype: str) -> str:
    """What a row holds that could not be read."""
    if dtype in HALF:
        return f"float32_to_{dtype}(float32(nan))"
    return f"{dtype}(nan)" if dtype.startswith("float") else "uint8(0)" if dtype == "bool" else f"{dtype}(0)"


@lowers("take")
def lower_take(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, y = raw(ctx.contiguous(node.inputs[0]), node), raw(ctx.output(node), node)
    indices = ctx.contiguous(node.inputs[1])
    axis, mode = node.attrs["axis"] % len(x.shape), node.attrs["mode"]
    outer, extent, inner = split(x.shape, axis)
    count = math.prod(indices.shape)
    params = Params()
    params.source("x", x)
    params.source("indices", indices)
    params.target("y", y)
    if mode == "check":
        params.source("status", View(ctx.status, "int64", (4,), (1,)))
        params.word("node", node.id)
    params.ints(count=count, extent=extent, rows_ahead=_rows_ahead(inner * x.itemsize))
    (params.literal if inner == 1 else params.word)("inner", inner)
    report = ["    set_status(status, 1, node, int64(indices[item % count]), extent)"] if mode == "check" else []
    missing = [
        "if not inside:",
        *report,
        "    for j in range(inner):",
        f"        y[item * inner + j] = {_missing(x.dtype)}",
        "    continue",
    ]
    body = [
        "for item in range(lo, hi):",
        *("    " + line for line in _fetched_ahead(x.itemsize)),
        *("    " + line for line in place_of("place", "indices[item % count]", mode)),
        *("    " + line for line in (missing if mode != "clip" else [])),
        "    source = shift(x, (item // count * extent + place) * inner)",
        "    target = shift(y, item * inner)",
        "    for j in range(inner):",
        "        target[j] = source[j]",
    ]
    head = f"y[o, i, :] = x[o, indices[i], :], {x.dtype}; out of range: {mode}. One item is one row of y."
    rows = outer * count
    ctx.launch(
        small_kernel("take", head, params, body, rows, rows_per_chunk(inner), node, 2.0 * rows * inner * x.itemsize)
    )


def _rows_ahead(row: int) -> int:
    """How many rows of that many bytes before it is read one is asked for; 0: it is not.

    Rows lie anywhere, so the memory cannot foresee the next one; several short ones are under way at once anyhow.
    """
    return max(1, AHEAD // row) if row >= 4 * LINE else 0


def _fetched_ahead(itemsize: int) -> list[str]:
    """Lines that ask for the row that is read `rows_ahead` items later. A row may be as long as a sequence."""
    return [
        "if rows_ahead > 0:",
        "    ahead = min(item + rows_ahead, hi - 1)",
        "    coming = shift(x, (ahead // count * extent + int64(indices[ahead % count])) * inner)",
        f"    for j in range(0, inner, {LINE // itemsize}):",
        "        prefetch(shift(coming, j))",
    ]


@lowers("take_along_axis")
def lower_take_along_axis(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, y = raw(ctx.contiguous(node.inputs[0]), node), raw(ctx.output(node), node)
    indices = ctx.contiguous(node.inputs[1])
    axis = node.attrs["axis"] % len(x.shape)
    outer, extent, inner = split(x.shape, axis)
    count = indices.shape[axis]
    params = Params()
    params.source("x", x)
    params.source("indices", indices)
    params.target("y", y)
    params.source("status", View(ctx.status, "int64", (4,), (1,)))
    params.ints(node=node.id, count=count, extent=extent)
    (params.literal if inner == 1 else params.word)("inner", inner)
    body = [
        "for item in range(lo, hi):",
        "    for j in range(inner):",
        "        at = item * inner + j",
        *("        " + line for line in place_of("place", "indices[at]", "check")),
        "        if inside:",
        "            y[at] = x[(item // count * extent + place) * inner + j]",
        "        else:",
        "            set_status(status, 1, node, int64(indices[at]), extent)",
        f"            y[at] = {_missing(x.dtype)}",
    ]
    head = f"y[o, i, j] = x[o, indices[o, i, j], j], {x.dtype}. One item is one row of y."
    rows = outer * count
    moved = rows * inner * (2.0 * x.itemsize + indices.itemsize)
    ctx.launch(small_kernel("take_along_axis", head, params, body, rows, rows_per_chunk(4 * inner), node, moved))


# -- scatter --------------------------------------------------------------------------------------------
def combined(combine: str, old: str, new: str, dtype: str) -> str:
    """The expression that joins an update with what is there."""
    if combine == "set":
        return new
    if dtype == "bool":
        return f"uint8({old} {'|' if combine in ('add', 'max') else '&'} {new})"
    if combine in ("max", "min"):
        return f"{combine}imum({old}, {new})"
    return f"{dtype}({old} {'+' if combine == 'add' else '*'} {new})"


def _start(ctx: Lowering, node: Node) -> tuple[View, View, View]:
    """(result with x in it, its final place, updates): half floats are combined in float32."""
    x, place = ctx.view(node.inputs[0]), ctx.output(node)
    updates = ctx.contiguous(node.inputs[2])
    if node.dtype in HALF and node.attrs["combine"] != "set":
        return widened(ctx, x), place, widened(ctx, updates)
    ctx.copy(raw(x, node), raw(place, node))
    return raw(place, node), place, raw(updates, node)


def finish_half(ctx: Lowering, node: Node, y: View, place: View) -> None:
    """Round a float32 result to the half float it stands for."""
    if place.dtype not in HALF or y.dtype in HALF:
        return
    params = Params()
    params.source("x", y)
    params.target("y", place)
    body = ["for i in range(lo, hi):", f"    y[i] = float32_to_{place.dtype}(x[i])"]
    size = math.prod(place.shape)
    ctx.launch(small_kernel("narrow", f"float32 to {place.dtype}.", params, body, size, 16384, node, 6.0 * size))


def _check_combine(node: Node) -> str:
    combine = node.attrs["combine"]
    if combine != "set" and node.dtype.startswith("complex"):
        raise LoweringError(f"{node.op} {combine} of {node.dtype} in layer {node.origin} has no native kernel")
    return combine


@lowers("scatter")
def lower_scatter(ctx: Lowering, group: Group) -> None:
    """Copy x, then every item walks all updates for its own columns."""
    node = group.anchor
    if is_row_sum(node):
        return lower_row_sums(ctx, group)
    combine = _check_combine(node)
    y, place, updates = _start(ctx, node)
    indices = ctx.contiguous(node.inputs[1])
    outer, extent, inner = split(y.shape, node.attrs["axis"] % len(y.shape))
    count = math.prod(indices.shape)
    if count == 0:
        return finish_half(ctx, node, y, place)
    params = Params()
    params.target("y", y)
    params.source("indices", indices)
    params.source("updates", updates)
    columns = max(COLUMNS, -(-inner // 8))
    blocks = -(-inner // columns) if outer * count * inner > 16384 else 1
    columns = -(-inner // blocks)
    params.ints(count=count, extent=extent, inner=inner, columns=columns, blocks=blocks)
    body = [
        "for item in range(lo, hi):",
        "    o = item // blocks",
        "    first = item % blocks * columns",
        "    width = min(columns, inner - first)",
        "    for i in range(count):",
        *("        " + line for line in place_of("place", "indices[i]", "drop")),
        "        if inside:",
        "            target = shift(y, (o * extent + place) * inner + first)",
        "            source = shift(updates, (o * count + i) * inner + first)",
        "            for j in range(width):",
        f"                target[j] = {combined(combine, 'target[j]', 'source[j]', y.dtype)}",
    ]
    head = f"y[o, indices[i], :] {combine} updates[o, i, :], {y.dtype}. One item owns some columns of one outer row."
    items, moved = outer * blocks, 3.0 * outer * count * inner * y.itemsize
    chunk = items if outer * count * inner <= 16384 else rows_per_chunk(count * columns)
    ctx.launch(small_kernel("scatter_" + combine, head, params, body, items, chunk, node, moved))
    finish_half(ctx, node, y, place)


@lowers("scatter_along_axis")
def lower_scatter_along_axis(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    combine = _check_combine(node)
    y, place, updates = _start(ctx, node)
    indices = ctx.contiguous(node.inputs[1])
    axis = node.attrs["axis"] % len(y.shape)
    outer, extent, inner = split(y.shape, axis)
    count = indices.shape[axis]
    params = Params()
    params.target("y", y)
    params.source("indices", indices)
    params.source("updates", updates)
    params.ints(count=count, extent=extent, inner=inner)
    body = [
        "for item in range(lo, hi):",
        "    for i in range(count):",
        "        for j in range(inner):",
        "            at = (item * count + i) * inner + j",
        *("            " + line for line in place_of("place", "indices[at]", "drop")),
        "            if inside:",
        "                to = (item * extent + place) * inner + j",
        f"                y[to] = {combined(combine, 'y[to]', 'updates[at]', y.dtype)}",
    ]
    head = f"y[o, indices[o, i, j], j] {combine} updates[o, i, j], {y.dtype}. One item is one outer row."
    if count:
        moved = 3.0 * outer * count * inner * y.itemsize
        chunk = rows_per_chunk(4 * count * inner)
        ctx.launch(small_kernel("scatter_along_axis_" + combine, head, params, body, outer, chunk, node, moved))
    finish_half(ctx, node, y, place)


# -- boxes ----------------------------------------------------------------------------------------------
def _box_kernel(ctx: Lowering, node: Node, whole: View, part: View, starts: tuple[Node, ...], write: bool) -> None:
    """Copy between `part` and a box of `whole` at computed starts; a box that reaches outside is moved inside."""
    rank = len(whole.shape)
    lead = rank  # axes from `lead` on are whole: one run of memory
    while lead and whole.shape[lead - 1] == part.shape[lead - 1]:
        lead -= 1
    lead = max(0, lead - 1)  # the run starts inside this axis
    inner = math.prod(part.shape[lead:])
    rest = math.prod(whole.shape[lead + 1 :])
    params = Params()
    (params.target if write else params.source)("whole", whole)
    (params.source if write else params.target)("part", part)
    for axis in range(min(lead + 1, rank)):
        params.source(f"start{axis}", ctx.view(starts[axis]))
    params.table("extent", whole.shape[: lead + 1])
    params.table("size", part.shape[: lead + 1])
    params.ints(inner=inner, rest=rest)
    lines = [f"first{a} = min(max(int64(start{a}[0]), 0), extent{a} - size{a})" for a in range(min(lead + 1, rank))]
    lines += ["for item in range(lo, hi):", "    left = item", "    at = 0"]
    if rank:
        scale = "rest"
        lines.append(f"    at += first{lead} * rest")
        for axis in range(lead - 1, -1, -1):
            scale += f" * extent{axis + 1}"
            lines += [
                f"    at += (first{axis} + left % size{axis}) * {scale}",
                f"    left = left // size{axis}",
            ]
    lines += ["    for j in range(inner):"]
    lines.append(
        "        " + ("whole[at + j] = part[item * inner + j]" if write else "part[item * inner + j] = whole[at + j]")
    )
    head = f"{'Write' if write else 'Read'} a box at computed starts, {part.dtype}. One item is one contiguous run."
    items = math.prod(part.shape[:lead])
    moved = 2.0 * items * inner * part.itemsize
    if items * inner:
        ctx.launch(small_kernel(node.op, head, params, lines, items, rows_per_chunk(inner), node, moved))


@lowers("dynamic_slice")
def lower_dynamic_slice(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, *starts = node.inputs
    _box_kernel(ctx, node, raw(ctx.contiguous(x), node), raw(ctx.output(node), node), tuple(starts), write=False)


@lowers("dynamic_update_slice")
def lower_dynamic_update_slice(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, update, *starts = node.inputs
    y = raw(ctx.output(node), node)
    ctx.copy(raw(ctx.view(x), node), y)
    _box_kernel(ctx, node, y, raw(ctx.contiguous(update), node), tuple(starts), write=True)


# -- copies into parts ----------------------------------------------------------------------------------
@lowers("concat")
def lower_concat(ctx: Lowering, group: Group) -> None:
    """Each operand is copied to its part of the result, unless it was computed there."""
    node = group.anchor
    for operand, part in zip(node.inputs, concat_parts(node, ctx.output(node)), strict=True):
        ctx.copy(raw(ctx.view(operand), node), raw(part, node))


@lowers("pad")
def lower_pad(ctx: Lowering, group: Group) -> None:
    """Fill the result with the value, then copy x to its (spread) place."""
    node = group.anchor
    x, y = raw(ctx.view(node.inputs[0]), node), raw(ctx.output(node), node)
    size = math.prod(y.shape)
    low, interior, value = node.attrs["low"], node.attrs["interior"], node.attrs["value"]
    if node.dtype.startswith("complex") and value != 0:
        raise LoweringError(f"pad of {node.dtype} with {value} in layer {node.origin} has no native kernel")
    params = Params()
    params.target("y", y)
    if node.dtype in HALF or node.dtype.startswith("float"):
        params.real("value", float(value))
        wide = "float32" if node.dtype in HALF else node.dtype
        cast = f"{wide}(value)" if node.dtype not in HALF else f"float32_to_{node.dtype}(float32(value))"
    else:
        params.word("value", int(value.real if isinstance(value, complex) else value))
        cast = f"{'uint8' if node.dtype == 'bool' else y.dtype}(value)"
    if size != math.prod(x.shape):
        body = [f"filler = {cast}", "for i in range(lo, hi):", "    y[i] = filler"]
        ctx.launch(
            small_kernel(
                "fill", f"One value everywhere, {y.dtype}.", params, body, size, 16384, node, size * y.itemsize
            )
        )
    if math.prod(x.shape):
        strides = _strides(y.shape)
        offset = y.offset + sum(lo * s for lo, s in zip(low, strides, strict=True))
        steps = tuple(s * (k + 1) for s, k in zip(strides, interior, strict=True))
        ctx.copy(x, replace(y, shape=x.shape, strides=steps, offset=offset))


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major steps, also along extents of one."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
