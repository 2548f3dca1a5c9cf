"""Convolutions, pooling, padding, cropping, upsampling against NumPy loops; both data formats; errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from graphkeras import layers

rng = np.random.default_rng(5)


def padded(x: np.ndarray, window: Any, strides: Any, dilation: Any, padding: str, value: float = 0.0) -> np.ndarray:
    """`x` (channels last) with the border of the padding mode; the odd one at the end."""
    widths = [(0, 0)]
    for n, w, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (w - 1) * d + 1 - n, 0) if padding == "same" else 0
        widths.append((total // 2, total - total // 2))
    return np.pad(x, [*widths, (0, 0)], constant_values=value)


def windows(x: np.ndarray, window: Any, strides: Any, dilation: Any) -> Any:
    """(output position, values under the window) for every position."""
    sizes = [
        (n - (w - 1) * d - 1) // s + 1 for n, w, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True)
    ]
    for at in itertools.product(*(range(n) for n in sizes)):
        index = tuple(
            slice(p * s, p * s + (w - 1) * d + 1, d) for p, s, w, d in zip(at, strides, window, dilation, strict=True)
        )
        yield at, x[(slice(None), *index)], sizes


def conv_numpy(x: np.ndarray, kernel: np.ndarray, strides: Any, dilation: Any, padding: str, groups: int) -> np.ndarray:
    window = kernel.shape[:-2]
    x = padded(x, window, strides, dilation, padding)
    rank, filters = len(window), kernel.shape[-1]
    result = None
    for at, part, sizes in windows(x, window, strides, dilation):
        if result is None:
            result = np.zeros((x.shape[0], *sizes, filters))
        for g in range(groups):
            chans = slice(g * kernel.shape[-2], (g + 1) * kernel.shape[-2])
            outs = slice(g * filters // groups, (g + 1) * filters // groups)
            axes = (tuple(range(1, rank + 2)), tuple(range(rank + 1)))
            result[(slice(None), *at, outs)] = np.tensordot(part[..., chans], kernel[..., outs], axes)
    assert result is not None
    return result


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


SHAPES = {1: (2, 9, 4), 2: (2, 7, 8, 4), 3: (1, 5, 4, 6, 4)}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 2, 1)])
@pytest.mark.parametrize("padding", ["valid", "SAME"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv(rank: int, padding: str, stride: int, dilation: int, groups: int, data_format: str) -> None:
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    layer = getattr(layers, f"Conv{rank}D")(
        6,
        2,
        strides=stride,
        padding=padding,
        dilation_rate=dilation,
        groups=groups,
        data_format=data_format,
        bias_initializer="ones",
    )
    output = np.asarray(layer(x if data_format == "channels_last" else channels_first(x)))
    kernel = np.asarray(layer.kernel)
    assert kernel.shape == (*(2,) * rank, 4 // groups, 6)
    expected = conv_numpy(x, kernel, (stride,) * rank, (dilation,) * rank, padding.lower(), groups) + 1.0
    np.testing.assert_allclose(
        output if data_format == "channels_last" else np.moveaxis(output, 1, -1), expected, rtol=1e-4, atol=1e-5
    )


def test_causal_convolution_sees_no_later_step() -> None:
    layer = layers.Conv1D(2, 3, padding="causal", dilation_rate=2)
    x = rng.normal(size=(1, 8, 3)).astype("float32")
    before = np.asarray(layer(x))
    x[:, 5:] = 0.0
    after = np.asarray(layer(x))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert before.shape == (1, 8, 2) and not np.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, "valid"), (3, 2, "same"), (2, 3, "valid"), (3, 1, "same")]
)
@pytest.mark.parametrize("rank", [1, 2])
def test_transposed_convolution_is_the_adjoint(
    rank: int, kernel: int, stride: int, padding: str, data_format: str
) -> None:
    """<conv(u), v> = <u, transposed(v)> for the same kernel."""
    common: dict[str, Any] = {"strides": stride, "padding": padding, "use_bias": False, "data_format": data_format}
    transposed = getattr(layers, f"Conv{rank}DTranspose")(3, kernel, **common)
    v = rng.normal(size=(2, *(4,) * rank, 5)).astype("float32")
    v = v if data_format == "channels_last" else channels_first(v)
    big = np.asarray(transposed(v))
    conv = getattr(layers, f"Conv{rank}D")(5, kernel, **common)
    u = rng.normal(size=big.shape).astype("float32")
    conv.build(u.shape)
    conv.set_weights(transposed.get_weights())
    small = np.asarray(conv(u))
    assert small.shape == v.shape
    np.testing.assert_allclose(np.vdot(small, v), np.vdot(u, big), rtol=1e-3)


def test_output_padding_lengthens_the_result() -> None:
    x = np.ones((1, 4, 2), "float32")
    lengths = [layers.Conv1DTranspose(2, 3, strides=3, output_padding=p)(x).shape[1] for p in (0, 1, 2)]
    assert lengths == [12, 13, 14]
    with pytest.raises(ValueError, match="strictly less than `strides`"):
        layers.Conv1DTranspose(2, 3, strides=2, output_padding=2)


@pytest.mark.parametrize("rank", [1, 2])
def test_depthwise_and_separable(rank: int) -> None:
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    depthwise = getattr(layers, f"DepthwiseConv{rank}D")(3, depth_multiplier=2, padding="same", use_bias=False)
    deep = np.asarray(depthwise(x))
    kernel = np.asarray(depthwise.kernel)
    assert kernel.shape == (*(3,) * rank, 4, 2)
    for c, m in itertools.product(range(4), range(2)):
        alone = conv_numpy(x[..., c : c + 1], kernel[..., c : c + 1, m : m + 1], (1,) * rank, (1,) * rank, "same", 1)
        np.testing.assert_allclose(deep[..., 2 * c + m], alone[..., 0], rtol=1e-4, atol=1e-5)
    separable = getattr(layers, f"SeparableConv{rank}D")(5, 3, depth_multiplier=2, padding="same", use_bias=False)
    separable.build(x.shape)
    pointwise = rng.normal(size=(*(1,) * rank, 8, 5)).astype("float32")
    separable.set_weights([kernel, pointwise])
    np.testing.assert_allclose(np.asarray(separable(x)), deep @ pointwise.reshape(8, 5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Conv2D", {"filters": 0, "kernel_size": 2}, "strictly positive value. Received filters=0"),
        ("Conv2D", {"filters": 2, "kernel_size": (1, 0)}, "kernel_size.*that do not satisfy `value > 0`"),
        ("Conv2D", {"filters": 2, "kernel_size": (1, 2, 3)}, "must be a tuple of 2 integers"),
        ("Conv2D", {"filters": 2, "kernel_size": 2, "strides": (1, 0)}, "strides.*that do not satisfy"),
        ("Conv2D", {"filters": 2, "kernel_size": 2, "strides": 2, "dilation_rate": (2, 1)}, "not supported in conj"),
        ("Conv2D", {"filters": 5, "kernel_size": 2, "groups": 2}, "evenly divisible by the number of groups"),
        ("Conv2D", {"filters": 5, "kernel_size": 2, "groups": 0}, "must be a positive integer"),
        ("Conv2D", {"filters": 5, "kernel_size": 2, "padding": "causal"}, "padding"),
        ("Conv2D", {"filters": 5, "kernel_size": 2, "data_format": "first"}, "data_format"),
        ("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 0}, "Received depth_multiplier=0"),
        ("SeparableConv1D", {"filters": 0, "kernel_size": 2}, "Received filters=0"),
        ("MaxPooling2D", {"pool_size": 0}, "pool_size"),
    ],
)
def test_bad_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(layers, name)(**arguments)


def test_bad_inputs() -> None:
    with pytest.raises(ValueError, match="evenly divisible"):
        layers.Conv2D(4, 2, groups=2)(np.ones((1, 4, 4, 3), "float32"))
    with pytest.raises(ValueError, match="must be known"):
        layers.Conv2D(4, 2).build((None, 4, 4, None))
    with pytest.raises(ValueError, match="zero or negative"):
        layers.Conv2D(4, 5)(np.ones((1, 4, 4, 3), "float32"))
    layer = layers.Conv2D(4, 2)
    layer.build((None, 4, 4, 3))
    with pytest.raises(ValueError, match="incompatible with the layer"):
        layer(np.ones((1, 4, 4, 2), "float32"))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling(rank: int, padding: str, data_format: str) -> None:
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    ones = (1,) * rank
    for kind, reduce in (("Max", np.nanmax), ("Average", np.nanmean)):
        layer = getattr(layers, f"{kind}Pooling{rank}D")(3, strides=2, padding=padding, data_format=data_format)
        output = np.asarray(layer(x if data_format == "channels_last" else channels_first(x)))
        output = output if data_format == "channels_last" else np.moveaxis(output, 1, -1)
        border = padded(x, (3,) * rank, (2,) * rank, ones, padding, value=np.nan)
        for at, part, sizes in windows(border, (3,) * rank, (2,) * rank, ones):
            assert output.shape == (x.shape[0], *sizes, 4)
            expected = reduce(part, axis=tuple(range(1, rank + 1)))
            np.testing.assert_allclose(output[(slice(None), *at)], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_and_adaptive_pooling(rank: int) -> None:
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    axes = tuple(range(1, rank + 1))
    for kind, reduce in (("Max", np.max), ("Average", np.mean)):
        layer = getattr(layers, f"Global{kind}Pooling{rank}D")
        np.testing.assert_allclose(np.asarray(layer()(x)), reduce(x, axis=axes), rtol=1e-5, atol=1e-6)
        kept = layer(keepdims=True, data_format="channels_first")(channels_first(x))
        np.testing.assert_allclose(
            np.asarray(kept), channels_first(reduce(x, axis=axes, keepdims=True)), rtol=1e-5, atol=1e-6
        )
        adaptive = np.asarray(getattr(layers, f"Adaptive{kind}Pooling{rank}D")(3)(x))
        for at in itertools.product(range(3), repeat=rank):
            index = tuple(slice(i * n // 3, -(-(i + 1) * n // 3)) for i, n in zip(at, x.shape[1:-1], strict=True))
            expected = reduce(x[(slice(None), *index)], axis=axes)
            np.testing.assert_allclose(adaptive[(slice(None), *at)], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="output_size"):
        layers.AdaptiveMaxPooling2D((1, 2, 3))


def test_global_average_pooling_skips_masked_steps() -> None:
    x = np.array([[[1.0], [2.0], [9.0]]], "float32")
    mask = np.array([[True, True, False]])
    assert np.asarray(layers.GlobalAveragePooling1D()(x, mask=mask)).tolist() == [[1.5]]
    first = layers.GlobalAveragePooling1D(data_format="channels_first")(channels_first(x), mask=mask)
    assert np.asarray(first).tolist() == [[1.5]]
    masked = layers.Masking(9.0)(x)
    assert layers.GlobalAveragePooling1D()(masked)._keras_mask is None


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_padding_and_cropping_are_inverse(rank: int) -> None:
    x = rng.normal(size=SHAPES[rank]).astype("float32")
    widths = ((1, 2), (0, 1), (3, 0))[:rank]
    argument: Any = widths[0] if rank == 1 else widths
    bigger = getattr(layers, f"ZeroPadding{rank}D")(argument)(x)
    np.testing.assert_array_equal(np.asarray(bigger), np.pad(x, [(0, 0), *widths, (0, 0)]))
    np.testing.assert_array_equal(np.asarray(getattr(layers, f"Cropping{rank}D")(argument)(bigger)), x)
    if rank > 1:
        first = getattr(layers, f"ZeroPadding{rank}D")(2, data_format="channels_first")(channels_first(x))
        np.testing.assert_array_equal(np.asarray(first), np.pad(channels_first(x), [(0, 0), (0, 0), *((2, 2),) * rank]))
    with pytest.raises(ValueError, match="smaller than"):
        getattr(layers, f"Cropping{rank}D")(argument and 9)(x)


def test_border_arguments() -> None:
    assert layers.ZeroPadding2D((1, 2)).padding == ((1, 1), (2, 2))
    assert layers.Cropping3D(2).cropping == ((2, 2),) * 3
    for bad in ((1, 2, 3), -1, "x", ((1, 2), (3, -4))):
        with pytest.raises(ValueError, match="cropping"):
            layers.Cropping2D(bad)


def test_up_sampling() -> None:
    x = rng.normal(size=(2, 3, 4, 2)).astype("float32")
    expected = x.repeat(2, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(np.asarray(layers.UpSampling2D((2, 3))(x)), expected)
    np.testing.assert_array_equal(np.asarray(layers.UpSampling1D(2)(x[:, 0])), x[:, 0].repeat(2, axis=1))
    smooth = np.asarray(layers.UpSampling2D(2, interpolation="bilinear")(x))
    assert smooth.shape == (2, 6, 8, 2)
    np.testing.assert_allclose(
        smooth[:, 2, 2],
        0.5625 * x[:, 1, 1] + 0.1875 * (x[:, 0, 1] + x[:, 1, 0]) + 0.0625 * x[:, 0, 0],
        rtol=1e-4,
        atol=1e-5,
    )
    with pytest.raises(TypeError, match="Expected an integer value for `size`"):
        layers.UpSampling1D(2.5)


def test_reshaping() -> None:
    x = rng.normal(size=(2, 3, 4)).astype("float32")
    np.testing.assert_array_equal(np.asarray(layers.Flatten()(x)), x.reshape(2, 12))
    assert layers.Flatten()(np.ones(5, "float32")).shape == (5, 1)
    image = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    first = layers.Flatten(data_format="channels_first")(channels_first(image))
    np.testing.assert_array_equal(np.asarray(first), image.reshape(2, -1))
    np.testing.assert_array_equal(np.asarray(layers.Reshape((2, -1))(x)), x.reshape(2, 2, 6))
    np.testing.assert_array_equal(np.asarray(layers.Permute((2, 1))(x)), x.transpose(0, 2, 1))
    np.testing.assert_array_equal(np.asarray(layers.RepeatVector(3)(x[:, 0])), np.stack([x[:, 0]] * 3, 1))
    assert layers.Reshape((3, -1)).compute_output_shape((None, None, 4)) == (None, 3, None)
    with pytest.raises(ValueError, match="at most one unknown"):
        layers.Reshape((-1, -1))
    with pytest.raises(ValueError, match="size of the tensor must be unchanged"):
        layers.Reshape((5,))(x)
    with pytest.raises(ValueError, match=r"Invalid permutation .*dims"):
        layers.Permute((0, 1))
    with pytest.raises(TypeError, match="Expected an integer value for `n`"):
        layers.RepeatVector("3")
    with pytest.raises(ValueError, match="should be a positive integer"):
        layers.RepeatVector(0)
