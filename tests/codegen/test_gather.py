"""Reads and writes at computed places, copies into parts, random bits and sorting, against the op records."""

import numpy as np
import pytest

from graphkeras.codegen import repro
from graphkeras.codegen.compile import compile_graph
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.op import get_op
from graphkeras.ir.types import TensorType, numpy_dtype, type_of
from tests.codegen.harness import kernels, run


def _random(shape, dtype="float32", seed=0):
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * 4).astype(numpy_dtype(dtype))


def _ints(low, high, shape, dtype="int32"):
    return np.random.default_rng([7, *shape]).integers(low, high, shape).astype(dtype)


def _check(op, arrays, attrs, rtol=1e-6):
    got = run(lambda b, *nodes: b.emit(op, *nodes, **attrs), *arrays)[0]
    want = get_op(op).reference(*arrays, **attrs)
    expected = get_op(op).infer(*map(type_of, arrays), **attrs)
    assert got.dtype == numpy_dtype(expected.dtype)
    want = want.astype(got.dtype)
    if got.dtype.name == "bfloat16":
        got, want, rtol = got.astype(np.float32), want.astype(np.float32), 1e-2
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int64", "uint16", "bool", "complex64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take(axis, dtype):
    x = _random((6, 7, 5), dtype)
    _check("take", (x, _ints(-5, 5, (3, 4))), {"axis": axis, "mode": "check"})


@pytest.mark.parametrize("mode", ["clip", "fill"])
@pytest.mark.parametrize("indices", ["int32", "int64", "uint8"])
def test_take_out_of_range(mode, indices):
    low = 0 if indices == "uint8" else -12
    for dtype in ("float32", "int32", "float16"):
        _check("take", (_random((6, 9), dtype), _ints(low, 14, (11,), indices)), {"axis": 0, "mode": mode})


def test_take_checks_and_reports():
    x, indices = _random((6, 80)), np.array([1, 9, 2], np.int64)
    (got,) = run(lambda b, x, i: b.take(x, i, axis=0, mode="check"), x, indices)
    assert run.status[0] == 1 and tuple(run.status[2:]) == (9, 6)
    np.testing.assert_array_equal(got[[0, 2]], x[[1, 2]])
    assert np.isnan(got[1]).all()
    run(lambda b, x, i: b.take(x, i, axis=0, mode="check"), x, np.array([-6], np.int64))
    assert run.status[0] == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_take_along_axis(axis):
    x = _random((4, 5, 6))
    shape = tuple(3 if a == axis else n for a, n in enumerate(x.shape))
    _check("take_along_axis", (x, _ints(-4, 4, shape)), {"axis": axis})
    run(lambda b, x, i: b.take_along_axis(x, i, axis=axis), x, np.full(shape, 6, np.int32))
    assert tuple(run.status) == (1, run.status[1], 6, x.shape[axis])


