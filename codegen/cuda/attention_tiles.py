"""Attention without tensor cores: tiles in shared memory, products of them, results.

A block owns `rows` rows of one side (queries, or keys) and walks the other side in steps of `columns`. 16 threads share
`each` rows: thread (ty, tx) holds the scores of rows ty * each + i and columns tx + 16 * j, and of a result of those
rows the columns g * 16 * width + tx * width + 0 ... width - 1. So a row never leaves its half of a warp.

In shared memory all is float32, row by row, padded with zeros; an odd number of 16-byte vectors from row to row spreads
the banks.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cuda.attention_source import AttentionSource, Operand
from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View

LANES = 16  # threads that share rows


@dataclass(frozen=True)
class Tiles:
    """How a block's work is cut. each: rows of a thread."""

    rows: int
    columns: int
    each: int

    @classmethod
    def of(cls, work: Work, length: int) -> Tiles:
        """For blocks that own rows of a side of `length` rows."""
        big = max(work.depth, work.width) > 128
        each, columns = (2, 32) if big else (4, 64 if work.depth + work.width <= 256 else 32)
        rows = next((r for r in (16, 32) if length <= r), 32 if big else 64)
        return cls(rows, columns, each)

    @property
    def threads(self) -> int:
        return self.rows // self.each * LANES

    @property
    def across(self) -> int:
        """Columns of scores of a thread."""
        return self.columns // LANES


