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


MORE: dict[str, tuple[Callable[[Any, int], Workload], int]] = {
    "wide64": (wide, 64),
    "auto32": (autoencoder, 32),
    "mobile32": (mobile, 32),
    "gru32": (gru, 32),
    "text32": (text, 32),
    "unet8": (unet, 8),
    "table256": (table, 256),
}
