"""Colours, blur, edges, similarity of images."""

from __future__ import annotations

import math
from typing import Any

from graphkeras.core.config import standardize_data_format
from graphkeras.core.operation import keras_op
from graphkeras.ops.base import (
    FLOATS,
    Tensor,
    apply,
    broadcast,
    cast_to,
    concat,
    expand,
    float_dtype,
    floating,
    full_of,
    iota,
    part,
    permute,
    reduce,
    reshape_to,
    select,
    to_tensor,
)
from graphkeras.ops.resample import as_batch, from_batch


def _planes(images: Any, data_format: Any, op: str) -> tuple[list[Tensor], int]:
    """The three colour planes (the channel axis kept as 1), and that axis."""
    layout = standardize_data_format(data_format)
    x = to_tensor(images)
    rank = len(x.shape)
    if rank not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={x.shape}"
        )
    if x.dtype not in FLOATS:
        raise ValueError(f"Invalid images dtype: expected float dtype. Received: images.dtype={x.dtype} in {op}")
    axis = rank - 1 if layout == "channels_last" else rank - 3
    if x.shape[axis] != 3:
        raise ValueError(f"{op}: three channels are expected; received shape {x.shape} with data_format={layout!r}")
    return [part(x, axis, i, i + 1) for i in range(3)], axis


@keras_op
def rgb_to_grayscale(images: Any, data_format: Any = None) -> Any:
    """One channel of brightness: 0.2989 R + 0.5870 G + 0.1140 B (ITU-R BT.601)."""
    layout = standardize_data_format(data_format)
    x = to_tensor(images)
    rank = len(x.shape)
    if rank not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={x.shape}"
        )
    axis = rank - 1 if layout == "channels_last" else rank - 3
    if x.shape[axis] not in (1, 3):
        raise ValueError(
            "Invalid channel size: expected 3 (RGB) or 1 (Grayscale). "
            f"Received input with shape: images.shape={x.shape}"
        )
    if x.shape[axis] == 1:
        return x
    wide = cast_to(x, float_dtype(x.dtype))
    planes = [apply("mul", part(wide, axis, i, i + 1), c) for i, c in enumerate((0.2989, 0.5870, 0.1140))]
    return cast_to(apply("add", apply("add", planes[0], planes[1]), planes[2]), x.dtype)


@keras_op
def rgb_to_hsv(images: Any, data_format: Any = None) -> Any:
    """Hue (0 to 1), saturation and value of colours in [0, 1] (Smith, 1978)."""
    (r, g, b), axis = _planes(images, data_format, "rgb_to_hsv")
    value = apply("maximum", apply("maximum", r, g), b)
    spread = apply("sub", value, apply("minimum", apply("minimum", r, g), b))
    zero, one = full_of((), 0.0, r.dtype), full_of((), 1.0, r.dtype)
    bright, coloured = apply("gt", value, 0.0), apply("gt", spread, 0.0)
    saturation = select(bright, apply("div", spread, select(bright, value, one)), zero)
    sixth = apply("div", 1.0 / 6.0, select(coloured, spread, one))

    def sector(first: Tensor, second: Tensor, offset: float) -> Tensor:
        return apply("add", apply("mul", sixth, apply("sub", first, second)), offset)

    hue = select(apply("eq", g, value), sector(b, r, 2.0 / 6.0), sector(r, g, 4.0 / 6.0))
    hue = select(apply("eq", r, value), sector(g, b, 0.0), hue)
    hue = select(coloured, hue, zero)
    hue = select(apply("lt", hue, 0.0), apply("add", hue, 1.0), hue)
    return concat([hue, saturation, value], axis)


@keras_op
def hsv_to_rgb(images: Any, data_format: Any = None) -> Any:
    """Colours in [0, 1] from hue (0 to 1), saturation and value (Smith, 1978)."""
    (hue, saturation, value), axis = _planes(images, data_format, "hsv_to_rgb")
    turn = apply("mul", apply("mod", hue, 1.0), 6.0)
    limited = [
        apply("sub", apply("abs", apply("sub", turn, 3.0)), 1.0),
        apply("sub", 2.0, apply("abs", apply("sub", turn, 2.0))),
        apply("sub", 2.0, apply("abs", apply("sub", turn, 4.0))),
    ]
    rest = apply("sub", 1.0, saturation)
    planes = []
    for x in limited:
        pure = apply("minimum", apply("maximum", x, 0.0), 1.0)
        planes.append(apply("mul", apply("add", rest, apply("mul", saturation, pure)), value))
    return concat(planes, axis)


