"""What kernels cost before anything was run: a roofline in cycles, from the vector unit and the caches.

Work is priced by its nearest limit: multiply-adds, loads of the register tile, waiting for the sums in flight, or bytes
through the level of cache in which the operands lie. Nothing is measured here: the same problem gets the same answer on
every run (`tuning.py` measures). Nothing depends on the number of threads either.

Sources follow from these numbers, so what prices a *form* may only be told what belongs to the model, see `choices.py`.
The constants were fitted to the tiles of `micro.py` on a Zen 5 core (docs/adr/0011); only ratios matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphkeras.codegen.cpu.vectors import vectors

HERTZ = 3.6e9  # of a nominal core
FMAS, LOADS = 2.0, 2.0  # vectors per cycle
LATENCY = 4.0  # cycles until the sum of a multiply-add can be added to
STEP, LOADED = 0.25, 0.1  # cycles of a step over the depth that nothing hides, and of each of its loads
BEGIN = 12.0  # cycles of a tile beside its steps and stores
FROM_L2, FROM_L3, FROM_MEMORY = 24.0, 16.0, 8.0  # bytes per cycle into the first-level cache
ROWS = 32  # of a batch whose size is not known


@dataclass(frozen=True)
class Tile:
    """Rows by vectors of columns whose sums stay in registers."""

    mr: int
    nv: int

    def __str__(self) -> str:
        return f"{self.mr}x{self.nv}"

    @property
    def registers(self) -> int:
        """The sums, a step's columns (which one row takes from memory as it goes), and one broadcast element."""
        return self.mr * self.nv + (self.nv if self.mr > 1 else 1) + 1

    def step(self, depth: int) -> float:
        """Cycles of one step over a depth: a row of B's panel against one element of each row of A."""
        unit = vectors()
        row = self.nv * unit.bytes
        waiting = LATENCY if self.nv * self.mr < FMAS * LATENCY else 0.0
        limit = max(self.mr * self.nv / FMAS, (self.mr + self.nv) / LOADS, waiting, row / bytes_per_cycle(row * depth))
        return limit + STEP + LOADED * (self.mr + self.nv)

    def run(self, depth: int) -> float:
        """Cycles of one tile: all its steps, then its stores."""
        return depth * self.step(depth) + self.mr * self.nv + BEGIN

    def over(self, rows: int, columns: int, depth: int, tail: bool = False) -> float:
        """Cycles of all tiles for `rows` rows by `columns` vectors. tail: half the rows have a tile of their own."""
        whole, rest = divmod(rows, self.mr)
        half = self.mr // 2
        short = tail and 0 < rest <= half
        last = Tile(half, self.nv).run(depth) if short else self.run(depth) if rest else 0.0
        return -(-columns // self.nv) * (whole * self.run(depth) + last)


def tiles(registers: int | None = None) -> list[Tile]:
    """All that fit the registers, the usual heights first."""
    most = registers or vectors().registers
    heights = (8, 6, 4, 5, 7, 12, 16, 10, 9, 3, 2, 1)
    widths = {mr: range(1, 25 if mr == 1 else 9) for mr in heights}
    return [t for mr in heights for nv in widths[mr] if (t := Tile(mr, nv)).registers <= most]


def seconds(cycles: float) -> float:
    return cycles / HERTZ


def bytes_per_cycle(nbytes: float) -> float:
    """How fast data comes near that is `nbytes` large, by the level of cache in which it fits."""
    unit = vectors()
    if nbytes <= unit.l1 // 2:
        return LOADS * unit.bytes
    return FROM_L2 if nbytes <= unit.l2 // 2 else FROM_L3 if nbytes < 16 * unit.l2 else FROM_MEMORY
