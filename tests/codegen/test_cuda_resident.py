"""Loops as one cooperative CUDA kernel, simulated, against the interpreter; long: compiled for all targets."""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import compiler, driver, simulator
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.compiler import Cubin
from graphkeras.codegen.cuda.resident import BLOCKS
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.codegen.kernel import Call, Copy, Kernel, Loop
from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.passes.pipeline import optimise
from tests.codegen.cuda_harness import Device, kernels, lower, simulate
from tests.codegen.test_cuda_driver import Bindings, Result
from tests.codegen.test_row_loop import arrays_for, backwards, lstm, mixing, scan_graph, swapped

LONG = os.environ.get("GRAPHKERAS_LONG_TESTS")


def resident(graph: Graph) -> Kernel:
    (kernel,) = (k for k in kernels(graph) if k.launch is not None and k.launch.cooperative)
    return kernel


@pytest.mark.parametrize("body", [lstm, backwards, swapped, mixing], ids=lambda f: f.__name__)
@pytest.mark.parametrize("rows, length, reverse", [(1, 4, False), (9, 5, True), (33, 4, False), (100, 4, True)])
def test_values(body, rows: int, length: int, reverse: bool) -> None:
    graph = optimise(scan_graph(body, rows, length, reverse))
    assert resident(graph).extent <= BLOCKS
    arrays = arrays_for(graph)
    for got, want in zip(simulate(graph, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_half_floats_with_tensor_cores_in_the_loop() -> None:
    graph = optimise(scan_graph(lstm, 32, 4, dtype="bfloat16"))
    arrays = arrays_for(graph)
    assert "mma_bfloat16" in resident(graph).source
    for got, want in zip(simulate(graph, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got.astype(np.float32), want.astype(np.float32), rtol=0.05, atol=0.02)


def test_few_trips_and_large_bodies_stay_loops() -> None:
    for graph in (scan_graph(lstm, 9, 3), scan_graph(lstm, 40_000, 8)):
        instructions, _, _ = lower(optimise(graph))
        assert any(isinstance(i, Loop) for i in instructions)
        assert not any(isinstance(i, Call) and i.kernel.launch.cooperative for i in instructions)


def test_other_lengths_and_batches_compile_nothing() -> None:
    one, other = (resident(optimise(scan_graph(lstm, *sizes))) for sizes in ((33, 6), (40, 17)))
    assert one.source == other.source


def run(graph: Graph, kernel: Kernel, source: str) -> None:
    """The resident kernel with another source, after what goes before it."""
    device = Device()
    instructions, inputs, _ = lower(graph)
    for view, array in zip(inputs, arrays_for(graph), strict=True):
        device.memory.write(device.address(view.buffer), np.ascontiguousarray(array))
    for instruction in instructions:
        if isinstance(instruction, Copy):
            data = device.memory.read(device.address(instruction.source.buffer), instruction.nbytes)
            device.memory.write(device.address(instruction.target.buffer), data)
        elif isinstance(instruction, Call):
            if instruction.kernel.launch is not None and instruction.kernel.launch.cooperative:
                instruction.kernel.source = source
            device.launch(instruction.kernel)


def without(source: str, place: int) -> str:
    lines = source.split("\n")
    return "\n".join(lines[:place] + lines[place + 1 :])


def test_every_barrier_of_the_grid_is_needed() -> None:
    graph = optimise(scan_graph(lstm, 70, 4))
    kernel = resident(graph)
    assert kernel.extent > 1
    lines = kernel.source.split("\n")
    run(graph, kernel, kernel.source)
    in_meet = lines.index("def meet(counter, blocks):")
    places = [k for k, line in enumerate(lines) if k > in_meet and "sync_threads()" in line][:2]
    for place in places:
        with pytest.raises(simulator.SimulationError, match="race"):
            run(graph, kernel, without(kernel.source, place))
    meets = [k for k, line in enumerate(lines) if line.strip().startswith("meet(")]
    assert len(meets) >= 2
    for place in meets:
        source = without(without(kernel.source, place), place - 1)  # and the count of it
        with pytest.raises(simulator.SimulationError, match="race"):
            run(graph, kernel, source)


def test_blocks_that_wait_for_too_many_are_reported() -> None:
    graph = optimise(scan_graph(lstm, 70, 4))
    kernel = resident(graph)
    with pytest.raises(simulator.SimulationError, match="arrivals"):
        run(graph, kernel, kernel.source.replace("met = met + block_count()", "met = met + block_count() + 1", 1))


class CooperativeBindings(Bindings):
    """A driver with two multiprocessors, each of which holds one block."""

    CUdevice_attribute = SimpleNamespace(
        **{**vars(Bindings.CUdevice_attribute), "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": 16}
    )
    launched: list[int]

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> Any:
        return (Result.CUDA_SUCCESS, 2) if attribute == 16 else super().cuDeviceGetAttribute(attribute, device)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, f: str, threads: int, shared: int) -> Any:
        return Result.CUDA_SUCCESS, 1

    def cuLaunchCooperativeKernel(self, f: str, gx: int, *rest: Any) -> Any:
        self.launched.append(gx)
        return self.cuLaunchKernel(f, gx, *rest, 0)


def test_the_driver_launches_as_many_blocks_as_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    made = CooperativeBindings()
    made.launched = []
    monkeypatch.setattr(driver, "_bindings", lambda: made)
    monkeypatch.setattr(compiler, "load", lambda sources, arch: [Cubin(s.encode(), 32, 0, 0, 0) for s in sources])
    monkeypatch.setitem(devices._devices, "cuda:0", devices.Device(driver.CudaDriver(0)))
    graph = optimise(scan_graph(lstm, 70, 4))
    assert resident(graph).extent > 2
    arrays = arrays_for(graph)
    with devices.using("cuda:0"):
        program = compile_graph(graph, target=CUDA)
    results = [np.empty(n.shape, n.dtype) for n in graph.outputs]
    program.bind(arrays, results)
    program.run(2)
    assert {*made.launched} == {2} and made.graph_launches == 2
    for got, want in zip(results, evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-bindings is not installed")
def test_the_functions_exist() -> None:
    cu = pytest.importorskip("cuda.bindings.driver")
    for name in vars(CooperativeBindings):
        assert not name.startswith("cu") or hasattr(cu, name), name
    assert int(cu.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == 16


@pytest.mark.skipif(not LONG, reason="takes a minute; make test-long")
@pytest.mark.parametrize("arch", [(8, 0), (9, 0), (10, 0)], ids=lambda a: f"sm_{a[0]}{a[1]}")
@pytest.mark.parametrize("body", [lstm, backwards], ids=lambda f: f.__name__)
def test_kernels_stay_in_registers(arch: tuple[int, int], body) -> None:
    pytest.importorskip("numba.cuda")
    (cubin,) = compiler.load([resident(optimise(scan_graph(body, 33, 6))).source], arch)
    assert cubin.spilled == 0 and cubin.local == 0
