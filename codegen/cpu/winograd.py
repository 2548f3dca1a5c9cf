"""Convolutions without strides in Winograd's form: three steps over a block of tiles that stays in the cache.

1. Each tile's 6 x 6 inputs become 36 points, for all channels (`v`, private memory of the thread).
2. For each point a small product over the channels with the transformed weights (`u`, made by a kernel of its own).
3. 36 points become 4 x 4 outputs, and the epilogue runs over them while they are hot.

An item is a block of tiles, counted through all images, so that neither the batch nor edges leave registers empty.
winograd_tiles.py has the arithmetic; the input gradient is the same kernel on dy with turned weights.

That is a 3 x 3 kernel. Further kinds of window are the same three steps:
- along one axis (of sequences, or with one row of taps): tiles are *flat*, 6 inputs and points, 4 outputs;
- more than 3 taps along an axis: several kernels of 3, shifted, the last of them with zeros (*parts*); steps 1 and 2
  are done for each of them, and sums are added;
- of three axes: the form is that of the last two, and the taps of the first are added in the same way;
- dilated: pixels `dilation` apart are an image of their own (a *phase*), so tiles are counted through phases as well;
- grouped, where the channels of a group are whole vectors: an item takes a *section*, some groups with their channels.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from graphkeras.codegen import flags
from graphkeras.codegen.cpu.params import HEADER, Params, comment, small_kernel, template_kernel
from graphkeras.codegen.cpu.vectors import register_tile, vector_width, vectors
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.codegen.cpu.winograd_sizes import OUT, SIDE, TAPS, UNROLL, rows_of
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

LINE = 64  # bytes of a cache line
BLOCK = 192 * 1024  # bytes of a block's points, inputs and products together
SECTION = 64  # channels of a section of groups, at least


def can(c: Window) -> bool:
    """Whether the window has Winograd's form. Nothing here may depend on the batch."""
    if "winograd" in flags.PASSES.value or c.dtype != "float32" or not vectors().masks:
        return False
    rows, columns = c.last_two
    if any(a.step != 1 for a in c.axes) or (rows.stride, columns.stride) != (1, 1):
        return False
    if columns.taps < 2 or (rows.taps, columns.taps) == (1, 2):  # two taps pay with a row of zeros, not alone
        return False
    width = vector_width(c.dtype)
    if c.groups > 1 and (c.cin % width or c.cout % width):
        return False
    return min(c.cin, c.cout) >= 12 and c.pixels > 0 and c.depth > 0


