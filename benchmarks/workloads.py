"""The models that are timed, written against any module with the Keras 3 API, with random data of fixed seed.

WORKLOADS are those that every suite runs by default; MORE (see more_workloads.py) are other ordinary models.
`build(keras, name)` gives a Workload. Speed does not depend on the values, and every contestant gets the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.more_workloads import MORE
from benchmarks.workload import SPARSE, Workload, images, tokens


def mlp(keras: Any, batch: int, width: int = 256, depth: int = 2, steps: int = 100) -> Workload:
    """784-256-256-10 with ReLU, 269,322 weights."""
    dense = keras.layers.Dense
    hidden = [dense(width, activation="relu") for _ in range(depth)]
    model = keras.Sequential([keras.Input((784,)), *hidden, dense(10, activation="softmax")])
    return Workload(model, *images(steps * batch, 784), SPARSE, batch)


def cnn(keras: Any, batch: int) -> Workload:
    """The MNIST convnet of the Keras examples."""
    k = keras.layers
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for filters in (32, 64):
        model.add(k.Conv2D(filters, 3, activation="relu"))
        model.add(k.MaxPooling2D(2))
    for layer in (k.Flatten(), k.Dropout(0.5), k.Dense(10, activation="softmax")):
        model.add(layer)
    return Workload(model, *images(10 * batch, 28, 28, 1), SPARSE, batch)


def lstm(keras: Any, batch: int, length: int = 100) -> Workload:
    """Sentiment over 100 tokens: Embedding 20000 x 128, LSTM 128."""
    k = keras.layers
    model = keras.Sequential(
        [keras.Input((length,), dtype="int32"), k.Embedding(20000, 128), k.LSTM(128), k.Dense(1, activation="sigmoid")]
    )
    x, y = tokens(10 * batch, length, 20000)
    return Workload(model, x, y[:, None].astype(np.float32), "binary_crossentropy", batch)


def resnet(keras: Any, batch: int) -> Workload:
    """ResNet-20 for 32 x 32 x 3 images: three stages of three blocks with 16, 32 and 64 filters."""
    k = keras.layers

    def unit(x: Any, filters: int, size: int, stride: int) -> Any:
        x = k.Conv2D(filters, size, strides=stride, padding="same", use_bias=False)(x)
        return k.BatchNormalization()(x)

    inputs = keras.Input((32, 32, 3))
    x = k.ReLU()(unit(inputs, 16, 3, 1))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            y = k.ReLU()(unit(x, filters, 3, stride))
            y = unit(y, filters, 3, 1)
            shortcut = unit(x, filters, 1, 2) if stride == 2 else x
            x = k.ReLU()(k.Add()([shortcut, y]))
    outputs = k.Dense(10, activation="softmax")(k.GlobalAveragePooling2D()(x))
    return Workload(keras.Model(inputs, outputs), *images(6 * batch, 32, 32, 3), SPARSE, batch)


def resnet50(keras: Any, batch: int, size: int = 224) -> Workload:
    """ResNet-50 for size x size x 3 images: four stages of bottleneck blocks, the stride in their 3 x 3 convolution."""
    k = keras.layers

    def unit(x: Any, filters: int, size: int, stride: int) -> Any:
        x = k.Conv2D(filters, size, strides=stride, padding="same", use_bias=False)(x)
        return k.BatchNormalization()(x)

    inputs = keras.Input((size, size, 3))
    x = k.MaxPooling2D(3, 2, padding="same")(k.ReLU()(unit(inputs, 64, 7, 2)))
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = k.ReLU()(unit(x, filters, 1, 1))
            y = k.ReLU()(unit(y, filters, 3, stride))
            y = unit(y, 4 * filters, 1, 1)
            shortcut = x if block else unit(x, 4 * filters, 1, stride)
            x = k.ReLU()(k.Add()([shortcut, y]))
    outputs = k.Dense(1000, activation="softmax")(k.GlobalAveragePooling2D()(x))
    x_train, y_train = images(batch, size, size, 3)
    return Workload(keras.Model(inputs, outputs), x_train, y_train, SPARSE, batch)


def transformer(keras: Any, batch: int, length: int = 200) -> Workload:
    """One Transformer block (2 heads, width 32) over 200 tokens, then a small classifier."""
    k = keras.layers
    width, heads, vocabulary = 32, 2, 20000
    inputs = keras.Input((length,), dtype="int32")
    x = k.Embedding(vocabulary, width)(inputs)
    x = k.LayerNormalization(epsilon=1e-6)(x + k.MultiHeadAttention(heads, width)(x, x))
    x = k.LayerNormalization(epsilon=1e-6)(x + k.Dense(width)(k.Dense(width, activation="relu")(x)))
    x = k.Dropout(0.1)(k.GlobalAveragePooling1D()(x))
    outputs = k.Dense(2, activation="softmax")(k.Dense(20, activation="relu")(x))
    return Workload(keras.Model(inputs, outputs), *tokens(10 * batch, length, vocabulary), SPARSE, batch)


WORKLOADS: dict[str, tuple[Callable[[Any, int], Workload], int]] = {
    "mlp32": (mlp, 32),
    "mlp128": (mlp, 128),
    "cnn32": (cnn, 32),
    "cnn128": (cnn, 128),
    "lstm32": (lstm, 32),
    "resnet32": (resnet, 32),
    "tr32": (transformer, 32),
}

LARGE: dict[str, tuple[Callable[[Any, int], Workload], int]] = {"resnet50": (resnet50, 8)}
"""Of use where a single step is measured: compiling."""

FAMILIES: dict[str, Callable[..., Workload]] = {
    "mlp": mlp,
    "cnn": cnn,
    "lstm": lstm,
    "resnet": resnet,
    "resnet50": resnet50,
    "transformer": transformer,
}


def workloads() -> list[str]:
    """The names of all workloads that are trained for a while."""
    return [*WORKLOADS, *MORE]


def chosen(names: Sequence[str]) -> list[str]:
    """The workloads that these names mean: "more" and "all" are groups, no name means the usual ones."""
    groups = {"more": list(MORE), "all": workloads()}
    return list(dict.fromkeys(w for name in names or WORKLOADS for w in groups.get(name, [name])))


def build(keras: Any, name: str) -> Workload:
    """The workload of that name, or "family:batch=32,length=50" for a member of a family."""
    if ":" in name:
        family, _, text = name.partition(":")
        return FAMILIES[family](keras, **{k: int(v) for k, v in (part.split("=") for part in text.split(","))})
    make, batch = {**WORKLOADS, **MORE, **LARGE}[name]
    return make(keras, batch)
