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
