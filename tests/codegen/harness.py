"""Runs graphs through the lowering, kernel by kernel, with NumPy arrays for buffers; no plan, no threads.

Every launch is cut at its `chunk`, and scratch memory is filled with NaN first, so that a kernel which relies on what
an earlier item left there fails.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from graphkeras.codegen.cpu import compiler, target
from graphkeras.codegen.kernel import Buffer, Call, Copy, Float, Int, Kernel, Ptr, View, Where, contiguous_strides
from graphkeras.codegen.lower import Lowering
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import numpy_dtype, type_of


@cache
def compiled(source: str):
    address = target.load_objects([(compiler.symbol_of(source), compiler.compile_object(source))])[0]
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(None, word, word, word)(address)


class Machine:
    """Memory of one run."""

    def __init__(self) -> None:
        self.memory: dict[Buffer, np.ndarray] = {}

    def bytes_of(self, buffer: Buffer) -> np.ndarray:
        if buffer not in self.memory:
            if buffer.data is not None:
                self.memory[buffer] = np.ascontiguousarray(buffer.data).reshape(-1).view(np.uint8).copy()
            else:
                self.memory[buffer] = np.full(buffer.nbytes + 64, 0xFF, np.uint8)
        return self.memory[buffer]

    def word(self, arg, keep: list) -> int:
        if isinstance(arg, Ptr):
            return self.bytes_of(arg.buffer).ctypes.data + arg.offset
        if isinstance(arg, Int):
            return arg.value
        if isinstance(arg, Float):
            return int(np.float64(arg.value).view(np.int64))
        scratch = np.full(arg.nbytes + 64, 0xFF, np.uint8)
        keep.append(scratch)
        return -(-scratch.ctypes.data // 64) * 64

    def table(self, kernel: Kernel) -> tuple[np.ndarray, list]:
        keep: list = []
        return np.array([self.word(a, keep) for a in kernel.args], np.int64), keep

    def call(self, kernel: Kernel) -> None:
        run = compiled(kernel.source)
        for lo in range(0, kernel.extent, kernel.chunk):
            table, _keep = self.table(kernel)
            run(table.ctypes.data, lo, min(lo + kernel.chunk, kernel.extent))

    def run(self, instructions) -> None:
        for instruction in instructions:
            if isinstance(instruction, Call):
                self.call(instruction.kernel)
            elif isinstance(instruction, Copy):
                target, source = instruction.target, instruction.source
                piece = self.bytes_of(source.buffer)[source.offset : source.offset + instruction.nbytes]
                self.bytes_of(target.buffer)[target.offset : target.offset + instruction.nbytes] = piece
            else:
                raise TypeError(f"the harness does not run {type(instruction).__name__}")

    def read(self, view: View) -> np.ndarray:
        dtype = numpy_dtype(view.dtype)
        start = self.bytes_of(view.buffer)[view.offset * dtype.itemsize :]
        strides = tuple(s * dtype.itemsize for s in view.strides)
        return np.ndarray(view.shape, dtype, buffer=start.data, strides=strides).copy()


def lower(build, arrays, fuse: bool = True):
    """`build(builder, *nodes) -> node(s)`, lowered for the arrays' types: (lowering, machine, output views, graph)."""
    builder = Builder()
    nodes = [builder.input(type_of(a), f"x{i}") for i, a in enumerate(arrays)]
    outputs = build(builder, *nodes)
    graph = Graph(nodes, outputs if isinstance(outputs, (tuple, list)) else [outputs])
    machine, views = Machine(), []
    for i, array in enumerate(arrays):
        buffer = Buffer(max(array.nbytes, 1), Where.INPUT, i)
        raw = np.zeros(array.nbytes + 64, np.uint8)
        raw[: array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        machine.memory[buffer] = raw
        views.append(View(buffer, array.dtype.name, array.shape, contiguous_strides(array.shape)))
    lowering = Lowering(fuse=fuse)
    results = lowering.graph(graph, views, [None] * len(graph.outputs))
    return lowering, machine, results, graph


def run(build, *arrays, fuse: bool = True) -> list[np.ndarray]:
    """Compile and run; a list of results."""
    lowering, machine, results, _ = lower(build, arrays, fuse)
    machine.run(lowering.instructions)
    run.status = machine.read(View(lowering.status, "int64", (4,), (1,))) if lowering.status else None
    return [machine.read(v) for v in results]


def kernels(build, *arrays) -> list[Kernel]:
    lowering, *_ = lower(build, arrays)
    return [i.kernel for i in lowering.instructions if isinstance(i, Call)]
