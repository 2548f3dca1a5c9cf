"""Depthwise convolutions over one or two axes, from small squares of outputs that read each input once.

x is read in place; what lies over an edge is masked. An item is some squares, counted through all images, for all
channels. The gradient of the input is the same kernel with turned weights; that of the kernel adds runs of squares to
private sums, which a second kernel adds up in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from graphkeras.codegen.cpu.params import HEADER, Params, comment, items_per_chunk
from graphkeras.codegen.cpu.product import sum_runs
from graphkeras.codegen.cpu.squares import Square
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer

MOST_TAPS, MOST_INPUTS = 49, 144  # of a square: all of them are written out
MOST_SUMS = 25  # taps of a kernel's gradient: more do not stay in registers
ELEMENTS = 4096  # outputs of an item, about
RUNS = 16


def can(c: Window, gradient: bool = False) -> bool:
    """Whether squares compute the window, or its kernel's gradient. Nothing here may depend on the batch."""
    if not c.depthwise or not vectors().masks or len(c.axes) > 2 or c.groups < vector_width(c.dtype) // 2:
        return False
    if any(a.step > 1 for a in c.axes):  # phases of a strided gradient write every second pixel: longer runs are faster
        return False
    square = _plan(c, 1).square
    if gradient and math.prod(square.taps) > MOST_SUMS:
        return False
    return 0 < math.prod(square.taps) <= MOST_TAPS and math.prod(square.inputs) <= MOST_INPUTS


@dataclass(frozen=True)
class Plan:
    """A window as squares: both axes (the first may be trivial), squares along them, squares of an item."""

    axes: tuple[Axis, Axis]
    square: Square
    tiles: tuple[int, int]
    block: int

    @property
    def per_image(self) -> int:
        return math.prod(self.tiles)


