"""Reductions on the GPU: by rows, by columns, and in two launches where one would leave the machine idle.

Rows are reduced by 1 to 32 neighbouring threads, or by a whole block where they are long. Columns are reduced by blocks
of threads side by side, each thread down its columns, then across through shared memory. Few long reductions are cut
into parts, a number that the sizes decide; a second kernel combines the parts in order. No atomics: the same bits in
every run.
"""

from __future__ import annotations

from graphkeras.codegen.cpu.nest import Levels, Nest
from graphkeras.codegen.cuda.body import CudaBody
from graphkeras.codegen.cuda.reduce_columns import lower_columns
from graphkeras.codegen.cuda.reduce_rows import lower_rows
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers


@lowers("row", "column", target="cuda")
def lower_reduce(ctx: Lowering, group: Group) -> None:
    group.reduces.sort(key=lambda n: n.id)
    body = ctx.body(group)
    assert isinstance(body, CudaBody)
    nest = Nest(group, body)
    levels = Levels(group, body)
    (lower_rows if group.kind == "row" else lower_columns)(ctx, nest, levels, body)
