"""dot_general: which kernel computes a product, on which tiles, in how many parts.

Ordinary arithmetic units (`product.py`), tensor cores as all GPUs since Ampere have them (`product_tensor.py`), or
Hopper's own (`product_hopper.py`), which only the target sm_90 has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from graphkeras.codegen.cuda.language import SIZES
from graphkeras.codegen.cuda.product import (
    BUSY,
    PART,
    Operand,
    Problem,
    ProductKernel,
    problem_of,
    sum_kernel,
    tile_for,
)
from graphkeras.codegen.cuda.product_choice import hopper_choice, synchronous_cycles, turning_cycles
from graphkeras.codegen.cuda.product_copies import Sheet, Side, sheet_of
from graphkeras.codegen.cuda.product_hopper import HopperKernel, Sides
from graphkeras.codegen.cuda.product_tensor import Numbers, TensorKernel, numbers_of, tensor_tile_for
from graphkeras.codegen.cuda.target import HOPPER
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.lower import Lowering, lowers

LEAST = 64  # rows, columns and depth that are worth a warpgroup


@lowers("dot_general", target="cuda")
def lower_dot_general(ctx: Lowering, group: Group) -> None:
    p = problem_of(ctx, group.anchor)
    if not launch_hopper(ctx, group, p, plain_offer(ctx, p)):
        launch_product(ctx, group, p)


def launch_product(ctx: Lowering, group: Group, p: Problem) -> None:
    """One kernel, or two where k is cut into parts; on tensor cores where they take the numbers."""
    numbers = numbers_of(p)

    def kernel(parts: int) -> ProductKernel | TensorKernel:
        if numbers is not None:
            return TensorKernel(p, tensor_tile_for(p), group, numbers, parts)
        return ProductKernel(p, tile_for(p), group, parts)

    _launch(ctx, group, p, kernel, _parts(p, numbers))


def _parts(p: Problem, numbers: Numbers | None) -> int:
    blocks = (tile_for(p) if numbers is None else tensor_tile_for(p)).blocks(p)
    return max(1, min(2 * BUSY // max(blocks, 1), p.k // PART)) if blocks < BUSY else 1


Kernels = Callable[[int], ProductKernel | TensorKernel | HopperKernel]


def _launch(ctx: Lowering, group: Group, p: Problem, kernel: Kernels, parts: int) -> None:
    if parts == 1:
        ctx.launch(kernel(1).whole())
        return
    sums = ctx.new((parts, p.batches * p.m * p.n), p.dtype, "partial sums")
    ctx.launch(kernel(parts).partial(sums))
    ctx.launch(sum_kernel(group, p, sums))


# -- Hopper -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Offer:
    """A product that Hopper's copy engine could bring. taps: as of `Sides`.

    make: gives its sides, after copies of operands where they are needed. cycles: what those cost.
    """

    make: Callable[[], tuple[Side, Side]]
    taps: int = 0
    cycles: float = 0.0


def launch_hopper(ctx: Lowering, group: Group, p: Problem, offer: Offer | None) -> bool:
    """Compute a product on Hopper's tensor cores, if the target has them and that pays; whether it was done."""
    numbers = numbers_of(p)
    if offer is None or numbers is None or ctx.target.arch != HOPPER or min(p.m, p.n, p.k) < LEAST:
        return False
    best = hopper_choice(p, offer.taps)
    own, other = best.cycles + offer.cycles, synchronous_cycles(p, tensor_tile_for(p), _parts(p, numbers))
    tile = f"wgmma {best.tile.rows}x{best.tile.columns}" if own <= other else "mma.sync"
    ctx.decisions.append(f"product {tile}, modelled, {own:,.0f} cycles against {other:,.0f} of mma.sync")
    if own > other:
        return False
    sides = Sides(*offer.make(), numbers.name, offer.taps)
    _launch(ctx, group, p, lambda parts: HopperKernel(p, sides, best.tile, group, parts), best.parts)
    return True


def plain_offer(ctx: Lowering, p: Problem) -> Offer | None:
    """Of two strided matrices. Those that the copy engine cannot read are copied first: rows that are no multiples of
    16 bytes, and float32 whose neighbours are not neighbours along k.
    """
    makers: list[Callable[[], Side]] = []
    cycles = 0.0
    for operand, rows in ((p.a, p.m), (p.b, p.n)):
        assert isinstance(operand, Operand)
        sheet = sheet_of(operand, rows, p.k, p.batches)
        size = SIZES[operand.view.dtype]
        if sheet is None or (size == 4 and sheet.turned):
            cycles += turning_cycles((p.batches if operand.batch else 1) * rows * p.k, size)
            makers.append(partial(_in_order, ctx, operand, rows, p.k, p.batches))
        else:
            makers.append(partial(_as_it_is, sheet))
    return Offer(lambda: (makers[0](), makers[1]()), cycles=cycles)


def _as_it_is(side: Side) -> Side:
    return side


def _in_order(ctx: Lowering, operand: Operand, rows: int, deep: int, batches: int) -> Side:
    """A copy of an operand with neighbours along k, in rows of whole 16 bytes."""
    view, count = operand.view, batches if operand.batch else 1
    given = replace(view, shape=(count, rows, deep), strides=(operand.batch, operand.free, operand.depth))
    grain = 16 // SIZES[view.dtype]
    row = -(-deep // grain) * grain
    room = ctx.new((count, rows, row), view.dtype, "operand in order")
    copy = replace(room, shape=given.shape, strides=(rows * row, row, 1))
    ctx.copy(given, copy)
    return Sheet(copy, rows, deep, row, 1, (count, rows * row) if count > 1 else None)
