"""Gradient of a 3 x 3 convolution's kernel in Winograd's form.

At each of the 36 points the gradient is a product over all tiles: du[p, c, o] = sum of v[t, p, c] * d[t, p, o], with
the inputs and the gradients of the outputs at their points. Items are runs of blocks of tiles, each with its own sums,
which a second kernel adds in order and brings back to 3 x 3 taps, so that results do not depend on the threads.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphkeras.codegen.cpu.params import HEADER, SERIAL, Params, comment, small_kernel
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.cpu.winograd import Cut, image_params, print_inputs, print_tile
from graphkeras.codegen.cpu.winograd_sizes import POINTS, UNROLL
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

RUNS = 8  # sums that are kept apart ...
TILES = 512  # ... and more where each of them has so many tiles
PARTIAL = 5 << 19  # bytes of all of them


def launch_winograd_grad(ctx: Lowering, group: Group, c: Window, x: View, dy: View) -> None:
    """The kernel's gradient of a window that `winograd.can` do."""
    cut = Cut.of(c)
    mr = rows_of_product(cut.nv)
    cut = replace(cut, mr=mr, cin=-(-cut.cin // mr) * mr)
    blocks = -(-c.images * cut.per_image // cut.block)
    size = POINTS * cut.cin * cut.cout
    most = max(RUNS, c.images * cut.per_image // TILES)
    most = max(1, min(blocks, most, PARTIAL // (4 * size))) if c.flops > SERIAL else 1
    runs = 1 << (most.bit_length() - 1)  # a power of two: shared evenly among as many threads
    per_run = -(-blocks // runs)
    runs = -(-blocks // per_run)
    sums = ctx.new((runs, size), c.dtype, "sums at points")
    ctx.launch(_gradient(group, c, cut, (x, dy, sums), (blocks, per_run)))
    ctx.launch(_taps(group, c, cut, sums, ctx.output(group.anchor)))


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
    params.scratch("v", cut.block * POINTS * cut.cin, c.dtype)
    params.scratch("d", cut.block * POINTS * cut.cout, c.dtype)
    params.ints(blocks=blocks[0], blocks_of_run=blocks[1])
    params.literals(cout=c.cout)
    image_params(params, c, cut)
    comment(
        w,
        f"""Gradient of a 3 x 3 convolution's kernel, {c.dtype}, channels last, in Winograd's form F(4 x 4, 3 x 3).
        Item: a run of blocks of {cut.block} tiles. Products: {cut.mr} channels in x {cut.nv} vectors of them out.""",
    )
    w.line(HEADER)
    w.line("from graphkeras.codegen.cpu.winograd_tiles import product, transform")
    w.line()
    steps = f"1, {POINTS * cut.cin}, {POINTS * cut.cout}, {cut.cout}"
    w.line(f'INPUTS = transform("inputs", "{c.dtype}", {c.cin}, {cut.cin}, ahead=True)')
    w.line(f'RESULTS = transform("results", "{c.dtype}", {c.cout}, {cut.cout}, ahead=True)')
    w.line(f'PRODUCT = product({cut.mr}, {cut.nv}, {steps}, "{c.dtype}", adding=True)')
    w.line()
    w.line()
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        with w.block("for run in range(lo, hi)"):
            w.line(f"place = shift(sums, run * {POINTS * cut.cin * cut.cout})")
            with w.block(f"for e in range({POINTS * cut.cin * cut.cout})"):
                w.line(f"place[e] = {c.dtype}(0)")
            with w.block("for block in range(run * blocks_of_run, min((run + 1) * blocks_of_run, blocks))"):
                _print_block(w, c, cut)
    flops = 2.0 * POINTS * c.images * cut.per_image * c.cin * c.cout
    moved = float(sum(v.itemsize * math.prod(v.shape) for v in views))
    return Kernel(
        "conv_kernel_grad", w.text(), tuple(params.args), sums.shape[0], 1, tuple(params.reads), (sums.buffer,),
        flops=flops, nbytes=moved, nodes=tuple(group.nodes), reason="kernel gradient in Winograd's form",
    )  # fmt: skip


def _print_block(w: Writer, c: Window, cut: Cut) -> None:
    """One block: both transforms, zeros up to a multiple of the products' unrolling, products added to the sums."""
    width = vector_width(c.dtype)
    w.line(f"first = block * {cut.block}")
    w.line(f"count = min({cut.block}, all_tiles - first)")
    print_inputs(w, c, cut)
    with w.block("for t in range(count)"):
        print_tile(w)
        w.line("at = ((image * count0 + row) * count1 + column) * cout")
        with w.block(f"for o in range(0, cout, {width})"):
            w.line("RESULTS(dy, at + o, count1 * cout, 0, count0 - row, 0, count1 - column, cout - o,")
            w.line(f"        shift(d, t * {POINTS * cut.cout} + o))")
    w.line(f"depth = (count + {UNROLL - 1}) // {UNROLL} * {UNROLL}")
    for name, channels in (("v", cut.cin), ("d", cut.cout)):
        size = POINTS * channels
        with w.block(f"for e in range(count * {size}, depth * {size})"):
            w.line(f"{name}[e] = {c.dtype}(0)")
    points, panels = w.block(f"for p in range({POINTS})"), w.block(f"for j in range(0, {cut.cout}, {cut.panel})")
    with points, panels, w.block(f"for i in range(0, {cut.cin}, {cut.mr})"):
        w.line(f"PRODUCT(shift(v, p * {cut.cin} + i), shift(d, p * {cut.cout} + j),")
        w.line(f"        shift(place, (p * {cut.cin} + i) * {cut.cout} + j), depth)")


def _taps(group: Group, c: Window, cut: Cut, sums: View, output: View) -> Kernel:
    """The runs' sums added in order, and brought from 36 points to 3 x 3 taps."""
    params, width = Params(), vector_width(c.dtype)
    params.source("sums", sums)
    params.target("dw", output)
    params.scratch("total", POINTS * cut.cout, c.dtype)
    params.ints(runs=sums.shape[0], cin=c.cin, cout=c.cout)
    line = cut.cin * cut.cout
    lines = [
        "for k in range(lo, hi):",
        f"    for p in range({POINTS}):",
        f"        place = shift(total, p * {cut.cout})",
        f"        part = shift(sums, p * {line} + k * {cut.cout})",
        f"        for j in range({cut.cout}):",
        "            place[j] = part[j]",
        "        for run in range(1, runs):",
        f"            more = shift(part, run * {POINTS * line})",
        f"            for j in range({cut.cout}):",
        "                place[j] += more[j]",
        f"    for j in range(0, cout, {width}):",
        "        TAPS(shift(total, j), dw, k * cout + j, 3 * cin * cout, 3, 3, cout - j)",
    ]
    head = (
        "Sums at the 36 points of Winograd's form, added in order, to 3 x 3 taps. One item is one channel of the input."
    )
    work = POINTS * cut.cout * sums.shape[0]
    imports = (
        "from graphkeras.codegen.cpu.winograd_tiles import transform",
        "",
        f'TAPS = transform("taps", "{c.dtype}", {c.cin * c.cout}, {cut.cout})',
    )
    chunk, moved = max(1, 16384 // work), 4.0 * POINTS * line * sums.shape[0]
    return small_kernel("winograd_taps", head, params, lines, c.cin, chunk, group.anchor, moved, imports)
