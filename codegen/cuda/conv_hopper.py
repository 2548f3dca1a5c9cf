"""Convolutions for Hopper's tensor cores: the copy engine gathers patches by itself (its im2col mode).

The products are those of `conv.py`. The engine walks base positions of windows and moves each by the tap, a pair of
coordinates for each step along k; what is outside of the image is zero. It can do so where rows of channels are
multiples of 16 bytes, strides are at most 8 and windows not too large. Gradients of inputs must have strides of 1.
k of the first two products is (tap, channel), where the channels of a tap take whole slots of the ring.
"""

from __future__ import annotations

import math

from graphkeras.codegen.cuda.language import SIZES
from graphkeras.codegen.cuda.product_choice import turning_cycles
from graphkeras.codegen.cuda.product_copies import ROW, Pixels, Sheet, Side
from graphkeras.codegen.cuda.product_launch import Offer
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering
from graphkeras.ir.node import Node

Axes = tuple[int, ...]


def forward_offer(ctx: Lowering, node: Node, x: View, w: View) -> Offer | None:
    """y = conv(x, w): pixels of y times kernels."""
    groups, inner = node.attrs["groups"], w.shape[-2]
    taps, outer = math.prod(w.shape[:-2]), w.shape[-1]
    pixels = _pixels(node, x, node.shape[1:-1], w.shape[:-2], False)
    weights = Sheet(w, outer, inner, 1, outer, (taps, inner * outer), "tap", (outer // groups, 0))
    if not pixels.fits() or not _apart(w, groups, inner):
        return None
    if SIZES[w.dtype] == 2:
        return Offer(lambda: (pixels, weights), taps) if weights.fits() else None
    if inner * SIZES[w.dtype] % 16:
        return None

    def make() -> tuple[Side, Side]:  # float32: neighbours must be neighbours along k
        view = View(w.buffer, w.dtype, (taps, outer, inner), (inner * outer, 1, outer), w.offset)
        copy = ctx.copy(view)
        return pixels, Sheet(copy, outer, inner, inner, 1, (taps, inner * outer), "tap", (outer // groups, 0))

    return Offer(make, taps, turning_cycles(taps * inner * outer, SIZES[w.dtype]))


def input_offer(node: Node, dy: View, w: View) -> Offer | None:
    """The gradient of x: pixels of x times kernels, taps backwards."""
    groups, inner = node.attrs["groups"], w.shape[-2]
    taps, outer = math.prod(w.shape[:-2]), w.shape[-1]
    if max(node.attrs["strides"]) > 1 or not _apart(w, groups, outer // groups):
        return None
    pixels = _pixels(node, dy, node.shape[1:-1], w.shape[:-2], True)
    weights = Sheet(w, inner, outer, outer, 1, (taps, inner * outer), "tap", (0, outer // groups))
    return Offer(lambda: (pixels, weights), taps) if pixels.fits() and weights.fits() else None


def kernel_offer(node: Node, x: View, dy: View) -> Offer | None:
    """The gradient of w: (tap, channel of x) times channels of y, along pixels."""
    groups, inner = node.attrs["groups"], node.shape[-2]
    size = SIZES[x.dtype]
    if size != 2 or inner % (ROW // size):  # boxes of 64 channels must not meet two taps
        return None
    pixels = _pixels(node, x, dy.shape[1:-1], node.shape[:-2], False, turned=True)
    outer = dy.shape[-1]
    columns = Sheet(dy, outer, math.prod(dy.shape[:-1]), 1, outer, shift=(outer // groups, 0))
    return Offer(lambda: (pixels, columns)) if pixels.fits() and columns.fits() else None


def _apart(view: View, groups: int, channels: int) -> bool:
    """Whether boxes along channels stay in their group: the zeros behind one are no zeros where another follows."""
    return groups == 1 or channels % (ROW // SIZES[view.dtype]) == 0


def _pixels(node: Node, view: View, pixels: Axes, taps: Axes, back: bool, turned: bool = False) -> Pixels:
    attrs = node.attrs
    dilation, groups = tuple(attrs["dilation"]), attrs["groups"]
    low = tuple(-lo for lo, _ in attrs["padding"])
    if back:  # the last tap comes first
        low = tuple(-lo - (t - 1) * d for lo, t, d in zip(low, taps, dilation, strict=True))
    channels = view.shape[-1] // groups
    return Pixels(view, tuple(pixels), tuple(taps), tuple(attrs["strides"]), low, dilation, channels, back, turned)
