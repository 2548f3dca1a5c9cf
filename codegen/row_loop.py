"""Loops by rows: a scan becomes one kernel whose work items run all iterations for a few rows of the batch.

Where the rows of the body do not depend on each other (`ir/rows.py`), the body is lowered for a few rows, and threads
run it through all iterations without meeting. Where they do, or where there is too little work to share, and the body
has no kernel that threads would share, the whole batch is one item. All other scans stay loops of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphkeras.codegen import flags
from graphkeras.codegen.cpu.loop_kernel import Share, loop_kernel
from graphkeras.codegen.cpu.params import SERIAL
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.kernel import Buffer, Call, Instruction, Loop, Step, View, Where
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.scans import Scan, is_plain, lower_body, split_off
from graphkeras.codegen.schedule import is_parallel
from graphkeras.codegen.work import work_of
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.rows import row_axes, with_rows

ITEMS = 4  # pieces that a batch is cut into, if they keep LEAST rows
LEAST, MOST = 8, 64  # rows of an item: LEAST use the registers well, MOST still fit the cache
ROWS_PER_CACHE = 16  # rows that make up for reading as many weights as fit the second-level cache
ENOUGH = 4 * SERIAL  # operations of the whole loop below which threads are not worth waking


def lower_by_rows(ctx: Lowering, scan: Scan) -> bool:
    """Lower the scan to one kernel over shares of the rows; False (and nothing emitted) where that is impossible."""
    if "row_loops" in flags.PASSES.value:
        return False
    turned, sources = _turned(scan)
    cut = _cut(turned)
    if cut is None:
        return False
    mark = len(ctx.instructions)
    for k, source in sources.items():
        turned.inputs[k] = ctx.copy(source)
    if _lower_cut(ctx, turned, cut):
        return True
    del ctx.instructions[mark:]
    return False


def lower_whole(ctx: Lowering, scan: Scan) -> None:
    """One kernel of one item if no kernel of the body is shared by threads, else a loop of the plan."""
    if ctx.target.name == "cpu":  # the same body as in a loop by rows: the batch chooses between the two
        scan, sources = _turned(scan)
        for k, source in sources.items():
            scan.inputs[k] = ctx.copy(source)
    before, rest = split_off(lower_body(ctx, scan.body, scan.inputs, scan.places), *_buffers(scan))
    ctx.instructions += before
    plan_only = "row_loops" in flags.PASSES.value
    if ctx.target.name != "cpu" and not plan_only:
        ctx.instructions += ctx.target.loop(ctx, scan.length, rest, scan.steps)
    elif plan_only or not is_plain(rest) or any(is_parallel(i) for i in rest):
        ctx.instructions.append(Loop(scan.length, rest, scan.steps))
    else:
        ctx.launch(loop_kernel(scan.length, 1, [Share(rest, {})], scan.steps, _known(scan, before), 1))


# -- weights in the order in which products read them ---------------------------------------------------
def _turned(scan: Scan) -> tuple[Scan, dict[int, View]]:
    """The scan with weights transposed where products read them across their grain, before the loop instead of in it.

    Also the new inputs that are to be filled: position -> the view to copy.
    """
    first, last = scan.carries, scan.carries + scan.consts
    weights = {n: scan.inputs[k] for k, n in enumerate(scan.body.inputs) if first <= k < last}
    found = {n: n.inputs[1] for n in scan.body.nodes if _across(n, weights)}
    if not found:
        return scan, {}
    b = Builder()
    table = {n: b.input(n.type, n.attrs["name"]) for n in scan.body.inputs}
    made = {w: b.input(w.type.with_shape(w.shape[::-1]), "turned") for w in dict.fromkeys(found.values())}
    for node in scan.body.nodes:
        if node in found:
            contract = (node.attrs["contract"][0], (0,))
            with b.origin(node.origin):
                left = table[node.inputs[0]]
                table[node] = b.dot_general(left, made[found[node]], **{**node.attrs, "contract": contract})
        else:
            b.copy_into([node], table)
    inputs = [table[n] for n in scan.body.inputs]
    body = Graph(
        [*inputs[:last], *made.values(), *inputs[last:]], [table[n] for n in scan.body.outputs], scan.body.name
    )
    views = [replace(weights[w], shape=w.shape[::-1], strides=weights[w].strides[::-1]) for w in made]
    places = [*scan.inputs[:last], *views, *scan.inputs[last:]]
    turned = replace(scan, body=body, consts=scan.consts + len(made), inputs=places)
    return turned, dict(enumerate(views, last))


def _across(node: Node, weights: dict[Node, View]) -> bool:
    """Whether a product of rows with a matrix of weights runs along the matrix's last axis, where its memory does."""
    if node.op != "dot_general" or node.dtype not in ("float32", "float64") or node.inputs[1] not in weights:
        return False
    weight = node.inputs[1]
    rank = node.inputs[0].type.rank
    return (
        weight.type.rank == 2
        and node.attrs["contract"] == ((rank - 1,), (1,))
        and weights[weight].strides[1] == 1
        and min(weight.shape) >= vector_width(node.dtype)
    )


# -- whether and how ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Cut:
    """axes: where the rows are, by node of the body. sizes: rows of an item and, if it has fewer, of the last one."""

    axes: dict[Node, int]
    items: int
    sizes: tuple[int, ...]


