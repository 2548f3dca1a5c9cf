"""Random numbers from keys.

Every function draws uint32 words with the `random_bits` primitive (a counter-based generator) and turns them into its
distribution, so the same key gives the same numbers eagerly, traced and compiled.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from graphkeras.core.operation import keras_op
from graphkeras.core.seed_generator import draw_seed
from graphkeras.ops.base import (
    FLOATS,
    INTS,
    Tensor,
    apply,
    axis_of,
    broadcast,
    cast_to,
    concrete,
    expand,
    floating,
    floatx,
    full_of,
    iota,
    part,
    promote,
    reduce,
    reshape_to,
    select,
    standardize_dtype,
    static_shape,
    to_tensor,
)


def _bits(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    return apply("random_bits", key, shape=shape)


def _keys(key: Tensor, count: int) -> list[Tensor]:
    """Independent keys from one."""
    words = _bits(key, (count, 2))
    return [reshape_to(part(words, 0, i, i + 1), (2,)) for i in range(count)]


def _float_dtype(dtype: Any, op: str) -> str:
    wanted = floatx() if dtype is None else standardize_dtype(dtype)
    if wanted not in FLOATS:
        raise ValueError(f"keras.random.{op} requires a floating point `dtype`. Received: dtype={dtype}")
    return wanted


_MANTISSA = {"float16": 11, "bfloat16": 8, "float32": 24}


def _unit(key: Tensor, shape: tuple[int, ...], dtype: str) -> Tensor:
    """Uniform numbers in [0, 1): multiples of 2**-m, which the dtype holds exactly."""
    if dtype == "float64":
        words = _bits(key, (2, *shape))
        high, low = (reshape_to(part(words, 0, i, i + 1), shape) for i in (0, 1))
        top = apply("mul", cast_to(apply("shr", high, 5), dtype), 2.0**-27)
        return apply("add", top, apply("mul", cast_to(apply("shr", low, 6), dtype), 2.0**-53))
    m = _MANTISSA[dtype]
    whole = cast_to(apply("shr", _bits(key, shape), 32 - m), "int32")
    return cast_to(apply("mul", cast_to(whole, "float32"), 2.0**-m), dtype)


def _open_unit(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uniform float32 numbers in (0, 1), neither end included."""
    whole = cast_to(apply("shr", _bits(key, shape), 9), "int32")
    return apply("mul", apply("add", cast_to(whole, "float32"), 0.5), 2.0**-23)


