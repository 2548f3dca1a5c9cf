"""Conversion, and arrays made from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    FLOATS,
    INTS,
    PYTHON_NUMBERS,
    Tensor,
    apply,
    cast_to,
    concrete,
    current_trace,
    dtype_key,
    floatx,
    full_of,
    iota,
    need_concrete,
    need_int,
    numpy_dtype,
    promote,
    result_type,
    select,
    standardize_dtype,
    static_shape,
    to_tensor,
)


def _dtype(dtype: Any) -> str | None:
    return None if dtype is None else standardize_dtype(dtype)


def is_tensor(x: Any) -> bool:
    """Whether `x` is a graphkeras tensor with values (concrete or traced); variables and KerasTensors are not."""
    return isinstance(x, Tensor)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    """A tensor from anything like an array; 64-bit NumPy defaults become 32-bit unless `dtype` says otherwise.

    >>> from graphkeras import ops
    >>> ops.convert_to_tensor([1, 2]).dtype
    'int32'
    """
    from graphkeras.core.keras_tensor import KerasTensor

    if sparse or ragged:
        raise ValueError(
            f"convert_to_tensor: sparse and ragged tensors do not exist here; received sparse={sparse}, ragged={ragged}"
        )
    if isinstance(x, KerasTensor):
        return x if dtype is None or x.dtype == _dtype(dtype) else cast(x, dtype)
    return to_tensor(x, _dtype(dtype))


@keras_op
def array(x: Any, dtype: Any = None) -> Any:
    """A tensor from anything like an array."""
    return to_tensor(x, _dtype(dtype))


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values as a new NumPy array."""
    if isinstance(x, np.ndarray):
        return x
    found = concrete(to_tensor(x))
    if found is None:
        raise ValueError(
            f"convert_to_numpy: argument `x` has no values while the step is traced; received {x!r}. "
            "Return it from the step, or compile with run_eagerly=True"
        )
    return found.copy()


def shape(x: Any) -> tuple[Any, ...]:
    """The shape as a tuple of ints (None for unknown dimensions of a symbolic tensor)."""
    found = getattr(x, "shape", None)
    return tuple(found) if found is not None else to_tensor(x).shape


def ndim(x: Any) -> int:
    """Number of dimensions."""
    return len(shape(x))


def size(x: Any) -> Any:
    """Number of elements (None where a dimension of a symbolic tensor is unknown)."""
    dims = shape(x)
    return None if any(d is None for d in dims) else math.prod(dims)


def dtype(x: Any) -> str:
    """The dtype's name."""
    found = getattr(x, "dtype", None)
    return to_tensor(x).dtype if found is None else standardize_dtype(found)


@keras_op
def cast(x: Any, dtype: Any) -> Any:
    """Values converted to another dtype; complex to real keeps the real part."""
    wanted = standardize_dtype(dtype)
    if isinstance(x, (np.ndarray, np.generic, *PYTHON_NUMBERS)):  # straight to the dtype, without a 32-bit stop
        return to_tensor(x, wanted)
    x = to_tensor(x)
    if x.dtype.startswith("complex") and not wanted.startswith("complex"):
        x = apply("real", x)
    return cast_to(x, wanted)


@keras_op
def saturate_cast(x: Any, dtype: Any) -> Any:
    """Cast with values beyond the new dtype's range set to its limits."""
    x, wanted = to_tensor(x), standardize_dtype(dtype)
    if wanted == "bool":
        return cast_to(x, "bool")
    low, high = _limits(wanted)
    own_low, own_high = _limits(x.dtype)
    if low > own_low:
        x = apply("maximum", x, _inside(low, x.dtype))
    if high < own_high:
        x = apply("minimum", x, _inside(high, x.dtype))
    return cast_to(x, wanted)


def _limits(dtype: str) -> tuple[float, float]:
    if dtype == "bool":
        return 0, 1
    if dtype in INTS:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    from graphkeras.ops.pointwise import _finfo

    return _finfo(dtype)


def _inside(limit: float, dtype: str) -> Any:
    """The float of `dtype` nearest to an integer limit but not beyond it (2**31 - 1 rounds up in float32)."""
    if dtype not in FLOATS:
        return limit
    kind = numpy_dtype(dtype)
    value = np.array(limit).astype(kind)
    if abs(float(value)) > abs(limit):
        value = np.array(
            float(value) * (1.0 - 2.0 ** -(8 if dtype == "bfloat16" else np.finfo(kind).nmant + 1))
        ).astype(kind)
    return float(value)


