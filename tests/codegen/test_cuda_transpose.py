"""Transposes in tiles: values at awkward sizes, 16-byte accesses, no bank conflicts, the barrier is needed."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.codegen.cuda import simulator
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType, numpy_dtype
from tests.codegen.cuda_harness import Device, kernels, simulate

CASES = [
    ((64, 64), (1, 0)),
    ((65, 130), (1, 0)),
    ((200, 17), (1, 0)),
    ((16, 72), (1, 0)),
    ((2, 33, 20), (0, 2, 1)),
    ((2, 6, 5, 64), (0, 3, 1, 2)),
    ((3, 64, 4, 9), (0, 2, 3, 1)),
    ((20, 3, 40), (2, 1, 0)),
]


def turned(shape, perm, dtype: str) -> Graph:
    b = Builder()
    x = b.input(TensorType(shape, dtype), "x")
    return Graph([x], [b.transpose(x, perm=perm)])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "float64"])
@pytest.mark.parametrize("shape, perm", CASES, ids=str)
def test_values_and_banks(shape, perm, dtype: str) -> None:
    graph, device = turned(shape, perm, dtype), Device()
    (kernel,) = kernels(graph)
    assert kernel.name == "transpose"
    x = np.arange(np.prod(shape)).reshape(shape).astype(numpy_dtype(dtype))
    (got,) = simulate(graph, [x], device=device)
    np.testing.assert_array_equal(got, evaluate(graph, [x])[0])
    assert max(device.reports[0].conflicts.values()) <= {"int8": 4, "bfloat16": 2}.get(dtype, 1)


@pytest.mark.parametrize("dtype, access", [("float32", "4_uint32"), ("bfloat16", "8_uint16"), ("float64", "2_uint64")])
def test_accesses_of_sixteen_bytes(dtype: str, access: str) -> None:
    (kernel,) = kernels(turned((96, 128), (1, 0), dtype))
    assert f"fetch{access}" in kernel.source and f"store{access}" in kernel.source
    (odd,) = kernels(turned((33, 128), (1, 0), dtype))  # rows of the target start anywhere
    assert f"fetch{access}" in odd.source and f"store{access}" not in odd.source


def test_the_barrier_is_needed() -> None:
    (kernel,) = kernels(turned((70, 70), (1, 0), "float32"))
    assert kernel.source.count("sync_threads()") == 1
    kernel.source = kernel.source.replace("    sync_threads()\n", "")
    with pytest.raises(simulator.SimulationError, match="race"):
        Device().launch(kernel)


def test_narrow_arrays_and_other_sizes() -> None:
    assert [k.name for k in kernels(turned((100, 3), (1, 0), "float32"))] == ["copy"]
    one, other = (kernels(turned(s, (0, 2, 1), "float32"))[0] for s in ((2, 64, 96), (5, 640, 32)))
    assert one.source == other.source
