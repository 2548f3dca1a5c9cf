"""VIEW ops: index maps without arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import ANY, invert, prod, same_dtype, want_axis, want_shape
from graphkeras.ir.types import TensorType

Ints = tuple[int, ...]
EXTRA = {"dtypes": ANY}


# -- reshape ---------------------------------------------------------------------------------------
def _reshape_infer(x: TensorType, *, shape: Ints) -> TensorType:
    shape = want_shape("reshape", shape)
    if prod(shape) != x.size:
        raise ValueError(
            f"reshape expects as many elements as before; received {x} ({x.size}) to {shape} ({prod(shape)})"
        )
    return x.with_shape(shape)


register(
    Op(
        "reshape",
        Kind.VIEW,
        _reshape_infer,
        lambda x, *, shape: x.reshape(shape),
        lambda b, ct, node: [b.reshape(ct, shape=node.inputs[0].shape)],
        samples=(Sample(((2, 3, 4),), {"shape": (6, 4)}), Sample(((1,),), {"shape": ()})),
        doc="The same elements in row-major order in another shape.",
        extra=EXTRA,
    )
)


# -- barrier ---------------------------------------------------------------------------------------
register(
    Op(
        "barrier",
        Kind.VIEW,
        lambda x, after: x,
        lambda x, after: x,
        lambda b, ct, node: [ct, None],
        samples=(Sample(((2, 3), (4,))),),
        doc="x, not before `after` is known: keeps a second computation of a value apart from the first one "
        "(passes/recompute.py) and costs nothing.",
        extra=EXTRA,
    )
)


# -- transpose -------------------------------------------------------------------------------------
def _transpose_infer(x: TensorType, *, perm: Ints) -> TensorType:
    if sorted(perm) != list(range(x.rank)):
        raise ValueError(f"transpose expects a permutation of the {x.rank} axes of {x}; received perm={perm}")
    return x.with_shape(tuple(x.shape[p] for p in perm))


register(
    Op(
        "transpose",
        Kind.VIEW,
        _transpose_infer,
        lambda x, *, perm: x.transpose(perm),
        lambda b, ct, node: [b.transpose(ct, perm=invert(node.attrs["perm"]))],
        samples=(Sample(((2, 3, 4),), {"perm": (2, 0, 1)}), Sample(((),), {"perm": ()})),
        doc="Axis i of the result is axis perm[i] of the input.",
        extra=EXTRA,
    )
)


# -- broadcast -------------------------------------------------------------------------------------
def _broadcast_infer(x: TensorType, *, shape: Ints) -> TensorType:
    shape = want_shape("broadcast_to", shape)
    tail = shape[len(shape) - x.rank :]
    if x.rank > len(shape) or any(n not in (1, m) for n, m in zip(x.shape, tail, strict=True)):
        raise ValueError(f"broadcast_to cannot expand shape {x.shape} to {shape}")
    return x.with_shape(shape)


register(
    Op(
        "broadcast_to",
        Kind.VIEW,
        _broadcast_infer,
        lambda x, *, shape: np.broadcast_to(x, shape),
        lambda b, ct, node: [ct],  # autodiff sums over the new axes
        samples=(
            Sample(((3, 1),), {"shape": (2, 3, 4)}),
            Sample(((),), {"shape": (2, 2)}),
            Sample(((1, 3),), {"shape": (0, 3)}),
        ),
        doc="Repeat along axes of extent 1 and along new leading axes.",
        extra=EXTRA,
    )
)


# -- slice -----------------------------------------------------------------------------------------
def _length(start: int, stop: int, step: int) -> int:
    return max(0, -(-(stop - start) // step))


def _slice_infer(x: TensorType, *, start: Ints, stop: Ints, step: Ints) -> TensorType:
    for what, values in (("start", start), ("stop", stop), ("step", step)):
        if len(values) != x.rank:
            raise ValueError(f"slice expects one {what} per axis of {x}; received {what}={values}")
    for axis, n in enumerate(x.shape):
        if step[axis] < 1 or not 0 <= start[axis] <= n or not 0 <= stop[axis] <= n:
            raise ValueError(
                f"slice expects 0 <= start, stop <= {n} and step >= 1 on axis {axis} of {x}; received "
                f"start={start[axis]}, stop={stop[axis]}, step={step[axis]}"
            )
    return x.with_shape(tuple(_length(*s) for s in zip(start, stop, step, strict=True)))


def _slice(x: np.ndarray, *, start: Ints, stop: Ints, step: Ints) -> np.ndarray:
    return x[tuple(slice(*s) for s in zip(start, stop, step, strict=True))]


def _slice_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    if ct.type.size == 0:
        return [b.full_like(x, 0)]
    start, step = node.attrs["start"], node.attrs["step"]
    last = [s + (n - 1) * k for s, n, k in zip(start, ct.shape, step, strict=True)]
    high = tuple(n - 1 - e for n, e in zip(x.shape, last, strict=True))
    return [b.pad(ct, low=start, high=high, interior=tuple(k - 1 for k in step), value=0)]


register(
    Op(
        "slice",
        Kind.VIEW,
        _slice_infer,
        _slice,
        _slice_vjp,
        samples=(
            Sample(((5, 6),), {"start": (1, 0), "stop": (4, 6), "step": (1, 2)}),
            Sample(((5, 6),), {"start": (0, 1), "stop": (5, 6), "step": (3, 3)}),
            Sample(((4,),), {"start": (2,), "stop": (2,), "step": (1,)}),
        ),
        doc="x[start:stop:step] on every axis.",
        extra=EXTRA,
    )
)


# -- reverse ---------------------------------------------------------------------------------------
def _reverse_infer(x: TensorType, *, axes: Ints) -> TensorType:
    for axis in axes:
        want_axis("reverse", axis, x.rank)
    return x


register(
    Op(
        "reverse",
        Kind.VIEW,
        _reverse_infer,
        lambda x, *, axes: np.flip(x, axes),
        lambda b, ct, node: [b.reverse(ct, axes=node.attrs["axes"])],
        samples=(Sample(((3, 4),), {"axes": (1,)}), Sample(((2, 3, 2),), {"axes": (0, 2)})),
        doc="Run backwards along `axes`.",
        extra=EXTRA,
    )
)


# -- pad -------------------------------------------------------------------------------------------
def _pad_infer(x: TensorType, *, low: Ints, high: Ints, interior: Ints, value: Any) -> TensorType:
    for what, values in (("low", low), ("high", high), ("interior", interior)):
        if len(values) != x.rank or any(v < 0 for v in values):
            raise ValueError(f"pad expects one non-negative {what} per axis of {x}; received {what}={values}")
    if not isinstance(value, bool | int | float | complex):
        raise TypeError(f"pad expects value as a Python number; received {type(value).__name__}")
    lots = zip(x.shape, low, high, interior, strict=True)
    return x.with_shape(tuple(n + lo + hi + max(n - 1, 0) * k for n, lo, hi, k in lots))


def _inside(shape: Ints, low: Ints, interior: Ints) -> tuple[slice, ...]:
    """Where the input's elements are in the padded array."""
    lots = zip(shape, low, interior, strict=True)
    return tuple(slice(lo, lo + (n - 1) * (k + 1) + 1 if n else lo, k + 1) for n, lo, k in lots)


