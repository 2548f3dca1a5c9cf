"""Images of other sizes: resize, scale and translate, crop, pad."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.core.config import standardize_data_format
from graphkeras.core.operation import keras_op
from graphkeras.core.trace import eager
from graphkeras.ops.base import (
    FLOATS,
    HALF,
    Tensor,
    apply,
    cast_to,
    dot_general,
    expand,
    floating,
    full_of,
    iota,
    permute,
    reduce,
    reshape_to,
    select,
    to_tensor,
)

INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")


def as_batch(images: Any, data_format: Any, op: str) -> tuple[Tensor, bool, str]:
    """(batch, height, width, channels), whether there was one image only, and the data format."""
    layout = standardize_data_format(data_format)
    x = to_tensor(images)
    if len(x.shape) not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={x.shape} in {op}"
        )
    single = len(x.shape) == 3
    x = expand(x, 0) if single else x
    return (x if layout == "channels_last" else permute(x, (0, 2, 3, 1))), single, layout


def from_batch(x: Tensor, single: bool, layout: str) -> Tensor:
    x = x if layout == "channels_last" else permute(x, (0, 3, 1, 2))
    return reshape_to(x, x.shape[1:]) if single else x


# -- kernels (of the distance to a sample, in samples) -----------------------------------------------
def _triangle(x: Tensor) -> Tensor:
    return apply("maximum", apply("sub", 1.0, x), 0.0)


def _keys_cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -1/2 (Keys, 1981)."""
    near = _horner(x, (1.0, 0.0, -2.5, 1.5))
    far = _horner(x, (2.0, -4.0, 2.5, -0.5))
    zero = full_of((), 0.0, x.dtype)
    return select(apply("lt", x, 1.0), near, select(apply("lt", x, 2.0), far, zero))


