"""HDF5 files of whole models and of weights in the layout of Keras 2, which Keras 3 still reads and writes.

attrs: model_config, training_config (JSON), keras_version, backend
model_weights/  attrs layer_names;  <layer>/ attrs weight_names, data sets under those names
optimizer_weights/  attrs weight_names, data sets under those names
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphkeras.core.tracking import DoNotTrackScope
from graphkeras.saving import legacy_config
from graphkeras.saving.archive import replacing
from graphkeras.saving.object_registration import GLOBAL_CUSTOM_OBJECTS, scope_objects
from graphkeras.saving.safe_h5 import find_group, get_array, get_group, h5py, open_file, put_array
from graphkeras.saving.saving_lib import FORMAT_VERSION
from graphkeras.saving.serialization_lib import (
    deserialize_keras_object,
    serialize_dict,
)
from graphkeras.utils.io_utils import logger

_HEADER_LIMIT = 64512  # bytes that HDF5 allows for an attribute, with room for its header


# -- writing ---------------------------------------------------------------------------------------
def save_model(model: Any, path: str, include_optimizer: bool = True) -> None:
    """Write a model to an HDF5 file; folders that are missing are made, as they always were for this format."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with replacing(path) as temporary, h5py().File(temporary, "w") as file:
        config = {"class_name": type(model).__name__, "config": model.get_config()}
        file.attrs["keras_version"] = FORMAT_VERSION
        file.attrs["backend"] = "jax"  # readers convert weights of other kinds of backends only
        file.attrs["model_config"] = json.dumps(legacy_config.shorten(serialize_dict(config))).encode()
        optimizer = getattr(model, "optimizer", None) if include_optimizer else None
        if optimizer is not None and model.compiled:
            file.attrs["training_config"] = json.dumps(_training_config(model)).encode()
        save_weights(file.create_group("model_weights"), model)
        if optimizer is not None and optimizer.variables:
            _put_weights(file.create_group("optimizer_weights"), optimizer.variables)


def _training_config(model: Any) -> dict[str, Any]:
    config = model.get_compile_config()
    optimizer = config.pop("optimizer")
    kept = {k: v for k, v in config.items() if k != "auto_scale_loss"}
    name = optimizer.get("registered_name") or optimizer["class_name"]
    return {**kept, "optimizer_config": {"class_name": name, "config": optimizer["config"]}}


def save_weights(group: Any, model: Any) -> None:
    """Write the weights of all layers into a group."""
    _put_names(group, "layer_names", [layer.name for layer in model.layers])
    group.attrs["backend"] = b"jax"
    group.attrs["keras_version"] = FORMAT_VERSION.encode()
    for layer in sorted(model.layers, key=lambda layer: layer.name):
        _put_weights(group.create_group(layer.name), _weights_of(layer))
    _put_weights(group.create_group("top_level_model_weights"), _top_level(model))


def _put_weights(group: Any, variables: Iterable[Any]) -> None:
    values: dict[str, Any] = {}
    for variable in variables:
        name, k = variable.path, 1
        while name in values:
            name, k = f"{variable.path}_{k}", k + 1
        values[name] = np.asarray(variable)
    _put_names(group, "weight_names", list(values))
    for name, value in values.items():
        put_array(group, name, value)


def _put_names(group: Any, attribute: str, names: list[str]) -> None:
    """Names as an attribute; several numbered ones where they exceed the limit of HDF5."""
    encoded = [name.encode() for name in names]
    longest = max((len(name) for name in encoded), default=1)
    if longest * len(encoded) <= _HEADER_LIMIT:
        group.attrs[attribute] = encoded
        return
    if longest > _HEADER_LIMIT:
        raise RuntimeError(f"The names {[n for n in names if len(n) > _HEADER_LIMIT]} are too long for an HDF5 file.")
    count = _HEADER_LIMIT // longest
    for k, start in enumerate(range(0, len(encoded), count)):
        group.attrs[f"{attribute}{k}"] = encoded[start : start + count]


