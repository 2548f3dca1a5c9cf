"""What the kernels of attention share: tiles in shared memory, products of them, masks, weights, dropout.

A block owns `rows` rows of one side (queries, or keys) and walks the other side in steps of `columns`. 16 threads share
`each` rows: thread (ty, tx) holds the scores of rows ty * each + i and columns tx + 16 * j, and of a result of those
rows the columns g * 16 * width + tx * width + 0 ... width - 1. So a row never leaves its half of a warp.

In shared memory all is float32, row by row, padded with zeros; an odd number of 16-byte vectors from row to row spreads
the banks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.codegen.cuda.language import SIZES, divisor
from graphkeras.codegen.cuda.source import Source, decompose
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.op import get_op
from graphkeras.ir.ops.attention import HIDDEN, drop_limit

LANES = 16  # threads that share rows
FEW = 4  # with fewer queries than this there is no matrix of scores to avoid
MOST = 256  # elements of a query, key or value


def refusal(node: Node) -> str | None:
    """Why the weights of this attention are rather spelled out, or None."""
    q, k, v = (x.type for x in node.inputs[:3])
    if q.dtype == "float64":
        return "attention in tiles computes in float32"
    if q.shape[1] < FEW:
        return f"fewer than {FEW} queries: their scores are no larger than the keys"
    if 0 in q.shape or 0 in k.shape or v.shape[3] == 0:
        return "nothing to compute"
    if max(q.shape[3], v.shape[3]) > MOST:
        return f"heads of more than {MOST} elements do not fit shared memory"
    return None


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


class Operand:
    """A (batch, length, heads, size) array: names of its address and strides."""

    def __init__(self, source: Source, view: View) -> None:
        self.view, self.size = view, view.shape[3]
        self.pointer = source.source(view)
        self.b, self.t, self.h = (source.word(s) for s in view.strides[:3])
        aligned = all(s % 4 == 0 for s in (*view.strides[:3], view.offset, self.size))
        room = min(16, 4 * SIZES[view.dtype]) <= view.buffer.align
        self.packed = view.strides[3] == 1 and aligned and room
        self.c = "" if view.strides[3] == 1 else " * " + source.word(view.strides[3])


class Tiled:
    """An attention kernel being written."""

    def __init__(self, work: Work, group: Group, title: str, tiles: Tiles) -> None:
        self.work, self.tiles = work, tiles
        self.source = Source(title, group.nodes, tiles.threads)
        self.w = self.source.w
        attrs, source = work.node.attrs, self.source
        self.q, self.k, self.v = (Operand(source, x) for x in (work.q, work.k, work.v))
        self.masks = [
            (m.dtype, source.source(m), *(source.word(s) if s else "" for s in m.strides)) for m in work.masks
        ]
        self.queries, self.keys, self.heads, self.own = (
            source.word(n) for n in (work.queries, work.keys, work.q.shape[2], work.k.shape[2])
        )
        self.sharing = source.word(work.q.shape[2] // work.k.shape[2])
        self.window = source.word(attrs["window"]) if attrs["window"] else ""
        self._weight_function()
        self.w.line("tx = thread_index() & 15")
        self.w.line("ty = thread_index() >> 4")
        self.w.line(f"scale = float32({source.real(attrs['scale'])})")
        if work.key is not None:
            self._dropout()

    # -- device functions --------------------------------------------------------------------------
    def _weight_function(self) -> None:
        """exp(x) for x <= 0 from the hardware's power of two, corrected by what the product with log2(e) lost."""
        f = self.source.functions
        f.line("@device")
        with f.block("def weight(x)"):
            f.line("x = maximum(x, float32(-200.0))")
            f.line("t = x * float32(1.4426950216293335)")
            f.line("rest = fma(x, float32(1.4426950216293335), float32(0.0) - t)")
            f.line("rest = fma(x, float32(1.925963033500642e-08), rest)")
            f.line("y = exp2_approx(t)")
            f.line("return fma(y * float32(0.6931471805599453), rest, y)")
        f.line()
        f.line()

    def _dropout(self) -> None:
        assert self.work.key is not None
        rate = self.work.node.attrs["rate"]
        f, w, source = self.source.functions, self.w, self.source
        inside = Writer()
        names = [Val(name, "uint32") for name in ("key0", "key1", "low", "high")]
        bits = get_op("random_word").lower(CpuHandler(inside), *names)
        f.line("@device")
        with f.block("def kept(key0, key1, i, limit)"):
            f.line("low = uint32(i)")
            f.line("high = uint32(i >> 32)")
            for line in inside.text().splitlines():
                f.line(line)
            f.line(f"return select({bits} >= limit, uint32(1), uint32(0))")
        f.line()
        f.line()
        key = source.source(self.work.key)
        w.line(f"key0 = fetch_uint32({key}, 0)")
        w.line(f"key1 = fetch_uint32({key}, 1)")
        w.line(f"limit = uint32({source.word(drop_limit(rate))})")
        w.line(f"factor = float32({source.real(1 / (1 - rate))})")

    # -- which part --------------------------------------------------------------------------------
    def place(self, heads: int, length: int) -> int:
        """Print b, h (one of `heads`), first = the first row that the block owns; returns the number of blocks.

        Rows at the end come first: with a causal mask they are the longest.
        """
        source, w = self.source, self.w
        count = -(-length // self.tiles.rows)
        names = [source.word(n) for n in (heads, count)]
        dividers = [source.word(divisor(n)) for n in (heads, count)]
        decompose(w, "block_index()", ["", *names], ["", *dividers], ["b", "h", "back"])
        w.line(f"first = ({names[1]} - 1 - back) * {self.tiles.rows}")
        return self.work.q.shape[0] * heads * count

    def sees(self, q0: str, queries: int, k0: str, keys: int) -> str:
        """Whether any of these queries may see any of these keys, by their distance."""
        parts = [f"({k0} < {q0} + {queries})"] if self.work.node.attrs["causal"] else []
        if self.window:
            parts.append(f"({q0} - {k0} - {keys - 1} < {self.window})")
            parts.append(f"({k0} - {q0} - {queries - 1} < {self.window})")
        return " & ".join(parts)

    # -- tiles -------------------------------------------------------------------------------------
    def tile(self, name: str, rows: int, size: int) -> None:
        """Reserve shared memory for rows of an operand."""
        place = self.source.scratch(rows * row_step(size) * 4)
        self.w.line(f"{name} = shared_memory() + {place}")

    def load(self, x: Operand, target: str, head: str, start: str, bound: str, rows: int) -> None:
        """Rows start, start + 1 ... of one head into a tile; zeros from `bound` on and behind each row."""
        w, step = self.w, row_step(x.size)
        width = 4 if x.packed else 1
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
                    if width == 4:
                        w.line(f"shared_store4_float32({place}, fetch4_{x.view.dtype}({x.pointer}, {at}))")
                    else:
                        w.line(f"shared_store_float32({place}, fetch_{x.view.dtype}({x.pointer}, {at}))")
                with w.block("else"):
                    w.line("nothing = float32(0.0)")
                    if width == 4:
                        w.line(f"shared_store4_float32({place}, (nothing, nothing, nothing, nothing))")
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

    # -- scores ------------------------------------------------------------------------------------
    def mask(self, x: str) -> None:
        """Print x: the score from the product `x`, with masks; `seen`; -inf where there is no such query or key.

        Uses `t` and `s`, the query and the key.
        """
        w, attrs = self.w, self.work.node.attrs
        w.line(f"inside = (t_q < {self.queries}) & (t_k < {self.keys})")
        w.line(f"x = {x} * scale")
        w.line("seen = inside")
        if self.masks:
            with w.block("if inside"):
                for dtype, pointer, *steps in self.masks:
                    at = " + ".join(f"{i} * {s}" for i, s in zip(("b", "h", "t_q", "t_k"), steps, strict=True) if s)
                    load = f"fetch_{dtype}({pointer}, {at or '0'})"
                    w.line(f"seen = seen & {load}" if dtype == "bool" else f"x = x + {load}")
        if attrs["causal"]:
            w.line("seen = seen & (t_k <= t_q)")
        if self.window:
            w.line(f"seen = seen & (t_q - t_k < {self.window}) & (t_k - t_q < {self.window})")
        if self.work.hides:
            w.line(f"x = select(seen, x, float32({HIDDEN!r}))")
        w.line("x = select(inside, x, float32(-inf))")

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

    def finish(self, name: str, blocks: int, flops: float, results: Sequence[View]):
        nbytes = self.work.nbytes + sum(float(v.itemsize * _size(v)) for v in results)
        return self.source.kernel(name, blocks, flops=flops, nbytes=nbytes)


def _size(view: View) -> int:
    n = 1
    for extent in view.shape:
        n *= extent
    return n
