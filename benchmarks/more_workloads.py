"""Ordinary models beyond the usual workloads: what holds for those should hold for these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workload import SPARSE, Workload, images, tokens


def wide(keras: Any, batch: int) -> Workload:
    """784-2048-2048-10 with ReLU and dropout: 5.8 million weights, 23 MB."""
    k = keras.layers
    model = keras.Sequential([keras.Input((784,))])
    for _ in range(2):
        model.add(k.Dense(2048, activation="relu"))
        model.add(k.Dropout(0.2))
    model.add(k.Dense(10, activation="softmax"))
    return Workload(model, *images(10 * batch, 784), SPARSE, batch)


def autoencoder(keras: Any, batch: int) -> Workload:
    """28 x 28 images through two strided convolutions to 64 numbers, and back through two transposed ones."""
    k = keras.layers
    inputs = keras.Input((28, 28, 1))
    x = k.Conv2D(32, 3, strides=2, padding="same", activation="relu")(inputs)
    x = k.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    x = k.Dense(64)(k.Flatten()(x))
    x = k.Reshape((7, 7, 64))(k.Dense(7 * 7 * 64, activation="relu")(x))
    x = k.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu")(x)
    x = k.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(x)
    outputs = k.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    data, _ = images(10 * batch, 28, 28, 1)
    return Workload(keras.Model(inputs, outputs), data, data, "binary_crossentropy", batch, ["mae"])


def mobile(keras: Any, batch: int) -> Workload:
    """MobileNet's blocks (depthwise 3 x 3, batch norm, pointwise, batch norm) for 32 x 32 x 3 images."""
    k = keras.layers

    def finish(x: Any) -> Any:
        return k.ReLU(max_value=6.0)(k.BatchNormalization()(x))

    inputs = keras.Input((32, 32, 3))
    x = finish(k.Conv2D(32, 3, padding="same", use_bias=False)(inputs))
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = finish(k.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
        x = finish(k.Conv2D(filters, 1, use_bias=False)(x))
    outputs = k.Dense(10, activation="softmax")(k.GlobalAveragePooling2D()(x))
    return Workload(keras.Model(inputs, outputs), *images(6 * batch, 32, 32, 3), SPARSE, batch)


def gru(keras: Any, batch: int, length: int = 80) -> Workload:
    """Embedding 10000 x 64, two bidirectional GRUs of 64, a label for each text."""
    k = keras.layers
    model = keras.Sequential([keras.Input((length,), dtype="int32"), k.Embedding(10000, 64)])
    model.add(k.Bidirectional(k.GRU(64, return_sequences=True)))
    model.add(k.Bidirectional(k.GRU(64)))
    model.add(k.Dense(1, activation="sigmoid"))
    x, y = tokens(8 * batch, length, 10000)
    return Workload(model, x, y[:, None].astype(np.float32), "binary_crossentropy", batch)


def text(keras: Any, batch: int, length: int = 200) -> Workload:
    """Embedding 20000 x 64, two 1-D convolutions of 128, the largest value over time, Dense."""
    k = keras.layers
    model = keras.Sequential([keras.Input((length,), dtype="int32"), k.Embedding(20000, 64), k.Dropout(0.3)])
    model.add(k.Conv1D(128, 7, activation="relu"))
    model.add(k.MaxPooling1D(3))
    model.add(k.Conv1D(128, 7, activation="relu"))
    model.add(k.GlobalMaxPooling1D())
    model.add(k.Dense(128, activation="relu"))
    model.add(k.Dense(1, activation="sigmoid"))
    x, y = tokens(10 * batch, length, 20000)
    return Workload(model, x, y[:, None].astype(np.float32), "binary_crossentropy", batch)


def unet(keras: Any, batch: int, size: int = 64) -> Workload:
    """A small U-Net: 16, 32 and 64 filters, batch norm, skip connections, a mask of three classes for each pixel."""
    k = keras.layers

    def twice(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = k.ReLU()(k.BatchNormalization()(k.Conv2D(filters, 3, padding="same", use_bias=False)(x)))
        return x

    inputs = keras.Input((size, size, 3))
    first = twice(inputs, 16)
    second = twice(k.MaxPooling2D()(first), 32)
    x = twice(k.MaxPooling2D()(second), 64)
    x = twice(k.Concatenate()([k.UpSampling2D()(x), second]), 32)
    x = twice(k.Concatenate()([k.UpSampling2D()(x), first]), 16)
    outputs = k.Conv2D(3, 1, activation="softmax")(x)
    data, _ = images(6 * batch, size, size, 3)
    masks = np.random.default_rng(1).integers(0, 3, (len(data), size, size))
    return Workload(keras.Model(inputs, outputs), data, masks, SPARSE, batch)


def table(keras: Any, batch: int) -> Workload:
    """Rows of a table: 16 numbers and 8 categories of 50 to 5000 values, embedded; batch norm, dropout, 128-64-1."""
    k = keras.layers
    sizes = (50, 50, 100, 200, 500, 1000, 2000, 5000)
    numbers = keras.Input((16,), name="numbers")
    categories = [keras.Input((1,), dtype="int32", name=f"category{n}") for n in range(len(sizes))]
    pairs = zip(sizes, categories, strict=True)
    embedded = [k.Flatten()(k.Embedding(size, min(32, size // 4))(x)) for size, x in pairs]
    x = k.Concatenate()([k.BatchNormalization()(numbers), *embedded])
    for width in (128, 64):
        x = k.Dropout(0.2)(k.ReLU()(k.BatchNormalization()(k.Dense(width, use_bias=False)(x))))
    model = keras.Model([numbers, *categories], k.Dense(1, activation="sigmoid")(x))
    rng = np.random.default_rng(0)
    count = 40 * batch
    data = {"numbers": rng.standard_normal((count, 16), dtype=np.float32)}
    data |= {f"category{n}": rng.integers(0, s, (count, 1)).astype(np.int32) for n, s in enumerate(sizes)}
    return Workload(model, data, rng.integers(0, 2, (count, 1)).astype(np.float32), "binary_crossentropy", batch)


def series(keras: Any, batch: int, length: int = 256) -> Workload:
    """A classifier of time series: 1-D convolutions of 8, 5 and 3 steps with batch norm, the mean over time."""
    k = keras.layers
    inputs = x = keras.Input((length, 3))
    for filters, taps in ((64, 8), (128, 5), (64, 3)):
        x = k.ReLU()(k.BatchNormalization()(k.Conv1D(filters, taps, padding="same", use_bias=False)(x)))
    outputs = k.Dense(6, activation="softmax")(k.GlobalAveragePooling1D()(x))
    rng = np.random.default_rng(0)
    data = rng.standard_normal((8 * batch, length, 3), dtype=np.float32)
    return Workload(keras.Model(inputs, outputs), data, rng.integers(0, 6, len(data)), SPARSE, batch)


def causal(keras: Any, batch: int, length: int = 512) -> Workload:
    """Gated, dilated, causal convolutions with residuals and skips (WaveNet) that foretell the next step."""
    k = keras.layers
    inputs = keras.Input((length, 1))
    x = k.Conv1D(32, 2, padding="causal")(inputs)
    skips = []
    for apart in (1, 2, 4, 8, 16, 32):
        gate = k.Conv1D(32, 2, dilation_rate=apart, padding="causal", activation="sigmoid")(x)
        value = k.Conv1D(32, 2, dilation_rate=apart, padding="causal", activation="tanh")(x)
        step = k.Conv1D(32, 1)(k.Multiply()([gate, value]))
        x = k.Add()([x, step])
        skips.append(step)
    outputs = k.Conv1D(1, 1)(k.ReLU()(k.Add()(skips)))
    data = np.random.default_rng(0).standard_normal((6 * batch, length + 1, 1), dtype=np.float32)
    return Workload(keras.Model(inputs, outputs), data[:, :-1], data[:, 1:], "mse", batch, ["mae"])


def resnext(keras: Any, batch: int) -> Workload:
    """Residual blocks with 16 groups of 4 and 8 channels for 32 x 32 x 3 images."""
    k = keras.layers

    def finish(x: Any, filters: int, taps: int, **more: Any) -> Any:
        return k.BatchNormalization()(k.Conv2D(filters, taps, padding="same", use_bias=False, **more)(x))

    inputs = keras.Input((32, 32, 3))
    x = k.ReLU()(finish(inputs, 64, 3))
    for filters, stride in ((64, 1), (64, 1), (128, 2), (128, 1)):
        short = x if stride == 1 else finish(x, filters, 1, strides=stride)
        y = k.ReLU()(finish(x, filters, 1))
        y = finish(k.ReLU()(finish(y, filters, 3, strides=stride, groups=16)), filters, 1)
        x = k.ReLU()(k.Add()([short, y]))
    outputs = k.Dense(10, activation="softmax")(k.GlobalAveragePooling2D()(x))
    return Workload(keras.Model(inputs, outputs), *images(6 * batch, 32, 32, 3), SPARSE, batch)


def vision(keras: Any, batch: int, patch: int = 4, width: int = 64) -> Workload:
    """A Vision Transformer: 64 patches of a 32 x 32 x 3 image, four blocks of 4 heads, GELU, layer norm."""
    k = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = k.Reshape((-1, width))(k.Conv2D(width, patch, strides=patch)(inputs))
    for _ in range(4):
        y = k.LayerNormalization(epsilon=1e-6)(x)
        x = k.Add()([x, k.MultiHeadAttention(4, width // 4)(y, y)])
        y = k.Dense(2 * width, activation="gelu")(k.LayerNormalization(epsilon=1e-6)(x))
        x = k.Add()([x, k.Dense(width)(y)])
    outputs = k.Dense(10, activation="softmax")(k.GlobalAveragePooling1D()(k.LayerNormalization(epsilon=1e-6)(x)))
    return Workload(keras.Model(inputs, outputs), *images(6 * batch, 32, 32, 3), SPARSE, batch)


def moving(keras: Any, batch: int, frames: int = 8) -> Workload:
    """Two convolutional LSTMs over frames of 32 x 32 pixels, and the next frame of each from a 3-D convolution."""
    k = keras.layers
    model = keras.Sequential([keras.Input((frames, 32, 32, 1))])
    for _ in range(2):
        model.add(k.ConvLSTM2D(16, 3, padding="same", return_sequences=True))
        model.add(k.BatchNormalization())
    model.add(k.Conv3D(1, 3, padding="same", activation="sigmoid"))
    data = np.random.default_rng(0).random((6 * batch, frames + 1, 32, 32, 1), dtype=np.float32)
    return Workload(model, data[:, :-1], data[:, 1:], "binary_crossentropy", batch, ["mae"])


def dense_blocks(keras: Any, batch: int, growth: int = 12) -> Workload:
    """DenseNet's blocks for 32 x 32 x 3 images: each layer reads what all before it made."""
    k = keras.layers

    def layer(x: Any, filters: int, taps: int) -> Any:
        return k.Conv2D(filters, taps, padding="same", use_bias=False)(k.ReLU()(k.BatchNormalization()(x)))

    inputs = keras.Input((32, 32, 3))
    x = k.Conv2D(2 * growth, 3, padding="same", use_bias=False)(inputs)
    for block in range(3):
        for _ in range(4):
            x = k.Concatenate()([x, layer(layer(x, 4 * growth, 1), growth, 3)])
        if block < 2:
            x = k.AveragePooling2D(2)(layer(x, x.shape[-1] // 2, 1))
    x = k.GlobalAveragePooling2D()(k.ReLU()(k.BatchNormalization()(x)))
    model = keras.Model(inputs, k.Dense(10, activation="softmax")(x))
    return Workload(model, *images(6 * batch, 32, 32, 3), SPARSE, batch)


MORE: dict[str, tuple[Callable[[Any, int], Workload], int]] = {
    "wide64": (wide, 64),
    "auto32": (autoencoder, 32),
    "mobile32": (mobile, 32),
    "gru32": (gru, 32),
    "text32": (text, 32),
    "unet8": (unet, 8),
    "table256": (table, 256),
    "series32": (series, 32),
    "causal16": (causal, 16),
    "resnext32": (resnext, 32),
    "vision32": (vision, 32),
    "moving8": (moving, 8),
    "densenet32": (dense_blocks, 32),
}