def _work_dtype(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Uniform numbers in [minval, maxval).

    seed: int (always the same numbers), SeedGenerator (new ones with each call), None (the global generator).

    >>> from graphkeras import random
    >>> random.uniform((2,), seed=1)
    <Tensor shape=(2,), dtype=float32, value=[0.13620758 0.13773435]>
    """
    wanted = _float_dtype(dtype, "uniform")
    u = _unit(draw_seed(seed), static_shape(shape, "uniform"), wanted)
    low, high = to_tensor(minval, wanted), to_tensor(maxval, wanted)
    return apply("add", apply("mul", u, apply("sub", high, low)), low)


def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers of the given mean and standard deviation, by the inverse of the distribution function."""
    wanted = _float_dtype(dtype, "normal")
    z = _standard_normal(draw_seed(seed), static_shape(shape, "normal"))
    return _scaled(z, mean, stddev, wanted)


def _standard_normal(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    u = _open_unit(key, shape)
    return apply("mul", apply("erfinv", apply("sub", apply("mul", u, 2.0), 1.0)), math.sqrt(2.0))


def _scaled(z: Tensor, mean: Any, stddev: Any, dtype: str) -> Tensor:
    work = _work_dtype(dtype)
    z = cast_to(z, work)
    return cast_to(apply("add", apply("mul", z, to_tensor(stddev, work)), to_tensor(mean, work)), dtype)


def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Normal numbers none of which is more than two standard deviations from the mean."""
    wanted = _float_dtype(dtype, "truncated_normal")
    u = _open_unit(draw_seed(seed), static_shape(shape, "truncated_normal"))
    edge = math.erf(2.0 / math.sqrt(2.0))  # the part of the distribution within two deviations
    z = apply("mul", apply("erfinv", apply("mul", apply("sub", apply("mul", u, 2.0), 1.0), edge)), math.sqrt(2.0))
    z = apply("minimum", apply("maximum", z, -2.0), 2.0)
    return _scaled(z, mean, stddev, wanted)


def randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Any:
    """Whole numbers from minval up to, but without, maxval, all equally likely."""
    wanted = standardize_dtype(dtype)
    if wanted not in INTS:
        raise ValueError(f"keras.random.randint requires an integer `dtype`. Received: dtype={dtype}")
    dims = static_shape(shape, "randint")
    words = _bits(draw_seed(seed), dims)
    low, high = cast_to(to_tensor(minval), wanted), cast_to(to_tensor(maxval), wanted)
    span = cast_to(apply("sub", high, low), "uint32")
    span = apply("maximum", span, to_tensor(1, "uint32"))
    return apply("add", cast_to(apply("mod", words, span), wanted), low)


@keras_op
def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """num_samples class indices per row of logits (batch, classes), by the Gumbel-max rule."""
    x = floating(logits)
    if len(x.shape) != 2:
        raise ValueError(f"categorical: argument `logits` must have shape (batch, classes); received {x.shape}")
    batch, classes = x.shape
    u = _open_unit(draw_seed(seed), (batch, int(num_samples), classes))
    noise = apply("neg", apply("log", apply("neg", apply("log", u))))
    scores = apply("add", cast_to(expand(x, 1), "float32"), noise)
    return cast_to(apply("argmax", scores, axis=2), standardize_dtype(dtype))


@keras_op
def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Any:
    """The slices along an axis in random order."""
    x = to_tensor(x)
    where = axis_of(axis, len(x.shape), "shuffle")
    words = _bits(draw_seed(seed), (x.shape[where],))
    order = apply("argsort", words, axis=0, descending=False, stable=True)
    return apply("take", x, order, axis=where, mode="clip")


@keras_op
def dropout(inputs: Any, rate: Any, noise_shape: Any = None, seed: Any = None) -> Any:
    """Each element 0 with probability `rate`, else divided by `1 - rate` (Srivastava et al., 2014).

    noise_shape: axes of size 1 in it share one decision; None there (or for all) takes the input's size.
    """
    x = floating(inputs)
    shape = x.shape
    if noise_shape is not None:
        if len(noise_shape) != len(shape):
            raise ValueError(
                f"dropout: argument `noise_shape` must have {len(shape)} dimensions as inputs; received {noise_shape}"
            )
        shape = tuple(n if d is None else int(d) for d, n in zip(noise_shape, shape, strict=True))
    words = _bits(draw_seed(seed), shape)
    known = concrete(rate)
    zero = full_of((), 0.0, x.dtype)
    if known is not None:
        p = float(known)
        if p >= 1.0:
            return apply("mul", x, 0.0)
        limit = to_tensor(np.uint32(builtins.min(int(p * 2.0**32), 2**32 - 1)), "uint32")
        return select(broadcast(apply("ge", words, limit), x.shape), apply("mul", x, 1.0 / (1.0 - p)), zero)
    p = to_tensor(rate, "float32")
    u = apply("mul", cast_to(cast_to(apply("shr", words, 8), "int32"), "float32"), 2.0**-24)
    scaled = apply("div", x, cast_to(apply("sub", 1.0, p), x.dtype))
    return select(broadcast(apply("ge", u, p), x.shape), scaled, zero)


_TRIES = 8  # each candidate is refused with probability below 5 %, so all of them with 4e-11


def _gamma(key: Tensor, shape: tuple[int, ...], alpha: Tensor) -> Tensor:
    """Gamma numbers with scale 1 (Marsaglia and Tsang, 2000): several candidates, the first accepted one."""
    k_normal, k_accept, k_boost = _keys(key, 3)
    alpha = broadcast(alpha, shape)
    small = apply("lt", alpha, 1.0)
    raised = select(small, apply("add", alpha, 1.0), alpha)
    d = apply("sub", raised, 1.0 / 3.0)
    c = apply("div", 1.0, apply("sqrt", apply("mul", d, 9.0)))
    x = _standard_normal(k_normal, (_TRIES, *shape))
    base = apply("add", apply("mul", x, c), 1.0)
    positive = apply("gt", base, 0.0)
    safe = select(positive, base, full_of((), 1.0, "float32"))
    v = apply("mul", apply("mul", safe, safe), safe)
    bound = apply(
        "add",
        apply("mul", apply("mul", x, x), 0.5),
        apply("mul", d, apply("add", apply("sub", 1.0, v), apply("log", v))),
    )
    accepted = apply("and", positive, apply("lt", apply("log", _open_unit(k_accept, (_TRIES, *shape))), bound))
    value = select(accepted, v, full_of((), 1.0, "float32"))
    chosen = apply("argmax", cast_to(accepted, "int32"), axis=0)
    first = reshape_to(apply("take_along_axis", value, expand(chosen, 0), axis=0), shape)
    result = apply("mul", first, d)
    boost = apply(
        "exp", apply("div", apply("log", _open_unit(k_boost, shape)), select(small, alpha, full_of((), 1.0, "float32")))
    )
    return select(small, apply("mul", result, boost), result)


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Gamma numbers of shape parameter alpha and scale 1."""
    wanted = _float_dtype(dtype, "gamma")
    return cast_to(_gamma(draw_seed(seed), static_shape(shape, "gamma"), to_tensor(alpha, "float32")), wanted)


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Beta numbers: of two gamma numbers the first divided by the sum."""
    wanted = _float_dtype(dtype, "beta")
    a, b = to_tensor(alpha, "float32"), to_tensor(beta, "float32")
    return cast_to(_beta(draw_seed(seed), static_shape(shape, "beta"), a, b), wanted)


def _beta(key: Tensor, shape: tuple[int, ...], a: Tensor, b: Tensor) -> Tensor:
    first, second = _keys(key, 2)
    x, y = _gamma(first, shape, a), _gamma(second, shape, b)
    return apply("div", x, apply("maximum", apply("add", x, y), 1e-37))


_FEW = 16  # trials that are drawn one by one


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Number of successes in `counts` trials of the given probability.

    Many trials are halved by their order statistics: the middle one of n uniform numbers is beta distributed and
    tells how many lie below p (Devroye, Non-Uniform Random Variate Generation, X.4).
    """
    wanted = _float_dtype(dtype, "binomial")
    dims = static_shape(shape, "binomial")
    n, p = promote(counts, probabilities, also="float32")
    n, p = broadcast(cast_to(n, "float32"), dims), broadcast(cast_to(p, "float32"), dims)
    known = concrete(to_tensor(counts))
    most = float(known.max()) if known is not None and known.size else 2.0**24
    rounds = builtins.max(0, math.ceil(math.log2(builtins.max(most, 1.0) / _FEW)))
    *split, last = _keys(draw_seed(seed), rounds + 1)
    total = full_of(dims, 0.0, "float32")
    for key in split:
        total, n, p = _halved(key, dims, total, n, p)
    u = _open_unit(last, (_FEW, *dims))
    place = reshape_to(iota(_FEW, "float32"), (_FEW, *(1,) * len(dims)))
    hits = apply("and", apply("lt", u, p), apply("lt", place, n))
    return cast_to(apply("add", total, reduce("reduce_sum", cast_to(hits, "float32"), (0,))), wanted)


def _halved(key: Tensor, shape: tuple[int, ...], total: Tensor, n: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One round: the middle of n uniform numbers is drawn, and only one side of it is still open."""
    middle = apply("add", apply("floor", apply("mul", n, 0.5)), 1.0)
    rest = apply("sub", apply("add", n, 1.0), middle)
    x = _beta(key, shape, apply("maximum", middle, 1.0), apply("maximum", rest, 1.0))
    x = apply("minimum", apply("maximum", x, 1e-7), 1.0 - 1e-7)
    below = apply("le", p, x)  # the middle one is above p: so are all after it
    open_n = select(below, apply("sub", middle, 1.0), apply("sub", n, middle))
    open_p = select(below, apply("div", p, x), apply("div", apply("sub", p, x), apply("sub", 1.0, x)))
    found = select(below, total, apply("add", total, middle))
    active = apply("gt", n, float(_FEW))
    return select(active, found, total), select(active, open_n, n), select(active, open_p, p)
