"""Activations and normalizations."""

from __future__ import annotations

import math
from typing import Any

from graphkeras.core.config import epsilon as default_epsilon
from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    HALF,
    Tensor,
    apply,
    axes_of,
    axis_of,
    cast_to,
    floating,
    full_of,
    iota,
    part,
    permute,
    promote,
    reduce,
    reshape_to,
    select,
    to_tensor,
)

# -- activations -------------------------------------------------------------------------------------


@keras_op
def relu(x: Any) -> Any:
    """`max(x, 0)`.

    >>> from graphkeras import ops
    >>> ops.relu([-1.0, 2.0])
    <Tensor shape=(2,), dtype=float32, value=[0. 2.]>
    """
    x = to_tensor(x)
    return x if x.dtype == "bool" or x.dtype[0] == "u" else apply("relu", x)


@keras_op
def relu6(x: Any) -> Any:
    """x limited to [0, 6]."""
    x = to_tensor(x)
    return apply("minimum", apply("maximum", x, 0), 6)


@keras_op
def sigmoid(x: Any) -> Any:
    """`1 / (1 + exp(-x))`."""
    return apply("sigmoid", floating(x))


@keras_op
def log_sigmoid(x: Any) -> Any:
    """`log(sigmoid(x))` without overflow."""
    return apply("neg", apply("softplus", apply("neg", floating(x))))


@keras_op
def sparse_sigmoid(x: Any) -> Any:
    """`(x + 1) / 2` limited to [0, 1]."""
    return _limited(apply("mul", apply("add", floating(x), 1.0), 0.5), 0.0, 1.0)


def _limited(x: Tensor, low: float, high: float) -> Tensor:
    return apply("minimum", apply("maximum", x, low), high)


@keras_op
def softplus(x: Any) -> Any:
    """`log(1 + exp(x))` without overflow."""
    return apply("softplus", floating(x))


@keras_op
def softsign(x: Any) -> Any:
    """`x / (1 + |x|)`."""
    x = floating(x)
    return apply("div", x, apply("add", apply("abs", x), 1.0))


@keras_op
def silu(x: Any) -> Any:
    """`x * sigmoid(x)`, also called swish."""
    return apply("silu", floating(x))


@keras_op
def swish(x: Any) -> Any:
    """`x * sigmoid(x)`, also called silu."""
    return apply("silu", floating(x))


@keras_op
def gelu(x: Any, approximate: bool = True) -> Any:
    """`x * P(N <= x)` for a standard normal N; `approximate` uses tanh (Hendrycks and Gimpel, 2016)."""
    return apply("gelu", floating(x), approximate=bool(approximate))


@keras_op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x above 0, `negative_slope * x` below."""
    x = floating(x)
    return select(apply("ge", x, 0.0), x, apply("mul", x, negative_slope))


@keras_op
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, `alpha * (exp(x) - 1)` below."""
    return _elu(floating(x), alpha)


def _elu(x: Tensor, alpha: float) -> Tensor:
    below = apply("mul", apply("expm1", apply("minimum", x, 0.0)), alpha)  # no overflow on the side not chosen
    return select(apply("gt", x, 0.0), x, below)


@keras_op
def celu(x: Any, alpha: float = 1.0) -> Any:
    """`max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`."""
    x = floating(x)
    below = apply("mul", apply("expm1", apply("div", apply("minimum", x, 0.0), alpha)), alpha)
    return apply("add", apply("maximum", x, 0.0), below)


@keras_op
def selu(x: Any) -> Any:
    """elu scaled so that layers keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return apply("mul", _elu(floating(x), 1.6732632423543772), 1.0507009873554805)


@keras_op
def hard_sigmoid(x: Any) -> Any:
    """`(x + 3) / 6` limited to [0, 1]."""
    return _limited(apply("add", apply("mul", floating(x), 1.0 / 6.0), 0.5), 0.0, 1.0)


@keras_op
def hard_silu(x: Any) -> Any:
    """`x * hard_sigmoid(x)`."""
    x = floating(x)
    return apply("mul", x, _limited(apply("add", apply("mul", x, 1.0 / 6.0), 0.5), 0.0, 1.0))


@keras_op
def hard_swish(x: Any) -> Any:
    """`x * hard_sigmoid(x)`."""
    return hard_silu(x)


@keras_op
def hard_tanh(x: Any) -> Any:
    """x limited to [-1, 1]."""
    return _limited(floating(x), -1.0, 1.0)


@keras_op
def tanh_shrink(x: Any) -> Any:
    """`x - tanh(x)`."""
    x = floating(x)
    return apply("sub", x, apply("tanh", x))


@keras_op
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x where its size is above the threshold, else 0."""
    x = floating(x)
    return select(apply("gt", apply("abs", x), threshold), x, full_of((), 0.0, x.dtype))