@keras_op
def view(x: Any, dtype: Any = None) -> Any:
    """The same bits read as another dtype; the last dimension grows or shrinks with the item size."""
    x = to_tensor(x)
    if dtype is None:
        return x
    wanted = standardize_dtype(dtype)
    old, new = numpy_dtype(x.dtype).itemsize, numpy_dtype(wanted).itemsize
    if old == new:
        return apply("bitcast", x, dtype=wanted)
    values = need_concrete(x, "view", "x")
    return Tensor(np.ascontiguousarray(values).view(numpy_dtype(wanted)))


# -- filled arrays -----------------------------------------------------------------------------------
def zeros(shape: Any, dtype: Any = None) -> Any:
    """Zeros."""
    return full_of(static_shape(shape, "zeros"), 0, _dtype(dtype) or floatx())


def ones(shape: Any, dtype: Any = None) -> Any:
    """Ones."""
    return full_of(static_shape(shape, "ones"), 1, _dtype(dtype) or floatx())


def empty(shape: Any, dtype: Any = None) -> Any:
    """Zeros (memory is never left unset)."""
    return zeros(shape, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """One value (or values broadcast to the shape) in every place."""
    value = to_tensor(fill_value, _dtype(dtype) or floatx())
    dims = static_shape(shape, "full")
    known = concrete(value)
    if known is not None and known.ndim == 0:
        return full_of(dims, known[()], value.dtype)
    return apply("broadcast_to", value, shape=dims)


@keras_op
def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros of x's shape and dtype."""
    x = to_tensor(x)
    return full_of(x.shape, 0, _dtype(dtype) or x.dtype)


@keras_op
def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones of x's shape and dtype."""
    x = to_tensor(x)
    return full_of(x.shape, 1, _dtype(dtype) or x.dtype)


@keras_op
def empty_like(x: Any, dtype: Any = None) -> Any:
    """Zeros of x's shape and dtype (memory is never left unset)."""
    x = to_tensor(x)
    return full_of(x.shape, 0, _dtype(dtype) or x.dtype)


@keras_op
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """`fill_value` in an array of x's shape and dtype."""
    x = to_tensor(x)
    return full(x.shape, fill_value, _dtype(dtype) or x.dtype)


# -- ranges ------------------------------------------------------------------------------------------
@keras_op
def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    """Numbers from start (default 0) up to, but without, stop.

    >>> from graphkeras import ops
    >>> ops.arange(3)
    <Tensor shape=(3,), dtype=int32, value=[0 1 2]>
    """
    given = [v for v in (start, stop, step) if v is not None]
    wanted = _dtype(dtype) or result_type(*(dtype_key(v) if not isinstance(v, int) else int for v in given))
    if stop is None:
        start, stop = 0, start
    step = 1 if step is None else step
    bounds = [_number(v, name) for v, name in ((start, "start"), (stop, "stop"), (step, "step"))]
    if current_trace() is None:
        return Tensor(np.arange(*bounds).astype(numpy_dtype(wanted)))
    length = max(0, math.ceil((bounds[1] - bounds[0]) / bounds[2]))
    if wanted == "bool":
        return cast_to(apply("add", apply("mul", iota(length), bounds[2]), bounds[0]), "bool")
    result = iota(length, wanted)
    if bounds[2] != 1:
        result = apply("mul", result, to_tensor(bounds[2], wanted))
    return result if bounds[0] == 0 else apply("add", result, to_tensor(bounds[0], wanted))


def _number(x: Any, name: str) -> Any:
    return x if isinstance(x, (int, float)) else need_concrete(x, "arange", name).item()


@keras_op
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` evenly spaced numbers from start to stop; with retstep also the spacing."""
    a, b = promote(start, stop, also=float)
    num = need_int(num, "linspace", "num")
    wanted = _dtype(dtype) or a.dtype
    a, b = (cast_to(v, "float32") if v.dtype in ("float16", "bfloat16") else v for v in (a, b))
    dims = np.broadcast_shapes(a.shape, b.shape)
    parts = num - 1 if endpoint else num
    delta = apply("sub", b, a)
    step = apply("div", delta, float(parts)) if parts > 0 else full_of(dims, math.nan, a.dtype)
    ramp = apply("reshape", iota(num, a.dtype), shape=(num, *(1,) * len(dims)))
    if parts > 0:
        fraction = apply("div", ramp, float(parts))
        result = apply("add", apply("mul", fraction, delta), a)
        if endpoint:  # exactly stop, whatever rounding did
            result = select(apply("eq", ramp, float(num - 1)), b, result)
    else:
        result = apply("add", apply("mul", ramp, 0.0), apply("add", a, apply("mul", b, 0.0)))
    if wanted in INTS:
        result = apply("floor", result)
    result = cast_to(result, wanted)
    if axis not in (0, -len(result.shape)):
        from graphkeras.ops.shaping import moveaxis

        result = moveaxis(result, 0, axis)
    return (result, cast_to(step, wanted if wanted in FLOATS else step.dtype)) if retstep else result


@keras_op
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10, dtype: Any = None, axis: int = 0
) -> Any:
    """Numbers whose logarithms to `base` are evenly spaced from start to stop."""
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    result = apply("exp", apply("mul", exponents, math.log(base)))
    return result if dtype is None else cast_to(result, standardize_dtype(dtype))


@keras_op
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """Numbers in a geometric sequence from start to stop (of one sign)."""
    a, b = promote(start, stop, also=float)
    sign = apply("sign", a)
    exponents = linspace(apply("log", apply("abs", a)), apply("log", apply("abs", b)), num, endpoint, axis=axis)
    result = apply("exp", exponents)
    if sign.shape:
        from graphkeras.ops.shaping import expand_dims

        sign = expand_dims(sign, axis)
    result = apply("mul", sign, result)
    return result if dtype is None else cast_to(result, standardize_dtype(dtype))


# -- matrices and windows ----------------------------------------------------------------------------
def _band(rows: int, columns: int, k: int, comparison: str) -> Tensor:
    """Bools: column - row `comparison` k."""
    i = apply("reshape", iota(rows), shape=(rows, 1))
    j = apply("reshape", iota(columns), shape=(1, columns))
    return apply(comparison, apply("sub", j, i), int(k))


@keras_op
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Ones on the k-th diagonal of an (N, M) matrix, zeros elsewhere."""
    rows = need_int(N, "eye", "N")
    columns = rows if M is None else need_int(M, "eye", "M")
    return cast_to(_band(rows, columns, need_int(k, "eye", "k"), "eq"), _dtype(dtype) or floatx())


@keras_op
def identity(n: int, dtype: Any = None) -> Any:
    """The (n, n) identity matrix."""
    return eye(n, dtype=dtype)


@keras_op
def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """Ones on and below the k-th diagonal of an (N, M) matrix."""
    rows = need_int(N, "tri", "N")
    columns = rows if M is None else need_int(M, "tri", "M")
    return cast_to(_band(rows, columns, need_int(k, "tri", "k"), "le"), _dtype(dtype) or floatx())


@keras_op
def tril(x: Any, k: int = 0) -> Any:
    """x with zeros above the k-th diagonal of its last two dimensions."""
    x = to_tensor(x)
    return select(_band(*x.shape[-2:], k, "le"), x, full_of((), 0, x.dtype))


@keras_op
def triu(x: Any, k: int = 0) -> Any:
    """x with zeros below the k-th diagonal of its last two dimensions."""
    x = to_tensor(x)
    return select(_band(*x.shape[-2:], k, "ge"), x, full_of((), 0, x.dtype))


def _cosine_window(x: Any, coefficients: Sequence[float], op: str) -> Tensor:
    n = need_int(x, op, "x")
    if n <= 1:
        return full_of((max(n, 0),), 1.0, floatx())
    t = 2.0 * np.pi * np.arange(n) / (n - 1)
    return to_tensor(sum(c * np.cos(i * t) for i, c in enumerate(coefficients)), floatx())


@keras_op
def hanning(x: Any) -> Any:
    """Hann window of x points: 0.5 - 0.5 cos(2 pi n / (x - 1))."""
    return _cosine_window(x, (0.5, -0.5), "hanning")


@keras_op
def hamming(x: Any) -> Any:
    """Hamming window of x points."""
    return _cosine_window(x, (0.54, -0.46), "hamming")


@keras_op
def blackman(x: Any) -> Any:
    """Blackman window of x points."""
    return _cosine_window(x, (0.42, -0.5, 0.08), "blackman")


@keras_op
def bartlett(x: Any) -> Any:
    """Triangular window of x points, zero at both ends."""
    return to_tensor(np.bartlett(need_int(x, "bartlett", "x")), floatx())


@keras_op
def kaiser(x: Any, beta: float) -> Any:
    """Kaiser window of x points with shape parameter beta."""
    return to_tensor(np.kaiser(need_int(x, "kaiser", "x"), float(need_concrete(beta, "kaiser", "beta"))), floatx())