@pytest.mark.parametrize("combine", ["add", "set", "max", "min", "mul"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int8"])
def test_scatter(combine, dtype):
    for axis in (0, 1):
        x, indices = _random((5, 6, 33), dtype), _ints(-8, 8, (7,))
        shape = (*x.shape[:axis], 7, *x.shape[axis + 1 :])
        arrays = (x, indices, _random(shape, dtype, 1))
        _check("scatter", arrays, {"axis": axis, "combine": combine}, 2e-3 if dtype == "float16" else 1e-5)
        along = _ints(-8, 8, shape)
        attrs = {"axis": axis, "combine": combine}
        _check("scatter_along_axis", (x, along, arrays[2]), attrs, 2e-3 if dtype == "float16" else 1e-5)


def test_embedding_gradient_starts_from_zeros():
    indices, updates = _ints(0, 50, (8, 30)), _random((8, 30, 64))

    def build(b, i, u):
        return b.scatter(b.full((50, 64), 0, "float32"), i, u, axis=0, combine="add")

    want = np.zeros((50, 64), np.float32)
    np.add.at(want, indices.reshape(-1), updates.reshape(-1, 64))
    np.testing.assert_array_equal(run(build, indices, updates)[0], want)


@pytest.mark.parametrize("shape, dtype", [((1000, 80), "float32"), ((70001, 1), "float32"), ((700, 3, 40), "float64")])
def test_update_of_a_table_is_one_pass_over_it(shape, dtype):
    """Sums, moments and update in one kernel; rows that no index names move as well, indices outside are dropped."""
    count, inner = 600, shape[1:]
    table, moment, updates = _random(shape, dtype), _random(shape, dtype), _random((count, *inner), dtype)
    indices = np.concatenate([_ints(-30, 40, (500,)), _ints(shape[0] - 40, shape[0] + 40, (100,))])

    def build(b, w, m, i, u):
        gradient = b.scatter(b.full(shape, 0, dtype), i, u, axis=0, combine="add")
        m = b.add(b.mul(m, 0.9), gradient)
        return b.sub(w, b.mul(m, 0.1)), m

    total = np.zeros(shape, dtype)
    inside = (indices >= -shape[0]) & (indices < shape[0])
    np.add.at(total, indices[inside], updates[inside])
    moved = moment * np.array(0.9, dtype) + total
    close = {"rtol": 1e-5, "atol": 1e-5}
    got = run(build, table, moment, indices, updates)
    np.testing.assert_allclose(got[1], moved, **close)
    np.testing.assert_allclose(got[0], table - np.array(0.1, dtype) * moved, **close)
    names = [k.name for k in kernels(build, table, moment, indices, updates)]
    assert names == ["sort_by_block", "row_sums"]


def test_a_table_gradient_that_others_read_is_stored():
    indices, updates = _ints(0, 1000, (50,)), _random((50, 80))

    def build(b, w, i, u):
        gradient = b.scatter(b.full((1000, 80), 0, "float32"), i, u, axis=0, combine="add")
        norm = b.reduce_sum(b.mul(gradient, gradient), axes=(0, 1), keepdims=False)
        return b.sub(w, b.div(gradient, b.sqrt(norm)))

    total = np.zeros((1000, 80), np.float32)
    np.add.at(total, indices, updates)
    table = _random((1000, 80), seed=2)
    want = table - total / np.sqrt(np.square(total, dtype=np.float64).sum())
    np.testing.assert_allclose(run(build, table, indices, updates)[0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "shape, sizes, starts",
    [
        ((9, 7), (3, 7), (2, 0)),
        ((9, 7), (4, 3), (8, -5)),
        ((3, 6, 4, 2), (2, 3, 4, 2), (1, 2, 0, 0)),
        ((5,), (2,), (3,)),
        ((4, 5), (4, 5), (3, 3)),
        ((4, 5, 6), (2, 2, 2), (9, 1, 2)),
    ],
)
def test_dynamic_slices(shape, sizes, starts):
    x, at = _random(shape), [np.array(s, np.int32) for s in starts]
    _check("dynamic_slice", (x, *at), {"sizes": sizes})
    _check("dynamic_update_slice", (x, _random(sizes, seed=1), *at), {})


@pytest.mark.parametrize("dtype", DTYPES)
def test_concat_and_pad(dtype):
    parts = [_random((3, n, 2), dtype, n) for n in (1, 0, 4)]
    _check("concat", parts, {"axis": 1})
    attrs = {"low": (1, 0, 2), "high": (0, 2, 1), "interior": (0, 1, 0), "value": 0 if dtype == "complex64" else 1}
    _check("pad", parts[2:], attrs)
    _check("pad", parts[2:], {**attrs, "low": (0, 0, 0), "high": (0, 0, 0), "interior": (0, 0, 0)})


def test_random_bits():
    """Computed where they are used, from the index, which nothing loads: transposed, cut and drawn twice, too."""
    b = Builder()
    key, x = b.input(TensorType((2,), "uint32"), "key"), b.input(TensorType((3, 37), "float32"), "x")
    bits = b.random_bits(key, shape=(3, 37))
    kept = b.select(b.ge(bits, b.const(2**31, "uint32")), x, 0.0)
    turned = b.slice(b.transpose(bits, perm=(1, 0)), start=(5, 0), stop=(37, 3), step=(2, 1))
    graph = Graph([key, x], [kept, turned, b.reduce_max(bits, axes=(0,), keepdims=False)])
    arrays = [np.array([123, 2**31 + 5], np.uint32), _random((3, 37))]
    assert not repro.differing(graph, arrays)
    program = compile_graph(Graph(graph.inputs, [kept]))
    assert len(program.kernels) == 1 and program.arena_nbytes == 0


@pytest.mark.parametrize("combine", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_cumulative(combine, dtype):
    x = np.abs(_random((4, 5, 3), dtype))
    for axis in range(3):
        for reverse in (False, True):
            _check("cumulative", (x,), {"axis": axis, "combine": combine, "reverse": reverse}, 2e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool", "float64"])
@pytest.mark.parametrize("descending", [False, True])
def test_sorting(dtype, descending):
    x = np.round(_random((4, 19, 3), dtype).astype(np.float64)).astype(dtype)
    if dtype.startswith("float"):
        x[0, 3, 0] = x[1, 4, 1] = np.nan
    for axis in range(3) if dtype == "float32" else (1,):  # each case is a kernel, and these are long
        _check("sort", (x,), {"axis": axis, "descending": descending})
        _check("argsort", (x,), {"axis": axis, "descending": descending, "stable": True})


@pytest.mark.parametrize("k", [1, 3, 17])
def test_top_k(k):
    x = np.round(_random((5, 17)))

    def build(b, x):
        both = b.top_k(x, k=k)
        return b.item(both, 0), b.item(both, 1)

    want = get_op("top_k").reference(x, k=k)
    for got, expected in zip(run(build, x), want, strict=True):
        np.testing.assert_array_equal(got, expected)
    only = run(lambda b, x: b.item(b.top_k(x, k=k), 1), x)[0]
    np.testing.assert_array_equal(only, want[1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int8", "uint16"])
@pytest.mark.parametrize("k", [1, 7, 32, 33])
def test_top_k_of_long_lines_with_ties_and_missing_values(dtype, k):
    x = np.round(np.abs(_random((6, 700)))).astype(numpy_dtype(dtype))
    x[1] = np.sort(x[1])
    if dtype.startswith("float"):
        x[2, 5:9], x[3], x[4, ::2] = np.nan, np.nan, -np.inf
    want = get_op("top_k").reference(x, k=k)
    got = run(lambda b, x: (b.item(b.top_k(x, k=k), 0), b.item(b.top_k(x, k=k), 1)), x)
    for found, expected in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.asarray(found, np.float64), np.asarray(expected, np.float64))
