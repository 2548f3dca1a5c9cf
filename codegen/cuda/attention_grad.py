"""attention_grad: the gradients of q, k and v, without the matrix of weights, the same bits in every run.

Two kernels, each with the scores computed again and the weights exp(score - top) / total as the forward pass left them:

    dweights = ct v^T      dscores = weights (dweights - delta)      delta = sum of ct * out

In the first a block owns queries and walks the keys: dq = dscores k scale; it leaves delta for the second, in which a
block owns keys and walks all queries of all heads that share them: dv = weights^T ct, dk = dscores^T q scale. So every
result has one owner, and nothing is added by atomics.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.cpu.attention_parts import Work
from graphkeras.codegen.cuda.attention_source import Operand, refusal
from graphkeras.codegen.cuda.attention_tensor import on_tensor_cores
from graphkeras.codegen.cuda.attention_tensor_grad import TensorByKey, TensorByQuery
from graphkeras.codegen.cuda.attention_tiles import Tiled, Tiles, row_step
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.ir.ops.attention import HIDDEN


@lowers("attention_grad", target="cuda", refuses=refusal)
def lower_attention_grad(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    work = Work.of(ctx, group)
    results = [ctx.result(node, i, group.items) for i in range(3)]
    out, top, total, ct = node.inputs[-4:]
    rows = [ctx.contiguous(top), ctx.contiguous(total), ctx.new(top.shape, "float32", "sum of ct * out")]
    by_query, by_key = (TensorByQuery, TensorByKey) if on_tensor_cores(work) else (_ByQuery, _ByKey)
    ctx.launch(by_query(work, group, ctx.view(ct), rows).kernel(ctx.view(out), results[0]))
    ctx.launch(by_key(work, group, ctx.view(ct), rows).kernel(results[1], results[2]))


class _Backward(Tiled):
    def __init__(self, work: Work, group: Group, title: str, length: int, ct: View, rows: Sequence[View]) -> None:
        super().__init__(work, group, title, Tiles.of(work, length))
        self.ct, self.rows = Operand(self.source, ct), rows
        self.top, self.total = (self.source.source(v) for v in rows[:2])

    def four_tiles(self, queries: int, keys: int) -> None:
        self.tile("sq", queries, self.work.depth)
        self.tile("sg", queries, self.work.width)
        self.tile("sk", keys, self.work.depth)
        self.tile("sv", keys, self.work.width)
        self.weights_tile()

    def load_queries(self, start: str, rows: int) -> None:
        self.load(self.q, "sq", "h", start, self.queries, rows)
        self.load(self.ct, "sg", "h", start, self.queries, rows)

    def load_keys(self, start: str, rows: int) -> None:
        self.load(self.k, "sk", "own", start, self.keys, rows)
        self.load(self.v, "sv", "own", start, self.keys, rows)

    def row_values(self, i: str, query: str, delta: str) -> None:
        """Print high[i], share[i], and delta[i] where `delta` is an address, of a query."""
        w = self.w
        w.line(f"high[{i}] = float32(0.0)")
        w.line(f"share[{i}] = float32(0.0)")
        w.line(f"delta[{i}] = float32(0.0)")
        with w.block(f"if {query} < {self.queries}"):
            w.line(f"at_row = (b * {self.heads} + h) * {self.queries} + {query}")
            w.line(f"high[{i}] = fetch_float32({self.top}, at_row)")
            w.line(f"share[{i}] = float32(1.0) / fetch_float32({self.total}, at_row)")
            if delta:
                w.line(f"delta[{i}] = fetch_float32({delta}, at_row)")

    def row_arrays(self, count: int) -> None:
        for name in ("high", "share", "delta"):
            self.w.line(f"{name} = local_array({count}, float32)")

    def masked(self, query: str, key: str) -> None:
        """Masks on all scores, and the choice of dropout. query, key: in terms of i and j.

        Loops over scores do little each: only what is small is unrolled, and so stays in registers.
        """
        w, tiles = self.w, self.tiles
        if self.work.key is not None:
            self.draw(f"({query})", key)
        with w.block(f"for i in range({tiles.each})"), w.block(f"for j in range({tiles.across})"):
            w.line(f"t_q = {query}")
            w.line(f"t_k = {key}")
            self.mask(f"score[i * {tiles.across} + j]")
            w.line(f"score[i * {tiles.across} + j] = x")

    def weight(self, z: str, query: str) -> None:
        """Print p, the weight, and g, the gradient by the score; z: their place, query: that of the query's values."""
        w = self.w
        w.line(f"x = score[{z}]")
        w.line(f"p = weight(x - high[{query}]) * share[{query}]")
        w.line(f"g = grad[{z}]")
        if self.work.key is not None:
            w.line(f"keep = {self.kept(z)}")
            w.line("g = g * keep")
        w.line(f"g = p * (g - delta[{query}])")
        if self.work.hides:
            w.line(f"g = select(x == float32({HIDDEN!r}), float32(0.0), g)")
        if self.work.key is not None:
            w.line("p = p * keep")


