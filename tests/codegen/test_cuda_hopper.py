"""Products on Hopper's tensor cores: simulated against float64, with faults planted; compiled for sm_90a."""

from __future__ import annotations

import math
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.cuda import compiler, product_choice, product_launch, simulator
from graphkeras.codegen.cuda.product_hopper import SHARED, TILES, HopperTile
from graphkeras.codegen.cuda.target import CUDA, HOPPER, target_for
from graphkeras.codegen.kernel import Kernel, TensorMap
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.cuda_harness import Device, kernels, simulate
from tests.codegen.test_cuda_product import EPS, product

TARGET = target_for(HOPPER)
NARROW = HopperTile(1, 128)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Whatever the size: Hopper's tensor cores, tf32 allowed."""
    monkeypatch.setattr(product_launch, "synchronous_cycles", lambda *_: float("inf"))
    with flags.TF32(1):
        yield monkeypatch


def check(graph: Graph, turned: str, dtype: str) -> Device:
    rng = np.random.default_rng(3)
    x, y, c = (rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs)
    device = Device()
    (got,) = simulate(graph, [x, y, c], device=device, target=TARGET)
    a, b = (v.astype(np.float64) for v in (x, y))
    a, b = (v.swapaxes(1, 2) if name in turned else v for name, v in (("a", a), ("b", b)))
    want = np.maximum(a @ b + c.astype(np.float64), 0)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=EPS[dtype], atol=EPS[dtype] * np.abs(want).max())
    return device


def names(graph: Graph) -> list[str]:
    """Of the kernels; copies in other orders are "copy"."""
    return ["copy" if k.name == "transpose" else k.name for k in kernels(graph, target=TARGET)]


# -- which kernel -----------------------------------------------------------------------------------------
def test_the_target_chooses() -> None:
    large, small = product(4096, 4096, 1024, "bfloat16"), product(64, 64, 64, "bfloat16")
    assert names(large) == ["hopper_product"]
    assert any(c.startswith("product wgmma 128x256, modelled") for c in kernels(large, target=TARGET)[0].choices)
    assert any(c.startswith("product mma.sync, modelled") for c in kernels(small, target=TARGET)[0].choices)
    assert [k.name for k in kernels(large, target=target_for((10, 0)))] == ["tensor_product"]  # wgmma is Hopper's alone
    assert [k.name for k in kernels(large, target=CUDA)] == ["tensor_product"]
    assert names(small) == ["tensor_product"]
    assert names(product(4096, 4096, 1024, "float32")) == ["product"]
    with flags.TF32(1):
        assert names(product(4096, 4096, 1024, "float32", "b")) == ["hopper_product"]
        assert names(product(4096, 4096, 1024, "float32")) == ["copy", "hopper_product"]
    assert names(product(4096, 4095, 1024, "bfloat16")) == ["copy", "hopper_product"]  # rows of 4095 have no alignment
    assert names(product(4096, 4095, 1024, "bfloat16", "b")) == ["hopper_product"]
    assert names(product(4096, 4096, 1023, "bfloat16", "b")) == ["copy", "copy", "hopper_product"]
    assert names(product(256, 4095, 128, "bfloat16", "a")) == ["tensor_product"]


def test_tiles_fit_shared_memory() -> None:
    for tile in TILES:
        assert tile.slots >= 3
        assert tile.slots * tile.slot + tile.results + 16 * tile.slots <= SHARED


def test_other_sizes_compile_nothing() -> None:
    first, other = (kernels(product(m, 2048, 512, "bfloat16", "b"), target=TARGET) for m in (8192, 16384))
    assert [k.source for k in first] == [k.source for k in other] and first[0].name == "hopper_product"


# -- values -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_orientations_and_edges(always: pytest.MonkeyPatch, turned: str, dtype: str) -> None:
    always.setattr(product_choice, "TILES", (NARROW,))
    check(product(72, 136, 136, dtype, turned), turned, dtype)


