"""Products on Hopper's tensor cores: bfloat16, float16 and tf32 tiles that wgmma multiplies out of shared memory.

A block has one warpgroup that has things brought and one or two that compute. One thread of the first tells the copy
engine which pieces of A and B to bring (`product_copies.py`); they land in a ring of slots. The others wait for a slot,
multiply it, 64 rows each, and give it back when the products of the next one are under way. Two barriers for each slot
say that it is full and that it is empty. As many blocks as there are multiprocessors take tile after tile, in bands of
rows, so that neighbours in time share operands in the L2 cache; while results leave, the ring fills for the next tile.

Results pass through shared memory, 16 rows and 32 columns of a warp at a time, and leave in whole vectors through the
epilogue. k is cut into parts as in `product.py`. Nothing was measured on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from graphkeras.codegen.cuda.hopper_macros import CHUNK, ROWS
from graphkeras.codegen.cuda.language import SIZES, divisor
from graphkeras.codegen.cuda.product import Problem, ProductWriter
from graphkeras.codegen.cuda.product_copies import PIECE, ROW, Copies, Side
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View

SHARED = 227 * 1024
"""Bytes of shared memory that a block may have."""

BAND = 8
"""Rows of tiles that are worked on together."""

SPARE = 8  # elements between rows of results in shared memory
MOST_SLOTS = 8


@dataclass(frozen=True)
class HopperTile:
    """64 * groups rows x columns of a block."""

    groups: int
    columns: int

    @property
    def rows(self) -> int:
        return ROWS * self.groups

    @property
    def threads(self) -> int:
        return 128 * (self.groups + 1)

    @property
    def slot(self) -> int:
        """Bytes of the pieces of A and B."""
        return (self.rows + self.columns) * ROW

    @property
    def results(self) -> int:
        """Bytes through which results leave."""
        return self.groups * ROWS * (CHUNK + SPARE) * 4

    @property
    def slots(self) -> int:
        return min(MOST_SLOTS, (SHARED - self.results - 16 * MOST_SLOTS) // self.slot)

    def blocks(self, p: Problem) -> int:
        return -(-p.m // self.rows) * -(-p.n // self.columns) * p.batches


TILES = (HopperTile(2, 256), HopperTile(2, 128), HopperTile(1, 256), HopperTile(1, 128), HopperTile(2, 64))


@dataclass(frozen=True)
class Sides:
    """A product as the copy engine sees it. kind: of hopper_macros.KINDS.

    taps: the k of a convolution is (tap, channel), each tap's channels padded to whole slots; 0 where it is one axis.
    """

    a: Side
    b: Side
    kind: str
    taps: int = 0


def padded_depth(k: int, taps: int, size: int) -> int:
    """k of numbers of `size` bytes with its padding; taps: as of `Sides`."""
    step = ROW // size
    return -(-k // taps // step) * step * taps if taps else k


class HopperKernel(ProductWriter):
    """One kernel being written."""

    def __init__(self, p: Problem, sides: Sides, tile: HopperTile, group: Group, parts: int = 1) -> None:
        super().__init__(p, tile, group, parts, f" by warpgroups, {sides.kind}")
        self.tile, self.sides = tile, sides
        self.element_size = SIZES[self.lead]
        self.depth = ROW // self.element_size
        self.whole_depth = padded_depth(p.k, sides.taps, self.element_size)
        self.source.constants.update(BLOCKS=1, FEATURES="a")

    # -- the two forms -----------------------------------------------------------------------------
    def whole(self) -> Kernel:
        """Finished results, through the epilogue."""
        self._arguments()
        body, element = self.epilogue()
        width = self.width(body, 8)
        self._setup()
        self._produce()
        with self._consume(width):
            load = f"shared_load{width if width > 1 else ''}_float32(own, from_c)"
            self.w.line(f"sum = {load}")
            self.emit(body, element, [f"sum[{q}]" for q in range(width)] if width > 1 else ["sum"])
        return self._persistent("hopper_product", body.traffic)

    def partial(self, target: View) -> Kernel:
        """Sums over a part of k."""
        self._arguments()
        place = self.source.destination(target)
        width = 4 if self.p.n % 4 == 0 else 1
        n = str(width) if width > 1 else ""
        self._setup()
        self._produce()
        with self._consume(width):
            at = f"part * {self.batches} * {self.m} * {self.n} + {self._index(0, 1)[0]}"
            self.w.line(f"store{n}_float32({place}, {at}, shared_load{n}_float32(own, from_c))")
        return self._persistent("partial_hopper_product", 0.0)

    def _persistent(self, name: str, traffic: float) -> Kernel:
        kernel = self._kernel(name, traffic)
        assert kernel.launch is not None
        kernel.launch = replace(kernel.launch, dealt=True)
        return kernel

    # -- arguments ---------------------------------------------------------------------------------
    def _arguments(self) -> None:
        p, source, tile = self.p, self.source, self.tile
        self.m, self.n, self.k = source.word(p.m), source.word(p.n), source.word(self.whole_depth)
        self.batches = source.word(p.batches)
        across, down = -(-p.n // tile.columns), -(-p.m // tile.rows)
        chunk = -(-self.whole_depth // (self.parts * self.depth)) * self.depth
        last = down % BAND or BAND
        values = {
            "total": across * down * p.batches * self.parts,
            "sheet": across * down,
            "by_sheet": divisor(across * down),
            "by_batches": divisor(p.batches),
            "band": BAND * across,
            "by_band": divisor(BAND * across),
            "down": down,
            "by_last": divisor(last),
            "chunk": chunk,
        }
        self.words = {name: source.word(value) for name, value in values.items()}
        if self.sides.taps:
            padded = self.whole_depth // self.sides.taps
            self.words.update(padded=source.word(padded), by_padded=source.word(divisor(padded)))
        rounded = self.sides.kind == "tf32"
        self.copies: dict[str, Copies] = {
            "a": self.sides.a.copies(source, "a", tile.rows, rounded),
            "b": self.sides.b.copies(source, "b", tile.columns, rounded),
        }

    def _setup(self) -> None:
        """Shared memory, barriers, roles."""
        w, tile, source = self.w, self.tile, self.source
        f = source.functions
        turned = self.sides.a.turned, self.sides.b.turned
        steps = tuple(16 * ROW if t else 32 for t in turned)
        f.line(f"tile_zero = macro('tile_zero', {tile.columns})")
        parameters = f"'{self.sides.kind}', {tile.columns}, {self.depth}, {steps}, {turned}, 1"
        f.line(f"tile_step = macro('tile_step', {parameters})")
        f.line(f"tile_end = macro('tile_end', {tile.columns})")
        f.line(f"tile_share = macro('tile_share', {tile.columns}, {(CHUNK + SPARE) * 4})")
        f.line()
        f.line()
        ring = source.scratch(tile.slots * tile.slot, 1024)
        results, barriers = source.scratch(tile.results), source.scratch(16 * tile.slots)
        w.line(f"ring = shared_memory() + {ring}")
        w.line(f"full = shared_memory() + {barriers}")
        w.line(f"empty = full + {8 * tile.slots}")
        w.line("group = thread_index() >> 7")
        with w.block("if thread_index() == 0"):
            with w.block(f"for s in range({tile.slots})"):
                w.line("barrier_init(full + 8 * s, int32(1))")
                w.line(f"barrier_init(empty + 8 * s, int32({tile.groups}))")
            w.line("barrier_fence()")
        w.line("sync_threads()")
        w.line("slot = 0")
        self.results = results

    @contextmanager
    def _tiles(self) -> Iterator[None]:
        """The loop over a block's tiles: `part`, `batch`, `row0`, `column0`, `first`, `last`."""
        w, words = self.w, self.words
        with w.block(f"for tile in range(block_index(), {words['total']}, block_count())"):
            w.line(f"sheet = divided(tile, {words['by_sheet']})")
            w.line(f"part = divided(sheet, {words['by_batches']})")
            w.line(f"batch = sheet - part * {self.batches}")
            w.line(f"rest = tile - sheet * {words['sheet']}")
            w.line(f"band = divided(rest, {words['by_band']})")
            w.line(f"rest = rest - band * {words['band']}")
            w.line(f"high = min({words['down']} - band * {BAND}, {BAND})")
            w.line(f"across = divided(rest, select(high == {BAND}, {divisor(BAND)}, {words['by_last']}))")
            w.line(f"row0 = (band * {BAND} + rest - across * high) * {self.tile.rows}")
            w.line(f"column0 = across * {self.tile.columns}")
            w.line(f"first = part * {words['chunk']}")
            w.line(f"last = min(first + {words['chunk']}, {self.k})")
            yield

    def _advance(self) -> None:
        """On to the next slot."""
        w = self.w
        w.line("slot = slot + 1")
        with w.block(f"if slot == {self.tile.slots}"):
            w.line("slot = 0")
            w.line("parity = parity ^ 1")

    # -- the warpgroup that has pieces brought -----------------------------------------------------
    def _produce(self) -> None:
        w, tile = self.w, self.tile
        with w.block(f"if group == {tile.groups}"):
            if tile.groups == 2:  # three warpgroups: 168 registers each at first
                w.line("release_registers40()")
            with w.block(f"if thread_index() == {128 * tile.groups}"):
                for copies in self.copies.values():
                    w.line(f"map_prefetch({copies.map})")
                w.line("parity = 1")  # all slots are empty at first
                with self._tiles():
                    self.copies["a"].start(w, "row0")
                    self.copies["b"].start(w, "column0")
                    with w.block(f"for step in range(first, last, {self.depth})"):
                        self._bring()
                        self._advance()

    def _bring(self) -> None:
        w, tile = self.w, self.tile
        if self.sides.taps:
            w.line(f"tap = divided(step, {self.words['by_padded']})")
            w.line(f"deep = step - tap * {self.words['padded']}")
        else:
            w.line("deep = step")
        w.line("barrier_wait(empty + 8 * slot, int32(parity))")
        w.line(f"barrier_expect(full + 8 * slot, int32({tile.slot}))")
        w.line(f"to = ring + slot * {tile.slot}")
        self.copies["a"].copy(w, "to", "full + 8 * slot")
        self.copies["b"].copy(w, f"to + {tile.rows * ROW}", "full + 8 * slot")

    # -- the warpgroups that compute ---------------------------------------------------------------
    @contextmanager
    def _consume(self, width: int) -> Iterator[None]:
        """Everything up to a thread's results: `row`, `column` of `width` neighbours, `from_c` their place in `own`."""
        w, tile = self.w, self.tile
        with w.block("else"):
            if tile.groups == 2:
                w.line("claim_registers232()")
            w.line("parity = 0")
            w.line("lane = thread_index() & 31")
            w.line("warp = thread_index() >> 5")
            w.line("leader = (thread_index() & 127) == 0")
            pitch = CHUNK + SPARE
            w.line(f"own = shared_memory() + {self.results} + warp * {16 * pitch * 4}")
            w.line(f"own_sums = own + ((lane >> 2) * {pitch} + (lane & 3) * 2) * 4")
            with self._tiles():
                self._multiply()
                with w.block(f"for chunk in range({tile.columns // CHUNK})"):
                    w.line("tile_share(sums, chunk, own_sums)")
                    w.line("sync_warp()")
                    across = CHUNK // width
                    with w.block(f"for q in range({16 * across // 32})"):
                        w.line("item = lane + 32 * q")
                        w.line(f"r = item >> {across.bit_length() - 1}")
                        w.line(f"c = (item & {across - 1}) * {width}")
                        w.line("row = row0 + 16 * warp + r")
                        w.line(f"column = column0 + chunk * {CHUNK} + c")
                        w.line(f"from_c = r * {pitch} + c")
                        with w.block(f"if (row < {self.m}) & (column < {self.n})"):
                            yield
                    w.line("sync_warp()")

    def _multiply(self) -> None:
        """A tile's sums along k."""
        w, tile = self.w, self.tile
        w.line("sums = tile_zero()")
        w.line("before = slot")
        with w.block(f"for step in range(first, last, {self.depth})"):
            w.line("barrier_wait(full + 8 * slot, int32(parity))")
            w.line(f"to = ring + slot * {tile.slot}")
            places = (f"to + group * {PIECE}", f"to + {tile.rows * ROW}")
            for name, side, place in zip("ab", (self.sides.a, self.sides.b), places, strict=True):
                w.line(f"{name} = ((({place}) & 262143) >> 4) | {self._descriptor(side.turned)}")
            w.line("sums = tile_step(sums, a, b)")
            with w.block("if leader & (step > first)"):  # the products of the slot before are done
                w.line("barrier_arrive(empty + 8 * before)")
            w.line("before = slot")
            self._advance()
        w.line("sums = tile_end(sums)")
        with w.block("if leader & (last > first)"):
            w.line("barrier_arrive(empty + 8 * before)")

    @staticmethod
    def _descriptor(turned: bool) -> int:
        """All but the address: steps between boxes and between eight rows, in 16 bytes; swizzled rows of 128 bytes."""
        return ((PIECE if turned else 16) >> 4) << 16 | (8 * ROW >> 4) << 32 | 1 << 62
