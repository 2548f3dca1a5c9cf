"""Windows as data: unfold and fold, space to depth, patches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras.core.config import standardize_data_format
from graphkeras.core.operation import keras_op
from graphkeras.ops.base import Tensor, apply, full_of, permute, reshape_to, to_tensor
from graphkeras.ops.convolution import from_last, spatial, to_last, window_padding


def _pair(value: Any, name: str, op: str, low: int = 1) -> tuple[int, int]:
    found = (value, value) if isinstance(value, int) else tuple(value)
    if len(found) != 2 or any(v < low for v in found):
        raise ValueError(f"{op}: argument `{name}` must be an int of at least {low} or two of them; received {value}")
    return found  # type: ignore[return-value]


def _places(n: int, kernel: int, dilation: int, padding: int, stride: int) -> np.ndarray:
    """(windows, kernel) positions in the padded axis."""
    count = (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return np.arange(count)[:, None] * stride + np.arange(kernel) * dilation


@keras_op
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Windows of an image (N, C, H, W) as columns (N, C * kernel elements, windows), as torch's unfold."""
    x = to_tensor(x)
    k, d = _pair(kernel_size, "kernel_size", "unfold"), _pair(dilation, "dilation", "unfold")
    p, s = _pair(padding, "padding", "unfold", 0), _pair(stride, "stride", "unfold")
    n, c, h, w = x.shape
    rows, columns = (_places(size, k[i], d[i], p[i], s[i]) for i, size in enumerate((h, w)))
    x = apply("pad", x, low=(0, 0, *p), high=(0, 0, *p), interior=(0,) * 4, value=0)
    x = apply("take", x, to_tensor(rows.astype("int32")), axis=2, mode="clip")  # N C oh kh W
    x = apply("take", x, to_tensor(columns.astype("int32")), axis=4, mode="clip")  # N C oh kh ow kw
    x = permute(x, (0, 1, 3, 5, 2, 4))
    return reshape_to(x, (n, c * k[0] * k[1], rows.shape[0] * columns.shape[0]))


@keras_op
def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Columns (N, C * kernel elements, windows) added up as an image (N, C, H, W): the transpose of `unfold`."""
    x = to_tensor(x)
    size = _pair(output_size, "output_size", "fold")
    k, d = _pair(kernel_size, "kernel_size", "fold"), _pair(dilation, "dilation", "fold")
    p, s = _pair(padding, "padding", "fold", 0), _pair(stride, "stride", "fold")
    rows, columns = (_places(size[i], k[i], d[i], p[i], s[i]) for i in (0, 1))
    if len(x.shape) != 3:
        raise ValueError(
            f"fold: argument `x` must be a 3D tensor (N, C * kernel elements, windows); received shape {x.shape}"
        )
    n, width, windows = x.shape
    if width % (k[0] * k[1]) or windows != rows.shape[0] * columns.shape[0]:
        raise ValueError(
            f"fold: argument `x` must have shape (N, C * {k[0] * k[1]}, {rows.shape[0] * columns.shape[0]}) for "
            f"output_size={size}, kernel_size={k}; received {x.shape}"
        )
    c = width // (k[0] * k[1])
    high, wide = size[0] + 2 * p[0], size[1] + 2 * p[1]
    flat = rows[:, :, None, None] * wide + columns[None, None]  # oh kh ow kw
    where = flat.transpose(1, 3, 0, 2).reshape(-1).astype("int32")  # kh kw oh ow
    zeros = full_of((n, c, high * wide), 0, x.dtype)
    image = apply("scatter", zeros, to_tensor(where), reshape_to(x, (n, c, where.size)), axis=2, combine="add")
    image = reshape_to(image, (n, c, high, wide))
    stop = (n, c, p[0] + size[0], p[1] + size[1])
    return apply("slice", image, start=(0, 0, *p), stop=stop, step=(1,) * 4)


def _block(x: Any, block_size: int, data_format: Any, op: str) -> tuple[Tensor, int, str]:
    layout = standardize_data_format(data_format)
    image = to_tensor(x)
    if len(image.shape) != 4:
        raise ValueError(f"{op}: argument `x` must have 4 dimensions; received shape {image.shape}")
    if not isinstance(block_size, int) or block_size < 2:
        raise ValueError(f"{op}: argument `block_size` must be at least 2; received {block_size}")
    return image, block_size, layout


@keras_op
def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Channels become blocks of pixels: (N, H, W, C * b * b) to (N, H * b, W * b, C)."""
    image, b, layout = _block(x, block_size, data_format, "depth_to_space")
    last = layout == "channels_last"
    n, h, w, c = image.shape if last else (image.shape[0], *image.shape[2:], image.shape[1])
    if c % (b * b):
        raise ValueError(
            f"depth_to_space: the channels must be divisible by block_size**2; received {c} and block_size={b}"
        )
    d = c // (b * b)
    if last:
        image = permute(reshape_to(image, (n, h, w, b, b, d)), (0, 1, 3, 2, 4, 5))
        return reshape_to(image, (n, h * b, w * b, d))
    image = permute(reshape_to(image, (n, b, b, d, h, w)), (0, 3, 4, 1, 5, 2))
    return reshape_to(image, (n, d, h * b, w * b))


