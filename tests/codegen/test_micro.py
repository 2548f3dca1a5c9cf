"""Register tiles by themselves: every mode, edges of rows and columns, empty loops, accumulation, both precisions."""

import ctypes

import numpy as np
import pytest

from graphkeras.codegen.cpu.vectors import register_tile, vector_width, vectors
from tests.codegen.harness import compiled

SOURCE = """
from graphkeras.codegen.cpu.support import *
from graphkeras.codegen.cpu.micro import tile

TILE = tile({mr}, {nv}, 2, "{dtype}", "{mode}", masked={masked})


def kernel(args, lo, hi):
    a = ptr_{dtype}(args, 0)
    b = ptr_{dtype}(args, 1)
    c = ptr_{dtype}(args, 2)
    a_rows = ptr_int64(args, 3)
    b_rows = ptr_int64(args, 4)
    c_rows = ptr_int64(args, 5)
    n0 = int_arg(args, 10)
    n1 = int_arg(args, 13)
    TILE(a, a_rows, b, b_rows, c, c_rows, int_arg(args, 6), int_arg(args, 7), int_arg(args, 8),
         (n0, int_arg(args, 11), int_arg(args, 12), n1, int_arg(args, 14), int_arg(args, 15)))
"""


def _run(mr, nv, mode, dtype, masked, a, b, c, rows, cols, accumulate, levels, tables):
    run = compiled(SOURCE.format(mr=mr, nv=nv, mode=mode, dtype=dtype, masked=masked))
    tables = [np.asarray(t, np.int64) for t in tables]
    words = [x.ctypes.data for x in (a, b, c, *tables)] + [rows, cols, accumulate, 0]
    words += [w for level in levels for w in level]
    table = np.array(words, np.int64)
    run(ctypes.c_int64(table.ctypes.data), 0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_broadcast_tile_writes_only_its_rows_and_columns(dtype, masked, accumulate):
    width, rng = vector_width(dtype), np.random.default_rng(0)
    mr, nv = 4, 2
    for rows, cols, outer, inner in [(4, 2 * width, 2, 3), (3, 2 * width - 1, 1, 5), (1, 1, 3, 2), (2, width, 0, 4)]:
        if not masked and cols != 2 * width:
            continue
        a = rng.standard_normal((rows, outer, inner)).astype(dtype)
        b = rng.standard_normal((outer, inner, cols)).astype(dtype)
        c = rng.standard_normal((6, 2 * width + 3)).astype(dtype)
        want = c.copy()
        part = np.einsum("mij,ijn->mn", a, b)
        want[1 : 1 + rows, 1 : 1 + cols] = part + want[1 : 1 + rows, 1 : 1 + cols] * accumulate
        line = c.shape[1]
        levels = [(outer, inner, inner * cols), (inner, 1, cols)]
        tables = [np.arange(rows) * outer * inner, [0], (1 + np.arange(rows)) * line + 1]
        _run(mr, nv, "broadcast", dtype, masked, a, b, c, rows, cols, accumulate, levels, tables)
        np.testing.assert_allclose(c, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vector_tile_multiplies_lane_by_lane(dtype):
    width, rng = vector_width(dtype), np.random.default_rng(1)
    for rows, cols in [(3, 2 * width), (2, width + 1)]:
        a = rng.standard_normal((rows, 2, 3, cols)).astype(dtype)
        b = rng.standard_normal((2, 3, cols)).astype(dtype)
        c = np.zeros((rows, cols), dtype)
        levels = [(2, 3 * cols, 3 * cols), (3, cols, cols)]
        tables = [np.arange(rows) * 6 * cols, [0], np.arange(rows) * cols]
        _run(3, 2, "vector", dtype, True, a, b, c, rows, cols, 0, levels, tables)
        np.testing.assert_allclose(c, np.einsum("mijn,ijn->mn", a, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("depth", [0, 1, 16, 37, 64])
def test_dot_tile_reads_no_further_than_its_rows(dtype, depth):
    rng = np.random.default_rng(2)
    for rows, cols in [(3, 2), (2, 1)]:
        a = rng.standard_normal((rows, 2, depth)).astype(dtype)
        b = rng.standard_normal((cols, 2, depth)).astype(dtype)
        c = np.full((rows, cols + 1), 7, dtype)
        levels = [(2, depth, depth), (depth, 1, 1)]
        tables = [
            np.arange(rows) * 2 * depth,
            np.minimum(np.arange(2), cols - 1) * 2 * depth,
            np.arange(rows) * (cols + 1),
        ]
        _run(3, 2, "dot", dtype, False, a, b, c, rows, cols, 0, levels, tables)
        np.testing.assert_allclose(c[:, :cols], np.einsum("mij,nij->mn", a, b), rtol=1e-5, atol=1e-5)
        assert (c[:, cols] == 7).all()


def test_register_tile_fits_and_wastes_little():
    registers = vectors().registers
    for rows in (1, 2, 3, 7, 32, 500):
        for columns in range(1, 20):
            mr, nv = register_tile(rows, columns)
            shared = nv if mr > 1 else 0  # of one row, a vector of B is used once: straight from memory
            assert mr * nv + shared + 1 <= registers
            assert -(-columns // nv) * nv <= columns * 1.5 + 0.5
    assert register_tile(32, 8) == register_tile(64, 8)
