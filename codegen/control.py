"""Control flow: scan, while and cond become instructions of the plan with their bodies lowered in place.

Carries live in buffers of their own. A body reads them there and, where nothing reads the old value afterwards, writes
the new value straight back (the in-place rule of `Lowering.graph`); otherwise the result is copied at the end of the
iteration. Slices of the scanned inputs and outputs are windows that advance by one slice per iteration: nothing is
gathered or stacked.
"""

from __future__ import annotations

import math

from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import (
    Buffer,
    Ptr,
    Step,
    Switch,
    View,
    Where,
    While,
)
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.row_loop import lower_by_rows, lower_whole
from graphkeras.codegen.scans import Scan, lower_body
from graphkeras.ir.node import Node


def _carry(ctx: Lowering, node: Node, target: View) -> View:
    """Fill a carry's buffer with its first value."""
    ctx.copy(ctx.view(node), target)
    return target


def _window(base: View, length: int, reverse: bool, label: str) -> tuple[View, Step]:
    """One slice of a scanned array, and how it moves."""
    stride = base.strides[0] * base.itemsize
    shape, strides = base.shape[1:], base.strides[1:]
    last = (length - 1) * stride
    extent = sum(abs(s) * (n - 1) for n, s in zip(shape, strides, strict=True)) + 1
    align = math.gcd(stride, base.offset * base.itemsize, base.buffer.align)
    window = Buffer(max(extent * base.itemsize, 1), Where.ARENA, label=label, align=align)
    step = Step(
        window, base.buffer, base.offset * base.itemsize + (last if reverse else 0), -stride if reverse else stride
    )
    return View(window, base.dtype, shape, strides), step


@lowers("scan", target="any")
def lower_scan(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    assert node is not None
    carries, consts = node.attrs["carries"], node.attrs["consts"]
    length, reverse, body = node.attrs["length"], node.attrs["reverse"], node.attrs["body"]
    init = node.inputs[:carries]
    state = []
    for k, first in enumerate(init):
        result = ctx.result(node, k, group.items)
        state.append(_carry(ctx, first, result))
    inputs = [*state, *(ctx.view(n) for n in node.inputs[carries : carries + consts])]
    steps: list[Step] = []
    for x in node.inputs[carries + consts :]:
        view, step = _window(ctx.view(x), length, reverse, "scan input")
        inputs.append(view)
        steps.append(step)
    places = list(state)
    for k in range(carries, len(body.outputs)):
        stacked = ctx.result(node, k, group.items)
        view, step = _window(stacked, length, reverse, "scan output")
        places.append(view)
        steps.append(step)
    if not length:
        return
    scan = Scan(body, length, carries, consts, inputs, places, tuple(steps))
    if ctx.target.name != "cpu" or not lower_by_rows(ctx, scan):
        lower_whole(ctx, scan)


@lowers("while", target="any")
def lower_while(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    assert node is not None
    carries = node.attrs["carries"]
    state = [_carry(ctx, first, ctx.result(node, k, group.items)) for k, first in enumerate(node.inputs[:carries])]
    inputs = [*state, *(ctx.view(n) for n in node.inputs[carries:])]
    flag = ctx.new((), "bool", "while condition")
    condition = lower_body(ctx, node.attrs["cond"], inputs, [flag])
    body = lower_body(ctx, node.attrs["body"], inputs, list(state))
    ctx.instructions.append(While(condition, Ptr(flag.buffer), body))


@lowers("cond", target="any")
def lower_cond(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    assert node is not None
    index = ctx.contiguous(node.inputs[0])
    operands = [ctx.view(n) for n in node.inputs[1:]]
    results = [ctx.result(node, k, group.items) for k in range(len(node.type))]
    branches = [lower_body(ctx, graph, operands, list(results)) for graph in node.attrs["branches"]]
    ctx.instructions.append(Switch(Ptr(index.buffer, index.offset * index.itemsize), branches))
