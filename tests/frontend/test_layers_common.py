"""What holds for every layer: traced = eager, symbolic shapes, configs, mixed precision, the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from typing import Any

import numpy as np
import pytest

import graphkeras
from graphkeras import layers
from graphkeras.core.keras_tensor import KerasTensor
from tests.frontend.layer_cases import CASES, case_id, inputs_of, make, run_traced

every_layer = pytest.mark.parametrize("case", CASES, ids=case_id)


@every_layer
def test_traced_equals_eager(case: Any) -> None:
    name, arguments, shapes = case
    x = inputs_of(shapes)
    layer = make(name, arguments)
    eager = np.asarray(layer(x))
    traced, _ = run_traced(layer, x)
    assert np.isfinite(eager).all()
    np.testing.assert_allclose(traced, eager, rtol=1e-6, atol=1e-6)


@every_layer
def test_symbolic_shape_and_dtype(case: Any) -> None:
    name, arguments, shapes = case
    x = inputs_of(shapes)
    symbols = [KerasTensor((None, *s[1:]), "float32") for s in shapes]
    symbolic = make(name, arguments)(symbols if len(symbols) > 1 else symbols[0])
    eager = make(name, arguments)(x)
    assert symbolic.shape == (None, *eager.shape[1:])
    assert symbolic.dtype == eager.dtype
    unbuilt = make(name, arguments).compute_output_shape(list(shapes) if len(shapes) > 1 else shapes[0])
    assert tuple(unbuilt) == eager.shape


@every_layer
def test_config_round_trip_gives_the_same_layer(case: Any) -> None:
    name, arguments, shapes = case
    x = inputs_of(shapes)
    layer = make(name, arguments)
    expected = np.asarray(layer(x))
    config = json.loads(json.dumps(layers.serialize(layer)))
    assert config["module"] == "keras.layers"
    copy = layers.deserialize(config)
    assert type(copy) is type(layer)
    assert json.loads(json.dumps(layers.serialize(copy))) == config
    assert copy.built or not copy.weights  # the config says for which shapes
    assert [(w.name, tuple(w.shape)) for w in copy.weights] == [(w.name, tuple(w.shape)) for w in layer.weights]
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(np.asarray(copy(x)), expected)


@every_layer
def test_mixed_precision(case: Any) -> None:
    name, arguments, shapes = case
    x = inputs_of(shapes)
    layer = make(name, arguments, dtype="mixed_float16")
    output = layer(x)
    assert output.dtype == "float16"
    assert all(w.dtype == "float32" for w in layer.weights)
    full = make(name, arguments)
    full(x)
    full.set_weights(layer.get_weights())
    np.testing.assert_allclose(np.asarray(output, "float32"), np.asarray(full(x)), rtol=2e-2, atol=2e-2)


def test_docstring_examples() -> None:
    mine = (
        "activations",
        "convolutional",
        "core",
        "merging",
        "normalization",
        "pooling",
        "regularization",
        "reshaping",
    )
    names = [
        m.name
        for m in pkgutil.walk_packages(layers.__path__, "graphkeras.layers.")
        if m.name.split(".")[2] in mine or m.name.endswith(("preprocessing.normalization", "preprocessing.rescaling"))
    ]
    attempted = 0
    for name in names:
        result = doctest.testmod(importlib.import_module(name))
        assert result.failed == 0, name
        attempted += result.attempted
    assert attempted > 150


def test_aliases_are_the_same_classes() -> None:
    assert layers.Convolution2D is layers.Conv2D
    assert layers.Convolution3DTranspose is layers.Conv3DTranspose
    assert layers.SeparableConvolution1D is layers.SeparableConv1D
    assert layers.MaxPool2D is layers.MaxPooling2D and layers.AvgPool1D is layers.AveragePooling1D
    assert layers.GlobalAvgPool3D is layers.GlobalAveragePooling3D
    assert graphkeras.layers.Dense is layers.Dense


def test_signatures_show_defaults_per_dimension() -> None:
    import inspect

    assert inspect.signature(layers.Conv2D).parameters["strides"].default == (1, 1)
    assert inspect.signature(layers.MaxPooling3D).parameters["pool_size"].default == (2, 2, 2)
    assert inspect.signature(layers.Conv1D).parameters["strides"].default == 1
    order = list(inspect.signature(layers.Conv3DTranspose).parameters)
    assert order.index("data_format") < order.index("output_padding")


def test_deserialize_refuses_other_objects() -> None:
    config = graphkeras.saving.serialize_keras_object(graphkeras.initializers.Zeros())
    with pytest.raises(ValueError, match="not a"):
        layers.deserialize(config)
