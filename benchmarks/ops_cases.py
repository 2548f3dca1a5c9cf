"""The kernels that are timed alone: what they take, and the least flops and bytes that the result needs.

A case is plain data, so that every worker builds it for its own library. Arrays are float32, images NHWC, kernels HWIO.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """kernel: which computation; inputs: their shapes; flops, nbytes: of the mathematics, not of an implementation."""

    kernel: str
    label: str
    inputs: tuple[Shape, ...]
    flops: float
    nbytes: float
    indices: int = 0  # bound of the last input if it holds indices
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kernel} {self.label}"

    def arrays(self) -> list[np.ndarray]:
        """Inputs from a fixed seed, the same in every process."""
        rng = np.random.default_rng(0)
        made: list[np.ndarray] = [rng.standard_normal(s, dtype=np.float32) for s in self.inputs]
        if self.indices:
            made[-1] = rng.integers(0, self.indices, self.inputs[-1]).astype(np.int32)
        if self.kernel == "adam":  # second moments are not negative
            made[3] = np.abs(made[3])
        return made


def _dot(m: int, k: int, n: int, form: str = "nn") -> Case:
    """form: n or t for each operand; tn is the product of a kernel gradient, nt that of an input gradient."""
    a = (m, k) if form[0] == "n" else (k, m)
    b = (k, n) if form[1] == "n" else (n, k)
    return Case(f"dot_{form}", f"{m}x{k}x{n}", (a, b), 2.0 * m * k * n, 4.0 * (m * k + k * n + m * n))


def _dense(m: int, k: int, n: int) -> Case:
    nbytes = 4.0 * (m * k + k * n + n + m * n)
    return Case("dense_relu", f"{m}x{k}x{n}", ((m, k), (k, n), (n,)), 2.0 * m * k * n + 2.0 * m * n, nbytes)


def _conv(batch: int, size: int, cin: int, cout: int, k: int = 3, stride: int = 1, pad: int = 1) -> list[Case]:
    out = (size + 2 * pad - k) // stride + 1
    x, w, y = (batch, size, size, cin), (k, k, cin, cout), (batch, out, out, cout)
    flops = 2.0 * math.prod(y) * k * k * cin
    nbytes = 4.0 * (math.prod(x) + math.prod(w) + math.prod(y))
    label = f"{batch}x{size}x{size}x{cin} {k}x{k}x{cout}" + (f" /{stride}" if stride > 1 else "")
    more = (("stride", stride), ("pad", pad), ("x", x), ("w", w))
    forms = (("conv", (x, w)), ("conv_input_grad", (y, w)), ("conv_kernel_grad", (x, y)))
    return [Case(kernel, label, inputs, flops, nbytes, 0, more) for kernel, inputs in forms]


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
    made += _conv(32, 28, 1, 32, pad=0) + _conv(32, 13, 32, 64, pad=0) + _conv(32, 32, 16, 16)
    made += _conv(32, 32, 16, 32, stride=2) + _conv(8, 56, 64, 64) + _conv(8, 14, 256, 256)
    made += _conv(8, 56, 64, 256, k=1, pad=0) + _conv(2, 224, 3, 64, k=7, stride=2, pad=3)
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
