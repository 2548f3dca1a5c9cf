"""How the copy engine (TMA) brings the operands of a product into shared memory, tile by tile.

A slot of the ring holds `extent` rows and columns of an operand, 128 bytes deep. Operands whose neighbours in memory
are neighbours along k come as one box of rows of 128 bytes. The others ("turned": neighbours along the free axis) come
as boxes of 64 free elements, one after another in the slot, each row of a box being one step along k. In both forms
rows are swizzled, and what is outside of the array is zero: no edge needs a branch.

A `Sheet` is a strided matrix, for each b or each tap of a window. A `Pixels` is all that a window meets of an image,
whose patches the engine gathers by itself; see `conv.py` for the three products that a convolution is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from graphkeras.codegen.cuda.language import SIZES, divisor
from graphkeras.codegen.cuda.product import Operand
from graphkeras.codegen.cuda.source import Source, decompose
from graphkeras.codegen.kernel import TensorMap, View, Window
from graphkeras.codegen.writer import Writer

ROW = 128
"""Bytes of a swizzled row."""

PIECE = 64 * ROW
"""Bytes from one box of a turned operand to the next, and from the rows of one warpgroup to those of the next."""


class Copies(Protocol):
    """An operand in a kernel that is being written. map: name of the array's description."""

    map: str

    def start(self, w: Writer, at: str) -> None:
        """Once for each tile, whose first row or column is `at`; `batch` is known."""

    def copy(self, w: Writer, to: str, barrier: str) -> None:
        """A step's pieces into the slot at `to`; `step`, `deep` and `tap` are known."""


class Side(Protocol):
    """An operand that the copy engine can bring."""

    @property
    def turned(self) -> bool: ...

    def copies(self, source: Source, name: str, extent: int, rounded: bool) -> Copies: ...


def reachable(view: View, strides: Sequence[int]) -> bool:
    """Whether the engine can read an array with these strides (of all axes but the innermost)."""
    size = SIZES[view.dtype]
    aligned = all(s * size % 16 == 0 and 0 < s * size < 2**40 for s in strides)
    return aligned and view.offset * size % 16 == 0 and view.buffer.align >= 16


@dataclass(frozen=True)
class Sheet:
    """Elements `free` apart along the free axis, `depth` apart along k; one of the two is 1.

    rows, deep: extents. third: extent and step of a third axis, along which `by` ("batch" or "tap") moves.
    shift: by how much an element's free and deep coordinate move from one b to the next.
    """

    view: View
    rows: int
    deep: int
    free: int
    depth: int
    third: tuple[int, int] | None = None
    by: str = "batch"
    shift: tuple[int, int] = (0, 0)

    @property
    def turned(self) -> bool:
        return self.depth != 1

    def fits(self) -> bool:
        steps = [self.depth if self.turned else self.free, *([self.third[1]] if self.third else [])]
        return 1 in (self.free, self.depth) and reachable(self.view, steps)

    def copies(self, source: Source, name: str, extent: int, rounded: bool) -> Copies:
        return SheetCopies(self, source, name, extent, rounded)


def sheet_of(operand: Operand, rows: int, deep: int, batches: int) -> Sheet | None:
    """A plain operand, or None where the engine cannot read it."""
    third = (batches, operand.batch) if batches > 1 and operand.batch else None
    sheet = Sheet(operand.view, rows, deep, operand.free, operand.depth, third)
    return sheet if sheet.fits() else None


