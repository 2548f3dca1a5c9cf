"""Kernels of graphkeras for the cases: a graph each, compiled for the device and run in a row.

Results stay on the device: each takes the memory of an input, one that nothing else reads where the case itself
updates nothing. So a run of many steps queues kernels and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks import ops_ours
from benchmarks.gpu.cases import TF32, KernelCase
from graphkeras.codegen import flags
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cuda import device as devices
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.ir import residence
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType, numpy_dtype

Prepared = tuple[Callable[[int], None], Callable[[], list[np.ndarray]]]


def prepare(case: KernelCase, device: str, older: bool = False) -> Prepared:
    """(run it so many times and wait, its results). older: with kernels that any GPU since Ampere runs."""
    arrays = [_stored(a, case.dtype) for a in case.arrays()]
    b = Builder()
    inputs = [b.input(_type(a), f"x{k}") for k, a in enumerate(arrays)]
    outputs = _results(b, case, inputs)
    aliases = ops_ours.aliases(case.case)
    for k, node in enumerate(outputs):
        if k not in aliases:
            aliases[k] = len(inputs)
            inputs.append(b.input(node.type, f"result{k}"))
            arrays.append(np.zeros(node.shape, numpy_dtype(node.dtype)))
    graph = Graph(inputs, outputs, case.case.kernel)
    places = [arrays[aliases[k]] for k in range(len(outputs))]
    with flags.TF32(int(case.numbers == TF32)):
        if device == "cpu":
            program: Any = compile_graph(graph, aliases)
            program.bind(arrays, places)
        else:
            with devices.using(device) as found:
                program = compile_graph(graph, aliases, target=CUDA if older else found.target)
            program.bind(arrays, places, state=range(len(arrays)))

    def results() -> list[np.ndarray]:
        residence.refresh_all(places)
        return places

    return program.run, results


def _stored(array: np.ndarray, dtype: str) -> np.ndarray:
    if array.dtype != np.float32 or dtype == "float32":
        return array
    return array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def _type(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, array.dtype.name)


def _results(b: Builder, case: KernelCase, inputs: Sequence[Node]) -> list[Node]:
    make = _GRAPHS.get(case.case.kernel)
    if make is None:
        return ops_ours.results(b, case.case, inputs)
    return list(make(b, dict(case.case.parameters), *inputs))


def _attend(b: Builder, p: dict[str, Any], q: Node, k: Node, v: Node) -> tuple[Node, dict[str, Any]]:
    attrs = {"scale": p["scale"], "causal": p["causal"], "window": 0, "rate": 0.0}
    return b.attention(q, k, v, **attrs), attrs


def _attention(b: Builder, p: dict[str, Any], *given: Node) -> list[Node]:
    return [b.item(_attend(b, p, *given)[0], 0)]


def _attention_training(b: Builder, p: dict[str, Any], q: Node, k: Node, v: Node, ct: Node) -> list[Node]:
    """The result and the three gradients of its product with `ct`."""
    made, attrs = _attend(b, p, q, k, v)
    parts = [b.item(made, n) for n in range(3)]
    grads = b.attention_grad(q, k, v, *parts, ct, **attrs)
    return [parts[0], *(b.item(grads, n) for n in range(3))]


_GRAPHS: dict[str, Callable[..., Sequence[Node]]] = {
    "negate": lambda b, p, x: [b.neg(x)],
    "gelu_residual": lambda b, p, x, bias, r: [b.add(b.gelu(b.add(x, bias), approximate=True), r)],
    "transpose": lambda b, p, x: [b.transpose(x, perm=(1, 0))],
    "attention": _attention,
    "attention_training": _attention_training,
}


def copying(device: str, nbytes: int) -> Callable[[int], None]:
    """Copies of so many bytes from one place on the device to another, by its driver (by NumPy on the CPU)."""
    if device == "cpu":
        source, target = np.ones(nbytes, np.uint8), np.zeros(nbytes, np.uint8)

        def on_the_host(count: int) -> None:
            for _ in range(count):
                np.copyto(target, source)

        return on_the_host
    found = devices.get(device)
    found.enter()
    first, second = (found.take(nbytes, "the copies that are timed") for _ in range(2))

    def run(count: int) -> None:
        with found.lock:
            found.enter()
            for _ in range(count):
                found.driver.copy(second, first, nbytes, found.stream)
            found.driver.synchronize(found.stream)

    return run


def facts(device: str) -> dict[str, Any]:
    """What the device is; CudaUnavailable where there is none."""
    if device == "cpu":
        return {"name": "cpu"}
    driver = devices.get(device).driver
    return {"name": driver.name, "arch": f"sm_{driver.arch[0]}{driver.arch[1]}", "bytes": driver.memory()[1]}
