"""Convolutions with 3 x 3 kernels in Winograd's form: three steps over a block of tiles that stays in the cache.

1. Each tile's 6 x 6 inputs become 36 points, for all channels (`v`, private memory of the thread).
2. For each point a small product over the channels with the transformed weights (`u`, made by a kernel of its own).
3. 36 points become 4 x 4 outputs, and the epilogue runs over them while they are hot.

An item is a block of tiles, counted through all images, so that neither the batch nor edges leave registers empty.
winograd_tiles.py has the arithmetic; the input gradient is the same kernel on dy with turned weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphkeras.codegen import flags
from graphkeras.codegen.cpu.params import HEADER, Params, comment, small_kernel, template_kernel
from graphkeras.codegen.cpu.vectors import register_tile, vector_width, vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.cpu.winograd_sizes import OUT, POINTS, TAPS, UNROLL
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

LINE = 64  # bytes of a cache line
BLOCK = 192 * 1024  # bytes of a block's points, inputs and products together


def can(c: Window) -> bool:
    """Whether the window has Winograd's form. Nothing here may depend on the batch."""
    if (
        "winograd" in flags.PASSES.value
        or c.dtype != "float32"
        or not vectors().masks
        or len(c.axes) != 2
        or c.groups != 1
    ):
        return False
    if any((a.taps, a.stride, a.dilation, a.step) != (TAPS, 1, 1, 1) for a in c.axes):
        return False
    return min(c.cin, c.cout) >= 12 and c.pixels > 0


