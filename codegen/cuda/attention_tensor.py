"""attention of half floats on tensor cores; float32 statistics and sums. See `attention.py` for what is computed."""

from __future__ import annotations

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cuda.attention_fragments import Cut, Fragments, padded
from graphkeras.codegen.cuda.language import HALF
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.ir.ops.attention import HIDDEN

MOST = 128  # elements of a head: more sums than that leave no registers for the rest


def on_tensor_cores(work: Work) -> bool:
    return work.q.dtype in HALF and max(work.depth, work.width) <= MOST


def cut_of(work: Work) -> Cut:
    """A thread holds high * size / 2 sums and high * columns / 2 scores."""
    small = max(work.depth, work.width) <= 64
    return Cut.of(work.queries, 2 if small else 1, 32 if small else 64)


class TensorForward(Fragments):
    def __init__(self, work: Work, group: Group, results: list[View]) -> None:
        super().__init__(work, group, f"attention on tensor cores, {work.q.dtype}", cut_of(work))
        self.results = results
        self.out, self.top, self.total = (self.source.destination(v) for v in results)

    def kernel(self) -> Kernel:
        w, work, cut = self.w, self.work, self.cut
        blocks = self.place(work.q.shape[2], work.queries)
        w.line(f"own = h // {self.sharing}")
        self.tile("sq", cut.rows, work.depth)
        self.slot = self.ring((work.depth, work.width))
        self.fetch(self.q, "sq", "h", "first", self.queries, cut.rows)
        self.sums("acc", work.width)
        self.limits(self.keys)
        self.walk_again(self._walk, self._blind, ("start = 0", f"end = {self.keys}"))
        self._results()
        flops = work.flops * (work.depth + work.width)
        return self.finish(f"tensor_attention_{work.depth}", blocks, flops, self.results)

    def _fetch(self, start: str) -> None:
        w, work = self.w, self.work
        w.line(f"place = ring + stage * {self.slot}")
        self.fetch(self.k, "place", "own", start, self.keys, self.cut.columns)
        values = f"place + {self.nbytes(self.cut.columns, work.depth)}"
        self.fetch(self.v, values, "own", start, self.keys, self.cut.columns)

    def _walk(self) -> None:
        w, work, cut = self.w, self.work, self.cut
        with w.block(f"for z in range({cut.high * padded(work.width) // 2})"):
            w.line("acc[z] = float32(0.0)")
        for r, *_ in self.rows():
            w.line(f"most{r} = float32(-inf)")
            w.line(f"total{r} = float32(0.0)")
        self._fetch("start")
        w.line("async_commit()")
        with w.block(f"for k0 in range(start, end, {cut.columns})"):
            w.line("async_wait0()")
            w.line("sync_threads()")  # the step's tiles are there, and everyone is done with the other place
            w.line(f"sk = ring + stage * {self.slot}")
            w.line(f"sv = sk + {self.nbytes(cut.columns, work.depth)}")
            w.line("stage = 1 - stage")
            with w.block(f"if k0 + {cut.columns} < end"):
                self._fetch(f"k0 + {cut.columns}")
            w.line("async_commit()")
            self.product("score", "sq", "sk", work.depth)
            self.scale_and_mask("k0")
            self.draw()
            for row in self.rows():
                self._softmax(*row[:3])
            self.halves("weights", "score")
            self.add("acc", "weights", "sv", work.width)

    def _softmax(self, r: int, i: int, half: int) -> None:
        """Scores of a row to weights."""
        w, tiles = self.w, padded(self.work.width) // 8
        w.line(f"best = most{r}")
        for z, *_ in self.scores_of(i, half):
            w.line(f"best = maximum(best, score[{z}])")
        self.across_lanes("best", "max")
        w.line("shift = select(best == float32(-inf), float32(0.0), best)")  # weights of 0, not NaN
        w.line(f"down = weight(most{r} - shift)")
        w.line(f"most{r} = best")
        w.line(f"added = total{r} * down")
        with w.block(f"for j in range({tiles})"):
            for c in range(2):
                place = f"acc[({i * tiles} + j) * 4 + {2 * half + c}]"
                w.line(f"{place} = {place} * down")
        for z, *_ in self.scores_of(i, half):
            w.line(f"p = weight(score[{z}] - shift)")
            w.line("added = added + p")
            w.line(f"score[{z}] = p" + (f" * {self.kept(z)}" if self.work.key is not None else ""))
        w.line(f"total{r} = added")

    def _blind(self) -> None:
        for r, _, _, row in self.rows():
            self.w.line(f"blind = blind | ((most{r} <= float32({HIDDEN!r})) & (first + {row} < {self.queries}))")

    def _results(self) -> None:
        w = self.w
        for r, _, _, row in self.rows():
            self.across_lanes(f"total{r}", "sum")
            w.line(f"total{r} = total{r} + (most{r} - most{r})")  # NaN where a score was NaN or infinite
            w.line(f"row = first + {row}")
            with w.block(f"if (row < {self.queries}) & (pair == 0)"):
                w.line(f"to = (b * {self.heads} + h) * {self.queries} + row")
                w.line(f"store_float32({self.top}, to, most{r})")
                w.line(f"store_float32({self.total}, to, total{r})")
        factors = [f"float32(1.0) / total{r}" for r, *_ in self.rows()]
        self.store_rows(self.results[0], self.out, "acc", self.heads, self.queries, factors)
