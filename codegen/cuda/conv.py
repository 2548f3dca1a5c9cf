"""Convolutions and their gradients as products whose left operand is never made: elements are found where they stand.

    conv               C[pixel, co]     = sum over (tap, ci)   x[pixel moved by tap, ci] * w[tap, ci, co]
    conv_input_grad    C[pixel, ci]     = sum over (tap, co)   dy[pixel moved back by tap, co] * w[tap, ci, co]
    conv_kernel_grad   C[(tap, ci), co] = sum over pixels      x[pixel moved by tap, ci] * dy[pixel, co]

Groups are the batch of the product. The kernels, the cut into parts and the epilogue are those of products; Hopper's
copy engine finds patches by itself (`conv_hopper.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphkeras.codegen.cuda.conv_hopper import forward_offer, input_offer, kernel_offer
from graphkeras.codegen.cuda.language import SIZES, divisor
from graphkeras.codegen.cuda.product import Operand, Place, Problem
from graphkeras.codegen.cuda.product_launch import launch_hopper, launch_product
from graphkeras.codegen.cuda.source import Source, decompose
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View, contiguous_strides
from graphkeras.codegen.lower import Lowering, LoweringError, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node


@dataclass(frozen=True)
class Geometry:
    """A convolution's extents and settings, spatial axes in order."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    low: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, x: Sequence[int], w: Sequence[int], y: Sequence[int]) -> Geometry:
        low = tuple(lo for lo, _ in node.attrs["padding"])
        attrs = node.attrs
        return cls(tuple(x[1:-1]), tuple(y[1:-1]), tuple(w[:-2]), attrs["strides"], low, attrs["dilation"])


@dataclass(frozen=True)
class Patches:
    """All that a window meets as a matrix [pixel, (tap, channel)], or turned: [(tap, channel), pixel].

    back: the array is dy and pixels are those of x; a tap meets at most one element of dy.
    """

    view: View
    geometry: Geometry
    channels: int  # of a group
    back: bool
    along_depth: bool

    def width(self, free: int, depth: int, most: int = 4) -> int:
        for n in (most, 4):
            aligned = all(s % n == 0 for s in (self.channels, self.view.shape[-1], self.view.offset))
            if aligned and min(16, n * SIZES[self.view.dtype]) <= self.view.buffer.align:
                return n
        return 1

    def declare(self, source: Source) -> Place:
        g = self.geometry
        pixels, array = (g.inputs, g.outputs) if self.back else (g.outputs, g.inputs)
        words: dict[str, list[Any]] = {
            "pixels": _words(source, (0, *pixels)),
            "taps": _words(source, (0, *g.window, self.channels)),
            "array": [(source.word(n), "") for n in array],
            "moves": moves_of(source, g.strides, g.low, g.dilation),
        }
        whole = source.word(self.view.shape[-1])
        return Place(source.word(self.channels), self._finder(words, whole), guarded=True)

    def _finder(self, words: dict[str, list[Any]], whole: str) -> Callable[[Writer], str]:
        rank = len(self.geometry.window)
        strides = self.geometry.strides

        def at(w: Writer) -> str:
            pixel, tap = ("f", "d") if self.along_depth else ("d", "f")
            places, taps = words["pixels"], words["taps"]
            decompose(w, pixel, [e for e, _ in places], [d for _, d in places], ["n", *(f"p{a}" for a in range(rank))])
            names = [*(f"t{a}" for a in range(rank)), "c"]
            decompose(w, tap, [e for e, _ in taps[1:]], [d for _, d in taps[1:]], names)
            offset = locate(w, words["moves"], [e for e, _ in words["array"]], strides, self.back)
            return f"({offset}) * {whole} + c"

        return at


Move = tuple[str, str, str, str]
"""Names of a spatial axis's stride, its divisor, the low padding, and the dilation."""


