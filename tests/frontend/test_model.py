"""Model: subclasses, layer lookup, summary, state trees, configs, copies."""

import copy

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, models


class Net(keras.Model):
    """Two layers, one of them in a list."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units, activation="relu")
        self.rest = [layers.Dense(2)]

    def call(self, x):
        return self.rest[0](self.first(x))


@pytest.fixture(autouse=True)
def fresh_session():
    keras.backend.clear_session(free_memory=False)


def text_of(model, **kwargs):
    lines = []
    model.summary(print_fn=lines.append, line_length=80, **kwargs)
    assert len(lines) == 1
    return lines[0]


def test_subclass_builds_from_data():
    model = Net()
    assert model.weights == []
    assert model(np.ones((2, 4))).shape == (2, 2)
    assert [layer.name for layer in model.layers] == ["dense", "dense_1"]
    assert model.weights[0].path == "net/dense/kernel"
    assert model.path == "net"


def test_subclass_that_gives_inputs_and_outputs_is_functional():
    class Graph(keras.Model):
        def __init__(self, units=3):
            x = keras.Input((4,))
            super().__init__(inputs=x, outputs=layers.Dense(units)(x))
            self.units = units

    model = Graph(5)
    assert isinstance(model, models.Functional)
    assert (model.units, model.output_shape) == (5, (None, 5))
    assert Net.__mro__[1] is keras.Model  # other subclasses are left alone


def test_model_without_call():
    with pytest.raises(NotImplementedError, match="does not have a `call"):
        keras.Model()(np.ones((1, 1)))


def test_get_layer():
    model = Net()
    assert model.get_layer("dense_1") is model.rest[0]
    assert model.get_layer(index=0) is model.first
    with pytest.raises(ValueError, match="No such layer: x"):
        model.get_layer("x")
    with pytest.raises(ValueError, match="only has 2"):
        model.get_layer(index=2)
    with pytest.raises(ValueError, match="either a layer name"):
        model.get_layer()
    with pytest.raises(AttributeError, match="reserved"):
        model.layers = []


# -- summary -------------------------------------------------------------------------------------------
def test_summary_of_an_unbuilt_model():
    text = text_of(Net())
    assert 'Model: "net"' in text
    assert "?" in text
    assert "0 (unbuilt)" in text
    assert "Total params: 0 (0.00 B)" in text


def test_summary_counts():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.BatchNormalization()])
    text = text_of(model)
    assert "dense (Dense)" in text
    assert "(None, 8)" in text
    assert " Total params: 72 (288.00 B)" in text
    assert " Trainable params: 56 (224.00 B)" in text
    assert " Non-trainable params: 16 (64.00 B)" in text
    assert "Connected to" not in text
    assert "Optimizer params" not in text


def test_summary_of_a_graph():
    x = keras.Input((4,), name="x")
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="deep")], name="inner")
    frozen = layers.Dense(4, name="frozen")
    frozen.trainable = False
    model = keras.Model(x, layers.Add(name="sum")([inner(x), frozen(x)]) * 2.0)
    text = text_of(model, expand_nested=True, show_trainable=True)
    for piece in ("Connected to", "x[0][0]", "└ deep (Dense)", "inner[0][0]", "multiply", "N"):
        assert piece in text
    assert "deep" not in text_of(model)
    part = text_of(model, layer_range=("inner", "frozen"))
    assert "inner" in part
    assert "sum" not in part.split("Total")[0].replace("sum[0][0]", "")


def test_summary_of_a_trained_model_counts_the_optimizer():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
    assert " Optimizer params: " in text_of(model)


# -- state ---------------------------------------------------------------------------------------------
def test_state_tree_round_trip():
    model = Net()
    model(np.ones((1, 3)))
    tree = model.get_state_tree("numpy_array")
    assert tree["trainable_variables"]["net"]["dense"]["kernel"].shape == (3, 3)
    tree["trainable_variables"]["net"]["dense"]["bias"] = np.array([1.0, 2.0, 3.0])
    model.set_state_tree(tree)
    np.testing.assert_array_equal(model.first.bias, [1, 2, 3])
    with pytest.raises(ValueError, match="value_format"):
        model.get_state_tree("lists")
    with pytest.raises(ValueError, match="Unknown variable name"):
        model.set_state_tree({"weights": {}})


def test_build_config_traces_the_call():
    model = Net()
    model(np.ones((2, 4)))
    other = Net()
    other.build_from_config(model.get_build_config())
    assert other.built
    assert [v.shape for v in other.weights] == [v.shape for v in model.weights]
    with pytest.warns(UserWarning, match="cannot be built automatically"):
        keras.Model().build_from_config({"input_shape": (1, 2)})


def test_copies_of_subclassed_models():
    model = Net(5)
    x = np.ones((2, 4), "float32")
    y = np.array(model(x))
    other = copy.deepcopy(model)
    np.testing.assert_array_equal(other(x), y)
    other.first.kernel.assign(other.first.kernel * 0)
    np.testing.assert_array_equal(model(x), y)
    assert not copy.deepcopy(Net()).built


def test_copy_keeps_compilation_and_optimizer_state():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
    model.fit(x, y, verbose=0)
    other = copy.deepcopy(model)
    for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for m in (model, other):
        m.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])


def test_clone_of_a_subclassed_model_takes_no_clone_function():
    with pytest.raises(ValueError, match="only supported for Sequential"):
        models.clone_model(Net(), clone_function=lambda layer: layer)


def test_what_is_not_available_says_so():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    with pytest.raises(NotImplementedError, match="another framework"):
        model.export("somewhere")
