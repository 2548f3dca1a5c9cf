"""Pooling and its gradients against the references of the op records."""

import numpy as np
import pytest

from graphkeras.ir.op import get_op
from graphkeras.ir.types import numpy_dtype
from tests.codegen.harness import run

CASES = {
    "1d": ((3, 11, 5), (3,), (2,), ((0, 0),)),
    "1d padded": ((2, 7, 40), (4,), (1,), ((2, 1),)),
    "2d": ((2, 8, 10, 32), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "2d odd": ((2, 9, 7, 3), (2, 2), (2, 2), ((0, 1), (0, 1))),
    "2d overlapping": ((2, 8, 9, 17), (3, 3), (2, 1), ((1, 1), (0, 2))),
    "2d gaps": ((1, 11, 11, 4), (2, 1), (3, 4), ((1, 0), (0, 0))),
    "2d large window": ((2, 7, 7, 6), (7, 6), (1, 1), ((3, 3), (0, 0))),
    "3d": ((2, 5, 4, 6, 3), (2, 2, 3), (2, 1, 2), ((1, 0), (0, 1), (1, 1))),
}


def _settings(case):
    _, window, strides, padding = CASES[case]
    return {"window": window, "strides": strides, "padding": padding}


def _random(shape, seed=0, dtype="float32"):
    # few distinct values, so that windows hold their maximum more than once
    return np.random.default_rng([seed, *shape]).integers(-6, 6, shape).astype(numpy_dtype(dtype))


def _check(op, arrays, attrs):
    (got,) = run(lambda b, *nodes: b.emit(op, *nodes, **attrs), *arrays)
    want = get_op(op).reference(*arrays, **attrs)
    assert got.dtype == arrays[0].dtype
    np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8", "float64"])
@pytest.mark.parametrize("op", ["pool_max", "pool_sum"])
def test_dtypes(op, dtype):
    if dtype != "uint8":
        _check(op, [_random(CASES["2d overlapping"][0], dtype=dtype)], _settings("2d overlapping"))
    else:
        _check(op, [np.abs(_random(CASES["2d overlapping"][0])).astype(dtype)], _settings("2d overlapping"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("op", ["pool_max", "pool_sum"])
def test_pool(case, op):
    _check(op, [_random(CASES[case][0])], _settings(case))


@pytest.mark.parametrize("case", CASES)
def test_gradients(case):
    x, attrs = _random(CASES[case][0]), _settings(case)
    y = get_op("pool_max").reference(x, **attrs)
    dy = _random(y.shape, 1)
    _check("pool_max_grad", [x, y, dy], attrs)
    _check("pool_sum_grad", [dy], {"shape": x.shape, **attrs})


def test_nan_is_the_maximum():
    x = _random((1, 4, 4, 2))
    x[0, 1, 1, 0] = np.nan
    attrs = {"window": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}
    (got,) = run(lambda b, x: b.pool_max(x, **attrs), x)
    assert np.isnan(got[0, 0, 0, 0]) and np.isfinite(got).sum() == got.size - 1


def _nan_somewhere(x):
    if x.dtype.kind == "f":
        x.reshape(-1)[::7] = np.nan
    return x


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "nan"])
def test_remembered_maxima(case, dtype):
    x = _random(CASES[case][0], dtype="float32" if dtype == "nan" else dtype)
    x, attrs = _nan_somewhere(x) if dtype == "nan" else x, _settings(case)

    def build(b, x):
        both = b.emit("pool_max_index", x, **attrs)
        return [b.emit("item", both, index=i) for i in range(2)]

    got = run(build, x)
    want = get_op("pool_max_index").reference(x, **attrs)
    assert got[1].dtype == np.uint8
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one.astype(np.float64), other.astype(np.float64))
    if dtype in ("float32", "nan"):
        dy = _random(want[0].shape, 1)
        more = {"shape": x.shape, **attrs}
        (dx,) = run(lambda b, i, dy: b.emit("pool_index_grad", i, dy, **more), want[1], dy)
        np.testing.assert_array_equal(dx, get_op("pool_index_grad").reference(want[1], dy, **more))
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(dx, get_op("pool_max_grad").reference(x, want[0], dy, **attrs))


def test_large_windows_remember_in_wider_integers():
    x = _random((1, 40, 40, 3))
    attrs = {"window": (20, 20), "strides": (10, 10), "padding": ((0, 0), (0, 0))}

    def build(b, x):
        both = b.emit("pool_max_index", x, **attrs)
        return [b.emit("item", both, index=i) for i in range(2)]

    got, want = run(build, x), get_op("pool_max_index").reference(x, **attrs)
    assert got[1].dtype == np.uint16
    np.testing.assert_array_equal(got[1], want[1])


def test_a_pooling_with_its_gradient_notes_the_maxima_and_the_others_do_not():
    from graphkeras.codegen.compile import compile_graph
    from graphkeras.ir.autodiff import gradients
    from graphkeras.ir.graph import Builder, Graph
    from graphkeras.ir.interpreter import evaluate
    from graphkeras.ir.types import type_of

    x, dy, attrs = _random(CASES["2d odd"][0]), _random((2, 5, 4, 3), 1), _settings("2d odd")
    b = Builder()
    nodes = [b.input(type_of(a), n) for a, n in ((x, "x"), (dy, "dy"))]
    a = b.relu(nodes[0])
    y = b.pool_max(a, **attrs)
    (dx,) = gradients(b, [y], [nodes[0]], [nodes[1]])
    graph = Graph(nodes, [y, dx, b.reduce_sum(dx, axes=(0, 1, 2), keepdims=False)])
    program = compile_graph(graph)
    names = {k.name for k in program.kernels}
    assert "pool_max_index" in names and not names & {"pool_max", "pool_max_grad"}
    results = [np.empty(n.shape, np.float32) for n in graph.outputs]
    program.bind([x, dy], results)
    program.run()
    for got, want in zip(results, evaluate(graph, [x, dy]), strict=True):
        np.testing.assert_array_equal(got, want)
    assert "pool_max" in {k.name for k in compile_graph(Graph(nodes, [y])).kernels}
