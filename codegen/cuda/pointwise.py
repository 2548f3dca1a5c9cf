"""Map kernels: fused pointwise work and copies between layouts, one thread for up to eight neighbouring elements.

Where all operands step through memory as one run, threads walk one flat index, and what is left of a vector at the end
is done element by element. Else the flat index is split into the nest's indices, with the innermost extent a multiple
of the vector. Updates of state take their arguments from a table, in *segments*, so that the updates of all weights
become one launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphkeras.codegen.cuda.body import CudaBody, Element
from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.cuda.source import THREADS, Source, decompose
from graphkeras.codegen.cuda.transpose import transpose_kernel
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Int, Kernel, View, contiguous_strides
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.views import collapse
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType

SMALL = 2**31
"""Spaces below this are split with multiplications."""


@lowers("map", target="cuda")
def lower_map(ctx: Lowering, group: Group) -> None:
    body = ctx.body(group)
    assert isinstance(body, CudaBody)
    update = group.nodes[-1].origin.phase == "update"
    ctx.launch(map_kernel(body, group.nodes, update))


def map_kernel(body: CudaBody, nodes: Sequence[Node], segmented: bool = False) -> Kernel:
    """segmented: take arguments from a table, so that launches can be joined (flat index only)."""
    extents = [math.prod(body.space[a] for a in axes) for axes in body.groups]
    inner = len(extents) - 1
    linear = len(extents) == 1
    width = body.width(inner, extents, linear)
    size = math.prod(body.space)
    source = Source(
        f"map over {'one flat index' if linear else f'{len(extents)} indices'}", nodes, table=segmented and linear
    )
    source.reads, source.writes = list(body.reads), list(body.writes)
    element = body.element(source.functions, "element", None, (), list(body.stored_nodes))
    blocks = -(-size // (THREADS * width))
    if segmented and linear:
        _segments(source, body, element, width, size, blocks)
    elif linear:
        count = source.word(size)
        body.begin(source.w, 1)
        source.args += body.args
        source.w.line(f"first = (block_index() * {THREADS} + thread_index()) * {width}")
        _flat(source.w, body, element, width, count)
    else:
        _nest(source, body, element, width, extents)
    name = "map_" + "_".join(dict.fromkeys(n.op for n in nodes[-3:])) if nodes else "copy"
    return source.kernel(
        name,
        blocks,
        flops=float(size * len(nodes)),
        nbytes=body.traffic,
        join=join_segments if segmented and linear else None,
    )


def join_segments(first: Kernel, second: Kernel) -> Kernel:
    """One launch over the blocks of both: ends of the second's segments move up."""
    counts = [k.args[0].value for k in (first, second) if isinstance(k.args[0], Int)]
    words = (len(first.args) - 1) // counts[0]
    rows = list(second.args[1:])
    for k in range(0, len(rows), words):
        end = rows[k]
        assert isinstance(end, Int)
        rows[k] = Int(end.value + first.extent)
    return first.joined(
        second,
        args=(Int(sum(counts)), *first.args[1:], *rows),
        extent=first.extent + second.extent,
    )


def _segments(source: Source, body: CudaBody, element: Element, width: int, size: int, blocks: int) -> None:
    """args: number of segments, then for each: end (in blocks), extent, operands. Each block looks for its segment."""
    w = source.w
    words = 2 + len(body.args)
    source.args += [Int(1), Int(blocks), Int(size), *body.args]
    w.line("low = 0")
    w.line("high = int_arg(a0, 0) - 1")
    with w.block("while low < high"):
        w.line("middle = (low + high) >> 1")
        with w.block(f"if int_arg(a0, 1 + middle * {words}) > block_index()"):
            w.line("high = middle")
        with w.block("else"):
            w.line("low = middle + 1")
    w.line(f"table = a0 + 8 * (1 + low * {words})")
    w.line("start = 0")
    with w.block("if low > 0"):
        w.line(f"start = int_arg(table - {8 * words}, 0)")
    w.line("count = int_arg(table, 1)")
    body.begin(w, 2, table="table")
    w.line(f"first = ((block_index() - start) * {THREADS} + thread_index()) * {width}")
    _flat(w, body, element, width, "count")


def _flat(w: Writer, body: CudaBody, element: Element, width: int, count: str) -> None:
    """`width` elements from `first`, or fewer at the end."""
    with w.block(f"if first + {width} <= {count}"):
        _vector(w, body, element, ["first"], width)
    if width > 1:
        with w.block("else"), w.block(f"for i in range(first, {count})"):
            _vector(w, body, element, ["i"], 1)


def _nest(source: Source, body: CudaBody, element: Element, width: int, extents: Sequence[int]) -> None:
    w = source.w
    small = math.prod(extents) < SMALL
    total = source.word(math.prod(extents) // width)
    counts = [*extents[:-1], extents[-1] // width]
    names = [source.word(n) if k else "" for k, n in enumerate(counts)]
    dividers = [source.word(divisor(n)) if k and small else "" for k, n in enumerate(counts)]
    body.begin(w, len(source.args))
    source.args += body.args
    w.line(f"item = block_index() * {THREADS} + thread_index()")
    index = [f"i{k}" for k in range(len(extents))]
    with w.block(f"if item < {total}"):
        parts = [*index[:-1], "vector"] if width > 1 else index
        decompose(w, "item", names, dividers, parts)
        if width > 1:
            w.line(f"{index[-1]} = vector * {width}")
        _vector(w, body, element, index, width)


def _vector(w: Writer, body: CudaBody, element: Element, index: Sequence[str], width: int) -> None:
    """Load `width` neighbours along the last index, call the element function for each, store."""
    inner = len(index) - 1
    loaded = {n: body.load_neighbours(w, n, index, inner, width) for n in body.loads_of(element)}
    results = []
    for k in range(width):
        results.append(w.name("e"))
        w.line(f"{results[-1]} = {element.call({n: names[k] for n, names in loaded.items()})}")
    for position, node in enumerate(element.results):
        body.store_neighbours(w, node, [f"{r}[{position}]" for r in results], index, inner)


# -- copies ---------------------------------------------------------------------------------------------
_BITS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}


def copy_kernel(source: View, target: View) -> Kernel:
    """Copy between two layouts of one shape, bit by bit."""
    kind = _BITS[source.itemsize]
    strides = contiguous_strides(source.shape) if target.is_contiguous else target.strides
    x = View(source.buffer, kind, source.shape, source.strides, source.offset)
    y = View(target.buffer, kind, source.shape, strides, target.offset)
    tiles = transpose_kernel(x, y)
    if tiles is not None:
        return tiles
    value = Node("copy", (), {}, TensorType(source.shape, kind), 0)
    body = CudaBody((), {value: x}, {value: y}, source.shape, collapse(source.shape, [x.strides, y.strides]) or [[]])
    return map_kernel(body, ())
