"""Pooling, channels last: every inner loop runs over the channels of one pixel.

An item is one row of (one image of) the result, forward and backward: each result gathers what it needs. The gradient
of the maximum reads the numbers of the taps that the forward pass noted. Where it was not asked to, the gradient looks
for the first maximum of each window again; windows may overlap, so an item of that kernel is a whole image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphkeras.codegen.cpu.gather import finish_half
from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cpu.params import Params, rows_per_chunk, small_kernel
from graphkeras.codegen.cpu.product import widened
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.ir.body import lowest
from graphkeras.ir.node import Node

HALF = ("float16", "bfloat16")
UNROLLED = 16  # windows of up to so many taps are written out where they lie inside


@dataclass(frozen=True)
class Pool:
    """Extents of one pooling: big (the input's side) and small (the result's side) per spatial axis."""

    big: tuple[int, ...]
    small: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    low: tuple[int, ...]
    channels: int
    images: int

    @classmethod
    def of(cls, node: Node, big: tuple[int, ...], small: tuple[int, ...]) -> Pool:
        at = node.attrs
        low = tuple(lo for lo, _ in at["padding"])
        return cls(big[1:-1], small[1:-1], tuple(at["window"]), tuple(at["strides"]), low, big[-1], big[0])

    @property
    def rank(self) -> int:
        return len(self.big)

    @property
    def taps(self) -> int:
        return math.prod(self.window)

    def declare(self, params: Params) -> None:
        params.ints(images=self.images)
        params.table("big", self.big)
        params.table("small", self.small)
        for i, (k, s) in enumerate(zip(self.window, self.strides, strict=True)):
            params.word(f"window{i}", k)
            params.literal(f"stride{i}", s)
        params.table("low", self.low)
        (params.literal if self.channels < 64 else params.word)("channels", self.channels)


def _operand(ctx: Lowering, node: Node, which: int) -> View:
    """A contiguous input; half floats as float32."""
    source = node.inputs[which]
    return widened(ctx, ctx.view(source)) if source.dtype in HALF else ctx.contiguous(source)


def _result(ctx: Lowering, node: Node) -> tuple[View, View]:
    """(where the kernel writes, where the value belongs): half floats pass through float32."""
    place = ctx.output(node)
    return (ctx.new(place.shape, "float32", node.op) if node.dtype in HALF else place), place


def _nested(heads: Sequence[str], inner: Sequence[str], depth: int = 0) -> list[str]:
    """Lines of nested loops around `inner`."""
    lines = ["    " * (depth + i) + head + ":" for i, head in enumerate(heads)]
    return lines + ["    " * (depth + len(heads)) + line for line in inner]


def _flat(names: Sequence[str], extents: Sequence[str]) -> str:
    text = names[0]
    for name, extent in zip(names[1:], extents[1:], strict=True):
        text = f"({text}) * {extent} + {name}"
    return text


# -- forward --------------------------------------------------------------------------------------------
@lowers("pool_max", "pool_sum", "pool_max_index")
def lower_pool(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x = _operand(ctx, node, 0)
    memory = None
    if node.op == "pool_max_index":
        place, memory = (ctx.result(node, i, group.items) for i in range(2))
        y = ctx.new(place.shape, "float32", node.op) if place.dtype in HALF else place
    else:
        y, place = _result(ctx, node)
    p = Pool.of(node, x.shape, y.shape)
    params = Params()
    params.source("x", x)
    params.target("y", y)
    if memory is not None:
        params.target("memory", memory)
    p.declare(params)
    largest = node.op != "pool_sum"
    join = (lambda a, b: f"maximum({a}, {b})") if largest else (lambda a, b: f"{x.dtype}({a} + {b})")
    empty = CpuHandler.literal(lowest(x.dtype) if largest else 0, x.dtype)
    lines = [
        "for item in range(lo, hi):",
        "    image = item // small0",
        "    o0 = item % small0",
        *("    " + line for line in _row_of_windows(p, join, empty, memory.dtype if memory is not None else None)),
    ]
    note = " The tap of each maximum is noted." if memory is not None else ""
    head = f"""{"Largest value" if largest else "Sum"} of each window of {p.window} with strides {p.strides}, {x.dtype}.
    One item is one row of output pixels; windows that lie inside are written out.{note}"""
    work = math.prod(y.shape[2:]) * (p.taps + 1)
    moved = float(x.itemsize * (math.prod(x.shape) + math.prod(y.shape)))
    moved += memory.itemsize * math.prod(y.shape) if memory is not None else 0.0
    items = p.images * p.small[0]
    ctx.launch(small_kernel(node.op, head, params, lines, items, rows_per_chunk(work), node, moved))
    finish_half(ctx, node, y, place)


def _bounds(axes: Iterable[int]) -> list[str]:
    """Lines that say which taps of a window lie inside of the image, for each axis."""
    lines = []
    for i in axes:
        lines += [
            f"at{i} = o{i} * stride{i} - low{i}",
            f"from{i} = max(0, -at{i})",
            f"to{i} = min(window{i}, big{i} - at{i})",
        ]
    return lines


def _row_of_windows(p: Pool, join, empty: str, memory: str | None) -> list[str]:
    """Lines for one output row: bounds of each window, then the written-out or the general loop over taps.

    memory: type in which the number of the first tap that holds the result is noted, or None.
    """
    axes = range(p.rank)
    bounds = _bounds(axes)
    target = _flat(["image", *(f"o{i}" for i in axes)], ["", *(f"small{i}" for i in axes)])
    source = _flat(["image", *(f"(at{i} + t{i})" for i in axes)], ["", *(f"big{i}" for i in axes)])
    general = [
        "for c in range(channels):",
        f"    target[c] = {empty}",
        *_nested(
            [f"for t{i} in range(from{i}, to{i})" for i in axes],
            [
                f"source = shift(x, ({source}) * channels)",
                "for c in range(channels):",
                f"    target[c] = {join('target[c]', 'source[c]')}",
            ],
        ),
    ]
    if memory is not None:
        general += _noted(p, source, memory)
    inner = [*bounds, f"target = shift(y, ({target}) * channels)"]
    if memory is not None:
        inner.append(f"note = shift(memory, ({target}) * channels)")
    if p.taps <= UNROLLED:
        inside = " and ".join(f"from{i} == 0 and to{i} == window{i}" for i in axes)
        inner += [f"if {inside}:", *("    " + line for line in _written_out(p, join, memory)), "else:"]
        inner += ["    " + line for line in general]
    else:
        inner += general
    return _nested([f"for o{i} in range(small{i})" for i in axes if i], inner)


def _noted(p: Pool, source: str, memory: str) -> list[str]:
    """Lines that find the first tap that holds `target`; the number of all taps where none does (NaN)."""
    axes = range(p.rank)
    number = _flat([f"t{i}" for i in axes], [f"window{i}" for i in axes])
    return [
        "for c in range(channels):",
        f"    note[c] = {memory}({p.taps})",
        *_nested(
            [f"for t{i} in range(from{i}, to{i})" for i in axes],
            [
                f"source = shift(x, ({source}) * channels)",
                f"number = {memory}({number})",
                "for c in range(channels):",
                f"    hit = (source[c] == target[c]) & (note[c] == {memory}({p.taps}))",
                "    note[c] = select(hit, number, note[c])",
            ],
        ),
    ]


def _taps(p: Pool) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for k in p.window:
        found = [(*t, i) for t in found for i in range(k)]
    return found


def _written_out(p: Pool, join, memory: str | None) -> list[str]:
    lines, names = [], []
    axes = range(p.rank)
    for n, tap in enumerate(_taps(p)):
        place = _flat(["image", *(f"(at{i} + {tap[i]})" for i in axes)], ["", *(f"big{i}" for i in axes)])
        lines.append(f"x{n} = shift(x, ({place}) * channels)")
        names.append(f"x{n}[c]")
    taps = list(names)
    while len(names) > 1:  # pairwise, so that the operations do not wait for each other
        pairs = [join(a, b) for a, b in zip(names[::2], names[1::2], strict=False)]
        names = pairs + names[len(pairs) * 2 :]
    lines += ["for c in range(channels):", f"    best = {names[0]}", "    target[c] = best"]
    if memory is not None:
        lines.append(f"    number = int32({len(taps)})")
        for n in reversed(range(len(taps))):
            lines.append(f"    number = select({taps[n]} == best, int32({n}), number)")
        lines.append(f"    note[c] = {memory}(number)")
    return lines


# -- gradients ------------------------------------------------------------------------------------------
@lowers("pool_sum_grad", "pool_index_grad")
def lower_gathered_grad(ctx: Lowering, group: Group) -> None:
    """dx[p] is the sum of dy over the windows that cover p; of a maximum, over those that remember p."""
    node = group.anchor
    remembered = node.op == "pool_index_grad"
    dy = _operand(ctx, node, int(remembered))
    dx, place = _result(ctx, node)
    p = Pool.of(node, dx.shape, dy.shape)
    params = Params()
    params.source("dy", dy)
    if remembered:
        params.source("memory", ctx.contiguous(node.inputs[0]))
    params.target("dx", dx)
    p.declare(params)
    axes = range(p.rank)
    lines = [
        "for item in range(lo, hi):",
        "    image = item // big0",
        "    p0 = item % big0",
        *("    " + line for line in _nested([f"for p{i} in range(big{i})" for i in axes if i],
                                            _covering(p, dx.dtype, remembered))),
    ]  # fmt: skip
    what = (
        "each input pixel adds up the windows that remember it"
        if remembered
        else "each input pixel adds up the windows that cover it"
    )
    head = f"""Gradient of {"the maximum" if remembered else "the sum"} over windows of {p.window} with strides
    {p.strides}, {dx.dtype}: {what}. One item is one row of input pixels."""
    moved = float(dx.itemsize * (math.prod(dx.shape) + math.prod(dy.shape)))
    items, work = p.images * p.big[0], 3 * math.prod(dx.shape[2:])
    ctx.launch(small_kernel(node.op, head, params, lines, items, rows_per_chunk(work), node, moved))
    finish_half(ctx, node, dx, place)


def _covering(p: Pool, dtype: str, remembered: bool) -> list[str]:
    """Lines for one input pixel: the windows that cover it, and what they give it."""
    axes, lines = range(p.rank), []
    for i in axes:  # o * stride - low <= p < o * stride - low + window
        lines += [
            f"from{i} = max(0, (p{i} + low{i} - window{i} + stride{i}) // stride{i})",
            f"to{i} = min(small{i}, (p{i} + low{i}) // stride{i} + 1)",
        ]
    target = _flat(["image", *(f"p{i}" for i in axes)], ["", *(f"big{i}" for i in axes)])
    source = _flat(["image", *(f"o{i}" for i in axes)], ["", *(f"small{i}" for i in axes)])
    value, inner = "source[c]", [f"source = shift(dy, ({source}) * channels)"]
    if remembered:
        tap = _flat([f"(p{i} + low{i} - o{i} * stride{i})" for i in axes], [f"window{i}" for i in axes])
        inner += [f"note = shift(memory, ({source}) * channels)", f"number = int32({tap})"]
        value = f"select(int32(note[c]) == number, source[c], {dtype}(0))"
    lines.append(f"target = shift(dx, ({target}) * channels)")
    zeros = ["for c in range(channels):", f"    target[c] = {dtype}(0)"]
    if all(k <= s for k, s in zip(p.window, p.strides, strict=True)):  # at most one window: nothing to add up
        covered = " and ".join(f"from{i} < to{i}" for i in axes)
        one = [*(f"o{i} = from{i}" for i in axes), *inner, "for c in range(channels):", f"    target[c] = {value}"]
        return [*lines, f"if {covered}:", *("    " + x for x in one), "else:", *("    " + x for x in zeros)]
    inner += ["for c in range(channels):", f"    target[c] = {dtype}(target[c] + {value})"]
    return [*lines, *zeros, *_nested([f"for o{i} in range(from{i}, to{i})" for i in axes], inner)]


@lowers("pool_max_grad")
def lower_pool_max_grad(ctx: Lowering, group: Group) -> None:
    """dy goes to the first tap that holds the window's maximum; `free` marks channels that have not found theirs."""
    node = group.anchor
    x, y, dy = (_operand(ctx, node, i) for i in range(3))
    dx, place = _result(ctx, node)
    p = Pool.of(node, x.shape, y.shape)
    params = Params()
    for name, view in (("x", x), ("y", y), ("dy", dy)):
        params.source(name, view)
    params.target("dx", dx)
    params.scratch("free", p.channels, "int32")
    p.declare(params)
    params.word("image_size", math.prod(x.shape[1:]))
    lines = _first_maxima(p, dx.dtype)
    head = f"""Gradient of the maximum over windows of {p.window} with strides {p.strides}, {dx.dtype}: to the first tap
    that holds the maximum. One item is one image, because windows may overlap."""
    moved = float(dx.itemsize * (2 * math.prod(x.shape) + 2 * math.prod(y.shape)))
    work = 3 * math.prod(y.shape[1:]) * p.taps
    ctx.launch(small_kernel(node.op, head, params, lines, p.images, rows_per_chunk(work), node, moved))
    finish_half(ctx, node, dx, place)


