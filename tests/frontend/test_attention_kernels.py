"""Attention layers compiled: one kernel forward, one backward, no copies of heads, no scores in memory, any mask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.backend import executor


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The programs that are compiled from here on."""
    made: list[Any] = []
    before = executor.NativeExecutable.__init__

    def init(self: Any, graph: Any, program: Any) -> None:
        before(self, graph, program)
        made.append(program)

    monkeypatch.setattr(executor.NativeExecutable, "__init__", init)
    yield made


def train(model: Any, x: Any, y: Any) -> None:
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)


def kernels(programs: list[Any]) -> list[str]:
    return [k.name.split("_")[0] for k in programs[-1].kernels]


class Padded(layers.Layer):
    """Marks positions with a low first feature as padding."""

    def call(self, x: Any) -> Any:
        return x

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return ops.greater(x[:, :, 0], 0.3)


def attention_model(layer: Any, length: int, padded: bool, **call: Any) -> Any:
    inputs = keras.Input((length, 8))
    x = Padded()(inputs) if padded else inputs
    return keras.Model(inputs, layer(x, x, **call))


LAYERS = {
    "heads": lambda: layers.MultiHeadAttention(2, 4),
    "value size": lambda: layers.MultiHeadAttention(2, 4, value_dim=6, dropout=0.2),
    "groups": lambda: layers.GroupQueryAttention(4, 4, 2, dropout=0.2),
    "window": lambda: layers.MultiHeadAttention(2, 4, sliding_window=5),
}


@pytest.mark.parametrize("padded, causal", [(False, False), (True, True)])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_step_has_one_kernel_forward_and_one_backward(
    kind: str, padded: bool, causal: bool, programs: list[Any]
) -> None:
    model = attention_model(LAYERS[kind](), 24, padded, use_causal_mask=causal)
    x = np.random.default_rng(0).random((8, 24, 8), dtype="float32")
    train(model, x, x)
    names = kernels(programs)
    assert names.count("attention") == 2 and "copy" not in names


def test_memory_of_a_long_sequence(programs: list[Any]) -> None:
    """A matrix of scores, or of one mask byte for each, would be 4 MiB or more for each head."""
    model = attention_model(layers.MultiHeadAttention(2, 4, dropout=0.1), 2048, True, use_causal_mask=True)
    x = np.random.default_rng(0).random((4, 2048, 8), dtype="float32")
    train(model, x, x)
    assert programs[-1].arena_nbytes < 12 * x.nbytes


def test_dropout_drops_the_same_weights_as_with_scores() -> None:
    x = np.random.default_rng(0).random((2, 10, 8), dtype="float32")
    results = []
    for wanted in (False, True):
        layer = layers.MultiHeadAttention(2, 4, dropout=0.5, seed=3)
        layer.build(x.shape, x.shape)
        random = np.random.default_rng(1)
        layer.set_weights([random.normal(size=w.shape) for w in layer.get_weights()])
        if wanted:
            results.append(layer(x, x, training=True, return_attention_scores=True)[0])
        else:
            results.append(layer(x, x, training=True))
    np.testing.assert_allclose(np.asarray(results[0]), np.asarray(results[1]), rtol=1e-4, atol=1e-5)


class ByHand(layers.Layer):
    """Attention as people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = layers.Dense(8)
        self.drop = layers.Dropout(0.1)

    def call(self, x: Any) -> Any:
        q = ops.transpose(ops.reshape(self.project(x), (-1, x.shape[1], 2, 4)), (0, 2, 1, 3))
        scores = ops.matmul(q, ops.transpose(q, (0, 1, 3, 2))) / ops.sqrt(4.0)
        place = ops.arange(x.shape[1])
        scores = ops.where(place[:, None] >= place, scores, -1e9)
        mixed = ops.matmul(self.drop(ops.softmax(scores, axis=-1)), q)
        return ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, x.shape[1], 8))


def test_attention_written_by_hand(programs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).random((8, 24, 8), dtype="float32")
    weights = []
    for found in (True, False):
        if not found:
            monkeypatch.setenv("GRAPHKERAS_PASSES", "-attention")
            monkeypatch.setattr("graphkeras.ir.autodiff.for_gradient", lambda *given: None)
        keras.utils.set_random_seed(5)
        inputs = keras.Input((24, 8))
        model = keras.Model(inputs, ByHand()(inputs))
        train(model, x, x)
        assert kernels(programs).count("attention") == (2 if found else 0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_lengths_and_batches_share_their_kernels(programs: list[Any]) -> None:
    layer = layers.MultiHeadAttention(2, 4)
    sources = []
    for batch, length in ((4, 12), (3, 40), (4, 100)):
        model = attention_model(layer, length, False)
        model.predict(np.zeros((batch, length, 8), "float32"), batch_size=batch, verbose=0)
        sources.append({k.source for k in programs[-1].kernels if k.name.startswith("attention")})
    assert sources[0] == sources[1] == sources[2] and len(sources[0]) == 1