@dataclass(frozen=True)
class Columns:
    """How the columns of a result lie with 16 threads: `groups` groups of `width` neighbours each."""

    width: int
    groups: int

    @classmethod
    def of(cls, size: int) -> Columns:
        width = min((4, 2, 1), key=lambda n: (-(-size // (LANES * n)) * n, -n))
        return cls(width, -(-size // (LANES * width)))

    @property
    def count(self) -> int:
        """Of a thread."""
        return self.width * self.groups


def row_step(size: int) -> int:
    """Elements from one row of a tile to the next."""
    columns = Columns.of(size)
    vectors = max(-(-size // 4), -(-columns.count * LANES // 4))
    return 4 * (vectors + 1 - vectors % 2)


class Tiled(AttentionSource):
    """An attention kernel being written."""

    def __init__(self, work: Work, group: Group, title: str, tiles: Tiles) -> None:
        super().__init__(work, group, title, tiles.rows, tiles.threads)
        self.tiles = tiles
        self.w.line("tx = thread_index() & 15")
        self.w.line("ty = thread_index() >> 4")

    # -- tiles -------------------------------------------------------------------------------------
    def tile(self, name: str, rows: int, size: int) -> None:
        """Reserve shared memory for rows of an operand."""
        place = self.source.scratch(rows * row_step(size) * 4)
        self.w.line(f"{name} = shared_memory() + {place}")

    def load(self, x: Operand, target: str, head: str, start: str, bound: str, rows: int) -> None:
        """Rows start, start + 1 ... of one head into a tile; zeros from `bound` on and behind each row."""
        w, step = self.w, row_step(x.size)
        width = x.neighbours(4)
        across = step // width
        w.line(f"from_{target} = b * {x.b} + ({head}) * {x.h}")
        with w.block(f"for q in range({-(-rows * across // self.tiles.threads)})"):
            w.line(f"item = thread_index() + q * {self.tiles.threads}")
            w.line(f"r = divided(item, {divisor(across)})")
            w.line(f"c = (item - r * {across}) * {width}")
            with w.block(f"if r < {rows}"):
                at = f"from_{target} + ({start} + r) * {x.t} + c{x.c}"
                inside = f"if ({start} + r < {bound}) & (c < {x.size})"
                place = f"{target}, r * {step} + c"
                with w.block(inside):
                    if width > 1:
                        w.line(f"shared_store{width}_float32({place}, fetch{width}_{x.view.dtype}({x.pointer}, {at}))")
                    else:
                        w.line(f"shared_store_float32({place}, fetch_{x.view.dtype}({x.pointer}, {at}))")
                with w.block("else"):
                    w.line("nothing = float32(0.0)")
                    if width > 1:
                        w.line(f"shared_store{width}_float32({place}, ({', '.join(['nothing'] * width)}))")
                    else:
                        w.line(f"shared_store_float32({place}, nothing)")

    # -- products ----------------------------------------------------------------------------------
    def product(self, out: str, left: str, right: str, size: int) -> None:
        """out[i * across + j] = row ty * each + i of `left` times row tx + 16 * j of `right`."""
        w, each, across, step = self.w, self.tiles.each, self.tiles.across, row_step(size)
        w.line(f"{out} = local_array({each * across}, float32)")
        w.line(f"{out}_r = local_array({4 * across}, float32)")
        with w.block(f"for z in range({each * across})"):
            w.line(f"{out}[z] = float32(0.0)")
        with w.block(f"for d in range(0, {-(-size // 4) * 4}, 4)"):
            with w.block(f"for j in range({across})"):
                w.line(f"{out}_x = shared_load4_float32({right}, (tx + 16 * j) * {step} + d)")
                for c in range(4):
                    w.line(f"{out}_r[4 * j + {c}] = {out}_x[{c}]")
            with w.block(f"for i in range({each})"):
                w.line(f"{out}_y = shared_load4_float32({left}, (ty * {each} + i) * {step} + d)")
                with w.block(f"for j in range({across})"):
                    w.line(f"t = fma({out}_y[0], {out}_r[4 * j], {out}[i * {across} + j])")
                    w.line(f"t = fma({out}_y[1], {out}_r[4 * j + 1], t)")
                    w.line(f"t = fma({out}_y[2], {out}_r[4 * j + 2], t)")
                    w.line(f"{out}[i * {across} + j] = fma({out}_y[3], {out}_r[4 * j + 3], t)")

    def sums(self, out: str, size: int) -> None:
        """Start a result of the block's rows."""
        count = self.tiles.each * Columns.of(size).count
        self.w.line(f"{out} = local_array({count}, float32)")
        with self.w.block(f"for z in range({count})"):
            self.w.line(f"{out}[z] = float32(0.0)")

    def add(self, out: str, weights: str, values: str, size: int) -> None:
        """out += weights (rows x columns, in shared memory) times the rows of `values`.

        Spelled out but for the rows of a thread: compilers unroll short loops only.
        """
        w, each, columns, step = self.w, self.tiles.each, Columns.of(size), row_step(size)
        n = str(columns.width) if columns.width > 1 else ""
        cells = [(g, r) for g in range(columns.groups) for r in range(columns.width)]
        with w.block(f"for s0 in range(0, {self.tiles.columns}, 4)"):
            for c in range(4):
                for g in range(columns.groups):
                    at = f"(s0 + {c}) * {step} + {LANES * columns.width * g} + tx * {columns.width}"
                    w.line(f"{out}_v{c}_{g} = shared_load{n}_float32({values}, {at})")
            with w.block(f"for i in range({each})"):
                w.line(f"{out}_x = shared_load4_float32({weights}, (ty * {each} + i) * {self.weight_step} + s0)")
                for g, r in cells:
                    place = f"{out}[i * {columns.count} + {g * columns.width + r}]"
                    value = place
                    for c in range(4):
                        v = f"{out}_v{c}_{g}" + (f"[{r}]" if n else "")
                        value = f"fma({out}_x[{c}], {v}, {value})"
                    w.line(f"{place} = {value}")

    @property
    def weight_step(self) -> int:
        return row_step(self.tiles.columns)

    def weights_tile(self) -> None:
        place = self.source.scratch(self.tiles.rows * self.weight_step * 4)
        self.w.line(f"sp = shared_memory() + {place}")

    def store_weight(self, value: str) -> None:
        self.w.line(
            f"shared_store_float32(sp, (ty * {self.tiles.each} + i) * {self.weight_step} + tx + 16 * j, {value})"
        )

    def store_rows(self, view: View, pointer: str, values: str, heads: str, length: str, factor: str) -> None:
        """A result (batch, length, heads, size) from the block's sums."""
        w, columns, size = self.w, Columns.of(view.shape[3]), view.shape[3]
        with w.block(f"for i in range({self.tiles.each})"):
            w.line(f"row = first + ty * {self.tiles.each} + i")
            with w.block(f"if row < {length}"):
                w.line(f"to = ((b * {length} + row) * {heads} + h) * {size}")
                w.line(f"f = {factor}")
                with w.block(f"for g in range({columns.groups})"):
                    w.line(f"c = {LANES * columns.width} * g + tx * {columns.width}")
                    own = [
                        f"{values}[i * {columns.count} + g * {columns.width} + {r}] * f" for r in range(columns.width)
                    ]
                    if columns.width > 1 and size % columns.width == 0 and view.offset % columns.width == 0:
                        with w.block(f"if c < {size}"):
                            w.line(f"store{columns.width}_{view.dtype}({pointer}, to + c, ({', '.join(own)}))")
                        own = []
                    for r, value in enumerate(own):
                        with w.block(f"if c + {r} < {size}"):
                            w.line(f"store_{view.dtype}({pointer}, to + c + {r}, {value})")

    def across_lanes(self, name: str, combine: str) -> None:
        """Combine a value of the 16 threads that share rows."""
        for d in (1, 2, 4, 8):
            other = f"shuffle_xor({name}, {d})"
            self.w.line(f"{name} = maximum({name}, {other})" if combine == "max" else f"{name} = {name} + {other}")

    # -- dropout -----------------------------------------------------------------------------------
    def draw(self, query: str, key: str) -> None:
        """Print bits: bit z tells whether dropout keeps score z; query, key: in terms of i and j.

        In a loop of its own: the loops over scores must be small enough to be unrolled.
        """
        w, across = self.w, self.tiles.across
        w.line("bits = uint32(0)")
        with w.block(f"for z in range({self.tiles.each * across})"):
            w.line(f"i = z >> {across.bit_length() - 1}")
            w.line(f"j = z & {across - 1}")
            w.line(f"flat = ((b * {self.heads} + h) * {self.queries} + {query}) * {self.keys} + {key}")
            w.line("bits = uint32(bits | (kept(key0, key1, flat, limit) << z))")

    def kept(self, z: str) -> str:
        """What the weight of score z is multiplied by."""
        return f"select((bits >> ({z})) & 1 != 0, factor, float32(0.0))"
