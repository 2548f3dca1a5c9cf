"""Attention and its gradient as CUDA kernels, simulated, against the interpreter; long: compiled for all targets."""

from __future__ import annotations

import os

import numpy as np
import pytest

from graphkeras.codegen.claims import Claims
from graphkeras.codegen.cuda import simulator
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.cuda_harness import Device, kernels, simulate

LONG = os.environ.get("GRAPHKERAS_LONG_TESTS")
PLAIN = {"causal": False, "window": 0, "rate": 0.0}
MASK = (((1, 1, 1, 40), "bool"),)
CASES = {
    "few": ((2, 17, 4, 20, 33, 2, 12), {}, ()),
    "more than a tile": ((1, 65, 2, 8, 65, 2, 8), {"causal": True}, ()),
    "window and mask": ((1, 40, 1, 16, 40, 1, 32), {"causal": True, "window": 9}, MASK),
    "queries that see nothing": ((1, 40, 1, 8, 10, 1, 8), {"window": 5}, ()),
    "dropout and bias": ((2, 33, 2, 8, 20, 1, 5), {"rate": 0.4}, (((2, 33, 1), "float32"),)),
    "wide": ((1, 20, 1, 160, 20, 1, 140), {}, ()),
}


def attention(sizes, attrs, masks=(), dtype="float32", grad=False) -> Graph:
    batch, queries, heads, depth, keys, own, width = sizes
    b = Builder()
    shapes = ((batch, queries, heads, depth), (batch, keys, own, depth), (batch, keys, own, width))
    qkv = [b.input(TensorType(s, dtype), name) for s, name in zip(shapes, "qkv", strict=True)]
    extra = [b.input(TensorType(s, d), "mask") for s, d in masks]
    attrs = {**PLAIN, "scale": depth**-0.5, **attrs}
    if attrs["rate"]:
        extra.append(b.input(TensorType((2,), "uint32"), "key"))
    node = b.emit("attention", *qkv, *extra, **attrs)
    results = [b.item(node, i) for i in range(3)]
    outputs = [g for g in gradients(b, results[:1], qkv) if g is not None] if grad else results
    return optimise(Graph([*qkv, *extra], outputs), Claims(CUDA))


