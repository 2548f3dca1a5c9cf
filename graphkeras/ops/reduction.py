"""Reductions: one value from the elements along some axes."""

from __future__ import annotations

import math
from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    COMPLEX,
    FLOATS,
    HALF,
    Tensor,
    apply,
    axes_of,
    axis_of,
    broadcast,
    cast_to,
    expand,
    floating,
    full_of,
    part,
    promote,
    reduce,
    reshape_to,
    result_type,
    select,
    standardize_dtype,
    to_tensor,
)

_SUM_DTYPES = {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}


def _wide(x: Tensor) -> Tensor:
    """Half-precision values in float32, where sums keep their digits."""
    return cast_to(x, "float32") if x.dtype in HALF else x


def count(x: Tensor, axes: tuple[int, ...]) -> int:
    """Number of elements that a reduction over `axes` takes together."""
    return math.prod(x.shape[a] for a in axes)


@keras_op
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Sum over the axes (all by default); small ints and bools are summed in 32 bits.

    >>> from graphkeras import ops
    >>> ops.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    <Tensor shape=(2,), dtype=float32, value=[4. 6.]>
    """
    x = to_tensor(x)
    return _sum(cast_to(x, _SUM_DTYPES.get(x.dtype, x.dtype)), axes_of(axis, len(x.shape), "sum"), keepdims)


def _sum(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    return cast_to(reduce("reduce_sum", _wide(x), axes, keepdims), x.dtype)


@keras_op
def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Product over the axes."""
    x = to_tensor(x)
    wanted = standardize_dtype(dtype) if dtype is not None else _SUM_DTYPES.get(x.dtype, x.dtype)
    x = cast_to(x, wanted)
    return cast_to(reduce("reduce_prod", _wide(x), axes_of(axis, len(x.shape), "prod"), keepdims), wanted)


def _extreme(x: Any, axis: Any, keepdims: bool, initial: Any, op: str) -> Tensor:
    x = to_tensor(x)
    axes = axes_of(axis, len(x.shape), op)
    if 0 in (x.shape[a] for a in axes) and initial is None:
        raise ValueError(f"{op}: no largest or smallest of zero elements; received shape {x.shape}. Pass `initial`")
    if x.dtype == "bool":
        result = reduce("reduce_or" if op == "max" else "reduce_and", x, axes, keepdims)
        return result if initial is None else apply("or" if op == "max" else "and", result, to_tensor(initial, "bool"))
    if initial is not None and 0 in (x.shape[a] for a in axes):
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        kept = shape if keepdims else tuple(n for i, n in enumerate(x.shape) if i not in axes)
        return broadcast(to_tensor(initial, x.dtype), kept)
    result = reduce(f"reduce_{op}", x, axes, keepdims)
    if initial is None:
        return result
    return apply("maximum" if op == "max" else "minimum", result, to_tensor(initial, x.dtype))


@keras_op
def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Largest element along the axes; `initial` takes part and allows empty inputs."""
    return _extreme(x, axis, keepdims, initial, "max")


@keras_op
def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Smallest element along the axes; `initial` takes part and allows empty inputs."""
    return _extreme(x, axis, keepdims, initial, "min")


@keras_op
def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest element along the axes."""
    return _extreme(x, axis, keepdims, None, "max")


@keras_op
def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest element along the axes."""
    return _extreme(x, axis, keepdims, None, "min")


@keras_op
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest minus smallest."""
    x = to_tensor(x)
    return apply("sub", _extreme(x, axis, keepdims, None, "max"), _extreme(x, axis, keepdims, None, "min"))


@keras_op
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Arithmetic mean over the axes; ints and bools give floatx."""
    x = to_tensor(x)
    return _mean(x, axes_of(axis, len(x.shape), "mean"), keepdims)


