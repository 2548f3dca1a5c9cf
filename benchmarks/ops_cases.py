"""The kernels that are timed alone: what they take, and the least flops and bytes that the result needs.

Everything is float32.
"""

from __future__ import annotations

import math

from benchmarks.conv_cases import all_convolutions
from benchmarks.dot_cases import all_products
from benchmarks.op_case import Case, Shape


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


def _table_adam(rows: int, width: int, count: int) -> Case:
    """The gradient of an embedding's table, of `count` rows, and Adam's update of the whole table."""
    table = (rows, width)
    nbytes = 4.0 * (6 * rows * width + count * (width + 1))
    shapes = (table, table, table, (count, width), (count,))
    return Case("table_adam", f"{count} of {rows}x{width}", shapes, 14.0 * rows * width, nbytes, rows)


def all_cases() -> list[Case]:
    """Shapes of training steps first, large ones after."""
    made = [Case("call", "8", ((8,),), 8.0, 64.0)]
    made += all_products()
    made += all_convolutions()
    for shape in ((32, 10), (12800, 200), (4096, 1024)):
        made.append(_rows("softmax", *shape, flops=5.0))
    for shape in ((6400, 32), (4096, 1024)):
        made.append(_rows("layer_norm", *shape, flops=8.0, extra=((shape[1],), (shape[1],))))
    for shape in ((32, 256), (4096, 1024)):
        made.append(_rows("bias_relu", *shape, flops=2.0, extra=((shape[1],),)))
    for kernel in ("sum_rows", "sum_columns", "sum_all", "max_rows", "argmax_rows", "argmax_columns"):
        made.append(_rows(kernel, 4096, 1024, flops=1.0, results=0.0))
    made += [_rows("sum_columns", 32, 256, flops=1.0, results=0.0), _adam(269_322), _adam(4_000_000)]
    made += [_rows("argmax_rows", 12800, 10, flops=1.0, results=0.0)]
    made += [_rows("top_k", m, n, flops=1.0, results=0.0) for m, n in ((32, 1000), (4096, 1024))]
    made += [_table_adam(20000, 128, 3200)]
    return [*made, _gather(20000, 128, 3200), _gather(20000, 32, 6400)]


QUICK = (
    "call 8",
    "dot_nn 32x784x256",
    "conv 32x13x13x32 3x3x64",
    "softmax 12800x200",
    "adam 269322",
)
ADAM = {"rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}
TOP = 5  # how many `top_k` finds