def _pad(x: np.ndarray, *, low: Ints, high: Ints, interior: Ints, value: Any) -> np.ndarray:
    lots = zip(x.shape, low, high, interior, strict=True)
    out = np.full([n + lo + hi + max(n - 1, 0) * k for n, lo, hi, k in lots], value, dtype=x.dtype)
    out[_inside(x.shape, low, interior)] = x
    return out


def _pad_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    where = _inside(x.shape, node.attrs["low"], node.attrs["interior"])
    return [
        b.slice(
            ct,
            start=tuple(s.start for s in where),
            stop=tuple(s.stop for s in where),
            step=tuple(s.step for s in where),
        )
    ]


register(
    Op(
        "pad",
        Kind.VIEW,
        _pad_infer,
        _pad,
        _pad_vjp,
        samples=(
            Sample(((2, 3),), {"low": (1, 0), "high": (0, 2), "interior": (0, 0), "value": 0.0}),
            Sample(((2, 3),), {"low": (0, 2), "high": (1, 0), "interior": (2, 1), "value": 1.5}),
            Sample(((0, 2),), {"low": (1, 0), "high": (0, 0), "interior": (1, 0), "value": 0.0}),
        ),
        doc="`value` around the elements, and `interior` of it between neighbours.",
        extra=EXTRA,
    )
)


# -- concat ----------------------------------------------------------------------------------------
def _concat_infer(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise ValueError("concat expects at least one input; received none")
    same_dtype("concat", *xs)
    first = xs[0]
    axis = want_axis("concat", axis, first.rank)
    for x in xs:
        if x.rank != first.rank or any(
            i != axis and n != m for i, (n, m) in enumerate(zip(x.shape, first.shape, strict=False))
        ):
            raise ValueError(f"concat expects equal shapes except on axis {axis}; received {first.shape} and {x.shape}")
    total = sum(x.shape[axis] for x in xs)
    return first.with_shape((*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concat_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    axis = node.attrs["axis"]
    found: list[Node | None] = []
    begin = 0
    for x in node.inputs:
        end = begin + x.shape[axis]
        start = tuple(begin if i == axis else 0 for i in range(ct.type.rank))
        stop = tuple(end if i == axis else n for i, n in enumerate(ct.shape))
        found.append(b.slice(ct, start=start, stop=stop, step=(1,) * ct.type.rank))
        begin = end
    return found


register(
    Op(
        "concat",
        Kind.VIEW,
        _concat_infer,
        lambda *xs, axis: np.concatenate(xs, axis=axis),
        _concat_vjp,
        samples=(
            Sample(((2, 3), (2, 1), (2, 2)), {"axis": 1}),
            Sample(((2, 3), (0, 3)), {"axis": 0}),
        ),
        doc="Side by side along `axis`.",
        extra=EXTRA,
    )
)
