"""attention_grad of half floats on tensor cores. See `attention_grad.py` for the formulas and who owns what."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cuda.attention_fragments import Cut, Fragments
from graphkeras.codegen.cuda.attention_source import Operand
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.ir.ops.attention import HIDDEN


def _is_small(work: Work) -> bool:
    return max(work.depth, work.width) <= 64


class _Backward(Fragments):
    slot = 0  # bytes of the tiles of a step

    def __init__(self, work: Work, group: Group, title: str, cut: Cut, ct: View, rows: Sequence[View]) -> None:
        super().__init__(work, group, f"{title} on tensor cores, {work.q.dtype}", cut)
        self.ct, self.rows_of = Operand(self.source, ct), rows
        self.top, self.total = (self.source.source(v) for v in rows[:2])

    def begin_step(self) -> None:
        """Wait for the step's tiles; everyone is done with the other place then."""
        w = self.w
        w.line("async_wait0()")
        w.line("sync_threads()")
        w.line(f"here = ring + stage * {self.slot}")
        w.line("stage = 1 - stage")

    def weigh_function(self) -> None:
        """Print the device function that gives a weight, after dropout, and the gradient by its score.

        x: the score, g: the product of cotangent and value; high, share, delta: of the query; keep: of dropout.
        """
        f = self.source.functions
        keeps = self.work.key is not None
        f.line("@device")
        with f.block("def weigh(x, g, high, share, delta" + (", keep)" if keeps else ")")):
            f.line("p = weight(x - high) * share")
            f.line("g = p * (g * keep - delta)" if keeps else "g = p * (g - delta)")
            if self.work.hides:
                f.line(f"g = select(x == float32({HIDDEN!r}), float32(0.0), g)")
            f.line("return (p * keep, g)" if keeps else "return (p, g)")
        f.line()
        f.line()

    def weigh(self, z: int, high: str, share: str, delta: str) -> str:
        """The call for score z, whose query has these values."""
        keep = f", {self.kept(z)}" if self.work.key is not None else ""
        return f"weigh(score[{z}], grad[{z}], {high}, {share}, {delta}{keep})"


