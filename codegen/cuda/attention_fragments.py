"""Attention of half floats on tensor cores: tiles, fragments, products of them, masks on fragments.

A block owns rows of one side (queries, or keys) and walks the other side in steps of `columns`. A warp owns 16 * high
of the rows; asynchronous copies bring the next step's tiles while it works on the present ones. Scores stay in
registers: what `mma.sync` leaves of a product of rows and columns, rounded to half floats, is laid out as the left
operand of the next product needs it, so weights never pass through shared memory (Dao, "FlashAttention-2", 2023).

Element z = (i * columns / 8 + j) * 4 + 2 * half + c of a thread's scores belongs to row 16 * i + 8 * half + lane / 4 of
its warp and to column 8 * j + 2 * (lane % 4) + c of the step ("Matrix Fragments for mma.m16n8k16" of the PTX manual).

Tiles stand in shared memory row by row, padded with zeros to whole 16-element steps; 8 elements between rows spread
the banks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cuda.attention_source import AttentionSource, Operand
from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View

WARPS = 4
LOG2_E = 1.4426950408889634


def padded(size: int) -> int:
    return -(-size // 16) * 16


def row_step(size: int) -> int:
    """Elements from one row of a tile to the next."""
    return padded(size) + 8


@dataclass(frozen=True)
class Cut:
    """How a block's work is cut. high: 16-row tiles of a warp; columns: of a step."""

    high: int
    warps: int
    columns: int

    @classmethod
    def of(cls, length: int, high: int, columns: int) -> Cut:
        """For a side of `length` rows; fewer warps where there are few rows."""
        if length <= 16 * WARPS:
            high = 1
        return cls(high, min(WARPS, -(-length // (16 * high))), columns)

    @property
    def rows(self) -> int:
        return 16 * self.high * self.warps

    @property
    def threads(self) -> int:
        return 32 * self.warps

    @property
    def across(self) -> int:
        """8-column tiles of a step."""
        return self.columns // 8

    @property
    def scores(self) -> int:
        """Of a thread."""
        return self.high * self.across * 4


class Fragments(AttentionSource):
    """An attention kernel on tensor cores being written. by_key: rows are keys and columns queries, not vice versa."""

    by_key = False

    def __init__(self, work: Work, group: Group, title: str, cut: Cut) -> None:
        super().__init__(work, group, title, cut.rows, cut.threads)
        self.cut, self.dtype = cut, work.q.dtype
        w = self.w
        w.line("lane = thread_index() & 31")
        w.line(f"own_row = (thread_index() >> 5) * {16 * cut.high}")
        w.line("pair = (lane & 3) * 2")
        w.line("low_eight = lane & 7")
        w.line("second = ((lane >> 3) & 1) * 8")
        w.line("third = (lane >> 4) * 8")
        for size in sorted({row_step(work.depth), row_step(work.width)}):
            w.line(f"left_{size} = ((own_row + low_eight + second) * {size} + third) * 2")
            w.line(f"right_{size} = ((low_eight + third) * {size} + second) * 2")
            w.line(f"turned_{size} = ((low_eight + second) * {size} + third) * 2")

    def _weight_function(self) -> None:
        """exp(x) from the hardware's power of two: good to 22 bits where x is small, half floats keep 11."""
        f = self.source.functions
        f.line("@device")
        with f.block("def weight(x)"):
            f.line(f"return exp2_approx(x * float32({LOG2_E!r}))")
        f.line()
        f.line()

    # -- tiles -------------------------------------------------------------------------------------
    def tile(self, name: str, rows: int, size: int) -> None:
        """Reserve shared memory for rows of an operand."""
        self.w.line(f"{name} = shared_memory() + {self.source.scratch(self.nbytes(rows, size))}")

    @staticmethod
    def nbytes(rows: int, size: int) -> int:
        return rows * row_step(size) * 2

    def ring(self, sizes: tuple[int, int]) -> int:
        """Reserve two places for the tiles of a step; returns the bytes of one place."""
        slot = sum(self.nbytes(self.cut.columns, n) for n in sizes)
        self.w.line(f"ring = shared_memory() + {self.source.scratch(2 * slot)}")
        self.w.line("stage = 0")
        return slot

    def fetch(self, x: Operand, target: str, head: str, start: str, bound: str, rows: int) -> None:
        """Queue copies of rows start, start + 1 ... of one head to the address `target`; zeros from `bound` on."""
        w, step = self.w, row_step(x.size)
        width = x.neighbours(8)
        across = padded(x.size) // width
        lanes = 1 << (across - 1).bit_length()  # threads for a row
        w.line(f"from_head = b * {x.b} + ({head}) * {x.h}")
        if lanes > self.cut.threads:
            with self._scattered(across, rows):
                w.line(f"c = c * {width}")
                w.line(f"from_row = from_head + ({start} + r) * {x.t}")
                w.line(f"to = {target} + (r * {step} + c) * 2")
                self._copy(x, f"({start} + r < {bound})", width)
            return
        down = self.cut.threads // lanes
        w.line(f"r = thread_index() >> {lanes.bit_length() - 1}")
        w.line(f"c = (thread_index() & {lanes - 1}) * {width}")
        w.line(f"left = {bound} - ({start}) - r")
        w.line(f"from_row = from_head + ({start} + r) * {x.t}")
        w.line(f"to = {target} + (r * {step} + c) * 2")
        ends = [f"(c < {padded(x.size)})"] if lanes != across else []
        ends += [f"(r + q * {down} < {rows})"] if rows % down else []
        with w.block(f"for q in range({-(-rows // down)})"):
            with w.maybe_block(f"if {' & '.join(ends)}" if ends else None):
                self._copy(x, "(left > 0)", width)
            w.line(f"left = left - {down}")
            w.line(f"from_row = from_row + {down} * {x.t}")
            w.line(f"to = to + {down * step * 2}")

    @contextmanager
    def _scattered(self, across: int, rows: int) -> Iterator[None]:
        """A loop over r, c of a tile in which a row has more places than the block threads."""
        w, count = self.w, rows * across
        with w.block(f"for q in range({-(-count // self.cut.threads)})"):
            w.line(f"item = thread_index() + q * {self.cut.threads}")
            w.line(f"r = divided(item, {divisor(across)})")
            w.line(f"c = item - r * {across}")
            with w.maybe_block(f"if item < {count}" if count % self.cut.threads else None):
                yield

    def _copy(self, x: Operand, there: str, width: int) -> None:
        """`width` elements from column c of the row at from_row to the address `to`."""
        w = self.w
        w.line(f"inside = {there} & (c < {x.size})")
        w.line(f"from_place = select(inside, from_row + c{x.c}, 0)")
        if width > 1:
            name = "copy_async_part" if width == 8 else f"copy_async{2 * width}_part"
            w.line(f"{name}(to, {x.pointer} + from_place * 2, int32(select(inside, {2 * width}, 0)))")
            return
        w.line("value = float32(0.0)")
        with w.block("if inside"):
            w.line(f"value = fetch_{self.dtype}({x.pointer}, from_place)")
        w.line(f"shared_store_{self.dtype}(to, 0, value)")

    # -- products ----------------------------------------------------------------------------------
    def _multiply(self, out: str, tiles: int, left: str) -> None:
        """Both 8-column tiles of `found`, the fragments of a right operand, for all 16-row tiles."""
        w = self.w
        for i in range(self.cut.high):
            for half in range(2):
                w.line(f"z = ({i * tiles} + 2 * j + {half}) * 4")
                old = f"({out}[z], {out}[z + 1], {out}[z + 2], {out}[z + 3])"
                w.line(f"new = mma_{self.dtype}({old}, {left}{i}, found[{2 * half}], found[{2 * half + 1}])")
                for r in range(4):
                    w.line(f"{out}[z + {r}] = new[{r}]")

    def sums(self, out: str, size: int) -> None:
        """Start a result of the block's rows."""
        self._zeros(out, self.cut.high * padded(size) // 2)

    def _zeros(self, out: str, count: int) -> None:
        self.w.line(f"{out} = local_array({count}, float32)")
        with self.w.block(f"for z in range({count})"):
            self.w.line(f"{out}[z] = float32(0.0)")

    def product(self, out: str, left: str, right: str, size: int) -> None:
        """out = the block's rows in the tile `left` times the rows of the tile `right`, both of `size` elements."""
        w, step = self.w, row_step(size)
        self._zeros(out, self.cut.scores)
        with w.block(f"for d in range(0, {padded(size)}, 16)"):
            for i in range(self.cut.high):
                w.line(f"own_{i} = matrix4({left} + left_{step} + ({16 * i * step} + d) * 2)")
            with w.block(f"for j in range({self.cut.across // 2})"):
                w.line(f"found = matrix4({right} + right_{step} + (16 * j * {step} + d) * 2)")
                self._multiply(out, self.cut.across, "own_")

    def halves(self, words: str, values: str) -> None:
        """Scores or weights as the left operand of `add`."""
        w, count = self.w, self.cut.scores // 2
        w.line(f"{words} = local_array({count}, uint32)")
        with w.block(f"for z in range({count})"):
            w.line(f"{words}[z] = pack_{self.dtype}({values}[2 * z], {values}[2 * z + 1])")

    def add(self, out: str, words: str, right: str, size: int) -> None:
        """out += weights (rows x columns, from `halves`) times the rows of the tile `right`."""
        w, step, tiles = self.w, row_step(size), padded(size) // 8
        for part in range(self.cut.columns // 16):  # spelled out: only short loops are unrolled
            for i in range(self.cut.high):
                first = (i * self.cut.across + 2 * part) * 2
                w.line(f"own_{i} = ({', '.join(f'{words}[{first + r}]' for r in range(4))})")
            with w.block(f"for j in range({tiles // 2})"):
                w.line(f"found = matrix4_transposed({right} + turned_{step} + ({16 * part * step} + 16 * j) * 2)")
                self._multiply(out, tiles, "own_")

    # -- rows and columns of scores ----------------------------------------------------------------
    def rows(self) -> Iterator[tuple[int, int, int, str]]:
        """(number, i, half, text of the row within the block) of a thread's rows."""
        for r in range(2 * self.cut.high):
            yield r, r >> 1, r & 1, f"own_row + {16 * (r >> 1) + 8 * (r & 1)} + (lane >> 2)"

    def scores_of(self, i: int, half: int) -> Iterator[tuple[int, int, int]]:
        """(z, j, c) of a row's scores. Spelled out: NVVM leaves some loops as they are, and the array in memory."""
        for j in range(self.cut.across):
            for c in range(2):
                yield (i * self.cut.across + j) * 4 + 2 * half + c, j, c

    def scale_and_mask(self, at: str) -> None:
        """Turn products into scores; at: the first column of the step. Masks only where the step may need them."""
        w = self.w
        more = self.mask_function()
        w.line(f"column0 = {at}")
        with w.block(f"for z in range({self.cut.scores})"):
            w.line("score[z] = score[z] * scale")
        with w.block(f"if {self._edge()}"):
            for _, i, half, row in self.rows():
                w.line(f"own_place = first + {row}")
                for z, j, c in self.scores_of(i, half):
                    column = f"column0 + pair + {8 * j + c}"
                    query, key = (column, "own_place") if self.by_key else ("own_place", column)
                    w.line(f"score[{z}] = masked(score[{z}], {query}, {key}{more})")

    def _edge(self) -> str:
        """Whether any score of the step is hidden, masked, or of a query or key that is not there."""
        attrs, cut = self.work.node.attrs, self.cut
        if self.masks:
            return "True"
        q0, k0 = ("column0", "first") if self.by_key else ("first", "column0")
        queries, keys = (cut.columns, cut.rows) if self.by_key else (cut.rows, cut.columns)
        parts = [f"({k0} + {keys} > {self.keys})", f"({q0} + {queries} > {self.queries})"]
        if attrs["causal"]:
            parts.append(f"({k0} + {keys - 1} > {q0})")
        if self.window:
            parts.append(f"({q0} + {queries - 1} - {k0} >= {self.window})")
            parts.append(f"({k0} + {keys - 1} - {q0} >= {self.window})")
        return " | ".join(parts)

    def draw(self) -> None:
        """Print bits<i>: bit z tells whether dropout keeps score z of 16-row tile i."""
        w = self.w
        if self.work.key is None:
            return
        for i in range(self.cut.high):
            w.line(f"bits{i} = uint32(0)")
            with w.block(f"for y in range({self.cut.across * 4})"):
                w.line("j = y >> 2")
                own, other = ("t_k", "t_q") if self.by_key else ("t_q", "t_k")
                w.line(f"{own} = first + own_row + {16 * i} + ((y >> 1) & 1) * 8 + (lane >> 2)")
                w.line(f"{other} = column0 + 8 * j + pair + (y & 1)")
                w.line(f"flat = ((b * {self.heads} + h) * {self.queries} + t_q) * {self.keys} + t_k")
                w.line(f"bits{i} = uint32(bits{i} | (kept(key0, key1, flat, limit) << y))")

    def kept(self, z: int) -> str:
        """What weight z is multiplied by."""
        i, bit = divmod(z, 4 * self.cut.across)
        return f"select((bits{i} >> {bit}) & 1 != 0, factor, float32(0.0))"

    # -- what the walk covers ----------------------------------------------------------------------
    def limits(self, bound: str) -> None:
        """Print start, end: the columns that any of the block's rows may see by their distance."""
        w, attrs, rows = self.w, self.work.node.attrs, self.cut.rows
        w.line("start = 0")
        w.line(f"end = {bound}")
        before = attrs["causal"] and self.by_key  # a key is seen by later queries only
        if before:
            w.line("start = first")
        if attrs["causal"] and not self.by_key:
            w.line(f"end = minimum(end, first + {rows})")
        if self.window:
            w.line(f"start = maximum(start, first - {self.window} + 1)")
            w.line(f"end = minimum(end, first + {rows - 1} + {self.window})")
        if before or self.window:
            w.line(f"start = start // {self.cut.columns} * {self.cut.columns}")

    # -- results -----------------------------------------------------------------------------------
    def store_rows(self, view: View, pointer: str, values: str, heads: str, length: str, factors: list[str]) -> None:
        """A result (batch, length, heads, size) from the block's sums. factors: one for each row of a thread."""
        w, size = self.w, view.shape[3]
        tiles = padded(size) // 8
        pairs = size % 2 == 0 and view.offset % 2 == 0
        for r, i, half, row in self.rows():
            w.line(f"row = first + {row}")
            with w.block(f"if row < {length}"):
                w.line(f"to = ((b * {length} + row) * {heads} + h) * {size} + pair")
                w.line(f"f = {factors[r]}")
                with w.block(f"for j in range({tiles})"):
                    w.line(f"z = ({i * tiles} + j) * 4 + {2 * half}")
                    if pairs:
                        with w.block(f"if 8 * j + pair < {size}"):
                            w.line(
                                f"store2_{view.dtype}({pointer}, to + 8 * j, ({values}[z] * f, {values}[z + 1] * f))"
                            )
                        continue
                    for c in range(2):
                        with w.block(f"if 8 * j + pair + {c} < {size}"):
                            w.line(f"store_{view.dtype}({pointer}, to + 8 * j + {c}, {values}[z + {c}] * f)")

    def across_lanes(self, name: str, combine: str) -> None:
        """Combine a value of the 4 threads that share rows."""
        for d in (1, 2):
            other = f"shuffle_xor({name}, {d})"
            self.w.line(f"{name} = maximum({name}, {other})" if combine == "max" else f"{name} = {name} + {other}")
