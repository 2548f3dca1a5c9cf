"""Accumulators between two launches, and the kernel that combines them in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from graphkeras.codegen.body import Body
from graphkeras.codegen.cpu.nest import Levels, Nest
from graphkeras.codegen.cuda.fold import Folds
from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.cuda.source import WARP, Source, decompose
from graphkeras.codegen.kernel import Kernel, View, contiguous_strides
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.views import collapse

Partial = tuple[int, int, View]
"""Reduction, field, and where its partial values stand: [outer, part, column]."""


def partials_of(ctx: Lowering, nest: Nest, parts: int, results: int) -> list[Partial]:
    found = []
    for k in range(len(nest.group.reduces)):
        for f, (_, dtype) in enumerate(nest.fields(k)):
            found.append((k, f, ctx.new((results * parts,), dtype, "partial")))
    return found


def combine_kernel(
    ctx: Lowering, nest: Nest, levels: Levels, parts: int, partials: Sequence[Partial], columns: int
) -> Kernel:
    """A thread for each result, or a warp where the parts of one result stand side by side; then what follows."""
    group = nest.group
    body = row_body(ctx, nest, levels)
    lanes = WARP if columns == 1 and parts > 8 else 1
    source = Source(f"combine the parts, {lanes} threads for each result", group.nodes, 128)
    source.reads = [*body.reads, *(view.buffer for _, _, view in partials)]
    source.writes = list(body.writes)
    w = source.w
    folds = Folds(source, nest)
    results, count, width = source.word(nest.results), source.word(parts), source.word(columns)
    extents = [math.prod(body.space[a] for a in axes) for axes in body.groups]
    names, dividers = [source.word(n) for n in extents], [source.word(divisor(n)) for n in extents]
    places = [source.source(view) for _, _, view in partials]
    body.begin(w, len(source.args))
    source.args += body.args
    w.line(f"item = (block_index() * 128 + thread_index()) // {lanes}")
    w.line(f"lane = thread_index() & {lanes - 1}")
    w.line(f"live = item < {results}")
    w.line(f"item = select(live, item, {results} - 1)")
    w.line(f"whole = item // {width}")
    w.line(f"first = whole * {count} * {width} + item - whole * {width}")
    ks = range(len(group.reduces))
    for k in ks:
        folds.start(w, k)
    with w.block(f"for part in range(lane, {count}, {lanes})"):
        for k in ks:
            own = [(p, view) for p, (of, _, view) in zip(places, partials, strict=True) if of == k]
            folds.merge(w, k, [f"fetch_{view.dtype}({p}, first + part * {width})" for p, view in own])
    for k in ks:
        folds.across_lanes(w, k, lanes)
    values = folds.finish(w, list(ks))
    index = [f"i{g}" for g in range(len(extents))]
    decompose(w, "item", names, dividers, index)
    done = body.emit(w, values, index, only=levels.row_nodes(0), store=[])
    with w.block("if live & (lane == 0)"):
        body.emit(w, done, index, only=(), store=levels.stores(0, "row"))
    blocks = -(-nest.results * lanes // 128)
    moved = sum(view.itemsize * math.prod(view.shape) for _, _, view in partials)
    return source.kernel(
        "combine_" + group.reduces[-1].op, blocks, flops=float(nest.results * parts), nbytes=float(moved)
    )


def row_body(ctx: Lowering, nest: Nest, levels: Levels) -> Body:
    """The row-level nodes alone, over the kept axes."""
    group = nest.group
    kept = [a for a in range(len(group.space)) if a not in group.axes]
    space = tuple(group.space[a] for a in kept)

    def narrow(view: View) -> View:
        return replace(view, shape=space, strides=tuple(view.strides[a] for a in kept))

    nodes = levels.row_nodes(0)
    loads, aliases = ctx.operands(group)
    wanted = {i for n in nodes for i in n.inputs}
    read = {n: narrow(v) for n, v in loads.items() if n in wanted}
    stores = {n: narrow(ctx.stored_view(group, n)) for n in levels.stores(0, "row")}
    operands = [v.strides for v in (*read.values(), *stores.values())] + [contiguous_strides(space)]
    return ctx.target.body(nodes, read, stores, space, collapse(space, operands) or [[]], aliases)
