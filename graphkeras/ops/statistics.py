"""Order statistics, and reductions that ignore nan."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    FLOATS,
    HALF,
    Tensor,
    apply,
    axes_of,
    broadcast,
    cast_to,
    floating,
    full_of,
    highest,
    lowest,
    permute,
    reduce,
    reshape_to,
    select,
    to_tensor,
)
from graphkeras.ops.reduction import _arg_extreme, _cumulative, _extreme, _wide, count, prod, sum

# -- order statistics --------------------------------------------------------------------------------
_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _rows(x: Tensor, axis: Any, op: str) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    """x with the reduced axes joined as the last one."""
    axes = axes_of(axis, len(x.shape), op)
    kept = tuple(i for i in range(len(x.shape)) if i not in axes)
    return reshape_to(permute(x, kept + axes), (*(x.shape[i] for i in kept), count(x, axes))), axes, kept


def _restore(
    values: Tensor, x: Tensor, q: Tensor, axes: tuple[int, ...], kept: tuple[int, ...], keepdims: bool
) -> Tensor:
    """The quantiles' axis first, as q has it, then what is left of x."""
    last = len(values.shape) - 1
    values = permute(values, (last, *range(last)))
    outer = tuple(1 if i in axes else s for i, s in enumerate(x.shape)) if keepdims else tuple(x.shape[i] for i in kept)
    return reshape_to(values, q.shape + outer)


def _quantile(x: Any, q: Any, axis: Any, method: str, keepdims: bool, op: str, scale: float = 1.0) -> Tensor:
    if method not in _METHODS:
        raise ValueError(f"{op}: argument `method` must be one of {_METHODS}; received {method!r}")
    x = floating(x)
    q = apply("div", to_tensor(q, x.dtype if x.dtype not in HALF else "float32"), scale)
    if len(q.shape) > 1:
        raise ValueError(f"{op}: argument `q` must be a number or 1-d; received shape {q.shape}")
    flat, axes, kept = _rows(x, axis, op)
    last, n = len(flat.shape) - 1, flat.shape[-1]
    flat = apply("sort", flat, axis=last, descending=False)
    broken = reduce("reduce_or", apply("isnan", flat), (last,), True)  # a nan anywhere: the result is nan
    place = apply("mul", reshape_to(q, (math.prod(q.shape),)), float(n - 1))

    def at(where: Tensor) -> Tensor:
        return apply("take", flat, cast_to(where, "int32"), axis=last, mode="clip")

    values = _between(at, place, x.dtype, method)
    values = select(broadcast(broken, values.shape), full_of((), math.nan, x.dtype), values)
    return _restore(values, x, q, axes, kept, keepdims)


def _between(at: Callable[[Tensor], Tensor], place: Tensor, dtype: str, method: str) -> Tensor:
    """The value at fractional places, `at` giving it at whole ones."""
    low = apply("floor", place)
    if method == "lower":
        return at(low)
    if method == "higher":
        return at(apply("ceil", place))
    if method == "nearest":
        return at(apply("round", place))
    a, b = at(low), at(apply("ceil", place))
    if method == "midpoint":
        return apply("mul", apply("add", a, b), 0.5)
    weight = cast_to(apply("sub", place, low), dtype)
    return apply("add", apply("mul", a, apply("sub", 1.0, weight)), apply("mul", b, weight))


@keras_op
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """The values below which the fractions `q` (in [0, 1]) of the elements lie; shape `q.shape + rest`."""
    return _quantile(x, q, axis, method, keepdims, "quantile")