@dataclass(frozen=True)
class Cut:
    """Sizes of a window in Winograd's form. Channels are padded to whole vectors, columns to whole panels."""

    flat: bool
    parts: tuple[int, int]  # kernels of 3 taps along both axes
    tiles: tuple[int, int]  # of one phase of one image
    phases: tuple[int, int]
    planes: int  # outputs along the first of three axes
    groups: int  # of a section
    sections: int
    cin: int  # of a group
    cout: int
    depth: int
    panel: int
    mr: int
    nv: int
    block: int  # tiles of an item

    @classmethod
    def of(cls, c: Window) -> Cut:
        width = vector_width(c.dtype)
        nv = _panel_vectors(c, width)
        panel = nv * width
        cin, cout = -(-c.cin // width) * width, -(-c.cout // panel) * panel
        groups = next(n for n in range(1, c.groups + 1) if c.groups % n == 0 and (n * cin >= SECTION or n == c.groups))
        mr = rows_of_product(nv)
        rows, columns = c.last_two
        flat = rows.taps == 1
        points = rows_of(SIDE, flat) * SIDE
        block = max(1, BLOCK // (4 * points * groups * (cin + cout)) // mr) * mr
        block = min(block, 4 * mr * SIDE * SIDE // points)
        phases = 1 if flat else rows.dilation, columns.dilation
        planes, parts = math.prod(a.count for a in c.axes[:-2]), (-(-rows.taps // TAPS), -(-columns.taps // TAPS))
        tiles = -(-rows.count // (phases[0] * rows_of(OUT, flat))), -(-columns.count // (phases[1] * OUT))
        depth, sections = -(-c.cin // UNROLL) * UNROLL, c.groups // groups
        return cls(flat, parts, tiles, phases, planes, groups, sections, cin, cout, depth, panel, mr, nv, block)

    @property
    def points(self) -> int:
        return rows_of(SIDE, self.flat) * SIDE

    @property
    def rows(self) -> int:
        """Of outputs of a tile."""
        return rows_of(OUT, self.flat)

    @property
    def per_image(self) -> int:
        return self.planes * math.prod(self.phases) * math.prod(self.tiles)

    @property
    def panels(self) -> int:
        """Of a group."""
        return self.cout // self.panel

    @property
    def inputs(self) -> int:
        """Channels in of a section."""
        return self.groups * self.cin

    @property
    def outputs(self) -> int:
        return self.groups * self.cout


def _panel_vectors(c: Window, width: int) -> int:
    """Vectors of a panel of columns; panels of a group are whole."""
    most = 3 if vectors().registers == 32 else 2
    if c.groups > 1:
        return next(n for n in range(most, 0, -1) if c.cout // width % n == 0)
    return min(register_tile(1 << 20, -(-c.cout // width))[1], most)


def first_axis(c: Window) -> Axis | None:
    """The first of three axes, whose taps are added."""
    return c.axes[0] if len(c.axes) == 3 else None


def added_taps(c: Window) -> int:
    """How many kernels of 3 x 3 taps, or of 3, the window is."""
    return math.prod(a.taps for a in c.axes[:-2]) * math.prod(-(-a.taps // TAPS) for a in c.last_two)


def rows_of_product(nv: int) -> int:
    """Rows of a register tile `nv` vectors wide: as many as leave room for the columns."""
    wide = {1: 16, 2: 12, 3: 8}
    return (wide if vectors().registers == 32 else {1: 8, 2: 6})[nv]


def launch_winograd(ctx: Lowering, group: Group, c: Window, x: View, w: View) -> None:
    """A window that `can` be, with weights (*taps, cin, cout), and the group's epilogue."""
    cut = Cut.of(c)
    points = transformed_weights(ctx, group, c, cut, w)
    ctx.launch(_Forward(ctx, group, c, cut, x, points).kernel())


def transformed_weights(ctx: Lowering, group: Group, c: Window, cut: Cut, w: View) -> View:
    """u[added tap, point, panel, channel in, column of the panel]; channels in past the last are zero."""
    columns = cut.outputs * cut.sections
    size = columns * cut.depth + 16
    taps = added_taps(c)
    target = ctx.new((taps, cut.points, size), c.dtype, "weights at points")
    params = Params()
    params.source("w", w)
    params.target("u", target)
    params.ints(cin=c.cin, cout=c.cout * c.groups, depth=cut.depth)
    lines = [
        "for row in range(lo, hi):",
        "    tap = row // depth",
        "    k = row - tap * depth",
        *("    " + text for text in tap_lines(c, cut)),
        "    taps = shift(w, first_tap * cin * cout)",
        f"    points = shift(u, tap * {cut.points * size})",
        f"    for j in range(0, {columns}, {vector_width(c.dtype)}):",
        f"        place = shift(points, (j // {cut.panel} * depth + k) * {cut.panel} + j % {cut.panel})",
        "        lanes = select(k < cin, cout - j, 0)",
        f"        WEIGHTS(taps, k * cout + j, {c.last_two[1].taps} * cin * cout, 0, rows, 0, columns, lanes, place)",
    ]
    head = f"Weights at the {cut.points} points of Winograd's form. One item is one channel of the input."
    moved = 4.0 * (cut.points + rows_of(TAPS, cut.flat) * TAPS) * taps * c.cin * c.cout * c.groups
    imports = (
        "from graphkeras.codegen.cpu.winograd_tiles import transform",
        "",
        f'WEIGHTS = transform("weights", "{c.dtype}", {c.cin * c.cout * c.groups}, {size}, flat={cut.flat})',
    )
    items, chunk = taps * cut.depth, max(1, 1024 // (c.cout * c.groups))
    ctx.launch(small_kernel("winograd_weights", head, params, lines, items, chunk, group.anchor, moved, imports))
    return target


def part_lines(cut: Cut) -> list[str]:
    """Of added tap `tap`: its tap along the first of three axes, and where its part of the kernel begins."""
    down, right = cut.parts
    return [
        f"plane_tap = tap // {down * right}",
        f"part = tap - plane_tap * {down * right}",
        f"tap_row = part // {right} * {TAPS}",
        f"tap_column = part % {right} * {TAPS}",
    ]


def tap_lines(c: Window, cut: Cut) -> list[str]:
    """The same, which tap of the window is the part's first, and how many rows and columns there are from it on."""
    rows, columns = (a.taps for a in c.last_two)
    return [
        *part_lines(cut),
        f"first_tap = (plane_tap * {rows} + tap_row) * {columns} + tap_column",
        f"rows = {rows} - tap_row",
        f"columns = {columns} - tap_column",
    ]


class _Forward:
    """Prints the kernel of a convolution."""

    def __init__(self, ctx: Lowering, group: Group, c: Window, cut: Cut, x: View, u: View) -> None:
        self.ctx, self.group, self.c, self.cut, self.x, self.u = ctx, group, c, cut, x, u
        self.body = group.epilogue
        node = group.anchor
        self.direct = ctx.output(node) if group.nodes == [node] and node.dtype == c.dtype else None
        self.text = Writer()

    def kernel(self) -> Kernel:
        c, cut, w = self.c, self.cut, self.text
        params = self._params()
        self._head()
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            if self.direct is None:
                self.body.begin(w, len(params.args))
            with w.block("for item in range(lo, hi)"):
                block = print_section(w, cut, "item", "blocks")
                w.line(f"first = {block} * {cut.block}")
                w.line(f"count = min({cut.block}, all_tiles - first)")
                with print_added_taps(w, c):
                    print_inputs(w, c, cut)
                    self._products()
                self._outputs()
        items = cut.sections * -(-c.images * cut.per_image // cut.block)
        flops = 2.0 * cut.points * c.images * cut.per_image * added_taps(c) * c.cin * c.cout * c.groups
        body = self.body if self.direct is None else None
        op, what = self.group.anchor.op, "convolution in Winograd's form"
        return template_kernel(op, w, params, self.group, body, items, flops, (self.x, self.u), what)

    def _head(self) -> None:
        c, cut, w = self.c, self.cut, self.text
        comment(
            w,
            f"""Convolution, {c.dtype}, channels last, in Winograd's form {name_of(cut)}.
            Item: {cut.block} tiles of {cut.rows} x {OUT} outputs. Products: {cut.mr} tiles x {cut.nv} vectors.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.winograd_tiles import product, transform")
        w.line()
        steps = f"{cut.points * cut.inputs}, 1, {cut.panel}, {cut.points * cut.outputs}"
        _, apart = cut.phases
        line = apart * c.cout * c.groups if self.direct is not None else cut.outputs
        ahead = self.direct is not None and not cut.flat
        w.line(f'INPUTS = transform("inputs", "{c.dtype}", {apart * c.cin * c.groups}, {cut.inputs}, {how_read(cut)})')
        w.line(f'OUTPUTS = transform("outputs", "{c.dtype}", {line}, {cut.outputs}, ahead={ahead}, flat={cut.flat})')
        w.line(f'PRODUCT = product({cut.mr}, {cut.nv}, {steps}, "{c.dtype}")')
        if added_taps(c) > 1:
            w.line(f'ADDED = product({cut.mr}, {cut.nv}, {steps}, "{c.dtype}", adding=True)')
        w.line()
        w.line()

    def _params(self) -> Params:
        c, cut, params = self.c, self.cut, Params()
        params.source("x", self.x)
        params.source("u", self.u)
        if self.direct is not None:
            params.target("y", self.direct)
        else:
            params.scratch("y", cut.rows * OUT * cut.outputs, c.dtype)
        params.scratch("v", cut.block * cut.points * cut.inputs, c.dtype)
        params.scratch("m", cut.block * cut.points * cut.outputs, c.dtype)
        params.ints(u_plane=self.u.shape[-1])
        params.literals(cout=c.cout * c.groups, depth=cut.depth)
        image_params(params, c, cut)
        if cut.sections > 1:
            params.ints(blocks=-(-c.images * cut.per_image // cut.block))
        return params

    def _products(self) -> None:
        """Points of the block's inputs times the weights, for each group and each of its panels."""
        c, cut, w = self.c, self.cut, self.text
        plane = f"(tap * {cut.points} + p) * u_plane" if added_taps(c) > 1 else "p * u_plane"
        panel, source = "j", "0"
        points = w.block(f"for p in range({cut.points})")
        groups = w.maybe_block(f"for g in range({cut.groups})" if cut.groups > 1 else None)
        if cut.groups > 1:
            source, panel = f"g * {cut.cin}", f"(g * {cut.panels} + j)"
        every = f"(section * {cut.groups * cut.panels} + {panel})" if cut.sections > 1 else panel
        with points, groups, w.block(f"for j in range({cut.panels})"):
            w.line(f"weights = shift(u, {plane} + {every} * depth * {cut.panel})")
            with w.block(f"for i in range(0, count, {cut.mr})"):
                w.line(f"at = shift(v, (i * {cut.points} + p) * {cut.inputs} + {source})")
                w.line(f"to = shift(m, (i * {cut.points} + p) * {cut.outputs} + {panel} * {cut.panel})")
                if added_taps(c) > 1:
                    with w.block("if tap > 0"):
                        w.line("ADDED(at, weights, to, depth)")
                    with w.block("else"):
                        w.line("PRODUCT(at, weights, to, depth)")
                else:
                    w.line("PRODUCT(at, weights, to, depth)")

    def _outputs(self) -> None:
        """Points to outputs: into the result, or through private memory into the epilogue."""
        c, cut, w = self.c, self.cut, self.text
        width = vector_width(c.dtype)
        of_section = c.cout * cut.groups
        from_column = f" + section * {of_section}" if cut.sections > 1 else ""
        down, right = cut.phases
        with w.block("for t in range(count)"):
            print_tile(w, cut)
            w.line(f"rows = min({cut.rows}, {positions('count0 - row', down)})")
            w.line(f"columns = min({OUT}, {positions('count1 - column', right)})")
            w.line("pixel0 = (image * count0 + row) * count1 + column")
            with w.block(f"for o in range(0, {of_section}, {width})"):
                points = f"shift(m, t * {cut.points * cut.outputs} + o)"
                if self.direct is not None:
                    to = f"pixel0 * cout + o{from_column}, {times(down, 'count1 * cout')}"
                    w.line(f"OUTPUTS({points}, y, {to}, rows, columns, {of_section} - o)")
                else:
                    w.line(f"OUTPUTS({points}, y, o, {OUT * cut.outputs}, {cut.rows}, {OUT}, {width})")
            if self.direct is None:
                with w.block("for r in range(rows)"), w.block("for s in range(columns)"):
                    w.line(f"pixel = pixel0 + {times(down, 'r')} * count1 + {times(right, 's')}")
                    w.line(f"line = shift(y, (r * {OUT} + s) * {cut.outputs})")
                    w.line(f"below = pixel + {OUT * right if cut.flat else f'{OUT * down} * count1'}")
                    self._epilogue(of_section, from_column)

    def _epilogue(self, columns: int, from_column: str) -> None:
        """The epilogue over one pixel, and what it will read for the tile below."""
        w = self.text
        fetches = self.body.fetches(["below", "j"])
        with w.block(f"for jj in range(0, {columns if fetches else 0}, {LINE // 4})"):
            w.line(f"j = jj{from_column}")
            for text in fetches or ["pass"]:
                w.line(text)
        with w.block(f"for jj in range({columns})"):
            w.line(f"j = jj{from_column}")
            w.line("acc = line[jj]")
            self.body.emit(w, {self.group.anchor: "acc"}, ["pixel", "j"])


# -- shared with the kernel's gradient ----------------------------------------------------------------------
def image_params(params: Params, c: Window, cut: Cut) -> None:
    """What `print_tile` and `print_inputs` use. Channels are in the source anyway, as steps of the transforms."""
    params.ints(all_tiles=c.images * cut.per_image, tiles_of_image=math.prod(cut.tiles), tiles_of_row=cut.tiles[1])
    for i, a in enumerate(c.last_two):
        params.ints(**{f"size{i}": a.size, f"low{i}": a.low, f"count{i}": a.count})
    params.literals(cin=c.cin * c.groups)
    first = first_axis(c)
    if first is not None:
        params.ints(planes=first.count, planes_in=first.size, plane_low=first.low)
        params.literals(plane_stride=first.stride, plane_dilation=first.dilation)


def print_section(w: Writer, cut: Cut, item: str, of_section: str) -> str:
    """Which section an item is of; the name of its number within the section."""
    if cut.sections == 1:
        return item
    w.line(f"section = quotient({item}, {of_section})")
    w.line(f"{item}_of_section = {item} - section * {of_section}")
    return f"{item}_of_section"


def print_added_taps(w: Writer, c: Window) -> AbstractContextManager[Any]:
    taps = added_taps(c)
    return w.maybe_block(f"for tap in range({taps})" if taps > 1 else None)


def name_of(cut: Cut) -> str:
    return "F(4, 3)" if cut.flat else "F(4 x 4, 3 x 3)"


def how_read(cut: Cut) -> str:
    """Arguments of transforms that read an image; the hardware sees what is ahead along a line."""
    return f"ahead={not cut.flat}, flat={cut.flat}"


def times(factor: int, text: str) -> str:
    return text if factor == 1 else f"{factor} * {text}"


def positions(text: str, step: int) -> str:
    """How many positions `step` apart there are within so many."""
    return text if step == 1 else f"({text} + {step - 1}) // {step}"


def print_tile(w: Writer, cut: Cut) -> None:
    """Where tile t of the item is: image (and plane, counted through), and its first output row and column."""
    down, right = cut.phases
    w.line("image = quotient(first + t, tiles_of_image)")
    w.line("of_image = (first + t) - image * tiles_of_image")
    w.line("row = quotient(of_image, tiles_of_row)")
    w.line(f"column = (of_image - row * tiles_of_row) * {OUT}")
    w.line(f"row = row * {cut.rows}")
    if cut.phases != (1, 1):
        w.line(f"phase = image % {down * right}")
        w.line(f"image = image // {down * right}")
        w.line(f"row = {times(down, 'row')} + phase // {right}")
        w.line(f"column = {times(right, 'column')} + phase % {right}")


def print_inputs(w: Writer, c: Window, cut: Cut) -> None:
    """Inputs of `count` tiles from `first` to their points in `v`; channels past the last are zero."""
    down, right = cut.phases
    of_section = c.cin * cut.groups
    channel = f" + section * {of_section}" if cut.sections > 1 else ""
    for text in part_lines(cut) if added_taps(c) > 1 else ():
        w.line(text)
    with w.block("for t in range(count)"):
        print_tile(w, cut)
        w.line("top = row - low0")
        w.line("left = column - low1")
        if math.prod(cut.parts) > 1:
            w.line(f"top = top + {times(down, 'tap_row')}")
            w.line(f"left = left + {times(right, 'tap_column')}")
        w.line(f"row_end = {positions('size0 - top', down)}")
        if first_axis(c) is not None:
            tap = "plane_tap" if added_taps(c) > 1 else "0"
            w.line("batch = quotient(image, planes)")
            w.line(f"plane = (image - batch * planes) * plane_stride + {tap} * plane_dilation - plane_low")
            w.line("row_end = select(plane >= 0 and plane < planes_in, row_end, 0)")
            w.line("image = batch * planes_in + min(max(plane, 0), planes_in - 1)")
        w.line(f"at = ((image * size0 + top) * size1 + left) * cin{channel}")
        with w.block(f"for k in range(0, {of_section}, {vector_width(c.dtype)})"):
            line, rows = times(down, "size1 * cin"), positions("-top", down)
            w.line(f"INPUTS(x, at + k, {line}, {rows}, row_end, {positions('-left', right)},")
            column_end, points = positions("size1 - left", right), f"shift(v, t * {cut.points * cut.inputs} + k)"
            w.line(f"       {column_end}, {of_section} - k, {points})")
