"""Activations, convolutions, pooling, products, losses, images against plain NumPy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from graphkeras import ops
from graphkeras.core.keras_tensor import KerasTensor
from tests.frontend.ops_cases import check, gradient, numeric_gradient, traced

RNG = np.random.default_rng(2)
X = RNG.normal(size=(3, 5)).astype("float32")


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": sigmoid,
    "log_sigmoid": lambda x: np.log(sigmoid(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x * sigmoid(x),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "celu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "softmax": softmax,
    "log_softmax": lambda x: np.log(softmax(x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    check(getattr(ops, name), ACTIVATIONS[name](X), X)


def test_softmax_over_two_axes():
    x = RNG.normal(size=(2, 3, 4)).astype("float32")
    want = softmax(x.transpose(1, 0, 2).reshape(3, 8)).reshape(3, 2, 4).transpose(1, 0, 2)
    check(lambda t: ops.softmax(t, axis=(0, 2)), want, x)


def test_sparsemax_and_glu():
    p = ops.sparsemax(X).numpy()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    check(lambda x: ops.sparsemax(x), [[0.5, 0.5, 0.0]], np.array([[1.0, 1.0, -3.0]], "float32"))
    x = X[:, :4]
    check(ops.glu, x[:, :2] * sigmoid(x[:, 2:]), x)


def convolved(x, w, strides, dilation, groups):
    """Channels-last convolution with padding "valid", in loops."""
    rank = x.ndim - 2
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape, dilation, strict=False)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:], reach, strides, strict=False)]
    out = np.zeros((x.shape[0], *sizes, w.shape[-1]))
    per, width = w.shape[-2], w.shape[-1] // groups
    for place in np.ndindex(*sizes):
        for tap in np.ndindex(*w.shape[:rank]):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilation, strict=True))
            for g in range(groups):
                values = x[(slice(None), *at)][:, g * per : (g + 1) * per]
                out[(slice(None), *place)][:, g * width : (g + 1) * width] += (
                    values @ w[tap][:, g * width : (g + 1) * width]
                )
    return out


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 2, 1)])
def test_convolution(rank, stride, dilation, groups):
    x = RNG.normal(size=(2, *(6, 7, 5)[:rank], 4)).astype("float32")
    w = RNG.normal(size=(*(3, 2, 2)[:rank], 4 // groups, 6)).astype("float32")
    want = convolved(x, w, (stride,) * rank, (dilation,) * rank, groups)
    check(lambda a, b: ops.conv(a, b, strides=stride, dilation_rate=dilation), want, x, w, tol=1e-4)


@pytest.mark.parametrize(("n", "k", "s", "padding", "extra"), list(itertools.product(
    (5, 6), (2, 3), (1, 2, 3), ("valid", "same"), (None, 0))))  # fmt: skip
def test_transposed_convolution_is_the_gradient_of_a_convolution(n, k, s, padding, extra):
    x = RNG.normal(size=(1, n, 3)).astype("float32")
    w = RNG.normal(size=(k, 2, 3)).astype("float32")
    y = ops.conv_transpose(x, w, strides=s, padding=padding, output_padding=extra)
    size = {("same", None): n * s, ("valid", None): (n - 1) * s + max(k, s), ("valid", 0): (n - 1) * s + k,
            ("same", 0): (n - 1) * s + k % 2}[padding, extra]  # fmt: skip
    assert y.shape == (1, size, 2)
    spread = np.zeros((1, (n - 1) * s + k, 2))
    for i in range(n):
        for t in range(k):
            spread[:, i * s + t] += x[:, i] @ w[t].T
    left = 0 if padding == "valid" else next(
        c for c in range(k) if np.allclose(_fit(spread, c, size), y.numpy(), atol=1e-4))  # fmt: skip
    np.testing.assert_allclose(y.numpy(), _fit(spread, left, size), atol=1e-4)


def _fit(full, left, size):
    """`size` rows from row `left` on, zeros behind the end."""
    rows = full[:, left : left + size]
    return np.pad(rows, ((0, 0), (0, size - rows.shape[1]), (0, 0)))


def test_same_padding_and_channels_first():
    x = RNG.normal(size=(2, 7, 8, 3)).astype("float32")
    w = RNG.normal(size=(3, 2, 3, 4)).astype("float32")
    want = convolved(np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0))), w, (2, 2), (1, 1), 1)
    check(lambda a, b: ops.conv(a, b, strides=2, padding="same"), want, x, w, tol=1e-4)
    first = x.transpose(0, 3, 1, 2).copy()
    check(lambda a, b: ops.conv(a, b, strides=2, padding="same", data_format="channels_first"),
          want.transpose(0, 3, 1, 2), first, w, tol=1e-4)  # fmt: skip


def test_depthwise_and_separable():
    x = RNG.normal(size=(2, 6, 5, 3)).astype("float32")
    deep = RNG.normal(size=(3, 3, 3, 2)).astype("float32")
    want = convolved(x, deep.reshape(3, 3, 1, 6), (1, 1), (1, 1), 3)
    check(ops.depthwise_conv, want, x, deep, tol=1e-4)
    mix = RNG.normal(size=(1, 1, 6, 4)).astype("float32")
    check(ops.separable_conv, want @ mix[0, 0], x, deep, mix, tol=1e-4)


def test_pooling():
    x = RNG.normal(size=(2, 5, 4, 3)).astype("float32")
    blocks = x[:, :4].reshape(2, 2, 2, 2, 2, 3)
    check(lambda t: ops.max_pool(t, 2), blocks.max((2, 4)), x)
    check(lambda t: ops.average_pool(t, 2), blocks.mean((2, 4)), x)
    same = ops.average_pool(np.ones((1, 5, 1), "float32"), 2, 2, padding="same")
    assert same.numpy().ravel().tolist() == [1, 1, 1]  # padding does not count
    row = np.arange(5, dtype="float32")[None, :, None]
    assert ops.adaptive_average_pool(row, 2).numpy().ravel().tolist() == [1, 3]
    assert ops.adaptive_max_pool(row, 2).numpy().ravel().tolist() == [2, 4]


PRODUCTS = [
    "ij,jk->ik",
    "bij,bjk->bik",
    "ij,jk,kl->il",
    "ii->i",
    "ij->",
    "...ij,jk->...ik",
    "i,j->ij",
    "bhid,bhjd->bhij",
]


@pytest.mark.parametrize("text", PRODUCTS)
def test_einsum(text):
    sizes = dict(zip("bhdijkl", (2, 3, 4, 3, 5, 2, 4), strict=True))
    terms = [t.replace("...", "b") for t in text.split("->")[0].split(",")]
    arrays = [RNG.normal(size=[3 if t == "ii" else sizes[c] for c in t]).astype("float32") for t in terms]
    check(lambda *a: ops.einsum(text, *a), np.einsum(text, *arrays), *arrays, tol=1e-4)


@pytest.mark.parametrize(("a", "b"), [((3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,)), ((2, 3, 4), (2, 4, 5)),
                                      ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3))])  # fmt: skip
def test_matmul(a, b):
    x, y = RNG.normal(size=a).astype("float32"), RNG.normal(size=b).astype("float32")
    check(ops.matmul, np.matmul(x, y), x, y, tol=1e-4)


def test_other_products():
    a, b = RNG.normal(size=(2, 3)).astype("float32"), RNG.normal(size=(2, 3)).astype("float32")
    check(ops.outer, np.outer(a, b), a, b)
    check(ops.inner, np.inner(a, b), a, b)
    check(ops.cross, np.cross(a, b), a, b)
    check(ops.kron, np.kron(a, b), a, b)
    check(ops.vdot, np.vdot(a, b), a, b)
    check(lambda x, y: ops.tensordot(x, y, ((0,), (0,))), np.tensordot(a, b, ((0,), (0,))), a, b)


def test_norms_and_their_gradient_at_zero():
    for order in (1, 2, 3, np.inf):
        check(lambda x, o=order: ops.norm(x, o, axis=1), np.linalg.norm(X, order, axis=1), X)
    zero = np.zeros((2, 3), "float32")
    assert np.all(gradient(lambda x: ops.norm(x, axis=1), zero)[0] == 0)
    check(ops.normalize, X / np.linalg.norm(X, axis=-1, keepdims=True), X)


def test_normalizations():
    gamma, beta = RNG.normal(size=(2, 5)).astype("float32")
    z = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-3)
    check(lambda x, g, b: ops.layer_normalization(x, g, b, epsilon=1e-3), z * gamma + beta, X, gamma, beta)
    mean, var = X.mean(0), X.var(0)
    want = (X - mean) / np.sqrt(var + 1e-3) * gamma + beta
    check(lambda x, g, b: ops.batch_normalization(x, mean, var, -1, b, g), want, X, gamma, beta)
    rms = X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-6)
    check(lambda x, g: ops.rms_normalization(x, g, epsilon=1e-6), rms * gamma, X, gamma)
    mean, var = ops.moments(X, axes=0)
    np.testing.assert_allclose(var.numpy(), X.var(0), rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention(causal, heads):
    q = RNG.normal(size=(2, 3, 4, 5)).astype("float32")
    k, v = RNG.normal(size=(2, 2, 3, heads, 5)).astype("float32")
    wide = [np.repeat(t, 4 // heads, axis=2) for t in (k, v)]
    scores = np.einsum("btnh,bsnh->bnts", q, wide[0]) / math.sqrt(5)
    allowed = RNG.random((2, 1, 3, 3)) < 0.7
    allowed |= np.eye(3, dtype=bool)
    seen = allowed & np.tril(np.ones((3, 3), bool)) if causal else allowed
    want = np.einsum("bnts,bsnh->btnh", softmax(np.where(seen, scores, -1e30)), wide[1])
    check(lambda a, b, c: ops.dot_product_attention(a, b, c, mask=allowed, is_causal=causal), want, q, k, v)
    bias = np.where(allowed, 0.0, -1e9).astype("float32")
    check(lambda a, b, c: ops.dot_product_attention(a, b, c, bias, is_causal=causal), want, q, k, v)
    bias = np.zeros((1, 4, 3, 3), "float32")
    check(lambda a, b, c: ops.dot_product_attention(a, b, c, bias, allowed, is_causal=causal), want, q, k, v)


def test_crossentropies():
    labels, p = np.array([1, 4, 0]), softmax(X)
    want = -np.log(p[np.arange(3), labels])
    hot = np.eye(5, dtype="float32")[labels]
    check(lambda x: ops.sparse_categorical_crossentropy(labels, x, from_logits=True), want, X)
    check(lambda x: ops.sparse_categorical_crossentropy(labels[:, None], x), want, p)
    check(lambda x: ops.categorical_crossentropy(hot, x, from_logits=True), want, X)
    check(lambda x: ops.categorical_crossentropy(hot, x * 2), want, p)
    check(lambda x: ops.categorical_crossentropy(hot.T, x, from_logits=True, axis=0), want, X.T.copy())
    q = sigmoid(X)
    check(
        lambda x: ops.binary_crossentropy(hot, x, from_logits=True), -(hot * np.log(q) + (1 - hot) * np.log(1 - q)), X
    )
    with pytest.raises(ValueError, match="same shape"):
        ops.binary_crossentropy(hot, X[:, :2])
    for fn in (lambda x: ops.categorical_crossentropy(hot, x, from_logits=True), lambda x: ops.log_softmax(x)[:, 1]):
        np.testing.assert_allclose(gradient(fn, X)[0], numeric_gradient(fn, X)[0], atol=1e-4)


def test_ctc_loss_sums_over_alignments():
    scores = RNG.normal(size=(1, 4, 3)).astype("float32")
    p = softmax(scores)[0]
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        merged = [c for c, _ in itertools.groupby(path) if c != 0]
        total += np.prod(p[np.arange(4), path]) if merged == [1, 2] else 0.0
    args = (np.array([[1, 2, 0]]), np.array([2]), np.array([4]))
    check(lambda x: ops.ctc_loss(args[0], x, *args[1:]), [-math.log(total)], scores, tol=1e-4)


def test_ctc_decode_merges_repetitions():
    scores = np.log(np.eye(3, dtype="float32")[[0, 1, 1, 0, 2, 2]] + 1e-3)[None]
    paths, _ = ops.ctc_decode(scores, [6])
    assert paths.numpy()[0, 0].tolist() == [1, 2, -1, -1, -1, -1]
    beams, _ = ops.ctc_decode(scores, [6], strategy="beam_search", beam_width=8, top_paths=2)
    assert beams.numpy()[0, 0].tolist() == [1, 2, -1, -1, -1, -1]


def test_linear_algebra():
    a = RNG.normal(size=(2, 4, 4)).astype("float32")
    spd = a @ a.transpose(0, 2, 1) + 4 * np.eye(4, dtype="float32")
    b = RNG.normal(size=(2, 4, 3)).astype("float32")
    check(ops.cholesky, np.linalg.cholesky(spd), spd, tol=1e-4)
    check(ops.inv, np.linalg.inv(spd), spd, tol=1e-4)
    check(ops.det, np.linalg.det(a), a, tol=1e-3)
    check(ops.solve, np.linalg.solve(spd, b), spd, b, tol=1e-4)
    check(ops.logdet, np.linalg.slogdet(spd)[1], spd, tol=1e-4)
    check(ops.pinv, np.linalg.pinv(b), b, tol=1e-3)
    q, r = ops.qr(b)
    np.testing.assert_allclose(ops.matmul(q, r).numpy(), b, atol=1e-5)
    assert ops.svd(b, compute_uv=False).shape == (2, 3)


def test_fourier_transforms():
    x = RNG.normal(size=(2, 16)).astype("float32")
    want = np.fft.rfft(x)
    check(ops.rfft, (want.real, want.imag), x, tol=1e-4)
    np.testing.assert_allclose(ops.irfft(ops.rfft(x)).numpy(), x, atol=1e-5)
    np.testing.assert_allclose(ops.istft(ops.stft(x, 8, 2, 8), 8, 2, 8, length=16).numpy(), x, atol=1e-4)


def test_segments_and_patterns():
    ids = np.array([0, 2, 0], dtype="int32")
    check(lambda x: ops.segment_sum(x, ids, 3), [X[0] + X[2], 0 * X[0], X[1]], X)
    check(lambda x: ops.segment_max(x, ids, 3)[0], np.maximum(X[0], X[2]), X)
    x = X[:, :4].copy()
    want = x.reshape(3, 2, 2).transpose(2, 0, 1).reshape(6, 2)
    check(lambda t: ops.rearrange(t, "a (b c) -> (c a) b", c=2), want, x)


def test_windows_are_inverse():
    image = RNG.normal(size=(2, 3, 6, 6)).astype("float32")
    columns = ops.unfold(image, 2, stride=2)
    np.testing.assert_allclose(ops.fold(columns, (6, 6), 2, stride=2).numpy(), image)
    last = image.transpose(0, 2, 3, 1).copy()
    check(lambda x: ops.depth_to_space(ops.space_to_depth(x, 2), 2), last, last)
    assert ops.image.extract_patches(last, (3, 3)).shape == (2, 2, 2, 27)
    assert ops.image.extract_patches(KerasTensor((None, 6, 6, 3)), 3).shape == (None, 2, 2, 27)


def test_images():
    x = RNG.random((2, 4, 4, 3)).astype("float32")
    assert ops.image.resize(x, (4, 4)).numpy() == pytest.approx(x)
    double = ops.image.resize(x, (8, 8), interpolation="nearest").numpy()
    np.testing.assert_array_equal(double, x.repeat(2, 1).repeat(2, 2))
    ramp = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    np.testing.assert_allclose(
        ops.image.resize(ramp, (8, 1)).numpy().ravel(), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-5
    )
    check(lambda t: ops.image.hsv_to_rgb(ops.image.rgb_to_hsv(t)), x, x, tol=1e-4)
    shift = np.array([1, 0, 1, 0, 1, 0, 0, 0], "float32")
    moved = np.concatenate([x[:, :, 1:], np.zeros_like(x[:, :, :1])], 2)
    check(lambda t: ops.image.affine_transform(t, shift), moved, x)
    check(lambda t: ops.image.crop_images(t, 1, 1, target_height=2, target_width=2), x[:, 1:3, 1:3], x)
    assert float(ops.image.ssim(np.ones((12, 12, 1), "float32"), np.ones((12, 12, 1), "float32"))) == pytest.approx(1)


def test_channel_mismatch_is_explained():
    with pytest.raises(ValueError, match=r"input channels.*divisible"):
        ops.conv(np.ones((1, 5, 3), "float32"), np.ones((2, 2, 4), "float32"))
    with pytest.raises(ValueError, match="does not fit"):
        ops.max_pool(np.ones((1, 2, 3), "float32"), 3)


def test_traced_and_eager_agree_in_half_precision():
    x = X.astype("float16")
    np.testing.assert_array_equal(traced(ops.softmax, x), ops.softmax(x).numpy())
