"""CUDA templates at sizes where tiles, vectors and runs end in the middle, on the simulator against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphkeras.codegen.cuda import simulator
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.cuda_harness import Device, kernels, simulate

RNG = np.random.default_rng(7)


def check(graph: Graph, arrays: Sequence[np.ndarray], tolerance: float = 1e-5, device: Device | None = None) -> None:
    for got, want in zip(simulate(graph, arrays, device=device), evaluate(graph, arrays), strict=True):
        if want.dtype.kind in "fV":
            wide = want.astype(np.float64)
            np.testing.assert_allclose(
                got.astype(np.float64), wide, rtol=tolerance, atol=tolerance * max(1.0, np.nanmax(np.abs(wide)))
            )
        else:
            np.testing.assert_array_equal(got, want)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(numpy_dtype(dtype))


# -- reductions -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (17, 33), (5, 1500), (2, 6000), (300, 7), (700, 64), (1, 20000)])
def test_reductions(shape: tuple[int, int]) -> None:
    b = Builder()
    x = b.input(TensorType(shape, "float32"), "x")
    outputs = [b.reduce_sum(x, axes=axes, keepdims=False) for axes in ((0,), (1,), (0, 1))]
    outputs += [b.argmax(x, axis=1), b.argmin(x, axis=0), b.reduce_max(x, axes=(0, 1), keepdims=False)]
    check(Graph([x], outputs), [normal(*shape)])


@pytest.mark.parametrize("columns", [1, 6, 33, 128, 1000, 4100])
def test_rows_in_several_passes(columns: int) -> None:
    """softmax and layer norm: exponentials kept in shared memory, statistics shared by the row's threads."""
    b = Builder()
    x = b.input(TensorType((9, columns), "float32"), "x")
    weights = [b.input(TensorType((columns,), "float32"), name) for name in ("gamma", "beta")]
    norm = b.emit("layer_norm", x, *weights, axis=(1,), epsilon=1e-3)
    from graphkeras.ir.passes.pipeline import optimise

    graph = optimise(Graph([x, *weights], [b.softmax(x, axis=1), norm]))
    check(graph, [normal(9, columns), normal(columns), normal(columns)], 2e-5)


def test_reductions_over_separate_axes() -> None:
    b = Builder()
    x = b.input(TensorType((4, 6, 5, 8), "float32"), "x")
    outputs = [b.reduce_sum(x, axes=axes, keepdims=False) for axes in ((0, 2), (1, 3), (0, 3), (1, 2))]
    check(Graph([x], outputs), [normal(4, 6, 5, 8)])


# -- products -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (33, 36, 20), (32, 64, 16), (5, 130, 47), (40, 8, 520)])
def test_products(m: int, n: int, k: int, turned: tuple[bool, bool]) -> None:
    b = Builder()
    x = b.input(TensorType((k, m) if turned[0] else (m, k), "float32"), "x")
    y = b.input(TensorType((n, k) if turned[1] else (k, n), "float32"), "y")
    z = b.input(TensorType((n,), "float32"), "z")
    product = b.dot_general(x, y, contract=((0 if turned[0] else 1,), (1 if turned[1] else 0,)), batch=((), ()))
    check(Graph([x, y, z], [b.relu(b.add(product, z))]), [normal(*i.shape) for i in (x, y, z)])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32"])
def test_products_of_other_types(dtype: str) -> None:
    b = Builder()
    x, y = b.input(TensorType((2, 18, 33), dtype), "x"), b.input(TensorType((2, 33, 20), dtype), "y")
    graph = Graph([x, y], [b.dot_general(x, y, contract=((2,), (1,)), batch=((0,), (0,)))])
    arrays = [(4 * normal(*i.shape)).astype(numpy_dtype(dtype)) for i in (x, y)]
    check(graph, arrays, {"float16": 2e-3, "bfloat16": 1e-2}.get(dtype, 1e-6))


def test_a_product_without_its_barriers_is_a_race() -> None:
    b = Builder()
    x, y = b.input(TensorType((32, 48), "float32"), "x"), b.input(TensorType((48, 32), "float32"), "y")
    (kernel,) = kernels(Graph([x, y], [b.dot_general(x, y, contract=((1,), (0,)), batch=((), ()))]))
    assert kernel.source.count("sync_threads()") == 2
    first = kernel.source.index("        sync_threads()\n")
    for at in (first, kernel.source.index("        sync_threads()\n", first + 1)):
        device = Device()
        broken = kernel.source[:at] + kernel.source[at + len("        sync_threads()\n") :]
        args = device.words(kernel)
        launch = kernel.launch
        assert launch is not None
        report = simulator.run(broken, args, blocks=kernel.extent, shared=launch.shared, memory=device.memory)
        assert report.races or any(p.kind == "uninitialised" for p in report.problems.values())


# -- places ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("combine", ["add", "set", "max", "mul"])
@pytest.mark.parametrize("rows, count, inner", [(5, 100, 3), (40, 70, 33), (1, 64, 64)])
def test_scatter_to_the_same_places(combine: str, rows: int, count: int, inner: int) -> None:
    b = Builder()
    x = b.input(TensorType((rows, inner), "float32"), "x")
    indices = b.input(TensorType((count,), "int32"), "indices")
    updates = b.input(TensorType((count, inner), "float32"), "updates")
    graph = Graph([x, indices, updates], [b.scatter(x, indices, updates, axis=0, combine=combine)])
    places = RNG.integers(-rows - 1, rows + 1, count).astype(np.int32)  # some outside: dropped
    check(graph, [normal(rows, inner), places, 1 + 0.1 * normal(count, inner)])


@pytest.mark.parametrize("n", [1, 100, 128, 129, 700])
def test_sorting(n: int) -> None:
    b = Builder()
    x = b.input(TensorType((3, n), "float32"), "x")
    top = b.top_k(x, k=min(n, 5))
    outputs = [b.sort(x, axis=1, descending=d) for d in (False, True)]
    outputs += [b.argsort(x, axis=1, descending=d, stable=True) for d in (False, True)]
    array = RNG.integers(0, 40, (3, n)).astype(np.float32)  # many ties
    array[0, n // 2] = np.nan
    check(Graph([x], [*outputs, b.item(top, 0), b.item(top, 1)]), [array])


def test_random_bits_are_those_of_the_reference() -> None:
    b = Builder()
    key = b.input(TensorType((2,), "uint32"), "key")
    check(Graph([key], [b.random_bits(key, shape=(1003,))]), [np.array([1, 2**31 + 5], np.uint32)])
