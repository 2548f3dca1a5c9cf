"""What the kernels of attention and of its gradient share: how the work is cut, packing, scores, masks, weights.

Names in the sources: `queries`, `keys`, `heads`, `own` (heads of keys), `batch`; `q0` the first query of a strip of
`STRIP` rows, `count` its rows; `k0` the first key of a block of `key_block`, `n` its keys, `padded` those rounded up to
whole vectors. In private memory all is float32 and padded with zeros to whole vectors: `qs` the scaled queries of a
strip, `kn` and `vn` keys and values row by row, `kt` and `vt` transposed in panels of two vectors, `sc` scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphkeras.codegen.cpu.choices import Candidate
from graphkeras.codegen.cpu.handler import HALF, CpuHandler, Val
from graphkeras.codegen.cpu.params import HEADER, Params, comment
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer
from graphkeras.ir.bodies.exponential import flushed_exp_value
from graphkeras.ir.bodies.scalar import Value
from graphkeras.ir.node import Node
from graphkeras.ir.op import get_op
from graphkeras.ir.ops.attention import HIDDEN, drop_limit

STRIP = 48  # queries whose scores are at hand together; a multiple of every tile's rows
KEY_BLOCKS = (512, 256, 128)  # keys of a block, at most
DOWN = 8.0  # keys' worth of work that each block adds
FLOPS, FAR = 1e11, 1.1  # a nominal core's, and what it costs where a block does not fit the second-level cache
FEW = 4  # with fewer queries than this there is no matrix of scores to avoid


def padded(n: int) -> int:
    width = vector_width("float32")
    return -(-n // width) * width


def tile_shape(columns: int) -> tuple[int, int]:
    """(rows, vectors) of the tile for results of that many columns, whose rows divide STRIP."""
    full = 24 if vectors().registers == 32 else 12
    n = padded(columns) // vector_width("float32")
    nv = min((1, 2, 3, 4) if full == 24 else (1, 2, 3), key=lambda v: (-(-n // v) * v, -v))
    return full // nv, nv


def refusal(node: Node) -> str | None:
    """Why the weights of this attention are rather spelled out, or None."""
    q, k = node.inputs[0].type, node.inputs[1].type
    if q.dtype == "float64":
        return "attention in tiles computes in float32"
    if q.shape[1] < FEW:
        return f"fewer than {FEW} queries: their scores are no larger than the keys"
    if 0 in q.shape or 0 in k.shape or node.inputs[2].shape[3] == 0:
        return "nothing to compute"
    return None


@dataclass
class Work:
    """One attention node: operands as views, sizes, and what is written into the source."""

    node: Node
    q: View
    k: View
    v: View
    masks: list[View]
    key: View | None
    most_keys: int = 512

    @classmethod
    def of(cls, ctx: Lowering, group: Group) -> Work:
        node = group.anchor
        count = len(node.inputs) - (4 if node.op == "attention_grad" else 0)
        q, k, v, *extra = (ctx.view(x) for x in node.inputs[:count])
        key = extra.pop() if node.attrs["rate"] > 0 else None
        if key is not None and not key.is_contiguous:
            key = ctx.copy(key)
        shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
        # float masks are added first: then a score of HIDDEN is one that was hidden
        masks = sorted((_spread(m, shape) for m in extra), key=lambda m: m.dtype == "bool")
        return cls(node, q, k, v, masks, key)

    # -- sizes -------------------------------------------------------------------------------------
    @property
    def depth(self) -> int:
        return self.q.shape[3]

    @property
    def width(self) -> int:
        """Size of a value."""
        return self.v.shape[3]

    @property
    def queries(self) -> int:
        return self.q.shape[1]

    @property
    def keys(self) -> int:
        return self.k.shape[1]

    @property
    def weights(self) -> int:
        """How many there are in all."""
        return self.q.shape[0] * self.q.shape[2] * self.queries * self.keys

    @property
    def key_block(self) -> int:
        """Keys whose scores are at hand together: blocks of equal size, `most_keys` at most."""
        return padded(-(-self.keys // -(-self.keys // self.most_keys)))

    def key_blocks(self) -> list[Candidate]:
        """Sizes of blocks: long ones bring sums down to a new largest score less often, if they fit the cache."""
        found: dict[int, Candidate] = {}
        for most in KEY_BLOCKS:
            one = replace(self, most_keys=most)
            block = one.key_block
            near = 4 * (block * (3 * padded(self.depth) + padded(self.width)) + STRIP * one.score_step)
            seconds = self.flops * (self.depth + self.width) / FLOPS * (1 + DOWN / block)
            seconds *= 1.0 if near <= vectors().l2 else FAR
            found.setdefault(block, Candidate(f"keys={block}", seconds, one))
        return list(found.values())

    def sizes(self) -> str:
        """What the length of a block may follow: all that is known, as it is an argument."""
        named = {"batch": self.q.shape[0], "heads": self.q.shape[2], "queries": self.queries, "keys": self.keys}
        seen = {k: v for k, v in self.node.attrs.items() if k in ("causal", "window")}
        return ",".join(f"{k}={v}" for k, v in {**named, "depth": self.depth, "width": self.width, **seen}.items())

    @property
    def score_step(self) -> int:
        """Elements from one row of scores to the next; not a power of two, which would crowd few sets of the cache."""
        return self.key_block + 2 * vector_width("float32") + 16

    @property
    def panel(self) -> int:
        return 2 * vector_width("float32")

    @property
    def flops(self) -> float:
        """Of one product of queries and keys, and of one of weights and values."""
        pairs = 2.0 * self.q.shape[0] * self.q.shape[2] * self.queries * self.keys
        return pairs * (0.5 if self.node.attrs["causal"] else 1.0)

    @property
    def hides(self) -> bool:
        """Whether some scores may be HIDDEN."""
        a = self.node.attrs
        return bool(a["causal"] or a["window"] or any(m.dtype == "bool" for m in self.masks))

    @property
    def skips(self) -> bool:
        """Whether a strip has keys that none of its queries sees, by their distance."""
        return bool(self.node.attrs["causal"] or self.node.attrs["window"])

    @property
    def may_see_nothing(self) -> bool:
        """Whether there may be queries that see no key; they average over all of them."""
        return bool(self.node.attrs["window"]) or any(m.dtype == "bool" for m in self.masks)

    @property
    def nbytes(self) -> float:
        return sum(float(x.itemsize * math.prod(x.shape)) for x in (self.q, self.k, self.v))

    # -- arguments ---------------------------------------------------------------------------------
    def declare(self, params: Params) -> None:
        """Sizes and operands that both kernels read."""
        attrs = self.node.attrs
        for name, view in (("q", self.q), ("k", self.k), ("v", self.v)):
            self.operand(params, name, view)
        for i, m in enumerate(self.masks):
            params.source(f"mask{i}", m)
            for axis, stride in zip("bht", m.strides, strict=False):
                params.word(f"mask{i}_{axis}", stride)
            (params.literal if m.strides[3] in (0, 1) else params.word)(f"mask{i}_s", m.strides[3])
        if self.key is not None:
            params.source("key", self.key)
            params.ints(drop_limit=drop_limit(attrs["rate"]))
            params.real("keep_scale", 1 / (1 - attrs["rate"]))
        params.ints(queries=self.queries, keys=self.keys, heads=self.q.shape[2], own=self.k.shape[2])
        params.ints(key_block=self.key_block, score_step=self.score_step, window=attrs["window"])
        params.real("scale", attrs["scale"])

    @staticmethod
    def operand(params: Params, name: str, view: View) -> None:
        """A (batch, length, heads, size) array: pointer and strides name_b, name_t, name_h, name_c."""
        params.source(name, view)
        for axis, stride in zip("bth", view.strides, strict=False):
            params.word(f"{name}_{axis}", stride)
        (params.literal if view.strides[3] in (0, 1) else params.word)(f"{name}_c", view.strides[3])

    def head(self, w: Writer, text: str, tiles: Sequence[tuple[str, int, int, bool]]) -> None:
        """tiles: (name, rows, vectors, whether A lies along its rows)."""
        comment(w, text)
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        w.line("from graphkeras.codegen.cpu.score_rows import close_row, largest")
        w.line("from graphkeras.codegen.cpu.transpose import transpose")
        w.line()
        for name, mr, nv, unit in tiles:
            w.line(f'{name} = tile({mr}, {nv}, 1, "float32", unit={unit})')
        w.line('TURN = transpose("float32")')
        w.line("CLOSE = close_row()")
        w.line("LARGEST = largest()")
        w.line()
        w.line()


def _spread(mask: View, shape: tuple[int, ...]) -> View:
    """A mask as strides over (batch, heads, queries, keys)."""
    lead = len(shape) - len(mask.shape)
    strides = [0] * lead
    strides += [0 if n == 1 else s for n, s in zip(mask.shape, mask.strides, strict=True)]
    return View(mask.buffer, mask.dtype, shape, tuple(strides), mask.offset)


HIDDEN_TEXT = f"float32({HIDDEN!r})"


# -- pieces of source -----------------------------------------------------------------------------------
def exp_text(w: Writer, argument: str) -> str:
    """Prints exp(argument) for float32; returns the name of the result."""
    return flushed_exp_value(Value(CpuHandler(w), Val(argument, "float32"))).raw


def pack_rows(
    w: Writer, view: View, name: str, target: str, start: str, rows: str, size: int, factor: str = ""
) -> None:
    """target[r, :] = rows of an operand from element `start` on, as float32, with zeros up to whole vectors."""
    step = padded(size)
    loaded = CpuHandler.from_memory(f"{name}[{start} + r * {name}_t + c * {name}_c]", view.dtype)
    with w.block(f"for r in range({rows})"):
        with w.block(f"for c in range({size})"):
            w.line(f"{target}[r * {step} + c] = {loaded}{factor}")
        if step != size:
            with w.block(f"for c in range({size}, {step})"):
                w.line(f"{target}[r * {step} + c] = float32(0.0)")


def zero_rows(w: Writer, target: str, first: str, last: str, step: int) -> None:
    with w.block(f"for z in range({first} * {step}, {last} * {step})"):
        w.line(f"{target}[z] = float32(0.0)")


def turn_rows(w: Writer, work: Work, source: str, target: str, size: int) -> None:
    """Panels of two vectors of keys: target[panel, c, key in panel] of source[key, c]."""
    width, step = vector_width("float32"), padded(size)
    with w.block(f"for j in range(0, padded, {width})"), w.block(f"for c in range(0, {step}, {width})"):
        place = f"j // {work.panel} * {step * work.panel} + c * {work.panel} + j % {work.panel}"
        w.line(f"TURN(shift({source}, j * {step} + c), {step}, shift({target}, {place}), {work.panel})")


def by_keys(w: Writer, work: Work, rows: str, panels: str, target: str, size: int, count: str) -> None:
    """target[r, key] = rows[r, :] . keys[key, :] for all keys of the block: tiles of two vectors, and a last one."""
    panel, step = work.panel, padded(size)
    mr = tile_shape(panel)[0]
    table = f"{rows}_at"
    with w.block(f"for p in range(0, padded, {panel})"), w.block(f"for r in range(0, {count}, {mr})"):
        call = f"(shift({rows}, r * {step}), {table}, shift({panels}, p * {step}), {table}, "
        call += f"shift({target}, r * score_step + p), sc_at, {count} - r, {{}}, 0, ({size}, 1, {panel}))"
        with w.block(f"if padded - p >= {panel}"):
            w.line("KEYS2" + call.format(panel))
        with w.block("else"):
            w.line("KEYS1" + call.format(panel // 2))


def key_tiles(work: Work) -> list[tuple[str, int, int, bool]]:
    mr = tile_shape(work.panel)[0]
    return [("KEYS2", mr, 2, False), ("KEYS1", mr, 1, False)]


def limits(w: Writer, work: Work, first: str, last: str) -> None:
    """`n`: keys of the block from its start up to the last that queries first..last see, where `skip` is set."""
    attrs = work.node.attrs
    w.line("n = min(key_block, keys - k0)")
    if not work.skips:
        return
    with w.block("if skip"):
        ends = ([f"{last} + 1"] if attrs["causal"] else []) + ([f"{last} + window"] if attrs["window"] else [])
        for end in ends:
            w.line(f"n = min(n, {end} - k0)")
        if attrs["window"]:
            with w.block(f"if k0 + n <= {first} - window + 1"):
                w.line("n = 0")


def first_block(work: Work, first: str) -> str:
    """Number of the first key that a strip from query `first` on may look at, as a multiple of key_block."""
    if not work.node.attrs["window"]:
        return "0"
    return f"select(skip, max(0, {first} - window + 1) // key_block * key_block, 0)"


def mask_row(w: Writer, work: Work, row: str, base: str) -> None:
    """Masks on one row of scores: query `row`, keys k0 to k0 + n; padding gets -inf."""
    attrs = work.node.attrs
    for i in range(len(work.masks)):
        w.line(f"mask{i}_row = b * mask{i}_b + h * mask{i}_h + ({row}) * mask{i}_t + k0 * mask{i}_s")
    if work.masks:
        with w.block("for j in range(n)"):
            w.line(f"x = sc[{base} + j]")
            for i, m in enumerate(work.masks):
                loaded = CpuHandler.from_memory(f"mask{i}[mask{i}_row + j * mask{i}_s]", m.dtype)
                w.line(f"x = select({loaded}, x, {HIDDEN_TEXT})" if m.dtype == "bool" else f"x = x + {loaded}")
            w.line(f"sc[{base} + j] = x")
    far = []  # what is hidden by its distance lies at the ends of the row
    if attrs["causal"]:
        far.append(f"max(0, {row} + 1 - k0), n")
    if attrs["window"]:
        far += [f"0, min(n, {row} - window + 1 - k0)", f"max(0, {row} + window - k0), n"]
    for ends in far:
        with w.block(f"for j in range({ends})"):
            w.line(f"sc[{base} + j] = {HIDDEN_TEXT}")
    w.line(f"CLOSE(shift(sc, {base}), n)")


def drop_row(w: Writer, work: Work, row: str) -> None:
    """keep[j]: what the weights of keys k0 + j are multiplied by; random bits by their flat index."""
    w.line(f"flat = ((b * heads + h) * queries + {row}) * keys + k0")
    with w.block("for j in range(padded)"):  # whole vectors: weights past the last key are zero anyway
        w.line("word0 = uint32(flat + j)")
        w.line("word1 = " + ("uint32(0)" if work.weights < 2**32 else "uint32((flat + j) >> 32)"))
        names = [Val(name, "uint32") for name in ("key0", "key1", "word0", "word1")]
        bits = get_op("random_word").lower(CpuHandler(w), *names)
        w.line(f"keep[j] = select({bits} >= uint32(drop_limit), float32(keep_scale), float32(0.0))")


def load_key(w: Writer) -> None:
    w.line("key0 = key[0]")
    w.line("key1 = key[1]")


def stored(text: str, dtype: str) -> str:
    return CpuHandler.to_memory(text, dtype) if dtype in HALF else text
