"""Copies between layouts whose neighbours in memory differ: tiles through shared memory.

A block reads a tile along the axis that is contiguous in the source and writes it along the one that is contiguous in
the target, 16 bytes a thread and 128 bytes a row of lanes where alignment and extents allow. In shared memory rows are
an odd number of elements apart, so that lanes do not meet in a bank either way (two of 2-byte elements do).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.cuda.source import THREADS, WARP, Source, decompose
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.views import collapse

LEAST = 16  # elements along both axes that are worth a tile
ROW = 128  # bytes that the lanes of a row move together
SMALL = 2**31


@dataclass(frozen=True)
class _Side:
    """How threads move a tile in or out. width: neighbours of a thread; across: threads along the contiguous axis."""

    width: int
    across: int

    @classmethod
    def of(cls, view: View, strides: list[int], inner: int, extent: int) -> _Side:
        """strides: of the groups of axes; inner: the group that is contiguous."""
        width = 16 // view.itemsize
        others = [s for g, s in enumerate(strides) if g != inner]
        while width > 1 and (
            any(n % width for n in (extent, view.offset, *others)) or width * view.itemsize > view.buffer.align
        ):
            width //= 2
        return cls(width, min(WARP, ROW // (width * view.itemsize)))

    @property
    def span(self) -> int:
        """Elements of a row of lanes."""
        return self.width * self.across

    @property
    def rows(self) -> int:
        """Rows that the block's threads move at a time."""
        return THREADS // self.across


def transpose_kernel(source: View, target: View) -> Kernel | None:
    """The copy as tiles; None where both layouts have the same neighbours, or hardly any."""
    groups = collapse(source.shape, [source.strides, target.strides])
    extents = [math.prod(source.shape[a] for a in axes) for axes in groups]
    moves = [[v.strides[axes[-1]] for axes in groups] for v in (source, target)]
    contiguous = [next((g for g, s in enumerate(m) if s == 1 and extents[g] > 1), None) for m in moves]
    i, j = contiguous
    if i is None or j is None or i == j or min(extents[i], extents[j]) < LEAST or math.prod(extents) >= SMALL:
        return None
    return _Tiles(source, target, extents, moves, i, j).kernel()


class _Tiles:
    """The kernel being written. i, j: the groups that are contiguous in the source and in the target."""

    def __init__(self, x: View, y: View, extents: list[int], moves: list[list[int]], i: int, j: int) -> None:
        self.x, self.y, self.extents, self.moves, self.i, self.j = x, y, extents, moves, i, j
        self.kind = x.dtype
        self.read = _Side.of(x, moves[0], i, extents[i])
        self.write = _Side.of(y, moves[1], j, extents[j])
        self.size = max(32 if x.itemsize == 8 else 64, self.read.span, self.write.span)
        self.source = Source("transpose in tiles", ())
        self.w = self.source.w

    def kernel(self) -> Kernel:
        source, w, size = self.source, self.w, self.size
        pointers = source.source(self.x), source.destination(self.y)
        tile = source.scratch(size * (size + 1) * self.x.itemsize)
        outer = [g for g in range(len(self.extents)) if g not in (self.i, self.j)]
        counts = [*(self.extents[g] for g in outer), *(-(-self.extents[g] // size) for g in (self.j, self.i))]
        names = [source.word(n) if k else "" for k, n in enumerate(counts)]
        dividers = [source.word(divisor(n)) if k else "" for k, n in enumerate(counts)]
        decompose(w, "block_index()", names, dividers, [*(f"o{g}" for g in outer), "tile_j", "tile_i"])
        w.line(f"i0 = tile_i * {size}")
        w.line(f"j0 = tile_j * {size}")
        for name, moves in zip(("from_x", "to_y"), self.moves, strict=True):
            w.line(f"{name} = " + (" + ".join(f"o{g} * {source.word(moves[g])}" for g in outer) or "0"))
        self.ends = [source.word(self.extents[g]) for g in (self.i, self.j)]
        w.line(f"tile = shared_memory() + {tile}")
        self._in(pointers[0])
        w.line("sync_threads()")
        self._out(pointers[1])
        nbytes = 2.0 * self.x.itemsize * math.prod(self.extents)
        return source.kernel("transpose", math.prod(counts), nbytes=nbytes)

    def _in(self, pointer: str) -> None:
        """tile[i, j] = source, read along i."""
        w, side, n = self.w, self.read, _count(self.read)
        step = self.source.word(self.moves[0][self.j])
        with self._places(side):
            w.line("i = i0 + c")
            w.line("j = j0 + r")
            with w.block(f"if (i < {self.ends[0]}) & (j < {self.ends[1]})"):
                w.line(f"value = fetch{n}_{self.kind}({pointer}, from_x + j * {step} + i)")
                for k in range(side.width):
                    part = f"[{k}]" if n else ""
                    w.line(f"shared_store_{self.kind}(tile, (c + {k}) * {self.size + 1} + r, value{part})")

    def _out(self, pointer: str) -> None:
        """target = tile[i, j], written along j."""
        w, side, n = self.w, self.write, _count(self.write)
        step = self.source.word(self.moves[1][self.i])
        with self._places(side):
            w.line("i = i0 + r")
            w.line("j = j0 + c")
            with w.block(f"if (i < {self.ends[0]}) & (j < {self.ends[1]})"):
                loads = [f"shared_load_{self.kind}(tile, r * {self.size + 1} + c + {k})" for k in range(side.width)]
                value = f"({', '.join(loads)})" if n else loads[0]
                w.line(f"store{n}_{self.kind}({pointer}, to_y + i * {step} + j, {value})")

    @contextmanager
    def _places(self, side: _Side) -> Iterator[None]:
        """Loops over a thread's places in the tile: c, the first of `width` neighbours, and r, the other index."""
        w = self.w
        w.line(f"lane = (thread_index() & {side.across - 1}) * {side.width}")
        w.line(f"first = thread_index() >> {side.across.bit_length() - 1}")
        columns = f"for c in range(lane, {self.size}, {side.span})"
        with w.block(columns), w.block(f"for r in range(first, {self.size}, {side.rows})"):
            yield


def _count(side: _Side) -> str:
    return str(side.width) if side.width > 1 else ""
