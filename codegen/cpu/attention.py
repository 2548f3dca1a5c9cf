"""attention: softmax(q k^T scale + masks) v without the matrix of scores (Dao et al., "FlashAttention", 2022).

An item is a chunk of the queries of one head. It walks the keys in blocks, packs a block of keys and values into
private memory, and takes the queries in strips: a tile gives the scores of a strip against the block, exp of the scores
minus the row's largest so far replaces them, and a second tile adds their product with the values to the strip's sums,
which are first brought down where a larger score has turned up. What stays is each row's largest score and its sum.
"""

from __future__ import annotations

from graphkeras.codegen.cpu.attention_parts import (
    STRIP,
    Work,
    by_keys,
    drop_row,
    exp_text,
    first_block,
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
)
from graphkeras.codegen.cpu.choices import Candidate, pick
from graphkeras.codegen.cpu.params import Params, items_per_chunk
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.ops.attention import HIDDEN

SHIFT = "select(high == float32(-inf), float32(0.0), high)"  # a row of -inf alone gives weights of 0, not NaN
MOST_ROWS = 240  # of a chunk: keys are packed once per chunk, and its sums stay in the cache


@lowers("attention", refuses=refusal)
def lower_attention(ctx: Lowering, group: Group) -> None:
    work = Work.of(ctx, group)
    results = [ctx.result(group.anchor, i, group.items) for i in range(3)]

    def launch(c: Candidate) -> None:
        ctx.launch(_Forward(c.value, *results).kernel(group))

    if work.q.shape[0] and work.queries and work.q.shape[2]:
        launch(pick(ctx, "attention blocks", work.sizes(), work.key_blocks(), launch))


