"""Kernel sources are Numba's as well: the same texts through both front ends give the same training."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.codegen import flags
from graphkeras.codegen.cpu import cache, compiler
from graphkeras.codegen.cpu.fingerprint import fingerprint

layers = keras.layers


def perceptron() -> keras.Model:
    return keras.Sequential(
        [keras.Input((12,)), layers.Dense(32, "gelu"), layers.Dropout(0.3), layers.Dense(4, "softmax")]
    )


def images() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Reshape((3, 2, 2)),
            layers.Conv2D(6, 3, padding="same"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dense(4, "softmax"),
        ]
    )


def sequences() -> keras.Model:
    x = inputs = keras.Input((12,))
    x = layers.Reshape((6, 2))(x)
    x = layers.GRU(8, return_sequences=True)(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(inputs, layers.Dense(4, "softmax")(layers.GlobalAveragePooling1D()(x)))


def trained(make, frontend: str) -> tuple[list[float], np.ndarray]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 12)).astype("float32"), rng.integers(0, 4, 70)
    keras.utils.set_random_seed(3)
    with flags.FRONTEND(frontend):
        model = make()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        losses = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        return losses, model.predict(x, verbose=0)


@pytest.mark.parametrize("make", [perceptron, images, sequences])
def test_both_front_ends_train_alike(make, tmp_path) -> None:
    pytest.importorskip("numba")
    with flags.CACHE(tmp_path):
        before = cache.counts.compiled
        losses, outputs = trained(make, "numba")
        assert cache.counts.compiled > before and "graphkeras.codegen.cpu.numba_front" in sys.modules
    expected, values = trained(make, "own")
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(outputs, values, rtol=1e-4, atol=1e-6)


def test_objects_of_the_two_are_kept_apart() -> None:
    with flags.FRONTEND("numba"):
        other = fingerprint()
    assert other != fingerprint()


def test_what_numba_refuses_is_said_with_the_source() -> None:
    pytest.importorskip("numba")
    source = "from graphkeras.codegen.cpu.support import *\n\n\ndef kernel(args, lo, hi):\n    y = fabs(args)\n"
    with flags.FRONTEND("numba"), pytest.raises(compiler.CompileError, match=r"does not compile(.|\n)*y = fabs"):
        compiler.compile_object(source)


def test_settings_that_change_programs_are_part_of_their_key() -> None:
    from graphkeras.backend import executor
    from graphkeras.ir.graph import Builder, Graph
    from graphkeras.ir.types import TensorType

    b = Builder()
    x = b.input(TensorType((5, 3), "float32"), "x")
    graph = Graph([x], [b.exp(b.neg(x))], "settings")
    plain = executor.compile(graph)
    with flags.PASSES("-fuse"):
        other = executor.compile(graph)
        assert other is not plain and executor.compile(graph) is other
    assert executor.compile(graph) is plain
