"""Convolutions, channels last, from the same register tiles as products; no im2col.

y[n, p, o] = sum over taps t and channels c of x[n, p * stride + t * dilation - low, c] * w[t, c, o]

is a product whose rows are output pixels and whose depth is (taps x channels): the row table holds each pixel's place
in x, and taps are loop levels of the tile. An item is a few images, or a band of rows of one; where the window reaches
over the edge, the item first copies its piece of x, with the zeros around it, to private memory. Depthwise
convolutions use vector tiles.

The gradient of the input is the same kernel on dy with the kernel's taps flipped and channels exchanged; with strides,
one launch per phase of the stride, each with the taps that meet it. conv_grad.py has the gradient of the kernel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphkeras.codegen.cpu import conv_forms, conv_narrow, conv_weights, conv_wide, depthwise, winograd
from graphkeras.codegen.cpu.choices import Candidate, pick
from graphkeras.codegen.cpu.conv_tiles import WindowPrinter
from graphkeras.codegen.cpu.product import widened
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, LoweringError, lowers
from graphkeras.ir.node import Node


def operands(ctx: Lowering, node: Node) -> list[View]:
    """The node's inputs as contiguous float32 or float64."""
    if node.dtype in ("float16", "bfloat16"):
        return [widened(ctx, ctx.view(i)) for i in node.inputs]
    if node.dtype not in ("float32", "float64"):
        raise LoweringError(f"{node.op} of {node.dtype} in layer {node.origin} has no native kernel; cast to float32")
    return [ctx.contiguous(i) for i in node.inputs]


@lowers("conv")
def lower_conv(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, w = operands(ctx, node)
    at = node.attrs
    window = Window(x.dtype, x.shape[0], _axes(node, x, w), at["groups"], w.shape[-2], w.shape[-1] // at["groups"])
    launch_window(ctx, group, window, x, w)


def _axes(node: Node, inputs: View, w: View) -> tuple[Axis, ...]:
    """Of a window whose outputs are the node's pixels."""
    at = node.attrs
    parts = zip(
        node.shape[1:-1], inputs.shape[1:-1], w.shape, at["strides"], at["dilation"], at["padding"], strict=False
    )
    return tuple(Axis(o, o, n, k, s, d, low) for o, n, k, s, d, (low, _) in parts)


def launch_window(
    ctx: Lowering, group: Group, window: Window, x: View, w: View, taps: Sequence[Sequence[int]] | None = None
) -> None:
    """The window in the form that is fastest for it. taps: of w, which is to be turned; default: w as it is."""

    def launch(c: Candidate) -> None:
        _launch(ctx, group, window, x, w, taps, c.value)

    launch(pick(ctx, "convolution", conv_forms.spec_of(window), conv_forms.forms_of(window), launch))


def _launch(
    ctx: Lowering,
    group: Group,
    window: Window,
    x: View,
    w: View,
    taps: Sequence[Sequence[int]] | None,
    form: conv_forms.Form,
) -> None:
    if form.joined > 1:
        if taps is not None:
            w = conv_weights.turned(ctx, group, w, taps, window.groups)
        w = conv_weights.joined(ctx, group, w, window.cout, form.joined)
        window = window.joined(form.joined)
        _launch(ctx, group, window, x, w, None, replace(form, joined=1))
        return
    if form.name == "narrow":
        w = conv_weights.along_depth(ctx, group, w, taps, conv_narrow.columns_of_tile(window))
        ctx.launch(conv_narrow.NarrowPrinter(ctx, group, window, x, w).kernel())
        return
    tile = form.tile
    panel = tile.nv * vector_width(window.dtype) if tile is not None and form.name == "panels" else None
    if taps is not None:
        w = conv_weights.turned(ctx, group, w, taps, window.groups, panel)
    elif panel:
        w = conv_weights.panelled(ctx, group, w, panel)
    if form.name == "winograd":
        winograd.launch_winograd(ctx, group, window, x, w)
    elif form.name == "squares":
        depthwise.launch_depthwise(ctx, group, window, x, w)
    else:
        assert tile is not None
        printer = conv_wide.WidePrinter if panel else WindowPrinter
        ctx.launch(printer(ctx, group, window, x, w, tile).kernel())


@lowers("conv_input_grad")
def lower_conv_input_grad(ctx: Lowering, group: Group) -> None:
    """One launch per phase of the strides, with the weights that meet it turned, or one launch of squares."""
    node = group.anchor
    dy, w = operands(ctx, node)
    at = node.attrs
    groups, cin, cout = at["groups"], w.shape[-2], w.shape[-1] // at["groups"]
    window = Window(dy.dtype, dy.shape[0], _axes(node, dy, w), groups, cout, cin)
    per_axis = [
        list(phases(n, o, k, s, d, low))
        for n, o, k, s, d, (low, _) in zip(
            node.shape[1:-1], dy.shape[1:-1], w.shape, at["strides"], at["dilation"], at["padding"], strict=False
        )
    ]
    parts = [
        (replace(window, axes=tuple(axis for axis, _ in part)), [taps for _, taps in part])
        for part in itertools.product(*per_axis)
    ]
    if conv_forms.is_one_launch(window, [part for part, _ in parts]):
        if not window.depthwise:
            w = conv_weights.turned(ctx, group, w, [range(a.taps) for a in window.axes], groups)
        depthwise.launch_depthwise(ctx, group, window, dy, w, gradient_of_input=True)
        return
    for part, taps in parts:
        launch_window(ctx, group, part, dy, w, taps)


def phases(n: int, o: int, k: int, stride: int, dilation: int, low: int) -> Iterator[tuple[Axis, list[int]]]:
    """The positions p of an input axis by (p + low) mod stride, with the taps t that meet them, flipped.

    dx[p] = sum of w[t] * dy[(p + low - t * dilation) / stride] over the t for which that is whole.
    """
    common = math.gcd(stride, dilation)
    for first in range(min(stride, n)):
        count = -(-(n - first) // stride)
        meeting = [t for t in range(k) if (first + low - t * dilation) % stride == 0]
        step = dilation // common  # dy moves by this from one meeting tap to the next
        start = (first + low - meeting[-1] * dilation) // stride if meeting else 0
        yield Axis(count, n, o, len(meeting), 1, step, -start, first, stride), meeting[::-1]
