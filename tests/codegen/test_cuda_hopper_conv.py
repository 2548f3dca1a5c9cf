"""Convolutions on Hopper's tensor cores, patches gathered by the copy engine: simulated against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen.cuda import compiler, product_choice, product_launch
from graphkeras.codegen.cuda.product_hopper import TILES, HopperTile
from graphkeras.codegen.cuda.target import CUDA, HOPPER
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.cuda_harness import kernels, simulate
from tests.codegen.test_cuda_hopper import NARROW, TARGET, _why_not, always, disassembled

__all__ = ["always"]  # the fixture
EPS = {"bfloat16": 8e-3, "float16": 2e-3, "float32": 1e-3}
Pairs = Sequence[tuple[int, int]]


def convolution(
    shape: Sequence[int],
    kernel: Sequence[int],
    dtype: str,
    strides: Sequence[int],
    padding: Pairs,
    dilation: Sequence[int],
    groups: int,
) -> list[Graph]:
    """y = relu(conv(x, w)), and the gradients of sum(conv(x, w) * g)."""
    b = Builder()
    x, w = b.input(TensorType(tuple(shape), dtype), "x"), b.input(TensorType(tuple(kernel), dtype), "w")
    settings = {"strides": tuple(strides), "padding": tuple(padding), "dilation": tuple(dilation), "groups": groups}
    y = b.conv(x, w, **settings)
    g = b.input(y.type, "g")
    total = b.reduce_sum(b.mul(y, g), axes=tuple(range(len(y.shape))), keepdims=False)
    dx, dw = gradients(b, [total], [x, w])
    return [optimise(Graph([x, w], [b.relu(y)])), optimise(Graph([x, w, g], [dx])), optimise(Graph([x, w, g], [dw]))]


SAME = ((1, 1), (1, 1))
ONE = (1, 1)
CASES = {  # arguments of `convolution`, and which of the three products Hopper's own kernels take
    "3x3": (((2, 9, 7, 64), (3, 3, 64, 72), "bfloat16", ONE, SAME, ONE, 1), "111"),
    "strides": (((2, 9, 8, 64), (3, 3, 64, 72), "float16", (2, 2), ((0, 1), (1, 1)), ONE, 1), "101"),
    "dilation": (((2, 9, 7, 40), (3, 2, 40, 72), "bfloat16", ONE, ((2, 2), (0, 1)), (2, 1), 1), "110"),
    "tf32": (((2, 5, 6, 36), (3, 3, 36, 72), "float32", ONE, SAME, ONE, 1), "110"),
    "groups": (((1, 6, 5, 128), (2, 2, 64, 128), "bfloat16", ONE, ((0, 0), (0, 0)), ONE, 2), "111"),
    "groups of 40": (((1, 6, 5, 80), (2, 2, 40, 128), "bfloat16", ONE, ((0, 0), (0, 0)), ONE, 2), "010"),
    "1d": (((2, 40, 64), (5, 64, 64), "bfloat16", (3,), ((2, 2),), (1,), 1), "101"),
    "3d": (
        ((1, 4, 5, 4, 64), (2, 2, 2, 64, 64), "float16", (1, 1, 1), ((1, 0), (0, 0), (0, 1)), (1, 1, 1), 1),
        "111",
    ),
    "odd channels": (((2, 9, 7, 20), (3, 3, 20, 64), "bfloat16", ONE, SAME, ONE, 1), "010"),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(always: pytest.MonkeyPatch, case: str) -> None:
    always.setattr(product_choice, "TILES", (NARROW,))
    always.setattr(product_launch, "LEAST", 16)
    arguments, wanted = CASES[case]
    rng = np.random.default_rng(1)
    for graph, own in zip(convolution(*arguments), wanted, strict=True):
        assert any("hopper" in k.name for k in kernels(graph, target=TARGET)) == (own == "1")
        arrays = [rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs]
        (got,), (want,) = simulate(graph, arrays, target=TARGET), evaluate(graph, arrays)
        want, eps = want.astype(np.float64), EPS[arguments[2]]
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=eps, atol=eps * np.abs(want).max())


def test_parts_and_tiles(always: pytest.MonkeyPatch) -> None:
    """k cut in the middle of taps and of rows of pixels; tiles of two warpgroups, whose rows belong to two taps."""
    always.setattr(product_launch, "LEAST", 16)
    choice = product_choice.Choice(HopperTile(2, 64), 4, 0.0)
    always.setattr(product_launch, "hopper_choice", lambda p, taps: choice)
    rng = np.random.default_rng(2)
    for graph in convolution((2, 10, 11, 64), (3, 3, 64, 64), "bfloat16", ONE, SAME, ONE, 1):
        assert [k.name for k in kernels(graph, target=TARGET)] == ["partial_hopper_product", "sum_parts"]
        arrays = [rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs]
        (got,), (want,) = simulate(graph, arrays, target=TARGET), evaluate(graph, arrays)
        want = want.astype(np.float64)
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=8e-3, atol=8e-3 * np.abs(want).max())


def test_layers_of_a_residual_network_take_them() -> None:
    arguments = ((64, 28, 28, 128), (3, 3, 128, 128), "bfloat16", ONE, SAME, ONE, 1)
    for graph in convolution(*arguments):
        assert any("hopper" in k.name for k in kernels(graph, target=TARGET))
        assert any("tensor_product" in k.name for k in kernels(graph, target=CUDA))


@pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")
def test_instructions_and_registers(always: pytest.MonkeyPatch, tmp_path: Path) -> None:
    always.setattr(product_choice, "TILES", TILES[1:2])
    for graph in convolution((64, 28, 28, 128), (3, 3, 128, 128), "bfloat16", ONE, SAME, ONE, 1):
        kernel = next(k for k in kernels(graph, target=TARGET) if "hopper" in k.name)
        (cubin,) = compiler.load([kernel.source], HOPPER)
        assert cubin.spilled == 0 and cubin.local == 0 and cubin.registers <= 168, kernel.source
        found = disassembled(cubin.code, tmp_path)
        if found:
            assert any(i.startswith("HGMMA") for i in found) and any("IM2COL" in i for i in found)
