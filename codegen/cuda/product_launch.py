"""dot_general: which kernel computes a product, on which tiles, in how many parts."""

from __future__ import annotations

from graphkeras.codegen.cuda.product import BUSY, PART, Problem, ProductKernel, problem_of, sum_kernel, tile_for
from graphkeras.codegen.cuda.product_tensor import TensorKernel, numbers_of, tensor_tile_for
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers


@lowers("dot_general", target="cuda")
def lower_dot_general(ctx: Lowering, group: Group) -> None:
    launch_product(ctx, group, problem_of(ctx, group.anchor))


def launch_product(ctx: Lowering, group: Group, p: Problem) -> None:
    """One kernel, or two where k is cut into parts; on tensor cores where they take the numbers."""
    numbers = numbers_of(p)

    def kernel(parts: int) -> ProductKernel | TensorKernel:
        if numbers is not None:
            return TensorKernel(p, tensor_tile_for(p), group, numbers, parts)
        return ProductKernel(p, tile_for(p), group, parts)

    blocks = (tile_for(p) if numbers is None else tensor_tile_for(p)).blocks(p)
    parts = max(1, min(2 * BUSY // max(blocks, 1), p.k // PART)) if blocks < BUSY else 1
    if parts == 1:
        ctx.launch(kernel(1).whole())
        return
    partial = ctx.new((parts, p.batches * p.m * p.n), p.dtype, "partial sums")
    ctx.launch(kernel(parts).partial(partial))
    ctx.launch(sum_kernel(group, p, partial))
