"""Runs graphs lowered for CUDA on the simulator, kernel by kernel, as a GPU would run them one after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphkeras.codegen.compile import join_launches
from graphkeras.codegen.cuda import simulator
from graphkeras.codegen.cuda.simulator_memory import Memory
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.codegen.kernel import (
    Buffer,
    Call,
    Copy,
    Float,
    Int,
    Kernel,
    Ptr,
    TensorMap,
    View,
    Where,
    contiguous_strides,
)
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.target import Target
from graphkeras.ir.graph import Graph
from graphkeras.ir.types import numpy_dtype


class Device:
    """Buffers in simulated memory."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.places: dict[Buffer, int] = {}
        self.reports: list[simulator.Report] = []

    def address(self, buffer: Buffer) -> int:
        if buffer not in self.places:
            self.places[buffer] = self.memory.allocate(buffer.nbytes)
            if buffer.data is not None:
                self.memory.write(self.places[buffer], buffer.data)
        return self.places[buffer]

    def words(self, kernel: Kernel) -> list[int | float]:
        found: list[int | float] = []
        for arg in kernel.args:
            if isinstance(arg, Ptr):
                found.append(self.address(arg.buffer) + arg.offset)
            elif isinstance(arg, TensorMap):
                found.append(self.memory.describe(arg, self.address(arg.buffer) + arg.offset))
            else:
                assert isinstance(arg, (Int, Float))
                found.append(arg.value)
        return found

    def launch(self, kernel: Kernel) -> simulator.Report:
        assert kernel.launch is not None
        args = self.words(kernel)
        if kernel.launch.table:
            raw = [np.float64(a).tobytes() if isinstance(a, float) else np.int64(a).tobytes() for a in args]
            args = [self.memory.upload(np.frombuffer(b"".join(raw), np.uint8))]
        blocks = simulator.blocks_of(kernel)
        report = simulator.run(kernel.source, args, blocks=blocks, shared=kernel.launch.shared, memory=self.memory)
        report.raise_if_wrong()
        self.reports.append(report)
        return report


def lower(graph: Graph, fuse: bool = True, target: Target = CUDA) -> tuple[list, list[View], list[View]]:
    """(instructions, inputs, outputs) of a graph lowered for CUDA."""
    inputs = [_bound(n, Where.INPUT, k) for k, n in enumerate(graph.inputs)]
    outputs = [_bound(n, Where.OUTPUT, k) for k, n in enumerate(graph.outputs)]
    ctx = Lowering(fuse=fuse, target=target)
    ctx.graph(graph, inputs, outputs)
    return join_launches(ctx.instructions), inputs, outputs


def kernels(graph: Graph, fuse: bool = True, target: Target = CUDA) -> list[Kernel]:
    return [i.kernel for i in lower(graph, fuse, target)[0] if isinstance(i, Call)]


def _bound(node, where: Where, index: int) -> View:
    buffer = Buffer(max(node.type.nbytes, 1), where, index)
    return View(buffer, node.dtype, node.shape, contiguous_strides(node.shape))


def simulate(
    graph: Graph,
    arrays: Sequence[np.ndarray],
    fuse: bool = True,
    device: Device | None = None,
    target: Target = CUDA,
) -> list[np.ndarray]:
    """Results of a graph, computed by its CUDA kernels on the simulator; any race or wild access raises."""
    instructions, inputs, outputs = lower(graph, fuse, target)
    device = device or Device()
    for view, array in zip(inputs, arrays, strict=True):
        device.memory.write(device.address(view.buffer), np.ascontiguousarray(array))
    for instruction in instructions:
        if isinstance(instruction, Copy):
            data = device.memory.read(
                device.address(instruction.source.buffer) + instruction.source.offset, instruction.nbytes
            )
            device.memory.write(device.address(instruction.target.buffer) + instruction.target.offset, data)
        else:
            assert isinstance(instruction, Call), instruction
            device.launch(instruction.kernel)
    return [device.memory.download(device.address(v.buffer), v.shape, numpy_dtype(v.dtype)) for v in outputs]
