"""Complex numbers."""

from __future__ import annotations

from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    COMPLEX,
    apply,
    concat,
    expand,
    floating,
    full_of,
    part,
    promote,
    reshape_to,
    to_tensor,
)


@keras_op
def real(x: Any) -> Any:
    """Real part."""
    x = to_tensor(x)
    return apply("real", x) if x.dtype in COMPLEX else x


@keras_op
def imag(x: Any) -> Any:
    """Imaginary part (zeros for real numbers)."""
    x = to_tensor(x)
    return apply("imag", x) if x.dtype in COMPLEX else full_of(x.shape, 0, x.dtype)


@keras_op
def conjugate(x: Any) -> Any:
    """Complex conjugate."""
    x = to_tensor(x)
    return apply("conj", x) if x.dtype in COMPLEX else x


@keras_op
def conj(x: Any) -> Any:
    """Complex conjugate."""
    return conjugate(x)


@keras_op
def angle(x: Any) -> Any:
    """Angle of a complex number in radians; 0 or pi for real ones."""
    x = to_tensor(x)
    if x.dtype in COMPLEX:
        return apply("atan2", apply("imag", x), apply("real", x))
    x = floating(x)
    return apply("atan2", full_of((), 0.0, x.dtype), x)


@keras_op
def polar(abs_: Any, angle: Any) -> Any:
    """Complex numbers from modulus and angle (radians)."""
    r, phi = promote(abs_, angle, also="float32")
    return apply("complex", apply("mul", r, apply("cos", phi)), apply("mul", r, apply("sin", phi)))


@keras_op
def view_as_complex(x: Any) -> Any:
    """Complex numbers from (..., 2) pairs of real and imaginary parts."""
    x = to_tensor(x)
    if not x.shape or x.shape[-1] != 2:
        raise ValueError(
            f"view_as_complex: Last dimension of input must be size 2 (real, imaginary); received shape {x.shape}"
        )
    axis = len(x.shape) - 1
    re, im = (reshape_to(part(x, axis, i, i + 1), x.shape[:-1]) for i in (0, 1))
    return apply("complex", re, im)


@keras_op
def view_as_real(x: Any) -> Any:
    """(..., 2) pairs of real and imaginary parts."""
    x = to_tensor(x)
    rank = len(x.shape)
    re = apply("real", x) if x.dtype in COMPLEX else x
    im = apply("imag", x) if x.dtype in COMPLEX else full_of(x.shape, 0, x.dtype)
    return concat([expand(re, rank), expand(im, rank)], rank)
