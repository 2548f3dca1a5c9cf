"""Convolutions that are timed alone, each forward, with respect to its input, and with respect to its kernel.

Images are channels last, kernels (*window, channels in of a group, channels out). `FAMILIES` names where the shapes are
from; everything is float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from benchmarks.op_case import Case, Shape

FORMS = ("conv", "conv_input_grad", "conv_kernel_grad")


def conv(
    batch: int,
    size: int | Shape,
    cin: int,
    cout: int,
    k: int | Shape = 3,
    stride: int | Shape = 1,
    pad: int | Shape | None = None,
    dilation: int = 1,
    groups: int = 1,
    forms: tuple[str, ...] = FORMS,
) -> list[Case]:
    """The cases of one convolution. An int `size` is a square image; the default pad keeps sizes if the stride is 1."""
    spatial = (size, size) if isinstance(size, int) else size
    window, strides = _each(k, spatial), _each(stride, spatial)
    pads = tuple((n - 1) * dilation // 2 for n in window) if pad is None else _each(pad, spatial)
    axes = zip(spatial, pads, window, strides, strict=True)
    out = tuple((n + 2 * p - (t - 1) * dilation - 1) // s + 1 for n, p, t, s in axes)
    x, w, y = (batch, *spatial, cin), (*window, cin // groups, cout), (batch, *out, cout)
    flops = 2.0 * math.prod(y) * math.prod(w[:-1])
    nbytes = 4.0 * (math.prod(x) + math.prod(w) + math.prod(y))
    label = f"{_times(x)} {_times((*window, cout))}" + _settings(strides, dilation, groups, cin)
    more: dict[str, Any] = {"strides": strides, "pads": pads, "dilation": dilation, "groups": groups, "x": x, "w": w}
    inputs = {"conv": (x, w), "conv_kernel_grad": (x, y)}
    return [Case(f, label, inputs.get(f, (y, w)), flops, nbytes, 0, tuple(more.items())) for f in forms]


def transposed(batch: int, size: int, cin: int, cout: int, k: int, stride: int, pad: int) -> list[Case]:
    """A transposed convolution `size` -> about stride * size; its gradients are those of the others."""
    return conv(batch, (size - 1) * stride + k - 2 * pad, cout, cin, k, stride, pad, forms=("conv_transposed", *FORMS))


def depthwise(batch: int, size: int, channels: int, k: int = 3, stride: int = 1) -> list[Case]:
    return conv(batch, size, channels, channels, k, stride, groups=channels)


def _each(value: int | Shape, spatial: Shape) -> Shape:
    return (value,) * len(spatial) if isinstance(value, int) else value


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _settings(strides: Shape, dilation: int, groups: int, cin: int) -> str:
    stride = str(strides[0]) if len(set(strides)) == 1 else _times(strides)
    found = f" /{stride}" if max(strides) > 1 else ""
    found += f" dilated {dilation}" if dilation > 1 else ""
    return found + ("" if groups == 1 else " depthwise" if groups == cin else f" groups {groups}")


def resnet50(batch: int = 8) -> list[Case]:
    """Every convolution of ResNet-50 for 224 x 224 images, the stride in its 3 x 3 convolutions."""
    made = conv(batch // 2, 224, 3, 64, 7, 2)
    wide = 64
    for stage, width in enumerate((64, 128, 256, 512)):
        size, stride = 56 >> stage, 2 if stage else 1
        made += conv(batch, size * stride, wide, width, 1) + conv(batch, size * stride, width, width, 3, stride)
        made += conv(batch, size, width, 4 * width, 1)
        if stage:
            made += conv(batch, size * stride, wide, 4 * width, 1, stride) + conv(batch, size, width, width)
        wide = 4 * width
        made += conv(batch, size, wide, width, 1)
    return made


def _small() -> list[Case]:
    made = conv(32, 28, 1, 32, pad=0) + conv(32, 13, 32, 64, pad=0)
    made += conv(32, 32, 3, 16) + conv(32, 32, 3, 32) + conv(32, 32, 16, 16) + conv(32, 16, 32, 32)
    made += conv(32, 8, 64, 64) + conv(32, 32, 16, 32, stride=2) + conv(32, 32, 16, 32, 1, 2)
    return made + conv(32, 28, 1, 6, 5) + conv(32, 14, 6, 16, 5, pad=0)


def _depthwise() -> list[Case]:
    """MobileNet's 3 x 3 and, of its successors, 5 x 5."""
    made: list[Case] = []
    for size, channels, stride in ((112, 32, 1), (112, 64, 2), (56, 128, 1), (56, 128, 2), (28, 256, 1), (28, 256, 2),
                                   (14, 512, 1), (14, 512, 2), (7, 1024, 1)):  # fmt: skip
        made += depthwise(8, size, channels, stride=stride)
    for size, channels, stride in ((56, 144, 2), (28, 240, 1), (14, 672, 1), (14, 672, 2), (7, 1152, 1)):
        made += depthwise(8, size, channels, 5, stride)
    return made


def _other() -> list[Case]:
    """Grouped, dilated, transposed, of one and of three axes."""
    made = conv(8, 56, 128, 128, groups=32) + conv(8, 28, 256, 256, groups=32) + conv(8, 14, 512, 512, groups=32)
    made += conv(8, 28, 64, 64, groups=2) + conv(8, 56, 128, 128, stride=2, groups=32)
    made += conv(8, 28, 128, 128, dilation=2) + conv(8, 32, 32, 32, dilation=4) + conv(8, 14, 256, 256, dilation=2)
    made += (
        transposed(8, 4, 512, 256, 4, 2, 1) + transposed(8, 16, 128, 64, 4, 2, 1) + transposed(8, 32, 64, 3, 4, 2, 1)
    )
    made += transposed(8, 28, 128, 64, 2, 2, 0) + transposed(8, 14, 64, 32, 3, 2, 1)
    made += conv(32, (200,), 128, 128, 5) + conv(32, (200,), 32, 64, 3) + conv(8, (1000,), 64, 64, 2, dilation=8)
    made += conv(8, (8000,), 1, 64, 80, 4, 38) + conv(16, (400,), 64, 128, 3, 2)
    made += conv(2, (16, 28, 28), 32, 32) + conv(2, (8, 14, 14), 64, 128) + conv(2, (16, 56, 56), 3, 32)
    return made + conv(2, (16, 28, 28), 32, 64, stride=2) + conv(2, (8, 28, 28), 64, 64, 1)


def families() -> Iterator[tuple[str, list[Case]]]:
    yield "small", _small()
    yield "resnet50", resnet50()
    yield "depthwise", _depthwise()
    yield "other", _other()


def all_convolutions() -> list[Case]:
    return list({case.name: case for _, cases in families() for case in cases}.values())