class _ByQuery(_Backward):
    def __init__(self, work: Work, group: Group, ct: View, rows: Sequence[View]) -> None:
        super().__init__(work, group, "gradient of attention by its queries", work.queries, ct, rows)

    def kernel(self, out: View, result: View) -> Kernel:
        w, work, tiles, source = self.w, self.work, self.tiles, self.source
        self.out = Operand(source, out)
        self.delta = source.destination(self.rows[2])
        target = source.destination(result)
        blocks = self.place(work.q.shape[2], work.queries)
        w.line(f"own = h // {self.sharing}")
        self.four_tiles(tiles.rows, tiles.columns)
        self.load_queries("first", tiles.rows)
        w.line("sync_threads()")
        self._rows()
        self.sums("acc", work.depth)
        condition = self.sees("first", tiles.rows, "k0", tiles.columns)
        guard = f"if {condition}" if condition else None
        with w.block(f"for k0 in range(0, {self.keys}, {tiles.columns})"), w.maybe_block(guard):
            w.line("sync_threads()")
            self.load_keys("k0", tiles.columns)
            w.line("sync_threads()")
            self.product("score", "sq", "sk", work.depth)
            self.product("grad", "sg", "sv", work.width)
            self.masked(f"first + ty * {tiles.each} + i", "k0 + tx + 16 * j")
            with w.block(f"for i in range({tiles.each})"), w.block(f"for j in range({tiles.across})"):
                self.weight(f"i * {tiles.across} + j", "i")
                self.store_weight("g")
            w.line("sync_warp()")
            self.add("acc", "sp", "sk", work.depth)
        self.store_rows(result, target, "acc", self.heads, self.queries, "scale")
        flops = work.flops * (2 * work.depth + work.width)
        return self.finish(f"attention_{work.depth}_by_query", blocks, flops, [result])

    def _rows(self) -> None:
        """top, total and delta of the block's queries."""
        w, tiles = self.w, self.tiles
        self.row_arrays(tiles.each)
        step = row_step(self.work.width)
        with w.block(f"for i in range({tiles.each})"):
            w.line(f"row = first + ty * {tiles.each} + i")
            self.row_values("i", "row", "")
            w.line("inner = float32(0.0)")
            with w.block(f"if row < {self.queries}"):
                w.line(f"from_out = b * {self.out.b} + h * {self.out.h} + row * {self.out.t}")
                with w.block(f"for c in range(tx, {self.work.width}, 16)"):
                    w.line(f"y = fetch_{self.out.view.dtype}({self.out.pointer}, from_out + c{self.out.c})")
                    w.line(f"inner = fma(y, shared_load_float32(sg, (ty * {tiles.each} + i) * {step} + c), inner)")
            self.across_lanes("inner", "sum")
            w.line("delta[i] = inner")
            with w.block(f"if (row < {self.queries}) & (tx == 0)"):
                w.line(f"store_float32({self.delta}, (b * {self.heads} + h) * {self.queries} + row, inner)")


class _ByKey(_Backward):
    def __init__(self, work: Work, group: Group, ct: View, rows: Sequence[View]) -> None:
        super().__init__(work, group, "gradient of attention by its keys and values", work.keys, ct, rows)

    def kernel(self, by_key: View, by_value: View) -> Kernel:
        w, work, tiles, source = self.w, self.work, self.tiles, self.source
        self.delta = source.source(self.rows[2])
        targets = [source.destination(v) for v in (by_key, by_value)]
        blocks = self.place(work.k.shape[2], work.keys)
        w.line("own = h")
        self.four_tiles(tiles.columns, tiles.rows)
        self.load_keys("first", tiles.rows)
        self.sums("acc_k", work.depth)
        self.sums("acc_v", work.width)
        self.row_arrays(tiles.across)
        heads = f"for h in range(own * {self.sharing}, own * {self.sharing} + {self.sharing})"
        with w.block(heads), w.block(f"for q0 in range(0, {self.queries}, {tiles.columns})"):
            self._step()
        w.line("h = own")
        self.store_rows(by_key, targets[0], "acc_k", self.own, self.keys, "scale")
        self.store_rows(by_value, targets[1], "acc_v", self.own, self.keys, "float32(1.0)")
        flops = 2 * work.flops * (work.depth + work.width)
        return self.finish(f"attention_{work.depth}_by_key", blocks, flops, [by_key, by_value])

    def _step(self) -> None:
        """One tile of queries; queries that saw no key weigh all of them, so their tiles are never left out."""
        w, work, tiles = self.w, self.work, self.tiles
        condition = self.sees("q0", tiles.columns, "first", tiles.rows)
        w.line("blind = False")
        with w.block(f"for j in range({tiles.across})"):
            w.line("t_q = q0 + tx + 16 * j")
            self.row_values("j", "t_q", self.delta)
            w.line(f"blind = blind | (high[j] <= float32({HIDDEN!r}))")
        if condition and work.may_see_nothing:
            condition = f"({condition}) | (ballot(blind) != uint32(0))"  # each warp asks for all queries of the tile
        with w.maybe_block(f"if {condition}" if condition else None):
            w.line("sync_threads()")
            self.load_queries("q0", tiles.columns)
            w.line("sync_threads()")
            self.product("score", "sk", "sq", work.depth)
            self.product("grad", "sv", "sg", work.width)
            self.masked("q0 + tx + 16 * j", f"first + ty * {tiles.each} + i")
            with w.block(f"for i in range({tiles.each})"), w.block(f"for j in range({tiles.across})"):
                self.weight(f"i * {tiles.across} + j", "j")
                w.line(f"grad[i * {tiles.across} + j] = g")
                self.store_weight("p")
            w.line("sync_warp()")
            self.add("acc_v", "sp", "sg", work.width)
            w.line("sync_warp()")
            with w.block(f"for i in range({tiles.each})"), w.block(f"for j in range({tiles.across})"):
                self.store_weight(f"grad[i * {tiles.across} + j]")
            w.line("sync_warp()")
            self.add("acc_k", "sp", "sq", work.depth)
