"""Products on tensor cores, simulated, against float64; long: compiled for all targets."""

from __future__ import annotations

import os

import numpy as np
import pytest

from graphkeras import config
from graphkeras.codegen import flags
from graphkeras.codegen.cuda import product_tensor, simulator
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.cuda_harness import Device, kernels, simulate

EPS = {"bfloat16": 8e-3, "float16": 1e-3, "float32": 1e-3}
LARGE = product_tensor.TILES[:1]


def product(m: int, n: int, k: int, dtype: str, turned: str = "", batch: int = 1) -> Graph:
    """relu(x y + c); turned: which of a and b stand with their axes the other way round."""
    b = Builder()
    x = b.input(TensorType((batch, k, m) if "a" in turned else (batch, m, k), dtype), "x")
    y = b.input(TensorType((batch, n, k) if "b" in turned else (batch, k, n), dtype), "y")
    c = b.input(TensorType((n,), dtype), "c")
    contract = ((1 if "a" in turned else 2,), (2 if "b" in turned else 1,))
    dot = b.dot_general(x, y, contract=contract, batch=((0,), (0,)))
    bias = b.broadcast_to(b.reshape(c, shape=(1, 1, n)), shape=dot.shape)
    return optimise(Graph([x, y, c], [b.relu(b.add(dot, bias))]))


def run(graph: Graph, turned: str) -> tuple[np.ndarray, np.ndarray, Device]:
    rng = np.random.default_rng(3)
    x, y, c = (rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs)
    device = Device()
    (got,) = simulate(graph, [x, y, c], device=device)
    a, b = (v.astype(np.float64) for v in (x, y))
    a, b = (v.swapaxes(1, 2) if name in turned else v for name, v in (("a", a), ("b", b)))
    return got.astype(np.float64), np.maximum(a @ b + c.astype(np.float64), 0), device


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
@pytest.mark.parametrize("size", [(17, 33, 100), (65, 24, 40), (64, 72, 48)], ids=str)
def test_edges_and_orientations(size: tuple[int, int, int], turned: str, dtype: str) -> None:
    with flags.TF32(1):
        graph = product(*size, dtype, turned)
        assert [k.name for k in kernels(graph)] == ["tensor_product"]
        got, want, device = run(graph, turned)
    np.testing.assert_allclose(got, want, rtol=EPS[dtype], atol=EPS[dtype] * np.abs(want).max())
    for report in device.reports:
        lines = report.source.splitlines()
        slow = [lines[line - 1] for line, worst in report.conflicts.items() if worst > 1]
        assert all("async_wait" in line for line in slow), slow  # fragments and results have none


def test_large_tiles_a_batch_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    got, want, _ = run(product(20, 24, 1024, "bfloat16"), "")
    assert [k.name for k in kernels(product(20, 24, 1024, "bfloat16"))] == ["partial_tensor_product", "sum_parts"]
    np.testing.assert_allclose(got, want, rtol=8e-3, atol=8e-3 * want.max())
    monkeypatch.setattr(product_tensor, "TILES", LARGE)
    for dtype, turned in (("bfloat16", ""), ("float16", "ab")):
        got, want, _ = run(product(130, 136, 72, dtype, turned, batch=2), turned)
        np.testing.assert_allclose(got, want, rtol=EPS[dtype], atol=EPS[dtype] * want.max())


def test_float32_is_exact_unless_tf32_is_allowed() -> None:
    graph = product(32, 32, 64, "float32")
    assert [k.name for k in kernels(graph)] == ["product"]
    assert not config.is_tensor_float_32_enabled()
    config.enable_tensor_float_32()
    try:
        assert [k.name for k in kernels(graph)] == ["tensor_product"]
    finally:
        config.enable_tensor_float_32(False)
    assert [k.name for k in kernels(graph)] == ["product"]


def test_convolutions_take_tensor_cores() -> None:
    b = Builder()
    x, w = b.input(TensorType((2, 9, 7, 16), "bfloat16"), "x"), b.input(TensorType((3, 3, 16, 24), "bfloat16"), "w")
    dot = b.conv(x, w, strides=(2, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    graph = optimise(Graph([x, w], [dot]))
    assert [k.name for k in kernels(graph)][-1].endswith(("tensor_product", "sum_parts"))
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(n.shape).astype(numpy_dtype("bfloat16")) for n in graph.inputs]
    (got,) = simulate(graph, arrays)
    image, kernel = (v.astype(np.float64) for v in arrays)
    image = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    want = sum(
        np.einsum("nhwc,co->nhwo", image[:, i : i + 9 : 2, j : j + 7], kernel[i, j]) for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=8e-3, atol=8e-3 * np.abs(want).max())


def test_every_barrier_is_needed() -> None:
    (kernel,) = kernels(product(64, 64, 192, "bfloat16"))
    lines = kernel.source.split("\n")
    places = [k for k, line in enumerate(lines) if line.strip() == "sync_threads()"]
    assert len(places) == 3
    for place in places:
        kernel.source = "\n".join(lines[:place] + lines[place + 1 :])
        with pytest.raises(simulator.SimulationError, match="race"):
            Device().launch(kernel)


@pytest.mark.skipif(not os.environ.get("GRAPHKERAS_LONG_TESTS"), reason="takes a minute; make test-long")
@pytest.mark.parametrize("arch", [(8, 0), (9, 0), (10, 0)], ids=lambda a: f"sm_{a[0]}{a[1]}")
def test_tensor_kernels_stay_in_registers(arch: tuple[int, int]) -> None:
    pytest.importorskip("numba.cuda")
    from graphkeras.codegen.cuda import compiler

    for dtype in EPS:
        for turned, k in (("", 512), ("ab", 512), ("a", 511)):
            with flags.TF32(1):
                (kernel,) = kernels(product(2048, 2044, k, dtype, turned))
            (cubin,) = compiler.load([kernel.source], arch)
            assert cubin.spilled == 0 and cubin.local == 0, kernel.source
            assert cubin.registers <= 128


def test_other_sizes_compile_nothing() -> None:
    first, other = (kernels(product(m, 512, 256, "bfloat16", "b")) for m in (8192, 16384))
    assert [k.source for k in first] == [k.source for k in other]
