"""HDF5 files as Keras 2 wrote them, rebuilt here from their description."""

import json

import h5py
import numpy as np
import pytest

import graphkeras as keras


def initializer(name, **config):
    return {"class_name": name, "config": {**config, "dtype": "float32"}}


def dense_config(name, units, **more):
    return {
        "name": name,
        "trainable": True,
        "dtype": "float32",
        "units": units,
        "activation": "relu",
        "use_bias": True,
        "kernel_initializer": initializer("GlorotUniform", seed=None),
        "bias_initializer": initializer("Zeros"),
        "kernel_regularizer": {"class_name": "L2", "config": {"l2": 0.01}},
        "bias_regularizer": None,
        "activity_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
        **more,
    }


def write(path, config, weights, training=None):
    """weights: layer name -> list of (weight name, array)."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"2.4.0"
        file.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(config).encode()
        if training:
            file.attrs["training_config"] = json.dumps(training).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        group.attrs["keras_version"] = b"2.4.0"
        for name, values in weights.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [n.encode() for n, _ in values]
            for n, value in values:
                layer.create_dataset(n, data=value)


TRAINING = {
    "loss": {
        "class_name": "SparseCategoricalCrossentropy",
        "config": {"reduction": "auto", "name": "loss", "from_logits": True},
    },
    "metrics": [
        [
            {
                "class_name": "MeanMetricWrapper",
                "config": {"name": "acc", "dtype": "float32", "fn": "sparse_categorical_accuracy"},
            }
        ]
    ],
    "weighted_metrics": None,
    "loss_weights": None,
    "optimizer_config": {
        "class_name": "Adam",
        "config": {
            "name": "Adam",
            "learning_rate": 0.25,
            "decay": 0.0,
            "beta_1": 0.8,
            "beta_2": 0.999,
            "epsilon": 1e-7,
            "amsgrad": False,
        },
    },
}


def test_sequential(tmp_path):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=3).astype("float32")
    layers = [
        {"class_name": "Dense", "config": dense_config("dense", 3, batch_input_shape=[None, 4])},
        {"class_name": "Dropout", "config": {"name": "drop", "trainable": True, "dtype": "float32", "rate": 0.5}},
    ]
    for number, inner in enumerate(({"name": "net", "layers": layers}, layers)):
        path = tmp_path / f"{number}.h5"
        config = {"class_name": "Sequential", "config": inner}
        write(path, config, {"dense": [("dense/kernel:0", kernel), ("dense/bias:0", bias)], "drop": []}, TRAINING)
        model = keras.models.load_model(path)
        x = rng.normal(size=(2, 4)).astype("float32")
        np.testing.assert_allclose(model.predict(x, verbose=0), np.maximum(x @ kernel + bias, 0), rtol=1e-5)
        assert model.layers[0].kernel_regularizer.l2 == pytest.approx(0.01)
        assert (float(model.optimizer.learning_rate), model.optimizer.beta_1) == (0.25, 0.8)
        assert model.loss.from_logits
        assert "acc" in model.evaluate(x, np.zeros(2, "int32"), verbose=0, return_dict=True)


def test_functional_with_nested_model(tmp_path):
    """Calls of nested models are numbered from 1."""
    rng = np.random.default_rng(1)
    kernel, norm = rng.normal(size=(4, 4)).astype("float32"), rng.normal(size=(4, 4)).astype("float32") ** 2
    inner = {
        "name": "inner",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {
                    "batch_input_shape": [None, 4],
                    "dtype": "float32",
                    "sparse": False,
                    "ragged": False,
                    "name": "i",
                },
                "name": "i",
                "inbound_nodes": [],
            },
            {
                "class_name": "Dense",
                "config": dense_config("d", 4, use_bias=False, activation="linear"),
                "name": "d",
                "inbound_nodes": [[["i", 0, 0, {}]]],
            },
        ],
        "input_layers": [["i", 0, 0]],
        "output_layers": [["d", 0, 0]],
    }
    normal = {"name": "bn", "trainable": True, "dtype": "float32", "axis": [1], "momentum": 0.99, "epsilon": 0.001}
    outer = {
        "name": "outer",
        "layers": [
            {
                "class_name": "InputLayer",
                "config": {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "name": "x"},
                "name": "x",
                "inbound_nodes": [],
            },
            {
                "class_name": "Functional",
                "config": inner,
                "name": "inner",
                "inbound_nodes": [[["x", 0, 0, {}]], [["inner", 1, 0, {}]]],
            },
            {
                "class_name": "BatchNormalization",
                "config": normal,
                "name": "bn",
                "inbound_nodes": [[["inner", 2, 0, {}]]],
            },
            {
                "class_name": "Add",
                "config": {"name": "add", "trainable": True, "dtype": "float32"},
                "name": "add",
                "inbound_nodes": [[["bn", 0, 0, {}], ["x", 0, 0, {}]]],
            },
        ],
        "input_layers": [["x", 0, 0]],
        "output_layers": [["add", 0, 0]],
    }
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    weights = {
        "x": [],
        "inner": [("d/kernel:0", kernel)],
        "bn": [(f"bn/{n}:0", norm[i]) for i, n in enumerate(names)],
        "add": [],
    }
    write(tmp_path / "m.h5", {"class_name": "Functional", "config": outer}, weights)
    model = keras.models.load_model(tmp_path / "m.h5", compile=False)
    x = rng.normal(size=(3, 4)).astype("float32")
    gamma, beta, mean, variance = norm
    wanted = (x @ kernel @ kernel - mean) / np.sqrt(variance + 0.001) * gamma + beta + x
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted, rtol=1e-4, atol=1e-5)


def test_arguments_that_are_gone(tmp_path):
    """DepthwiseConv2D of Keras 2 says groups=1, LSTM time_major=False: both mean nothing."""
    conv = {
        "name": "c",
        "trainable": True,
        "dtype": {"class_name": "Policy", "config": {"name": "float32"}},
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "same",
        "data_format": "channels_last",
        "dilation_rate": [1, 1],
        "groups": 1,
        "activation": "linear",
        "use_bias": False,
        "depth_multiplier": 1,
        "batch_input_shape": [None, 5, 5, 2],
    }
    kernel = np.random.default_rng(2).normal(size=(3, 3, 2, 1)).astype("float32")
    layers = [{"class_name": "DepthwiseConv2D", "config": conv}]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    write(tmp_path / "m.h5", config, {"c": [("c/depthwise_kernel:0", kernel)]})
    model = keras.models.load_model(tmp_path / "m.h5", compile=False)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], kernel)


def named(*names):
    return keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in names)])


def test_weights_by_name_and_by_order(tmp_path):
    source = named("a", "b")
    source.save(tmp_path / "m.h5")
    target = named("b", "c")
    before = target.layers[1].get_weights()[0]
    target.load_weights(tmp_path / "m.h5", by_name=True)
    np.testing.assert_array_equal(target.layers[0].get_weights()[0], source.layers[1].get_weights()[0])
    np.testing.assert_array_equal(target.layers[1].get_weights()[0], before)
    target.load_weights(tmp_path / "m.h5")
    np.testing.assert_array_equal(target.layers[1].get_weights()[0], source.layers[1].get_weights()[0])
    with pytest.raises(ValueError, match=r"Layer count mismatch.*m.h5.*by_name"):
        named("a").load_weights(tmp_path / "m.h5")


def test_many_layers(tmp_path):
    """Names that do not fit into one attribute of HDF5 are spread over several."""
    names = [f"{'n' * 900}{i}" for i in range(80)]
    with h5py.File(tmp_path / "n.h5", "w") as file:
        from graphkeras.saving.legacy_h5 import _names, _put_names

        _put_names(file, "layer_names", names)
        assert "layer_names1" in file.attrs
        assert _names(file, "layer_names") == names


def test_weights_only_file(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("x")
    with pytest.raises(ValueError, match="holds weights only"):
        keras.models.load_model(tmp_path / "w.h5")
