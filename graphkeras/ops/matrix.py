"""Products and linear algebra."""

from __future__ import annotations

import builtins
import math
from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    COMPLEX,
    HALF,
    Tensor,
    apply,
    axis_of,
    broadcast,
    cast_to,
    concat,
    dot_general,
    expand,
    floating,
    full_of,
    need_int,
    part,
    permute,
    promote,
    reduce,
    reshape_to,
    select,
    to_tensor,
)


# -- products ----------------------------------------------------------------------------------------
def _product_dtypes(*xs: Any) -> tuple[list[Tensor], str]:
    """Operands and the dtype of their product; bools are multiplied as int32, int8 x int8 gives int32."""
    tensors = [to_tensor(x) for x in xs]
    if builtins.all(t.dtype == "int8" for t in tensors):
        return [cast_to(t, "int32") for t in tensors], "int32"
    found = promote(*tensors)
    dtype = found[0].dtype
    return ([cast_to(t, "int32") for t in found] if dtype == "bool" else found), dtype


@keras_op
def matmul(x1: Any, x2: Any) -> Any:
    """Matrix product of the last two axes, earlier ones broadcast; 1-d tensors are rows or columns.

    >>> from graphkeras import ops
    >>> ops.matmul(ops.ones((2, 3)), ops.ones((3, 4))).shape
    (2, 4)
    """
    (a, b), dtype = _product_dtypes(x1, x2)
    if not a.shape or not b.shape:
        raise ValueError(f"matmul: arguments must have at least 1 dimension; received shapes {a.shape} and {b.shape}")
    inner = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(
            "matmul: the last dimension of `x1` must equal the second-last of `x2`; received shapes "
            f"{a.shape} and {b.shape}"
        )
    return cast_to(_matmul(a, b), dtype)


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    ra, rb = len(a.shape), len(b.shape)
    if rb <= 2:  # one matrix for all rows: no batch axes needed
        return dot_general(a, b, ((ra - 1,), (builtins.max(rb - 2, 0),)))
    if ra == 1:
        return dot_general(b, a, ((rb - 2,), (0,)))
    batch_a, batch_b = a.shape[:-2], b.shape[:-2]
    if ra == 2:
        # b's batch axes come after a's rows in the result; move the rows back in front of the columns.
        product = dot_general(a, b, ((1,), (rb - 2,)))
        return permute(product, (*range(1, rb - 1), 0, rb - 1))
    if batch_a != batch_b:
        import numpy as np

        common = np.broadcast_shapes(batch_a, batch_b)
        a, b = broadcast(a, (*common, *a.shape[-2:])), broadcast(b, (*common, *b.shape[-2:]))
    n = len(a.shape) - 2
    return dot_general(a, b, ((n + 1,), (n,)), (range(n), range(n)))


@keras_op
def dot(x1: Any, x2: Any) -> Any:
    """Product over the last axis of x1 and the second-last of x2; numbers multiply elementwise."""
    (a, b), dtype = _product_dtypes(x1, x2)
    if not a.shape or not b.shape:
        return cast_to(apply("mul", a, b), dtype)
    return cast_to(dot_general(a, b, ((len(a.shape) - 1,), (builtins.max(len(b.shape) - 2, 0),))), dtype)


@keras_op
def inner(x1: Any, x2: Any) -> Any:
    """Product over the last axes of both."""
    (a, b), dtype = _product_dtypes(x1, x2)
    if not a.shape or not b.shape:
        return cast_to(apply("mul", a, b), dtype)
    return cast_to(dot_general(a, b, ((len(a.shape) - 1,), (len(b.shape) - 1,))), dtype)


@keras_op
def vdot(x1: Any, x2: Any) -> Any:
    """Sum of products of the flattened tensors (the first one conjugated)."""
    (a, b), dtype = _product_dtypes(x1, x2)
    if a.dtype in COMPLEX:
        a = apply("conj", a)
    a, b = reshape_to(a, (math.prod(a.shape),)), reshape_to(b, (math.prod(b.shape),))
    return cast_to(dot_general(a, b, ((0,), (0,))), dtype)


