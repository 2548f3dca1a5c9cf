"""`while` and `cond` as conditional nodes of a captured graph: on the simulated device, on a stand-in of the driver."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import compiler, driver
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.compiler import Cubin
from graphkeras.codegen.cuda.conditions import flag_kernel, index_kernel
from graphkeras.codegen.cuda.device import Device
from graphkeras.codegen.cuda.driver import DriverError
from graphkeras.codegen.cuda.program import CudaProgram
from graphkeras.codegen.cuda.simulated import SimulatedDriver
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.codegen.kernel import Buffer, Ptr, Where
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType
from tests.codegen.test_cuda_driver import Bindings, Result

COUNT, VALUES = TensorType((), "int32"), TensorType((37,), "float32")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device(SimulatedDriver())
    monkeypatch.setitem(devices._devices, "cuda:simulated", made)
    with devices.using("cuda:simulated"):
        yield made


def loop(b: Builder, i, x, limit, step):
    """while i < limit: i, x = step(i, x)"""
    test, body = Builder(), Builder()
    types = (i.type, x.type, limit.type)
    ins, outs = [test.input(t, "a") for t in types], [body.input(t, "a") for t in types]
    cond = Graph(ins, [test.lt(ins[0], ins[2])], "cond")
    made = b.emit("while", i, x, limit, cond=cond, body=Graph(outs, step(body, *outs), "body"), carries=2)
    return [b.item(made, 0), b.item(made, 1)]


def branch(b: Builder, index, x, *steps):
    """One of the steps, by the index."""
    graphs = []
    for step in steps:
        inner = Builder()
        operand = inner.input(x.type, "x")
        graphs.append(Graph([operand], [step(inner, operand)], "branch"))
    return b.item(b.cond(index, x, branches=tuple(graphs)), 0)


def halves(b: Builder, i, x, limit):
    return [b.add(i, 1), b.add(b.mul(x, 0.5), 1.0)]


def steps_of_steps(b: Builder, i, x, limit):
    """A loop and a branch in the body of a loop."""
    _, inner = loop(b, b.const(0, "int32"), x, i, halves)
    chosen = branch(b, b.sub(i, 1), inner, lambda b, x: b.tanh(x), lambda b, x: b.neg(x), lambda b, x: b.mul(x, 2.0))
    return [b.add(i, 1), chosen]


def graph_of(step) -> Graph:
    b = Builder()
    x, limit = b.input(VALUES, "x"), b.input(COUNT, "limit")
    return Graph([x, limit], loop(b, b.const(0, "int32"), x, limit, step), "test")


def run(program: CudaProgram, graph: Graph, limit: int) -> None:
    arrays = [np.linspace(-2, 2, 37, dtype=np.float32), np.array(limit, np.int32)]
    results = [np.empty(n.shape, n.dtype) for n in graph.outputs]
    program.bind(arrays, results)
    program.run()
    for got, want in zip(results, evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("step", [halves, steps_of_steps], ids=lambda f: f.__name__)
def test_one_graph_whatever_the_values_say(device: Device, step) -> None:
    graph = graph_of(step)
    program = compile_graph(graph, target=CUDA)
    for count, limit in enumerate((0, 1, 5, 3), 1):
        run(program, graph, limit)
        assert device.driver.replays == count
    assert len(program._graphs) <= 2  # one for each place of the inputs


@pytest.mark.parametrize("index", [-3, 0, 1, 2, 9])
def test_branches(device: Device, index: int) -> None:
    b = Builder()
    x, which = b.input(VALUES, "x"), b.input(COUNT, "which")
    steps = (lambda b, x: b.tanh(x), lambda b, x: b.neg(x), lambda b, x: x)
    graph = Graph([x, which], [branch(b, which, x, *steps)], "test")
    run(compile_graph(graph, target=CUDA), graph, index)
    assert device.driver.replays == 1


@pytest.mark.parametrize("step", [halves, steps_of_steps], ids=lambda f: f.__name__)
def test_the_host_decides_where_graphs_cannot(device: Device, monkeypatch: pytest.MonkeyPatch, step) -> None:
    monkeypatch.setattr(SimulatedDriver, "has_choices", lambda self: False)
    graph = graph_of(step)
    program = compile_graph(graph, target=CUDA)
    run(program, graph, 4)
    assert device.driver.replays == 0


def test_a_condition_that_nobody_sets_is_reported(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(halves)
    program = compile_graph(graph, target=CUDA)
    (kernel,) = program._choosers.values()
    kernel.source = kernel.source.replace("if thread_index() == 0", "if thread_index() == 99")
    with pytest.raises(DriverError, match="no kernel has set the condition"):
        run(program, graph, 2)


# -- the driver -----------------------------------------------------------------------------------------
class ChoosingBindings(Bindings):
    """A driver whose graphs are lists of tasks, with conditional nodes."""

    CUgraphNodeType = SimpleNamespace(CU_GRAPH_NODE_TYPE_CONDITIONAL=13)
    CUgraphConditionalNodeType = SimpleNamespace(CU_GRAPH_COND_TYPE_WHILE=1, CU_GRAPH_COND_TYPE_SWITCH=2)
    CUstreamUpdateCaptureDependencies_flags = SimpleNamespace(CU_STREAM_SET_CAPTURE_DEPENDENCIES=1)
    CUgraphConditionalHandle = int

    def __init__(self, version: int = 13000) -> None:
        super().__init__()
        self.outer: list[Any] = []
        self.handles, self.version = 0, version

    def cuDriverGetVersion(self) -> Any:
        return Result.CUDA_SUCCESS, self.version

    def CUgraphNodeParams(self) -> SimpleNamespace:
        return SimpleNamespace(type=0, conditional=SimpleNamespace(phGraph_out=[]))

    def cuStreamGetCaptureInfo(self, stream: str) -> Any:
        return Result.CUDA_SUCCESS, 1, 7, self.recording, ["before", "of no account"], [], 1

    def cuGraphConditionalHandleCreate(self, graph: Any, context: str, default: int, flags: int) -> Any:
        assert graph is self.recording and context == "context"
        self.handles += 1
        return Result.CUDA_SUCCESS, self.handles

    def cuGraphAddNode(self, graph: list[Any], before: list[str], data: Any, count: int, params: Any) -> Any:
        node = params.conditional
        assert (before, count, params.type, node.ctx) == (["before"], 1, 13, "context")
        assert node.size == 1 or node.type == 2
        node.phGraph_out = [[] for _ in range(node.size)]
        values, bodies, handle = self.memory.conditions, node.phGraph_out, node.handle

        def task() -> None:
            while values[handle] and node.type == 1:
                for inner in bodies[0]:
                    inner()
            if node.type == 2 and values[handle] < node.size:
                for inner in bodies[values[handle]]:
                    inner()

        graph.append(task)
        return Result.CUDA_SUCCESS, "node"

    def cuStreamUpdateCaptureDependencies(self, stream: str, nodes: list[str], data: Any, count: int, how: int) -> Any:
        assert (nodes, count, how) == (["node"], 1, 1)
        return (Result.CUDA_SUCCESS,)

    def cuStreamBeginCaptureToGraph(self, stream: str, graph: Any, nodes: Any, data: Any, count: int, mode: int) -> Any:
        assert (nodes, count) == (None, 0)
        self.outer.append(self.recording)
        self.recording = graph
        return (Result.CUDA_SUCCESS,)

    def cuStreamEndCapture(self, stream: str) -> Any:
        if not self.outer:
            return super().cuStreamEndCapture(stream)
        graph, self.recording = self.recording, self.outer.pop()
        return Result.CUDA_SUCCESS, graph


@pytest.mark.parametrize("version, replays", [(13000, 2), (12040, 0)])
def test_nodes_of_the_driver(monkeypatch: pytest.MonkeyPatch, version: int, replays: int) -> None:
    made = ChoosingBindings(version)
    monkeypatch.setattr(driver, "_bindings", lambda: made)
    monkeypatch.setattr(compiler, "load", lambda sources, arch: [Cubin(s.encode(), 32, 0, 0, 0) for s in sources])
    monkeypatch.setattr(compiler, "can_link_conditions", lambda: True)
    monkeypatch.setitem(devices._devices, "cuda:0", Device(driver.CudaDriver(0)))
    graph = graph_of(steps_of_steps)
    with devices.using("cuda:0"):
        program = compile_graph(graph, target=CUDA)
    run(program, graph, 4)
    run(program, graph, 2)
    assert made.graph_launches == replays


def test_the_functions_exist() -> None:
    cu = pytest.importorskip("cuda.bindings.driver")
    for name in vars(ChoosingBindings):
        assert not name.lower().startswith("cu") or hasattr(cu, name), name
    for kind in ("CUgraphNodeType", "CUgraphConditionalNodeType", "CUstreamUpdateCaptureDependencies_flags"):
        for name, value in vars(getattr(ChoosingBindings, kind)).items():
            assert int(getattr(getattr(cu, kind), name)) == value
    params = cu.CUgraphNodeParams()
    params.type = cu.CUgraphNodeType.CU_GRAPH_NODE_TYPE_CONDITIONAL
    node = params.conditional
    node.handle, node.size = cu.CUgraphConditionalHandle(5), 2
    node.type = cu.CUgraphConditionalNodeType.CU_GRAPH_COND_TYPE_SWITCH
    params.conditional = node
    assert (int(params.conditional.handle), params.conditional.size) == (5, 2)


@pytest.mark.parametrize("arch", [(8, 0), (9, 0), (10, 0)], ids=lambda a: f"sm_{a[0]}{a[1]}")
def test_condition_kernels_are_linked_with_the_library(arch: tuple[int, int]) -> None:
    pytest.importorskip("numba.cuda")
    if compiler.missing_packages() or not compiler.can_link_conditions():
        pytest.skip("nvJitLink or libcudadevrt.a is not installed")
    at = Ptr(Buffer(8, Where.ARENA))
    for kernel in (flag_kernel(at), index_kernel(at, 3)):
        (cubin,) = compiler.load([kernel.source], arch)
        assert cubin.code[:4] == b"\x7fELF" and cubin.spilled == 0
