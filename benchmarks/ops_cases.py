"""The kernels that are timed alone: what they take, and the least flops and bytes that the result needs.

Everything is float32.
"""

from __future__ import annotations

import math

from benchmarks.conv_cases import all_convolutions
from benchmarks.op_case import Case, Shape


def _dot(m: int, k: int, n: int, form: str = "nn") -> Case:
    """form: n or t for each operand; tn is the product of a kernel gradient, nt that of an input gradient."""
    a = (m, k) if form[0] == "n" else (k, m)
    b = (k, n) if form[1] == "n" else (n, k)
    return Case(f"dot_{form}", f"{m}x{k}x{n}", (a, b), 2.0 * m * k * n, 4.0 * (m * k + k * n + m * n))


def _dense(m: int, k: int, n: int) -> Case:
    nbytes = 4.0 * (m * k + k * n + n + m * n)
    return Case("dense_relu", f"{m}x{k}x{n}", ((m, k), (k, n), (n,)), 2.0 * m * k * n + 2.0 * m * n, nbytes)


def _rows(kernel: str, m: int, n: int, flops: float, extra: tuple[Shape, ...] = (), results: float = 1.0) -> Case:
    """A kernel over a matrix: `flops` for each element, `results` times its size written."""
    nbytes = 4.0 * (m * n * (1 + results) + sum(math.prod(s) for s in extra))
    return Case(kernel, f"{m}x{n}", ((m, n), *extra), flops * m * n, nbytes)


def _adam(n: int) -> Case:
    return Case("adam", f"{n}", ((n,),) * 4, 14.0 * n, 4.0 * 7 * n)


def _gather(rows: int, width: int, count: int) -> Case:
    return Case(
        "gather", f"{count} of {rows}x{width}", ((rows, width), (count,)), 0.0, 4.0 * count * (2 * width + 1), rows
    )


def all_cases() -> list[Case]:
    """Shapes of training steps first, large ones after."""
    made = [Case("call", "8", ((8,),), 8.0, 64.0)]
    made += [_dot(32, 784, 256), _dot(32, 256, 10), _dot(784, 32, 256, "tn"), _dot(32, 256, 256, "nt")]
    made += [_dot(128, 784, 256), _dot(1, 1024, 1024), _dot(256, 4096, 1024), _dot(6400, 32, 32)]
    made += [_dot(513, 511, 509), _dot(1024, 1024, 1024), _dot(1024, 1024, 1024, "tn"), _dot(1024, 1024, 1024, "nt")]
    made += [_dense(32, 784, 256), _dense(1024, 1024, 1024)]
    made += all_convolutions()
    for shape in ((32, 10), (12800, 200), (4096, 1024)):
        made.append(_rows("softmax", *shape, flops=5.0))
    for shape in ((6400, 32), (4096, 1024)):
        made.append(_rows("layer_norm", *shape, flops=8.0, extra=((shape[1],), (shape[1],))))
    for shape in ((32, 256), (4096, 1024)):
        made.append(_rows("bias_relu", *shape, flops=2.0, extra=((shape[1],),)))
    for kernel in ("sum_rows", "sum_columns", "sum_all", "max_rows"):
        made.append(_rows(kernel, 4096, 1024, flops=1.0, results=0.0))
    made += [_rows("sum_columns", 32, 256, flops=1.0, results=0.0), _adam(269_322), _adam(4_000_000)]
    return [*made, _gather(20000, 128, 3200), _gather(20000, 32, 6400)]


QUICK = (
    "call 8",
    "dot_nn 32x784x256",
    "conv 32x13x13x32 3x3x64",
    "softmax 12800x200",
    "adam 269322",
)
ADAM = {"rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}
