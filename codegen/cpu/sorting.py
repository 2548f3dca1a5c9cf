"""Sorting, the largest k, and running reductions, along one axis; one work item is one line of the array."""

from __future__ import annotations

import math

from graphkeras.codegen.cpu.gather import HALF, combined, split
from graphkeras.codegen.cpu.params import Params, rows_per_chunk, small_kernel
from graphkeras.codegen.cpu.product import widened
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import View
from graphkeras.codegen.lower import Lowering, LoweringError, lowers
from graphkeras.ir.node import Node

BLOCK = 64  # values that are passed over together if none of them is large
FEW = 32  # so many of a line are found by selection, more by sorting
_COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}


def _stored(value: str, dtype: str) -> str:
    return f"float32_to_{dtype}({value})" if dtype in HALF else value


def _source(ctx: Lowering, node: Node) -> View:
    """The contiguous input; half floats as float32."""
    view = ctx.view(node.inputs[0])
    if view.dtype.startswith("complex"):
        raise LoweringError(f"{node.op} of {view.dtype} in layer {node.origin} has no native kernel")
    return widened(ctx, view) if view.dtype in HALF else ctx.contiguous(node.inputs[0])


@lowers("cumulative")
def lower_cumulative(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    x, y = _source(ctx, node), ctx.output(node)
    outer, n, inner = split(x.shape, node.attrs["axis"] % len(x.shape))
    params = Params()
    params.source("x", x)
    params.target("y", y)
    params.word("n", n)
    (params.literal if inner == 1 else params.word)("inner", inner)
    where = "n - 1 - i" if node.attrs["reverse"] else "i"
    body = [
        "for item in range(lo, hi):",
        "    start = item // inner * n * inner + item % inner",
        f"    at = start + {'(n - 1)' if node.attrs['reverse'] else '0'} * inner",
        "    acc = x[at]",
        f"    y[at] = {_stored('acc', y.dtype)}",
        "    for i in range(1, n):",
        f"        at = start + ({where}) * inner",
        f"        acc = {combined(_COMBINE[node.attrs['combine']], 'acc', 'x[at]', x.dtype)}",
        f"        y[at] = {_stored('acc', y.dtype)}",
    ]
    head = f"Running {node.attrs['combine']} along one axis, {x.dtype}. One item is one line."
    lines = outer * inner
    moved = 2.0 * math.prod(x.shape) * x.itemsize
    ctx.launch(small_kernel("cumulative", head, params, body, lines, rows_per_chunk(n), node, moved))


# -- sorting --------------------------------------------------------------------------------------------
def _sort_lines(dtype: str, descending: bool) -> list[str]:
    """Bottom-up merge sort of one line: the values end in `keys` and their places in `order`, NaN last.

    Descending is the mirror image of sorting the mirror image: equal values keep their places.
    """
    after = "keys[right] < keys[left]"
    if dtype.startswith("float"):
        after += " or (keys[left] != keys[left] and keys[right] == keys[right])"
    place = "n - 1 - i" if descending else "i"
    return [
        "for i in range(n):",
        f"    keys[i] = x[start + ({place}) * inner]",
        f"    order[i] = {place}",
        "run = 1",
        "while run < n:",
        "    for begin in range(0, n, 2 * run):",
        "        middle = min(begin + run, n)",
        "        end = min(begin + 2 * run, n)",
        "        left = begin",
        "        right = middle",
        "        for i in range(begin, end):",
        f"            if right < end and (left >= middle or {after}):",
        "                other_keys[i] = keys[right]",
        "                other_order[i] = order[right]",
        "                right += 1",
        "            else:",
        "                other_keys[i] = keys[left]",
        "                other_order[i] = order[left]",
        "                left += 1",
        "    for i in range(n):",
        "        keys[i] = other_keys[i]",
        "        order[i] = other_order[i]",
        "    run = 2 * run",
    ]


def _select_lines(dtype: str) -> list[str]:
    """The largest `keep` of one line in `keys`, from the largest on, and their places in `order`; NaN comes first.

    Most blocks hold no value that is larger than the smallest of those found so far: a loop of comparisons without
    branches, which is made of vectors, passes over them.
    """
    larger, test = "{0} > {1}", "int32(value > limit)"
    if dtype.startswith("float"):
        larger += " or ({0} != {0} and {1} == {1})"
        test += " + int32(value != value)"
    return [
        "found = 0",
        f"for block in range(0, n, {BLOCK}):",
        f"    end = min(block + {BLOCK}, n)",
        "    hits = int32(1)",
        "    if found == keep:",
        "        limit = keys[keep - 1]",
        "        hits = int32(0)",
        "        for i in range(block, end):",
        "            value = x[start + i * inner]",
        f"            hits += {test}",
        "    if hits > 0:",
        "        for i in range(block, end):",
        "            value = x[start + i * inner]",
        "            new = found < keep",
        "            if new or " + larger.format("value", "keys[keep - 1]") + ":",
        "                at = select(new, found, keep - 1)",
        "                moving = at > 0",
        "                while moving:",
        "                    before = keys[at - 1]",
        "                    if " + larger.format("value", "before") + ":",
        "                        keys[at] = before",
        "                        order[at] = order[at - 1]",
        "                        at -= 1",
        "                        moving = at > 0",
        "                    else:",
        "                        moving = False",
        "                keys[at] = value",
        "                order[at] = i",
        "                found = select(new, found + 1, found)",
    ]


def _sort_kernel(
    ctx: Lowering, node: Node, axis: int, values: View | None, places: View | None, descending: bool
) -> None:
    """Sort lines of the input and store the first entries of each line's values, places, or both."""
    x = _source(ctx, node)
    outer, n, inner = split(x.shape, axis)
    stored = values if values is not None else places
    assert stored is not None
    keep = stored.shape[axis]
    if not outer * inner * keep:
        return
    params = Params()
    params.source("x", x)
    if values is not None:
        params.target("values", values)
    if places is not None:
        params.target("places", places)
    words = x.dtype if x.dtype != "bool" else "uint8"
    few = keep <= FEW and node.op == "top_k"
    for name in ("keys",) if few else ("keys", "other_keys"):
        params.scratch(name, keep if few else n, words)
    for name in ("order",) if few else ("order", "other_order"):
        params.scratch(name, keep if few else n, "int64")
    params.ints(n=n, keep=keep)
    (params.literal if inner == 1 else params.word)("inner", inner)
    entry = "n - 1 - i" if descending and not few else "i"
    body = [
        "for item in range(lo, hi):",
        "    start = item // inner * n * inner + item % inner",
        "    target = item // inner * keep * inner + item % inner",
        *("    " + line for line in (_select_lines(words) if few else _sort_lines(words, descending))),
        "    for i in range(keep):",
    ]
    if values is not None:
        body.append(f"        values[target + i * inner] = {_stored(f'keys[{entry}]', values.dtype)}")
    if places is not None:
        body.append(f"        places[target + i * inner] = int32(order[{entry}])")
    direction = "Descending" if descending else "Ascending"
    how = "The largest few" if few else f"{direction} stable merge sort"
    head = f"{how} along one axis, {x.dtype}. One item is one line."
    lines = outer * inner
    moved = 3.0 * math.prod(x.shape) * x.itemsize
    cost = n if few else n * max(1, n.bit_length())
    ctx.launch(small_kernel(node.op, head, params, body, lines, rows_per_chunk(4 * cost), node, moved))


@lowers("sort")
def lower_sort(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    axis = node.attrs["axis"] % len(node.shape)
    _sort_kernel(ctx, node, axis, ctx.output(node), None, node.attrs["descending"])


@lowers("argsort")
def lower_argsort(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    axis = node.attrs["axis"] % len(node.shape)
    _sort_kernel(ctx, node, axis, None, ctx.output(node), node.attrs["descending"])


@lowers("top_k")
def lower_top_k(ctx: Lowering, group: Group) -> None:
    node = group.anchor
    values, places = (ctx.result(node, i, group.items) for i in range(2))
    _sort_kernel(ctx, node, len(values.shape) - 1, values, places, descending=True)
