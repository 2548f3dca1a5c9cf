"""The plain form of a convolution: tiles of output pixels by output channels, any number of axes, groups, depthwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphkeras.codegen.cpu.cost_model import Tile
from graphkeras.codegen.cpu.params import HEADER, SERIAL, Params, comment, template_kernel
from graphkeras.codegen.cpu.product import merged
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

BLOCK = 32  # rows of tiles between two runs of the epilogue


class WindowPrinter:
    """Prints one launch of a windowed product."""

    def __init__(self, ctx: Lowering, group: Group, window: Window, x: View, w: View, tile: Tile) -> None:
        self.ctx, self.group, self.c, self.x, self.w = ctx, group, window, x, w
        node = group.anchor
        self.body = group.epilogue
        self.direct = ctx.output(node) if group.nodes == [node] and node.dtype == window.dtype else None
        self.columns = window.groups if window.depthwise else window.cout  # of one pass over the panels
        width = vector_width(window.dtype)
        self.mr, self.nv = tile.mr, tile.nv
        self.panel = width * self.nv
        self.masked = self.columns % self.panel != 0
        self.padded = not all(a.inside for a in window.axes)
        self.rows, self.images = self._band()
        self.bands = -(-window.axes[0].count // self.rows)
        self.block = max(1, BLOCK // self.mr) * self.mr
        self.text = Writer()

    # -- cutting ----------------------------------------------------------------------------------------
    def _region(self, rows: int) -> list[int]:
        """Extents of the piece of x that `rows` output rows of one image read."""
        first, *rest = self.c.axes
        lead = max(0, (rows - 1) * first.stride + (first.taps - 1) * first.dilation + 1)
        return [lead, *(a.reach for a in rest)]

    def _band(self) -> tuple[int, int]:
        """(output rows, images) of an item: its piece of x stays in the cache, and several threads find items."""
        c, first = self.c, self.c.axes[0]
        size = c.cin * c.groups * self.x.itemsize
        room = vectors().l2 // 4
        rows = first.count
        while rows > 1 and (math.prod(self._region(rows)) * size > room or rows * c.pixels // first.count > 2048):
            rows = -(-rows // 2)
        while rows > 1 and c.flops > SERIAL and c.images * -(-first.count // rows) < 8:
            rows = -(-rows // 2)
        if rows < first.count:
            return rows, 1
        images = max(1, min(c.images, 128 // max(1, c.pixels)))
        while images > 1 and math.prod(self._region(rows)) * size * images > room:
            images -= 1
        while images > 1 and c.flops > SERIAL and -(-c.images // images) < 8:
            images = -(-images // 2)
        return rows, images

    # -- printing ---------------------------------------------------------------------------------------
    def kernel(self) -> Kernel:
        c, w = self.c, self.text
        params = self._params()
        self._head()
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            if self.direct is None:
                self.body.begin(w, len(params.args))
                with w.block(f"for r in range({self.block})"):
                    w.line(f"tile_rows[r] = r * {self.panel}")
            with w.block("for item in range(lo, hi)"):
                w.line("row0 = item % bands * rows_per_item")
                w.line("rows = min(rows_per_item, count0 - row0)")
                w.line("image0 = item // bands * images_per_item")
                w.line("images = min(images_per_item, all_images - image0)")
                w.line("pixels = images * rows * pixels_of_row")
                w.line("y_at = image0 * y_image + row0 * y_row")
                if self.padded:
                    self._copy_region()
                    w.line("x_at = 0")
                else:
                    w.line("x_at = image0 * image_step + row0 * x_row")
                self._tiles()
        items = self.bands * -(-c.images // self.images)
        body = self.body if self.direct is None else None
        op, operands = self.group.anchor.op, (self.x, self.w)
        return template_kernel(op, w, params, self.group, body, items, c.flops, operands, "convolution")

    def _head(self) -> None:
        w, c = self.text, self.c
        kind = "depthwise" if c.depthwise else "grouped" if c.groups > 1 else "dense"
        edges = "pieces of x are copied with zeros around" if self.padded else "x is read in place"
        comment(
            w,
            f"""Convolution over {len(c.axes)} axes, {kind}, {c.dtype}, channels last; {edges}.
            Item: `rows_per_item` output rows of `images_per_item` images; columns are output channels.
            Tile: {self.mr} pixels x {self.nv} vectors.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        w.line()
        mode = "vector" if c.depthwise else "broadcast"
        w.line(f'TILE = tile({self.mr}, {self.nv}, {len(self._nest())}, "{c.dtype}", "{mode}", masked={self.masked})')
        w.line()
        w.line()

    def _x_steps(self) -> list[int]:
        """Elements between neighbours along each axis, in the piece or in x itself; then between images."""
        c = self.c
        extents = self._region(self.rows) if self.padded else list(self.x.shape[1:-1])
        steps = [c.cin * c.groups]
        for n in reversed(extents):
            steps.insert(0, steps[0] * n)
        return [*steps[1:], steps[0]]

    def _nest(self) -> list[tuple[int, ...]]:
        """The tile's loop levels: taps of each axis, then channels; merged where memory runs on."""
        c, steps = self.c, self._x_steps()
        total = self._columns_of_weights()
        axes, b_step = [], c.cin * total
        if not c.depthwise:
            axes.append((c.cin, 1, total))
        for a, step in zip(reversed(c.axes), reversed(steps[:-1]), strict=True):
            axes.insert(0, (a.taps, a.dilation * step, b_step))
            b_step *= a.taps
        return merged(axes) or [(1, 0, 0)]

    def _columns_of_weights(self) -> int:
        """Elements between two rows of the weights."""
        return self.w.shape[-1]

    def _row_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """For each output pixel of an item, relative to the item: where its window starts in x, and its place in y."""
        axes, steps = self.c.axes, self._x_steps()
        counts = [self.images, self.rows, *(a.count for a in axes[1:])]
        images, *places = np.indices(counts, np.int64).reshape(len(counts), -1)
        x_rows, y_rows = images * steps[-1], images
        for a, step, i in zip(axes, steps, places, strict=False):
            x_rows = x_rows + (i * a.stride - (0 if self.padded else a.low)) * step
            y_rows = y_rows * a.extent + a.first + i * a.step
        return x_rows, y_rows * self._y_scale()

    def _y_scale(self) -> int:
        """Elements between output pixels where tiles are stored; 1 where the epilogue wants pixel numbers."""
        return 1 if self.direct is None else self.c.cout * self.c.groups

    def _params(self) -> Params:
        c, params, steps = self.c, Params(), self._x_steps()
        params.source("x", self.x)
        params.source("w", self.w)
        if self.direct is not None:
            params.target("y", self.direct)
        else:
            params.scratch("y", self.block * self.panel, c.dtype)
            params.scratch("tile_rows", self.block, "int64")
        for name, table in zip(("x_rows", "y_rows"), self._row_tables(), strict=True):
            params.source(name, self.ctx.array_view(table))
        if self.padded:
            self._piece_params(params, steps)
        first, *rest = c.axes
        line = math.prod(a.extent for a in rest) * self._y_scale()
        params.ints(all_images=c.images, images_per_item=self.images, rows_per_item=self.rows, bands=self.bands)
        params.ints(count0=first.count, pixels_of_row=math.prod(a.count for a in rest), image_step=steps[-1])
        params.ints(x_row=first.stride * steps[0], y_row=first.step * line, y_image=first.extent * line)
        params.word("columns", self.columns)
        if not c.depthwise:
            params.ints(groups=c.groups, cin=c.cin)
        nest = self._nest()
        for i, (n, a, b) in enumerate(nest):
            (params.literal if n <= 16 and i == len(nest) - 1 else params.word)(f"k_n{i}", n)
            (params.literal if a == 1 else params.word)(f"k_a{i}", a)
            params.word(f"k_b{i}", b)
        return params

    def _piece_params(self, params: Params, steps: Sequence[int]) -> None:
        """What `_copy_region` reads."""
        c = self.c
        params.scratch("piece_of_x", self.images * steps[-1], c.dtype)
        params.table("size", [a.size for a in c.axes])
        params.table("low", [a.low for a in c.axes])
        params.table("reach", [a.reach for a in c.axes])
        params.table("x_step", steps[: len(c.axes) - 1])
        params.ints(stride0=c.axes[0].stride, halo=(c.axes[0].taps - 1) * c.axes[0].dilation + 1)
        params.ints(channels=c.cin * c.groups, piece_step=steps[-1])

    def _copy_region(self) -> None:
        """The item's piece of x with zeros where the window hangs over the edge."""
        w, spatial = self.text, len(self.c.axes)
        last = spatial - 1
        w.line("reach_here = max(0, (rows - 1) * stride0 + halo)")
        w.line("top = row0 * stride0 - low0")
        with w.block("for n in range(images)"):
            self._copy_axis(0, last)

    def _copy_axis(self, axis: int, last: int) -> None:
        w = self.text
        reach = "reach_here" if axis == 0 else f"reach{axis}"
        low = "-top" if axis == 0 else f"low{axis}"
        if axis < last:
            with w.block(f"for r{axis} in range({reach})"):
                w.line(f"s{axis} = r{axis} - ({low})")
                self._copy_axis(axis + 1, last)
            return
        to = "".join(f" + r{i} * x_step{i}" for i in range(last))
        source = "image0 + n"
        for i in range(last):
            source = f"({source}) * size{i} + s{i}"
        w.line(f"line = shift(piece_of_x, n * piece_step{to})")
        w.line(f"start = min(max({low}, 0), {reach}) * channels")
        w.line(f"stop = max(start, min({reach}, size{axis} + ({low})) * channels)")
        if last:
            outside = " or ".join(f"s{i} < 0 or s{i} >= size{i}" for i in range(last))
            with w.block(f"if {outside}"):
                w.line(f"start = {reach} * channels")
                w.line("stop = start")
        w.line(f"source = (({source}) * size{axis} - ({low})) * channels")
        with w.block("for e in range(start)"):
            w.line(f"line[e] = {self.c.dtype}(0)")
        with w.block("for e in range(start, stop)"):
            w.line("line[e] = x[source + e]")
        with w.block(f"for e in range(stop, {reach} * channels)"):
            w.line(f"line[e] = {self.c.dtype}(0)")

    def _tiles(self) -> None:
        w, c = self.text, self.c
        if c.depthwise:
            self._panels("x_at + j0", "j0")
        else:
            with w.block("for g in range(groups)"):
                self._panels("x_at + g * cin", "g * columns + j0")

    def _panels(self, x_at: str, column: str) -> None:
        """Tiles of all panels and pixels. Depthwise tiles read x once, so they take all panels of a pixel in turn."""
        w, body = self.text, self.direct is None
        rows = f"for block in range(0, pixels, {self.block})" if body else f"for i in range(0, pixels, {self.mr})"
        loops = [f"for j0 in range(0, columns, {self.panel})", rows]
        with w.block(loops[self.c.depthwise]), w.block(loops[not self.c.depthwise]):
            w.line("here = columns - j0")
            if body:
                self._block(x_at, column)
            else:
                self._tile(x_at, f"shift(y, y_at + {column}), shift(y_rows, i), pixels - i", column)

    def _tile(self, x_at: str, target: str, column: str) -> None:
        source = "piece_of_x" if self.padded else "x"
        words = ", ".join(f"k_n{i}, k_a{i}, k_b{i}" for i in range(len(self._nest())))
        self.text.line(f"TILE(shift({source}, {x_at}), shift(x_rows, i), shift(w, {column}), x_rows,")
        self.text.line(f"     {target}, here, 0, ({words}))")

    def _block(self, x_at: str, column: str) -> None:
        """Some rows of tiles in private memory, then the epilogue over them while they are hot."""
        w = self.text
        w.line(f"end = min(block + {self.block}, pixels)")
        with w.block(f"for i in range(block, end, {self.mr})"):
            self._tile(x_at, "y, shift(tile_rows, i - block), end - i", column)
        self._epilogue(column)

    def _epilogue(self, column: str) -> None:
        """The epilogue over the rows block..end-1 of a panel, which stand in private memory."""
        w = self.text
        with w.block("for r in range(block, end)"):
            w.line("pixel = y_at + y_rows[r]")
            with w.block(f"for jj in range({f'min({self.panel}, here)' if self.columns % self.panel else self.panel})"):
                w.line(f"j = {column} + jj")
                w.line(f"acc = y[(r - block) * {self.panel} + jj]")
                self.body.emit(w, {self.group.anchor: "acc"}, ["pixel", "j"])
