"""Gradient of a convolution's kernel in Winograd's form, for the windows that winograd.py knows.

At each point the gradient is a product over all tiles: du[p, c, o] = sum of v[t, p, c] * d[t, p, o], with the inputs
and the gradients of the outputs at their points. Items are runs of blocks of tiles, each with its own sums,
which a second kernel adds in order and brings back to taps, so that results do not depend on the threads.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphkeras.codegen.cpu.params import HEADER, SERIAL, Params, comment, small_kernel
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.cpu.winograd import (
    Cut,
    added_taps,
    how_read,
    image_params,
    name_of,
    positions,
    print_added_taps,
    print_inputs,
    print_section,
    print_tile,
    tap_lines,
    times,
)
from graphkeras.codegen.cpu.winograd_sizes import SIDE, TAPS, UNROLL, rows_of
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

RUNS = 8  # sums that are kept apart ...
TILES = 512  # ... and more where each of them has so many tiles
BLOCK_MOST = 32  # tiles of a block, times 36 points
PARTIAL = 5 << 19  # bytes of all of them


def cut_of(c: Window) -> Cut:
    """The window's cut with long blocks: they are the depth of products whose sums are loaded and stored."""
    cut = Cut.of(c)
    mr = rows_of_product(cut.nv)
    cut = replace(cut, mr=mr, cin=-(-cut.cin // mr) * mr)
    most = BLOCK_MOST * SIDE * SIDE // cut.points
    block = min(most, max(1, vectors().l2 * 9 // 16 // (4 * cut.points * (cut.inputs + cut.outputs))))
    return replace(cut, block=-(-block // UNROLL) * UNROLL)


def sums_of(c: Window, cut: Cut) -> int:
    """Elements of the sums at all points."""
    return added_taps(c) * cut.points * cut.sections * cut.groups * cut.cin * cut.cout


def launch_winograd_grad(ctx: Lowering, group: Group, c: Window, x: View, dy: View, target: View) -> None:
    """The kernel's gradient of a window that `winograd.can` do."""
    cut = cut_of(c)
    tiles = c.images * cut.per_image
    blocks, size = -(-tiles // cut.block), sums_of(c, cut)
    most = max(RUNS, tiles // TILES)
    most = max(1, min(blocks, most, PARTIAL // (4 * size))) if c.flops > SERIAL else 1
    runs = 1 << (most.bit_length() - 1)  # a power of two: shared evenly among as many threads
    per_run = -(-blocks // runs)
    runs = -(-blocks // per_run)
    sums = ctx.new((runs, size), c.dtype, "sums at points")
    ctx.launch(_gradient(group, c, cut, (x, dy, sums), (blocks, per_run)))
    ctx.launch(_taps(group, c, cut, sums, target))


def rows_of_product(nv: int) -> int:
    """Channels in of a register tile: divides the padded channels of most layers."""
    if vectors().registers == 32:
        return 16 if nv == 1 else 8
    return 8 if nv == 1 else 4


def _gradient(group: Group, c: Window, cut: Cut, views: tuple[View, View, View], blocks: tuple[int, int]) -> Kernel:
    x, dy, sums = views
    params, w = Params(), Writer()
    params.source("x", x)
    params.source("dy", dy)
    params.target("sums", sums)
    params.scratch("v", cut.block * cut.points * cut.inputs, c.dtype)
    params.scratch("d", cut.block * cut.points * cut.outputs, c.dtype)
    params.ints(blocks=blocks[0], blocks_of_run=blocks[1], runs=sums.shape[0], run_size=sums.shape[1])
    params.literals(cout=c.cout * c.groups)
    image_params(params, c, cut)
    comment(
        w,
        f"""Gradient of a convolution's kernel, {c.dtype}, channels last, in Winograd's form {name_of(cut)}.
        Item: a run of blocks of {cut.block} tiles. Products: {cut.mr} channels in x {cut.nv} vectors of them out.""",
    )
    w.line(HEADER)
    w.line("from graphkeras.codegen.cpu.winograd_tiles import product, transform")
    w.line()
    steps = f"1, {cut.points * cut.inputs}, {cut.points * cut.outputs}, {cut.cout}"
    _, apart = cut.phases
    w.line(f'INPUTS = transform("inputs", "{c.dtype}", {apart * c.cin * c.groups}, {cut.inputs}, {how_read(cut)})')
    w.line(f'RESULTS = transform("results", "{c.dtype}", {apart * c.cout * c.groups}, {cut.outputs}, {how_read(cut)})')
    w.line(f'PRODUCT = product({cut.mr}, {cut.nv}, {steps}, "{c.dtype}", adding=True)')
    w.line()
    w.line()
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        with w.block("for item in range(lo, hi)"):
            run = print_section(w, cut, "item", "runs")
            w.line(f"place = shift(sums, {run} * run_size)")
            _print_zeros(w, c, cut)
            with w.block(f"for block in range({run} * blocks_of_run, min(({run} + 1) * blocks_of_run, blocks))"):
                _print_block(w, c, cut)
    flops = 2.0 * cut.points * c.images * cut.per_image * added_taps(c) * c.cin * c.cout * c.groups
    moved = float(sum(v.itemsize * math.prod(v.shape) for v in views))
    return Kernel(
        "conv_kernel_grad", w.text(), tuple(params.args), cut.sections * sums.shape[0], 1, tuple(params.reads),
        (sums.buffer,), flops=flops, nbytes=moved, nodes=tuple(group.nodes),
        reason="kernel gradient in Winograd's form",
    )  # fmt: skip


def _at_point(cut: Cut, c: Window) -> str:
    """Where sums of a section at point p begin: sums[added tap, point, group, channel in, channel out]."""
    plane = f"(tap * {cut.points} + p)" if added_taps(c) > 1 else "p"
    of_section = cut.groups * cut.cin * cut.cout
    first = f" + section * {of_section}" if cut.sections > 1 else ""
    return f"{plane} * {of_section * cut.sections}{first}"


def _print_zeros(w: Writer, c: Window, cut: Cut) -> None:
    size = cut.groups * cut.cin * cut.cout
    with print_added_taps(w, c), w.block(f"for p in range({cut.points})"):
        w.line(f"here = shift(place, {_at_point(cut, c)})")
        with w.block(f"for e in range({size})"):
            w.line(f"here[e] = {c.dtype}(0)")


def _print_block(w: Writer, c: Window, cut: Cut) -> None:
    """One block: both transforms, zeros up to a multiple of the products' unrolling, products added to the sums."""
    width, (down, right) = vector_width(c.dtype), cut.phases
    of_section = c.cout * cut.groups
    channel = f" + section * {of_section}" if cut.sections > 1 else ""
    w.line(f"first = block * {cut.block}")
    w.line(f"count = min({cut.block}, all_tiles - first)")
    w.line(f"depth = (count + {UNROLL - 1}) // {UNROLL} * {UNROLL}")
    with w.block("for t in range(count)"):
        print_tile(w, cut)
        w.line(f"at = ((image * count0 + row) * count1 + column) * cout{channel}")
        with w.block(f"for o in range(0, {of_section}, {width})"):
            rows, columns = positions("count0 - row", down), positions("count1 - column", right)
            line = times(down, "count1 * cout")
            w.line(f"RESULTS(dy, at + o, {line}, 0, {rows}, 0, {columns}, {of_section} - o,")
            w.line(f"        shift(d, t * {cut.points * cut.outputs} + o))")
    _print_padding(w, "d", cut.points * cut.outputs, c.dtype)
    with print_added_taps(w, c):
        print_inputs(w, c, cut)
        _print_padding(w, "v", cut.points * cut.inputs, c.dtype)
        points, groups = w.block(f"for p in range({cut.points})"), w.block(f"for g in range({cut.groups})")
        panels = w.block(f"for j in range(0, {cut.cout}, {cut.panel})")
        with points, groups, panels, w.block(f"for i in range(0, {cut.cin}, {cut.mr})"):
            to = f"{_at_point(cut, c)} + (g * {cut.cin} + i) * {cut.cout} + j"
            w.line(f"PRODUCT(shift(v, p * {cut.inputs} + g * {cut.cin} + i),")
            w.line(f"        shift(d, p * {cut.outputs} + g * {cut.cout} + j), shift(place, {to}), depth)")


def _print_padding(w: Writer, name: str, size: int, dtype: str) -> None:
    with w.block(f"for e in range(count * {size}, depth * {size})"):
        w.line(f"{name}[e] = {dtype}(0)")


def _taps(group: Group, c: Window, cut: Cut, sums: View, output: View) -> Kernel:
    """The runs' sums added in order, and brought from points to taps."""
    params, width = Params(), vector_width(c.dtype)
    params.source("sums", sums)
    params.target("dw", output)
    params.scratch("total", cut.points * cut.cout, c.dtype)
    params.ints(runs=sums.shape[0], run_size=sums.shape[1], cin=c.cin, cout=c.cout, groups=c.groups)
    line = cut.cin * cut.cout
    lines = [
        "for item in range(lo, hi):",
        "    row = quotient(item, groups)",
        "    g = item - row * groups",
        "    tap = quotient(row, cin)",
        "    k = row - tap * cin",
        f"    for p in range({cut.points}):",
        f"        place = shift(total, p * {cut.cout})",
        f"        part = shift(sums, ((tap * {cut.points} + p) * groups + g) * {line} + k * {cut.cout})",
        f"        for j in range({cut.cout}):",
        "            place[j] = part[j]",
        "        for run in range(1, runs):",
        "            more = shift(part, run * run_size)",
        f"            for j in range({cut.cout}):",
        "                place[j] += more[j]",
        "    all_out = groups * cout",
        *("    " + text for text in tap_lines(c, cut)),
        f"    rows = min(rows, {rows_of(TAPS, cut.flat)})",
        f"    columns = min(columns, {TAPS})",
        "    to = (first_tap * cin + k) * all_out + g * cout",
        f"    line = {c.last_two[1].taps} * cin * all_out",
        f"    for j in range(0, cout, {width}):",
        "        TAPS(shift(total, j), dw, to + j, line, rows, columns, cout - j)",
    ]
    head = "Sums at the points of Winograd's form, added in order, to taps. One item is one channel of the input."
    work = cut.points * cut.cout * sums.shape[0]
    imports = (
        "from graphkeras.codegen.cpu.winograd_tiles import transform",
        "",
        f'TAPS = transform("taps", "{c.dtype}", {c.cin * c.cout * c.groups}, {cut.cout}, flat={cut.flat})',
    )
    items, chunk = added_taps(c) * c.cin * c.groups, max(1, 16384 // work)
    moved = sums.itemsize * float(math.prod(sums.shape))
    return small_kernel("winograd_taps", head, params, lines, items, chunk, group.anchor, moved, imports)
