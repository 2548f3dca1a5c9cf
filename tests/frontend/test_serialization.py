"""Configs: the golden defaults of Keras, round trips, custom objects, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.saving import public_names
from graphkeras.saving.serialization_lib import ObjectSharingScope

GOLDEN = json.loads((Path(__file__).parent / "golden" / "default_configs.json").read_text())
MINE = ("regularizers", "constraints", "initializers", "losses", "metrics", "optimizers")
SKIPPED = {"keras.losses.Loss", "keras.optimizers.schedules"}


def _cases() -> list[str]:
    found = []
    for path in GOLDEN:
        space = path.split(".")[1]
        if space in MINE or path in ("keras.Loss", "keras.Metric", "keras.Optimizer", "keras.Initializer"):
            found.append(path)
    return found


def _build(path: str):
    space, _, name = path.rpartition(".")
    namespace = keras
    for part in space.split(".")[1:]:
        namespace = getattr(namespace, part)
    cls = getattr(namespace, name)
    arguments = dict(GOLDEN[path]["init"])
    if path.endswith("MeanMetricWrapper"):
        arguments["fn"] = keras.losses.mean_squared_error
    if path.endswith("LossScaleOptimizer"):
        arguments["inner_optimizer"] = keras.optimizers.SGD()
    return cls(**arguments)


@pytest.fixture(autouse=True)
def fresh_names():
    keras.backend.clear_session(free_memory=False)


@pytest.mark.parametrize("path", _cases())
def test_default_config_is_that_of_keras(path):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(_build(path))))
    assert config == GOLDEN[path]["serialized"]


@pytest.mark.parametrize("path", _cases())
def test_config_round_trip(path):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(_build(path))))
    again = keras.saving.deserialize_keras_object(config)
    assert json.loads(json.dumps(keras.saving.serialize_keras_object(again))) == config


def test_arguments_that_are_not_defaults_survive():
    loss = keras.losses.Huber(delta=3.0)
    assert keras.losses.deserialize(keras.losses.serialize(loss)).delta == 3.0
    loss = keras.losses.CosineSimilarity(axis=1)
    assert keras.losses.deserialize(keras.losses.serialize(loss)).axis == 1


def test_plain_values_and_arrays():
    value = {
        "a": np.arange(3, dtype="int16"),
        "b": [1, 2.5, None, "x"],
        "c": slice(1, None, 2),
        "d": b"bytes",
        "e": Ellipsis,
        "f": keras.ops.ones((2,)),
    }
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(value)))
    again = keras.saving.deserialize_keras_object(config)
    assert again["a"].dtype == np.int16 and again["a"].tolist() == [0, 1, 2]
    assert (again["b"], again["c"], again["d"], again["e"]) == (value["b"], value["c"], b"bytes", Ellipsis)
    assert again["f"].numpy().tolist() == [1.0, 1.0]


class Scaled:
    built = True

    def __init__(self, factor):
        self.factor = factor

    def get_config(self):
        return {"factor": self.factor}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def test_custom_objects_by_argument_scope_and_registration():
    config = keras.saving.serialize_keras_object(Scaled(2))
    with pytest.raises(TypeError, match=r"Could not locate class 'Scaled'.*custom_objects"):
        keras.saving.deserialize_keras_object(config)
    assert keras.saving.deserialize_keras_object(config, custom_objects={"Scaled": Scaled}).factor == 2
    with keras.saving.custom_object_scope({"Scaled": Scaled}):
        assert keras.saving.deserialize_keras_object(config).factor == 2
    registered = keras.saving.register_keras_serializable("tests")(type("Registered", (Scaled,), {}))
    try:
        config = keras.saving.serialize_keras_object(registered(5))
        assert config["registered_name"] == "tests>Registered"
        assert keras.saving.deserialize_keras_object(config).factor == 5
    finally:
        keras.saving.get_custom_objects().pop("tests>Registered")


def test_lambdas_need_safe_mode_off():
    offset = 3
    with pytest.warns(UserWarning, match="lambda"):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(lambda x, k=2: k * x + offset)))
    with pytest.raises(ValueError, match="Requested the deserialization of a Python lambda"):
        keras.saving.deserialize_keras_object(config)
    assert keras.saving.deserialize_keras_object(config, safe_mode=False)(5) == 13


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen"), ("keras.src.layers.os", "system")],
)
def test_foreign_names_are_refused(module, name):
    for kind in ({"class_name": name, "config": {}}, {"class_name": "function", "config": name}):
        with pytest.raises(TypeError, match="Could not locate"):
            keras.saving.deserialize_keras_object({"module": module, "registered_name": name, **kind})


@pytest.mark.parametrize("path", ["keras.utils.get_file", "keras.models.load_model", "keras.saving.load_weights"])
def test_functions_that_are_no_part_of_a_model_are_refused(path):
    module, _, name = path.rpartition(".")
    config = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    with pytest.raises(ValueError, match="not a modeling function"):
        keras.saving.deserialize_keras_object(config)


def test_shared_objects_stay_shared():
    regularizer = keras.regularizers.L2(0.5)
    with ObjectSharingScope():
        config = keras.saving.serialize_keras_object([regularizer, regularizer, keras.regularizers.L2(0.5)])
    assert config[0]["shared_object_id"] == config[1]["shared_object_id"]
    assert "shared_object_id" not in config[2]
    with ObjectSharingScope():
        first, second, other = keras.saving.deserialize_keras_object(config)
    assert first is second and other is not first


def test_names_of_public_and_internal_objects():
    assert public_names.public_name(keras.losses.hinge) == ("keras.metrics", "hinge")
    assert public_names.public_name(keras.losses.MeanSquaredError) == ("keras.losses", "MeanSquaredError")
    assert public_names.public_name(keras.optimizers.Optimizer) == ("keras", "Optimizer")
    assert public_names.public_name(Scaled) is None


@pytest.mark.parametrize(
    ("space", "wrong", "hint"),
    [
        ("losses", "mean_sqared_error", "mean_squared_error"),
        ("metrics", "acuracy", "accuracy"),
        ("optimizers", "adm", "adam"),
        ("initializers", "glorot_unifrm", "glorot_uniform"),
        ("activations", "relo", "relu"),
        ("regularizers", "l3", "l2"),
    ],
)
def test_unknown_names_list_near_ones(space, wrong, hint):
    with pytest.raises(ValueError, match=f"Could not interpret .*{wrong}.*{hint}"):
        getattr(keras, space).get(wrong)
