"""Configs of HDF5 files: those of Keras 2, and the shortened form in which Keras 3 writes them.

They name classes without modules ("Dense"), and Keras 2 had other names and arguments for some things. `upgrade` turns
them into what the layers of today take.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from graphkeras.saving import public_names

MODELS = ("Functional", "Model", "Sequential")

# Arguments that became meaningless, with the values that they may have.
_HARMLESS = {"batch_input_shape", "input_dim", "input_length", "implementation", "sparse", "ragged", "jit_compile"}
_LAMBDA_EXTRAS = ("module", "function_type", "output_shape_type", "output_shape_module")


def decode(value: Any) -> Any:
    """Text of attributes as str; tuples, which JSON lacks, in place of their tagged lists."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__":
            return tuple(decode(v) for v in value["items"])
        return {k: decode(v) for k, v in value.items()}
    return [decode(v) for v in value] if isinstance(value, list) else value


def shorten(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a model or layer as HDF5 files have it: without module and build shapes.

    Only the layers of models are shortened. Operations keep their modules, because they share names with layers.
    """
    inner = config["config"]
    if isinstance(inner, dict) and "layers" in inner:
        inner = {**inner, "layers": [shorten(layer) for layer in inner["layers"]]}
    if str(config.get("module")).startswith("keras.src.ops"):
        return config
    kept = {"class_name": config.get("registered_name") or config["class_name"], "config": inner}
    return kept | {k: v for k, v in config.items() if k in ("name", "inbound_nodes")}


def upgrade(config: dict[str, Any], custom_objects: dict[str, Any]) -> dict[str, Any]:
    """The config of a model or layer from an HDF5 file, in the present form."""
    if not isinstance(config, dict) or "class_name" not in config or "config" not in config:
        raise ValueError(
            "The provided configuration is not a valid Keras configuration. Expected a dictionary containing a "
            f"'config' key. Received: config={config}"
        )
    if "module" in config:
        return config
    name, inner = config["class_name"], config["config"]
    if isinstance(inner, list):  # Sequential models of Keras 1 and early 2
        inner = {"name": "sequential", "layers": inner}
    if "layers" in inner and name not in custom_objects:
        inner = _upgrade_model(name, dict(inner), custom_objects)
    else:
        inner = _upgrade_layer(name, dict(inner), custom_objects)
    home = "keras" if name == "Model" else "keras.models" if name in MODELS else "keras.layers"
    if name in ("Functional", "Model") and "input_layers" in inner:
        home, name = "keras.src.models.functional", "Functional"
    if _is_operation(name, config["config"]):
        home = "keras.src.ops.numpy"
    return {**config, "module": home, "class_name": name, "config": inner, "registered_name": name}


def _is_operation(name: str, inner: Any) -> bool:
    """Operations on tensors have a name only; layers of the same class name have dtype and trainable too."""
    if not isinstance(inner, dict) or {"dtype", "trainable", "batch_shape", "layers"} & set(inner):
        return False
    from graphkeras import layers

    alike = name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Dot", "Reshape")
    return (alike or not hasattr(layers, name)) and public_names.find("keras.src.ops.numpy", name) is not None


def _upgrade_model(name: str, inner: dict[str, Any], custom: dict[str, Any]) -> dict[str, Any]:
    layers = [upgrade(layer, custom) for layer in inner["layers"]]
    if name == "Sequential":
        shape = inner["layers"][0]["config"].get("batch_input_shape") if inner["layers"] else None
        if shape is not None and layers[0]["class_name"] != "InputLayer":
            dtype = layers[0]["config"].get("dtype")
            dtype = "int32" if layers[0]["class_name"] == "Embedding" else dtype if isinstance(dtype, str) else None
            source = {"batch_shape": shape, "dtype": dtype, "name": f"{layers[0]['config'].get('name', 'layer')}_input"}
            layers.insert(0, {"module": "keras.layers", "class_name": "InputLayer", "config": source})
        return {"name": inner.get("name"), "layers": layers, "build_input_shape": inner.get("build_input_shape")}
    shifts = _first_calls(inner)
    inner["layers"] = [
        {**layer, "inbound_nodes": [_shift(node, shifts) for node in old.get("inbound_nodes", [])]}
        for layer, old in zip(layers, inner["layers"], strict=True)
    ]
    for key in ("input_layers", "output_layers"):
        inner[key] = _references(inner[key], shifts, layers)
    return inner


def _first_calls(inner: dict[str, Any]) -> dict[str, int]:
    """How much too high Keras 2 numbered the calls of nested models: it counted the calls that made them."""
    nested = {layer["name"] for layer in inner["layers"] if layer["class_name"] in MODELS}
    used: dict[str, list[int]] = {}
    for layer in inner["layers"]:
        for node in layer.get("inbound_nodes", []):
            for reference in node if isinstance(node, list) else []:
                used.setdefault(reference[0], []).append(reference[1])
    return {name: min(indices) for name, indices in used.items() if name in nested}


def _shift(node: Any, shifts: dict[str, int]) -> Any:
    if not isinstance(node, list):
        return node
    return [[ref[0], ref[1] - shifts.get(ref[0], 0), *ref[2:]] for ref in node]


def _references(refs: Any, shifts: dict[str, int], layers: list[dict[str, Any]]) -> Any:
    """Inputs and outputs; one in a list is the tensor itself."""
    if isinstance(refs, dict):
        return {k: _references(v, shifts, layers) for k, v in refs.items()}
    if len(refs) == 3 and isinstance(refs[0], str):
        sequential = any(c["config"].get("name") == refs[0] and c["class_name"] == "Sequential" for c in layers)
        return [refs[0], refs[1] - (shifts.get(refs[0], 0) if sequential else 0), refs[2]]
    found = [_references(ref, shifts, layers) for ref in refs]
    return found[0] if len(found) == 1 else found


def _upgrade_layer(name: str, inner: dict[str, Any], custom: dict[str, Any]) -> dict[str, Any]:
    inner = {k: upgrade(v, custom) if _is_nested_layer(k, v) else _upgrade_value(v) for k, v in inner.items()}
    batch_shape = inner.pop("batch_input_shape", None)
    if name == "InputLayer" and batch_shape is not None:
        inner["batch_shape"] = batch_shape
    axis = inner.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        inner["axis"] = int(axis[0])
    if isinstance(inner.get("dtype"), dict) and "module" not in inner["dtype"]:  # a policy of Keras 2
        inner["dtype"] = inner["dtype"]["config"].get("name")
    if name == "Lambda":
        inner = _upgrade_lambda(inner)
    return inner if name in custom else _known_arguments(name, inner)


def _is_nested_layer(key: str, value: Any) -> bool:
    """Layers inside wrappers and RNNs."""
    if not isinstance(value, dict) or "class_name" not in value or "module" in value:
        return False
    return key in ("layer", "backward_layer", "cell") and isinstance(value.get("config"), dict)


def _upgrade_value(value: Any) -> Any:
    """Initializers and the like: Keras 2 wrote a dtype into some of them."""
    if isinstance(value, list):
        return [_upgrade_value(v) for v in value]
    if isinstance(value, dict) and "class_name" in value and "module" not in value and "config" in value:
        inner = value["config"]
        if isinstance(inner, dict) and value["class_name"] not in MODELS:
            return {**value, "config": {k: v for k, v in inner.items() if k != "dtype"}}
    return value


def _upgrade_lambda(inner: dict[str, Any]) -> dict[str, Any]:
    inner = {k: v for k, v in inner.items() if k not in _LAMBDA_EXTRAS}
    function = inner.get("function")
    if isinstance(function, (list, tuple)):
        code, defaults, closure = function
        inner["function"] = {
            "class_name": "__lambda__",
            "config": {"code": code, "defaults": defaults, "closure": closure},
        }
    return inner


def _known_arguments(name: str, inner: dict[str, Any]) -> dict[str, Any]:
    """Without arguments that the class no longer takes. One that had a meaning is warned about."""
    from graphkeras import layers
    from graphkeras.layers.layer import Layer

    cls = getattr(layers, name, None)
    if not inspect.isclass(cls):
        return inner
    return known_arguments(cls, inner, base=Layer)


def known_arguments(cls: type, inner: dict[str, Any], base: type) -> dict[str, Any]:
    """The items of a config that constructors of `cls` and its bases down from `base` name."""
    accepted: set[str] = set()
    for parent in cls.__mro__:
        if issubclass(parent, base) and "__init__" in vars(parent):
            parameters = inspect.signature(parent.__init__).parameters.values()
            accepted.update(p.name for p in parameters)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    dropped = {k: v for k, v in inner.items() if k not in accepted}
    meant = {k: v for k, v in dropped.items() if k not in _HARMLESS and v not in (None, False, 1, 0, 0.0)}
    if meant:
        warnings.warn(f"{cls.__name__} no longer takes the arguments {meant} found in the file; ignored.", stacklevel=2)
    return {k: v for k, v in inner.items() if k in accepted}


# -- compile settings ------------------------------------------------------------------------------
def compile_arguments(config: dict[str, Any], custom_objects: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `compile` from the training config of a file."""
    from graphkeras import losses, optimizers
    from graphkeras.saving.object_registration import CustomObjectScope

    with CustomObjectScope(custom_objects):
        found = config["optimizer_config"]
        arguments = {
            "optimizer": optimizers.deserialize(_optimizer_config(found, custom_objects)),
            "loss": _each(config.get("loss"), lambda c: losses.deserialize(_loss_config(c))),
            "metrics": _each(config.get("metrics"), _metric),
            "weighted_metrics": _each(config.get("weighted_metrics"), _metric),
            "loss_weights": config.get("loss_weights"),
        }
    return arguments


def _optimizer_config(config: dict[str, Any], custom_objects: dict[str, Any]) -> dict[str, Any]:
    from graphkeras import optimizers
    from graphkeras.optimizers.optimizer import Optimizer

    if config.get("module") or config["class_name"] in custom_objects:
        return config
    cls = getattr(optimizers, config["class_name"], None)
    inner = dict(config["config"])
    if "lr" in inner:
        inner.setdefault("learning_rate", inner.pop("lr"))
    inner = {k: v for k, v in inner.items() if not (k == "decay" and not v) and k != "is_legacy_optimizer"}
    if inspect.isclass(cls):
        inner = known_arguments(cls, inner, base=Optimizer)
    return {"class_name": config["class_name"], "config": inner}


def _each(config: Any, read: Any) -> Any:
    """Apply `read` to every object in nested lists and dicts."""
    if config is None:
        return None
    if isinstance(config, str) or (isinstance(config, dict) and "class_name" in config):
        return read(config)
    if isinstance(config, dict):
        return {k: _each(v, read) for k, v in config.items()}
    return [_each(v, read) for v in config]


def _loss_config(config: Any) -> Any:
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        return config
    inner = {k: v for k, v in config["config"].items() if k not in ("fn", "axis") or config.get("module")}
    if inner.get("reduction") == "auto":
        inner["reduction"] = "sum_over_batch_size"
    return {**config, "config": inner}


def _metric(config: Any) -> Any:
    from graphkeras import metrics

    if config in ("accuracy", "acc", "crossentropy", "ce"):
        return config
    if isinstance(config, dict) and config["class_name"] == "MeanMetricWrapper" and not config.get("module"):
        inner = config["config"]
        if isinstance(inner.get("fn"), str):
            return metrics.MeanMetricWrapper(metrics.get(inner["fn"])._fn, name=inner.get("name"))
        return inner.get("name")
    return metrics.deserialize(config)
