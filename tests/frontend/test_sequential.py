"""Sequential models: building at once and late, add and pop, nesting, configs, errors."""

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, models


@pytest.fixture(autouse=True)
def fresh_session():
    keras.backend.clear_session(free_memory=False)


def test_built_at_once_with_an_input():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
    assert model.built
    assert (model.input_shape, model.output_shape, len(model.weights)) == ((None, 4), (None, 1), 4)
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    assert model.weights[0].path == "sequential/dense/kernel"


def test_built_by_the_first_data():
    model = keras.Sequential([layers.Dense(3), layers.Dense(1)])
    assert not model.built
    assert model.weights == []
    with pytest.raises(AttributeError, match="no defined output shape"):
        model.output_shape  # noqa: B018
    assert model(np.ones((2, 4))).shape == (2, 1)
    assert model(np.ones((7, 4))).shape == (7, 1)
    assert len(model.weights) == 4


def test_built_by_hand():
    model = keras.Sequential([layers.Dense(3)])
    model.build((None, 4))
    assert model.output_shape == (None, 3)
    with pytest.raises(ValueError, match="already been configured"):
        model.build((None, 5))


def test_add_and_pop():
    model = keras.Sequential(name="s")
    model.add(keras.Input((4,)))
    model.add(layers.Dense(3))
    model.add(layers.Dense(2))
    assert model.output_shape == (None, 2)
    popped = model.pop()
    assert (popped.units, model.output_shape, len(model.weights)) == (2, (None, 3), 2)
    model.add(layers.Dense(5))
    assert model(np.ones((1, 4))).shape == (1, 5)


def test_a_layer_with_input_shape_builds_the_model():
    with pytest.warns(UserWarning, match="input_shape"):
        model = keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(1)])
    assert model.output_shape == (None, 1)


def test_nested_models_build_the_outer_one():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    outer = keras.Sequential([inner, layers.Dense(1)])
    assert outer.output_shape == (None, 1)
    x = keras.Input((4,))
    functional = keras.Model(x, inner(x))
    assert functional.count_params() == 15


def test_wrong_layers_are_explained():
    model = keras.Sequential([keras.Input((2,))])
    with pytest.raises(ValueError, match="Only instances of"):
        model.add("dense")
    model.add(layers.Dense(1, name="d"))
    with pytest.raises(ValueError, match="unique names"):
        model.add(layers.Dense(1, name="d"))
    with pytest.raises(ValueError, match="different Input"):
        model.add(keras.Input((3,)))
    with pytest.raises(ValueError, match="no layers"):
        keras.Sequential().build((None, 2))

    class TwoArguments(layers.Layer):
        def call(self, a, b):
            return a + b

    with pytest.raises(ValueError, match="multiple required positional arguments"):
        keras.Sequential([keras.Input((2,)), TwoArguments()])
    with pytest.raises(AttributeError, match="reserved"):
        model.layers = []


def test_nested_data_is_passed_from_layer_to_layer():
    class Sum(layers.Layer):
        def call(self, inputs):
            return inputs["a"] + inputs["b"]

    model = keras.Sequential([Sum(), layers.Dense(2)])
    assert model({"a": np.ones((3, 4)), "b": np.ones((3, 4))}).shape == (3, 2)


def test_training_reaches_the_layers():
    model = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5, seed=1)])
    x = np.ones((1, 50), "float32")
    assert np.array_equal(model(x), x)
    assert not np.array_equal(model(x, training=True), x)


@pytest.mark.parametrize("built", [True, False])
def test_config_round_trip(built):
    model = keras.Sequential([layers.Dense(3, activation="relu"), layers.Dense(1)], name="s")
    x = np.ones((2, 4), "float32")
    if built:
        model.build((None, 4))
    other = models.model_from_json(model.to_json())
    assert (other.name, [layer.name for layer in other.layers]) == ("s", ["dense", "dense_1"])
    assert other.built == built
    if built:
        other.set_weights(model.get_weights())
        np.testing.assert_array_equal(other(x), model(x))


def test_clone():
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3)], name="s")
    clone = models.clone_model(model)
    assert (clone.name, clone.inputs[0].name, clone.count_params()) == ("s", "x", 15)
    assert clone.layers[0] is not model.layers[0]


def test_subclass_of_sequential():
    class Block(keras.Sequential):
        def __init__(self, units):
            super().__init__([layers.Dense(units), layers.Activation("relu")])
            self.units = units

    block = Block(3)
    assert block(np.ones((2, 4))).shape == (2, 3)
    assert len(block.weights) == 2
