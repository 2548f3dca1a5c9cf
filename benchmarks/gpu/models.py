"""The models that are trained on a GPU, as specifications "family:key=number,...", for any module with the Keras API.

Small ones are those of `python -m benchmarks models`. The large ones have several batches of data, so that an epoch is
more than one step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.workloads import SPARSE, Workload

SMALL = {
    "full": tuple(f"{f}:batch={n}" for f in ("mlp", "cnn", "lstm", "transformer") for n in (32, 128)),
    "tiny": (
        "mlp:batch=8,width=16,steps=3",
        "cnn:batch=2",
        "lstm:batch=2,length=3",
        "transformer:batch=2,length=4",
    ),
}
LARGE = {
    "full": ("resnet50:batch=64", "encoder:batch=16"),
    "tiny": ("resnet50:batch=2,size=32", "encoder:batch=2,length=4,layers=2,width=16,heads=2,vocabulary=50"),
}
PRECISIONS = ("tf32", "mixed_bfloat16")
"""What the large models are trained in. The small ones are trained in tf32."""
CURVES = {
    "full": ("mlp:batch=32,steps=50", "cnn:batch=32", "lstm:batch=32", "transformer:batch=32"),
    "tiny": ("mlp:batch=8,width=16,steps=3", "transformer:batch=2,length=4"),
}
STEPS = 8  # batches of the large models' data


def encoder_data(batch: int, length: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, vocabulary, (STEPS * batch, length)).astype(np.int32)
    return x, rng.integers(0, 2, STEPS * batch)


def encoder(
    keras: Any,
    batch: int,
    length: int = 512,
    layers: int = 12,
    width: int = 768,
    heads: int = 12,
    vocabulary: int = 30_000,
) -> Workload:
    """A Transformer of 12 layers (108 million weights, normalisation first) that tells two kinds of text apart."""
    k = keras.layers
    inputs = keras.Input((length,), dtype="int32")
    x = k.Embedding(vocabulary, width)(inputs)
    for _ in range(layers):
        y = k.LayerNormalization(epsilon=1e-6)(x)
        x = x + k.MultiHeadAttention(heads, width // heads)(y, y)
        y = k.LayerNormalization(epsilon=1e-6)(x)
        x = x + k.Dense(width)(k.Dense(4 * width, activation="gelu")(y))
    x = k.GlobalAveragePooling1D()(k.LayerNormalization(epsilon=1e-6)(x))
    model = keras.Model(inputs, k.Dense(2, activation="softmax", dtype="float32")(x))
    return Workload(model, *encoder_data(batch, length, vocabulary), SPARSE, batch)


def split(spec: str) -> tuple[str, dict[str, int]]:
    """("family", {key: number}) of a specification."""
    family, _, text = spec.partition(":")
    return family, {k: int(v) for k, v in (part.split("=") for part in text.split(",") if part)}


def build(keras: Any, spec: str) -> Workload:
    family, settings = split(spec)
    if family == "encoder":
        return encoder(keras, **settings)
    work = workloads.FAMILIES[family](keras, **settings)
    if family == "resnet50":
        work.x, work.y = (np.concatenate([a] * STEPS) for a in (work.x, work.y))
    return work
