"""Layers with integer matrices: closeness to the floats, sizes, files, LoRA, gradients, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras import layers, ops, quantizers
from tests.frontend.layer_cases import run_traced

rng = np.random.default_rng(17)

CONFIGS = {
    "int8": (quantizers.Int8QuantizationConfig(), 0.02),
    "int8 weights only": (quantizers.Int8QuantizationConfig(activation_quantizer=None), 0.02),
    "int4": (quantizers.Int4QuantizationConfig(block_size=None), 0.2),
    "int4 in groups": (quantizers.Int4QuantizationConfig(block_size=16), 0.2),
}


def make(name: str) -> tuple[Any, np.ndarray]:
    x = rng.normal(size=(8, 3, 40)).astype("float32")
    if name == "Dense":
        return layers.Dense(7), x
    if name == "EinsumDense":
        return layers.EinsumDense("abc,cde->abed", (None, 3, 5), bias_axes="d"), x
    if name == "EinsumDense with two summed axes":
        return layers.EinsumDense("abc,bcd->ad", 6), x
    return layers.Embedding(50, 40), rng.integers(0, 50, (8, 3))


NAMES = ["Dense", "EinsumDense", "EinsumDense with two summed axes", "Embedding"]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_quantized_layer_is_close_to_the_floats(name: str, config: str) -> None:
    layer, x = make(name)
    exact = np.asarray(layer(x))
    chosen, tolerance = CONFIGS[config]
    layer.quantize(config=chosen)
    output = np.asarray(layer(x))
    assert np.abs(output - exact).max() < tolerance * np.abs(exact).max()
    traced, _ = run_traced(layer, x if name != "Embedding" else x.astype("int32"))
    np.testing.assert_allclose(traced, output, rtol=1e-5, atol=1e-6)
    matrix = layer._embeddings if name == "Embedding" else layer._kernel
    assert matrix.dtype == "int8"
    assert layer.quantization_mode == chosen.mode
    assert all(w.name not in ("kernel", "embeddings") for w in layer.trainable_weights)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_files_and_configs_of_quantized_layers(name: str, config: str) -> None:
    layer, x = make(name)
    layer(x)
    layer.quantize(config=CONFIGS[config][0])
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    copy = layers.deserialize(layers.serialize(layer))
    assert copy.built and copy.is_quantized
    copy.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    np.testing.assert_allclose(np.asarray(copy(x)), np.asarray(layer(x)), rtol=1e-5, atol=1e-6)


def test_shapes_of_what_is_kept() -> None:
    dense, _ = make("Dense")
    dense.build((None, 40))
    dense.quantize("int4", config=quantizers.Int4QuantizationConfig(block_size=16))
    kept = {n: tuple(getattr(dense, n).shape) for n in ("_kernel", "kernel_scale", "kernel_zero", "g_idx")}
    assert kept == {"_kernel": (40, 4), "kernel_scale": (3, 7), "kernel_zero": (3, 7), "g_idx": (40,)}
    assert dense.dtype_policy.name == "int4/16_from_float32"
    einsum, _ = make("EinsumDense")
    einsum.build((None, 3, 40))
    einsum.quantize("int8")
    assert tuple(einsum.kernel_scale.shape) == (1, 1, 3, 5)  # as the output's axes a, b, e, d
    embedding = layers.Embedding(50, 40, dtype="int4/16_from_float32")
    embedding.build()
    assert tuple(embedding._embeddings.shape) == (50, 20) and tuple(embedding.embeddings_scale.shape) == (50, 3)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("config", CONFIGS)
def test_reversible_embedding(config: str, tie: bool) -> None:
    layer = layers.ReversibleEmbedding(30, 40, tie_weights=tie)
    tokens = rng.integers(0, 30, (4, 5))
    vectors = layer(tokens)
    exact = np.asarray(layer(vectors, reverse=True))
    chosen, tolerance = CONFIGS[config]
    layer.quantize(config=chosen)
    scores = np.asarray(layer(vectors, reverse=True))
    assert np.abs(scores - exact).max() < tolerance * np.abs(exact).max()
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    copy = layers.deserialize(layers.serialize(layer))
    copy.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    np.testing.assert_allclose(np.asarray(copy(vectors, reverse=True)), scores, rtol=1e-5, atol=1e-6)


def test_lora_on_integers_is_merged_when_saved() -> None:
    layer, x = make("Dense")
    layer(x)
    layer.quantize("int8")
    layer.enable_lora(2)
    assert [w.name for w in layer.trainable_weights] == ["bias", "lora_kernel_a", "lora_kernel_b"]
    layer.lora_kernel_b.assign(rng.normal(size=(2, 7)).astype("float32"))
    output = np.asarray(layer(x))
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    copy = layers.Dense(7, dtype="int8_from_float32")
    copy.build(x.shape)
    copy.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    assert np.abs(np.asarray(copy(x)) - output).max() < 0.02 * np.abs(output).max()


def test_rounded_inputs_have_the_gradient_of_the_inputs() -> None:
    from graphkeras.core.trace import Trace
    from graphkeras.ir.autodiff import gradients
    from graphkeras.ir.interpreter import evaluate
    from graphkeras.ir.types import type_of

    layer, x = make("Dense")
    layer(x)
    layer.quantize("int8")
    with Trace() as trace:
        argument = trace.input(type_of(x))
        total = ops.sum(layer(argument))
        (gradient,) = gradients(trace.builder, [total.data], [argument.data])
        graph = trace.finish([trace.lift(total)])
        graph = type(graph)(graph.inputs, [gradient], "gradient")
    (value,) = evaluate(graph, [x, *(v.numpy() for v in trace.reads)])
    expected = np.broadcast_to(np.asarray(layer.kernel).sum(-1), x.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_errors() -> None:
    class Mine(layers.Dense):
        pass

    layer = layers.Dense(2)
    with pytest.raises(ValueError, match="isn't yet built"):
        layer.quantize("int8")
    layer.build((None, 4))
    with pytest.raises(ValueError, match="Invalid quantization mode"):
        layer.quantize("int7")
    with pytest.raises(NotImplementedError, match="float8"):
        layer.quantize("float8")
    with pytest.raises(ValueError, match="Contradictory"):
        layer.quantize("int8", config=quantizers.Int4QuantizationConfig())
    layer.quantize("int8")
    with pytest.raises(ValueError, match="already quantized with dtype_policy='int8_from_float32'"):
        layer.quantize("int4")
    mine = Mine(2)
    mine.build((None, 4))
    with pytest.raises(NotImplementedError, match="subclass"):
        mine.quantize("int8")
    mine.quantize("int8", type_check=False)
    with pytest.raises(ValueError, match="block_size must be"):
        quantizers.Int4QuantizationConfig(block_size=0)
    with pytest.raises(ValueError, match="does not support custom quantizers"):
        quantizers.Int4QuantizationConfig(activation_quantizer=quantizers.AbsMaxQuantizer())
    with pytest.raises(ValueError, match=r"value_range=\(-8, 7\)"):
        quantizers.Int4QuantizationConfig(quantizers.AbsMaxQuantizer(), block_size=None)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_packing_two_integers_in_a_byte(axis: int, dtype: str) -> None:
    low, high = (-8, 8) if dtype == "int8" else (0, 16)
    values = rng.integers(low, high, (5, 3)).astype(dtype)
    packed, shape, n = quantizers.pack_int4(values, axis=axis, dtype=dtype)
    assert packed.shape == shape and shape[axis] == (values.shape[axis] + 1) // 2 and n == values.shape[axis]
    np.testing.assert_array_equal(np.asarray(quantizers.unpack_int4(packed, n, axis=axis, dtype=dtype)), values)
    with pytest.raises(TypeError, match="Expected"):
        quantizers.pack_int4(values.astype("int32"), dtype=dtype)


def test_groups_with_zero_points() -> None:
    x = rng.normal(size=(21, 4)).astype("float32")
    values, scale, zero = quantizers.abs_max_quantize_grouped_with_zero_point(x, 8)
    assert scale.shape == zero.shape == (3, 4) and values.dtype == zero.dtype == "int8"
    assert np.asarray(values).min() >= -8 and np.asarray(values).max() <= 7
    groups = np.arange(21) // 8
    restored = (np.asarray(values, "float32") - np.asarray(zero)[groups]) * np.asarray(scale)[groups]
    assert (np.abs(restored - x) <= 1.01 * np.asarray(scale)[groups]).all()


def test_get_and_serialize() -> None:
    quantizer = quantizers.get("abs_max_quantizer", axis=0)
    assert quantizer.axis == (0,)
    copy = quantizers.deserialize(quantizers.serialize(quantizer))
    assert copy.get_config() == quantizer.get_config()
    assert quantizers.get(None) is None and quantizers.get(quantizer) is quantizer
    with pytest.raises(ValueError, match="Could not interpret"):
        quantizers.get("unknown")
    with pytest.raises(ValueError, match="within the interval"):
        quantizers.AbsMaxQuantizer(value_range=(-256, 255))


def test_whole_model() -> None:
    import graphkeras

    inputs = graphkeras.Input((8,))
    hidden = layers.Dense(16, activation="relu", name="first")(inputs)
    model = graphkeras.Model(inputs, layers.Dense(3, name="second")(layers.BatchNormalization()(hidden)))
    x = rng.normal(size=(4, 8)).astype("float32")
    exact = model.predict(x, verbose=0)
    with pytest.raises(ValueError, match="Unrecognized keyword arguments"):
        model.quantize("int8", other=1)
    with pytest.raises(ValueError, match="Invalid quantization mode"):
        model.quantize("int7")
    with pytest.raises(ValueError, match="`filters` argument"):
        model.quantize("int8", filters=3)
    model.quantize("int8", filters="sec")
    assert not model.get_layer("first").is_quantized and model.get_layer("second").is_quantized
    with pytest.warns(UserWarning, match="BatchNormalization"):
        model.quantize("int8", filters=lambda layer: layer.name != "second")
    assert model.get_layer("first").is_quantized
    assert np.abs(model.predict(x, verbose=0) - exact).max() < 0.03 * np.abs(exact).max()