@pytest.mark.parametrize("dtype", EPS)
def test_rows_without_alignment(always: pytest.MonkeyPatch, dtype: str) -> None:
    always.setattr(product_choice, "TILES", (NARROW,))
    graph = product(67, 129, 75, dtype, "a", batch=2)
    assert names(graph) == ["copy", "copy", "hopper_product"]
    check(graph, "a", dtype)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_tiles(always: pytest.MonkeyPatch, tile: HopperTile) -> None:
    always.setattr(product_choice, "TILES", (tile,))
    graph = product(200, 264, 72, "bfloat16")
    assert names(graph) == ["hopper_product"]
    check(graph, "", "bfloat16")


def test_a_batch_parts_and_many_tiles_of_a_block(always: pytest.MonkeyPatch) -> None:
    always.setattr(product_choice, "TILES", (NARROW,))
    check(product(72, 72, 72, "float16", "a", batch=3), "a", "float16")
    assert names(product(72, 72, 1024, "bfloat16")) == ["partial_hopper_product", "sum_parts"]
    check(product(72, 72, 1024, "bfloat16"), "", "bfloat16")
    always.setattr(simulator, "RESIDENT", 2)
    for m in (64 * 11, 64 * 3):  # two bands of rows; less than one
        (kernel,) = kernels(product(m, 136, 72, "bfloat16"), target=TARGET)
        assert kernel.extent > simulator.blocks_of(kernel) == 2
        check(product(m, 136, 72, "bfloat16"), "", "bfloat16")


# -- planted faults ---------------------------------------------------------------------------------------
FAULTS = {
    "no wait for a full slot": ("barrier_wait(full + 8 * slot, int32(parity))", "", "race|uninitialised"),
    "no wait for an empty slot": ("barrier_wait(empty + 8 * slot, int32(parity))", "", "race"),
    "no wait for the products": ("sums = tile_end(sums)", "", "race"),
    "a slot is given back too early": ("(False, True), 1)", "(False, True), 2)", "race"),
    "phases of the producer": ("parity = 1", "parity = 0", "deadlock"),
    "phases of the consumers": ("parity = 0", "parity = 1", "race|uninitialised"),
    "the phase does not turn": ("parity = parity ^ 1", "parity = parity", "race|deadlock"),
    "no fence after the barriers": ("barrier_fence()", "", "missing fence"),
    "no sync after the barriers": ("sync_threads()", "", "no barrier|race"),
    "nothing is expected": ("barrier_expect", "0 if True else barrier_expect", "deadlock"),
    "too much is expected": ("int32(49152)", "int32(49168)", "deadlock"),
    "a slot is not given back": ("barrier_arrive(empty + 8 * before)", "", "deadlock"),
    "results are read too early": ("sync_warp()", "", "race|uninitialised"),
    "part of the slot is missing": ("copy_box2(to + 16384,", "0 if True else copy_box2(to + 16384,", "deadlock"),
}


def planted(kernel: Kernel, old: str, new: str) -> None:
    """The first line with `old` gets `new` instead."""
    lines = kernel.source.split("\n")
    place = next(k for k, line in enumerate(lines) if old in line)
    line = lines[place].replace(old, new)
    if "0 if True else" in line or not new:
        line = line[: len(line) - len(line.lstrip())] + "pass"
    lines[place] = line
    kernel.source = "\n".join(lines)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_left_out_is_noticed(always: pytest.MonkeyPatch, fault: str) -> None:
    old, new, kind = FAULTS[fault]
    always.setattr(product_choice, "TILES", (HopperTile(2, 256),))
    (kernel,) = kernels(product(128, 256, 64 * 6, "bfloat16"), target=TARGET)
    planted(kernel, old, new)
    device = Device()
    for arg in kernel.args:
        if isinstance(arg, TensorMap):
            device.memory.write(device.address(arg.buffer), np.zeros(arg.buffer.nbytes, np.uint8))
    with pytest.raises(simulator.SimulationError, match=kind):
        device.launch(kernel)


def test_without_a_fault_nothing_is_found(always: pytest.MonkeyPatch) -> None:
    always.setattr(product_choice, "TILES", (HopperTile(2, 256),))
    (kernel,) = kernels(product(128, 256, 64 * 6, "bfloat16"), target=TARGET)
    Device().launch(kernel)


# -- compiled ---------------------------------------------------------------------------------------------
def _why_not() -> str:
    try:
        compiler.require()
    except compiler.CudaUnavailable as error:
        return str(error)
    return "" if compiler.ptxas() else "no ptxas on this machine"


