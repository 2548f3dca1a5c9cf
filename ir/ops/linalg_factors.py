"""Matrix factorisations and the gradients of the real ones, derived as in M. Giles, "Collected matrix derivative
results" (2008) and J. Townsend, "Differentiating the singular value decomposition" (2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.linalg import DTYPES, EXTRA, regular, square_infer, triangle, want_matrix
from graphkeras.ir.ops.rules import complex_dtype, matmul, real_dtype, swap_last
from graphkeras.ir.types import COMPLEX, TensorType

REAL = {"dtypes": DTYPES[:2]}


def _want_real(node: Node) -> None:
    from graphkeras.ir.autodiff import GradientError

    if node.inputs[0].dtype in COMPLEX:
        raise GradientError(f"op {node.op!r} in layer {node.origin} has a gradient for real matrices only")


def _given(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node]:
    """Cotangents of all results, zeros where there is none."""
    return [c if c is not None else b.full(t.shape, 0, t.dtype) for c, t in zip(ct, node.type, strict=True)]


def _diagonal_half(b: Builder, x: Node) -> Node:
    """The lower triangle with its diagonal halved."""
    strict = triangle(b, x, lower=True, offset=-1)
    return b.add(strict, b.mul(b.sub(triangle(b, x, lower=True), strict), 0.5))


# -- cholesky --------------------------------------------------------------------------------------
def _cholesky_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    _want_real(node)
    inner = _diagonal_half(b, matmul(b, swap_last(b, node), triangle(b, ct, lower=True)))
    left = b.solve_triangular(node, inner, lower=True, transpose=True)
    both = swap_last(b, b.solve_triangular(node, swap_last(b, left), lower=True, transpose=True))
    return [b.mul(b.add(both, swap_last(b, both)), 0.5)]


def _positive(rng: np.random.Generator) -> list[np.ndarray]:
    x = rng.uniform(-1, 1, (2, 3, 3))
    return [(x @ np.swapaxes(x, -1, -2) + 2 * np.eye(3)).astype(np.float32)]


def _symmetric_cholesky(x: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky((x + np.conj(np.swapaxes(x, -1, -2))) / 2)


register(
    Op(
        "cholesky",
        Kind.OPAQUE,
        square_infer("cholesky"),
        _symmetric_cholesky,
        _cholesky_vjp,
        samples=(Sample(((2, 3, 3),), make=_positive),),
        tolerance=1e-4,
        doc="The lower triangular l with l l^H = (x + x^H) / 2.",
        extra=EXTRA,
    )
)


# -- qr --------------------------------------------------------------------------------------------
def _qr_infer(x: TensorType, *, mode: str) -> tuple[TensorType, TensorType]:
    want_matrix("qr", x, square=False)
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr expects mode 'reduced' or 'complete'; received {mode!r}")
    m, n = x.shape[-2:]
    k = min(m, n) if mode == "reduced" else m
    return x.with_shape((*x.shape[:-1], k)), x.with_shape((*x.shape[:-2], k, n))


def _qr_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    from graphkeras.ir.autodiff import GradientError

    _want_real(node)
    (x,) = node.inputs
    m, n = x.shape[-2:]
    if m < n or (node.attrs["mode"] == "complete" and m != n):
        raise GradientError(
            f"qr in layer {node.origin} has a gradient for mode='reduced' and at least as many rows as columns; "
            f"received {x.type} with mode={node.attrs['mode']!r}"
        )
    q, r = b.item(node, 0), b.item(node, 1)
    by_q, by_r = _given(b, ct, node)
    middle = b.sub(matmul(b, r, swap_last(b, by_r)), matmul(b, swap_last(b, by_q), q))
    low = triangle(b, middle, lower=True, offset=-1)
    symmetric = b.add(triangle(b, middle, lower=True), swap_last(b, low))
    total = b.add(by_q, matmul(b, q, symmetric))
    return [swap_last(b, b.solve_triangular(r, swap_last(b, total), lower=False, transpose=False))]


register(
    Op(
        "qr",
        Kind.OPAQUE,
        _qr_infer,
        lambda x, *, mode: tuple(np.linalg.qr(x, mode=mode)),
        _qr_vjp,
        samples=(
            Sample(((3, 3),), {"mode": "reduced"}, make=regular(3, 3)),
            Sample(((2, 4, 2),), {"mode": "reduced"}),
            Sample(((4, 2),), {"mode": "complete"}, differentiable=False),
            Sample(((2, 4),), {"mode": "reduced"}, differentiable=False),
        ),
        tolerance=1e-4,
        doc="(q, r) with q r = x, q with orthonormal columns and r upper triangular.",
        extra=EXTRA,
    )
)


# -- eigenvalues -----------------------------------------------------------------------------------
def _differences(b: Builder, values: Node) -> Node:
    """1 / (values[j] - values[i]), 0 on the diagonal and where they are equal."""
    shape = values.shape
    gap = b.sub(b.reshape(values, shape=(*shape[:-1], 1, shape[-1])), b.reshape(values, shape=(*shape, 1)))
    same = b.eq(gap, 0.0)
    return b.select(same, 0.0, b.div(1.0, b.select(same, 1.0, gap)))


def _scale_columns(b: Builder, x: Node, values: Node) -> Node:
    return b.mul(x, b.reshape(values, shape=(*values.shape[:-1], 1, values.shape[-1])))


def _eigh_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    want_matrix("eigh", x)
    return TensorType(x.shape[:-1], real_dtype(x.dtype)), x


def _eigh_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    _want_real(node)
    w, v = b.item(node, 0), b.item(node, 1)
    by_w, by_v = ct
    vt = swap_last(b, v)
    total = None if by_w is None else matmul(b, _scale_columns(b, v, by_w), vt)
    if by_v is not None:
        inner = b.mul(_differences(b, w), matmul(b, vt, by_v))
        rest = matmul(b, matmul(b, v, inner), vt)
        total = rest if total is None else b.add(total, rest)
    if total is None:
        return [None]
    return [b.mul(b.add(total, swap_last(b, total)), 0.5)]


def _eigh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    w, v = np.linalg.eigh((x + np.conj(np.swapaxes(x, -1, -2))) / 2)
    return w, v


def _eig_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    want_matrix("eig", x)
    dtype = complex_dtype(x.dtype)
    return TensorType(x.shape[:-1], dtype), x.with_dtype(dtype)


register(
    Op(
        "eigh",
        Kind.OPAQUE,
        _eigh_infer,
        _eigh,
        _eigh_vjp,
        samples=(Sample(((2, 3, 3),), make=_positive),),
        tolerance=1e-4,
        doc="(eigenvalues ascending, eigenvectors in columns) of (x + x^H) / 2.",
        extra=EXTRA,
    )
)
register(
    Op(
        "eig",
        Kind.OPAQUE,
        _eig_infer,
        lambda x: tuple(np.linalg.eig(x)),
        None,
        samples=(Sample(((3, 3),), make=regular(3, 3), differentiable=False),),
        tolerance=1e-4,
        doc="(eigenvalues, eigenvectors in columns) of general matrices, complex; no gradient.",
        extra=EXTRA,
    )
)


# -- svd -------------------------------------------------------------------------------------------
def _svd_infer(x: TensorType, *, full_matrices: bool, compute_uv: bool) -> tuple[TensorType, ...]:
    want_matrix("svd", x, square=False)
    lead, (m, n) = x.shape[:-2], x.shape[-2:]
    k = min(m, n)
    s = TensorType((*lead, k), real_dtype(x.dtype))
    if not compute_uv:
        return (s,)
    rows, columns = (m, n) if full_matrices else (k, k)
    return x.with_shape((*lead, m, rows)), s, x.with_shape((*lead, columns, n))


def _svd(x: np.ndarray, *, full_matrices: bool, compute_uv: bool) -> tuple[np.ndarray, ...]:
    if compute_uv:
        return tuple(np.linalg.svd(x, full_matrices=full_matrices))
    return (np.linalg.svd(x, compute_uv=False),)


def _svd_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    from graphkeras.ir.autodiff import GradientError

    _want_real(node)
    (x,) = node.inputs
    thin = b.svd(x, full_matrices=False, compute_uv=True)
    u, s, vt = (b.item(thin, i) for i in range(3))
    by_u, by_s, by_vt = ct if node.attrs["compute_uv"] else (None, ct[0], None)
    total = None if by_s is None else matmul(b, _scale_columns(b, u, by_s), vt)
    if by_u is None and by_vt is None:
        return [total]
    if node.attrs["full_matrices"] and x.shape[-2] != x.shape[-1]:
        raise GradientError(f"svd in layer {node.origin} has gradients of u and v for full_matrices=False only")
    f = _differences(b, b.mul(s, s))
    parts = [] if total is None else [total]
    if by_u is not None:
        parts.append(_svd_side(b, u, by_u, s, swap_last(b, vt), f))
    if by_vt is not None:
        parts.append(swap_last(b, _svd_side(b, swap_last(b, vt), swap_last(b, by_vt), s, u, f)))
    out = parts[0]
    for part in parts[1:]:
        out = b.add(out, part)
    return [out]


def _svd_side(b: Builder, u: Node, by_u: Node, s: Node, v: Node, f: Node) -> Node:
    """The part of the cotangent of u s v^T that comes through u; through v by exchanging the roles."""
    ut, vt = swap_last(b, u), swap_last(b, v)
    inner = b.mul(f, matmul(b, ut, by_u))
    inner = _scale_columns(b, b.add(inner, swap_last(b, inner)), s)
    out = matmul(b, matmul(b, u, inner), vt)
    if u.shape[-2] > u.shape[-1]:
        rest = b.sub(by_u, matmul(b, u, matmul(b, ut, by_u)))
        out = b.add(out, matmul(b, _scale_columns(b, rest, b.div(1.0, s)), vt))
    return out


register(
    Op(
        "svd",
        Kind.OPAQUE,
        _svd_infer,
        _svd,
        _svd_vjp,
        samples=(
            Sample(((3, 3),), {"full_matrices": False, "compute_uv": True}, make=regular(3, 3)),
            Sample(((2, 4, 2),), {"full_matrices": False, "compute_uv": True}),
            Sample(((2, 4),), {"full_matrices": False, "compute_uv": True}),
            Sample(((4, 2),), {"full_matrices": True, "compute_uv": False}),
            Sample(((4, 2),), {"full_matrices": True, "compute_uv": True}, differentiable=False),
        ),
        tolerance=1e-4,
        doc="(u, s, v^H) with u diag(s) v^H = x and s descending; only (s,) without compute_uv.",
        extra=EXTRA,
    )
)


# -- lu --------------------------------------------------------------------------------------------
def _lu_infer(x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
    want_matrix("lu", x)
    return x, TensorType(x.shape[:-1], "int32"), TensorType(x.shape[:-1], "int32")


def _lu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column by column with the largest pivot, all matrices of the batch at once."""
    n = x.shape[-1]
    a = np.array(x).reshape(-1, n, n)
    count = np.arange(len(a))
    pivots = np.zeros((len(a), n), np.int32)
    order = np.tile(np.arange(n, dtype=np.int32), (len(a), 1))
    for i in range(n):
        best = i + np.abs(a[:, i:, i]).argmax(axis=1)
        pivots[:, i] = best
        for rows in (a, order):
            held = rows[count, best].copy()
            rows[count, best] = rows[:, i]
            rows[:, i] = held
        pivot = a[:, i, i]
        a[:, i + 1 :, i] /= np.where(pivot == 0, 1, pivot)[:, None]
        a[:, i + 1 :, i + 1 :] -= a[:, i + 1 :, i, None] * a[:, i, None, i + 1 :]
    return a.reshape(x.shape), pivots.reshape(x.shape[:-1]), order.reshape(x.shape[:-1])


