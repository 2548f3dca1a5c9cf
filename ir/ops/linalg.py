"""Linear algebra on the last two axes, batched over the others. The factorisations are in linalg_factors.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import matmul, same_dtype, swap_last, want_dtype
from graphkeras.ir.types import COMPLEX, TensorType

DTYPES = ("float32", "float64", *COMPLEX)
EXTRA = {"dtypes": DTYPES}


def want_matrix(name: str, x: TensorType, *, square: bool = True) -> None:
    want_dtype(name, x, DTYPES)
    if x.rank < 2 or (square and x.shape[-1] != x.shape[-2]):
        what = "square matrices (..., n, n)" if square else "matrices (..., m, n)"
        raise ValueError(f"{name} expects {what}; received {x}")


def square_infer(name: str) -> Callable[[TensorType], TensorType]:
    def infer(x: TensorType) -> TensorType:
        want_matrix(name, x)
        return x

    return infer


def regular(*shape: int) -> Callable[..., Any]:
    """Sample maker of well-conditioned square matrices."""

    def make(rng: np.random.Generator) -> list[np.ndarray]:
        return [(rng.uniform(-1, 1, shape) + 3 * np.eye(shape[-1])).astype(np.float32)]

    return make


def triangle(b: Builder, x: Node, *, lower: bool, offset: int = 0) -> Node:
    """x with zeros above (lower) or below the diagonal that lies `offset` to the right of the main one."""
    plane = x.shape[-2:]
    row, column = (b.iota(shape=plane, dtype="int32", axis=i) for i in (0, 1))
    moved = b.add(row, offset)
    keep = b.le(column, moved) if lower else b.ge(column, moved)
    return b.select(keep, x, 0)


# -- inverse and determinants ----------------------------------------------------------------------
def _inv_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    transposed = swap_last(b, node)
    return [b.neg(matmul(b, matmul(b, transposed, ct), transposed))]


register(
    Op(
        "inv",
        Kind.OPAQUE,
        square_infer("inv"),
        np.linalg.inv,
        _inv_vjp,
        samples=(Sample(((3, 3),), make=regular(3, 3)), Sample(((2, 2, 2),), make=regular(2, 2, 2))),
        tolerance=1e-4,
        doc="Inverse matrices.",
        extra=EXTRA,
    )
)


def _det_infer(x: TensorType) -> TensorType:
    want_matrix("det", x)
    return x.with_shape(x.shape[:-2])


def _per_matrix(b: Builder, value: Node) -> Node:
    return b.reshape(value, shape=(*value.shape, 1, 1))


def _det_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    (x,) = node.inputs
    return [b.mul(_per_matrix(b, b.mul(ct, node)), swap_last(b, b.inv(x)))]


register(
    Op(
        "det",
        Kind.OPAQUE,
        _det_infer,
        np.linalg.det,
        _det_vjp,
        samples=(Sample(((3, 3),), make=regular(3, 3)), Sample(((2, 2, 2),), make=regular(2, 2, 2))),
        tolerance=1e-4,
        doc="Determinants; the gradient needs regular matrices.",
        extra=EXTRA,
    )
)


def _slogdet_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    want_matrix("slogdet", x)
    want_dtype("slogdet", x, DTYPES[:2])
    return x.with_shape(x.shape[:-2]), x.with_shape(x.shape[:-2])


def _slogdet_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    (x,) = node.inputs
    if ct[1] is None:
        return [None]
    return [b.mul(_per_matrix(b, ct[1]), swap_last(b, b.inv(x)))]


register(
    Op(
        "slogdet",
        Kind.OPAQUE,
        _slogdet_infer,
        lambda x: tuple(np.linalg.slogdet(x)),
        _slogdet_vjp,
        samples=(Sample(((3, 3),), make=regular(3, 3)),),
        tolerance=1e-4,
        doc="(sign, log of the absolute value) of determinants.",
        extra={"dtypes": DTYPES[:2]},
    )
)


# -- linear systems --------------------------------------------------------------------------------
def _want_right_side(name: str, a: TensorType, y: TensorType) -> None:
    same_dtype(name, a, y)
    if y.rank != a.rank or y.shape[:-1] != a.shape[:-1]:
        raise ValueError(f"{name} expects a (..., m, n) and b (..., m, k) of one batch shape; received {a} and {y}")


def _solve_infer(a: TensorType, y: TensorType) -> TensorType:
    want_matrix("solve", a)
    _want_right_side("solve", a, y)
    return y


def _solve_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    a, _ = node.inputs
    by_y = b.solve(swap_last(b, a), ct)
    return [b.neg(matmul(b, by_y, swap_last(b, node))), by_y]


def _system(shape: tuple[int, ...], right: tuple[int, ...]) -> Callable[..., Any]:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        return [*regular(*shape)(rng), rng.uniform(-1, 1, right).astype(np.float32)]

    return make


register(
    Op(
        "solve",
        Kind.OPAQUE,
        _solve_infer,
        np.linalg.solve,
        _solve_vjp,
        samples=(
            Sample(((3, 3), (3, 2)), make=_system((3, 3), (3, 2))),
            Sample(((2, 2, 2), (2, 2, 1)), make=_system((2, 2, 2), (2, 2, 1))),
        ),
        tolerance=1e-4,
        doc="x with a x = b for a (..., n, n) and b (..., n, k).",
        extra=EXTRA,
    )
)


def _triangular_infer(a: TensorType, y: TensorType, *, lower: bool, transpose: bool) -> TensorType:
    want_matrix("solve_triangular", a)
    _want_right_side("solve_triangular", a, y)
    return y


def _triangular(a: np.ndarray, y: np.ndarray, *, lower: bool, transpose: bool) -> np.ndarray:
    """Substitution row by row, all matrices of the batch at once."""
    if transpose:
        a, lower = np.swapaxes(a, -1, -2), not lower
    n = a.shape[-1]
    out = np.zeros_like(y)
    for i in range(n) if lower else reversed(range(n)):
        known = slice(0, i) if lower else slice(i + 1, n)
        total = np.matmul(a[..., i : i + 1, known], out[..., known, :])[..., 0, :]
        out[..., i, :] = (y[..., i, :] - total) / a[..., i, i, None]
    return out


def _triangular_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    a, _ = node.inputs
    lower, transpose = node.attrs["lower"], node.attrs["transpose"]
    by_y = b.solve_triangular(a, ct, lower=lower, transpose=not transpose)
    left, right = (node, by_y) if transpose else (by_y, node)
    return [triangle(b, b.neg(matmul(b, left, swap_last(b, right))), lower=lower), by_y]


register(
    Op(
        "solve_triangular",
        Kind.OPAQUE,
        _triangular_infer,
        _triangular,
        _triangular_vjp,
        samples=tuple(
            Sample(((2, 3, 3), (2, 3, 2)), {"lower": lo, "transpose": tr}, make=_system((2, 3, 3), (2, 3, 2)))
            for lo in (True, False)
            for tr in (True, False)
        ),
        tolerance=1e-4,
        doc="x with t x = b, or t^T x = b when `transpose`, where t is the lower or upper triangle of a.",
        extra=EXTRA,
    )
)


# -- least squares ---------------------------------------------------------------------------------
def _lstsq_infer(a: TensorType, y: TensorType, *, rcond: float | None = None) -> TensorType:
    want_matrix("lstsq", a, square=False)
    want_dtype("lstsq", a, DTYPES[:2])
    _want_right_side("lstsq", a, y)
    return y.with_shape((*a.shape[:-2], a.shape[-1], y.shape[-1]))


def _lstsq(a: np.ndarray, y: np.ndarray, *, rcond: float | None = None) -> np.ndarray:
    limit = rcond if rcond is not None else np.finfo(a.dtype).eps * max(a.shape[-2:])
    return np.matmul(np.linalg.pinv(a, rcond=limit), y)


def _lstsq_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    """By the normal equations of the full-rank problem: overdetermined, or of least norm."""
    a, y = node.inputs
    at, xt = swap_last(b, a), swap_last(b, node)
    if a.shape[-2] >= a.shape[-1]:
        z = b.solve(matmul(b, at, a), ct)
        by_y = matmul(b, a, z)
        rest = b.sub(y, matmul(b, a, node))
        return [b.sub(matmul(b, rest, swap_last(b, z)), matmul(b, by_y, xt)), by_y]
    gram = matmul(b, a, at)
    by_y = b.solve(gram, matmul(b, a, ct))
    dual = b.solve(gram, y)
    rest = b.sub(ct, matmul(b, at, by_y))
    return [b.sub(matmul(b, dual, swap_last(b, rest)), matmul(b, by_y, xt)), by_y]


register(
    Op(
        "lstsq",
        Kind.OPAQUE,
        _lstsq_infer,
        _lstsq,
        _lstsq_vjp,
        samples=(Sample(((4, 2), (4, 3)), {"rcond": None}), Sample(((2, 4), (2, 3)), {"rcond": None})),
        tolerance=1e-4,
        doc="The x of least norm among those that make a x - b smallest.",
        extra={"dtypes": DTYPES[:2]},
    )
)