@keras_op
def outer(x1: Any, x2: Any) -> Any:
    """All products of elements of the flattened tensors, (n, m)."""
    a, b = promote(x1, x2)
    a, b = reshape_to(a, (math.prod(a.shape), 1)), reshape_to(b, (1, math.prod(b.shape)))
    return apply("and" if a.dtype == "bool" else "mul", a, b)


@keras_op
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Product over pairs of axes: a number n means x1's last n with x2's first n."""
    (a, b), dtype = _product_dtypes(x1, x2)
    if isinstance(axes, int):
        left, right = range(len(a.shape) - axes, len(a.shape)), range(axes)
    else:
        left, right = ([v] if isinstance(v, int) else v for v in axes)
    left = [axis_of(v, len(a.shape), "tensordot") for v in left]
    right = [axis_of(v, len(b.shape), "tensordot") for v in right]
    if [a.shape[i] for i in left] != [b.shape[j] for j in right]:
        raise ValueError(
            f"tensordot: paired axes must have equal sizes; received shapes {a.shape}, {b.shape}, axes={axes}"
        )
    return cast_to(dot_general(a, b, (left, right)), dtype)


@keras_op
def kron(x1: Any, x2: Any) -> Any:
    """Kronecker product."""
    a, b = promote(x1, x2)
    rank = builtins.max(len(a.shape), len(b.shape))
    sa, sb = (1,) * (rank - len(a.shape)) + a.shape, (1,) * (rank - len(b.shape)) + b.shape
    a = reshape_to(a, [d for n in sa for d in (n, 1)])
    b = reshape_to(b, [d for n in sb for d in (1, n)])
    return reshape_to(apply("and" if a.dtype == "bool" else "mul", a, b), [n * m for n, m in zip(sa, sb, strict=True)])


@keras_op
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """Cross product of vectors of 2 or 3 components (of two 2-vectors: a number)."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = promote(x1, x2)
    if a.dtype == "bool":
        a, b = cast_to(a, "int32"), cast_to(b, "int32")
    a, b = _last(a, axisa), _last(b, axisb)
    na, nb = a.shape[-1], b.shape[-1]
    if na not in (2, 3) or nb not in (2, 3):
        raise ValueError(f"cross: both vectors need 2 or 3 components; received {na} and {nb}")

    def component(x: Tensor, i: int) -> Tensor | None:
        n = x.shape[-1]
        return reshape_to(part(x, len(x.shape) - 1, i, i + 1), x.shape[:-1]) if i < n else None

    p, q = [component(a, i) for i in range(3)], [component(b, i) for i in range(3)]

    def minor(i: int, j: int) -> Tensor:
        left = _times(p[i], q[j])
        right = _times(p[j], q[i])
        if left is None or right is None:
            return left if right is None else apply("neg", right)  # type: ignore[return-value]
        return apply("sub", left, right)

    z = minor(0, 1)
    if na == 2 and nb == 2:
        return z
    parts = [minor(1, 2), minor(2, 0), z]
    rank = len(z.shape)
    shape = z.shape
    stacked = concat([expand(broadcast(v, shape), rank) for v in parts], rank)
    return _from_last(stacked, axisc)


