"""Map kernels: fused pointwise work.

When all operands step through memory as one run, the kernel walks one flat index and takes a list of *segments*
(extent and operands each), so that launches of the same source, such as the updates of all weights, become a single
one. Its work items are slices of every segment, not of their sum: a thread works on the same part of an array in each
kernel, and finds it in its own caches (docs/adr/0014-owner-computes.md). Otherwise it walks a nest of loops: the
outermost one is the work item, the innermost one is meant for vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphkeras.codegen.body import Body
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Arg, Int, Kernel, View, contiguous_strides
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.views import collapse
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node

CHUNK = 16384  # elements of one work chunk: about 10 us of simple arithmetic
SLICES = 64  # of each segment
BLOCK = 256  # elements; slices begin at multiples of it, so that vector loops end alike for any number of threads
SQUARE = 8  # side of squares where operands lie across each other's grain: 2 x 8 lines a page apart fit the first cache
SMALL = 64  # innermost extents of features below this are literals in the source
HEADER = "from graphkeras.codegen.cpu.support import *"


def describe(nodes: tuple[Node, ...] | list[Node], title: str) -> list[str]:
    """Head comment of a kernel: what it computes. No names, no sizes, so that equal kernels share one source."""
    return [f'"""{title}', "", *(f"    {n.op}" for n in nodes), '"""']


def chunk_of(items: int, elements: int) -> int:
    """Work items per chunk: chunks of about CHUNK elements, at most 64 of them; decided by the problem alone."""
    if items <= 1 or elements <= CHUNK:
        return max(items, 1)
    chunks = min(64, max(1, elements // CHUNK), items)
    return -(-items // chunks)


@lowers("map")
def lower_map(ctx: Lowering, group: Group) -> None:
    body = ctx.body(group)
    ctx.launch(map_kernel(body, group.nodes, ctx.is_feature(extent_of(body, -1))))


def extent_of(body: Body, group: int) -> int:
    """How far one index of a body goes."""
    return math.prod(body.space[a] for a in body.groups[group])


def map_kernel(body: Body, nodes: list[Node], literal: bool = False) -> Kernel:
    """literal: the innermost extent is a matter of the model, not of the data, and may be printed where it is small."""
    extents = [extent_of(body, g) for g in range(len(body.groups))]
    strides = [body.strides_of(g) for g in range(len(extents))]
    linear, across = len(extents) == 1, index_across(list(zip(*strides, strict=True)))
    if linear:
        text, args, items = _linear(body, nodes, extents[0])
    elif across is not None:
        text, args, items = _squares(body, nodes, extents, across)
    else:
        text, args, items = _nest(body, nodes, extents, literal)
    size = math.prod(body.space)
    return Kernel(
        name="map_" + "_".join(dict.fromkeys(n.op for n in nodes[-3:])),
        source=text,
        args=tuple(args),
        extent=items,
        chunk=slices_of(size) if linear else chunk_of(items, size),
        reads=body.reads,
        writes=body.writes,
        flops=float(size * len(nodes)),
        nbytes=body.traffic,
        nodes=tuple(nodes),
        join=join_segments if linear else None,
        spread=linear,
    )


def slices_of(elements: int) -> int:
    """Slices per chunk: few elements are not worth another thread."""
    return SLICES if elements <= CHUNK else 1


def join_segments(first: Kernel, second: Kernel) -> Kernel:
    """One launch over the segments of both."""
    tables = [k.args[1:] for k in (first, second)]
    words = len(tables[0]) // _segments(first)
    rows = [arg for table in tables for arg in table]
    elements = sum(arg.value for arg in rows[::words] if isinstance(arg, Int))
    return first.joined(
        second,
        args=(Int(_segments(first) + _segments(second)), *rows),
        chunk=slices_of(elements),
    )


def _segments(kernel: Kernel) -> int:
    number = kernel.args[0]
    assert isinstance(number, Int)
    return number.value


def _linear(body: Body, nodes: list[Node], extent: int) -> tuple[str, list[Arg], int]:
    w = Writer()
    for line in describe(nodes, "map over one flat index, in segments"):
        w.line(line)
    w.line(HEADER)
    words = 1 + len(body.args)
    with w.block("def kernel(args, lo, hi)"), w.block("for s in range(int_arg(args, 0))"):
        w.line(f"table = args + 8 * (1 + s * {words})")
        w.line("size = int_arg(table, 0)")
        w.line(f"first = size * lo // {SLICES * BLOCK} * {BLOCK}")
        w.line(f"last = size * hi // {SLICES * BLOCK} * {BLOCK}")
        with w.block(f"if hi == {SLICES}"):
            w.line("last = size")
        body.begin(w, 1, table="table")
        with w.block("for i in range(first, last)"):
            body.emit(w, {}, ["i"])
    return w.text(), [Int(1), Int(extent), *body.args], SLICES


def _nest(body: Body, nodes: list[Node], extents: list[int], literal: bool) -> tuple[str, list[Arg], int]:
    """Loops over the groups; work items are those of the outermost two, as the outermost alone may have few."""
    w = Writer()
    for line in describe(nodes, f"map over {len(extents)} nested indices"):
        w.line(line)
    w.line(HEADER)
    flat = len(extents) > 2
    args: list[Arg] = [Int(n) for n in extents]
    index = [f"i{level}" for level in range(len(extents))]
    with w.block("def kernel(args, lo, hi)"):
        body.begin(w, len(extents))
        for level, n in enumerate(extents):
            last = level == len(extents) - 1
            w.line(f"n{level} = {n}" if last and literal and n < SMALL else f"n{level} = int_arg(args, {level})")
        if flat:
            with w.block("for i0 in range(lo // n1, (hi + n1 - 1) // n1)"):
                w.line("first = max(lo - i0 * n1, 0)")
                w.line("last = min(hi - i0 * n1, n1)")
                with w.block("for i1 in range(first, last)"):
                    _loops(w, body, index, 2)
        else:
            with w.block("for i0 in range(lo, hi)"):
                _loops(w, body, index, 1)
    return w.text(), [*args, *body.args], extents[0] * (extents[1] if flat else 1)


def index_across(operands: Sequence[Sequence[int]]) -> int | None:
    """The index along which an operand lies that strides along the last one: a transposition, as a rule.

    operands: the strides of each, by index.
    """
    across = (steps[:-1].index(1) for steps in operands if steps[-1] not in (0, 1) and 1 in steps[:-1])
    return min(across, default=None)


def _squares(body: Body, nodes: list[Node], extents: list[int], across: int) -> tuple[str, list[Arg], int]:
    """Loops with the last index and the one across it in squares: each line of memory is used while it is near."""
    w, index = Writer(), [f"i{g}" for g in range(len(extents))]
    for line in describe(nodes, f"map over {len(extents)} nested indices, in squares over i{across} and the last one"):
        w.line(line)
    w.line(HEADER)
    with w.block("def kernel(args, lo, hi)"):
        body.begin(w, len(extents) + 1)
        for g in range(len(extents)):
            w.line(f"n{g} = int_arg(args, {g})")
        w.line(f"strip_size = int_arg(args, {len(extents)})")
        print_squares(w, len(extents), across, lambda: body.emit(w, {}, index))
    strip = strip_of(SQUARE, extents[-1])
    return w.text(), [*(Int(n) for n in extents), Int(strip), *body.args], squares_of(extents, across, strip)


def print_squares(
    w: Writer, levels: int, across: int, inner: Callable[[], object], turn: str = "", side: int = SQUARE
) -> None:
    """Loops over i0, i1 ... below n0, n1 ...; `inner` prints what is done. Items: other indices, and strips of one.

    turn: what does a whole square at once, at i{across} and i{last}.
    """
    last = levels - 1
    others = [g for g in range(last) if g != across]
    w.line(f"strips = (n{across} + strip_size - 1) // strip_size")
    with w.block("for item in range(lo, hi)"):
        w.line("rest = item // strips")
        w.line("strip = (item - rest * strips) * strip_size")
        w.line(f"strip_end = min(strip + strip_size, n{across})")
        for g in reversed(others[1:]):
            w.line(f"i{g} = rest % n{g}")
            w.line(f"rest = rest // n{g}")
        if others:
            w.line(f"i{others[0]} = rest")
        with w.block(f"for first in range(0, n{last}, {side})"):
            w.line(f"stop = min(first + {side}, n{last})")
            w.line("rest_from = strip")
            if turn:
                with w.block(f"if stop - first == {side}"):
                    w.line(f"rest_from = strip_end - (strip_end - strip) % {side}")
                    w.line(f"i{last} = first")
                    with w.block(f"for i{across} in range(strip, rest_from, {side})"):
                        w.line(turn)
            with (
                w.block(f"for i{across} in range(rest_from, strip_end)"),
                w.block(f"for i{last} in range(first, stop)"),
            ):
                inner()


def strip_of(side: int, last: int) -> int:
    """Elements of a work item along the index across: a line or two of memory, more where the other index is short."""
    return 16 * side if last < side else side if side == SQUARE else 2 * side


def squares_of(extents: list[int], across: int, strip: int) -> int:
    """Work items of `print_squares`."""
    return math.prod(extents[:across] + extents[across + 1 : -1]) * -(-extents[across] // strip)


def _loops(w: Writer, body: Body, index: list[str], level: int) -> None:
    if level == len(index):
        body.emit(w, {}, index)
        return
    with w.block(f"for {index[level]} in range(n{level})"):
        _loops(w, body, index, level + 1)


def copy_kernel(source: View, target: View) -> Kernel:
    """Copy between two layouts of one shape."""
    w = Writer()
    shape = source.shape
    strides = contiguous_strides(shape) if target.is_contiguous else target.strides
    groups = collapse(shape, [source.strides, strides]) or [[]]
    extents = [math.prod(shape[a] for a in axes) for axes in groups]
    inner = min(range(len(groups)), key=lambda g: (abs(strides[groups[g][-1]]) if groups[g] else 0, -extents[g]))
    order = [g for g in range(len(groups)) if g != inner] + [inner]
    steps = [[v[groups[g][-1]] if groups[g] else 0 for g in order] for v in (source.strides, strides)]
    across, strip = index_across(steps), 0
    turns = across is not None and steps[1][-1] == 1 and source.dtype in ("float32", "float64")
    side = vector_width(source.dtype) if turns else SQUARE
    squares = "" if across is None else f", in squares over i{across} and the last one"
    w.line(f'"""copy between two layouts, {len(groups)} nested indices{squares}"""')
    w.line(HEADER)
    if turns:
        w.line("from graphkeras.codegen.cpu.transpose import transpose")
        w.line()
        w.line(f'TURN = transpose("{source.dtype}")')
        w.line()
        w.line()
    args: list[Arg] = []
    with w.block("def kernel(args, lo, hi)"):
        for name, view in (("x", source), ("y", target)):
            args.append(_pointer(view))
            w.line(f"{name} = ptr_{view.dtype}(args, {len(args) - 1})")
        offsets = []
        for name, own in zip("xy", steps, strict=True):
            terms = []
            for level, step in enumerate(own):
                if step == 1:
                    terms.append(f"i{level}")
                elif step:
                    args.append(Int(step))
                    w.line(f"{name}_s{level} = int_arg(args, {len(args) - 1})")
                    terms.append(f"i{level} * {name}_s{level}")
            offsets.append(" + ".join(terms) or "0")
        for level, g in enumerate(order):
            args.append(Int(extents[g]))
            w.line(f"n{level} = int_arg(args, {len(args) - 1})")
        statement = f"y[{offsets[1]}] = x[{offsets[0]}]"
        if across is None:
            with w.block("for i0 in range(lo, hi)"):
                _copy_loops(w, len(order), 1, statement)
        else:
            last, strip = len(order) - 1, strip_of(side, extents[order[-1]])
            args.append(Int(strip))
            w.line(f"strip_size = int_arg(args, {len(args) - 1})")
            turn = f"TURN(shift(x, {offsets[0]}), x_s{last}, shift(y, {offsets[1]}), y_s{across})" if turns else ""
            print_squares(w, len(order), across, lambda: w.line(statement), turn, side)
    size = math.prod(shape)
    items = extents[order[0]] if across is None else squares_of([extents[g] for g in order], across, strip)
    moved = 2.0 * size * source.itemsize
    reads, writes = (source.buffer,), (target.buffer,)
    return Kernel("copy", w.text(), tuple(args), items, chunk_of(items, size), reads, writes, 0.0, moved)


def _copy_loops(w: Writer, levels: int, level: int, statement: str) -> None:
    if level == levels:
        w.line(statement)
        return
    with w.block(f"for i{level} in range(n{level})"):
        _copy_loops(w, levels, level + 1, statement)


def _pointer(view: View) -> Arg:
    from graphkeras.codegen.kernel import Ptr

    return Ptr(view.buffer, view.offset * view.itemsize)