def _first_maxima(p: Pool, dtype: str) -> list[str]:
    """Lines for one image: zeros, then window by window the gradient to the first tap that holds the maximum."""
    axes = range(p.rank)
    bounds = _bounds(axes)
    pixel = _flat(["image", *(f"o{i}" for i in axes)], ["", *(f"small{i}" for i in axes)])
    tap = _flat(["image", *(f"(at{i} + t{i})" for i in axes)], ["", *(f"big{i}" for i in axes)])
    inner = [
        *bounds,
        f"pixel = ({pixel}) * channels",
        "top = shift(y, pixel)",
        "gradient = shift(dy, pixel)",
        "for c in range(channels):",
        "    free[c] = int32(1)",
        *_nested(
            [f"for t{i} in range(from{i}, to{i})" for i in axes],
            [
                f"tap = ({tap}) * channels",
                "value = shift(x, tap)",
                "target = shift(dx, tap)",
                "for c in range(channels):",
                "    hit = (value[c] == top[c]) & (free[c] != 0)",
                f"    target[c] = {dtype}(target[c] + select(hit, gradient[c], {dtype}(0)))",
                "    free[c] = select(hit, int32(0), free[c])",
            ],
        ),
    ]
    return [
        "for image in range(lo, hi):",
        "    whole = shift(dx, image * image_size)",
        "    for e in range(image_size):",
        f"        whole[e] = {dtype}(0)",
        *_nested([f"for o{i} in range(small{i})" for i in axes], inner, 1),
    ]
