"""Scalar bodies against the NumPy references, over the whole range of the floats."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.ir.body import NumpyHandler
from graphkeras.ir.op import Kind, all_ops, get_op

H = NumpyHandler()
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0])
# name: (units in the last place in float32, relative error in float64, absolute floor)
ACCURACY = {
    "exp": (2, 1e-15, 0),
    "expm1": (3, 1e-15, 0),
    "log": (2, 1e-15, 0),
    "log1p": (3, 1e-15, 0),
    "sqrt": (1, 1e-15, 0),
    "rsqrt": (2, 1e-15, 0),
    "sin": (2, 1e-15, 1e-16),
    "cos": (2, 1e-15, 1e-16),
    "tan": (4, 2e-15, 1e-16),
    "asin": (4, 2e-15, 0),
    "acos": (4, 2e-15, 0),
    "atan": (3, 1e-15, 0),
    "sinh": (5, 3e-15, 0),
    "cosh": (5, 3e-15, 0),
    "asinh": (4, 2e-15, 0),
    "acosh": (4, 2e-15, 0),
    "atanh": (4, 2e-15, 0),
    "tanh": (3, 2e-15, 0),
    "sigmoid": (3, 2e-15, 1.2e-38),  # no denormal results
    "softplus": (3, 2e-15, 0),
    "erf": (3, 2e-15, 0),
    "erfinv": (8, 2e-14, 0),
    "lgamma": (4, 1e-13, 2e-14),
    "digamma": (4, 1e-13, 2e-14),
}


def points(dtype: type, rng: np.random.Generator) -> np.ndarray:
    """Magnitudes over all exponents, the usual range, and the special values."""
    info = np.finfo(dtype)
    exponents = rng.uniform(info.minexp - info.nmant, info.maxexp, 4000)
    wide = np.exp2(exponents) * rng.choice([-1, 1], 4000)
    with np.errstate(over="ignore"):
        return np.concatenate(
            [SPECIAL, wide, rng.uniform(-4, 4, 4000), rng.uniform(-100, 100, 4000), rng.uniform(-1, 1, 4000)]
        ).astype(dtype)


def in_domain(name: str, x: np.ndarray) -> np.ndarray:
    if name in ("sin", "cos", "tan"):  # larger arguments lose digits, as documented
        return np.abs(x) < 1e5
    if name in ("lgamma", "digamma"):  # the reflection needs the fraction of x
        return (x > -30) | ~np.isfinite(x)
    return np.ones(x.shape, bool)


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_float32(name: str) -> None:
    x = points(np.float32, np.random.default_rng(0))
    x = x[in_domain(name, x)]
    op = get_op(name)
    with np.errstate(all="ignore"):
        got = op.lower(H, x)
        want = op.reference(x.astype(np.float64))
        rounded = want.astype(np.float32)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    ulps, _, floor = ACCURACY[name]
    # At the edge of overflow either neighbour is right.
    with np.errstate(all="ignore"):
        capped = np.clip(got.astype(np.float64), -3.5e38, 3.5e38)
        error = np.abs(capped - np.clip(want, -3.5e38, 3.5e38))
        unit = np.maximum(np.spacing(np.abs(np.clip(rounded, -3.4e38, 3.4e38))).astype(np.float64), floor / ulps)
    bad = ~(error <= ulps * unit) & ~np.isnan(rounded)
    bad &= ~(np.isinf(got) & (np.abs(want) > 3.402e38) & (np.sign(got) == np.sign(want)))
    assert not bad.any(), [(x[i], got[i], want[i], error[i] / unit[i]) for i in np.flatnonzero(bad)[:6]]


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_float64(name: str) -> None:
    x = points(np.float64, np.random.default_rng(0))
    x = x[in_domain(name, x)]
    op = get_op(name)
    with np.errstate(all="ignore"):
        got, want = op.lower(H, x), op.reference(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    _, rtol, floor = ACCURACY[name]
    np.testing.assert_allclose(got, want, rtol=rtol, atol=max(floor, 1e-321))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["pow", "atan2", "mod", "rem", "floor_div", "nextafter", "maximum", "minimum"])
def test_two_inputs(name: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([SPECIAL, rng.uniform(-4, 4, 40), rng.uniform(-300, 300, 20), [1e-30, 1e30, 0.25, 7.0]])
    x, y = (a.ravel() for a in np.meshgrid(values.astype(dtype), values.astype(dtype)))
    if name in ("mod", "rem", "floor_div"):  # quotients of more digits than the type has are not meant to be exact
        with np.errstate(all="ignore"):
            keep = ~(np.abs(x / y) > 1e5) | ~np.isfinite(x / y)
        x, y = x[keep], y[keep]
    op = get_op(name)
    with np.errstate(all="ignore"):
        got, want = op.lower(H, x, y), op.reference(x, y)
    rtol = 1e-6 if dtype is np.float32 else 2e-13
    bad = ~np.isclose(got, want, rtol=rtol, atol=rtol if name in ("mod", "rem") else 0, equal_nan=True)
    if name in ("mod", "rem"):  # a quotient next to an integer may fall on either side
        bad &= ~np.isclose(np.abs(got - want), np.abs(y), rtol=1e-5)
    assert not bad.any(), [(x[i], y[i], got[i], want[i]) for i in np.flatnonzero(bad)[:6]]


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32"])
@pytest.mark.parametrize(
    "name", ["add", "mul", "pow", "mod", "rem", "floor_div", "and", "or", "xor", "maximum", "lt", "eq"]
)
def test_integers(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    line = np.concatenate([[info.min, info.max, 0, 1, 2, 3], rng.integers(max(info.min, -50), 50, 30)]).astype(dtype)
    x, y = (a.ravel() for a in np.meshgrid(line, line))
    if name == "pow":
        y = (y % 7).astype(dtype)
    op = get_op(name)
    with np.errstate(all="ignore"):
        got, want = op.lower(H, x, y), np.asarray(op.reference(x, y))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32", "uint8", "bool", "complex64"])
def test_every_body_runs_in_every_dtype(dtype: str) -> None:
    """Each pointwise op that accepts the dtype agrees with its reference on small values."""
    from graphkeras.ir.types import numpy_dtype

    rng = np.random.default_rng(0)
    checked = 0
    for op in all_ops():
        if op.kind is not Kind.POINTWISE or dtype not in op.extra["dtypes"] or not op.samples or op.name == "bitcast":
            continue
        sample = op.samples[0]
        if sample.dtypes:
            continue
        lows = sample.low if isinstance(sample.low, tuple) else (sample.low,) * len(sample.shapes)
        highs = sample.high if isinstance(sample.high, tuple) else (sample.high,) * len(sample.shapes)
        arrays = []
        for low, high in zip(lows, highs, strict=True):
            values = rng.uniform(low, high, 20)
            if dtype == "complex64":
                values = values + 1j * rng.uniform(low, high, 20)
            elif dtype == "uint8":
                values = np.abs(values)
            arrays.append(values.astype(numpy_dtype(dtype)))
        try:
            with np.errstate(all="ignore"):
                got = op.lower(H, *arrays, **sample.attrs)
                want = np.asarray(op.reference(*arrays, **sample.attrs))
        except NotImplementedError:
            assert dtype == "complex64"
            continue
        checked += 1
        if op.name == "nextafter" or want.dtype.kind in "iub":
            np.testing.assert_array_equal(got, want, err_msg=op.name)
        else:
            loose = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-5)
            kind = np.complex128 if np.iscomplexobj(want) else np.float64
            np.testing.assert_allclose(
                np.asarray(got).astype(kind), want.astype(kind), rtol=loose, atol=loose, err_msg=op.name
            )
    assert checked >= 8


def test_random_bits_body() -> None:
    op = get_op("random_bits")
    key = np.array([123, 4567], np.uint32)
    want = op.reference(key, shape=(1000,))
    index = np.arange(1000, dtype=np.uint32)
    with np.errstate(over="ignore"):
        got = op.lower(H, key[0], key[1], index, np.zeros(1000, np.uint32))
    np.testing.assert_array_equal(got, want)
    assert abs(want.astype(np.float64).mean() / 2**32 - 0.5) < 0.03