class TensorByQuery(_Backward):
    """A block owns queries: their gradient, and the sums `delta`."""

    def __init__(self, work: Work, group: Group, ct: View, rows: Sequence[View]) -> None:
        cut = Cut.of(work.queries, 2 if _is_small(work) else 1, 32)
        super().__init__(work, group, "gradient of attention by its queries", cut, ct, rows)

    def kernel(self, out: View, result: View) -> Kernel:
        w, work, cut, source = self.w, self.work, self.cut, self.source
        self.out = Operand(source, out)
        delta, target = source.destination(self.rows_of[2]), source.destination(result)
        blocks = self.place(work.q.shape[2], work.queries)
        w.line(f"own = h // {self.sharing}")
        self.tile("sq", cut.rows, work.depth)
        self.tile("sg", cut.rows, work.width)
        self.slot = self.ring((work.depth, work.width))
        self.fetch(self.q, "sq", "h", "first", self.queries, cut.rows)
        self.fetch(self.ct, "sg", "h", "first", self.queries, cut.rows)
        self.limits(self.keys)
        self._fetch("start")
        w.line("async_commit()")
        for r, _, _, row in self.rows():
            self._row(r, row, delta)
        self.sums("acc", work.depth)
        with w.block(f"for k0 in range(start, end, {cut.columns})"):
            self._step()
        self.store_rows(result, target, "acc", self.heads, self.queries, ["scale"] * (2 * cut.high))
        flops = work.flops * (2 * work.depth + work.width)
        return self.finish(f"tensor_attention_{work.depth}_by_query", blocks, flops, [result])

    def _fetch(self, start: str) -> None:
        self.w.line(f"place = ring + stage * {self.slot}")
        self.fetch(self.k, "place", "own", start, self.keys, self.cut.columns)
        values = f"place + {self.nbytes(self.cut.columns, self.work.depth)}"
        self.fetch(self.v, values, "own", start, self.keys, self.cut.columns)

    def _row(self, r: int, row: str, delta: str) -> None:
        """high<r>, share<r>, delta<r> of a row; delta is also stored."""
        w, out, ct = self.w, self.out, self.ct
        width = min(out.neighbours(8), ct.neighbours(8))
        n = str(width) if width > 1 else ""
        w.line(f"high{r} = float32(0.0)")
        w.line(f"share{r} = float32(0.0)")
        w.line(f"delta{r} = float32(0.0)")
        w.line(f"row = first + {row}")
        with w.block(f"if row < {self.queries}"):
            w.line(f"at_row = (b * {self.heads} + h) * {self.queries} + row")
            w.line(f"high{r} = fetch_float32({self.top}, at_row)")
            w.line(f"share{r} = float32(1.0) / fetch_float32({self.total}, at_row)")
            w.line(f"from_out = b * {out.b} + h * {out.h} + row * {out.t}")
            w.line(f"from_ct = b * {ct.b} + h * {ct.h} + row * {ct.t}")
            with w.block(f"for c in range((lane & 3) * {width}, {self.work.width}, {4 * width})"):
                w.line(f"y = fetch{n}_{self.dtype}({out.pointer}, from_out + c{out.c})")
                w.line(f"g = fetch{n}_{self.dtype}({ct.pointer}, from_ct + c{ct.c})")
                for k in range(width):
                    part = f"[{k}]" if n else ""
                    w.line(f"delta{r} = fma(y{part}, g{part}, delta{r})")
        self.across_lanes(f"delta{r}", "sum")
        with w.block(f"if (row < {self.queries}) & (pair == 0)"):
            w.line(f"store_float32({delta}, (b * {self.heads} + h) * {self.queries} + row, delta{r})")

    def _step(self) -> None:
        w, work, cut = self.w, self.work, self.cut
        self.begin_step()
        w.line(f"values = here + {self.nbytes(cut.columns, work.depth)}")
        with w.block(f"if k0 + {cut.columns} < end"):
            self._fetch(f"k0 + {cut.columns}")
        w.line("async_commit()")
        self.product("score", "sq", "here", work.depth)
        self.product("grad", "sg", "values", work.width)
        self.scale_and_mask("k0")
        self.draw()
        self.weigh_function()
        for r, i, half, _ in self.rows():
            for z, *_ in self.scores_of(i, half):
                w.line(f"pg = {self.weigh(z, f'high{r}', f'share{r}', f'delta{r}')}")
                w.line(f"score[{z}] = pg[1]")
        self.halves("words", "score")
        self.add("acc", "words", "here", work.depth)


