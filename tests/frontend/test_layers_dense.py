"""Dense, EinsumDense, Embedding, activations, Lambda, Masking: values, errors, deprecated spellings, LoRA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras import layers, ops
from tests.frontend.layer_cases import run_traced

rng = np.random.default_rng(3)


def test_dense_is_the_affine_map() -> None:
    x = rng.normal(size=(4, 3, 5)).astype("float32")
    layer = layers.Dense(2, activation="tanh", bias_initializer="ones")
    expected = np.tanh(x @ layer_weights(layer, x)[0] + 1.0)
    np.testing.assert_allclose(np.asarray(layer(x)), expected, rtol=1e-5)
    assert [w.path for w in layer.weights] == [f"{layer.name}/kernel", f"{layer.name}/bias"]


def layer_weights(layer: Any, x: Any) -> list[np.ndarray]:
    layer(x)
    return layer.get_weights()


def test_dense_checks_units_and_features() -> None:
    for bad in (0, -1, 2.5, "3", True):
        with pytest.raises(ValueError, match="positive integer"):
            layers.Dense(bad)
    layer = layers.Dense(2)
    layer.build((None, 4))
    with pytest.raises(ValueError, match="incompatible with the layer"):
        layer(np.ones((2, 5), "float32"))


def test_deprecated_input_shape_warns() -> None:
    with pytest.warns(UserWarning, match="input_shape"):
        layers.Dense(2, input_shape=(3,))
    with pytest.warns(UserWarning, match="input_shape"):
        layers.Dense(2, input_dim=3)
    with pytest.raises(ValueError, match="weights"):
        layers.Dense(2, weights=[np.ones((3, 2))])


def test_dense_lora_starts_at_the_kernel_and_merges_when_saved() -> None:
    x = rng.normal(size=(4, 5)).astype("float32")
    layer = layers.Dense(3)
    before = np.asarray(layer(x))
    layer.enable_lora(2, lora_alpha=4)
    np.testing.assert_allclose(np.asarray(layer(x)), before, rtol=1e-6)
    assert [w.name for w in layer.trainable_weights] == ["bias", "lora_kernel_a", "lora_kernel_b"]
    layer.lora_kernel_b.assign(np.ones((2, 3), "float32"))
    low_rank = 2.0 * np.asarray(layer.lora_kernel_a) @ np.ones((2, 3), "float32")
    np.testing.assert_allclose(np.asarray(layer(x)), before + x @ low_rank, rtol=1e-4, atol=1e-5)
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    plain = layers.Dense(3)
    plain.build((None, 5))
    plain.load_own_variables(store)
    np.testing.assert_allclose(np.asarray(plain(x)), np.asarray(layer(x)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="already enabled"):
        layer.enable_lora(2)
    with pytest.raises(ValueError, match="isn't yet built"):
        layers.Dense(3).enable_lora(2)
    constrained = layers.Dense(3, kernel_constraint="non_neg")
    constrained.build((None, 5))
    with pytest.raises(ValueError, match="incompatible with kernel constraints"):
        constrained.enable_lora(2)


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "shape", "kernel", "bias"),
    [
        ("ab,bc->ac", 6, "c", (2, 5), (5, 6), (6,)),
        ("abc,cde->abde", (None, 2, 6), "de", (2, 3, 5), (5, 2, 6), (2, 6)),
        ("abc,cde->abde", (3, 2, 6), "be", (2, 3, 5), (5, 2, 6), (3, 1, 6)),
        ("...x,xy->...y", 6, "y", (2, 3, 4, 5), (5, 6), (6,)),
        ("ab...,bc->ac...", 6, "c", (2, 5, 3, 4), (5, 6), (6, 1, 1)),
        ("ab,b->a", (), None, (2, 5), (5,), None),
    ],
)
def test_einsum_dense(
    equation: str, output_shape: Any, bias_axes: Any, shape: tuple[int, ...], kernel: Any, bias: Any
) -> None:
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, bias_initializer="ones")
    x = rng.normal(size=shape).astype("float32")
    assert layer.compute_output_shape((None, *shape[1:]))[0] is None
    output = np.asarray(layer(x))
    assert tuple(layer.kernel.shape) == kernel
    assert (None if layer.bias is None else tuple(layer.bias.shape)) == bias
    expected = np.einsum(equation, x, np.asarray(layer.kernel)) + (bias is not None)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape(shape) == expected.shape


def test_einsum_dense_counts_fans_of_its_equation() -> None:
    layer = layers.EinsumDense("abc,cde->abde", (None, 40, 50), kernel_initializer="glorot_uniform")
    layer.build((None, 3, 100))
    limit = np.float32(np.sqrt(6 / (100 + 40 * 50))) * (1 + 1e-6)  # inputs c, outputs d * e; rounding
    assert 0.95 * limit < np.abs(np.asarray(layer.kernel)).max() <= limit


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "message"),
    [
        ("ab,bc", 3, None, "Invalid einsum equation"),
        ("ab,bc->ad", 3, None, "no corresponding dim"),
        ("ab,bz->a", (), None, "fully specified"),
        ("ab,bc->ac", 3, "d", "not part of the output"),
        ("abc,cd->abd", (7, 3), None, "shared dimension 'b'"),
    ],
)
def test_einsum_dense_errors(equation: str, output_shape: Any, bias_axes: Any, message: str) -> None:
    shape = (None, 4, 5) if "abc" in equation else (None, 4)
    with pytest.raises(ValueError, match=message):
        layers.EinsumDense(equation, output_shape, bias_axes=bias_axes).build(shape)


def test_embedding_looks_up_rows_and_masks_zero() -> None:
    table = rng.normal(size=(6, 3)).astype("float32")
    layer = layers.Embedding(6, 3, weights=[table], mask_zero=True)
    tokens = np.array([[1, 5, 0]])
    output = layer(tokens)
    np.testing.assert_array_equal(np.asarray(output), table[tokens])
    np.testing.assert_array_equal(np.asarray(output._keras_mask), tokens != 0)
    dense = layers.Dense(2)(output)
    np.testing.assert_array_equal(np.asarray(dense._keras_mask), tokens != 0)
    traced, _ = run_traced(layer, tokens.astype("int32"))
    np.testing.assert_array_equal(traced, table[tokens])
    np.testing.assert_array_equal(np.asarray(layer(tokens.astype("float32"))), table[tokens])
    assert layers.Embedding(6, 3)(tokens)._keras_mask is None


def test_embedding_arguments() -> None:
    with pytest.warns(UserWarning, match="input_length"):
        layers.Embedding(6, 3, input_length=4)
    for bad in (0, -1, 2.5, None, True):
        with pytest.raises(ValueError, match="`input_dim` must be a positive integer"):
            layers.Embedding(bad, 3)
        with pytest.raises(ValueError, match="`output_dim` must be a positive integer"):
            layers.Embedding(3, bad)
    with pytest.raises((ValueError, IndexError), match="7"):
        layers.Embedding(6, 3)(np.array([[7]]))


@pytest.mark.parametrize("tie", [True, False])
def test_reversible_embedding(tie: bool) -> None:
    layer = layers.ReversibleEmbedding(6, 3, tie_weights=tie, mask_zero=True, logit_soft_cap=2.0)
    vectors = layer(np.array([[1, 0]]))
    assert np.asarray(vectors._keras_mask).tolist() == [[True, False]]
    back = np.asarray(layer.embeddings).T if tie else np.asarray(layer.reverse_embeddings)
    logits = layer(vectors, reverse=True)
    np.testing.assert_allclose(np.asarray(logits), 2 * np.tanh(np.asarray(vectors) @ back / 2), rtol=1e-5)
    assert layer.compute_output_shape((None, 2, 3), reverse=True) == (None, 2, 6)


def test_activations_against_numpy() -> None:
    x = np.linspace(-2, 2, 9, dtype="float32")
    pairs = {
        layers.ReLU(max_value=1.0, negative_slope=0.5, threshold=0.5): np.where(
            x >= 1, 1, np.where(x > 0.5, x, 0.5 * (x - 0.5))
        ),
        layers.LeakyReLU(0.2): np.where(x >= 0, x, 0.2 * x),
        layers.ELU(0.5): np.where(x > 0, x, 0.5 * np.expm1(x)),
        layers.Activation("softplus"): np.log1p(np.exp(x)),
        layers.PReLU(alpha_initializer="ones"): x,
    }
    for layer, expected in pairs.items():
        batch = x[:, None]
        np.testing.assert_allclose(np.asarray(layer(batch))[:, 0], expected, rtol=1e-5, atol=1e-6)
    with pytest.warns(UserWarning, match="alpha"):
        assert layers.LeakyReLU(alpha=0.1).negative_slope == 0.1
    for arguments in ({"max_value": -1.0}, {"negative_slope": -1.0}, {"threshold": None}):
        with pytest.raises(ValueError, match="ReLU layer cannot be"):
            layers.ReLU(**arguments)


def test_softmax_mask() -> None:
    x = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]], "float32")
    mask = np.array([[True, True, False], [False, False, False]])
    e = np.exp(x) * mask
    expected = e / np.maximum(e.sum(-1, keepdims=True), 1e-9)
    np.testing.assert_allclose(np.asarray(layers.Softmax()(x, mask=mask)), expected, atol=1e-6)
    with pytest.raises(ValueError, match="broadcastable"):
        layers.Softmax()(x, mask=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="must not have more dimensions"):
        layers.Softmax()(x, mask=np.ones((1, 1, 3), bool))


def test_masking_zeroes_and_marks_steps() -> None:
    x = np.array([[[1.0, 2.0], [5.0, 5.0], [5.0, 1.0]]], "float32")
    output = layers.Masking(5.0)(x)
    assert np.asarray(output._keras_mask).tolist() == [[True, False, True]]
    assert np.asarray(output).tolist() == [[[1.0, 2.0], [0.0, 0.0], [5.0, 1.0]]]
    with pytest.warns(UserWarning, match="does not support masking"):
        assert layers.Flatten()(output)._keras_mask is None


def test_lambda_passes_mask_training_and_arguments() -> None:
    seen: dict[str, Any] = {}

    def function(x: Any, factor: float, training: Any = None, mask: Any = None) -> Any:
        seen.update(training=training, mask=mask)
        return ops.multiply(x, factor)

    layer = layers.Lambda(function, arguments={"factor": 3.0}, mask=lambda x, mask: mask)
    x = layers.Masking()(np.array([[[1.0], [0.0]]], "float32"))
    output = layer(x, training=True)
    assert np.asarray(output).tolist() == [[[3.0], [0.0]]]
    assert seen["training"] is True and np.asarray(seen["mask"]).tolist() == [[True, False]]
    assert np.asarray(output._keras_mask).tolist() == [[True, False]]


def test_lambda_config_holds_bytecode_that_loads_only_when_asked() -> None:
    layer = layers.Lambda(lambda x: x**2, output_shape=(2,))
    assert layer.compute_output_shape((None, 2)) == (None, 2)
    config = layer.get_config()
    assert config["function"]["class_name"] == "__lambda__"
    with pytest.raises(ValueError, match="safe_mode"):
        layers.Lambda.from_config(config)
    copy = layers.Lambda.from_config(config, safe_mode=False)
    assert np.asarray(copy(np.array([[2.0, 3.0]], "float32"))).tolist() == [[4.0, 9.0]]


def test_wrapper_refuses_other_objects() -> None:
    with pytest.raises(ValueError, match="isn't a supported layer type"):
        layers.Wrapper("dense")
    wrapped = layers.Wrapper(layers.Dense(2))
    wrapped.build((None, 3))
    assert wrapped.layer.built
