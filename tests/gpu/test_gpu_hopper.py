"""Products and convolutions on Hopper's tensor cores, every tile and orientation, against float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda import product_choice, product_launch
from graphkeras.codegen.cuda.product_hopper import TILES, HopperTile
from graphkeras.codegen.cuda.target import HOPPER
from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import numpy_dtype
from tests.codegen.test_cuda_hopper_conv import CASES, convolution
from tests.codegen.test_cuda_product import EPS, product


@pytest.fixture
def hopper(device_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The device, if it has these tensor cores; they are taken whatever the size."""
    arch = devices.get(device_name).driver.arch
    if arch != HOPPER:
        pytest.skip(f"sm_{arch[0]}{arch[1]} is not Hopper")
    monkeypatch.setattr(product_launch, "synchronous_cycles", lambda *_: float("inf"))
    with flags.TF32(1):
        yield device_name


def run(graph: Graph, device_name: str) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """(result, inputs, names of the kernels)."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs]
    with devices.using(device_name) as device:
        program = compile_graph(graph, target=device.target)
    results = [np.empty(o.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    program.bind(arrays, results)
    first = []
    for _ in range(3):
        program.run()
        first.append(results[0].tobytes())
    assert len(set(first)) == 1  # the same bits in every run
    return results[0].astype(np.float64), arrays, [k.name for k in program.kernels]


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
@pytest.mark.parametrize("tile", TILES, ids=str)
def test_products(hopper: str, monkeypatch: pytest.MonkeyPatch, tile: HopperTile, turned: str, dtype: str) -> None:
    monkeypatch.setattr(product_choice, "TILES", (tile,))
    small = devices.get(hopper).driver.name == "simulated device"
    large = [] if small else [(1000, 2104, 1032, 1), (4096, 512, 64, 2)]
    for m, n, k, batch in [(72, 136, 136, 3), *large]:
        got, (x, y, c), names = run(product(m, n, k, dtype, turned, batch), hopper)
        assert any("hopper" in name for name in names)
        a, b = (v.astype(np.float64) for v in (x, y))
        a, b = (v.swapaxes(1, 2) if name in turned else v for name, v in (("a", a), ("b", b)))
        want = np.maximum(a @ b + c.astype(np.float64), 0)
        np.testing.assert_allclose(got, want, rtol=EPS[dtype], atol=EPS[dtype] * np.abs(want).max())


@pytest.mark.parametrize("case", CASES)
def test_convolutions_and_gradients(hopper: str, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(product_launch, "LEAST", 16)
    arguments, wanted = CASES[case]
    for graph, own in zip(convolution(*arguments), wanted, strict=True):
        got, arrays, names = run(graph, hopper)
        assert any("hopper" in name for name in names) == (own == "1")
        want = evaluate(graph, arrays)[0].astype(np.float64)
        np.testing.assert_allclose(got, want, rtol=8e-3, atol=8e-3 * np.abs(want).max())
