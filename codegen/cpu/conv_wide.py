"""Convolutions with many channels: weights in panels, walked in pieces that stay in the first-level cache.

Rows of wide weights are a power of two apart, as a rule: they share a few sets of each cache and a page each. Copied
to panels first, a column of tiles reads them from end to end. The depth is cut in pieces, each used by a block of rows
before the next one comes; sums stand in the result (or in private memory, until the epilogue) meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

from graphkeras.codegen.cpu.conv_tiles import WindowPrinter
from graphkeras.codegen.cpu.cost_model import Tile
from graphkeras.codegen.cpu.params import HEADER, Params, comment
from graphkeras.codegen.cpu.vectors import register_tile, vector_width
from graphkeras.codegen.cpu.window import Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering

ROW = 512  # bytes of a row of weights from which panels pay
WEIGHTS = 256 * 1024  # bytes of all weights from which they pay
CHANNELS = 64  # channels in, the run of x that a tile walks
BLOCK = 112  # rows that use a piece of a panel before the next one
PIECE = 96 * 1024  # bytes of a piece


def usual_tile(c: Window) -> Tile:
    """Of pixels by vectors: one row fewer than usual where rows of pixels are multiples of that (7, 14, 28 ...)."""
    mr, nv = register_tile(1 << 20, -(-c.cout // vector_width(c.dtype)))
    line = math.prod(a.count for a in c.axes[1:])
    return Tile(mr - 1 if mr > 4 and line % mr and line % (mr - 1) == 0 else mr, nv)


def panel_of(c: Window) -> int:
    """Columns of a panel of weights, with the usual tile."""
    return usual_tile(c).nv * vector_width(c.dtype)


def can(c: Window) -> bool:
    """Whether panels may pay. Nothing here may depend on the batch."""
    size = 8 if c.dtype == "float64" else 4
    return c.groups == 1 and c.cin >= CHANNELS and c.cout * size >= ROW and c.depth * c.cout * size >= WEIGHTS


class WidePrinter(WindowPrinter):
    """Prints a window whose weights are panels: (panels, *taps, cin, columns of the tile)."""

    def __init__(self, ctx: Lowering, group: Group, window: Window, x: View, w: View, tile: Tile) -> None:
        super().__init__(ctx, group, window, x, w, tile)
        self.masked = False
        self.block = BLOCK

    @property
    def tail(self) -> int:
        """Rows of the smaller tile that ends a block."""
        return max(1, self.mr // 2)

    def _head(self) -> None:
        w, c = self.text, self.c
        edges = "pieces of x are copied with zeros around" if self.padded else "x is read in place"
        comment(
            w,
            f"""Convolution over {len(c.axes)} axes, {c.dtype}, channels last, weights in panels; {edges}.
            Item: `rows_per_item` output rows of `images_per_item` images; columns are output channels.
            Tile: {self.mr} pixels x {self.nv} vectors; {self.block} pixels use a piece of a panel.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        w.line()
        w.line(f'TILE = tile({self.mr}, {self.nv}, 1, "{c.dtype}")')
        w.line(f'TAIL = tile({self.tail}, {self.nv}, 1, "{c.dtype}")')
        w.line()
        w.line()

    def _columns_of_weights(self) -> int:
        return self.panel

    def _params(self) -> Params:
        params = super()._params()
        size = 8 if self.c.dtype == "float64" else 4
        depth = self._nest()[-1][0]
        pieces = -(-depth * self.panel * size // PIECE)
        params.ints(panel_size=self.c.depth * self.panel, piece=-(-depth // pieces))
        return params

    def _panels(self, x_at: str, column: str) -> None:
        w = self.text
        *outer, inner = range(len(self._nest()))
        with ExitStack() as loops:
            loops.enter_context(w.block(f"for j0 in range(0, columns, {self.panel})"))
            loops.enter_context(w.block(f"for block in range(0, pixels, {self.block})"))
            w.line("here = columns - j0")
            w.line(f"end = min(block + {self.block}, pixels)")
            w.line(f"last = block + (end - block + {self.mr - self.tail - 1}) // {self.mr} * {self.mr}")
            w.line(f"panel = shift(w, j0 // {self.panel} * panel_size)")
            with ExitStack() as taps:
                for i in outer:
                    taps.enter_context(w.block(f"for t{i} in range(k_n{i})"))
                self._piece(x_at, column, outer, inner)
            if self.direct is None:
                self._epilogue(column)

    def _piece(self, x_at: str, column: str, outer: Sequence[int], inner: int) -> None:
        """Pieces of the innermost run, each for all rows of the block."""
        w = self.text
        a_at, b_at = ("".join(f" + t{i} * k_{side}{i}" for i in outer) for side in "ab")
        with w.block(f"for k in range(0, k_n{inner}, piece)"):
            w.line(f"weights = shift(panel, k * {self.panel}{b_at})")
            w.line(f"from_x = shift({'piece_of_x' if self.padded else 'x'}, {x_at} + k{a_at})")
            w.line("adding = " + " + ".join(["k", *(f"t{i}" for i in outer)]))
            w.line(f"depth = min(piece, k_n{inner} - k)")
            with w.block(f"for i in range(block, last, {self.mr})"):
                self._part("TILE", "i", column)
            with w.block("if last < end"):
                self._part("TAIL", "last", column)

    def _part(self, tile: str, i: str, column: str) -> None:
        place = (
            "y, shift(tile_rows, {0} - block)" if self.direct is None else "shift(y, y_at + {1}), shift(y_rows, {0})"
        )
        self.text.line(f"{tile}(from_x, shift(x_rows, {i}), weights, x_rows, {place.format(i, column)},")
        self.text.line(f"     end - {i}, here, adding, (depth, 1, {self.panel}))")
