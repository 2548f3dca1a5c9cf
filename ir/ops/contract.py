"""CONTRACT: the general dot product, from which matmul, einsum and tensordot are made."""

from __future__ import annotations

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import NUMERIC, invert, is_half, prod, same_dtype, want_axis, want_dtype
from graphkeras.ir.types import TensorType

Axes = tuple[tuple[int, ...], tuple[int, ...]]


def free_axes(rank: int, *used: tuple[int, ...]) -> tuple[int, ...]:
    taken = {a for group in used for a in group}
    return tuple(i for i in range(rank) if i not in taken)


def _infer(a: TensorType, b: TensorType, *, contract: Axes, batch: Axes) -> TensorType:
    dtype = same_dtype("dot_general", a, b)
    want_dtype("dot_general", a, NUMERIC)
    for what, (left, right) in (("contract", contract), ("batch", batch)):
        if len(left) != len(right):
            raise ValueError(f"dot_general expects {what} axes in pairs; received {left} and {right}")
        for i, j in zip(left, right, strict=True):
            want_axis("dot_general", i, a.rank)
            want_axis("dot_general", j, b.rank)
            if a.shape[i] != b.shape[j]:
                raise ValueError(
                    f"dot_general expects equal extents on {what} axes {i} and {j}; received "
                    f"{a.shape[i]} and {b.shape[j]} (inputs {a} and {b})"
                )
    for side in (0, 1):
        used = contract[side] + batch[side]
        if len(set(used)) != len(used):
            raise ValueError(f"dot_general uses an axis twice: contract={contract}, batch={batch}")
    shape = tuple(a.shape[i] for i in batch[0])
    shape += tuple(a.shape[i] for i in free_axes(a.rank, contract[0], batch[0]))
    shape += tuple(b.shape[i] for i in free_axes(b.rank, contract[1], batch[1]))
    return TensorType(shape, dtype)


def _reference(a: np.ndarray, b: np.ndarray, *, contract: Axes, batch: Axes) -> np.ndarray:
    if is_half(a):
        a, b = a.astype(np.float32), b.astype(np.float32)
    free_a, free_b = free_axes(a.ndim, contract[0], batch[0]), free_axes(b.ndim, contract[1], batch[1])
    lead = [a.shape[i] for i in batch[0]]
    rows, columns = [a.shape[i] for i in free_a], [b.shape[i] for i in free_b]
    depth = prod([a.shape[i] for i in contract[0]])
    left = a.transpose(*batch[0], *free_a, *contract[0]).reshape(*lead, prod(rows), depth)
    right = b.transpose(*batch[1], *contract[1], *free_b).reshape(*lead, depth, prod(columns))
    return np.matmul(left, right).reshape((*lead, *rows, *columns))


def _one_side(
    b: Builder, ct: Node, other: Node, mine: tuple[int, ...], theirs: tuple[int, ...], lot: dict[str, tuple[int, ...]]
) -> Node:
    """Cotangent of one operand: contract ct with the other operand's free axes, then restore the axis order."""
    batch_count = len(lot["batch"])
    found = b.dot_general(
        ct, other, contract=(lot["ct_axes"], lot["their_free"]), batch=(tuple(range(batch_count)), lot["their_batch"])
    )
    order = sorted(range(len(theirs)), key=lambda i: theirs[i])  # the other's contracted axes come out ascending
    layout = lot["batch"] + lot["my_free"] + tuple(mine[i] for i in order)
    perm = invert(layout)
    return found if perm == tuple(range(len(perm))) else b.transpose(found, perm=perm)


def _vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, y = node.inputs
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    free_x = free_axes(x.type.rank, contract[0], batch[0])
    free_y = free_axes(y.type.rank, contract[1], batch[1])
    lead = len(batch[0])
    x_axes = tuple(range(lead, lead + len(free_x)))
    y_axes = tuple(range(lead + len(free_x), lead + len(free_x) + len(free_y)))
    for_x = {"batch": batch[0], "their_batch": batch[1], "my_free": free_x, "their_free": free_y, "ct_axes": y_axes}
    for_y = {"batch": batch[1], "their_batch": batch[0], "my_free": free_y, "their_free": free_x, "ct_axes": x_axes}
    return [
        _one_side(b, ct, y, contract[0], contract[1], for_x),
        _one_side(b, ct, x, contract[1], contract[0], for_y),
    ]


register(
    Op(
        "dot_general",
        Kind.CONTRACT,
        _infer,
        _reference,
        _vjp,
        samples=(
            Sample(((3, 4), (4, 2)), {"contract": ((1,), (0,)), "batch": ((), ())}),
            Sample(((4, 3), (2, 4)), {"contract": ((0,), (1,)), "batch": ((), ())}),
            Sample(((2, 3, 4), (2, 4, 5)), {"contract": ((2,), (1,)), "batch": ((0,), (0,))}),
            Sample(((3, 2, 4, 2), (4, 5, 2, 3)), {"contract": ((2, 0), (0, 3)), "batch": ((1,), (2,))}),
            Sample(((3,), (4,)), {"contract": ((), ()), "batch": ((), ())}),
            Sample(((3,), (3,)), {"contract": ((0,), (0,)), "batch": ((), ())}),
        ),
        tolerance=1e-5,
        doc="Sum of products over the contract axes: (batch axes, free axes of a, free axes of b). Half types "
        "accumulate in float32.",
        extra={"dtypes": NUMERIC},
    )
)
