"""Canonicalise: one form for what can be written in several ways, mostly about views and broadcasts."""

from __future__ import annotations

import math

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.rewrite import rule
from graphkeras.ir.types import FLOATS, INTS, SIGNED, is_float, is_inexact


@rule("reshape")
def reshape_of_reshape(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.shape == n.shape:
        return x
    if x.op == "reshape":
        return b.reshape(x.inputs[0], shape=n.shape)
    if x.op == "broadcast_to" and x.inputs[0].type.rank == 0:
        return b.broadcast_to(x.inputs[0], shape=n.shape)
    return None


@rule("broadcast_to")
def broadcast_of_broadcast(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.shape == n.shape:
        return x
    if x.op == "broadcast_to":
        return b.broadcast_to(x.inputs[0], shape=n.shape)
    if x.op == "const" and x.type.rank and x.type.size == 1:
        return b.broadcast_to(b.const(x.attrs["value"].array.reshape(())), shape=n.shape)
    return None


@rule("cast")
def cast_to_itself(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.dtype == n.dtype:
        return x
    if x.op == "broadcast_to":
        return b.broadcast_to(b.cast(x.inputs[0], dtype=n.dtype), shape=n.shape)
    return None


EXACT_INTS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
"""Bits of the integers that a float dtype holds exactly."""


def _keeps_all(source: str, target: str) -> bool:
    """Whether every value of one dtype is a value of the other."""
    if source == "bool":
        return is_float(target) or target in INTS
    if source in FLOATS:
        return target == "float64" or (target == "float32" and source in ("float16", "bfloat16"))
    if source not in INTS:
        return False
    bits = int(source.lstrip("uint"))
    if is_float(target):
        return bits <= EXACT_INTS[target]
    return target in INTS and int(target.lstrip("uint")) > bits and (target in SIGNED or source not in SIGNED)


@rule("cast")
def cast_chain(b: Builder, n: Node) -> Node | None:
    """Through a dtype that holds every value of the first one: cast once."""
    (x,) = n.inputs
    if x.op != "cast" or not _keeps_all(x.inputs[0].dtype, x.dtype) or n.dtype.startswith("complex"):
        return None
    return b.cast(x.inputs[0], dtype=n.dtype)


@rule("maximum", "minimum")
def extremum_of_extremum(b: Builder, n: Node) -> Node | None:
    """max(max(x, c), d) = max(x, max(c, d)); with zeros of two signs either might win, so these stay."""
    x, y = n.inputs
    if x.op != n.op or x.shape != n.shape or x.inputs[0].shape != n.shape:
        return None
    c, d = scalar_value(x.inputs[1]), scalar_value(y)
    if c is None or d is None or c == d == 0:
        return None
    return b.emit(n.op, x.inputs[0], b.const((np.maximum if n.op == "maximum" else np.minimum)(c, d), n.dtype))


@rule("slice")
def whole_slice(b: Builder, n: Node) -> Node | None:
    return n.inputs[0] if n.inputs[0].shape == n.shape else None


Ints = tuple[int, ...]


def _moved(n: Node, x: Node, by: Ints) -> tuple[Ints, Ints] | None:
    """(start, stop) of the slice n in x, whose element 0 is element `by` of what n reads; None: it reaches outside."""
    start = tuple(s - m for s, m in zip(n.attrs["start"], by, strict=True))
    last = [s + (size - 1) * k for s, size, k in zip(start, n.shape, n.attrs["step"], strict=True)]
    if n.type.size == 0 or min(start) < 0 or any(e >= size for e, size in zip(last, x.shape, strict=True)):
        return None
    return (start, tuple(e + 1 for e in last))


@rule("slice")
def slice_of_slice(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.op != "slice" or n.type.size == 0:
        return None
    start = tuple(o + s * k for o, s, k in zip(x.attrs["start"], n.attrs["start"], x.attrs["step"], strict=True))
    step = tuple(k * m for k, m in zip(x.attrs["step"], n.attrs["step"], strict=True))
    stop = tuple(s + (size - 1) * k + 1 for s, size, k in zip(start, n.shape, step, strict=True))
    return b.slice(x.inputs[0], start=start, stop=stop, step=step)


@rule("slice")
def slice_of_part(b: Builder, n: Node) -> Node | None:
    """A slice inside one operand of a concat, or inside what a pad surrounds, reads only that."""
    (x,) = n.inputs
    if x.op == "pad" and not any(x.attrs["interior"]):
        window = _moved(n, x.inputs[0], x.attrs["low"])
        return _slice(b, x.inputs[0], window, n) if window is not None else None
    if x.op != "concat":
        return None
    axis, offset = x.attrs["axis"], 0
    for part in x.inputs:
        window = _moved(n, part, tuple(offset if a == axis else 0 for a in range(n.type.rank)))
        if window is not None:
            return _slice(b, part, window, n)
        offset += part.shape[axis]
    return None


def _slice(b: Builder, x: Node, window: tuple[Ints, Ints], n: Node) -> Node:
    return b.slice(x, start=window[0], stop=window[1], step=n.attrs["step"])


@rule("concat")
def concat_of_slices(b: Builder, n: Node) -> Node | None:
    """Neighbouring slices of one value, put together again, are one slice."""
    axis = n.attrs["axis"]
    parts = [i for i in n.inputs if i.shape[axis]]
    if len(parts) < 2 or any(i.op != "slice" or i.inputs[0] is not parts[0].inputs[0] for i in parts):
        return None
    first = parts[0].attrs
    end = first["stop"][axis]
    for part in parts[1:]:
        same = all(
            part.attrs[key][a] == first[key][a]
            for key in first
            for a in range(n.type.rank)
            if a != axis or key == "step"
        )
        if not same or part.attrs["start"][axis] != end:
            return None
        end = part.attrs["stop"][axis]
    if first["step"][axis] != 1:
        return None
    stop = tuple(end if a == axis else s for a, s in enumerate(first["stop"]))
    return b.slice(parts[0].inputs[0], start=first["start"], stop=stop, step=first["step"])


@rule("concat")
def concat_of_one(b: Builder, n: Node) -> Node | None:
    return n.inputs[0] if len(n.inputs) == 1 else None


@rule("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or")
def reduce_nothing(b: Builder, n: Node) -> Node | None:
    """Over no axes, or over axes of extent one: a reshape."""
    (x,) = n.inputs
    if all(x.shape[a] == 1 for a in n.attrs["axes"]):
        return b.reshape(x, shape=n.shape)
    if n.attrs["keepdims"]:  # one form: reduce, then reshape
        return b.reshape(b.emit(n.op, x, axes=n.attrs["axes"], keepdims=False), shape=n.shape)
    return None


@rule("reduce_sum")
def sum_of_broadcast(b: Builder, n: Node) -> Node | None:
    """Summing along axes that were only repeated is a multiplication."""
    (x,) = n.inputs
    if x.op != "broadcast_to" or not x.type.dtype.startswith("float"):
        return None
    source = x.inputs[0]
    lead = x.type.rank - source.type.rank
    repeated = [a for a in n.attrs["axes"] if a < lead or (source.shape[a - lead] == 1 and x.shape[a] != 1)]
    if len(repeated) != len(n.attrs["axes"]):
        return None
    times = math.prod(x.shape[a] for a in repeated)
    if times == 0:  # an empty sum is 0, also where the values are infinite
        return None
    kept = tuple(m for a, m in enumerate(x.shape) if a not in repeated)
    inner = tuple(m for a, m in enumerate((1,) * lead + source.shape) if a not in repeated)
    return b.broadcast_to(b.mul(b.reshape(source, shape=inner), float(times)), shape=kept)


@rule("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "reduce_and", "reduce_or")
def reduce_of_number(b: Builder, n: Node) -> Node | None:
    """Reducing one constant number that is repeated gives a constant number."""
    (x,) = n.inputs
    if x.op != "broadcast_to" or scalar_value(x) is None or x.inputs[0].op != "const":
        return None
    line = math.prod(x.shape[a] for a in n.attrs["axes"])
    if not 0 < line <= LONGEST:
        return None
    values = np.broadcast_to(x.inputs[0].attrs["value"].array.reshape(()), (line,))
    result = get_op(n.op).reference(values, axes=(0,), keepdims=False)
    return b.broadcast_to(b.const(result, n.dtype), shape=n.shape)


LONGEST = 1 << 16

POINTWISE_SKIP = frozenset({"cast", "bitcast", "stop_gradient"})


def _hoist_broadcast(b: Builder, n: Node) -> Node | None:
    """f(broadcast x, broadcast y) = broadcast f(x, y) where x and y are single numbers: computed once."""
    if n.type.rank == 0 or not all(i.op == "broadcast_to" and i.inputs[0].type.rank == 0 for i in n.inputs):
        return None
    return b.broadcast_to(b.emit(n.op, *(i.inputs[0] for i in n.inputs), **n.attrs), shape=n.shape)


def _drop_broadcast(b: Builder, n: Node) -> Node | None:
    """An operand need not be broadcast where the others give the shape: the op does it."""
    if len(n.inputs) < 2:
        return None
    for k, i in enumerate(n.inputs):
        if i.op != "broadcast_to":
            continue
        bare = i.inputs[0]
        if any(o.shape == n.shape for j, o in enumerate(n.inputs) if j != k) and bare.type.rank <= n.type.rank:
            inputs = [*n.inputs]
            inputs[k] = bare
            return b.emit(n.op, *inputs, **n.attrs)
    return None


def pointwise_rules() -> list:
    from graphkeras.ir.op import all_ops
    from graphkeras.ir.passes.rewrite import Rule

    names = tuple(op.name for op in all_ops() if op.kind is Kind.POINTWISE and op.name not in POINTWISE_SKIP)
    assert all(get_op(name).kind is Kind.POINTWISE for name in names)
    return [Rule("hoist_broadcast", names, _hoist_broadcast), Rule("drop_broadcast", names, _drop_broadcast)]


def _zero_pad(n: Node) -> tuple[int, int, int] | None:
    """(axis, low, high) of a pad with zeros along one axis."""
    if n.op != "pad" or n.attrs["value"] != 0 or any(n.attrs["interior"]):
        return None
    low, high = n.attrs["low"], n.attrs["high"]
    axes = [a for a in range(len(low)) if low[a] or high[a]]
    return (axes[0], low[axes[0]], high[axes[0]]) if len(axes) == 1 and min(*low, *high) >= 0 else None


@rule("add")
def sum_of_parts(b: Builder, n: Node) -> Node | None:
    """pad(x, after) + pad(y, before) = concat(x, y) where the parts touch: what the gradient of a split is.

    In the forward pass it stays: there -0.0 + 0.0 has to be 0.0.
    """
    if n.origin.phase == "forward" and is_inexact(n.dtype):
        return None
    found = [_zero_pad(i) for i in n.inputs]
    if None in found or n.inputs[0].shape != n.inputs[1].shape:
        return None
    (axis, low, high), (other, low2, high2) = found  # type: ignore[misc]
    size = n.shape[axis]
    if axis != other or size not in (high + low2, high2 + low):
        return None
    first, second = n.inputs if size == high + low2 else n.inputs[::-1]
    whole = b.concat(first.inputs[0], second.inputs[0], axis=axis)
    if whole.shape == n.shape:
        return whole
    ends = [min(low, low2), min(high, high2)]
    edge = [tuple(e if a == axis else 0 for a in range(len(n.shape))) for e in ends]
    return b.pad(whole, low=edge[0], high=edge[1], interior=(0,) * len(n.shape), value=n.inputs[0].attrs["value"])


@rule("concat")
def concat_of_concat(b: Builder, n: Node) -> Node | None:
    """One concat instead of nested ones."""
    if not any(i.op == "concat" and i.attrs["axis"] == n.attrs["axis"] for i in n.inputs):
        return None
    flat: list[Node] = []
    for i in n.inputs:
        flat += i.inputs if i.op == "concat" and i.attrs["axis"] == n.attrs["axis"] else [i]
    return b.concat(*flat, axis=n.attrs["axis"])


CANONICAL = (
    reshape_of_reshape,
    broadcast_of_broadcast,
    cast_to_itself,
    cast_chain,
    extremum_of_extremum,
    whole_slice,
    slice_of_slice,
    slice_of_part,
    concat_of_slices,
    concat_of_one,
    concat_of_concat,
    sum_of_parts,
    reduce_nothing,
    reduce_of_number,
    sum_of_broadcast,
)
