"""Gradient of a kernel with many channels: blocks of channels in, from copies of x and dy that tiles read end to end.

dw[t, c, o] = sum over pixels of x[pixel at tap t, c] * dy[pixel, o], as tiles of channels in by channels out, whose
depth runs over the pixels of a *unit* (a few images, or a band of rows of one). Pixels of wide layers are a power of
two apart, as a rule, so that they share a few sets of the caches: for each unit an item copies its channels of x, and
one panel of columns of dy after the other. An item is a run of units for a block of channels; each run has its own
partial sums, which a second kernel adds in order, so that results do not depend on the threads.
"""

from __future__ import annotations

import math
from contextlib import ExitStack

import numpy as np

from graphkeras.codegen.cpu import conv_wide
from graphkeras.codegen.cpu.params import HEADER, SERIAL, Params, comment, items_per_chunk
from graphkeras.codegen.cpu.product import sum_runs
from graphkeras.codegen.cpu.vectors import vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

ROW = 512  # bytes of the channels of a pixel of dy from which copies pay
WEIGHTS = 256 * 1024  # bytes of the kernel from which they pay
CHANNELS = 64  # channels in from which they pay
UNIT = 256  # pixels of a unit, about: its panel of dy stays in the first or second cache
PARTIAL = 4 << 20  # bytes of all partial sums
ITEMS = 8  # at least, for threads
GAP = 16  # elements between the pixels of the copy of x, so that they do not share sets of the cache


def suits(c: Window) -> bool:
    """Whether blocks of channels pay. Nothing here may depend on the batch."""
    size = 8 if c.dtype == "float64" else 4
    return c.groups == 1 and c.cin >= CHANNELS and c.cout * size >= ROW and c.depth * c.cout * size >= WEIGHTS


def launch_wide_grad(ctx: Lowering, group: Group, c: Window, x: View, dy: View, output: View) -> None:
    """The kernel's gradient of a window that `suits`."""
    printer = _Printer(ctx, group, c, x, dy)
    partial = ctx.new((printer.runs, printer.size), c.dtype, "partial sums")
    summed = sum_runs(group, partial, output)
    if printer.runs > 1 or output.dtype != c.dtype:
        ctx.launch(printer.kernel(partial))
        ctx.launch(summed)
        return
    kernel = printer.kernel(output)
    kernel.companions = (summed.source,)
    ctx.launch(kernel)


