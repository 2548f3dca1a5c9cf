"""Reduction kernels, by rows and by columns.

Row kernels reduce the innermost axis: one work item is one row, which stays in the cache while several passes walk it.
What a later pass needs of an earlier one is loaded again from a result that was stored, kept in a scratch row
(transcendentals), or simply computed again. So softmax, layer norm and cross-entropy, forward or backward, are one
kernel.

Column kernels keep the innermost axis: accumulators are a vector of columns, and rows stream by.

Long reductions with few results are split into a fixed number of chunks (decided by the sizes, not by the threads)
whose partial results a second launch of the same kernel combines in order.
"""

from __future__ import annotations

from graphkeras.codegen.cpu.nest import Levels, Nest
from graphkeras.codegen.cpu.pointwise import extent_of
from graphkeras.codegen.cpu.reduce_columns import column_kernel
from graphkeras.codegen.cpu.reduce_rows import pass_kernel, row_kernel
from graphkeras.codegen.cpu.reduce_split import Cut, partial_sizes, parts_of
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers


@lowers("row", "column")
def lower_reduce(ctx: Lowering, group: Group) -> None:
    group.reduces.sort(key=lambda n: n.id)
    body = ctx.body(group)
    nest = Nest(group, body, ctx.is_feature(extent_of(body, -1)))
    levels = Levels(group, body)
    if group.kind == "row" and (levels.count > 1 or not nest.reduced):
        ctx.launch(row_kernel(nest, levels))
        return
    kernel = pass_kernel if group.kind == "row" else column_kernel
    parts = parts_of(nest)
    if parts == 1:
        ctx.launch(kernel(levels, Cut(nest)))
        return
    partials = [ctx.temp(size, "partial") for size in partial_sizes(nest, parts)]
    ctx.launch(kernel(levels, Cut(nest, parts=parts, partials=partials)))
    ctx.launch(kernel(levels, Cut(nest, joined=parts, partials=partials)))