def _filtered(x: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """(N, H, W, C) with every channel convolved by one (h, w) kernel."""
    from graphkeras.ops.convolution import _depthwise

    h, w = kernel.shape
    weights = broadcast(reshape_to(kernel, (h, w, 1, 1)), (h, w, x.shape[-1], 1))
    return _depthwise(x, weights, 1, padding, 1, "filter")


def _bell(size: int, sigma: Any, dtype: str) -> Tensor:
    """A normalised Gaussian of `size` points."""
    x = apply("sub", iota(size, dtype), (size - 1) / 2.0)
    ratio = apply("div", x, to_tensor(sigma, dtype))
    values = apply("exp", apply("mul", apply("mul", ratio, ratio), -0.5))
    return apply("div", values, reduce("reduce_sum", values, (0,), True))


@keras_op
def gaussian_blur(images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0), data_format: Any = None) -> Any:
    """Images averaged with Gaussian weights; kernel_size and sigma are (x, y) pairs; zeros lie outside."""
    x, single, layout = as_batch(images, data_format, "gaussian_blur")
    wide = floating(x)
    sigmas = to_tensor(sigma, wide.dtype)
    first, second = (reshape_to(part(sigmas, 0, i, i + 1), ()) for i in (0, 1))
    across, down = _bell(int(kernel_size[0]), first, wide.dtype), _bell(int(kernel_size[1]), second, wide.dtype)
    kernel = apply("mul", expand(down, 1), expand(across, 0))
    return from_batch(cast_to(_filtered(wide, kernel, "same"), x.dtype), single, layout)


@keras_op
def sobel_edges(images: Any, data_format: Any = None) -> Any:
    """Slopes of brightness in a new last axis: downwards, then to the right; zeros lie outside."""
    x, single, layout = as_batch(images, data_format, "sobel_edges")
    dtype = x.dtype
    wide = floating(x)
    right = to_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], wide.dtype)
    slopes = [_filtered(wide, permute(right, perm), "same") for perm in ((1, 0), (0, 1))]
    found = [from_batch(cast_to(s, dtype), single, layout) for s in slopes]
    rank = len(found[0].shape)
    return concat([expand(f, rank) for f in found], rank)


@keras_op
def ssim(
    image1: Any,
    image2: Any,
    max_val: float = 1.0,
    filter_size: int = 11,
    filter_sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    data_format: Any = None,
) -> Any:
    """Structural similarity of two images or batches, 1 for equal ones (Wang et al., 2004)."""
    a, single, _ = as_batch(image1, data_format, "ssim")
    b, _, _ = as_batch(image2, data_format, "ssim")
    dtype = a.dtype
    a, b = floating(a), cast_to(floating(b), float_dtype(dtype))
    bell = _bell(int(filter_size), filter_sigma, a.dtype)
    kernel = apply("mul", expand(bell, 1), expand(bell, 0))

    def local(x: Tensor, y: Tensor | None = None) -> Tensor:
        return _filtered(x if y is None else apply("mul", x, y), kernel, "valid")

    mean_a, mean_b = local(a), local(b)
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    aa, bb, ab = apply("mul", mean_a, mean_a), apply("mul", mean_b, mean_b), apply("mul", mean_a, mean_b)
    spread = apply("add", apply("sub", local(a, a), aa), apply("sub", local(b, b), bb))
    shared = apply("sub", local(a, b), ab)
    top = apply("mul", apply("add", apply("mul", ab, 2.0), c1), apply("add", apply("mul", shared, 2.0), c2))
    bottom = apply("mul", apply("add", apply("add", aa, bb), c1), apply("add", spread, c2))
    ratio = apply("div", top, bottom)
    mean = apply("mul", reduce("reduce_sum", ratio, (1, 2, 3)), 1.0 / max(math.prod(ratio.shape[1:]), 1))
    return cast_to(reshape_to(mean, ()) if single else mean, dtype)
