"""Copies and maps across the grain of memory: squares in registers, their edges, short axes, any number of axes."""

import itertools

import numpy as np
import pytest

from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu.pointwise import SQUARE
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import type_of
from tests.codegen.harness import run

SHAPES = [(1, 1), (16, 16), (33, 50), (64, 3), (3, 64), (7, 200), (40, 129)]


def _numbers(shape, dtype="float32"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def _compiled(x, perm):
    """The program that writes x in another order of axes: one copy, as the result is memory of its own."""
    b = Builder()
    node = b.input(type_of(x), "x")
    return compile_graph(Graph([node], [b.transpose(node, perm=perm)]))


def _copied(x, perm):
    program = _compiled(x, perm)
    out = np.empty(x.transpose(perm).shape, x.dtype)
    program.bind([x], [out])
    program.run(1)
    return out


def _kernel(x, perm):
    (kernel,) = _compiled(x, perm).kernels
    return kernel


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "float16", "bool"])
@pytest.mark.parametrize("shape", SHAPES)
def test_matrices(shape, dtype):
    x = _numbers(shape, dtype)
    np.testing.assert_array_equal(_copied(x, (1, 0)), x.T)


@pytest.mark.parametrize("perm", list(itertools.permutations(range(4))))
def test_every_order_of_four_axes(perm):
    x = _numbers((3, 17, 5, 34))
    np.testing.assert_array_equal(_copied(x, perm), x.transpose(perm))


@pytest.mark.parametrize("perm", [(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)])
def test_a_map_reads_across(perm):
    x = _numbers((19, 34, 21))
    y = _numbers(tuple(np.array(x.shape)[list(perm)]))
    (got,) = run(lambda b, x, y: b.add(b.mul(b.transpose(x, perm=perm), 2.0), y), x, y)
    np.testing.assert_array_equal(got, x.transpose(perm) * 2 + y)


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("shape", [(33, 50), (64, 3)])
def test_other_vector_units(shape, cpu, monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_CPU", cpu)
    x = _numbers(shape)
    np.testing.assert_array_equal(_copied(x, (1, 0)), x.T)


def test_one_source_for_any_size():
    def source(*shape):
        found = _kernel(_numbers(shape), (0, 2, 1)).source
        assert "squares" in found
        return found

    assert source(4, 100, 70) == source(2, 16, 16) == source(9, 5, SQUARE - 5)


def test_all_threads_find_work():
    kernel = _kernel(_numbers((512, 512)), (1, 0))
    assert kernel.extent // kernel.chunk >= 8