@keras_op
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved towards 0 by the threshold, 0 if it is nearer."""
    x = floating(x)
    size = apply("maximum", apply("sub", apply("abs", x), threshold), 0.0)
    return apply("mul", apply("sign", x), size)


@keras_op
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x above the threshold, else `default_value`."""
    x = floating(x)
    return select(apply("gt", x, threshold), x, full_of((), default_value, x.dtype))


@keras_op
def squareplus(x: Any, b: float = 4) -> Any:
    """`(x + sqrt(x**2 + b)) / 2`."""
    x = floating(x)
    return apply("mul", apply("add", x, apply("sqrt", apply("add", apply("mul", x, x), b))), 0.5)


@keras_op
def sparse_plus(x: Any) -> Any:
    """0 below -1, `(x + 1)**2 / 4` up to 1, x above."""
    x = floating(x)
    shifted = apply("add", x, 1.0)
    middle = apply("mul", apply("mul", shifted, shifted), 0.25)
    return select(apply("le", x, -1.0), full_of((), 0.0, x.dtype), select(apply("lt", x, 1.0), middle, x))


@keras_op
def glu(x: Any, axis: int = -1) -> Any:
    """First half of the axis times the sigmoid of the second."""
    x = floating(x)
    where = axis_of(axis, len(x.shape), "glu")
    n = x.shape[where]
    if n % 2:
        raise ValueError(f"glu: the axis must have an even size; received axis={axis} of shape {x.shape}")
    return apply("mul", part(x, where, 0, n // 2), apply("sigmoid", part(x, where, n // 2, n)))


# -- softmax -----------------------------------------------------------------------------------------
def _along(primitive: str, x: Any, axis: Any) -> Tensor:
    """A softmax over one axis, or over several (or all) taken together."""
    x = floating(x)
    rank = len(x.shape)
    if isinstance(axis, (list, tuple)) or axis is None:
        axes = axes_of(axis, rank, primitive)
        rest = tuple(i for i in range(rank) if i not in axes)
        perm = rest + axes
        moved = permute(x, perm)
        flat = reshape_to(moved, (*(x.shape[i] for i in rest), math.prod(x.shape[a] for a in axes)))
        result = reshape_to(apply(primitive, flat, axis=len(rest)), moved.shape)
        return permute(result, sorted(range(rank), key=perm.__getitem__))
    return apply(primitive, x, axis=axis_of(axis, rank, primitive))


@keras_op
def softmax(x: Any, axis: Any = -1) -> Any:
    """`exp(x) / sum(exp(x))` along an axis, several axes (tuple) or all (None).

    >>> from graphkeras import ops
    >>> ops.softmax([0.0, 0.0])
    <Tensor shape=(2,), dtype=float32, value=[0.5 0.5]>
    """
    return _along("softmax", x, axis)


@keras_op
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """`log(softmax(x))` without overflow."""
    return _along("log_softmax", x, axis)


@keras_op
def sparsemax(x: Any, axis: int = -1) -> Any:
    """Projection on the probability simplex, with zeros for small scores (Martins and Astudillo, 2016)."""
    x = floating(x)
    rank = len(x.shape)
    where = axis_of(axis, rank, "sparsemax")
    n = x.shape[where]
    falling = apply("sort", x, axis=where, descending=True)
    sums = apply("cumulative", falling, axis=where, combine="sum", reverse=False)
    place = reshape_to(apply("add", iota(n, x.dtype), 1.0), tuple(n if i == where else 1 for i in range(rank)))
    inside = apply("gt", apply("add", apply("mul", place, falling), 1.0), sums)
    kept = cast_to(inside, x.dtype)
    size = reduce("reduce_sum", kept, (where,), True)
    total = reduce("reduce_sum", apply("mul", falling, kept), (where,), True)
    level = apply("div", apply("sub", total, 1.0), size)
    return apply("maximum", apply("sub", x, level), 0.0)


# -- normalizations ----------------------------------------------------------------------------------
@keras_op
def normalize(x: Any, axis: int = -1, order: Any = 2, epsilon: float | None = None) -> Any:
    """x divided by its norm along the axis (never by less than epsilon)."""
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"normalize: argument `order` must be an int >= 1; received order={order}")
    x = floating(x)
    small = default_epsilon() if epsilon is None else epsilon
    axes = axes_of(axis, len(x.shape), "normalize")
    if order == 2:
        power = reduce("reduce_sum", apply("mul", x, x), axes, True)
        return apply("mul", x, apply("rsqrt", apply("maximum", power, max(small * small, _tiny(x.dtype)))))
    from graphkeras.ops.norms import norm

    return apply("div", x, apply("maximum", norm(x, order, axis, True), small))


def _tiny(dtype: str) -> float:
    """Smallest number whose reciprocal root is finite in the dtype."""
    return 6e-8 if dtype == "float16" else 1e-37


def _affine_shape(x: Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n if i in axes else 1 for i, n in enumerate(x.shape))


@keras_op
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Any:
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, all of them 1-d along `axis`."""
    x = floating(x)
    where = axis_of(axis, len(x.shape), "batch_normalization")
    shape = _affine_shape(x, (where,))

    def vector(v: Any, name: str) -> Tensor:
        v = to_tensor(v, x.dtype)
        if math.prod(v.shape) != shape[where]:
            raise ValueError(
                f"batch_normalization: argument `{name}` must have shape ({shape[where]},), the size of axis {axis} "
                f"of x {x.shape}; received {v.shape}"
            )
        return reshape_to(v, shape)

    factor = apply("rsqrt", apply("add", vector(variance, "variance"), epsilon))
    if scale is not None:
        factor = apply("mul", factor, vector(scale, "scale"))
    result = apply("mul", apply("sub", x, vector(mean, "mean")), factor)
    return result if offset is None else apply("add", result, vector(offset, "offset"))


@keras_op
def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None, **kwargs: Any
) -> Any:
    """x with mean 0 and variance 1 over the axes, times gamma plus beta (Ba et al., 2016)."""
    if kwargs.pop("rms_scaling", False):
        return rms_normalization(x, gamma, axis, epsilon)
    if kwargs:
        raise TypeError(f"layer_normalization: unexpected arguments {sorted(kwargs)}")
    x = floating(x)
    axes = axes_of(axis, len(x.shape), "layer_normalization")
    small = default_epsilon() if epsilon is None else epsilon
    shape = tuple(x.shape[a] for a in axes)

    def plain(v: Any, value: float) -> Tensor | None:
        """A weight of the normalised axes' shape; None for one that varies along other axes too."""
        if v is None:
            return full_of(shape, value, x.dtype)
        v = to_tensor(v, x.dtype)
        if math.prod(v.shape) == math.prod(shape):
            return reshape_to(v, shape)
        return apply("broadcast_to", v, shape=shape) if v.shape == () else None

    scale, shift = plain(gamma, 1.0), plain(beta, 0.0)
    if scale is not None and shift is not None:
        return apply("layer_norm", x, scale, shift, axis=axes, epsilon=float(small))
    one, zero = full_of(shape, 1.0, x.dtype), full_of(shape, 0.0, x.dtype)
    result = apply("layer_norm", x, one, zero, axis=axes, epsilon=float(small))
    result = result if gamma is None else apply("mul", result, to_tensor(gamma, x.dtype))
    return result if beta is None else apply("add", result, to_tensor(beta, x.dtype))


@keras_op
def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Any:
    """x divided by the root of its mean square over the axes, times scale (Zhang and Sennrich, 2019)."""
    x = floating(x)
    axes = axes_of(axis, len(x.shape), "rms_normalization")
    small = default_epsilon() if epsilon is None else epsilon
    wide = cast_to(x, "float32") if x.dtype in HALF else x
    n = math.prod(x.shape[a] for a in axes)
    mean_square = apply("mul", reduce("reduce_sum", apply("mul", wide, wide), axes, True), 1.0 / max(n, 1))
    result = apply("mul", wide, apply("rsqrt", apply("add", mean_square, small)))
    if scale is not None:
        weight = to_tensor(scale, wide.dtype)
        shape = _affine_shape(x, axes)
        result = apply(
            "mul", result, reshape_to(weight, shape) if math.prod(weight.shape) == math.prod(shape) else weight
        )
    return cast_to(result, x.dtype)


@keras_op
def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """Peak signal-to-noise ratio in dB: `20 log10(max_val) - 10 log10(mean((x1 - x2)**2))`."""
    a, b = promote(x1, x2, also=float)
    if a.shape != b.shape:
        raise ValueError(f"psnr: both arguments must have the same shape; received {a.shape} and {b.shape}")
    difference = apply("sub", a, b)
    squares = reduce("reduce_sum", apply("mul", difference, difference), tuple(range(len(a.shape))))
    error = apply("mul", squares, 1.0 / math.prod(a.shape))
    peak = to_tensor(max_val, a.dtype)
    ln10 = math.log(10.0)
    return apply("sub", apply("mul", apply("log", peak), 20.0 / ln10), apply("mul", apply("log", error), 10.0 / ln10))