def disassembled(code: bytes, folder: Path) -> Sequence[str]:
    """Instructions, where there is a disassembler."""
    import importlib.util

    spec = importlib.util.find_spec("nvidia")
    places = [Path(p) / "cu13" / "bin" / "nvdisasm" for p in (spec.submodule_search_locations if spec else ())]
    tool = next((p for p in places if p.exists()), None)
    if tool is None:
        return []
    (folder / "kernel.cubin").write_bytes(code)
    text = subprocess.run([tool, folder / "kernel.cubin"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9._]+)", text, re.M)


@pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")
@pytest.mark.parametrize(
    "tile, dtype, turned",
    [(TILES[0], "bfloat16", ""), (TILES[1], "float32", "b"), (TILES[3], "float16", "ab")],
    ids=["wide", "tf32", "narrow"],
)
def test_instructions_and_registers(
    always: pytest.MonkeyPatch, tmp_path: Path, tile: HopperTile, dtype: str, turned: str
) -> None:
    always.setattr(product_choice, "TILES", (tile,))
    (kernel,) = kernels(product(4096, 4096, 1024, dtype, turned), target=TARGET)
    (cubin,) = compiler.load([kernel.source], HOPPER)
    assert cubin.spilled == 0 and cubin.local == 0, kernel.source
    assert cubin.registers <= (168 if tile.groups == 2 else 255)
    found = disassembled(cubin.code, tmp_path)
    if found:
        assert sum(i.startswith("HGMMA") for i in found) >= 4 and any(i.startswith("UTMALDG") for i in found)
        assert not any(i.startswith(("LDL", "STL")) for i in found)
        assert any(i.startswith("USETMAXREG") for i in found) == (tile.groups == 2)
        waits = sum(i.startswith("WARPGROUP.DEPBAR") for i in found)  # serialised, each wgmma would wait for itself
        assert waits <= 1 + sum(i.startswith("HGMMA") for i in found) // 4


def with_a_long_epilogue(m: int, n: int, k: int, dtype: str) -> Graph:
    """z = x w + c; gelu(z) + r; tanh(z): three results."""
    b = Builder()
    x, w = b.input(TensorType((m, k), dtype), "x"), b.input(TensorType((k, n), dtype), "w")
    c, r = b.input(TensorType((n,), dtype), "c"), b.input(TensorType((m, n), dtype), "r")
    y = b.dot_general(x, w, contract=((1,), (0,)), batch=((), ()))
    z = b.add(y, b.broadcast_to(b.reshape(c, shape=(1, n)), shape=(m, n)))
    return optimise(Graph([x, w, c, r], [z, b.add(b.gelu(z, approximate=False), r), b.tanh(z)]))


def test_a_long_epilogue(always: pytest.MonkeyPatch) -> None:
    always.setattr(product_choice, "TILES", (NARROW,))
    graph = with_a_long_epilogue(72, 136, 72, "bfloat16")
    assert names(graph) == ["hopper_product"]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(numpy_dtype(n.dtype)) for n in graph.inputs]
    wide = [a.astype(np.float32) for a in arrays]
    z = wide[0] @ wide[1] + wide[2]
    gelu = 0.5 * z * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
    for got, want in zip(simulate(graph, arrays, target=TARGET), (z, gelu + wide[3], np.tanh(z)), strict=True):
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=2e-2, atol=8e-3 * np.abs(want).max())


@pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")
@pytest.mark.skipif(not os.environ.get("GRAPHKERAS_LONG_TESTS"), reason="takes a minute; make test-long")
def test_everything_stays_in_registers(always: pytest.MonkeyPatch) -> None:
    for tile in TILES:
        always.setattr(product_choice, "TILES", (tile,))
        for dtype in EPS:
            made = [product(4096, 4096, 1024, dtype, turned) for turned in ("", "ab")]
            if tile is TILES[0]:
                made.append(with_a_long_epilogue(4096, 4096, 1024, dtype))
            for graph in made:
                kernel = kernels(graph, target=TARGET)[-1]
                (cubin,) = compiler.load([kernel.source], HOPPER)
                assert kernel.name == "hopper_product" and cubin.spilled == 0 and cubin.local == 0, kernel.source
                assert cubin.registers <= (168 if tile.groups == 2 else 255)