def _cut(scan: Scan) -> _Cut | None:
    carries = scan.body.inputs[: scan.carries]
    if not carries or any(not n.shape for n in carries):
        return None
    rows = carries[0].shape[0]
    work = sum(_work(n) for n in scan.body.nodes)
    if rows < 2 or work * scan.length < ENOUGH:
        return None
    weights = zip(scan.body.inputs[scan.carries :], scan.shared, strict=False)
    shared = sum(v.itemsize * math.prod(v.shape) for n, v in weights if scan.body.users[n])
    size = _rows_of_item(rows, shared, shares=work > SERIAL)
    if size == 0:
        return None
    axes = row_axes(scan.body, rows, dict.fromkeys(carries, 0), [0] * len(scan.body.outputs))
    if axes is None:
        return None
    while rows % size == 1 and size > 1:
        size += 1  # one row alone takes other kernels than several do
    items = -(-rows // size)
    last = rows - (items - 1) * size
    return _Cut(axes, items, (size,) if last == size else (size, last))


def _rows_of_item(rows: int, shared: int, shares: bool) -> int:
    """Rows of an item, 0 if the batch had better stay whole. shares: threads would share each product, if it does.

    Each item reads all weights (`shared` bytes) in each step: few rows do not make up for that.
    """
    size = min(max(-(-rows // ITEMS), LEAST if shared else 1), MOST)
    if shares:
        size = max(size, -(-ROWS_PER_CACHE * shared // vectors().l2))
    size = -(-size // 8) * 8 if size > LEAST else size
    return size if 2 * size <= rows + 7 else 0


def _work(node: Node) -> float:
    """Flops' worth of one node, roughly."""
    if isinstance(node.type, tuple):
        return 0.0
    if node.op == "dot_general":
        return 2.0 * node.type.size * math.prod(node.inputs[0].shape[a] for a in node.attrs["contract"][0])
    kind = get_op(node.op).kind
    if kind is Kind.WINDOW:
        return 2.0 * node.type.size * math.prod(node.inputs[-1].shape[:-1])
    if kind is Kind.POINTWISE:
        return node.type.size * work_of(node)
    return float(node.type.size) if kind is not Kind.SOURCE else 0.0


# -- the kernel -----------------------------------------------------------------------------------------
def _lower_cut(ctx: Lowering, scan: Scan, cut: _Cut) -> bool:
    inputs, places, steps, moved = _by_rows(scan, cut)
    mark, groups = len(ctx.instructions), len(ctx.groups)
    shares = []
    for size in cut.sizes:
        graph = with_rows(scan.body, cut.axes, size)
        instructions = lower_body(ctx, graph, _first(inputs, graph.inputs), _first(places, graph.outputs))
        before, rest = split_off(instructions, *_buffers(replace(scan, inputs=inputs, places=places, steps=steps)))
        if not is_plain(rest):
            del ctx.instructions[mark:], ctx.groups[groups:]
            return False
        ctx.instructions += before
        shares.append(Share(rest, moved))
    known = _known(scan, ctx.instructions[mark:])
    ctx.launch(loop_kernel(scan.length, cut.items, shares, steps, known, 1))
    return True


def _by_rows(scan: Scan, cut: _Cut) -> tuple[list[View], list[View], tuple[Step, ...], dict[Buffer, int]]:
    """Views and steps in which every value with rows has a buffer of its own, and bytes from item to item of each."""
    windows = {s.window: s for s in scan.steps}
    steps = dict(windows)
    moved: dict[Buffer, int] = {}
    made: dict[View, View] = {}

    def view_of(node: Node, view: View) -> View:
        axis = cut.axes.get(node)
        if axis is None:
            return view
        if view not in made:
            window = view.buffer
            if window not in windows:  # a state, or something shared that has rows
                window = Buffer(view.buffer.nbytes, Where.ARENA, label="rows")
                steps[window] = Step(window, view.buffer, 0, 0)
            moved[window] = cut.sizes[0] * view.strides[axis] * view.itemsize
            made[view] = replace(view, buffer=window)
        return made[view]

    inputs = [view_of(n, v) for n, v in zip(scan.body.inputs, scan.inputs, strict=True)]
    places = [view_of(n, v) for n, v in zip(scan.body.outputs, scan.places, strict=True)]
    return inputs, places, tuple(steps.values()), moved


def _first(views: Sequence[View], nodes: Sequence[Node]) -> list[View]:
    """The views cut to the nodes' shapes."""
    return [
        replace(v, shape=n.shape, strides=tuple(0 if k == 1 else s for k, s in zip(n.shape, v.strides, strict=True)))
        for v, n in zip(views, nodes, strict=True)
    ]


def _buffers(scan: Scan) -> tuple[set[Buffer], set[Buffer]]:
    """(buffers that stay as they are, buffers that others see)."""
    outside = {v.buffer for v in (*scan.inputs, *scan.places)}
    changing = {v.buffer for v in (*scan.inputs[: scan.carries], *scan.places)} | {s.window for s in scan.steps}
    return {v.buffer for v in scan.shared} - changing, outside


def _known(scan: Scan, before: Sequence[Instruction]) -> set[Buffer]:
    """Buffers of the program, not of the loop."""
    made = {b for i in before if isinstance(i, Call) for b in i.kernel.writes}
    return {v.buffer for v in (*scan.inputs, *scan.places)} | made
