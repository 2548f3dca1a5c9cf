"""Functional models: graphs, inputs in every structure, sub-models, sharing, nesting, configs, copies."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, models, ops

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def fresh_session():
    keras.backend.clear_session(free_memory=False)


def two_inputs(structure):
    """a (3), b (2) -> Dense(4) of their concatenation; `structure` arranges the inputs."""
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    y = layers.Dense(4, name="head")(layers.Concatenate()([a, b]))
    return keras.Model(structure(a, b), y)


A, B = RNG.normal(size=(5, 3)).astype("float32"), RNG.normal(size=(5, 2)).astype("float32")


def test_model_of_two_tensors_is_functional():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(x))
    assert isinstance(model, models.Functional)
    assert (model.input_shape, model.output_shape, model.built) == ((None, 4), (None, 2), True)
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", "Dense"]
    assert model(np.ones((3, 4))).shape == (3, 2)


def test_inputs_by_position_and_by_name():
    as_list, as_dict = two_inputs(lambda a, b: [a, b]), two_inputs(lambda a, b: {"a": a, "b": b})
    as_dict.set_weights(as_list.get_weights())
    expected = np.array(as_list([A, B]))
    for result in (as_list((A, B)), as_list({"b": B, "a": A}), as_dict({"b": B, "a": A})):
        np.testing.assert_array_equal(result, expected)
    with pytest.raises(ValueError, match=r"Missing.*'b'"):
        as_dict({"a": A})
    with pytest.warns(UserWarning, match=r"(?s)doesn't match the expected structure.*Not used: \['c'\]"):
        np.testing.assert_array_equal(as_dict({"a": A, "b": B, "c": B}), expected)
    with pytest.raises(ValueError, match="expects 2 input"):
        as_list([A])


def test_inputs_are_fitted_in_rank_and_dtype():
    x = keras.Input((3, 1))
    model = keras.Model(x, layers.Flatten()(x))
    assert model(np.ones((2, 3))).shape == (2, 3)
    y = keras.Input((), dtype="int32")
    doubled = keras.Model(y, y * 2)
    assert doubled(np.ones((4, 1), "int64")).dtype == "int32"
    with pytest.raises(ValueError, match="incompatible"):
        model(np.ones((2, 5)))


def test_optional_inputs():
    class AddIfGiven(layers.Layer):
        def call(self, x, y=None):
            return x if y is None else x + y

    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b", optional=True)
    model = keras.Model({"a": a, "b": b}, AddIfGiven()(a, b))
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(model({"a": x, "b": x}), 2 * x)
    np.testing.assert_array_equal(model({"a": x, "b": None}), x)
    with pytest.raises(ValueError, match="not optional"):
        model({"a": None, "b": x})


@pytest.mark.parametrize("wrap", [lambda y, z: [y, z], lambda y, z: (y, z), lambda y, z: {"y": y, "z": z}])
def test_output_structures(wrap):
    x = keras.Input((2,))
    model = keras.Model(x, wrap(x + 1, x * 2))
    out = model(np.ones((1, 2), "float32"))
    assert type(out) is type(wrap(1, 2))
    values = list(out.values()) if isinstance(out, dict) else list(out)
    np.testing.assert_array_equal(values[0], values[1])


def test_ops_and_slices_are_part_of_the_graph():
    x = keras.Input((4,))
    y = ops.relu(x[:, 1:3] * 2.0 - ops.mean(x, axis=-1, keepdims=True))
    model = keras.Model(x, y)
    data = RNG.normal(size=(3, 4)).astype("float32")
    expected = np.maximum(data[:, 1:3] * 2 - data.mean(-1, keepdims=True), 0)
    np.testing.assert_allclose(model(data), expected, rtol=1e-6)
    names = [type(op).__name__ for op in model.operations]
    assert sorted(names) == ["GetItem", "InputLayer", "Mean", "Multiply", "Relu", "Subtract"]


def test_shared_layers_count_once():
    x, y = keras.Input((3,)), keras.Input((3,))
    shared = layers.Dense(2)
    model = keras.Model([x, y], shared(x) + shared(y))
    assert model.count_params() == 8
    assert len(shared._inbound_nodes) == 2
    assert shared.output is shared._inbound_nodes[0].outputs[0]


def test_sub_models_share_layers():
    x = keras.Input((4,))
    hidden = layers.Dense(3, activation="tanh")(x)
    model = keras.Model(x, layers.Dense(2)(hidden))
    front = keras.Model(x, model.layers[1].output)
    back = keras.Model(hidden, model.output)
    data = RNG.normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(back(front(data)), model(data), rtol=1e-6)
    assert back.layers[-1] is model.layers[-1]
    features = keras.Model(model.inputs, [layer.output for layer in model.layers])
    assert [v.shape for v in features(data)] == [(2, 4), (2, 3), (2, 2)]


def test_nested_models():
    inner_in = keras.Input((3,))
    inner = keras.Model(inner_in, layers.Dense(2)(inner_in), name="inner")
    x = keras.Input((3,))
    outer = keras.Model(x, layers.Dense(1)(inner(x)))
    assert [layer.name for layer in outer.layers][1] == "inner"
    assert outer.count_params() == 8 + 3
    assert outer(np.ones((2, 3))).shape == (2, 1)
    assert inner(keras.Input((3,), batch_size=5)).shape == (5, 2)


def test_wrong_graphs_are_explained():
    x, other = keras.Input((2,)), keras.Input((2,))
    with pytest.raises(ValueError, match=r"not connected to `inputs`.*'input_layer_1'"):
        keras.Model(x, x + other)
    with pytest.raises(ValueError, match="must be KerasTensors"):
        keras.Model(np.ones(2), x)
    with pytest.raises(ValueError, match="used 2 times"):
        keras.Model(x, layers.Dense(1, name="d")(layers.Dense(1, name="d")(x)))
    with pytest.raises(ValueError, match="not made by `Input`"):
        loose = keras.KerasTensor((2,))
        keras.Model(loose, loose * 2)
    with pytest.raises(NotImplementedError, match="add_loss"):
        keras.Model(x, x * 2).add_loss(1.0)


def test_training_and_masks_reach_the_layers():
    seen = {}

    class Probe(layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, x, training=None, mask=None):
            seen.update(training=training, mask=mask)
            return x

    ids = keras.Input((3,), dtype="int32")
    model = keras.Model(ids, Probe()(layers.Embedding(5, 2, mask_zero=True)(ids)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = model(np.array([[1, 2, 0]]), training=True)
    assert seen["training"] is True
    np.testing.assert_array_equal(seen["mask"], [[True, True, False]])
    np.testing.assert_array_equal(out._keras_mask, [[True, True, False]])


def test_changed_trainable_and_extra_layers():
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(1)(x), trainable=False)
    assert model.trainable_weights == []
    model.extra = layers.Dense(1)
    model.extra.build((None, 2))
    assert len(model.weights) == 4


# -- configs -------------------------------------------------------------------------------------------
def rich_model():
    a, b = keras.Input((6,), name="a"), keras.Input((None, 4), name="b")
    shared = layers.Dense(5, activation="tanh", name="shared")
    x = shared(a)
    y = shared(layers.Dense(6)(ops.mean(b, axis=1)))
    z = layers.Concatenate()([x, y])[:, 1:5] * 2.0
    z = ops.reshape(z, (-1, 2, 2))
    inner = keras.Sequential([layers.Flatten(), layers.Dense(3), layers.BatchNormalization()], name="inner")
    return keras.Model({"a": a, "b": b}, {"o1": inner(z), "o2": layers.Flatten()(z)}, name="net")


def test_config_round_trip_keeps_outputs_and_weight_order():
    model = rich_model()
    text = model.to_json()
    other = models.model_from_json(text)
    assert [(v.name, v.shape) for v in other.weights] == [(v.name, v.shape) for v in model.weights]
    other.set_weights(model.get_weights())
    data = {"a": RNG.normal(size=(3, 6)), "b": RNG.normal(size=(3, 7, 4))}
    expected, found = model(data), other(data)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    again = json.loads(other.to_json())
    assert again["config"]["layers"] == json.loads(text)["config"]["layers"]


def test_config_layout_is_that_of_keras_files():
    x = keras.Input((4,), name="x")
    shared = layers.Dense(4, name="d")
    shared(keras.Input((4,)))  # a call outside of the model
    config = keras.Model(x, ops.add(shared(x), 1.0)).get_config()
    assert config["input_layers"] == ["x", 0, 0]
    assert config["output_layers"] == ["add", 0, 0]
    dense = config["layers"][1]
    assert dense["inbound_nodes"][0]["args"][0]["config"]["keras_history"] == ["x", 0, 0]
    add = config["layers"][2]
    assert (add["module"], add["class_name"]) == ("keras.src.ops.numpy", "Add")
    assert add["inbound_nodes"][0]["args"][0]["config"]["keras_history"] == ["d", 0, 0]


def test_configs_of_keras_2_load():
    def layer(name, class_name, config, nodes):
        return {"class_name": class_name, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}

    config = {
        "name": "old",
        "layers": [
            layer("i", "InputLayer", {"batch_input_shape": [None, 3], "dtype": "float32"}, []),
            layer("d", "Dense", {"units": 2}, [[["i", 0, 0, {}]]]),
        ],
        "input_layers": [["i", 0, 0]],
        "output_layers": [["d", 0, 0]],
    }
    assert models.Functional.from_config(config)(np.ones((1, 3))).shape == (1, 2)


def test_a_config_with_a_loop_is_refused():
    config = keras.Model(x := keras.Input((2,), name="x"), layers.Dense(2, name="d")(x)).get_config()
    config["layers"][1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["d", 0, 0]
    with pytest.raises(ValueError, match="loops or disconnected"):
        models.Functional.from_config(config)


def test_clone_has_new_weights_and_the_same_graph():
    model = rich_model()
    clone = models.clone_model(model)
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
    assert clone.layers[1] is not model.layers[1]
    clone.set_weights(model.get_weights())
    data = {"a": RNG.normal(size=(2, 6)), "b": RNG.normal(size=(2, 3, 4))}
    np.testing.assert_array_equal(clone(data)["o1"], model(data)["o1"])

    def wider(layer):
        if isinstance(layer, layers.Dense):
            return layers.Dense(layer.units * 2, name=layer.name)
        return type(layer).from_config(layer.get_config())

    x = keras.Input((2,))
    assert models.clone_model(keras.Model(x, layers.Dense(3)(x)), clone_function=wider).output_shape == (None, 6)


def test_copies_of_deep_models():
    x = y = keras.Input((3,))
    for _ in range(120):
        y = layers.Dense(3, activation="tanh")(y)
    model = keras.Model(x, y)
    data = np.ones((1, 3), "float32")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(data), model(data))
        other.layers[-1].bias.assign([1.0, 1.0, 1.0])
    assert float(model.layers[-1].bias.value[0]) == 0.0


def test_input_layer_arguments():
    x = keras.Input(batch_shape=(2, None), dtype="int32", name="ids")
    assert (x.shape, x.dtype, x.name) == ((2, None), "int32", "ids")
    assert keras.Input((3,), batch_size=4).shape == (4, 3)
    with pytest.raises(ValueError, match="must pass a `shape`"):
        keras.Input()
    with pytest.raises(ValueError, match="Cannot convert"):
        keras.Input(4)
    with pytest.raises(ValueError, match="both `shape` and `batch_shape`"):
        keras.Input((2,), batch_shape=(1, 2))
