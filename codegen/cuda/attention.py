"""attention: softmax(q k^T scale + masks) v without the matrix of scores (Dao et al., "FlashAttention", 2022).

A block owns some queries of one head and walks the keys in tiles. Each row keeps its largest score so far and
the sum of its weights; sums are brought down where a larger score turns up. Both are stored for the gradient.
"""

from __future__ import annotations

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cuda.attention_source import refusal
from graphkeras.codegen.cuda.attention_tensor import TensorForward, on_tensor_cores
from graphkeras.codegen.cuda.attention_tiles import Columns, Tiled, Tiles
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.ir.ops.attention import HIDDEN


@lowers("attention", target="cuda", refuses=refusal)
def lower_attention(ctx: Lowering, group: Group) -> None:
    work = Work.of(ctx, group)
    results = [ctx.result(group.anchor, i, group.items) for i in range(3)]
    form = TensorForward if on_tensor_cores(work) else _Forward
    ctx.launch(form(work, group, results).kernel())


class _Forward(Tiled):
    def __init__(self, work: Work, group: Group, results: list[View]) -> None:
        super().__init__(work, group, "attention: scores, softmax, weighted values", Tiles.of(work, work.queries))
        self.results = results
        self.out, self.top, self.total = (self.source.destination(v) for v in results)
        self.columns = Columns.of(work.width)

    def kernel(self) -> Kernel:
        w, work, tiles = self.w, self.work, self.tiles
        blocks = self.place(work.q.shape[2], work.queries)
        self.tile("sq", tiles.rows, work.depth)
        self.tile("sk", tiles.columns, work.depth)
        self.tile("sv", tiles.columns, work.width)
        self.weights_tile()
        w.line(f"own = h // {self.sharing}")
        self.load(self.q, "sq", "h", "first", self.queries, tiles.rows)
        for name in ("most", "total"):
            w.line(f"{name} = local_array({tiles.each}, float32)")
        w.line("skip = True")
        self.walk_again(self._walk, self._blind, ("skip = False",))
        self._results()
        flops = work.flops * (work.depth + work.width)
        return self.finish(f"attention_{work.depth}", blocks, flops, self.results)

    def _walk(self) -> None:
        w, tiles = self.w, self.tiles
        self.sums("acc", self.work.width)
        with w.block(f"for i in range({tiles.each})"):
            w.line("most[i] = float32(-inf)")
            w.line("total[i] = float32(0.0)")
        condition = self.sees("first", tiles.rows, "k0", tiles.columns)
        guard = f"if ({condition}) | (not skip)" if condition else None
        with w.block(f"for k0 in range(0, {self.keys}, {tiles.columns})"), w.maybe_block(guard):
            w.line("sync_threads()")
            self.load(self.k, "sk", "own", "k0", self.keys, tiles.columns)
            self.load(self.v, "sv", "own", "k0", self.keys, tiles.columns)
            w.line("sync_threads()")
            self.product("score", "sq", "sk", self.work.depth)
            self._softmax()
            w.line("sync_warp()")
            self.add("acc", "sp", "sv", self.work.width)

    def _softmax(self) -> None:
        """Scores to weights, in shared memory."""
        w, tiles, across = self.w, self.tiles, self.tiles.across
        if self.work.key is not None:
            self.draw(f"(first + ty * {tiles.each} + i)", "k0 + tx + 16 * j")
        with w.block(f"for i in range({tiles.each})"):
            w.line(f"t_q = first + ty * {tiles.each} + i")
            w.line("best = most[i]")
            with w.block(f"for j in range({across})"):
                w.line("t_k = k0 + tx + 16 * j")
                self.mask(f"score[i * {across} + j]")
                w.line(f"score[i * {across} + j] = x")
                w.line("best = maximum(best, x)")
            self.across_lanes("best", "max")
            w.line("shift = select(best == float32(-inf), float32(0.0), best)")  # weights of 0, not NaN
            w.line("down = weight(most[i] - shift)")
            w.line("most[i] = best")
            w.line("added = total[i] * down")
            with w.block(f"for z in range({self.columns.count})"):
                w.line(f"acc[i * {self.columns.count} + z] = acc[i * {self.columns.count} + z] * down")
            with w.block(f"for j in range({across})"):
                w.line(f"p = weight(score[i * {across} + j] - shift)")
                w.line("added = added + p")
                if self.work.key is not None:
                    w.line(f"p = p * {self.kept(f'i * {across} + j')}")
                self.store_weight("p")
            w.line("total[i] = added")

    def _blind(self) -> None:
        w, tiles = self.w, self.tiles
        with w.block(f"for i in range({tiles.each})"):
            row = f"first + ty * {tiles.each} + i < {self.queries}"
            w.line(f"blind = blind | ((most[i] <= float32({HIDDEN!r})) & ({row}))")

    def _results(self) -> None:
        w, tiles = self.w, self.tiles
        with w.block(f"for i in range({tiles.each})"):
            w.line("whole = total[i]")
            self.across_lanes("whole", "sum")
            w.line("whole = whole + (most[i] - most[i])")  # NaN where a score was NaN or infinite
            w.line("total[i] = whole")
            w.line(f"row = first + ty * {tiles.each} + i")
            with w.block(f"if (row < {self.queries}) & (tx == 0)"):
                at = f"(b * {self.heads} + h) * {self.queries} + row"
                w.line(f"store_float32({self.top}, {at}, most[i])")
                w.line(f"store_float32({self.total}, {at}, whole)")
        self.store_rows(self.results[0], self.out, "acc", self.heads, self.queries, "float32(1.0) / total[i]")
