"""Reduction kernels, by rows and by columns.

Row kernels reduce the innermost axis: one work item is one row, which stays in the cache while several passes walk it.
What a later pass needs of an earlier one is loaded again from a result that was stored, kept in a scratch row
(transcendentals), or simply computed again. So softmax, layer norm and cross-entropy, forward or backward, are one
kernel.

Column kernels keep the innermost axis: accumulators are a vector of columns, and rows stream by.

Long reductions with few results are split into a fixed number of chunks (decided by the sizes, not by the threads)
whose partial results a second kernel combines in order.
"""

from __future__ import annotations

from graphkeras.codegen.cpu.nest import Levels, Nest
from graphkeras.codegen.cpu.reduce_columns import column_kernel
from graphkeras.codegen.cpu.reduce_rows import row_kernel
from graphkeras.codegen.cpu.reduce_split import lower_split
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers

SPLIT = 32768  # elements under one result from which a reduction is split


@lowers("row", "column")
def lower_reduce(ctx: Lowering, group: Group) -> None:
    group.reduces.sort(key=lambda n: n.id)
    body = ctx.body(group)
    nest = Nest(group, body)
    levels = Levels(group, body)
    parts = _parts(nest) if levels.count == 1 else 1
    if parts > 1:
        lower_split(ctx, nest, levels, parts)
    elif group.kind == "row":
        ctx.launch(row_kernel(nest, levels))
    else:
        ctx.launch(column_kernel(nest, levels))


def _parts(nest: Nest) -> int:
    """Chunks of the outermost reduced group; one where there are results enough to share, or little to do."""
    if not nest.reduced:
        return 1
    inner = nest.extents[-1] if not nest.is_reduced[-1] else 1
    outer = nest.results // max(inner, 1)
    work = nest.length * inner
    if outer >= 8 or work * outer < SPLIT:
        return 1
    return max(1, min(64, work // (SPLIT // 2), nest.extents[nest.reduced[0]]))
