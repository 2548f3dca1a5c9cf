"""Which kernel computes a product: the least of rough estimates of its time, in cycles of a multiprocessor.

Hopper's tensor cores are weighed here, against mma.sync and among their own tiles; what other GPUs do depends on the
number of tiles alone. The figures are those of an H200's data sheet, rounded; none was measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphkeras.codegen.cuda.language import SIZES
from graphkeras.codegen.cuda.product import BUSY, PART, Problem
from graphkeras.codegen.cuda.product_copies import ROW
from graphkeras.codegen.cuda.product_hopper import TILES, HopperTile, padded_depth
from graphkeras.codegen.cuda.product_tensor import TensorTile

PRODUCTS = 2048
"""Products that a multiprocessor does in a cycle with wgmma, of 2-byte numbers; half as many of 4-byte ones."""

SYNCHRONOUS = 0.6
"""What mma.sync reaches of that at best."""

NEAR = 64.0
"""Bytes in a cycle from the L2 cache to a multiprocessor."""

FAR = 2400.0
"""Bytes in a cycle from memory to all multiprocessors."""

SINGLE = 0.25
"""Cycles for an element that is brought alone, by a thread's load and store."""

START = 1500.0
"""Cycles until the first pieces are there."""

LAUNCH = 4000.0
"""Cycles that a second kernel costs."""


@dataclass(frozen=True)
class Choice:
    tile: HopperTile
    parts: int
    cycles: float


def hopper_choice(p: Problem, taps: int) -> Choice:
    """The best of Hopper's tiles, with k in one or more parts; taps: as of `Sides`."""
    size = SIZES[p.a.view.dtype]
    step = ROW // size
    steps = -(-padded_depth(p.k, taps, size) // step)
    found = []
    for tile in TILES:
        blocks = tile.blocks(p)
        products = tile.rows * tile.columns * step / (PRODUCTS * 2 / size)
        each = max(products, tile.slot / NEAR)
        for parts in sorted({1, *(c for c in (2, 4, 8, 16, BUSY // max(blocks, 1)) if _worth(blocks, c, p.k))}):
            rounds = -(-blocks * parts // BUSY)
            cycles = rounds * (-(-steps // parts) * each + START + tile.rows * tile.columns * 4 / NEAR)
            found.append(Choice(tile, parts, cycles + _combine(p, parts)))
    return min(found, key=lambda c: c.cycles)


def synchronous_cycles(p: Problem, tile: TensorTile, parts: int) -> float:
    """The same of mma.sync, whose blocks stand two to a multiprocessor."""
    size = SIZES[p.a.view.dtype]
    rounds = -(-tile.blocks(p) * parts // (2 * BUSY))
    products = tile.rows * tile.columns / (PRODUCTS * 2 / size * SYNCHRONOUS)
    each = max(products, (tile.rows + tile.columns) * size / NEAR)
    for operand, free, extent in ((p.a, p.m, tile.rows), (p.b, p.n, tile.columns)):
        if operand.width(free, p.k, 16 // size) * size < 4:
            each = max(each, extent * SINGLE)
    depth = -(-p.k // parts)
    together = min(2, -(-tile.blocks(p) * parts // BUSY))
    cycles = rounds * (together * (depth * each + tile.rows * tile.columns * 4 / NEAR) + START)
    return cycles + _combine(p, parts)


def turning_cycles(elements: int, size: int) -> float:
    """A copy of an operand with its axes exchanged."""
    return LAUNCH + 2.0 * elements * size / FAR


def _worth(blocks: int, parts: int, k: int) -> bool:
    return parts > 1 and blocks < BUSY and k // parts >= PART


def _combine(p: Problem, parts: int) -> float:
    return LAUNCH + 2.0 * parts * p.batches * p.m * p.n * 4 / FAR if parts > 1 else 0.0