@keras_op
def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` with `q` in percent."""
    return _quantile(x, q, axis, method, keepdims, "percentile", 100.0)


@keras_op
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The middle value (the mean of the two middle ones)."""
    return _quantile(x, 0.5, axis, "linear", keepdims, "median")


# -- ignoring nan ------------------------------------------------------------------------------------
def _without_nan(x: Any, value: Any) -> tuple[Tensor, Tensor]:
    """x with nan replaced, and where the numbers are."""
    x = to_tensor(x)
    if x.dtype not in FLOATS:
        return x, full_of(x.shape, True, "bool")
    missing = apply("isnan", x)
    return select(missing, full_of((), value, x.dtype), x), apply("not", missing)


@keras_op
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`sum` with nan counted as 0."""
    return sum(_without_nan(x, 0)[0], axis, keepdims)


@keras_op
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`prod` with nan counted as 1."""
    return prod(_without_nan(x, 1)[0], axis, keepdims)


@keras_op
def nancumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """`cumsum` with nan counted as 0."""
    return _cumulative(_without_nan(x, 0)[0], axis, dtype, "sum")


@keras_op
def nancumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """`cumprod` with nan counted as 1."""
    return _cumulative(_without_nan(x, 1)[0], axis, dtype, "prod")


def _nan_extreme(x: Any, axis: Any, keepdims: bool, op: str) -> Tensor:
    x = to_tensor(x)
    filled, known = _without_nan(x, lowest(x.dtype) if op == "max" else highest(x.dtype))
    result = _extreme(filled, axis, keepdims, None, op)
    if x.dtype not in FLOATS:
        return result
    some = reduce("reduce_or", known, axes_of(axis, len(x.shape), op), keepdims)
    return select(some, result, full_of((), math.nan, x.dtype))


@keras_op
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest number, nan only where there is none."""
    return _nan_extreme(x, axis, keepdims, "max")


@keras_op
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest number, nan only where there is none."""
    return _nan_extreme(x, axis, keepdims, "min")


def _nan_arg(op: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x = to_tensor(x)
    filled, known = _without_nan(x, lowest(x.dtype) if op == "argmax" else highest(x.dtype))
    result = _arg_extreme(op, filled, axis, keepdims)
    some = reduce("reduce_or", known, axes_of(axis, len(x.shape), op), keepdims)
    return select(some, result, full_of((), -1, "int32"))


@keras_op
def nanargmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Index of the largest number; -1 where all are nan."""
    return _nan_arg("argmax", x, axis, keepdims)


@keras_op
def nanargmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Index of the smallest number; -1 where all are nan."""
    return _nan_arg("argmin", x, axis, keepdims)


@keras_op
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Mean of the numbers, nan where there is none."""
    x = floating(x)
    axes = axes_of(axis, len(x.shape), "nanmean")
    return _nanmean(x, axes, keepdims)


def _nanmean(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    filled, known = _without_nan(x, 0.0)
    n = reduce("reduce_sum", cast_to(known, "float32" if x.dtype in HALF else x.dtype), axes, keepdims)
    return cast_to(apply("div", reduce("reduce_sum", _wide(filled), axes, keepdims), n), x.dtype)


@keras_op
def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Variance of the numbers."""
    x = floating(x)
    axes = axes_of(axis, len(x.shape), "nanvar")
    wide = _wide(x)
    distance = apply("sub", wide, _nanmean(wide, axes, True))
    return cast_to(_nanmean(apply("mul", distance, distance), axes, keepdims), x.dtype)


@keras_op
def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Standard deviation of the numbers."""
    return apply("sqrt", nanvar(x, axis, keepdims))


def _nan_order(x: Any, q: Any, axis: Any, method: str, keepdims: bool, op: str, scale: float) -> Tensor:
    """Quantiles of what is no nan: sorted with the nan last, and each row has its own number of values."""
    if method not in _METHODS:
        raise ValueError(f"{op}: argument `method` must be one of {_METHODS}; received {method!r}")
    x = floating(x)
    q = apply("div", to_tensor(q, x.dtype if x.dtype not in HALF else "float32"), scale)
    flat, axes, kept = _rows(x, axis, op)
    last, width = len(flat.shape) - 1, flat.shape[-1]
    filled, known = _without_nan(flat, math.inf)
    n = reduce("reduce_sum", cast_to(known, q.dtype), (last,), True)
    filled = apply("sort", filled, axis=last, descending=False)
    place = apply("mul", apply("maximum", apply("sub", n, 1.0), 0.0), reshape_to(q, (math.prod(q.shape),)))

    def at(where: Tensor) -> Tensor:
        index = apply("minimum", cast_to(where, "int32"), width - 1)
        return apply("take_along_axis", filled, index, axis=last)

    values = _between(at, place, x.dtype, method)
    nothing = broadcast(apply("eq", n, 0.0), values.shape)
    values = select(nothing, full_of((), math.nan, x.dtype), values)
    return _restore(values, x, q, axes, kept, keepdims)


@keras_op
def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` of the numbers."""
    return _nan_order(x, q, axis, method, keepdims, "nanquantile", 1.0)


@keras_op
def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`percentile` of the numbers."""
    return _nan_order(x, q, axis, method, keepdims, "nanpercentile", 100.0)


@keras_op
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`median` of the numbers."""
    return _nan_order(x, 0.5, axis, "linear", keepdims, "nanmedian", 1.0)
