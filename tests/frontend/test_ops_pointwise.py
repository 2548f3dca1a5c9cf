"""Elementwise ops against NumPy: eager, traced and symbolic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphkeras import ops
from tests.frontend.ops_cases import check, gradient, numeric_gradient, traced

RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (3, 4)).astype("float32")
Y = RNG.uniform(-2, 2, (4,)).astype("float32")
UNIT = RNG.uniform(-0.9, 0.9, (3, 4)).astype("float32")
POSITIVE = RNG.uniform(0.1, 3, (3, 4)).astype("float32")

SAME_NAME = (
    "abs absolute negative sign floor ceil trunc exp expm1 square sin cos tan sinh cosh tanh arctan arcsinh deg2rad"
)
SAME_NAME += " rad2deg sinc isfinite isnan isinf logical_not conjugate real exp2 cbrt signbit i0 fabs"


@pytest.mark.parametrize("name", SAME_NAME.split())
def test_functions_that_numpy_has(name):
    check(getattr(ops, name), getattr(np, name)(X), X, tol=2e-5)


@pytest.mark.parametrize("name", ["log", "log2", "log10", "log1p", "sqrt", "reciprocal"])
def test_functions_of_positive_numbers(name):
    check(getattr(ops, name), getattr(np, name)(POSITIVE), POSITIVE)


@pytest.mark.parametrize("name", ["arcsin", "arccos", "arctanh"])
def test_functions_of_the_unit_interval(name):
    check(getattr(ops, name), getattr(np, name)(UNIT), UNIT)


def test_error_functions():
    erf = np.vectorize(math.erf)
    check(ops.erf, erf(X), X)
    check(ops.erfc, 1 - erf(X), X)
    check(lambda x: ops.erf(ops.erfinv(x)), UNIT, UNIT)


BINARY = (
    "add subtract multiply divide true_divide arctan2 maximum minimum fmax fmin hypot logaddexp logaddexp2 heaviside"
)
BINARY += " equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor isclose mod fmod"
BINARY += " floor_divide"


@pytest.mark.parametrize("name", BINARY.split())
def test_binary_functions_broadcast(name):
    check(getattr(ops, name), getattr(np, name)(X, Y), X, Y)


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm"])
def test_integer_functions(name):
    a, b = RNG.integers(-20, 20, (2, 5, 3)).astype("int32")
    check(getattr(ops, name), getattr(np, name)(a, b), a, b)


def test_shifts_and_inversion():
    a = np.array([1, -7, 12], dtype="int32")
    check(lambda x: ops.left_shift(x, 2), a << 2, a)
    check(lambda x: ops.right_shift(x, 1), a >> 1, a)
    check(ops.bitwise_not, ~a, a)


def test_power_of_whole_numbers_has_a_gradient_at_zero():
    x = np.array([0.0, -2.0], dtype="float32")
    assert gradient(lambda t: ops.power(t, 2), x)[0].tolist() == [0.0, -4.0]
    assert gradient(lambda t: ops.power(t, 3), x)[0].tolist() == [0.0, 12.0]
    check(lambda t: ops.power(t, 3), x**3, x)


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ("int32", "int32", "float32"),
        ("uint8", "float16", "float16"),
        ("bfloat16", "float16", "float32"),
        ("float32", "float64", "float64"),
    ],
)
def test_dtype_of_a_quotient(a, b, result):
    assert ops.divide(ops.ones((2,), a), ops.ones((2,), b)).dtype == result


def test_python_numbers_are_weak():
    assert ops.add(ops.ones((1,), "float16"), 1.5).dtype == "float16"
    assert ops.add(ops.ones((1,), "int8"), 3).dtype == "int8"
    assert ops.add(ops.ones((1,), "int32"), 1.5).dtype == "float32"
    assert ops.add(ops.ones((1,), "uint32"), ops.ones((1,), "int32")).dtype == "int32"
    assert (ops.ones((1,), "bool") + ops.ones((1,), "bool")).dtype == "bool"


def test_numpy_doubles_become_floatx():
    assert ops.add(np.ones(2), 1).dtype == "float32"
    assert ops.convert_to_tensor(np.arange(3)).dtype == "int32"
    assert ops.convert_to_tensor(np.arange(3), dtype="float64").dtype == "float64"
    assert ops.cast(np.array([2**40 + 1]), "int64").numpy()[0] == 2**40 + 1


def test_round_to_decimals():
    x = np.array([0.125, 2.5, 3.5, -1.25], dtype="float32")
    check(ops.round, np.round(x), x)
    check(lambda t: ops.round(t, 1), np.round(x, 1), x)


def test_clip_and_nan_to_num():
    check(lambda t: ops.clip(t, -1, 1), np.clip(X, -1, 1), X)
    x = np.array([np.nan, np.inf, -np.inf, 1.0], dtype="float32")
    check(ops.nan_to_num, np.nan_to_num(x), x)


def test_divide_no_nan_and_its_gradient():
    a, b = np.array([1.0, 2.0], "float32"), np.array([0.0, 4.0], "float32")
    check(ops.divide_no_nan, [0.0, 0.5], a, b)
    da, db = gradient(ops.divide_no_nan, a, b)
    assert da.tolist() == [0.0, 0.25] and db.tolist() == [0.0, -0.125]


def test_saturate_cast():
    x = np.array([-5.0, 3.7, 300.0, 3e9], dtype="float32")
    assert ops.saturate_cast(x, "uint8").numpy().tolist() == [0, 3, 255, 255]
    assert ops.saturate_cast(x, "int32").numpy()[3] == 2147483520  # the float below 2**31


def test_complex_numbers():
    pairs = RNG.normal(size=(3, 2)).astype("float32")
    z = pairs[:, 0] + 1j * pairs[:, 1]
    check(lambda p: ops.abs(ops.view_as_complex(p)), np.abs(z), pairs)
    check(lambda p: ops.angle(ops.view_as_complex(p)), np.angle(z), pairs)
    check(lambda p: ops.view_as_real(ops.view_as_complex(p)), pairs, pairs)


@pytest.mark.parametrize("name", ["tanh", "hypot", "logaddexp", "cbrt", "silu", "gelu", "selu", "softplus"])
def test_gradients_against_differences(name):
    fn = getattr(ops, name)
    arrays = (X[:1], Y) if name in ("hypot", "logaddexp") else (X[:1],)
    for got, want in zip(gradient(fn, *arrays), numeric_gradient(fn, *arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_traced_scalars_stay_small():
    assert traced(lambda x: x * 2 + 1, X).dtype == np.float32


def test_subtracting_bools_names_the_fix():
    with pytest.raises(TypeError, match="logical_xor"):
        ops.subtract(ops.ones((1,), "bool"), ops.ones((1,), "bool"))
