"""attention_grad: the gradients of q, k and v, without the matrix of weights.

An item is one head of keys (with all heads of queries that share it), or a part of its keys where there are few heads.
It walks its keys in blocks; for each block and strip of queries the scores are computed again, the weights are
exp(score - top) / total as the forward pass left them, and

    dv += weights^T ct        dweights = ct v^T        dscores = weights (dweights - delta), delta = sum of ct * out
    dk += dscores^T q scale   dq += dscores k scale

all from register tiles. dk and dv of a block stay in private memory. dq goes to the result itself, block after block in
order; with several parts to one array per part, summed by a second kernel, so the bits never depend on threads.
"""

from __future__ import annotations

import math

from graphkeras.codegen.cpu.attention_parts import (
    STRIP,
    Work,
    by_keys,
    drop_row,
    exp_text,
    key_tiles,
    limits,
    load_key,
    mask_row,
    pack_rows,
    padded,
    refusal,
    stored,
    tile_shape,
    turn_rows,
    zero_rows,
)
from graphkeras.codegen.cpu.choices import Candidate, pick
from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cpu.params import Params, items_per_chunk, small_kernel
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.ops.attention import HIDDEN

MOST_PARTS = 8  # of the keys of one head: their gradients of q are kept apart


@lowers("attention_grad", refuses=refusal)
def lower_attention_grad(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    work = Work.of(ctx, group)
    results = [ctx.result(node, i, group.items) for i in range(3)]
    if not work.q.shape[0] or not work.q.shape[2]:
        return
    others = [ctx.view(x) for x in node.inputs[-4:]]
    others = [others[0], *(x if x.is_contiguous else ctx.copy(x) for x in others[1:3]), others[3]]

    def launch(c: Candidate) -> None:
        parts, by_query = _parts(c.value), results[0]
        if parts > 1 or by_query.dtype != "float32":
            by_query = ctx.new((parts, *work.q.shape), "float32", "gradients of q, part by part")
        ctx.launch(_Backward(c.value, others, [by_query, *results[1:]], parts).kernel(group))
        if by_query is not results[0]:
            _sum_parts(ctx, group, by_query, results[0])

    launch(pick(ctx, "attention gradient blocks", work.sizes(), work.key_blocks(), launch))


def _parts(work: Work) -> int:
    """Parts of the keys, none of them empty: one where there are eight heads or more in the batch."""
    lines = work.k.shape[0] * work.k.shape[2]
    blocks = -(-work.keys // work.key_block)
    wanted = 1 if lines >= 8 else min(blocks, -(-MOST_PARTS // lines))
    return -(-blocks // -(-blocks // wanted))


def _sum_parts(ctx: Lowering, group: Group, parts: View, result: View) -> None:
    params, w = Params(), Writer()
    size = math.prod(result.shape)
    params.source("part", parts)
    params.target("y", result)
    params.ints(parts=parts.shape[0], size=size)
    w.line("for i in range(lo, hi):")
    w.line("    acc = part[i]")
    w.line("    for p in range(1, parts):")
    w.line("        acc = acc + part[p * size + i]")
    w.line(f"    y[i] = {stored('acc', result.dtype)}")
    head = "Gradients of queries, of which each part of the keys gave one share, summed in order."
    moved = float((parts.shape[0] + 1) * 4 * size)
    ctx.launch(
        small_kernel("attention_sum", head, params, w.text().splitlines(), size, 16384, group.anchor, nbytes=moved)
    )


class _Backward:
    """Prints the kernel. results: gradients of q (one per part), k and v."""

    def __init__(self, work: Work, others: list[View], results: list[View], parts: int) -> None:
        self.work, self.others, self.results, self.parts = work, others, results, parts
        blocks = -(-work.keys // work.key_block)
        self.part_keys = -(-blocks // parts) * work.key_block
        self.parts = -(-work.keys // self.part_keys)
        self.extent = work.k.shape[0] * work.k.shape[2] * self.parts
        self.zeroed = work.skips  # some strips may add nothing

    def kernel(self, group: Group) -> Kernel:
        work, params, w = self.work, self._params(), Writer()
        depth, width = tile_shape(work.depth), tile_shape(work.width)
        tiles = [("BY_QUERY", *depth, False), ("BY_KEY", *depth, True), ("BY_VALUE", *width, True)]
        work.head(w, "Gradients of attention: weights again, then four products, strip by strip.",
                  [*key_tiles(work), *tiles])  # fmt: skip
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            self._tables(w)
            with w.block("for item in range(lo, hi)"):
                self._item(w)
        flops = work.flops * (3 * work.depth + 2 * work.width)
        return Kernel(
            f"attention_grad_{work.queries}x{work.keys}x{work.depth}",
            w.text(),
            tuple(params.args),
            self.extent,
            items_per_chunk(self.extent, flops),
            tuple(dict.fromkeys(params.reads)),
            tuple(dict.fromkeys(params.writes)),
            flops=flops,
            nbytes=2 * work.nbytes + 2 * group.anchor.inputs[-4].type.nbytes,
            nodes=tuple(group.nodes),
            reason="weights again from queries and keys, gradients in tiles",
        )

    def _params(self) -> Params:
        work, params = self.work, Params()
        work.declare(params)
        out, top, total, ct = self.others
        work.operand(params, "out", out)
        work.operand(params, "ct", ct)
        params.source("top", top)
        params.source("total", total)
        for name, view in zip(("by_q", "by_k", "by_v"), self.results, strict=True):
            params.target(name, view)
        params.ints(parts=self.parts, part_keys=self.part_keys, batches=work.q.shape[0])
        depth, width, vector = padded(work.depth), padded(work.width), vector_width("float32")
        panels = work.key_block + vector
        params.scratch("qs", STRIP * depth, "float32")
        params.scratch("cs", STRIP * width, "float32")
        params.scratch("kn", work.key_block * depth, "float32")
        params.scratch("kt", panels * depth, "float32")
        params.scratch("vn", work.key_block * width, "float32")
        params.scratch("vt", panels * width, "float32")
        params.scratch("sc", STRIP * work.score_step + STRIP, "float32")
        params.scratch("ds", STRIP * work.score_step + STRIP, "float32")
        params.scratch("dk", (work.key_block + STRIP) * depth, "float32")
        params.scratch("dv", (work.key_block + STRIP) * width, "float32")
        params.scratch("delta", STRIP, "float32")
        if work.key is not None:
            params.scratch("keep", work.key_block + vector, "float32")
        for name in ("qs_at", "cs_at", "sc_at", "by_q_at"):
            params.scratch(name, STRIP, "int64")
        return params

    def _tables(self, w: Writer) -> None:
        if self.work.key is not None:
            load_key(w)
        with w.block(f"for r in range({STRIP})"):
            w.line(f"qs_at[r] = r * {padded(self.work.depth)}")
            w.line(f"cs_at[r] = r * {padded(self.work.width)}")
            w.line("sc_at[r] = r * score_step")
            w.line(f"by_q_at[r] = r * heads * {self.work.depth}")

    # -- an item -------------------------------------------------------------------------------------
    def _item(self, w: Writer) -> None:
        work = self.work
        depth, width = padded(work.depth), padded(work.width)
        w.line("part = item % parts")
        w.line("g = item // parts % own")
        w.line("b = item // parts // own")
        w.line("first = part * part_keys")
        if self.zeroed:
            with (
                w.block("for h in range(g * (heads // own), (g + 1) * (heads // own))"),
                w.block("for r in range(queries)"),
                w.block(f"for c in range({work.depth})"),
            ):
                w.line(f"by_q[{self._query_at('r')} + c] = float32(0.0)")
        with w.block("for k0 in range(first, min(keys, first + part_keys), key_block)"):
            w.line("block_keys = min(key_block, keys - k0)")
            self._pack_keys(w)
            zero_rows(w, "dk", "0", "block_keys", depth)
            zero_rows(w, "dv", "0", "block_keys", width)
            with (
                w.block("for h in range(g * (heads // own), (g + 1) * (heads // own))"),
                w.block(f"for q0 in range(0, queries, {STRIP})"),
            ):
                w.line(f"count = min({STRIP}, queries - q0)")
                self._limits(w)
                with w.maybe_block("if n > 0" if work.skips else None):
                    self._strip(w)
            self._store(w, "by_k", "dk", work.depth, self.results[1])
            self._store(w, "by_v", "dv", work.width, self.results[2])

    def _query_at(self, row: str) -> str:
        return f"(((part * batches + b) * queries + {row}) * heads + h) * {self.work.depth}"

    def _limits(self, w: Writer) -> None:
        if self.work.skips:
            w.line("skip = True")
        if self.work.skips and self.work.may_see_nothing:
            with w.block("for r in range(count)"):
                row = "top[(b * heads + h) * queries + q0 + r]"
                w.line(f"skip = skip and {row} > float32({HIDDEN!r})")
        limits(w, self.work, "q0", "(q0 + count - 1)")

    def _pack_keys(self, w: Writer) -> None:
        """kt and vt for scores and gradients of weights; kn, scaled, for gradients of queries."""
        work, vector = self.work, vector_width("float32")
        w.line(f"padded = (block_keys + {vector - 1}) // {vector} * {vector}")
        for name, rows, turned, size in (("k", "kn", "kt", work.depth), ("v", "vn", "vt", work.width)):
            start = f"b * {name}_b + k0 * {name}_t + g * {name}_h"
            view = work.k if name == "k" else work.v
            pack_rows(w, view, name, rows, start, "block_keys", size)
            zero_rows(w, rows, "block_keys", "padded", padded(size))
            turn_rows(w, work, rows, turned, size)
        with w.block(f"for z in range(block_keys * {padded(work.depth)})"):
            w.line("kn[z] = kn[z] * float32(scale)")

    def _strip(self, w: Writer) -> None:
        work, vector = self.work, vector_width("float32")
        w.line(f"padded = (n + {vector - 1}) // {vector} * {vector}")
        pack_rows(w, work.q, "q", "qs", "b * q_b + q0 * q_t + h * q_h", "count", work.depth, " * float32(scale)")
        pack_rows(w, self.others[3], "ct", "cs", "b * ct_b + q0 * ct_t + h * ct_h", "count", work.width)
        self._delta(w)
        by_keys(w, work, "qs", "kt", "sc", work.depth, "count")
        by_keys(w, work, "cs", "vt", "ds", work.width, "count")
        with w.block("for r in range(count)"):
            w.line("base = r * score_step")
            mask_row(w, work, "q0 + r", "base")
            self._row(w)
        self._tiles(w)

    def _delta(self, w: Writer) -> None:
        loaded = CpuHandler.from_memory("out[start + c * out_c]", self.others[0].dtype)
        with w.block("for r in range(count)"):
            w.line("start = b * out_b + (q0 + r) * out_t + h * out_h")
            w.line("acc = float32(0.0)")
            with w.block(f"for c in range({self.work.width})"):
                w.line(f"acc = reduce_add(acc, {loaded} * cs[r * {padded(self.work.width)} + c])")
            w.line("delta[r] = acc")

    def _row(self, w: Writer) -> None:
        """sc: weights (after dropout), ds: gradients of scores."""
        work = self.work
        w.line("at = (b * heads + h) * queries + q0 + r")
        w.line("high = top[at]")
        w.line("share = float32(1.0) / total[at]")
        w.line("mean = delta[r]")
        if work.key is not None:
            drop_row(w, work, "q0 + r")
        with w.block("for j in range(padded)"):
            w.line("x = sc[base + j]")
            value = exp_text(w, "(x - high)")
            w.line(f"weight = {value} * share")
            if work.key is not None:
                w.line("sc[base + j] = weight * keep[j]")
                w.line("slope = weight * (ds[base + j] * keep[j] - mean)")
            else:
                w.line("sc[base + j] = weight")
                w.line("slope = weight * (ds[base + j] - mean)")
            if work.hides:
                w.line(f"slope = select(x == float32({HIDDEN!r}), float32(0.0), slope)")
            w.line("ds[base + j] = slope")

    def _tiles(self, w: Writer) -> None:
        """The three products with gradients: dv, dk, dq."""
        work, vector = self.work, vector_width("float32")
        for name, source, rows, target, size in (
            ("BY_VALUE", "sc", "cs", "dv", work.width),
            ("BY_KEY", "ds", "qs", "dk", work.depth),
        ):
            (mr, nv), step = tile_shape(size), padded(size)
            with w.block(f"for j in range(0, n, {mr})"), w.block(f"for c in range(0, {step}, {nv * vector})"):
                w.line(f"{name}(shift({source}, j), sc_at, shift({rows}, c), sc_at, shift({target}, j * {step} + c),")
                w.line(f"       {rows}_at, n - j, {nv * vector}, 1, (count, score_step, {step}))")
        (mr, nv), step = tile_shape(work.depth), padded(work.depth)
        started = "1" if self.zeroed else "k0 - first"
        w.line(f"by_q_from = {self._query_at('q0')}")
        with w.block(f"for r in range(0, count, {mr})"), w.block(f"for c in range(0, {step}, {nv * vector})"):
            w.line("BY_QUERY(shift(ds, r * score_step), sc_at, shift(kn, c), sc_at,")
            w.line(f"         shift(by_q, by_q_from + r * heads * {work.depth} + c), by_q_at, count - r,")
            w.line(f"         {work.depth} - c, {started}, (n, 1, {step}))")

    def _store(self, w: Writer, target: str, source: str, size: int, view: View) -> None:
        """The finished gradients of a block of keys or values."""
        with w.block("for j in range(block_keys)"):
            w.line(f"to = ((b * keys + k0 + j) * own + g) * {size}")
            with w.block(f"for c in range({size})"):
                w.line(f"{target}[to + c] = {stored(f'{source}[j * {padded(size)} + c]', view.dtype)}")