def _lu_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    _want_real(node)
    (x,) = node.inputs
    if ct[0] is None:
        return [None]
    packed, order = b.item(node, 0), b.item(node, 2)
    rank, n = x.type.rank, x.shape[-1]
    strict = triangle(b, packed, lower=True, offset=-1)
    lower = b.add(strict, b.const(np.eye(n), x.dtype))
    upper = triangle(b, packed, lower=False)
    by_lower, by_upper = triangle(b, ct[0], lower=True, offset=-1), triangle(b, ct[0], lower=False)
    inner = b.add(
        triangle(b, matmul(b, swap_last(b, lower), by_lower), lower=True, offset=-1),
        triangle(b, matmul(b, by_upper, swap_last(b, upper)), lower=False),
    )
    left = b.solve_triangular(lower, inner, lower=True, transpose=True)
    both = swap_last(b, b.solve_triangular(upper, swap_last(b, left), lower=False, transpose=False))
    index = b.broadcast_to(b.reshape(order, shape=(*order.shape, 1)), shape=x.shape)
    return [b.scatter_along_axis(b.full_like(x, 0), index, both, axis=rank - 2, combine="set")]


register(
    Op(
        "lu",
        Kind.OPAQUE,
        _lu_infer,
        _lu,
        _lu_vjp,
        samples=(Sample(((3, 3),), make=regular(3, 3)), Sample(((2, 4, 4),))),
        tolerance=1e-4,
        doc="(l and u packed in one matrix, the row exchanged at each step, the resulting order of rows).",
        extra=EXTRA,
    )
)