def _mean(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    if x.dtype not in FLOATS and x.dtype not in COMPLEX:
        x = cast_to(x, result_type(x.dtype, float))
    total = reduce("reduce_sum", _wide(x), axes, keepdims)
    n = count(x, axes)
    return cast_to(apply("mul", total, 1.0 / n) if n else apply("div", total, 0.0), x.dtype)


@keras_op
def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Mean squared distance from the mean (divided by N)."""
    x = floating(x)
    return _var(x, axes_of(axis, len(x.shape), "var"), keepdims)


def _var(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    wide = _wide(x)
    if x.dtype in COMPLEX:
        distance = apply("sub", wide, _mean(wide, axes, True))
        squares = apply("real", apply("mul", distance, apply("conj", distance)))
        return _mean(squares, axes, keepdims)
    distance = apply("sub", wide, _mean(wide, axes, True))
    return cast_to(_mean(apply("mul", distance, distance), axes, keepdims), x.dtype)


@keras_op
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Standard deviation: square root of `var`."""
    x = floating(x)
    return apply("sqrt", _var(x, axes_of(axis, len(x.shape), "std"), keepdims))


@keras_op
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """Mean and variance together. `synchronized` asks for several devices and is refused."""
    if synchronized:
        raise NotImplementedError("moments: synchronized=True needs several devices; pass synchronized=False")
    x = floating(x)
    where = axes_of(axes, len(x.shape), "moments")
    wide = _wide(x)
    center = _mean(wide, where, True)
    distance = apply("sub", wide, center)
    variance = _mean(apply("mul", distance, distance), where, keepdims)
    if not keepdims:
        center = reshape_to(center, tuple(n for i, n in enumerate(center.shape) if i not in where))
    limit = 65504.0
    if x.dtype == "float16":  # beyond float16 they would become infinite
        center = apply("minimum", apply("maximum", center, -limit), limit)
        variance = apply("minimum", variance, limit)
    return cast_to(center, x.dtype), cast_to(variance, x.dtype)


@keras_op
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether some element is nonzero."""
    x = cast_to(to_tensor(x), "bool")
    return reduce("reduce_or", x, axes_of(axis, len(x.shape), "any"), keepdims)


@keras_op
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether every element is nonzero."""
    x = cast_to(to_tensor(x), "bool")
    return reduce("reduce_and", x, axes_of(axis, len(x.shape), "all"), keepdims)


@keras_op
def count_nonzero(x: Any, axis: Any = None) -> Any:
    """Number of nonzero elements, int32."""
    x = cast_to(to_tensor(x), "bool")
    return reduce("reduce_sum", cast_to(x, "int32"), axes_of(axis, len(x.shape), "count_nonzero"))


def _arg_extreme(op: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x = to_tensor(x)
    shape = x.shape
    if x.dtype == "bool":
        x = cast_to(x, "int32")
    if axis is None:
        result = apply(op, reshape_to(x, (math.prod(shape),)), axis=0)
        return reshape_to(result, (1,) * len(shape)) if keepdims else result
    where = axis_of(axis, len(shape), op)
    result = apply(op, x, axis=where)
    return expand(result, where) if keepdims else result


@keras_op
def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Index of the largest element (the first of equal ones), int32; of the flattened array if axis is None."""
    return _arg_extreme("argmax", x, axis, keepdims)


@keras_op
def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Index of the smallest element (the first of equal ones), int32."""
    return _arg_extreme("argmin", x, axis, keepdims)


@keras_op
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """Mean, weighted if `weights` (of x's shape, or 1-d along `axis`) are given."""
    if weights is None:
        x = floating(x)
        return _mean(x, axes_of(axis, len(x.shape), "average"), False)
    x, w = promote(x, weights, also=float)
    axes = axes_of(axis, len(x.shape), "average")
    if w.shape != x.shape:
        if len(w.shape) != 1 or len(axes) != 1 or w.shape[0] != x.shape[axes[0]]:
            raise ValueError(
                f"average: argument `weights` must have the shape of `x` {x.shape}, or be 1-d along one `axis`; "
                f"received shape {w.shape} with axis={axis}"
            )
        w = reshape_to(w, tuple(n if i == axes[0] else 1 for i, n in enumerate(x.shape)))
        w = broadcast(w, x.shape)
    return apply("div", _sum(apply("mul", x, w), axes, False), _sum(w, axes, False))


@keras_op
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`log(sum(exp(x)))` over the axes, without overflow."""
    x = floating(x)
    return apply("logsumexp", x, axes=axes_of(axis, len(x.shape), "logsumexp"), keepdims=bool(keepdims))


# -- cumulative --------------------------------------------------------------------------------------
def _cumulative(x: Any, axis: Any, dtype: Any, combine: str) -> Tensor:
    x = to_tensor(x)
    wanted = standardize_dtype(dtype) if dtype is not None else ("int32" if x.dtype == "bool" else x.dtype)
    x = cast_to(x, wanted)
    if axis is None:
        x, where = reshape_to(x, (math.prod(x.shape),)), 0
    else:
        where = axis_of(axis, len(x.shape), f"cum{combine}")
    return cast_to(apply("cumulative", _wide(x), axis=where, combine=combine, reverse=False), wanted)


@keras_op
def cumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Running sum along an axis (of the flattened array if None)."""
    return _cumulative(x, axis, dtype, "sum")


@keras_op
def cumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Running product along an axis (of the flattened array if None)."""
    return _cumulative(x, axis, dtype, "prod")


@keras_op
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences of neighbours along the axis, taken n times."""
    x = to_tensor(a)
    where = axis_of(axis, len(x.shape), "diff")
    for _ in range(n):
        length = x.shape[where]
        if length <= 1:
            return part(x, where, 0, 0)
        later, earlier = part(x, where, 1, length), part(x, where, 0, length - 1)
        x = apply("xor" if x.dtype == "bool" else "sub", later, earlier)
    return x


@keras_op
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Integral of samples y by the trapezoid rule, at points x or with spacing dx."""
    y = floating(y)
    where = axis_of(axis, len(y.shape), "trapezoid")
    n = y.shape[where]
    pairs = apply("add", part(y, where, 1, n), part(y, where, 0, n - 1))
    if x is None:
        widths: Any = to_tensor(dx, y.dtype)
    else:
        points = to_tensor(x, y.dtype)
        if len(points.shape) == 1:
            widths = reshape_to(diff(points), tuple(n - 1 if i == where else 1 for i in range(len(y.shape))))
        else:
            widths = diff(points, axis=where)
    return _sum(apply("mul", apply("mul", pairs, widths), 0.5), (where,), False)


@keras_op
def histogram(x: Any, bins: int = 10, range: Any = None) -> Any:
    """Counts of the elements in `bins` equal bins over `range` (default: all of x), and the bin edges."""
    if not isinstance(bins, int) or bins <= 0:
        raise ValueError(f"histogram: argument `bins` must be a positive integer; received {bins!r}")
    if range is not None and (not isinstance(range, tuple) or len(range) != 2 or range[1] < range[0]):
        raise ValueError(
            f"histogram: Argument `range` must be a tuple of two elements (low, high), low <= high; received {range}"
        )
    from graphkeras.ops.creation import linspace

    x = floating(x)
    x = reshape_to(x, (math.prod(x.shape),))
    if range is not None:
        low, high = (to_tensor(float(v), x.dtype) for v in range)
    elif x.shape[0] == 0:
        low, high = to_tensor(0.0, x.dtype), to_tensor(1.0, x.dtype)
    else:
        low, high = reduce("reduce_min", x, (0,)), reduce("reduce_max", x, (0,))
    same = apply("eq", low, high)
    low, high = (select(same, apply("add", v, d), v) for v, d in ((low, -0.5), (high, 0.5)))
    edges = linspace(low, high, bins + 1)
    place = reduce("reduce_sum", cast_to(apply("ge", expand(x, 1), expand(edges, 0)), "int32"), (1,))
    place = apply("sub", apply("minimum", place, bins), 1)
    inside = apply("and", apply("ge", x, low), apply("le", x, high))
    zeros, hits = full_of((bins,), 0, "int32"), cast_to(inside, "int32")
    return apply("scatter", zeros, apply("maximum", place, 0), hits, axis=0, combine="add"), edges