class SheetCopies:
    """See Sheet."""

    def __init__(self, sheet: Sheet, source: Source, name: str, extent: int, rounded: bool) -> None:
        self.sheet, self.name = sheet, name
        size = SIZES[sheet.view.dtype]
        across = ROW // size
        extents = [sheet.rows, sheet.deep] if sheet.turned else [sheet.deep, sheet.rows]
        steps = [sheet.depth if sheet.turned else sheet.free]
        box = [across, ROW // size if sheet.turned else extent]
        self.pieces = extent // across if sheet.turned else 1
        self.across = across
        if sheet.third is not None:
            extents, steps, box = [*extents, sheet.third[0]], [*steps, sheet.third[1]], [*box, 1]
        spec = TensorMap(
            sheet.view.buffer,
            sheet.view.offset * size,
            sheet.view.dtype,
            tuple(extents),
            tuple(s * size for s in steps),
            tuple(box),
            rounded=rounded,
        )
        self.map = source.tensor_map(spec)
        self.shift = [source.word(s) if s else "" for s in sheet.shift]

    def start(self, w: Writer, at: str) -> None:
        moved = [f" + batch * {s}" if s else "" for s in self.shift]
        w.line(f"free_{self.name} = {at}{moved[0]}")
        w.line(f"deep_{self.name} = 0{moved[1]}")

    def copy(self, w: Writer, to: str, barrier: str) -> None:
        deep = f"int32(deep + deep_{self.name})"
        last = [f"int32({self.sheet.by})"] if self.sheet.third is not None else []
        for piece in range(self.pieces):
            free = f"int32(free_{self.name}{f' + {piece * self.across}' if piece else ''})"
            place = [free, deep] if self.sheet.turned else [deep, free]
            operands = [f"{to}{f' + {piece * PIECE}' if piece else ''}", self.map, barrier, *place, *last]
            w.line(f"copy_box{len(place) + len(last)}({', '.join(operands)})")


@dataclass(frozen=True)
class Pixels:
    """Pixels of an image (n, ..., channel) as windows meet them: rows are pixels and k is (tap, channel), or, turned,
    rows are (tap, channel) and k is pixels.

    pixels: extents of the base positions; taps: of the window; channels: of a group. back: taps go backwards.
    """

    view: View
    pixels: tuple[int, ...]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    low: tuple[int, ...]  # base positions start here
    dilation: tuple[int, ...]
    channels: int
    back: bool
    turned: bool

    def window(self) -> Window:
        spatial = self.view.shape[1:-1]
        last = [lo + (n - 1) * s + 1 for lo, n, s in zip(self.low, self.pixels, self.strides, strict=True)]
        high = [end - n for end, n in zip(last, spatial, strict=True)]
        return Window(self.low[::-1], tuple(high[::-1]), self.strides[::-1])

    def fits(self) -> bool:
        """Whether the engine's fields hold the window: fewer bits for more axes."""
        rank, window = len(self.taps), self.window()
        if not 1 <= rank <= 3:
            return False
        limit, reach = {1: (2**15, 2**16), 2: (2**7, 2**8), 3: (2**4, 2**5)}[rank]
        inside = all(-limit <= c < limit for c in (*window.low, *window.high))
        offsets = all((t - 1) * d < reach for t, d in zip(self.taps, self.dilation, strict=True))
        return inside and offsets and max(self.strides) <= 8 and reachable(self.view, [self.view.shape[-1]])

    def copies(self, source: Source, name: str, extent: int, rounded: bool) -> Copies:
        return PixelCopies(self, source, name, extent, rounded)


class PixelCopies:
    """See Pixels."""

    def __init__(self, side: Pixels, source: Source, name: str, extent: int, rounded: bool) -> None:
        self.side, self.name = side, name
        view, size = side.view, SIZES[side.view.dtype]
        across = ROW // size
        extents = (*view.shape[:0:-1], view.shape[0])
        steps = tuple(math.prod(extents[: k + 1]) * size for k in range(len(extents) - 1))
        box = (across, ROW // size if side.turned else extent)
        spec = TensorMap(
            view.buffer, view.offset * size, view.dtype, extents, steps, box, side.window(), rounded=rounded
        )
        self.map = source.tensor_map(spec)
        self.pieces, self.across = (extent // across, across) if side.turned else (1, 0)
        self.channels = source.word(side.channels)
        self.pixels = [(source.word(n), source.word(divisor(n))) for n in side.pixels]
        self.taps = [(source.word(n), source.word(divisor(n))) for n in side.taps]
        self.places = [
            tuple(source.word(v) for v in values) for values in zip(side.strides, side.low, side.dilation, strict=True)
        ]
        if side.turned:
            self.by_channels = source.word(divisor(side.channels))
            self.last = source.word(math.prod(side.taps) - 1)

    # -- parts -------------------------------------------------------------------------------------
    def _position(self, w: Writer, pixel: str) -> None:
        """Where base position number `pixel` stands: image, and one coordinate for each spatial axis."""
        name, rank = self.name, len(self.pixels)
        parts = [f"n_{name}", *(f"p{a}_{name}" for a in range(rank))]
        decompose(w, pixel, ["", *(e for e, _ in self.pixels)], ["", *(d for _, d in self.pixels)], parts)
        for a, (stride, low, _) in enumerate(self.places):
            w.line(f"p{a}_{name} = p{a}_{name} * {stride} + {low}")

    def _offsets(self, w: Writer, tap: str, piece: int = 0) -> None:
        """How far a tap is from the base position."""
        rank = len(self.taps)
        parts = [f"t{a}_{self.name}{piece}" for a in range(rank)]
        decompose(w, tap, [e for e, _ in self.taps], [d for _, d in self.taps], parts)
        for part, (extent, _), (_, _, dilation) in zip(parts, self.taps, self.places, strict=True):
            count = f"({extent} - 1 - {part})" if self.side.back else part
            w.line(f"{part} = {count} * {dilation}")

    def _copy(self, w: Writer, to: str, barrier: str, channel: str, piece: int = 0) -> None:
        rank = len(self.taps)
        axes = range(rank - 1, -1, -1)
        place = [channel, *(f"p{a}_{self.name}" for a in axes), f"n_{self.name}"]
        place += [f"t{a}_{self.name}{piece}" for a in axes]
        numbers = ", ".join(f"int32({x})" for x in place)
        w.line(f"copy_patch{rank + 2}({to}{f' + {piece * PIECE}' if piece else ''}, {self.map}, {barrier}, {numbers})")

    # -- the two forms -----------------------------------------------------------------------------
    def start(self, w: Writer, at: str) -> None:
        if not self.side.turned:
            self._position(w, at)
            return
        for piece in range(self.pieces):
            w.line(f"r = {at} + {piece * self.across}")
            w.line(f"tap = min(divided(r, {self.by_channels}), {self.last})")  # rows behind the last one are not kept
            w.line(f"c{piece}_{self.name} = r + (batch - tap) * {self.channels}")
            self._offsets(w, "tap", piece)

    def copy(self, w: Writer, to: str, barrier: str) -> None:
        if not self.side.turned:
            self._offsets(w, "tap")
            self._copy(w, to, barrier, f"deep + batch * {self.channels}")
            return
        self._position(w, "step")
        for piece in range(self.pieces):
            self._copy(w, to, barrier, f"c{piece}_{self.name}", piece)