def _plan(c: Window, y_step: int) -> Plan:
    axes = c.axes if len(c.axes) == 2 else (Axis(1, 1, 1, 1, 1, 1, 0), *c.axes)
    wide = vectors().registers == 32
    small = any(a.stride > 1 for a in axes) or math.prod(a.taps for a in axes) > 9 or not wide
    outputs = (1, 8 if wide else 4) if axes[0].count == 1 else (2 if small else 4, 4)
    pairs = zip(*((a.taps, a.stride, a.dilation) for a in axes), strict=True)
    taps, strides, dilation = (tuple(p) for p in pairs)
    square = Square(outputs, taps, strides, dilation, c.groups, c.groups, y_step)  # type: ignore[arg-type]
    tiles = tuple(-(-a.count // n) for a, n in zip(axes, outputs, strict=True))
    return Plan(axes, square, tiles, max(1, ELEMENTS // (math.prod(outputs) * c.groups)))  # type: ignore[arg-type]


def launch_depthwise(ctx: Lowering, group: Group, c: Window, x: View, w: View) -> None:
    """A depthwise window that `can` be, with weights (taps, 1, channels), and the group's epilogue."""
    node, body = group.anchor, group.epilogue
    direct = ctx.output(node) if group.nodes == [node] and node.dtype == c.dtype else None
    width = vector_width(c.dtype)
    probe = _plan(c, 1)
    plan = replace(
        probe, square=replace(probe.square, y_step=width if direct is None else c.groups * probe.axes[1].step)
    )
    params, text = Params(), Writer()
    params.source("x", x)
    params.source("w", w)
    if direct is not None:
        params.target("y", direct)
    else:
        params.scratch("y", math.prod(plan.square.outputs) * width, c.dtype)
    _image_params(params, c, plan)
    _head(text, c, plan, "Depthwise convolution", gradient=False)
    with text.block("def kernel(args, lo, hi)"):
        params.declare(text)
        if direct is None:
            body.begin(text, len(params.args))
        with text.block("for item in range(lo, hi)"):
            text.line(f"first = item * {plan.block}")
            with text.block(f"for t in range(min({plan.block}, all_tiles - first))"):
                _print_place(text, plan)
                with text.block(f"for k in range(0, channels, {width})"):
                    if direct is not None:
                        _print_call(text, "w", "pixel0 * channels + k", "y_row * channels", "rows, columns")
                    else:
                        shape = plan.square.outputs
                        _print_call(text, "w", "0", f"{shape[1] * width}", f"{shape[0]}, {shape[1]}")
                        _print_epilogue(text, group, plan, width)
    items = -(-c.images * plan.per_image // plan.block)
    own = direct is not None
    moved = sum(v.itemsize * math.prod(v.shape) for v in (x, w))
    ctx.launch(
        Kernel(
            node.op, text.text(), tuple(params.args if own else [*params.args, *body.args]), items,
            items_per_chunk(items, 4 * c.flops), tuple(params.reads if own else [*params.reads, *body.reads]),
            tuple(params.writes if own else body.writes), flops=c.flops,
            nbytes=moved + (node.type.nbytes if own else body.traffic), nodes=tuple(group.nodes),
            reason="depthwise convolution" + ("" if own else " + epilogue"),
        )
    )  # fmt: skip


def launch_depthwise_grad(ctx: Lowering, group: Group, c: Window, x: View, dy: View) -> None:
    """The kernel's gradient of a depthwise window that `can` be."""
    plan = _plan(c, c.groups)
    size = math.prod(plan.square.taps) * c.groups
    blocks = -(-c.images * plan.per_image // plan.block)
    per_run = -(-blocks // min(blocks, RUNS))
    runs = -(-blocks // per_run)
    output = ctx.output(group.anchor)
    sums = ctx.new((runs, size), c.dtype, "partial sums")
    params, text, width = Params(), Writer(), vector_width(c.dtype)
    padded = -(-c.groups // width) * width
    plan = replace(plan, square=replace(plan.square, w_step=width))
    taps = math.prod(plan.square.taps)
    params.source("x", x)
    params.source("y", dy)
    params.target("sums", sums)
    params.scratch("total", taps * padded, c.dtype)
    _image_params(params, c, plan)
    params.ints(blocks=blocks, blocks_of_run=per_run)
    _head(text, c, plan, "Gradient of a depthwise convolution's kernel", gradient=True)
    with text.block("def kernel(args, lo, hi)"):
        params.declare(text)
        with text.block("for run in range(lo, hi)"):
            with text.block(f"for e in range({taps * padded})"):
                text.line(f"total[e] = {c.dtype}(0)")
            text.line(f"first = run * blocks_of_run * {plan.block}")
            text.line(f"last = min(all_tiles, first + blocks_of_run * {plan.block})")
            with text.block("for t in range(last - first)"):
                _print_place(text, plan)
                with text.block(f"for k in range(0, channels, {width})"):
                    place = f"total, k * {taps}"
                    _print_call(text, place, "pixel0 * channels + k", "y_row * channels", "rows, columns")
            with text.block(f"for n in range({taps})"), text.block("for k in range(channels)"):
                at = f"(k // {width} * {taps} + n) * {width} + k % {width}"
                text.line(f"sums[(run * {taps} + n) * channels + k] = total[{at}]")
    moved = float(sum(v.itemsize * math.prod(v.shape) for v in (x, dy, sums)))
    ctx.launch(
        Kernel(
            "conv_kernel_grad", text.text(), tuple(params.args), runs, 1, tuple(params.reads), (sums.buffer,),
            flops=c.flops, nbytes=moved, nodes=tuple(group.nodes), reason="depthwise convolution, kernel gradient",
        )
    )  # fmt: skip
    ctx.launch(sum_runs(group, sums, output))


# -- printing ---------------------------------------------------------------------------------------------
def _head(w: Writer, c: Window, plan: Plan, what: str, gradient: bool) -> None:
    q = plan.square
    comment(
        w,
        f"""{what}, {c.dtype}, channels last; x is read in place.
        Squares of {q.outputs[0]} x {q.outputs[1]} outputs, {plan.block} in an item.""",
    )
    w.line(HEADER)
    w.line("from graphkeras.codegen.cpu.depthwise_tiles import Square, tile")
    w.line()
    w.line(f'TILE = tile({q!r}, "{c.dtype}", {gradient})')
    w.line()
    w.line()


def _image_params(params: Params, c: Window, plan: Plan) -> None:
    params.ints(all_tiles=c.images * plan.per_image, tiles_of_image=plan.per_image, tiles_of_row=plan.tiles[1])
    for i, a in enumerate(plan.axes):
        params.ints(**{f"size{i}": a.size, f"low{i}": a.low, f"count{i}": a.count})
        params.ints(**{f"extent{i}": a.extent, f"first{i}": a.first, f"step{i}": a.step})
    params.literals(channels=c.groups)


def _print_place(w: Writer, plan: Plan) -> None:
    """Where square t of the item is: its first output, its first input, and how many outputs exist."""
    (down, across), (s0, s1) = plan.square.outputs, plan.square.strides
    w.line("image = quotient(first + t, tiles_of_image)")
    w.line("of_image = (first + t) - image * tiles_of_image")
    w.line("row = quotient(of_image, tiles_of_row)")
    w.line(f"column = (of_image - row * tiles_of_row) * {across}")
    w.line(f"row = row * {down}")
    w.line(f"rows = min({down}, count0 - row)")
    w.line(f"columns = min({across}, count1 - column)")
    w.line(f"top = row * {s0} - low0")
    w.line(f"left = column * {s1} - low1")
    w.line("at = ((image * size0 + top) * size1 + left) * channels")
    w.line("pixel0 = (image * extent0 + first0 + row * step0) * extent1 + first1 + column * step1")
    w.line("y_row = step0 * extent1")


def _print_call(w: Writer, weights: str, y_at: str, y_row: str, exist: str) -> None:
    place = weights if "," in weights else f"{weights}, k"
    w.line("TILE(x, at + k, size1 * channels, -top, size0 - top, -left, size1 - left, channels - k,")
    w.line(f"     shift({place}), y, {y_at}, {y_row}, {exist})")


def _print_epilogue(w: Writer, group: Group, plan: Plan, width: int) -> None:
    """The epilogue over the square's outputs of one vector of channels."""
    across = plan.square.outputs[1]
    with w.block("for r in range(rows)"), w.block("for s in range(columns)"):
        w.line("pixel = pixel0 + r * y_row + s * step1")
        w.line(f"line = shift(y, (r * {across} + s) * {width})")
        with w.block(f"for jj in range(min({width}, channels - k))"):
            w.line("j = k + jj")
            w.line("acc = line[jj]")
            group.epilogue.emit(w, {group.anchor: "acc"}, ["pixel", "j"])
