"""Gradient of a convolution with respect to its kernel.

dw[t, c, o] = sum over images n and output pixels p of x[n, p * stride + t * dilation - low, c] * dy[n, p, o]

is a product whose rows are (tap, channel) pairs, a table of places in x, and whose depth is (images, pixels), loop
levels of the tile. The depth is walked in *units*: a few images, or a band of rows of one, whose piece of x (with the
zeros around it) fits the cache. Items are a run of units times a block of rows; each run has its own partial sums,
which a second kernel adds in order, so that results do not depend on the threads.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from graphkeras.codegen.cpu import conv_forms, conv_weights, conv_wide_grad, depthwise, winograd_grad
from graphkeras.codegen.cpu.choices import Candidate, pick
from graphkeras.codegen.cpu.conv import operands
from graphkeras.codegen.cpu.conv_tiles import WindowPrinter
from graphkeras.codegen.cpu.cost_model import Tile
from graphkeras.codegen.cpu.params import HEADER, SERIAL, Params, comment, items_per_chunk
from graphkeras.codegen.cpu.product import sum_runs
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.writer import Writer

UNIT = 384  # output pixels whose columns of dy stay in the first-level cache
PARTIAL = 4 << 20  # bytes of all partial sums


@lowers("conv_kernel_grad")
def lower_conv_kernel_grad(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, dy = operands(ctx, node)
    at = node.attrs
    shape = node.shape
    axes = tuple(
        Axis(o, o, n, k, s, d, low)
        for o, n, k, s, d, (low, _) in zip(
            dy.shape[1:-1], x.shape[1:-1], shape, at["strides"], at["dilation"], at["padding"], strict=False
        )
    )
    window = Window(x.dtype, x.shape[0], axes, at["groups"], shape[-2], shape[-1] // at["groups"])

    def launch(c: Candidate) -> None:
        _launch(ctx, group, window, x, dy, ctx.output(node), c.value)

    forms = conv_forms.forms_of_gradient(window, node.dtype)
    launch(pick(ctx, "kernel gradient", conv_forms.spec_of(window), forms, launch))


def _launch(
    ctx: Lowering, group: Group, window: Window, x: View, dy: View, target: View, form: conv_forms.Form
) -> None:
    if form.joined > 1:
        wide = ctx.new((*target.shape[:-2], form.joined * window.cin, target.shape[-1]), x.dtype, "joined groups")
        _launch(ctx, group, window.joined(form.joined), x, dy, wide, replace(form, joined=1))
        conv_weights.parted(ctx, group, wide, window.cout, form.joined, target)
        return
    if form.exchanged:
        taps = [range(a.taps)[::-1] for a in window.axes]
        found = ctx.new((*target.shape[:-2], window.cout, window.cin), x.dtype, "gradient with channels exchanged")
        _launch(ctx, group, window.exchanged(), dy, x, found, replace(form, exchanged=False))
        conv_weights.turned(ctx, group, found, taps, 1, target=target)
        return
    if form.name == "winograd":
        winograd_grad.launch_winograd_grad(ctx, group, window, x, dy, target)
        return
    if form.name == "squares":
        depthwise.launch_depthwise_grad(ctx, group, window, x, dy)
        return
    if form.name == "blocks":
        conv_wide_grad.launch_wide_grad(ctx, group, window, x, dy, target)
        return
    assert form.tile is not None
    printer = KernelGradPrinter(ctx, group, window, x, dy, form.tile)
    partial = ctx.new((printer.runs, math.prod(target.shape)), x.dtype, "partial sums")
    summed = sum_runs(group, partial, target)
    if printer.runs == 1 and target.dtype == x.dtype:
        kernel = printer.gradient_kernel(target)
        kernel.companions = (summed.source,)
        ctx.launch(kernel)
        return
    ctx.launch(printer.gradient_kernel(partial))
    ctx.launch(summed)


class KernelGradPrinter(WindowPrinter):
    """Shares the copying of pieces of x with the forward kernel."""

    def __init__(self, ctx: Lowering, group: Group, window: Window, x: View, dy: View, tile: Tile) -> None:
        self.ctx, self.group, self.c, self.x, self.dy = ctx, group, window, x, dy
        self.columns = window.groups if window.depthwise else window.cout
        self.all_rows = window.depth  # of the gradient: taps, times channels in
        self.mr, self.nv = tile.mr, tile.nv
        self.panel = vector_width(window.dtype) * self.nv
        self.masked = self.columns % self.panel != 0
        self.padded = not all(a.inside for a in window.axes)
        self.text = Writer()
        self._cut()

    def _cut(self) -> None:
        """Units, runs of units, and blocks of rows."""
        c, first = self.c, self.c.axes[0]
        size = c.cin * c.groups * self.x.itemsize
        line = max(1, c.pixels // max(1, first.count))
        self.rows, self.images = first.count, 1
        while self.rows > 1 and (
            self.rows * line > UNIT or math.prod(self._region(self.rows)) * size > vectors().l2 // 4
        ):
            self.rows = -(-self.rows // 2)
        if self.rows >= first.count:
            fits = vectors().l2 // 4 // max(1, math.prod(self._region(self.rows)) * size)
            self.images = max(1, min(c.images // 8, UNIT // max(1, c.pixels), fits))
        self.bands = -(-first.count // max(1, self.rows))
        self.units = max(1, self.bands * -(-c.images // self.images))
        tiles = -(-self.all_rows // self.mr)
        self.runs, blocks = 1, 1
        if c.flops > SERIAL:
            room = PARTIAL // (self.all_rows * c.cout * c.groups * self.x.itemsize)
            self.runs = max(1, min(self.units, 16, room))
            blocks = min(tiles, -(-8 // self.runs))
        self.block = -(-tiles // blocks) * self.mr
        self.units_per_run = -(-self.units // self.runs)
        self.runs = -(-self.units // self.units_per_run)

    def gradient_kernel(self, target: View) -> Kernel:
        c, w = self.c, self.text
        params = self._grad_params(target)
        self._grad_head()
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            with w.block("for item in range(lo, hi)"):
                w.line("run = item // blocks")
                w.line("from_row = item % blocks * rows_per_block")
                w.line("tile_rows = min(rows_per_block, all_rows - from_row)")
                w.line("place = shift(dw, run * dw_size)")
                w.line("first_unit = run * units_per_run")
                with w.block("for unit in range(first_unit, min(first_unit + units_per_run, units))"):
                    self._unit()
        items = self.runs * -(-self.all_rows // self.block)
        moved = sum(v.itemsize * math.prod(v.shape) for v in (self.x, self.dy, target))
        return Kernel(
            "conv_kernel_grad",
            w.text(),
            tuple(params.args),
            items,
            items_per_chunk(items, c.flops),
            tuple(params.reads),
            (target.buffer,),
            flops=c.flops,
            nbytes=float(moved),
            nodes=tuple(self.group.nodes),
            reason="convolution, gradient of the kernel",
        )

    def _grad_head(self) -> None:
        c, w = self.c, self.text
        kind = "depthwise" if c.depthwise else "grouped" if c.groups > 1 else "dense"
        edges = "pieces of x are copied with zeros around" if self.padded else "x is read in place"
        comment(
            w,
            f"""Gradient of a convolution's kernel over {len(c.axes)} axes, {kind}, {c.dtype}; {edges}.
            Rows are (tap, input channel), columns output channels, the depth runs over images and output pixels.
            Item: a run of units (bands of images) for a block of rows. Tile: {self.mr} rows x {self.nv} vectors.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        w.line()
        mode = "vector" if c.depthwise else "broadcast"
        w.line(f'TILE = tile({self.mr}, {self.nv}, {len(c.axes) + 1}, "{c.dtype}", "{mode}", masked={self.masked})')
        w.line()
        w.line()

    def _grad_params(self, target: View) -> Params:
        c, params, steps = self.c, Params(), self._x_steps()
        params.source("x", self.x)
        params.source("dy", self.dy)
        params.target("dw", target)
        for name, table in zip(("x_rows", "w_rows"), self._tap_tables(), strict=True):
            params.source(name, self.ctx.array_view(table))
        if self.padded:
            self._piece_params(params, steps)
        params.ints(all_images=c.images, images_per_item=self.images, rows_per_item=self.rows, bands=self.bands)
        params.ints(units=self.units, units_per_run=self.units_per_run)
        params.ints(blocks=-(-self.all_rows // self.block), rows_per_block=self.block, all_rows=self.all_rows)
        line = c.cout * c.groups
        for i in reversed(range(len(c.axes))):
            params.ints(
                **{f"count{i}": c.axes[i].count, f"x_next{i}": c.axes[i].stride * steps[i], f"dy_step{i}": line}
            )
            line *= c.axes[i].count
        params.ints(image_step=steps[-1], dy_image=line, columns=self.columns)
        params.ints(groups=1 if c.depthwise else c.groups, cin=c.cin, dw_size=self.all_rows * c.cout * c.groups)
        return params

    def _tap_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each (tap, channel) starts in a unit of x, and its row of dw."""
        c, steps = self.c, self._x_steps()
        counts = [*(a.taps for a in c.axes), 1 if c.depthwise else c.cin]
        *taps, channel = np.indices(counts, np.int64).reshape(len(counts), -1)
        x_rows = channel
        for a, step, t in zip(c.axes, steps, taps, strict=False):
            x_rows = x_rows + (t * a.dilation - (0 if self.padded else a.low)) * step
        return x_rows, np.arange(self.all_rows, dtype=np.int64) * (c.cout * c.groups)

    def _unit(self) -> None:
        w, c = self.text, self.c
        spatial = len(c.axes)
        w.line("row0 = unit % bands * rows_per_item")
        w.line("rows = min(rows_per_item, count0 - row0)")
        w.line("image0 = unit // bands * images_per_item")
        w.line("images = min(images_per_item, all_images - image0)")
        if self.padded:
            self._copy_region()
            w.line("x_unit = 0")
        else:
            w.line("x_unit = image0 * image_step + row0 * x_next0")
        w.line("dy_unit = image0 * dy_image + row0 * dy_step0")
        words = ["images", "image_step", "dy_image"]
        for i in range(spatial):
            words += ["rows" if i == 0 else f"count{i}", f"x_next{i}", f"dy_step{i}"]
        x_at, column = ("j0", "j0") if c.depthwise else ("g * cin", "g * columns + j0")
        source = "piece_of_x" if self.padded else "x"
        groups, panels = w.block("for g in range(groups)"), w.block(f"for j0 in range(0, columns, {self.panel})")
        with groups, panels, w.block(f"for i in range(0, tile_rows, {self.mr})"):
            w.line(f"TILE(shift({source}, x_unit + {x_at}), shift(x_rows, from_row + i),")
            w.line(f"     shift(dy, dy_unit + {column}), x_rows, shift(place, {column}), shift(w_rows, from_row + i),")
            w.line(f"     tile_rows - i, columns - j0, unit - first_unit, ({', '.join(words)}))")