def _weights_of(layer: Any) -> list[Any]:
    """The order of weights in these files: trainable ones first."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _top_level(model: Any) -> list[Any]:
    saved = {id(v) for v in model.weights}
    return [v for v in model._own_variables() if id(v) in saved]


# -- reading ---------------------------------------------------------------------------------------
def load_model(path: str, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """Read a model from an HDF5 file of Keras 2 or 3."""
    custom = {**(custom_objects or {}), **GLOBAL_CUSTOM_OBJECTS, **scope_objects()}
    with open_file(path, "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ValueError(
                f"No model config found in the file at {path}: it holds weights only. Build the model with the code "
                f"that made it and call `model.load_weights({path!r})`."
            )
        config = legacy_config.decode(json.loads(legacy_config.decode(text)))
        model = deserialize_keras_object(legacy_config.upgrade(config, custom), custom, safe_mode=safe_mode)
        load_weights_group(get_group(file, "model_weights"), model, path)
        if compile:
            _compile(file, model, custom)
    return model


def _compile(file: Any, model: Any, custom: dict[str, Any]) -> None:
    text = file.attrs.get("training_config")
    if text is None:
        logger.warning(
            "No training configuration found in the save file, so the model was *not* compiled. Compile it manually."
        )
        return
    config = legacy_config.decode(json.loads(legacy_config.decode(text)))
    with DoNotTrackScope():
        arguments = legacy_config.compile_arguments(config, custom)
    model.compile(**arguments)
    group = find_group(file, "optimizer_weights")
    if group is None or model.optimizer is None:
        return
    model.optimizer.build(model.trainable_variables)
    values = [get_array(group, name) for name in _names(group, "weight_names")]
    variables = model.optimizer.variables
    if [v.shape for v in values] == [tuple(v.shape) for v in variables]:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    else:
        logger.warning(
            f"The optimizer's state in {file.filename} has another layout than {type(model.optimizer).__name__} has "
            "here; the model starts with a freshly initialized optimizer."
        )


def load_weights(model: Any, path: str, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Read weights from an HDF5 file of a whole model or of weights."""
    if not model.built:
        raise ValueError(
            f"Unable to load weights saved in HDF5 format from {path} into model '{model.name}', which has not created "
            "its variables yet. Call the model first, then load the weights."
        )
    with open_file(path, "r") as file:
        group = file
        if "layer_names" not in file.attrs and "layer_names0" not in file.attrs and "model_weights" in file:
            group = get_group(file, "model_weights")
        if by_name:
            _load_by_name(group, model, path, skip_mismatch)
        else:
            load_weights_group(group, model, path, skip_mismatch)


def load_weights_group(group: Any, model: Any, path: str, skip_mismatch: bool = False) -> None:
    """Assign the weights in a group to the layers of a model, layer after layer in their order."""
    layers = [layer for layer in model.layers if _weights_of(layer)]
    groups = {name: get_group(group, name) for name in _names(group, "layer_names")}
    groups = {name: g for name, g in groups.items() if _names(g, "weight_names")}
    if len(groups) != len(layers):
        raise ValueError(
            f"Layer count mismatch when loading weights from {path}. Model expected {len(layers)} layers "
            f"({[layer.name for layer in layers]}), found {len(groups)} saved layers ({list(groups)}). Build the same "
            "architecture, or use `by_name=True` to load the layers whose names agree."
        )
    for (name, saved), layer in zip(groups.items(), layers, strict=True):
        _assign(layer, _weights_of(layer), saved, f"layer '{layer.name}' ('{name}' in {path})", skip_mismatch)
    top = find_group(group, "top_level_model_weights")
    if top is not None:
        _assign(model, _top_level(model), top, f"the weights of model '{model.name}' itself in {path}", skip_mismatch)


def _load_by_name(group: Any, model: Any, path: str, skip_mismatch: bool) -> None:
    for name in _names(group, "layer_names"):
        for layer in model.layers:
            if layer.name == name:
                saved = get_group(group, name)
                _assign(layer, _weights_of(layer), saved, f"layer '{name}' in {path}", skip_mismatch)
    top = find_group(group, "top_level_model_weights")
    if top is not None:
        _assign(model, _top_level(model), top, f"the weights of model '{model.name}' itself in {path}", skip_mismatch)


def _assign(owner: Any, variables: list[Any], group: Any, where: str, skip_mismatch: bool) -> None:
    values = [get_array(group, name) for name in _names(group, "weight_names")]
    if len(values) != len(variables):
        message = (
            f"Weight count mismatch for {where}. Layer expects {len(variables)} weight(s) "
            f"({[v.path for v in variables]}). Received {len(values)} saved weight(s)."
        )
        if not skip_mismatch:
            raise ValueError(message)
        warnings.warn(f"Skipping: {message}", stacklevel=4)
        return
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) == value.shape:
            variable.assign(value)
            continue
        message = (
            f"Shape mismatch in {where} for weight {variable.path}. Weight expects shape {tuple(variable.shape)}. "
            f"Received saved weight with shape {value.shape}"
        )
        if not skip_mismatch:
            raise ValueError(f"{message}. Pass `skip_mismatch=True` to load the other weights.")
        warnings.warn(f"Skipping: {message}", stacklevel=4)
    if hasattr(owner, "finalize_state") and variables:
        owner.finalize_state()


def _names(group: Any, attribute: str) -> list[str]:
    if attribute in group.attrs:
        return [legacy_config.decode(n) for n in np.asarray(group.attrs[attribute]).tolist()]
    found: list[str] = []
    k = 0
    while f"{attribute}{k}" in group.attrs:
        found += [legacy_config.decode(n) for n in np.asarray(group.attrs[f"{attribute}{k}"]).tolist()]
        k += 1
    return found