def locate(w: Writer, moves: Sequence[Move], extents: Sequence[str], strides: Sequence[int], back: bool) -> str:
    """Where tap (t0, t1 ...) of pixel (n, p0, p1 ...) meets the other array: sets `ok`, returns the pixel's number.

    back: from a pixel of x to one of y, else the other way round.
    """
    w.line("ok = True")
    offset = "n"
    for axis, (step, divider, low, dilation) in enumerate(moves):
        if back:
            w.line(f"s{axis} = p{axis} + {low} - t{axis} * {dilation}")
            w.line(f"ok = ok & (s{axis} >= 0)")
            if strides[axis] > 1:
                w.line(f"o{axis} = divided(max(s{axis}, 0), {divider})")
                w.line(f"ok = ok & (o{axis} * {step} == s{axis})")
                w.line(f"s{axis} = o{axis}")
        else:
            w.line(f"s{axis} = p{axis} * {step} - {low} + t{axis} * {dilation}")
            w.line(f"ok = ok & (s{axis} >= 0)")
        w.line(f"ok = ok & (s{axis} < {extents[axis]})")
        offset = f"({offset}) * {extents[axis]} + s{axis}"
    return offset


def moves_of(source: Source, strides: Sequence[int], low: Sequence[int], dilation: Sequence[int]) -> list[Move]:
    """The arguments that `locate` needs."""
    return [
        (source.word(s), source.word(divisor(s)), source.word(lo), source.word(d))
        for s, lo, d in zip(strides, low, dilation, strict=True)
    ]


def _words(source: Source, extents: Sequence[int]) -> list[tuple[str, str]]:
    """(extent, divisor) as arguments; none for the first, whose extent is not needed."""
    return [(source.word(n), source.word(divisor(n))) if k else ("", "") for k, n in enumerate(extents)]


def _checked(ctx: Lowering, node: Node) -> list[View]:
    if node.dtype.startswith("complex"):
        raise LoweringError(f"{node.op} of {node.dtype} in layer {node.origin} has no native kernel")
    return [ctx.contiguous(x) for x in node.inputs]


@lowers("conv", target="cuda")
def lower_conv(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, w = _checked(ctx, node)
    groups = node.attrs["groups"]
    inner, outer = w.shape[-2], w.shape[-1] // groups
    taps = math.prod(w.shape[:-2])
    patches = Patches(x, Geometry.of(node, x.shape, w.shape, node.shape), inner, False, True)
    weights = Operand(w, outer, 1, w.shape[-1])
    m = math.prod(node.shape[:-1])
    p = Problem(patches, weights, groups, m, outer, taps * inner, interleaved=True)
    if not launch_hopper(ctx, group, p, forward_offer(ctx, node, x, w)):
        launch_product(ctx, group, p)


@lowers("conv_input_grad", target="cuda")
def lower_conv_input_grad(ctx: Lowering, group: Group) -> None:
    """The kernel is turned first, to [group, tap, co, ci], but for Hopper."""
    node = group.anchor
    dy, w = _checked(ctx, node)
    groups = node.attrs["groups"]
    inner, outer = w.shape[-2], w.shape[-1] // groups
    taps = math.prod(w.shape[:-2])
    patches = Patches(dy, Geometry.of(node, node.shape, w.shape, dy.shape), outer, True, True)
    m = math.prod(node.shape[:-1])
    p = Problem(patches, Operand(w, outer, w.shape[-1], 1), groups, m, inner, taps * outer, interleaved=True)
    if launch_hopper(ctx, group, p, input_offer(node, dy, w)):
        return
    turned = View(
        w.buffer,
        w.dtype,
        (groups, taps, outer, inner),
        (outer, inner * w.shape[-1], 1, w.shape[-1]),
        w.offset,
    )
    turned = ctx.copy(turned)
    turned = View(turned.buffer, w.dtype, turned.shape, contiguous_strides(turned.shape), turned.offset)
    launch_product(ctx, group, replace(p, b=Operand(turned, taps * outer * inner, 1, inner)))


@lowers("conv_kernel_grad", target="cuda")
def lower_conv_kernel_grad(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, dy = _checked(ctx, node)
    groups = node.attrs["groups"]
    inner, outer = node.shape[-2], node.shape[-1] // groups
    taps = math.prod(node.shape[:-2])
    patches = Patches(x, Geometry.of(node, x.shape, node.shape, dy.shape), inner, False, False)
    columns = Operand(dy, outer, 1, dy.shape[-1])
    pixels = math.prod(dy.shape[:-1])
    p = Problem(patches, columns, groups, taps * inner, outer, pixels, interleaved=True)
    if not launch_hopper(ctx, group, p, kernel_offer(node, x, dy)):
        launch_product(ctx, group, p)