class _Forward:
    """Prints the kernel."""

    def __init__(self, work: Work, out: View, top: View, total: View) -> None:
        self.work, self.out, self.top, self.total = work, out, top, total
        lines = work.q.shape[0] * work.q.shape[2]
        chunks = -(-work.queries // MOST_ROWS)
        while lines * chunks < 8 and work.queries > chunks * STRIP:
            chunks *= 2
        self.rows = -(-work.queries // chunks // STRIP) * STRIP if chunks > 1 else work.queries
        self.chunks = -(-work.queries // self.rows)
        self.extent = lines * self.chunks

    def kernel(self, group: Group) -> Kernel:
        work, params, w = self.work, self._params(), Writer()
        mr, nv = tile_shape(work.width)
        work.head(w, "Attention: scores, softmax and weighted values, strip by strip.",
                  [*key_tiles(work), ("VALUES", mr, nv, False)])  # fmt: skip
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            self._tables(w)
            with w.block("for item in range(lo, hi)"):
                self._item(w)
        flops = work.flops * (work.depth + work.width)
        return Kernel(
            f"attention_{work.queries}x{work.keys}x{work.depth}",
            w.text(),
            tuple(params.args),
            self.extent,
            items_per_chunk(self.extent, flops),
            tuple(dict.fromkeys(params.reads)),
            tuple(dict.fromkeys(params.writes)),
            flops=flops,
            nbytes=work.nbytes + group.anchor.type[0].nbytes,
            nodes=tuple(group.nodes),
            reason="scores, softmax and weighted values in tiles",
        )

    def _params(self) -> Params:
        work, params = self.work, Params()
        work.declare(params)
        params.target("out", self.out)
        params.target("top", self.top)
        params.target("total", self.total)
        params.ints(chunks=self.chunks, chunk_rows=self.rows)
        depth, width, vector = padded(work.depth), padded(work.width), vector_width("float32")
        params.scratch("qs", STRIP * depth, "float32")
        params.scratch("kn", work.key_block * depth, "float32")
        params.scratch("kt", (work.key_block + vector) * depth, "float32")
        params.scratch("vn", work.key_block * width, "float32")
        params.scratch("sc", STRIP * work.score_step, "float32")
        params.scratch("acc", (self.rows + STRIP) * width, "float32")
        params.scratch("most", self.rows, "float32")
        params.scratch("sums", self.rows, "float32")
        if work.key is not None:
            params.scratch("keep", work.key_block + vector, "float32")
        for name in ("qs_at", "sc_at", "acc_at"):
            params.scratch(name, STRIP, "int64")
        return params

    def _tables(self, w: Writer) -> None:
        if self.work.key is not None:
            load_key(w)
        with w.block(f"for r in range({STRIP})"):
            w.line(f"qs_at[r] = r * {padded(self.work.depth)}")
            w.line(f"acc_at[r] = r * {padded(self.work.width)}")
            w.line("sc_at[r] = r * score_step")

    def _item(self, w: Writer) -> None:
        work = self.work
        w.line("t0 = item % chunks * chunk_rows")
        w.line("h = item // chunks % heads")
        w.line("b = item // chunks // heads")
        w.line("g = h // (heads // own)")
        w.line("rows = min(chunk_rows, queries - t0)")
        again = work.skips and work.may_see_nothing
        if work.skips:
            w.line("skip = True")
        if again:
            w.line("again = True")
        with w.maybe_block("while again" if again else None):
            if again:
                w.line("again = False")
            self._pass(w)
            if again:  # a query that sees nothing averages over all keys: none may be left out
                with w.block("for r in range(rows)"), w.block(f"if skip and most[r] <= float32({HIDDEN!r})"):
                    w.line("again = True")
                with w.block("if again"):
                    w.line("skip = False")
        self._finish(w)

    def _pass(self, w: Writer) -> None:
        """All keys for one chunk of queries."""
        work = self.work
        with w.block("for r in range(rows)"):
            w.line("most[r] = float32(-inf)")
            w.line("sums[r] = float32(0.0)")
        with w.block("for k0 in range(0, keys, key_block)"):
            limits(w, work, "t0", "(t0 + rows - 1)")
            with w.maybe_block("if n > 0" if work.skips else None):
                self._pack_keys(w)
                with w.block(f"for q0 in range(t0, t0 + rows, {STRIP})"):
                    w.line(f"count = min({STRIP}, t0 + rows - q0)")
                    limits(w, work, "q0", "(q0 + count - 1)")
                    w.line(f"started = k0 - {first_block(work, 'q0')}")
                    with w.maybe_block("if n > 0" if work.skips else None):
                        self._strip(w)

    def _pack_keys(self, w: Writer) -> None:
        work, vector = self.work, vector_width("float32")
        w.line(f"padded = (n + {vector - 1}) // {vector} * {vector}")
        pack_rows(w, work.k, "k", "kn", "b * k_b + k0 * k_t + g * k_h", "n", work.depth)
        with w.block(f"for z in range(n * {padded(work.depth)}, padded * {padded(work.depth)})"):
            w.line("kn[z] = float32(0.0)")
        turn_rows(w, work, "kn", "kt", work.depth)
        pack_rows(w, work.v, "v", "vn", "b * v_b + k0 * v_t + g * v_h", "n", work.width)

    def _strip(self, w: Writer) -> None:
        work, vector = self.work, vector_width("float32")
        w.line(f"padded = (n + {vector - 1}) // {vector} * {vector}")
        pack_rows(w, work.q, "q", "qs", "b * q_b + q0 * q_t + h * q_h", "count", work.depth, " * float32(scale)")
        by_keys(w, work, "qs", "kt", "sc", work.depth, "count")
        self._largest(w)
        self._weights(w)
        mr, nv = tile_shape(work.width)
        step = padded(work.width)
        with w.block(f"for r in range(0, count, {mr})"), w.block(f"for c in range(0, {step}, {nv * vector})"):
            w.line("VALUES(shift(sc, r * score_step), sc_at, shift(vn, c), sc_at,")
            w.line(f"       shift(acc, (q0 - t0 + r) * {step} + c), acc_at, count - r, {nv * vector}, started,")
            w.line(f"       (n, 1, {step}))")

    def _largest(self, w: Writer) -> None:
        """The largest score of each row so far. A loop of its own: rows wait for their maximum side by side."""
        vector, step = vector_width("float32"), padded(self.work.width)
        with w.block("for r in range(count)"):
            w.line("base = r * score_step")
            mask_row(w, self.work, "q0 + r", "base")
            w.line("old = most[q0 - t0 + r]")
            w.line(f"high = LARGEST(shift(sc, base), padded // {vector}, old)")
            w.line("most[q0 - t0 + r] = high")
            with w.block("if started != 0"):  # what was summed before is brought down to the new largest
                value = exp_text(w, f"(old - {SHIFT})")
                w.line(f"sums[q0 - t0 + r] = sums[q0 - t0 + r] * {value}")
                with w.block(f"for c in range({step})"):
                    w.line(f"acc[(q0 - t0 + r) * {step} + c] = acc[(q0 - t0 + r) * {step} + c] * {value}")

    def _weights(self, w: Writer) -> None:
        """exp(score - largest so far), and its sum."""
        with w.block("for r in range(count)"):
            w.line("base = r * score_step")
            w.line("high = most[q0 - t0 + r]")
            w.line(f"shifted = {SHIFT}")
            w.line("added = float32(0.0)")
            with w.block("for j in range(padded)"):
                value = exp_text(w, "(sc[base + j] - shifted)")
                w.line(f"sc[base + j] = {value}")
                w.line(f"added = reduce_add(added, {value})")
            w.line("sums[q0 - t0 + r] = sums[q0 - t0 + r] + added")
            if self.work.key is not None:
                drop_row(w, self.work, "q0 + r")
                with w.block("for j in range(padded)"):
                    w.line("sc[base + j] = sc[base + j] * keep[j]")

    def _finish(self, w: Writer) -> None:
        step = padded(self.work.width)
        with w.block("for r in range(rows)"):
            w.line("whole = sums[r] + (most[r] - most[r])")  # NaN where a score was NaN or infinite
            w.line("share = float32(1.0) / whole")
            w.line("top[(b * heads + h) * queries + t0 + r] = most[r]")
            w.line("total[(b * heads + h) * queries + t0 + r] = whole")
            w.line(f"o = ((b * queries + t0 + r) * heads + h) * {self.work.width}")
            with w.block(f"for c in range({self.work.width})"):
                value = stored(f"acc[r * {step} + c] * share", self.out.dtype)
                w.line(f"out[o + c] = {value}")
