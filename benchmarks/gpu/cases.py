"""The kernels that are timed alone on a GPU, and their sizes.

A case is plain data, so that every worker builds it for its own library. Three sizes: "full" is what the targets are
about, "tiny" shows on a CPU or on the simulated device that everything runs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from benchmarks import conv_cases
from benchmarks.op_case import Case, Shape

SIZES = ("full", "tiny")
FLOAT, TF32, BFLOAT, HALF = "float32", "tf32", "bfloat16", "float16"
"""What numbers are stored and multiplied as; tf32 is stored as float32."""


@dataclass(frozen=True)
class KernelCase:
    """suite: where it belongs; case: what is computed, its figures for float32; numbers: see FLOAT ... HALF."""

    suite: str
    case: Case
    numbers: str = FLOAT

    @property
    def name(self) -> str:
        return f"{self.case.name} {self.numbers}"

    @property
    def dtype(self) -> str:
        return FLOAT if self.numbers == TF32 else self.numbers

    @property
    def flops(self) -> float:
        return self.case.flops

    @property
    def nbytes(self) -> float:
        """Bytes that must move: indices count as much as they are, which is little."""
        return self.case.nbytes * (1.0 if self.dtype == FLOAT else 0.5)

    def arrays(self) -> list[np.ndarray]:
        """Inputs from a fixed seed, the same in every process. Half dtypes are left to whom has them: float32 here."""
        made = self.case.arrays()
        if self.case.kernel.startswith("conv"):  # results of the size of their inputs in any dtype
            made[1] *= np.float32(1 / math.sqrt(math.prod(made[1].shape[:-1])))
        return made


# -- memory-bound -----------------------------------------------------------------------------------
def _rows(kernel: str, m: int, n: int, extra: tuple[Shape, ...] = (), moved: float = 2.0) -> Case:
    """A kernel over a matrix, which moves `moved` times its bytes, and the small extra inputs."""
    inputs = ((m, n), *extra)
    small = sum(math.prod(s) for s in extra if s != (m, n))
    return Case(kernel, f"{m}x{n}", inputs, 0.0, 4.0 * (moved * m * n + small))


def _memory(sizes: str) -> Iterator[KernelCase]:
    """Arrays of the full sizes are larger than any cache of a GPU."""
    m, n, words, width, count = (8192, 4096, 50_000, 512, 65_536) if sizes == "full" else (24, 40, 30, 8, 20)
    for numbers in (FLOAT, BFLOAT):
        made = [
            _rows("negate", m, n),
            _rows("gelu_residual", m, n, ((n,), (m, n)), moved=3.0),
            _rows("softmax", m, n),
            _rows("layer_norm", m, n, ((n,), (n,))),
            _rows("transpose", m, n),
            *(_rows(k, m, n, moved=1.0) for k in ("sum_rows", "sum_columns", "sum_all", "max_rows")),
        ]
        yield from (KernelCase("memory", case, numbers) for case in made)
    moved = 4.0 * (min(words, count) * width + count * (width + 1))  # rows that are read twice may be in a cache
    gather = Case("gather", f"{count} of {words}x{width}", ((words, width), (count,)), 0.0, moved, words)
    yield KernelCase("memory", gather)
    yield KernelCase("memory", Case("adam", str(m * n), ((m * n,),) * 4, 0.0, 4.0 * 7 * m * n))


# -- products ---------------------------------------------------------------------------------------
def _dot(m: int, k: int, n: int, form: str = "nn") -> Case:
    a, b = ((m, k) if form[0] == "n" else (k, m)), ((k, n) if form[1] == "n" else (n, k))
    return Case(f"dot_{form}", f"{m}x{k}x{n}", (a, b), 2.0 * m * k * n, 4.0 * (m * k + k * n + m * n))


def _products(sizes: str) -> Iterator[KernelCase]:
    squares = (512, 1024, 2048, 4096, 8192) if sizes == "full" else (40,)
    skinny = (
        (1, 4096, 4096),
        (16, 4096, 4096),
        (128, 1024, 4096),
        (8192, 64, 8192),
        (8192, 4096, 32),
        (32, 32768, 128),
    )
    skinny = skinny if sizes == "full" else ((3, 40, 24),)
    odd = ((1000, 1000, 1000), (4095, 1023, 2047)) if sizes == "full" else ((33, 17, 9),)
    for numbers in (BFLOAT, HALF, TF32, FLOAT):
        for n, form in product(squares, ("nn", "tn", "nt", "tt")):
            yield KernelCase("products", _dot(n, n, n, form), numbers)
        yield from (KernelCase("products", _dot(*shape), numbers) for shape in (*skinny, *odd))


# -- convolutions -----------------------------------------------------------------------------------
def _convolutions(sizes: str) -> Iterator[KernelCase]:
    """Every convolution of ResNet-50, forward and both gradients."""
    made = conv_cases.resnet50(64) if sizes == "full" else conv_cases.conv(2, 6, 8, 8) + conv_cases.conv(1, 5, 3, 8, 1)
    shapes = {case.name: case for case in made}.values()
    for numbers, case in product((BFLOAT, TF32, FLOAT), shapes):
        yield KernelCase("convolutions", case, numbers)


# -- attention --------------------------------------------------------------------------------------
def _attend(kernel: str, batch: int, length: int, heads: int, width: int, causal: bool) -> Case:
    """Two products forward, five more for the gradients; half of the scores count if causal."""
    shape = (batch, length, heads, width)
    flops = 4.0 * batch * heads * length**2 * width * (0.5 if causal else 1.0) * (1.0 if kernel == "attention" else 3.5)
    moved = 4.0 * math.prod(shape) * (4 if kernel == "attention" else 8)
    inputs = (shape,) * (3 if kernel == "attention" else 4)  # the gradient of the result is the fourth
    label = f"{batch}x{length}x{heads}x{width}" + (" causal" if causal else "")
    return Case(kernel, label, inputs, flops, moved, 0, (("causal", causal), ("scale", width**-0.5)))


def _attention(sizes: str) -> Iterator[KernelCase]:
    full = ((16, 512, 12, 64), (8, 2048, 16, 64), (4, 4096, 16, 128))
    shapes = full if sizes == "full" else ((1, 20, 2, 16),)
    for numbers, shape, causal in product((BFLOAT, FLOAT), shapes, (False, True)):
        for kernel in ("attention", "attention_training"):
            yield KernelCase("attention", _attend(kernel, *shape, causal), numbers)


_SUITES: dict[str, Any] = {
    "memory": _memory,
    "products": _products,
    "convolutions": _convolutions,
    "attention": _attention,
}
NAMES = tuple(_SUITES)


@functools.cache
def cases(suite: str, sizes: str) -> tuple[KernelCase, ...]:
    """The cases of a suite (of NAMES) in one of SIZES."""
    return tuple(_SUITES[suite](sizes))


def find(suite: str, sizes: str, name: str) -> KernelCase:
    return next(c for c in cases(suite, sizes) if c.name == name)
