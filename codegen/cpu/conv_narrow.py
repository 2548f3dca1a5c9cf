"""Convolutions with few channels out: vectors run along the depth, not along the channels, and are summed at the end.

Such are gradients of a first layer's input (1 to 3 channels) and the last layer of what makes images. Tiles whose
columns are channels out would leave most lanes empty. Here a row of the tile is an output pixel's run of inputs, a
column one channel's weights in the same order, so that lanes are (tap, channel in) pairs.
"""

from __future__ import annotations

import numpy as np

from graphkeras.codegen.cpu.conv_tiles import BLOCK, WindowPrinter
from graphkeras.codegen.cpu.params import HEADER, Params, comment
from graphkeras.codegen.cpu.product import merged
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

SUM = 6  # products that the sum across a vector costs
MOST = 12  # channels out


def can(c: Window) -> bool:
    """Whether sums may run along the depth. Nothing here may depend on the batch."""
    return c.groups == 1 and c.cout <= MOST and vectors().masks and c.depth > 0


def products(c: Window) -> int:
    """Vectors multiplied for one pixel, and what the sums across them cost."""
    run = c.cin * c.axes[-1].taps if c.axes[-1].dilation == 1 else c.cin
    along = c.depth // run * -(-run // vector_width(c.dtype))
    return c.cout * (along + SUM)


def columns_of_tile(c: Window) -> int:
    """Channels out of a tile: as equal parts as can be, four at most."""
    return -(-c.cout // -(-c.cout // 4))


class NarrowPrinter(WindowPrinter):
    """Prints a window whose weights are (channels out, *taps, channels in), rows up to a multiple of the tile's."""

    def __init__(self, ctx: Lowering, group: Group, window: Window, x: View, w: View) -> None:
        self.ctx, self.group, self.c, self.x, self.w = ctx, group, window, x, w
        self.body, node = group.epilogue, group.anchor
        self.direct = ctx.output(node) if group.nodes == [node] and node.dtype == window.dtype else None
        self.columns = window.cout
        self.panel = self.nv = columns_of_tile(window)
        self.mr = min(8, (24 if vectors().registers == 32 else 9) // self.nv)
        self.padded = not all(a.inside for a in window.axes)
        self.rows, self.images = self._band()
        self.bands = -(-window.axes[0].count // self.rows)
        self.block, self.text = BLOCK, Writer()

    def _head(self) -> None:
        w, c = self.text, self.c
        edges = "pieces of x are copied with zeros around" if self.padded else "x is read in place"
        comment(
            w,
            f"""Convolution over {len(c.axes)} axes, {c.dtype}, channels last, few channels out; {edges}.
            Item: `rows_per_item` output rows of `images_per_item` images; lanes are taps and input channels.
            Tile: {self.mr} pixels x {self.nv} channels.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        w.line()
        w.line(f'TILE = tile({self.mr}, {self.nv}, {len(self._nest())}, "{c.dtype}", "dot")')
        w.line()
        w.line()

    def _nest(self) -> list[tuple[int, ...]]:
        c, steps = self.c, self._x_steps()
        axes, step = [(c.cin, 1, 1)], c.cin
        for a, x_step in zip(reversed(c.axes), reversed(steps[:-1]), strict=True):
            axes.insert(0, (a.taps, a.dilation * x_step, step))
            step *= a.taps
        found = merged(axes) or [(1, 1, 1)]
        return found if found[-1][1:] == (1, 1) else [*found, (1, 1, 1)]

    def _params(self) -> Params:
        params = super()._params()
        params.source("columns_of", self.ctx.array_view(np.arange(self.nv, dtype=np.int64) * self.c.depth))
        params.ints(depth=self.c.depth)
        return params

    def _tile(self, x_at: str, target: str, column: str) -> None:
        source = "piece_of_x" if self.padded else "x"
        words = ", ".join(f"k_n{i}, k_a{i}, k_b{i}" for i in range(len(self._nest())))
        self.text.line(f"TILE(shift({source}, {x_at}), shift(x_rows, i), shift(w, j0 * depth), columns_of,")
        self.text.line(f"     {target}, here, 0, ({words}))")