@keras_op
def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Blocks of pixels become channels: (N, H, W, C) to (N, H / b, W / b, C * b * b)."""
    image, b, layout = _block(x, block_size, data_format, "space_to_depth")
    last = layout == "channels_last"
    n, h, w, c = image.shape if last else (image.shape[0], *image.shape[2:], image.shape[1])
    if h % b or w % b:
        raise ValueError(
            f"space_to_depth: height and width must be divisible by block_size; received {h}x{w} and block_size={b}"
        )
    if last:
        image = permute(reshape_to(image, (n, h // b, b, w // b, b, c)), (0, 1, 3, 2, 4, 5))
        return reshape_to(image, (n, h // b, w // b, b * b * c))
    image = permute(reshape_to(image, (n, c, h // b, b, w // b, b)), (0, 3, 5, 1, 2, 4))
    return reshape_to(image, (n, b * b * c, h // b, w // b))


def patches(
    x: Tensor, size: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...], padding: str, op: str
) -> Tensor:
    """(N, spatial..., C) to (N, windows..., kernel elements * C)."""
    rank = len(size)
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    pads = window_padding(padding, x.shape[1:-1], reach, strides, op)
    low, high = tuple(p[0] for p in pads), tuple(p[1] for p in pads)
    if any(low) or any(high):
        x = apply("pad", x, low=(0, *low, 0), high=(0, *high, 0), interior=(0,) * (rank + 2), value=0)
    n, channels = x.shape[0], x.shape[-1]
    counts = [(x.shape[i + 1] - reach[i]) // strides[i] + 1 for i in range(rank)]
    for i in range(rank):  # each spatial axis becomes (windows, kernel)
        where = np.arange(counts[i])[:, None] * strides[i] + np.arange(size[i]) * dilation[i]
        x = apply("take", x, to_tensor(where.astype("int32")), axis=1 + 2 * i, mode="clip")
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return reshape_to(permute(x, order), (n, *counts, math.prod(size) * channels))


def _extract(
    images: Any, size: Any, strides: Any, dilation: Any, padding: str, data_format: Any, rank: int, op: str
) -> Tensor:
    layout = standardize_data_format(data_format)
    window = spatial(size, rank, "size", op)
    steps = window if strides is None else spatial(strides, rank, "strides", op)
    gaps = spatial(dilation, rank, "dilation_rate", op)
    x = to_tensor(images)
    if len(x.shape) not in (rank + 1, rank + 2):
        raise ValueError(
            f"{op}: argument `images` must have {rank + 1} or {rank + 2} dimensions; received shape {x.shape}"
        )
    single = len(x.shape) == rank + 1
    x = to_last(reshape_to(x, (1, *x.shape)) if single else x, layout)
    found = from_last(patches(x, window, steps, gaps, padding, op), layout)
    return reshape_to(found, found.shape[1:]) if single else found


@keras_op
def extract_patches(
    images: Any, size: Any, strides: Any = None, dilation_rate: Any = 1, padding: str = "valid", data_format: Any = None
) -> Any:
    """Windows of images (N, H, W, C), or of one, as (N, rows, columns, size elements * C)."""
    if not isinstance(size, int) and len(size) == 3:
        return _extract(images, size, strides, dilation_rate, padding, data_format, 3, "extract_patches")
    return _extract(images, size, strides, dilation_rate, padding, data_format, 2, "extract_patches")


@keras_op
def extract_patches_3d(
    volumes: Any,
    size: Any,
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
) -> Any:
    """Windows of volumes (N, D, H, W, C) or one volume, as (N, d, h, w, size elements * C)."""
    return _extract(volumes, size, strides, dilation_rate, padding, data_format, 3, "extract_patches_3d")


@keras_op
def reconstruct_patches(
    patches: Any, size: Any, output_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """Images from their patches (see `extract_patches`); overlapping ones are averaged."""
    op = "reconstruct_patches"
    layout = standardize_data_format(data_format)
    x = to_tensor(patches)
    single = len(x.shape) == 3
    x = to_last(reshape_to(x, (1, *x.shape)) if single else x, layout)
    window, target = spatial(size, 2, "size", op), spatial(output_size, 2, "output_size", op)
    steps = window if strides is None else spatial(strides, 2, "strides", op)
    pads = window_padding(padding, target, window, steps, op)
    n, rows, columns, depth = x.shape
    channels = depth // math.prod(window)
    high, wide = (t + lo + hi for t, (lo, hi) in zip(target, pads, strict=True))
    row = np.arange(rows)[:, None] * steps[0] + np.arange(window[0])
    column = np.arange(columns)[:, None] * steps[1] + np.arange(window[1])
    where = (row[:, None, :, None] * wide + column[None, :, None, :]).reshape(-1).astype("int32")
    values = reshape_to(x, (n, where.size, channels))
    total = apply(
        "scatter", full_of((n, high * wide, channels), 0, x.dtype), to_tensor(where), values, axis=1, combine="add"
    )
    counts = np.maximum(np.bincount(where, minlength=high * wide), 1)[None, :, None]
    image = reshape_to(apply("div", total, to_tensor(counts, x.dtype)), (n, high, wide, channels))
    start = (0, pads[0][0], pads[1][0], 0)
    image = apply(
        "slice", image, start=start, stop=(n, start[1] + target[0], start[2] + target[1], channels), step=(1,) * 4
    )
    image = from_last(image, layout)
    return reshape_to(image, image.shape[1:]) if single else image