def _horner(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    total = apply("add", apply("mul", x, 0.0), coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = apply("add", apply("mul", total, x), c)
    return total


def _lanczos(radius: float) -> Callable[[Tensor], Tensor]:
    def kernel(x: Tensor) -> Tensor:
        zero = apply("le", x, 1e-3)
        safe = select(zero, full_of((), 1.0, x.dtype), x)
        wave = apply(
            "mul", apply("sin", apply("mul", safe, math.pi)), apply("sin", apply("mul", safe, math.pi / radius))
        )
        value = apply("div", apply("mul", wave, radius), apply("mul", apply("mul", safe, safe), math.pi**2))
        inside = apply("le", x, radius)
        return select(zero, full_of((), 1.0, x.dtype), select(inside, value, full_of((), 0.0, x.dtype)))

    return kernel


_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "bilinear": _triangle,
    "linear": _triangle,
    "trilinear": _triangle,
    "triangle": _triangle,
    "bicubic": _keys_cubic,
    "cubic": _keys_cubic,
    "tricubic": _keys_cubic,
    "lanczos3": _lanczos(3.0),
    "lanczos5": _lanczos(5.0),
}


def _weights(n: int, m: int, scale: Tensor, shift: Tensor, method: str, antialias: bool) -> Tensor:
    """(n, m): how much each of n samples counts in each of m results, which lie at (i + 1/2 - shift) / scale - 1/2."""
    inverse = apply("div", 1.0, scale)
    width = apply("maximum", inverse, 1.0) if antialias else full_of((), 1.0, "float32")
    place = apply("add", iota(m, "float32"), 0.5)
    place = apply("sub", apply("sub", apply("mul", place, inverse), apply("mul", shift, inverse)), 0.5)
    distance = apply("abs", apply("sub", expand(place, 0), expand(iota(n, "float32"), 1)))
    weights = _KERNELS[method](apply("div", distance, width))
    total = reduce("reduce_sum", weights, (0,), True)
    usable = apply("gt", apply("abs", total), 1e-4)
    weights = apply("div", weights, select(usable, total, full_of((), 1.0, "float32")))
    inside = apply("and", apply("ge", place, -0.5), apply("le", place, n - 0.5))
    keep = apply("and", usable, expand(inside, 0))
    return select(apply("broadcast_to", keep, shape=(n, m)), weights, full_of((), 0.0, "float32"))


def _mixed(x: Tensor, axis: int, weights: Tensor) -> Tensor:
    """x's axis replaced by its weighted sums."""
    moved = dot_general(x, weights, ((axis,), (0,)))
    rank = len(x.shape)
    return permute(moved, (*range(axis), rank - 1, *range(axis, rank - 1)))


def resized(x: Tensor, size: tuple[int, int], method: str, antialias: bool) -> Tensor:
    """(batch, height, width, channels) to another height and width."""
    if method == "nearest":
        for axis, m in zip((1, 2), size, strict=True):
            n = x.shape[axis]
            where = np.floor((np.arange(m) + 0.5) * (n / m)).astype("int32")
            x = x if n == m else apply("take", x, to_tensor(where), axis=axis, mode="clip")
        return x
    wide = cast_to(x, "float32") if x.dtype in HALF or x.dtype not in FLOATS else x
    for axis, m in zip((1, 2), size, strict=True):
        n = x.shape[axis]
        if n == m:
            continue
        with eager():
            weights = _weights(n, m, to_tensor(m / n, "float32"), to_tensor(0.0), method, antialias)
        wide = _mixed(wide, axis, cast_to(weights, wide.dtype))
    return wide if x.dtype not in FLOATS else cast_to(wide, x.dtype)


@keras_op
def resize(
    images: Any,
    size: Any,
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: Any = None,
) -> Any:
    """Images (N, H, W, C), or one image, in another size (height, width).

    crop_to_aspect_ratio, pad_to_aspect_ratio: cut or fill first, so that nothing is stretched.

    >>> from graphkeras import ops
    >>> ops.image.resize(ops.ones((2, 4, 4, 3)), (8, 2)).shape
    (2, 8, 2, 3)
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"Invalid value for argument `interpolation`. Expected of one {INTERPOLATIONS}. "
            f"Received: interpolation={interpolation}"
        )
    if fill_mode != "constant":
        raise ValueError(
            f"Invalid value for argument `fill_mode`. Only `'constant'` is supported. Received: fill_mode={fill_mode}"
        )
    if pad_to_aspect_ratio and crop_to_aspect_ratio:
        raise ValueError("Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`.")
    if len(size) != 2:
        raise ValueError(f"Argument `size` must be a tuple of two elements (height, width). Received: size={size}")
    target = (int(size[0]), int(size[1]))
    x, single, layout = as_batch(images, data_format, "resize")
    if crop_to_aspect_ratio:
        x = _cropped_to_ratio(x, target)
    elif pad_to_aspect_ratio:
        x = _padded_to_ratio(x, target, fill_value)
    return from_batch(resized(x, target, interpolation, antialias), single, layout)


def _cropped_to_ratio(x: Tensor, target: tuple[int, int]) -> Tensor:
    """The largest middle part with the target's ratio of sides."""
    n, h, w, c = x.shape
    high = max(1, min(h, int(w * target[0] / target[1])))
    wide = max(1, min(w, int(h * target[1] / target[0])))
    top, left = (h - high) // 2, (w - wide) // 2
    return apply("slice", x, start=(0, top, left, 0), stop=(n, top + high, left + wide, c), step=(1, 1, 1, 1))


def _padded_to_ratio(x: Tensor, target: tuple[int, int], value: float) -> Tensor:
    """The image in the middle of the smallest frame with the target's ratio of sides."""
    _, h, w, _ = x.shape
    high, wide = max(h, int(w * target[0] / target[1])), max(w, int(h * target[1] / target[0]))
    top, left = (high - h) // 2, (wide - w) // 2
    ends = (0, high - h - top, wide - w - left, 0)
    fill = value if x.dtype in FLOATS else int(value)
    return apply("pad", x, low=(0, top, left, 0), high=ends, interior=(0,) * 4, value=fill)


@keras_op
def scale_and_translate(
    images: Any, output_shape: Any, scale: Any, translation: Any, spatial_dims: Any, method: str, antialias: bool = True
) -> Any:
    """Images resampled so that point p lands on `p * scale + translation` along each of `spatial_dims`."""
    if method not in _KERNELS:
        raise ValueError(
            f"Invalid value for argument `method`. Expected of one {tuple(_KERNELS)}. Received: method={method}"
        )
    x = floating(images)
    scales, shifts = to_tensor(scale, "float32"), to_tensor(translation, "float32")
    for i, dim in enumerate(spatial_dims):
        axis = dim % len(x.shape)
        one, shift = (reshape_to(apply("slice", v, start=(i,), stop=(i + 1,), step=(1,)), ()) for v in (scales, shifts))
        weights = _weights(x.shape[axis], int(output_shape[axis]), one, shift, method, antialias)
        x = _mixed(x, axis, cast_to(weights, x.dtype))
    return x


# -- crop and pad ------------------------------------------------------------------------------------
def _three_of(names: tuple[str, str, str], values: tuple[Any, Any, Any]) -> None:
    if sum(v is None for v in values) != 1:
        raise ValueError(
            f"Must specify exactly two of {', '.join(names)}. "
            f"Received: {', '.join(f'{n}={v}' for n, v in zip(names, values, strict=True))}"
        )


def _margins(before: Any, after: Any, target: Any, size: int, sign: int, names: tuple[str, str]) -> tuple[int, int]:
    """Both margins of one axis from any two of margins and target; sign 1 pads, -1 crops."""
    total = None if target is None else sign * (target - size)
    first = total - after if before is None else before
    last = total - before if after is None else after
    for name, v in zip(names, (first, last), strict=True):
        if v < 0:
            raise ValueError(f"{name} must be >= 0. Received: {name}={v}")
    return first, last


@keras_op
def pad_images(
    images: Any,
    top_padding: Any = None,
    left_padding: Any = None,
    bottom_padding: Any = None,
    right_padding: Any = None,
    target_height: Any = None,
    target_width: Any = None,
    data_format: Any = None,
) -> Any:
    """Zeros around images; of before, after and target size give two per axis."""
    x, single, layout = as_batch(images, data_format, "pad_images")
    _three_of(("top_padding", "bottom_padding", "target_height"), (top_padding, bottom_padding, target_height))
    _three_of(("left_padding", "right_padding", "target_width"), (left_padding, right_padding, target_width))
    top, bottom = _margins(top_padding, bottom_padding, target_height, x.shape[1], 1, ("top_padding", "bottom_padding"))
    left, right = _margins(left_padding, right_padding, target_width, x.shape[2], 1, ("left_padding", "right_padding"))
    x = apply("pad", x, low=(0, top, left, 0), high=(0, bottom, right, 0), interior=(0,) * 4, value=0)
    return from_batch(x, single, layout)


@keras_op
def crop_images(
    images: Any,
    top_cropping: Any = None,
    left_cropping: Any = None,
    bottom_cropping: Any = None,
    right_cropping: Any = None,
    target_height: Any = None,
    target_width: Any = None,
    data_format: Any = None,
) -> Any:
    """A part of images; of before, after and target size give two per axis."""
    x, single, layout = as_batch(images, data_format, "crop_images")
    _three_of(("top_cropping", "bottom_cropping", "target_height"), (top_cropping, bottom_cropping, target_height))
    _three_of(("left_cropping", "right_cropping", "target_width"), (left_cropping, right_cropping, target_width))
    n, h, w, c = x.shape
    top, bottom = _margins(top_cropping, bottom_cropping, target_height, h, -1, ("top_cropping", "bottom_cropping"))
    left, right = _margins(left_cropping, right_cropping, target_width, w, -1, ("left_cropping", "right_cropping"))
    if top + bottom >= h or left + right >= w:
        raise ValueError(
            "crop_images: at least one row and one column must be left; received "
            f"top={top}, bottom={bottom}, left={left}, right={right} for images of {h}x{w}"
        )
    x = apply("slice", x, start=(0, top, left, 0), stop=(n, h - bottom, w - right, c), step=(1, 1, 1, 1))
    return from_batch(x, single, layout)
