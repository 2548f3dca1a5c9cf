"""Kernels lowered for CUDA, run by the simulator, against the interpreter: values, races, wild addresses."""

from __future__ import annotations

import pytest

from graphkeras.codegen.cuda.target import CUDA
from graphkeras.ir.op import Op, Sample
from tests.codegen.cuda_harness import simulate
from tests.codegen.samples import CASES, DERIVED, check, gradient_graph, optimised_for, value_graph


@pytest.mark.parametrize("op, sample", CASES)
def test_value(op: Op, sample: Sample) -> None:
    graph, arrays, tolerance = value_graph(op, sample)
    check(simulate, optimised_for(graph, CUDA), arrays, tolerance)


@pytest.mark.parametrize("op, sample", DERIVED)
def test_gradient_graph(op: Op, sample: Sample) -> None:
    graph, arrays, tolerance = gradient_graph(op, sample)
    check(simulate, optimised_for(graph, CUDA), arrays, tolerance)
