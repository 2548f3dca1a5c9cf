"""Sums of rows at computed places of an array of zeros, followed at once by what reads them.

This is the gradient of an embedding's table, and the update of the table is its epilogue: zeros, sums and update pass
over the table together, block by block, and the dense gradient is never in memory. The indices are sorted by block
first, each block's in their old order, so that the sums have the bits of a loop over all indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from graphkeras.codegen.cpu.params import HEADER, Params, comment, place_of, small_kernel
from graphkeras.codegen.cpu.pointwise import chunk_of
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node

BLOCK = 8192  # elements of a block of rows: they stay in the first-level cache


def lower_row_sums(ctx: Lowering, group: Group) -> None:
    """Two launches: indices by block, then all blocks."""
    node = group.anchor
    extent, inner = node.shape[0], math.prod(node.shape[1:])
    rows = max(1, BLOCK // max(inner, 1))
    blocks = -(-extent // rows)
    indices, updates = ctx.contiguous(node.inputs[1]), ctx.contiguous(node.inputs[2])
    begin = ctx.new((blocks + 2,), "int32", "first index of each block")
    order = ctx.new((math.prod(indices.shape),), "int32", "indices by block")
    ctx.launch(_sort_kernel(node, indices, begin, order, extent, rows, blocks))
    ctx.launch(_sum_kernel(group, (indices, updates, begin, order), extent, inner, rows, blocks))


def _sort_kernel(node: Node, indices: View, begin: View, order: View, extent: int, rows: int, blocks: int) -> Kernel:
    """A counting sort. `begin` has a word more at its start, which moves up by one block while places are given out."""
    count = math.prod(indices.shape)
    params = Params()
    params.source("indices", indices)
    params.target("begin", begin)
    params.target("order", order)
    params.ints(count=count, extent=extent, rows=rows, blocks=blocks)
    index = ["        " + line for line in place_of("place", "indices[i]", "drop")]
    body = [
        "for item in range(lo, hi):",
        "    for b in range(blocks + 2):",
        "        begin[b] = int32(0)",
        "    for i in range(count):",
        *index,
        "        if inside:",
        "            block = place // rows + 2",
        "            begin[block] = int32(begin[block] + 1)",
        "    for b in range(2, blocks + 2):",
        "        begin[b] = int32(begin[b] + begin[b - 1])",
        "    for i in range(count):",
        *index,
        "        if inside:",
        "            block = place // rows + 1",
        "            order[int64(begin[block])] = int32(i)",
        "            begin[block] = int32(begin[block] + 1)",
    ]
    head = "Indices by the block of rows in which they lie, in their order: a counting sort. One item is all."
    moved = 4.0 * (2 * blocks + count) + 2.0 * count * indices.itemsize
    return small_kernel("sort_by_block", head, params, body, 1, 1, node, moved)


def _sum_kernel(
    group: Group, operands: tuple[View, View, View, View], extent: int, inner: int, rows: int, blocks: int
) -> Kernel:
    node, body, dtype = group.anchor, group.epilogue, group.anchor.dtype
    updates = operands[1]
    params, w = Params(), Writer()
    for name, view in zip(("indices", "updates", "begin", "order"), operands, strict=True):
        params.source(name, view)
    params.scratch("sums", rows * inner, dtype)
    params.ints(extent=extent, inner=inner, rows=rows)
    comment(
        w,
        f"""Sums of rows of `updates` at places in an array of zeros ({dtype}), then the epilogue.
        One item is a block of rows; `order` has the indices of each block one after another.""",
    )
    w.line(HEADER)
    w.line()
    w.line()
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        body.begin(w, len(params.args))
        with w.block("for z in range(rows * inner)"):
            w.line(f"sums[z] = {dtype}(0)")
        with w.block("for item in range(lo, hi)"):
            with _updates_of_block(w):
                w.line("source = shift(updates, i * inner)")
                with w.block("for j in range(inner)"):
                    w.line("target[j] = target[j] + source[j]")
            w.line("at_first = item * rows * inner")
            with w.block("for z in range(min(rows, extent - item * rows) * inner)"):
                w.line("at = at_first + z")
                w.line("acc = sums[z]")
                body.emit(w, {node: "acc"}, ["at"])
            with _updates_of_block(w), w.block("for j in range(inner)"):
                w.line(f"target[j] = {dtype}(0)")
    moved = float(updates.itemsize * math.prod(updates.shape)) + body.traffic
    return Kernel(
        "row_sums",
        w.text(),
        (*params.args, *body.args),
        blocks,
        chunk_of(blocks, extent * inner),
        tuple(dict.fromkeys((*params.reads, *body.reads))),
        body.writes,
        flops=float(math.prod(updates.shape) + extent * inner * (len(group.nodes) - 1)),
        nbytes=moved,
        nodes=tuple(group.nodes),
        reason="sums of rows" + (" + epilogue" if len(group.nodes) > 1 else ""),
    )


@contextmanager
def _updates_of_block(w: Writer) -> Iterator[None]:
    """A loop over the indices of a block: number `i` and `target`, its row among the block's sums."""
    with w.block("for e in range(int64(begin[item]), int64(begin[item + 1]))"):
        w.line("i = int64(order[e])")
        for line in place_of("place", "indices[i]", "drop")[:-1]:  # those outside were not sorted in
            w.line(line)
        w.line("target = shift(sums, (place - item * rows) * inner)")
        yield