def drawn(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    arrays = []
    for node in graph.inputs:
        if node.dtype == "bool":
            arrays.append(rng.uniform(size=node.shape) > 0.5)
        elif node.dtype == "uint32":
            arrays.append(rng.integers(0, 2**32, node.shape, dtype=np.uint32))
        else:
            arrays.append(rng.standard_normal(node.shape).astype(numpy_dtype(node.dtype)))
    return arrays


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("grad", [False, True], ids=["forward", "gradient"])
def test_values_at_awkward_sizes(case: str, grad: bool) -> None:
    sizes, attrs, masks = CASES[case]
    graph = attention(sizes, attrs, masks, grad=grad)
    arrays, device = drawn(graph), Device()
    assert all("attention" in k.name for k in kernels(graph))
    for got, want in zip(simulate(graph, arrays, device=device), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6 * max(1.0, np.abs(want).max()))
    assert max(max(r.conflicts.values()) for r in device.reports) <= (2 if case == "wide" else 1)


TENSOR_CASES = {
    **{name: case for name, case in CASES.items() if name != "wide"},
    "two tiles of a warp": ((1, 150, 2, 64, 130, 1, 40), {"causal": True, "rate": 0.2}, ()),
    "most elements": ((1, 20, 1, 128, 40, 1, 128), {}, (((1, 1, 1, 40), "bool"),)),
    "odd sizes": ((2, 18, 1, 13, 70, 1, 7), {"causal": True, "window": 30}, (((2, 1, 18, 70), "bool"),)),
}


@pytest.mark.parametrize("dtype, places", [("bfloat16", 8), ("float16", 11)])
@pytest.mark.parametrize("case", TENSOR_CASES)
@pytest.mark.parametrize("grad", [False, True], ids=["forward", "gradient"])
def test_half_floats_on_tensor_cores(case: str, grad: bool, dtype: str, places: int) -> None:
    """Weights are rounded to half floats before they are multiplied, sums and results once."""
    sizes, attrs, masks = TENSOR_CASES[case]
    masks = tuple((shape, dtype if kind == "float32" else kind) for shape, kind in masks)
    graph = attention(sizes, attrs, masks, dtype=dtype, grad=grad)
    arrays, device = drawn(graph), Device()
    assert all("tensor_attention" in k.name for k in kernels(graph))
    for got, want in zip(simulate(graph, arrays, device=device), evaluate(graph, arrays), strict=True):
        got, want = got.astype(np.float32), want.astype(np.float32)
        np.testing.assert_allclose(got, want, rtol=4 * 0.5**places, atol=2 * 0.5**places * max(1.0, np.abs(want).max()))
    assert max(max(r.conflicts.values()) for r in device.reports) <= 2


def test_a_second_run_gives_the_same_bits() -> None:
    graph = attention((1, 70, 4, 16, 70, 2, 16), {"causal": True}, dtype="bfloat16", grad=True)
    arrays = drawn(graph)
    for one, other in zip(simulate(graph, arrays), simulate(graph, arrays), strict=True):
        np.testing.assert_array_equal(one.view(np.uint16), other.view(np.uint16))


def test_wide_heads_of_half_floats_take_the_ordinary_units() -> None:
    graph = attention((1, 20, 1, 160, 20, 1, 16), {}, dtype="bfloat16")
    arrays = drawn(graph)
    assert not any("tensor" in k.name for k in kernels(graph))
    for got, want in zip(simulate(graph, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got.astype(np.float32), want.astype(np.float32), rtol=1e-2, atol=1e-2)


def test_scores_of_minus_infinity() -> None:
    """A tile without any finite score must not make the others NaN; a row without any is NaN, as in the interpreter."""
    graph = attention((1, 4, 1, 4, 70, 1, 4), {}, (((4, 70), "float32"),))
    *qkv, bias = drawn(graph)
    bias[:, :66] = -np.inf
    bias[2] = -np.inf
    with np.errstate(invalid="ignore"):
        wanted = evaluate(graph, [*qkv, bias])
    for got, want in zip(simulate(graph, [*qkv, bias]), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("grad", [False, True], ids=["forward", "gradient"])
def test_every_barrier_is_needed(grad: bool) -> None:
    graph = attention((1, 70, 1, 4, 70, 1, 4), {}, grad=grad)
    for kernel in kernels(graph)[grad:]:
        lines = kernel.source.split("\n")
        places = [k for k, line in enumerate(lines) if line.strip() in ("sync_threads()", "sync_warp()")]
        assert len(places) >= 3
        for place in places:
            device = Device()
            kernel.source = "\n".join(lines[:place] + lines[place + 1 :])
            with pytest.raises(simulator.SimulationError, match="race"):
                device.launch(kernel)


@pytest.mark.parametrize("grad", [False, True], ids=["forward", "gradient"])
def test_tensor_kernels_need_their_barrier_and_their_copies(grad: bool) -> None:
    graph = attention((1, 70, 1, 16, 200, 1, 16), {}, dtype="bfloat16", grad=grad)
    for kernel in kernels(graph)[grad:]:
        lines = kernel.source.split("\n")
        for wanted, problem in (("sync_threads()", "race"), ("async_wait0()", "uninitialised")):
            places = [k for k, line in enumerate(lines) if line.strip() == wanted]
            assert len(places) == 1
            kernel.source = "\n".join(lines[: places[0]] + lines[places[0] + 1 :])
            with pytest.raises(simulator.SimulationError, match=problem):
                Device().launch(kernel)


@pytest.mark.skipif(not LONG, reason="takes a minute; make test-long")
@pytest.mark.parametrize("arch", [(8, 0), (9, 0), (10, 0)], ids=lambda a: f"sm_{a[0]}{a[1]}")
@pytest.mark.parametrize(
    "sizes, attrs, dtype",
    [((1, 64, 1, 64, 64, 1, 64), {"causal": True}, "float32"),
     ((1, 64, 1, 128, 64, 1, 128), {"rate": 0.1}, "float32"),
     ((1, 64, 1, 256, 64, 1, 256), {"window": 3}, "float32"),
     ((1, 128, 1, 64, 128, 1, 64), {"causal": True}, "bfloat16"),
     ((1, 128, 1, 64, 128, 1, 64), {"causal": True, "rate": 0.1}, "float16"),
     ((1, 128, 1, 128, 128, 1, 128), {"window": 30, "rate": 0.1}, "bfloat16"),
     ((1, 50, 1, 128, 50, 1, 128), {}, "bfloat16")],
)  # fmt: skip
def test_kernels_stay_in_registers(arch: tuple[int, int], sizes, attrs, dtype: str) -> None:
    pytest.importorskip("numba.cuda")
    from graphkeras.codegen.cuda import compiler

    for kernel in kernels(attention(sizes, attrs, dtype=dtype, grad=True)):
        (cubin,) = compiler.load([kernel.source], arch)
        assert cubin.spilled == 0 and cubin.local == 0, kernel.source


def test_other_lengths_and_batches_compile_nothing() -> None:
    for attrs in ({"causal": True}, {"rate": 0.2}):
        first = kernels(attention((2, 100, 2, 16, 130, 2, 16), attrs, grad=True))
        other = kernels(attention((5, 333, 4, 16, 90, 4, 16), attrs, grad=True))
        assert [k.source for k in first] == [k.source for k in other]