class TensorByKey(_Backward):
    """A block owns keys and values: their gradients, from all queries of all heads that share them."""

    by_key = True

    def __init__(self, work: Work, group: Group, ct: View, rows: Sequence[View]) -> None:
        cut = Cut.of(work.keys, 1, 64 if _is_small(work) else 16)
        super().__init__(work, group, "gradient of attention by its keys and values", cut, ct, rows)

    def kernel(self, by_key: View, by_value: View) -> Kernel:
        w, work, cut, source = self.w, self.work, self.cut, self.source
        self.delta = source.source(self.rows_of[2])
        targets = [source.destination(v) for v in (by_key, by_value)]
        blocks = self.place(work.k.shape[2], work.keys)
        w.line("own = h")
        self.tile("sk", cut.rows, work.depth)
        self.tile("sv", cut.rows, work.width)
        self.slot = self.ring((work.depth, work.width))
        w.line(f"numbers = shared_memory() + {source.scratch(2 * 12 * cut.columns)}")
        self.fetch(self.k, "sk", "own", "first", self.keys, cut.rows)
        self.fetch(self.v, "sv", "own", "first", self.keys, cut.rows)
        self._range()
        self._fetch()
        w.line("async_commit()")
        self.sums("acc_k", work.depth)
        self.sums("acc_v", work.width)
        with w.block("for step in range(steps)"):
            self._step()
        w.line("h = own")
        self.store_rows(by_key, targets[0], "acc_k", self.own, self.keys, ["scale"] * (2 * cut.high))
        self.store_rows(by_value, targets[1], "acc_v", self.own, self.keys, ["float32(1.0)"] * (2 * cut.high))
        flops = 2 * work.flops * (work.depth + work.width)
        return self.finish(f"tensor_attention_{work.depth}_by_key", blocks, flops, [by_key, by_value])

    def _range(self) -> None:
        """Steps over the queries of one head after the other.

        Queries that saw no key weigh all of them: where there is one among all that share these keys, nothing is left
        out.
        """
        w, work, columns = self.w, self.work, self.cut.columns
        w.line(f"next_h = own * {self.sharing}")
        self.limits(self.queries)
        if work.skips and work.may_see_nothing:
            w.line("blind = False")
            with w.block(f"for r in range(thread_index(), {self.sharing} * {self.queries}, {self.cut.threads})"):
                at = f"(b * {self.heads} + next_h) * {self.queries} + r"
                w.line(f"blind = blind | (fetch_float32({self.top}, {at}) <= float32({HIDDEN!r}))")
            self.vote()
            w.line("start = select(any == uint32(0), start, 0)")
            w.line(f"end = select(any == uint32(0), end, {self.queries})")
        w.line(f"steps = maximum(0, (end - start + {columns - 1}) // {columns}) * {self.sharing}")
        w.line("next_q = start")

    def _fetch(self) -> None:
        """Queries and cotangents from next_q on of head next_h, with top, 1 / total and delta of each."""
        w, columns = self.w, self.cut.columns
        w.line(f"place = ring + stage * {self.slot}")
        self.fetch(self.q, "place", "next_h", "next_q", self.queries, columns)
        self.fetch(
            self.ct, f"place + {self.nbytes(columns, self.work.depth)}", "next_h", "next_q", self.queries, columns
        )
        w.line(f"to = numbers + stage * {12 * columns}")
        with w.block(f"for r in range(thread_index(), {columns}, {self.cut.threads})"):
            for name in ("top", "part", "inner"):
                w.line(f"{name} = float32(0.0)")
            with w.block(f"if next_q + r < {self.queries}"):
                w.line(f"at_row = (b * {self.heads} + next_h) * {self.queries} + next_q + r")
                w.line(f"top = fetch_float32({self.top}, at_row)")
                w.line(f"part = float32(1.0) / fetch_float32({self.total}, at_row)")
                w.line(f"inner = fetch_float32({self.delta}, at_row)")
            for k, name in enumerate(("top", "part", "inner")):
                w.line(f"shared_store_float32(to, r + {k * columns}, {name})")

    def _step(self) -> None:
        w, work, columns = self.w, self.work, self.cut.columns
        w.line(f"row_values = numbers + stage * {12 * columns}")
        self.begin_step()
        w.line(f"cotangents = here + {self.nbytes(columns, work.depth)}")
        w.line("h = next_h")
        w.line("q0 = next_q")
        w.line(f"next_q = next_q + {columns}")
        w.line("next_h = select(next_q >= end, next_h + 1, next_h)")
        w.line("next_q = select(next_q >= end, start, next_q)")
        with w.block("if step + 1 < steps"):
            self._fetch()
        w.line("async_commit()")
        self.product("score", "sk", "here", work.depth)
        self.product("grad", "sv", "cotangents", work.width)
        self.scale_and_mask("q0")
        self.draw()
        self.weigh_function()
        for j in range(self.cut.across):
            for k, name in enumerate(("high", "share", "delta")):
                w.line(f"{name} = shared_load2_float32(row_values, {8 * j + k * columns} + pair)")
            for z in range(4 * j, 4 * j + 4):  # one 16-row tile of a warp
                c = z & 1
                w.line(f"pg = {self.weigh(z, f'high[{c}]', f'share[{c}]', f'delta[{c}]')}")
                w.line(f"score[{z}] = pg[0]")
                w.line(f"grad[{z}] = pg[1]")
        self.halves("words", "score")
        self.add("acc_v", "words", "cotangents", work.width)
        self.halves("words", "grad")
        self.add("acc_k", "words", "here", work.depth)
