"""What all kernels of attention share, on tensor cores or not: operands, masks, dropout, a part for each block."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.codegen.cuda.language import SIZES, divisor
from graphkeras.codegen.cuda.source import WARP, Source, decompose
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.op import get_op
from graphkeras.ir.ops.attention import HIDDEN, drop_limit

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


class Operand:
    """A (batch, length, heads, size) array: names of its address and strides."""

    def __init__(self, source: Source, view: View) -> None:
        self.view, self.size = view, view.shape[3]
        self.pointer = source.source(view)
        self.b, self.t, self.h = (source.word(s) for s in view.strides[:3])
        self.c = "" if view.strides[3] == 1 else " * " + source.word(view.strides[3])

    def neighbours(self, most: int) -> int:
        """Elements of a row that may be read at a time: at most `most`, a power of two."""
        view, size = self.view, SIZES[self.view.dtype]
        if view.strides[3] != 1:
            return 1
        width = most
        while (
            any(s % width for s in (*view.strides[:3], view.offset, self.size))
            or min(16, width * size) > view.buffer.align
        ):
            width //= 2
        return width


class AttentionSource:
    """An attention kernel being written. rows: that a block owns, of its queries or of its keys."""

    def __init__(self, work: Work, group: Group, title: str, rows: int, threads: int) -> None:
        self.work, self.rows_owned = work, rows
        self.warps = max(threads // WARP, 1)
        self.source = Source(title, group.nodes, threads)
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

    # -- queries that see nothing ------------------------------------------------------------------
    def vote(self) -> None:
        """Print any: not 0 where `blind` holds for some thread of the block."""
        w = self.w
        w.line(f"votes = shared_memory() + {self.source.scratch(4 * self.warps)}")
        w.line("word = ballot(blind)")
        with w.block(f"if thread_index() & {WARP - 1} == 0"):
            w.line(f"shared_store_uint32(votes, thread_index() >> {WARP.bit_length() - 1}, word)")
        w.line("sync_threads()")
        w.line("any = uint32(0)")
        with w.block(f"for z in range({self.warps})"):
            w.line("any = any | shared_load_uint32(votes, z)")

    def walk_again(self, walk: Callable[[], None], blind: Callable[[], None], all_keys: Sequence[str]) -> None:
        """Print a walk over the keys that the masks' shapes leave; where a query may have seen none, all keys count:
        a second walk. blind: prints how a thread notices; all_keys: lines that widen the walk."""
        w = self.w
        if not (self.work.skips and self.work.may_see_nothing):
            walk()
            return
        w.line("turn = 0")
        with w.block("while turn < 2"):
            walk()
            w.line("turn = turn + 1")
            w.line("blind = False")
            blind()
            self.vote()
            w.line("turn = select(any == uint32(0), 2, turn)")
            for line in all_keys:
                w.line(line)

    # -- which part --------------------------------------------------------------------------------
    def place(self, heads: int, length: int) -> int:
        """Print b, h (one of `heads`), first = the first row that the block owns; returns the number of blocks.

        Rows at the end come first: with a causal mask they are the longest.
        """
        source, w = self.source, self.w
        count = -(-length // self.rows_owned)
        names = [source.word(n) for n in (heads, count)]
        dividers = [source.word(divisor(n)) for n in (heads, count)]
        decompose(w, "block_index()", ["", *names], ["", *dividers], ["b", "h", "back"])
        w.line(f"first = ({names[1]} - 1 - back) * {self.rows_owned}")
        return self.work.q.shape[0] * heads * count

    def sees(self, q0: str, queries: int, k0: str, keys: int) -> str:
        """Whether any of these queries may see any of these keys, by their distance."""
        parts = [f"({k0} < {q0} + {queries})"] if self.work.node.attrs["causal"] else []
        if self.window:
            parts.append(f"({q0} - {k0} - {keys - 1} < {self.window})")
            parts.append(f"({k0} - {q0} - {queries - 1} < {self.window})")
        return " & ".join(parts)

    # -- scores ------------------------------------------------------------------------------------
    def mask_function(self) -> str:
        """Print the device function `masked(x, t_q, t_k, ...)` of a scaled score; returns the rest of a call's text."""
        outer, self.w = self.w, Writer()
        self.mask("x", scaled=True)
        text, self.w = self.w.text(), outer
        used = sorted(set(re.findall(r"\ba\d+\b", text)), key=lambda name: int(name[1:]))
        used += [name for name in ("b", "h") if re.search(rf"\b{name}\b", text)]
        f = self.source.functions
        f.line("@device")
        with f.block(f"def masked({', '.join(['x', 't_q', 't_k', *used])})"):
            for line in text.splitlines():
                f.line(line)
            f.line("return x")
        f.line()
        f.line()
        return "".join(f", {name}" for name in used)

    def mask(self, x: str, scaled: bool = False) -> None:
        """Print x: the score from the product `x`, with masks; `seen`; -inf where there is no such query or key.

        Uses `t` and `s`, the query and the key.
        """
        w, attrs = self.w, self.work.node.attrs
        w.line(f"inside = (t_q < {self.queries}) & (t_k < {self.keys})")
        if not scaled:
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

    def finish(self, name: str, blocks: int, flops: float, results: Sequence[View]) -> Kernel:
        nbytes = self.work.nbytes + sum(float(v.itemsize * _size(v)) for v in results)
        return self.source.kernel(name, blocks, flops=flops, nbytes=nbytes)


def _size(view: View) -> int:
    n = 1
    for extent in view.shape:
        n *= extent
    return n
