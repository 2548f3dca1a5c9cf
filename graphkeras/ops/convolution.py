"""Convolutions of any rank, either data format."""

from __future__ import annotations

from typing import Any

from graphkeras.core.config import standardize_data_format
from graphkeras.core.operation import keras_op
from graphkeras.ops.base import Tensor, apply, floating, permute, promote, reshape_to, result_type, to_tensor


def spatial(value: Any, rank: int, name: str, op: str) -> tuple[int, ...]:
    """One int per spatial axis."""
    found = (int(value),) * rank if isinstance(value, int) else tuple(int(v) for v in value)
    if len(found) != rank or any(v < 1 for v in found):
        raise ValueError(f"{op}: argument `{name}` must be a positive int or {rank} of them; received {value}")
    return found


def to_last(x: Tensor, data_format: str) -> Tensor:
    """Channels moved to the end."""
    rank = len(x.shape)
    return x if data_format == "channels_last" else permute(x, (0, *range(2, rank), 1))


def from_last(x: Tensor, data_format: str) -> Tensor:
    rank = len(x.shape)
    return x if data_format == "channels_last" else permute(x, (0, rank - 1, *range(1, rank - 1)))


def window_padding(
    padding: str, sizes: tuple[int, ...], windows: tuple[int, ...], strides: tuple[int, ...], op: str
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each spatial axis. "same": ceil(n / stride) results, the odd zero at the end."""
    mode = padding.lower() if isinstance(padding, str) else padding
    if mode == "valid":
        for n, w in zip(sizes, windows, strict=True):
            if w > n:
                raise ValueError(
                    f"Computed output size would be zero or negative. {op}: a window of {windows} does not fit in an "
                    f"input of {sizes} with padding='valid'. Use padding='same', a smaller kernel, or a larger input"
                )
        return ((0, 0),) * len(sizes)
    if mode == "causal" and len(sizes) == 1:
        return ((windows[0] - 1, 0),)
    if mode != "same":
        raise ValueError(f"{op}: argument `padding` must be 'valid' or 'same'; received {padding!r}")
    found = []
    for n, w, s in zip(sizes, windows, strides, strict=True):
        total = max((-(-n // s) - 1) * s + w - n, 0)
        found.append((total // 2, total - total // 2))
    return tuple(found)


def _prepared(inputs: Any, kernel: Any, data_format: Any, op: str) -> tuple[Tensor, Tensor, str, int]:
    layout = standardize_data_format(data_format)
    x, w = promote(inputs, kernel)
    if x.dtype != result_type(x.dtype, float):
        x, w = floating(x), floating(w)
    rank = len(x.shape) - 2
    if rank < 1 or len(w.shape) != rank + 2:
        raise ValueError(
            f"{op}: inputs (batch, spatial..., channels) and kernel (spatial..., in, out) must have one rank, 3 to "
            f"5; received shapes {x.shape} and {w.shape}"
        )
    return to_last(x, layout), w, layout, rank


def _conv(x: Tensor, w: Tensor, strides: Any, padding: str, dilation: Any, groups: int, op: str) -> Tensor:
    rank = len(x.shape) - 2
    steps, gaps = spatial(strides, rank, "strides", op), spatial(dilation, rank, "dilation_rate", op)
    reach = tuple((k - 1) * d + 1 for k, d in zip(w.shape[:rank], gaps, strict=True))
    pads = window_padding(padding, x.shape[1:-1], reach, steps, op)
    return apply("conv", x, w, strides=steps, padding=pads, dilation=gaps, groups=groups)


@keras_op
def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Convolution over 1 to 3 spatial axes (a cross-correlation, as in all deep-learning libraries).

    inputs: (batch, spatial..., channels), or channels second with data_format="channels_first".
    kernel: (spatial..., channels / groups, filters); fewer channels than the inputs have mean groups.

    >>> from graphkeras import ops
    >>> ops.conv(ops.ones((1, 5, 5, 3)), ops.ones((3, 3, 3, 8)), padding="same").shape
    (1, 5, 5, 8)
    """
    x, w, layout, _ = _prepared(inputs, kernel, data_format, "conv")
    channels, per_group = x.shape[-1], w.shape[-2]
    if per_group == 0 or channels % per_group:
        raise ValueError(
            f"conv: the number of input channels must be evenly divisible by kernel.shape[-2]; received {channels} "
            f"channels (inputs {tuple(to_tensor(inputs).shape)}, {layout}) and kernel shape {w.shape}"
        )
    groups = channels // per_group
    if w.shape[-1] % groups:
        raise ValueError(f"conv: the filters must be divisible by the {groups} groups; received kernel shape {w.shape}")
    return from_last(_conv(x, w, strides, padding, dilation_rate, groups, "conv"), layout)


def _depthwise(x: Tensor, w: Tensor, strides: Any, padding: str, dilation: Any, op: str) -> Tensor:
    channels, multiplier = w.shape[-2:]
    if channels != x.shape[-1]:
        raise ValueError(
            f"{op}: kernel.shape[-2] must be the number of channels {x.shape[-1]}; received kernel {w.shape}"
        )
    w = reshape_to(w, (*w.shape[:-2], 1, channels * multiplier))
    return _conv(x, w, strides, padding, dilation, channels, op)


@keras_op
def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Each channel convolved by itself with `multiplier` filters; kernel (spatial..., channels, multiplier)."""
    x, w, layout, _ = _prepared(inputs, kernel, data_format, "depthwise_conv")
    return from_last(_depthwise(x, w, strides, padding, dilation_rate, "depthwise_conv"), layout)


@keras_op
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """A depthwise convolution, then a 1x1 convolution that mixes the channels."""
    x, w, layout, _ = _prepared(inputs, depthwise_kernel, data_format, "separable_conv")
    deep = _depthwise(x, w, strides, padding, dilation_rate, "separable_conv")
    mix = to_tensor(pointwise_kernel, deep.dtype)
    return from_last(_conv(deep, mix, 1, "valid", 1, 1, "separable_conv"), layout)


def transposed_padding(k: int, stride: int, padding: str, extra: int | None) -> tuple[int, int]:
    """How far the result of a transposed convolution reaches beyond the stretched input, on both sides.

    k: extent of the dilated kernel; extra: output padding, None for a result of n * stride ("same") or
    (n - 1) * stride + max(k, stride) ("valid").
    """
    if padding == "valid":
        return k - 1, k - 1 + (max(stride - k, 0) if extra is None else extra)
    total = k + stride - 2 if extra is None else k + k % 2 - 2 + extra
    left = min(total - total // 2, k - 1)
    return left, total - left


@keras_op
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    data_format: Any = None,
    dilation_rate: Any = 1,
) -> Any:
    """The gradient of `conv` with respect to its input: spreads each element over a window, strides apart.

    kernel: (spatial..., filters, channels). output_padding: rows added at the end; None: see `padding`.
    """
    x, w, layout, rank = _prepared(inputs, kernel, data_format, "conv_transpose")
    if x.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"conv_transpose: the input channels must match the kernel: kernel.shape[-1] must be {x.shape[-1]}; "
            f"received {w.shape}"
        )
    mode = str(padding).lower()
    if mode not in ("valid", "same"):
        raise ValueError(f"conv_transpose: argument `padding` must be 'valid' or 'same'; received {padding!r}")
    steps, gaps = (
        spatial(strides, rank, "strides", "conv_transpose"),
        spatial(dilation_rate, rank, "dilation_rate", "conv_transpose"),
    )
    extras = output_padding if isinstance(output_padding, (list, tuple)) else (output_padding,) * rank
    sizes, pads, beyond = [], [], []
    for i in range(rank):
        reach = (w.shape[i] - 1) * gaps[i] + 1
        left, right = transposed_padding(reach, steps[i], mode, extras[i])
        size = (x.shape[i + 1] - 1) * steps[i] + left + right + 2 - reach
        over = max(right - (reach - 1), 0)  # rows behind the last window: zeros
        cut = over if over >= steps[i] else 0
        sizes.append(size - cut)
        pads.append((reach - 1 - left, max(reach - 1 - right, 0)))
        beyond.append(cut)
    shape = (x.shape[0], *sizes, w.shape[-2])
    y = apply("conv_input_grad", x, w, shape=shape, strides=steps, padding=tuple(pads), dilation=gaps, groups=1)
    if any(beyond):
        none = (0,) * (rank + 2)
        y = apply("pad", y, low=none, high=(0, *beyond, 0), interior=none, value=0.0)
    return from_last(y, layout)
