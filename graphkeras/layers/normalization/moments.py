"""Mean and variance in two passes over the data."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.core.trace import apply


def moments(x: Any, axes: Any, keepdims: bool = False, mask: Any = None) -> tuple[Any, Any]:
    """Mean and population variance over `axes`.

    The variance is the mean of the squared distances from the mean: unlike `mean(x**2) - mean(x)**2` it does not lose
    its digits when the mean is large.

    mask: bools broadcastable to `x`; elements where it is False do not count.
    """
    if mask is None:
        mean = ops.mean(x, axis=axes, keepdims=True)
        variance = ops.mean(ops.square(ops.subtract(x, mean)), axis=axes, keepdims=True)
    else:
        weights = ops.cast(ops.broadcast_to(mask, x.shape), x.dtype)
        count = ops.add(ops.sum(weights, axis=axes, keepdims=True), epsilon())
        mean = ops.divide(ops.sum(ops.where(mask, x, 0), axis=axes, keepdims=True), count)
        distance = ops.where(mask, ops.subtract(x, mean), 0)
        variance = ops.divide(ops.sum(ops.square(distance), axis=axes, keepdims=True), count)
    if keepdims:
        return mean, variance
    return ops.squeeze(mean, axis=axes), ops.squeeze(variance, axis=axes)


def standardize(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    """((x - mean) / sqrt(variance + epsilon), mean, variance) over `axes`; the means without those axes.

    No gradient leads through mean and variance: they are meant for moving averages.
    """
    count = 1.0
    for a in axes:
        count *= x.shape[a]
    mean = apply("mul", apply("reduce_sum", x, axes=axes, keepdims=True), 1.0 / max(1.0, count))
    centred = apply("sub", x, mean)
    square = apply("reduce_sum", apply("mul", centred, centred), axes=axes, keepdims=True)
    variance = apply("mul", square, 1.0 / max(1.0, count))
    unit = apply("standardize", x, axes=axes, epsilon=epsilon)
    mean, variance = (ops.stop_gradient(ops.squeeze(v, axis=axes)) for v in (mean, variance))
    return unit, mean, variance


def at_least_float32(x: Any) -> Any:
    """`x` cast to float32 if its dtype has fewer bits: statistics of half-precision numbers need the range."""
    return ops.cast(x, "float32") if str(x.dtype) in ("float16", "bfloat16") or "float" not in str(x.dtype) else x


def along(vector: Any, axis: int, rank: int) -> Any:
    """A vector in a shape that broadcasts along one axis of tensors of that rank."""
    shape = [1] * rank
    shape[axis] = -1
    return ops.reshape(vector, shape)
