"""Convolutions of few channels per group over one or two axes, from small squares of outputs that read each input once.

Depthwise ones have one channel per group. Others have as many in as out, so that a group's lie in the same lanes.

The gradient of the input is a square of its own kind, in which strides stand between inputs: one launch for all
phases of a stride, weights as they are (of groups: turned). The gradient of the kernel adds runs of squares to private
sums, which a second kernel adds up in order.

x is read in place, and what lies over an edge is masked: an item is some squares, counted through all images, for all
channels. On small images most squares lie at an edge, and pixels are far apart: there an item is an image and a block
of channels, which are copied first, with zeros around them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from graphkeras.codegen.cpu.params import HEADER, Params, comment, template_kernel
from graphkeras.codegen.cpu.product import sum_runs
from graphkeras.codegen.cpu.squares import Pair, Square
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
SMALL = 80 * 1024  # bytes of an image's copy at most
SETS, WAYS = 4096, 16  # of the first-level cache: bytes of a way; lines of a set, with some that may be displaced
CHANNELS = 64  # of a copy at most; two vectors at least


def can(c: Window, gradient: bool = False, gradient_of_input: bool = False) -> bool:
    """Whether squares compute the window, or one of its gradients. Nothing here may depend on the batch."""
    width = vector_width(c.dtype)
    if c.groups == 1 or c.cin != c.cout or width % c.cin or c.channels < width // 2:
        return False
    if not vectors().masks or len(c.axes) > 2:
        return False
    if any(a.step > 1 for a in c.axes):  # a phase of a strided gradient: all phases together are a square
        return False
    square = plan_of(c, gradient_of_input).square
    if gradient and math.prod(square.taps) > MOST_SUMS:
        return False
    return 0 < math.prod(square.taps) <= MOST_TAPS and math.prod(square.inputs) <= MOST_INPUTS


@dataclass(frozen=True)
class Plan:
    """A window as squares: both axes (the first may be trivial), squares along them, squares of an item.

    channels: of a block that is copied first; 0 where x is read in place.
    """

    axes: tuple[Axis, Axis]
    square: Square
    tiles: tuple[int, int]
    block: int
    channels: int = 0

    @property
    def per_image(self) -> int:
        return math.prod(self.tiles)

    @property
    def advance(self) -> tuple[int, int]:
        """Inputs between the places of neighbouring squares."""
        q = self.square
        down, across = (n * s // d for n, s, d in zip(q.outputs, q.strides, q.spread, strict=True))
        return down, across

    @property
    def piece(self) -> tuple[int, int]:
        """Rows and columns of an image's copy: what all its squares read."""
        ends = zip(self.tiles, self.advance, self.square.inputs, strict=True)
        rows, columns = ((n - 1) * step + size for n, step, size in ends)
        return rows, columns

    @property
    def corner(self) -> tuple[int, int]:
        """The input at which the first square begins; negative before the image."""
        q = self.square
        if not q.phase:
            return -self.axes[0].low, -self.axes[1].low
        starts = zip(self.axes, q.phase, q.spread, q.first, strict=True)
        top, left = ((a.low - phase) // spread + first for a, phase, spread, first in starts)
        return top, left


def plan_of(c: Window, gradient_of_input: bool = False) -> Plan:
    """gradient_of_input: axes count pixels of dx, sizes are those of dy; taps, strides and low are the window's."""
    axes = c.last_two
    taps, strides, dilation = (tuple(getattr(a, n) for a in axes) for n in ("taps", "stride", "dilation"))
    square = Square(_outputs(axes), taps, strides, dilation, c.channels, c.cin * c.channels, c.channels, members=c.cin)  # type: ignore[arg-type]
    if gradient_of_input:
        phase = axes[0].low % axes[0].stride, axes[1].low % axes[1].stride
        outputs = _gradients(axes)
        square = replace(square, outputs=outputs, strides=(1, 1), spread=strides, phase=phase)
    tiles = tuple(-(-a.count // n) for a, n in zip(axes, square.outputs, strict=True))
    block = max(1, ELEMENTS // (math.prod(square.outputs) * c.channels))
    plan = Plan(axes, square, tiles, block)  # type: ignore[arg-type]
    return replace(plan, channels=_copied(plan, c))


def _outputs(axes: tuple[Axis, ...]) -> Pair:
    wide = vectors().registers == 32
    if axes[0].count == 1:
        return 1, 8 if wide else 4
    small = any(a.stride > 1 for a in axes) or math.prod(a.taps for a in axes) > 9 or not wide
    return 2 if small else 4, 4


def _gradients(axes: tuple[Axis, ...]) -> Pair:
    """Of the input: whole strides, as each pixel of one meets other taps."""
    down, across = _outputs(tuple(replace(a, taps=-(-a.taps // a.stride), stride=1) for a in axes))
    (first, second) = (a.stride for a in axes)
    return max(first, down // first * first), max(second, across // second * second)


def _copied(plan: Plan, c: Window) -> int:
    """Channels of a block that is copied, 0 if x is read in place: where most squares are not inside the image."""
    inner = math.prod(max(0, n - 2) for n in plan.tiles)
    if len(c.axes) == 1 or 2 * inner >= plan.per_image:
        return 0
    width = vector_width(c.dtype)
    size = math.prod(plan.piece) * (8 if c.dtype == "float64" else 4)
    channels = min(CHANNELS, SMALL // size, -(-c.channels // width) * width) // width * width
    return channels if channels >= min(2 * width, c.channels) else 0


def _name(c: Window) -> str:
    return "depthwise convolution" if c.depthwise else "convolution of few channels per group"


# -- outputs ----------------------------------------------------------------------------------------------
def launch_depthwise(ctx: Lowering, group: Group, c: Window, x: View, w: View, gradient_of_input: bool = False) -> None:
    """A window that `can` be, with weights (taps, members, channels), and the group's epilogue."""
    node, body = group.anchor, group.epilogue
    direct = ctx.output(node) if group.nodes == [node] and node.dtype == c.dtype else None
    width = vector_width(c.dtype)
    plan = _fitted(plan_of(c, gradient_of_input), c.channels if direct is not None else width)
    params, text = Params(), Writer()
    params.source("x", x)
    params.source("w", w)
    if direct is not None:
        params.target("y", direct)
    else:
        params.scratch("y", math.prod(plan.square.outputs) * width, c.dtype)
    _image_params(params, c, plan)
    _head(text, c, plan, "Convolution", gradient=False)
    with text.block("def kernel(args, lo, hi)"):
        params.declare(text)
        if direct is None:
            body.begin(text, len(params.args))
        with text.block("for item in range(lo, hi)"):
            _print_item(text, c, plan)
            with text.block("for t in range(tiles_here)"):
                _print_place(text, plan, overlaps=True)
                with text.block(f"for k in range(0, channels_here, {width})"):
                    if direct is not None:
                        _print_call(text, plan, "w, k0 + k", "pixel0 * channels + k0 + k", "count1 * channels")
                    else:
                        _print_call(text, plan, "w, k0 + k", "0", f"{plan.square.outputs[1] * width}")
                        _print_epilogue(text, group, plan, width)
    items = c.images * -(-c.channels // plan.channels) if plan.channels else -(-c.images * plan.per_image // plan.block)
    own_body = body if direct is None else None
    what = _name(c)
    ctx.launch(template_kernel(node.op, text, params, group, own_body, items, c.flops, (x, w), what, work=4 * c.flops))


def _fitted(plan: Plan, y_step: int) -> Plan:
    """The plan with the steps of what its kernel reads and writes."""
    square = replace(plan.square, y_step=y_step, ahead=not _crowded(plan))
    if plan.channels:
        square = replace(square, x_step=plan.channels, ahead=False)
    return replace(plan, square=square)


def _crowded(plan: Plan) -> bool:
    """Whether a square and the one below do not fit the first level of the cache together: their pixels are so far
    apart, by a multiple of many lines, that few sets hold them all. Groups' squares read theirs only once."""
    q, pixel = plan.square, plan.square.x_step * 4
    if plan.axes[0].count == 1:  # there is none below, and the length is not to be known here
        return False
    rows, columns = range(q.inputs[0] + plan.advance[0]), range(q.inputs[1])
    sets = Counter((r * plan.axes[1].size + c) * pixel % SETS // 64 for r in rows for c in columns)
    return q.members == 1 and max(sets.values()) > WAYS


# -- the kernel's gradient --------------------------------------------------------------------------------
def launch_depthwise_grad(ctx: Lowering, group: Group, c: Window, x: View, dy: View) -> None:
    """The kernel's gradient of a window that `can` be."""
    width = vector_width(c.dtype)
    plan = plan_of(c)
    plan = _fitted(plan, plan.channels or c.channels)
    plan = replace(plan, square=replace(plan.square, w_step=width * c.cin))
    taps, copied = math.prod(plan.square.taps) * c.cin, plan.channels  # a vector of weights for each tap and member
    kblocks = -(-c.channels // copied) if copied else 1
    blocks = c.images if copied else -(-c.images * plan.per_image // plan.block)
    per_run = -(-blocks // max(1, min(blocks, RUNS // min(kblocks, RUNS // 2))))
    runs = -(-blocks // per_run)
    output = ctx.output(group.anchor)
    sums = ctx.new((runs, taps * c.channels), c.dtype, "partial sums")
    params, text = Params(), Writer()
    params.source("x", x)
    params.source("y", dy)
    params.target("sums", sums)
    params.scratch("total", taps * -(-(copied or c.channels) // width) * width, c.dtype)
    _image_params(params, c, plan)
    params.ints(blocks=blocks, blocks_of_run=per_run)
    if copied:
        params.scratch("grads", plan.per_image * math.prod(plan.square.outputs) * copied, c.dtype)
        params.ints(rows_of_grads=plan.tiles[0] * plan.square.outputs[0])
        params.ints(columns_of_grads=plan.tiles[1] * plan.square.outputs[1])
    _head(text, c, plan, "Gradient of a convolution's kernel", gradient=True)
    with text.block("def kernel(args, lo, hi)"):
        params.declare(text)
        with text.block("for item in range(lo, hi)"):
            (_print_copied_run if copied else _print_run)(text, c, plan)
            with text.block(f"for n in range({taps})"), text.block("for k in range(channels_here)"):
                at = f"(k // {width} * {taps} + n) * {width} + k % {width}"
                text.line(f"sums[(run * {taps} + n) * channels + k0 + k] = total[{at}]")
    moved = float(sum(v.itemsize * math.prod(v.shape) for v in (x, dy, sums)))
    ctx.launch(
        Kernel(
            "conv_kernel_grad", text.text(), tuple(params.args), runs * kblocks, 1, tuple(params.reads),
            (sums.buffer,), flops=c.flops, nbytes=moved, nodes=tuple(group.nodes),
            reason=f"{_name(c)}, kernel gradient",
        )
    )  # fmt: skip
    ctx.launch(sum_runs(group, sums, output))


def _print_run(w: Writer, c: Window, plan: Plan) -> None:
    """Squares of a run, read where they lie, for all channels."""
    width, taps = vector_width(c.dtype), math.prod(plan.square.taps) * c.cin
    w.line("run = item")
    w.line("k0 = 0")
    w.line("channels_here = channels")
    _print_zeros(w, c, plan)
    w.line(f"first = run * blocks_of_run * {plan.block}")
    w.line(f"last = min(all_tiles, first + blocks_of_run * {plan.block})")
    with w.block("for t in range(last - first)"):
        _print_place(w, plan, overlaps=False)
        with w.block(f"for k in range(0, channels, {width})"):
            _print_call(w, plan, f"total, k * {taps}", "pixel0 * channels + k", "count1 * channels")


def _print_copied_run(w: Writer, c: Window, plan: Plan) -> None:
    """Images of a run, for a block of channels: copies of x and of dy, both with zeros where nothing is."""
    width, taps, copied = vector_width(c.dtype), math.prod(plan.square.taps) * c.cin, plan.channels
    across = plan.square.outputs[1]
    w.line("run = quotient(item, channel_blocks)")
    w.line(f"k0 = (item - run * channel_blocks) * {copied}")
    w.line(f"channels_here = min({copied}, channels - k0)")
    _print_zeros(w, c, plan)
    w.line("first = 0")
    with w.block("for image_here in range(run * blocks_of_run, min(blocks, (run + 1) * blocks_of_run))"):
        _print_copy(w, c, plan, "image_here")
        with w.block("for r in range(rows_of_grads)"), w.block("for s in range(columns_of_grads)"):
            w.line(f"to = shift(grads, (r * columns_of_grads + s) * {copied})")
            with w.block("if r < count0 and s < count1"):
                w.line("source = shift(y, ((image_here * count0 + r) * count1 + s) * channels + k0)")
                with w.block("for e in range(channels_here)"):
                    w.line("to[e] = source[e]")
            with w.block("else"), w.block("for e in range(channels_here)"):
                w.line(f"to[e] = {c.dtype}(0)")
        with w.block("for t in range(tiles_of_image)"):
            _print_place(w, plan, overlaps=False)
            w.line(f"rows = {plan.square.outputs[0]}")
            w.line(f"columns = {across}")
            w.line(f"grads_at = (row * columns_of_grads + column) * {copied}")
            with w.block(f"for k in range(0, channels_here, {width})"):
                line = f"columns_of_grads * {copied}"
                _print_call(w, plan, f"total, k * {taps}", "grads_at + k", line, "grads")


def _print_zeros(w: Writer, c: Window, plan: Plan) -> None:
    width, taps = vector_width(c.dtype), math.prod(plan.square.taps) * c.cin
    with w.block(f"for e in range((channels_here + {width - 1}) // {width} * {width * taps})"):
        w.line(f"total[e] = {c.dtype}(0)")


# -- printing ---------------------------------------------------------------------------------------------
def _head(w: Writer, c: Window, plan: Plan, what: str, gradient: bool) -> None:
    q = plan.square
    how = f"{plan.channels} channels of an image are copied" if plan.channels else f"{plan.block} in an item, in place"
    comment(
        w,
        f"""{what}, {c.dtype}, channels last, groups of {c.cin}.
        Squares of {q.outputs[0]} x {q.outputs[1]} outputs; {how}.""",
    )
    w.line(HEADER)
    w.line("from graphkeras.codegen.cpu.depthwise_tiles import Square, tile")
    w.line()
    w.line(f'TILE = tile({q!r}, "{c.dtype}", {gradient})')
    w.line()
    w.line()


def _image_params(params: Params, c: Window, plan: Plan) -> None:
    params.ints(all_tiles=c.images * plan.per_image, tiles_of_image=plan.per_image, tiles_of_row=plan.tiles[1])
    parts = zip(plan.axes, plan.corner, plan.square.outputs, plan.square.spread, strict=True)
    for i, (a, corner, outputs, spread) in enumerate(parts):
        over = a.count - outputs  # where the last square begins, if it may lie over its neighbour
        last = over if over >= 0 and over % spread == 0 else a.count
        params.ints(**{f"size{i}": a.size, f"corner{i}": corner, f"count{i}": a.count, f"last{i}": last})
    params.literals(channels=c.channels)
    if plan.channels:
        params.scratch("piece", math.prod(plan.piece) * plan.channels, c.dtype)
        params.ints(piece_rows=plan.piece[0], piece_columns=plan.piece[1])
        params.ints(channel_blocks=-(-c.channels // plan.channels))


def _print_item(w: Writer, c: Window, plan: Plan) -> None:
    """Which squares and channels an item has; copies them where the plan says so."""
    if not plan.channels:
        w.line(f"first = item * {plan.block}")
        w.line(f"tiles_here = min({plan.block}, all_tiles - first)")
        w.line("k0 = 0")
        w.line("channels_here = channels")
        return
    w.line("image_here = quotient(item, channel_blocks)")
    w.line(f"k0 = (item - image_here * channel_blocks) * {plan.channels}")
    w.line(f"channels_here = min({plan.channels}, channels - k0)")
    w.line("first = image_here * tiles_of_image")
    w.line("tiles_here = tiles_of_image")
    _print_copy(w, c, plan, "image_here")


def _print_copy(w: Writer, c: Window, plan: Plan, image: str) -> None:
    """The item's channels of an image of x, with zeros around it."""
    with w.block("for r in range(piece_rows)"), w.block("for s in range(piece_columns)"):
        w.line(f"to = shift(piece, (r * piece_columns + s) * {plan.channels})")
        w.line("down = r + corner0")
        w.line("right = s + corner1")
        with w.block("if down >= 0 and down < size0 and right >= 0 and right < size1"):
            w.line(f"source = shift(x, (({image} * size0 + down) * size1 + right) * channels + k0)")
            with w.block("for e in range(channels_here)"):
                w.line("to[e] = source[e]")
        with w.block("else"), w.block("for e in range(channels_here)"):
            w.line(f"to[e] = {c.dtype}(0)")


def _print_place(w: Writer, plan: Plan, overlaps: bool) -> None:
    """Where square t of the item is: its first output, its first input, and how many outputs exist.

    overlaps: of an image that is copied, the last squares lie over their neighbours, so that all are whole.
    """
    q = plan.square
    w.line("image = quotient(first + t, tiles_of_image)")
    w.line("of_image = (first + t) - image * tiles_of_image")
    w.line("tile_row = quotient(of_image, tiles_of_row)")
    w.line(f"wanted_column = (of_image - tile_row * tiles_of_row) * {q.outputs[1]}")
    w.line(f"wanted_row = tile_row * {q.outputs[0]}")
    both = plan.channels and overlaps
    w.line("row = " + ("min(wanted_row, last0)" if both else "wanted_row"))
    w.line("column = " + ("min(wanted_column, last1)" if both else "wanted_column"))
    w.line(f"rows = min({q.outputs[0]}, count0 - row)")
    w.line(f"columns = min({q.outputs[1]}, count1 - column)")
    down, across = (f"{n} * {s} // {d}" for n, s, d in zip(("row", "column"), q.strides, q.spread, strict=True))
    if plan.channels:
        w.line(f"at = (({down}) * piece_columns + {across}) * {plan.channels}")
    else:
        w.line(f"top = {down} + corner0")
        w.line(f"left = {across} + corner1")
        w.line("at = ((image * size0 + top) * size1 + left) * channels")
    w.line("pixel0 = (image * count0 + row) * count1 + column")


def _print_call(w: Writer, plan: Plan, weights: str, y_at: str, y_row: str, y: str = "y") -> None:
    if plan.channels:
        far = 1 << 20  # all of the copy may be read
        w.line(f"TILE(piece, at + k, piece_columns * {plan.channels}, 0, {far}, 0, {far}, channels_here - k,")
    else:
        w.line("TILE(x, at + k, size1 * channels, -top, size0 - top, -left, size1 - left, channels_here - k,")
    w.line(f"     shift({weights}), {y}, {y_at}, {y_row}, rows, columns)")


def _print_epilogue(w: Writer, group: Group, plan: Plan, width: int) -> None:
    """The epilogue over the square's outputs of one vector of channels, each once even where squares overlap."""
    across = plan.square.outputs[1]
    with w.block("for r in range(wanted_row - row, rows)"), w.block("for s in range(wanted_column - column, columns)"):
        w.line("pixel = pixel0 + r * count1 + s")
        w.line(f"line = shift(y, (r * {across} + s) * {width})")
        with w.block(f"for jj in range(min({width}, channels_here - k))"):
            w.line("j = k0 + k + jj")
            w.line("acc = line[jj]")
            group.epilogue.emit(w, {group.anchor: "acc"}, ["pixel", "j"])