@dataclass(frozen=True)
class Cut:
    """Sizes of a window in Winograd's form. Channels are padded to whole vectors, columns to whole panels."""

    tiles: tuple[int, int]  # of one image
    cin: int
    cout: int
    depth: int
    panel: int
    mr: int
    nv: int
    block: int  # tiles of an item

    @classmethod
    def of(cls, c: Window) -> Cut:
        width = vector_width(c.dtype)
        _, nv = register_tile(1 << 20, -(-c.cout // width))
        nv = min(nv, 3 if vectors().registers == 32 else 2)
        panel = nv * width
        cin, cout = -(-c.cin // width) * width, -(-c.cout // panel) * panel
        mr = rows_of_product(nv)
        tiles = max(1, BLOCK // (4 * POINTS * (cin + cout)) // mr) * mr
        images = tuple(-(-a.count // OUT) for a in c.axes)
        return cls(images, cin, cout, -(-c.cin // UNROLL) * UNROLL, panel, mr, nv, min(tiles, 4 * mr))  # type: ignore[arg-type]

    @property
    def per_image(self) -> int:
        return math.prod(self.tiles)

    @property
    def panels(self) -> int:
        return self.cout // self.panel


def rows_of_product(nv: int) -> int:
    """Rows of a register tile `nv` vectors wide: as many as leave room for the columns."""
    wide = {1: 16, 2: 12, 3: 8}
    return (wide if vectors().registers == 32 else {1: 8, 2: 6})[nv]


def launch_winograd(ctx: Lowering, group: Group, c: Window, x: View, w: View) -> None:
    """A window with weights (3, 3, cin, cout), and the group's epilogue."""
    cut = Cut.of(c)
    points = transformed_weights(ctx, group, c, cut, w)
    ctx.launch(_Forward(ctx, group, c, cut, x, points).kernel())


def transformed_weights(ctx: Lowering, group: Group, c: Window, cut: Cut, w: View) -> View:
    """u[point, panel, channel in, column of the panel]; channels in past the last are zero."""
    size = cut.panels * cut.depth * cut.panel + 16
    target = ctx.new((POINTS, size), c.dtype, "weights at points")
    params = Params()
    params.source("w", w)
    params.target("u", target)
    params.ints(cin=c.cin, cout=c.cout, depth=cut.depth)
    lines = [
        "for k in range(lo, hi):",
        f"    for j in range(0, {cut.cout}, {vector_width(c.dtype)}):",
        f"        place = shift(u, (j // {cut.panel} * depth + k) * {cut.panel} + j % {cut.panel})",
        "        lanes = select(k < cin, cout - j, 0)",
        "        WEIGHTS(w, k * cout + j, 3 * cin * cout, 0, 3, 0, 3, lanes, place)",
    ]
    head = "Weights of 3 x 3 kernels at the 36 points of Winograd's form. One item is one channel of the input."
    moved = 4.0 * (POINTS + TAPS * TAPS) * c.cin * c.cout
    imports = (
        "from graphkeras.codegen.cpu.winograd_tiles import transform",
        "",
        f'WEIGHTS = transform("weights", "{c.dtype}", {c.cin * c.cout}, {size})',
    )
    chunk = max(1, 1024 // c.cout)
    ctx.launch(small_kernel("winograd_weights", head, params, lines, cut.depth, chunk, group.anchor, moved, imports))
    return target


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
                w.line(f"first = item * {cut.block}")
                w.line(f"count = min({cut.block}, all_tiles - first)")
                print_inputs(w, c, cut)
                self._products()
                self._outputs()
        items = -(-c.images * cut.per_image // cut.block)
        flops = 2.0 * POINTS * c.images * cut.per_image * c.cin * c.cout
        body = self.body if self.direct is None else None
        op, what = self.group.anchor.op, "convolution in Winograd's form"
        return template_kernel(op, w, params, self.group, body, items, flops, (self.x, self.u), what)

    def _head(self) -> None:
        c, cut, w = self.c, self.cut, self.text
        comment(
            w,
            f"""Convolution with a 3 x 3 kernel, {c.dtype}, channels last, in Winograd's form F(4 x 4, 3 x 3).
            Item: {cut.block} tiles of 4 x 4 outputs. Products: {cut.mr} tiles x {cut.nv} vectors.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.winograd_tiles import product, transform")
        w.line()
        steps = f"{POINTS * cut.cin}, 1, {cut.panel}, {POINTS * cut.cout}"
        line = c.cout if self.direct is not None else cut.cout
        w.line(f'INPUTS = transform("inputs", "{c.dtype}", {c.cin}, {cut.cin}, ahead=True)')
        w.line(f'OUTPUTS = transform("outputs", "{c.dtype}", {line}, {cut.cout}, ahead={self.direct is not None})')
        w.line(f'PRODUCT = product({cut.mr}, {cut.nv}, {steps}, "{c.dtype}")')
        w.line()
        w.line()

    def _params(self) -> Params:
        c, cut, params = self.c, self.cut, Params()
        params.source("x", self.x)
        params.source("u", self.u)
        if self.direct is not None:
            params.target("y", self.direct)
        else:
            params.scratch("y", OUT * OUT * cut.cout, c.dtype)
        params.scratch("v", cut.block * POINTS * cut.cin, c.dtype)
        params.scratch("m", cut.block * POINTS * cut.cout, c.dtype)
        params.ints(u_plane=self.u.shape[1])
        params.literals(cout=c.cout, depth=cut.depth)
        image_params(params, c, cut)
        return params

    def _products(self) -> None:
        cut, w = self.cut, self.text
        with w.block(f"for p in range({POINTS})"), w.block(f"for j in range({cut.panels})"):
            w.line(f"weights = shift(u, p * u_plane + j * depth * {cut.panel})")
            with w.block(f"for i in range(0, count, {cut.mr})"):
                w.line(f"PRODUCT(shift(v, (i * {POINTS} + p) * {cut.cin}), weights,")
                w.line(f"        shift(m, (i * {POINTS} + p) * {cut.cout} + j * {cut.panel}), depth)")

    def _outputs(self) -> None:
        """Points to outputs: into the result, or through private memory into the epilogue."""
        c, cut, w = self.c, self.cut, self.text
        width = vector_width(c.dtype)
        with w.block("for t in range(count)"):
            print_tile(w)
            w.line(f"rows = min({OUT}, count0 - row)")
            w.line(f"columns = min({OUT}, count1 - column)")
            w.line("pixel0 = (image * count0 + row) * count1 + column")
            with w.block(f"for o in range(0, cout, {width})"):
                points = f"shift(m, t * {POINTS * cut.cout} + o)"
                if self.direct is not None:
                    w.line(f"OUTPUTS({points}, y, pixel0 * cout + o, count1 * cout, rows, columns, cout - o)")
                else:
                    line = OUT * cut.cout
                    w.line(f"OUTPUTS({points}, y, o, {line}, {OUT}, {OUT}, {width})")
            if self.direct is None:
                with w.block("for r in range(rows)"), w.block("for s in range(columns)"):
                    w.line("pixel = pixel0 + r * count1 + s")
                    w.line(f"line = shift(y, (r * {OUT} + s) * {cut.cout})")
                    w.line(f"below = pixel + {OUT} * count1")
                    fetches = self.body.fetches(["below", "j"])
                    with w.block(f"for j in range(0, {cut.cout if fetches else 0}, {LINE // 4})"):
                        for text in fetches or ["pass"]:
                            w.line(text)
                    with w.block("for j in range(cout)"):
                        w.line("acc = line[j]")
                        self.body.emit(w, {self.group.anchor: "acc"}, ["pixel", "j"])


# -- shared with the kernel's gradient ----------------------------------------------------------------------
def image_params(params: Params, c: Window, cut: Cut) -> None:
    """What `print_tile` and `print_inputs` use. Channels are in the source anyway, as steps of the transforms."""
    params.ints(all_tiles=c.images * cut.per_image, tiles_of_image=cut.per_image, tiles_of_row=cut.tiles[1])
    for i, a in enumerate(c.axes):
        params.ints(**{f"size{i}": a.size, f"low{i}": a.low, f"count{i}": a.count})
    params.literals(cin=c.cin)


def print_tile(w: Writer) -> None:
    """Where tile t of the item is: image, and its first output row and column."""
    w.line("image = quotient(first + t, tiles_of_image)")
    w.line("of_image = (first + t) - image * tiles_of_image")
    w.line("row = quotient(of_image, tiles_of_row)")
    w.line(f"column = (of_image - row * tiles_of_row) * {OUT}")
    w.line(f"row = row * {OUT}")


def print_inputs(w: Writer, c: Window, cut: Cut) -> None:
    """Inputs of `count` tiles from `first` to their points in `v`; channels past the last are zero."""
    with w.block("for t in range(count)"):
        print_tile(w)
        w.line("top = row - low0")
        w.line("left = column - low1")
        w.line("at = ((image * size0 + top) * size1 + left) * cin")
        with w.block(f"for k in range(0, cin, {vector_width(c.dtype)})"):
            w.line("INPUTS(x, at + k, size1 * cin, -top, size0 - top, -left, size1 - left, cin - k,")
            w.line(f"       shift(v, t * {POINTS * cut.cin} + k))")