class _Printer:
    def __init__(self, ctx: Lowering, group: Group, c: Window, x: View, dy: View) -> None:
        self.ctx, self.group, self.c, self.x, self.dy = ctx, group, c, x, dy
        self.panel = conv_wide.panel_of(c)
        self.nv = self.panel // (vectors().bytes // x.itemsize)
        self.mr = 8 if vectors().registers == 32 else 4
        self.taps = math.prod(a.taps for a in c.axes)
        self.size = c.depth * c.cout
        self.pointwise = self.taps == 1
        self.text = Writer()
        self._cut()

    # -- cutting ----------------------------------------------------------------------------------------
    def _reach(self, axis: int, count: int) -> int:
        """Positions of an axis that `count` outputs need in the copy of x: with one tap, only those it reads."""
        a = self.c.axes[axis]
        return count if a.taps == 1 else max(0, (count - 1) * a.stride + (a.taps - 1) * a.dilation + 1)

    def _cut(self) -> None:
        """Units, runs of units, and blocks of channels."""
        c, first = self.c, self.c.axes[0]
        line = max(1, c.pixels // max(1, first.count))
        self.rows, self.images = first.count, 1
        while self.rows > 1 and self.rows * line > UNIT * 3 // 2:
            self.rows = -(-self.rows // 2)
        if self.rows >= first.count:
            self.images = max(1, min(c.images, UNIT // max(1, c.pixels)))
        self.bands = -(-first.count // max(1, self.rows))
        self.units = max(1, self.bands * -(-c.images // self.images))
        self.runs = max(1, min(self.units, 16, PARTIAL // (self.size * self.x.itemsize))) if c.flops > SERIAL else 1
        self.units_per_run = -(-self.units // self.runs)
        self.runs = -(-self.units // self.units_per_run)
        blocks = -(-ITEMS // self.runs) if c.flops > SERIAL else 1
        self.channels = -(-c.cin // blocks // self.mr) * self.mr
        while self.channels > 2 * self.mr and self._piece() * self.x.itemsize > vectors().l2 // 2:
            self.channels = -(-self.channels // 2 // self.mr) * self.mr
        self.blocks = -(-c.cin // self.channels)

    def _piece(self) -> int:
        """Elements of a unit's copy of x."""
        pixels = self._reach(0, self.rows) * math.prod(self._reach(i, a.count) for i, a in enumerate(self.c.axes) if i)
        return self.images * pixels * (self.channels + GAP)

    # -- printing ---------------------------------------------------------------------------------------
    def kernel(self, target: View) -> Kernel:
        c, w = self.c, self.text
        params = self._params(target)
        self._head()
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            with w.block("for item in range(lo, hi)"):
                w.line("run = item // blocks")
                w.line("c0 = item % blocks * channels")
                w.line("channels_here = min(channels, cin - c0)")
                w.line("first_unit = run * units_per_run")
                with w.block("for unit in range(first_unit, min(first_unit + units_per_run, units))"):
                    self._unit()
        items = self.runs * self.blocks
        moved = sum(v.itemsize * math.prod(v.shape) for v in (self.x, self.dy, target))
        return Kernel(
            "conv_kernel_grad", w.text(), tuple(params.args), items, items_per_chunk(items, c.flops),
            tuple(params.reads), (target.buffer,), flops=c.flops, nbytes=float(moved), nodes=tuple(self.group.nodes),
            reason="convolution of many channels, gradient of the kernel",
        )  # fmt: skip

    def _head(self) -> None:
        c, w = self.c, self.text
        comment(
            w,
            f"""Gradient of a convolution's kernel over {len(c.axes)} axes, {c.dtype}, many channels.
            Rows are input channels of a tap, columns output channels, the depth runs over pixels.
            Item: a run of units (bands of images) for a block of channels. Tile: {self.mr} x {self.nv} vectors.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        w.line()
        levels = 1 if self.pointwise else len(c.axes) + 1
        w.line(f'TILE = tile({self.mr}, {self.nv}, {levels}, "{c.dtype}", unit=True)')
        w.line()
        w.line()

    def _params(self, target: View) -> Params:
        c, params = self.c, Params()
        params.source("x", self.x)
        params.source("dy", self.dy)
        params.target("dw", target)
        params.source("w_rows", self.ctx.array_view(np.arange(self.mr, dtype=np.int64) * c.cout))
        params.scratch("piece", self._piece(), c.dtype)
        params.scratch("columns", self.images * self.rows * (c.pixels // max(1, c.axes[0].count)) * self.panel, c.dtype)
        params.ints(all_images=c.images, images_per_item=self.images, rows_per_item=self.rows, bands=self.bands)
        params.ints(units=self.units, units_per_run=self.units_per_run, blocks=self.blocks, channels=self.channels)
        params.ints(cin=c.cin, cout=c.cout, dw_size=self.size, line=self.channels + GAP)
        step = self.channels + GAP
        for i in reversed(range(len(c.axes))):
            a, reach = c.axes[i], self._reach(i, c.axes[i].count if i else self.rows)
            params.ints(**{f"count{i}": a.count, f"size{i}": a.size, f"low{i}": a.low, f"reach{i}": reach})
            params.ints(**{f"step{i}": step, f"taps{i}": a.taps, f"stride{i}": a.stride, f"dilation{i}": a.dilation})
            step *= reach
        params.ints(image_step=step)
        return params

    def _unit(self) -> None:
        w, c = self.text, self.c
        rest = " * ".join(["1", *(f"count{i}" for i in range(1, len(c.axes)))])
        w.line("row0 = unit % bands * rows_per_item")
        w.line("rows = min(rows_per_item, count0 - row0)")
        w.line("image0 = unit // bands * images_per_item")
        w.line("images = min(images_per_item, all_images - image0)")
        w.line(f"row_pixels = {rest}")
        w.line("pixels = images * rows * row_pixels")
        self._copy_x()
        w.line("dy_unit = (image0 * count0 + row0) * row_pixels * cout")
        with w.block(f"for j0 in range(0, cout, {self.panel})"):
            self._copy_dy()
            with ExitStack() as taps:
                for i in range(len(c.axes)):
                    taps.enter_context(w.block(f"for t{i} in range(taps{i})"))
                flat = "t0"
                for i in range(1, len(c.axes)):
                    flat = f"({flat}) * taps{i} + t{i}"
                w.line(f"place = shift(dw, run * dw_size + (({flat}) * cin + c0) * cout + j0)")
                w.line(
                    "from_x = shift(piece, "
                    + " + ".join(f"t{i} * dilation{i} * step{i}" for i in range(len(c.axes)))
                    + ")"
                )
                with w.block(f"for i in range(0, channels_here, {self.mr})"):
                    w.line("TILE(shift(from_x, i), w_rows, columns, w_rows, shift(place, i * cout), w_rows,")
                    w.line(f"     channels_here - i, cout - j0, unit - first_unit, ({self._nest()}))")

    def _nest(self) -> str:
        if self.pointwise:
            return f"pixels, line, {self.panel}"
        words = ["images", "image_step", f"rows * row_pixels * {self.panel}"]
        for i, a in enumerate(self.c.axes):
            inner = " * ".join([str(self.panel), *(f"count{k}" for k in range(i + 1, len(self.c.axes)))])
            words += ["rows" if i == 0 else f"count{i}", f"step{i}" + ("" if a.taps == 1 else f" * stride{i}"), inner]
        return ", ".join(words)

    def _copy_x(self) -> None:
        """The unit's part of x for the item's channels, with zeros around the image."""
        w, c, inside = self.text, self.c, []
        with ExitStack() as loops:
            loops.enter_context(w.block("for n in range(images)"))
            to, source = "n * image_step", "image0 + n"
            for i, a in enumerate(c.axes):
                strided = "" if a.taps > 1 else f" * stride{i}"
                count = (
                    f"reach{i}"
                    if i
                    else ("rows" if a.taps == 1 else "(rows - 1) * stride0 + (taps0 - 1) * dilation0 + 1")
                )
                loops.enter_context(w.block(f"for r{i} in range({count})"))
                top = "" if i else "row0 * stride0 + "
                w.line(f"s{i} = {top}r{i}{strided} - low{i}")
                to, source = f"{to} + r{i} * step{i}", f"({source}) * size{i} + s{i}"
                inside.append(f"s{i} >= 0 and s{i} < size{i}")
            w.line(f"to = shift(piece, {to})")
            with w.block("if " + " and ".join(inside)):
                w.line(f"source = shift(x, ({source}) * cin + c0)")
                with w.block("for e in range(channels_here)"):
                    w.line("to[e] = source[e]")
            with w.block("else"), w.block("for e in range(channels_here)"):
                w.line(f"to[e] = {c.dtype}(0)")

    def _copy_dy(self) -> None:
        """A panel of columns of the unit's dy; columns past the last are whatever was there, and are not stored."""
        w = self.text
        with w.block("for p in range(pixels)"):
            w.line("source = shift(dy, dy_unit + p * cout + j0)")
            w.line(f"to = shift(columns, p * {self.panel})")
            with w.block(f"if cout - j0 >= {self.panel}"), w.block(f"for e in range({self.panel})"):
                w.line("to[e] = source[e]")
            with w.block("else"), w.block("for e in range(cout - j0)"):
                w.line("to[e] = source[e]")
