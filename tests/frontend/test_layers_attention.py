"""Attention layers against NumPy; masks, gradients, weights' names, configs."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import pathlib
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.backend import executor
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.masking import get_keras_mask
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import type_of

rng = np.random.default_rng(0)
QUERY = rng.normal(size=(2, 3, 8)).astype("float32")
VALUE = rng.normal(size=(2, 5, 8)).astype("float32")
QUERY_MASK = np.array([[1, 1, 0], [1, 0, 1]], bool)
VALUE_MASK = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 0]], bool)


def tensor(x: Any) -> Any:
    return ops.convert_to_tensor(x)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def heads(x: np.ndarray, dense: Any) -> np.ndarray:
    return np.einsum("bsd,dnh->bsnh", x, np.asarray(dense.kernel)) + np.asarray(dense.bias)


def multi_head(layer: Any, query: Any, value: Any, allowed: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """(output, weights) of a MultiHeadAttention layer, by the textbook."""
    q, k, v = heads(query, layer.query_dense), heads(value, layer.key_dense), heads(value, layer.value_dense)
    scores = np.einsum("btnh,bsnh->bnts", q, k) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = np.where(allowed[:, None], scores, -1e30)
    weights = softmax(scores)
    mixed = np.einsum("bnts,bsnh->btnh", weights, v)
    out = layer.output_dense
    return np.einsum("btnh,nhd->btd", mixed, np.asarray(out.kernel)) + np.asarray(out.bias), weights


def filled(layer: Any) -> Any:
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(size=w.shape).astype("float32") * 0.5 for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention(causal: bool, masked: bool) -> None:
    layer = layers.MultiHeadAttention(num_heads=2, key_dim=4, value_dim=3)
    layer.build(QUERY.shape, VALUE.shape)
    filled(layer)
    allowed = np.ones((2, 3, 5), bool)
    given: dict[str, Any] = {}
    if masked:
        allowed &= VALUE_MASK[:, None] & QUERY_MASK[..., None]
        given = {"value_mask": tensor(VALUE_MASK), "query_mask": tensor(QUERY_MASK)}
    if causal:
        allowed &= np.tril(np.ones((3, 5), bool))
    expected, weights = multi_head(layer, QUERY, VALUE, allowed)
    some = allowed.any(axis=-1)
    output = np.asarray(layer(QUERY, VALUE, use_causal_mask=causal, **given))
    np.testing.assert_allclose(output[some], expected[some], rtol=1e-4, atol=1e-5)
    output, scores = layer(QUERY, VALUE, use_causal_mask=causal, return_attention_scores=True, **given)
    np.testing.assert_allclose(np.asarray(output)[some], expected[some], rtol=1e-4, atol=1e-5)
    rows = np.broadcast_to(some[:, None], (2, 2, 3))
    np.testing.assert_allclose(np.asarray(scores)[rows], weights[rows], rtol=1e-4, atol=1e-6)
    assert scores.shape == (2, 2, 3, 5)


def test_attention_mask_of_any_rank() -> None:
    layer = layers.MultiHeadAttention(2, 4)
    layer.build(QUERY.shape, VALUE.shape)
    filled(layer)
    mask = rng.integers(0, 2, (3, 5)).astype(bool)
    mask[:, 0] = True
    expected, _ = multi_head(layer, QUERY, VALUE, np.broadcast_to(mask, (2, 3, 5)))
    for shaped in (mask, mask[None], np.broadcast_to(mask, (2, 3, 5)), np.broadcast_to(mask, (2, 2, 3, 5))):
        found = layer(QUERY, VALUE, attention_mask=tensor(np.ascontiguousarray(shaped)))
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-5)


def test_sliding_window_and_separate_key() -> None:
    layer = layers.MultiHeadAttention(2, 4, sliding_window=2)
    layer.build(QUERY.shape, QUERY.shape)
    filled(layer)
    near = np.abs(np.arange(3)[:, None] - np.arange(3)) < 2
    expected, _ = multi_head(layer, QUERY, QUERY, np.broadcast_to(near, (2, 3, 3)))
    np.testing.assert_allclose(np.asarray(layer(QUERY, QUERY)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(layer(QUERY, QUERY, QUERY)), expected, rtol=1e-4, atol=1e-5)
    other = np.asarray(layer(QUERY, QUERY, 2 * QUERY))
    assert np.abs(other - expected).max() > 1e-4


def test_attention_over_two_axes() -> None:
    x = rng.normal(size=(2, 3, 4, 6)).astype("float32")
    layer = layers.MultiHeadAttention(2, 4)  # both middle axes
    layer.build(x.shape, x.shape)
    filled(layer)
    flat = layers.MultiHeadAttention(2, 4)
    flat.build((2, 12, 6), (2, 12, 6))
    flat.set_weights(layer.get_weights())
    expected = np.asarray(flat(x.reshape(2, 12, 6), x.reshape(2, 12, 6))).reshape(x.shape)
    np.testing.assert_allclose(np.asarray(layer(x, x)), expected, rtol=1e-4, atol=1e-5)
    rows = layers.MultiHeadAttention(2, 4, attention_axes=-2)
    rows.build(x.shape, x.shape)
    rows.set_weights(layer.get_weights())
    one = layers.MultiHeadAttention(2, 4)
    one.build((6, 4, 6), (6, 4, 6))
    one.set_weights(layer.get_weights())
    expected = np.asarray(one(x.reshape(6, 4, 6), x.reshape(6, 4, 6))).reshape(x.shape)
    np.testing.assert_allclose(np.asarray(rows(x, x)), expected, rtol=1e-4, atol=1e-5)


def test_gate_and_output_shape() -> None:
    layer = layers.MultiHeadAttention(2, 4, use_gate=True, output_shape=5)
    y = layer(QUERY, VALUE)
    assert y.shape == (2, 3, 5) and len(layer.weights) == 10
    assert layer(KerasTensor((None, 3, 8), "float32"), KerasTensor((None, 5, 8), "float32")).shape == (None, 3, 5)


def test_weights_have_the_names_that_files_know() -> None:
    layer = layers.MultiHeadAttention(2, 4, name="mha")
    layer.build(QUERY.shape, VALUE.shape)
    assert [w.path for w in layer.weights] == [
        f"mha/{part}/{name}" for part in ("query", "key", "value", "attention_output") for name in ("kernel", "bias")
    ]
    assert all(
        isinstance(getattr(layer, f"_{n}_dense"), layers.EinsumDense) for n in ("query", "key", "value", "output")
    )
    assert layer.query_dense.kernel.shape == (8, 2, 4) and layer.output_dense.kernel.shape == (2, 4, 8)


def test_masks_of_embeddings() -> None:
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    x = layers.Embedding(5, 8, mask_zero=True)(ids)
    layer = layers.MultiHeadAttention(2, 4)
    y = layer(x, x)
    np.testing.assert_array_equal(np.asarray(get_keras_mask(y)), ids != 0)
    np.testing.assert_array_equal(np.asarray(get_keras_mask(x)), ids != 0)  # the input keeps its mask
    values = np.asarray(x).astype("float32")
    expected, _ = multi_head(layer, values, values, (ids != 0)[:, None] & (ids != 0)[..., None])
    np.testing.assert_allclose(np.asarray(y)[ids != 0], expected[ids != 0], rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training_only() -> None:
    layer = layers.MultiHeadAttention(2, 4, dropout=0.5, seed=1)
    plain = layers.MultiHeadAttention(2, 4)
    for x in (layer, plain):
        x.build(QUERY.shape, VALUE.shape)
    plain.set_weights(layer.get_weights())
    expected = np.asarray(plain(QUERY, VALUE))
    np.testing.assert_allclose(np.asarray(layer(QUERY, VALUE)), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(layer(QUERY, VALUE, training=True)) - expected).max() > 1e-3


def test_grouped_query_attention() -> None:
    layer = layers.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)
    layer.build(QUERY.shape, VALUE.shape)
    filled(layer)
    full = layers.MultiHeadAttention(4, 4)
    full.build(QUERY.shape, VALUE.shape)
    weights = [w if w.shape[-2:] != (2, 4) else np.repeat(w, 2, axis=-2) for w in layer.get_weights()]
    full.set_weights(weights)
    for causal in (False, True):
        expected, scores = full(QUERY, VALUE, use_causal_mask=causal, return_attention_scores=True)
        found = layer(QUERY, VALUE, use_causal_mask=causal)
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-4, atol=1e-5)
        _, own = layer(QUERY, VALUE, use_causal_mask=causal, return_attention_scores=True)
        np.testing.assert_allclose(np.asarray(own), np.asarray(scores), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="divisible"):
        layers.GroupQueryAttention(4, 3, 2)


@pytest.mark.parametrize("mode", ["dot", "concat", "additive"])
@pytest.mark.parametrize("use_scale", [False, True])
def test_attention_without_heads(mode: str, use_scale: bool) -> None:
    key = rng.normal(size=VALUE.shape).astype("float32")
    if mode == "additive":
        layer: Any = layers.AdditiveAttention(use_scale=use_scale)
    else:
        layer = layers.Attention(use_scale=use_scale, score_mode=mode)
    layer.build([QUERY.shape, VALUE.shape, key.shape])
    filled(layer)
    scale = np.asarray(layer.scale) if use_scale else 1.0
    pairs = QUERY[:, :, None] + key[:, None]
    if mode == "dot":
        scores = QUERY @ key.transpose(0, 2, 1) * scale
    elif mode == "concat":
        scores = np.tanh(scale * pairs).sum(-1) * np.asarray(layer.concat_score_weight)
    else:
        scores = (scale * np.tanh(pairs)).sum(-1)
    allowed = VALUE_MASK[:, None] & np.tril(np.ones((3, 5), bool))
    weights = softmax(np.where(allowed, scores, -1e30))
    expected = (weights @ VALUE) * QUERY_MASK[..., None]
    masks = [tensor(QUERY_MASK), tensor(VALUE_MASK)]
    inputs = [tensor(x) for x in (QUERY, VALUE, key)]
    found = layer(inputs, mask=masks, use_causal_mask=True)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-5)
    found, own = layer(inputs, mask=masks, use_causal_mask=True, return_attention_scores=True)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(own), weights, rtol=1e-4, atol=1e-5)


def test_attention_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="list of inputs"):
        layers.Attention()(tensor(QUERY))
    with pytest.raises(ValueError, match="length 2 or 3"):
        layers.Attention()([tensor(QUERY)])
    with pytest.raises(ValueError, match="score_mode"):
        layers.Attention(score_mode="sum")
    with pytest.raises(ValueError, match="num_heads"):
        layers.MultiHeadAttention(0, 4)
    with pytest.raises(ValueError, match="must be equal"):
        layers.MultiHeadAttention(2, 4)(tensor(QUERY), tensor(VALUE), tensor(QUERY))
    with pytest.raises(ValueError, match="flash attention is enabled"):
        layers.MultiHeadAttention(2, 4, flash_attention=True)(QUERY, VALUE, return_attention_scores=True)
    with pytest.raises(ValueError, match="Dropout is not supported"):
        layers.MultiHeadAttention(2, 4, flash_attention=True, dropout=0.1)


@pytest.mark.parametrize("causal", [False, True])
def test_compiled_gradients_against_float64(causal: bool) -> None:
    layer = layers.MultiHeadAttention(2, 4)
    layer.build(QUERY.shape, VALUE.shape)
    filled(layer)
    with Trace() as trace:
        query, value = (trace.input(type_of(x)) for x in (QUERY, VALUE))
        y = layer(query, value, use_causal_mask=causal, value_mask=tensor(VALUE_MASK))
        loss = ops.sum(y * np.random.default_rng(1).normal(size=y.shape).astype("float32"))
        targets = [query.data, value.data, *(trace.read(w).data for w in layer.trainable_weights)]
        found = gradients(trace.builder, [loss.data], targets)
    graph = trace.finish([y, *(Tensor(g, trace) for g in found)])
    arrays = [QUERY, VALUE, *(v.numpy() for v in trace.reads)]
    expected = evaluate(graph, arrays, float64=True)
    outputs = executor.empty_outputs(graph)
    compiled = executor.compile(graph)
    with compiled.lock:
        compiled.bind(arrays, outputs)
        compiled.run()
        compiled.release()
    for a, b in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


EVERY = [
    layers.MultiHeadAttention(2, 4, value_dim=3, use_bias=False, kernel_regularizer="l2", attention_axes=(1,)),
    layers.GroupQueryAttention(4, 4, 2, sliding_window=3, seed=1),
    layers.Attention(use_scale=True, score_mode="concat"),
    layers.AdditiveAttention(use_scale=False),
]


@pytest.mark.parametrize("layer", EVERY, ids=lambda x: type(x).__name__)
def test_config_round_trip(layer: Any) -> None:
    several = isinstance(layer, layers.Attention)
    run = (lambda x: x([tensor(QUERY), tensor(VALUE)])) if several else (lambda x: x(QUERY, VALUE))
    expected = np.asarray(run(layer))
    config = json.loads(json.dumps(layers.serialize(layer)))
    copy = layers.deserialize(config)
    assert type(copy) is type(layer) and json.loads(json.dumps(layers.serialize(copy))) == config
    if not copy.built:
        run(copy)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(np.asarray(run(copy)), expected)


def test_default_configs_are_those_of_keras() -> None:
    golden = json.loads((pathlib.Path(__file__).parent / "golden" / "default_configs.json").read_text())
    for name, layer in {
        "MultiHeadAttention": layers.MultiHeadAttention(2, 4, name="multi_head_attention"),
        "GroupQueryAttention": layers.GroupQueryAttention(4, 4, 2, name="grouped_query_attention"),
        "Attention": layers.Attention(name="attention"),
        "AdditiveAttention": layers.AdditiveAttention(name="additive_attention"),
    }.items():
        expected = golden[f"keras.layers.{name}"]["serialized"]
        found = json.loads(json.dumps(layers.serialize(layer)))
        assert {k: found[k] for k in expected} == expected


def test_docstring_examples() -> None:
    for name in ("attention", "multi_head_attention", "grouped_query_attention"):
        result = doctest.testmod(importlib.import_module(f"graphkeras.layers.attention.{name}"))
        assert result.failed == 0 and result.attempted > 0


def test_in_a_model() -> None:
    inputs = keras.Input((6,))
    x = layers.Embedding(10, 8, mask_zero=True)(inputs)
    y, scores = layers.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)
    assert scores.shape == (None, 2, 6, 6)
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(y)))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    ids = np.random.default_rng(0).integers(1, 10, (32, 6))
    target = (ids == 3).any(axis=1).astype("float32")
    losses = model.fit(ids, target, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