def _times(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    return None if x is None or y is None else apply("mul", x, y)


def _last(x: Tensor, axis: int) -> Tensor:
    rank = len(x.shape)
    where = axis_of(axis, rank, "cross")
    return permute(x, (*(i for i in range(rank) if i != where), where))


def _from_last(x: Tensor, axis: int) -> Tensor:
    rank = len(x.shape)
    perm = list(range(rank - 1))
    perm.insert(axis_of(axis, rank, "cross"), rank - 1)
    return permute(x, perm)


# -- decompositions ----------------------------------------------------------------------------------
def _matrix(x: Any, op: str, square: bool = False) -> Tensor:
    x = floating(x)
    if len(x.shape) < 2:
        raise ValueError(f"{op}: argument `x` must have at least 2 dimensions; received shape {x.shape}")
    if square and x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{op}: argument `x` must hold square matrices; received shape {x.shape}")
    return cast_to(x, "float32") if x.dtype in HALF else x


def _turned(x: Tensor) -> Tensor:
    rank = len(x.shape)
    return permute(x, (*range(rank - 2), rank - 1, rank - 2))


@keras_op
def cholesky(x: Any, upper: bool = False) -> Any:
    """Lower triangular L with L L^T = x (or the upper one, L^T)."""
    factor = apply("cholesky", _matrix(x, "cholesky", True))
    return _turned(factor) if upper else factor


@keras_op
def cholesky_inverse(x: Any, upper: bool = False) -> Any:
    """Inverse of the matrix whose Cholesky factor is x."""
    factor = _matrix(x, "cholesky_inverse", True)
    factor = _turned(factor) if upper else factor
    from graphkeras.ops.creation import eye

    one = broadcast(eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    inverse = _solve_triangular(factor, one, True)
    return _matmul(_turned(inverse), inverse)


@keras_op
def det(x: Any) -> Any:
    """Determinant."""
    return apply("det", _matrix(x, "det", True))


@keras_op
def slogdet(x: Any) -> Any:
    """Sign and logarithm of the absolute value of the determinant."""
    return tuple(apply("slogdet", _matrix(x, "slogdet", True)))


@keras_op
def logdet(x: Any) -> Any:
    """Logarithm of the determinant of positive definite matrices."""
    factor = apply("cholesky", _matrix(x, "logdet", True))
    from graphkeras.ops.diagonals import diagonal

    entries = diagonal(factor, 0, -2, -1)
    return apply("mul", reduce("reduce_sum", apply("log", entries), (len(entries.shape) - 1,)), 2.0)


@keras_op
def eig(x: Any) -> Any:
    """Eigenvalues and right eigenvectors (complex)."""
    return tuple(apply("eig", _matrix(x, "eig", True)))


@keras_op
def eigh(x: Any) -> Any:
    """Eigenvalues (rising) and eigenvectors of symmetric matrices."""
    return tuple(apply("eigh", _matrix(x, "eigh", True)))


@keras_op
def inv(x: Any) -> Any:
    """Inverse."""
    return apply("inv", _matrix(x, "inv", True))


@keras_op
def lu_factor(x: Any) -> Any:
    """LU factors in one matrix, and the row exchanges."""
    return tuple(apply("lu", _matrix(x, "lu_factor"))[:2])


@keras_op
def qr(x: Any, mode: str = "reduced") -> Any:
    """Orthogonal Q and upper triangular R with Q R = x; mode "reduced" or "complete"."""
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"qr: invalid argument `mode`. Expected one of {{'reduced', 'complete'}}. Received: mode={mode!r}"
        )
    return tuple(apply("qr", _matrix(x, "qr"), mode=mode))


@keras_op
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, singular values (falling), V^T; or the values alone."""
    x = _matrix(x, "svd")
    return (
        tuple(apply("svd", x, full_matrices=bool(full_matrices), compute_uv=True)) if compute_uv else singular_values(x)
    )


def singular_values(x: Tensor) -> Tensor:
    return apply("svd", x, full_matrices=False, compute_uv=False)[0]


@keras_op
def solve(a: Any, b: Any) -> Any:
    """x with a x = b."""
    left, right = promote(_matrix(a, "solve", True), floating(b))
    _check_system(left, right, "solve")
    if len(right.shape) == len(left.shape) - 1:
        return reshape_to(apply("solve", left, expand(right, len(right.shape))), right.shape)
    return apply("solve", left, right)


def _check_system(a: Tensor, b: Tensor, op: str) -> None:
    rows = b.shape[-1] if len(b.shape) == len(a.shape) - 1 else (b.shape[-2] if len(b.shape) >= 2 else -1)
    if len(b.shape) not in (len(a.shape), len(a.shape) - 1) or rows != a.shape[-1]:
        raise ValueError(
            f"{op}: argument `b` must have shape (..., {a.shape[-1]}) or (..., {a.shape[-1]}, n) to fit a {a.shape}; "
            f"received {b.shape}"
        )


@keras_op
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """x with a x = b for triangular a (the other triangle is not read)."""
    left, right = promote(_matrix(a, "solve_triangular", True), floating(b))
    _check_system(left, right, "solve_triangular")
    if len(right.shape) == len(left.shape) - 1:
        return reshape_to(_solve_triangular(left, expand(right, len(right.shape)), lower), right.shape)
    return _solve_triangular(left, right, lower)


def _solve_triangular(a: Tensor, b: Tensor, lower: bool) -> Tensor:
    return apply("solve_triangular", a, b, lower=bool(lower), transpose=False)


@keras_op
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """x that makes the sum of squares of a x - b smallest."""
    left, right = promote(_matrix(a, "lstsq"), floating(b))
    if len(right.shape) == 1:
        return reshape_to(apply("lstsq", left, expand(right, 1), rcond=rcond), (left.shape[-1],))
    return apply("lstsq", left, right, rcond=rcond)


@keras_op
def pinv(x: Any, rcond: Any = None) -> Any:
    """Pseudo-inverse, by the singular values above rcond times the largest."""
    x = _matrix(x, "pinv")
    u, s, vh = apply("svd", x, full_matrices=False, compute_uv=True)
    if rcond is None:
        rcond = 10.0 * builtins.max(x.shape[-2:]) * (2.2e-16 if x.dtype in ("float64", "complex128") else 1.2e-7)
    last = len(s.shape) - 1
    cutoff = apply("mul", reduce("reduce_max", s, (last,), True), to_tensor(rcond, s.dtype))
    large = apply("gt", s, cutoff)
    inverse = select(large, apply("div", 1.0, select(large, s, full_of((), 1.0, s.dtype))), full_of((), 0.0, s.dtype))
    if x.dtype in COMPLEX:
        u, vh = apply("conj", u), apply("conj", vh)
        inverse = cast_to(inverse, x.dtype)
    return _matmul(apply("mul", _turned(vh), expand(inverse, last)), _turned(u))


@keras_op
def matrix_rank(x: Any, tol: Any = None) -> Any:
    """Number of singular values above `tol` (by default: rounding noise), int32."""
    x = _matrix(x, "matrix_rank")
    s = singular_values(x)
    last = len(s.shape) - 1
    if tol is None:
        noise = builtins.max(x.shape[-2:]) * (2.2e-16 if x.dtype == "float64" else 1.2e-7)
        limit = apply("mul", reduce("reduce_max", s, (last,), True), noise)
    else:
        limit = to_tensor(tol, s.dtype)
        limit = expand(limit, len(limit.shape)) if limit.shape else limit
    return reduce("reduce_sum", cast_to(apply("gt", s, limit), "int32"), (last,))


@keras_op
def matrix_power(x: Any, n: int) -> Any:
    """Product of n copies of a square matrix (of its inverse for negative n), by repeated squaring."""
    n = need_int(n, "matrix_power", "n")
    base = to_tensor(x)
    if len(base.shape) < 2 or base.shape[-1] != base.shape[-2]:
        raise ValueError(f"matrix_power: argument `x` must hold square matrices; received shape {base.shape}")
    if n < 0:
        base, n = inv(base), -n
    from graphkeras.ops.creation import eye

    result: Tensor | None = None
    while n:
        if n & 1:
            result = base if result is None else _matmul(result, base)
        n >>= 1
        base = _matmul(base, base) if n else base
    return broadcast(eye(base.shape[-1], dtype=base.dtype), base.shape) if result is None else result


@keras_op
def corrcoef(x: Any) -> Any:
    """Matrix of correlation coefficients of the rows."""
    x = floating(x)
    shape = x.shape
    rows = reshape_to(x, (1, shape[0])) if len(shape) == 1 else x
    n = rows.shape[-1]
    mean = apply("mul", reduce("reduce_sum", rows, (1,), True), 1.0 / n)
    centered = apply("sub", rows, mean)
    covariance = apply("div", dot_general(centered, centered, ((1,), (1,))), float(n - 1))
    from graphkeras.ops.diagonals import diagonal

    deviation = apply("sqrt", diagonal(covariance))
    scaled = apply("div", apply("div", covariance, expand(deviation, 1)), expand(deviation, 0))
    scaled = apply("minimum", apply("maximum", scaled, -1.0), 1.0)
    return reshape_to(scaled, ()) if len(shape) == 1 else scaled
