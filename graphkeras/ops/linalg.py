"""The ops of linear algebra."""

from graphkeras.ops.derivatives import (
    jvp,
)
from graphkeras.ops.matrix import (
    cholesky,
    cholesky_inverse,
    det,
    eig,
    eigh,
    inv,
    lstsq,
    lu_factor,
    matrix_power,
    matrix_rank,
    pinv,
    qr,
    solve,
    solve_triangular,
    svd,
)
from graphkeras.ops.norms import (
    norm,
)

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "det",
    "eig",
    "eigh",
    "inv",
    "jvp",
    "lstsq",
    "lu_factor",
    "matrix_power",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "solve",
    "solve_triangular",
    "svd",
]
