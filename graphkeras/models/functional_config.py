"""The graph of a Functional model as a config, and back. The layout is that of Keras 3 files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.operation import KerasHistory, Node, Operation


def functional_to_config(model: Any) -> dict[str, Any]:
    """Config of a model: its layers, each with the calls that belong to the model, its inputs and outputs.

    Calls of a layer are numbered within the model. A nested Functional model's calls are numbered from 1, because in
    Keras 3 files number 0 means the calls that define it.
    """
    from graphkeras.models.functional import Functional
    from graphkeras.saving import serialize_keras_object

    positions: dict[Node, int] = {}
    layers = []
    for operation in model.operations:
        first = 1 if isinstance(operation, Functional) else 0
        own = [node for node in operation._inbound_nodes if node in model._nodes]
        positions.update((node, first + i) for i, node in enumerate(own))
        config = serialize_keras_object(operation)
        config["name"] = operation.name
        config["inbound_nodes"] = [_node_to_config(node, model._nodes) for node in own if node.input_tensors]
        layers.append(config)

    def reference(x: KerasTensor) -> list[Any]:
        operation, index, tensor_index = x._keras_history
        return [operation.name, positions[operation._inbound_nodes[index]], tensor_index]

    return copy.deepcopy(
        {
            "name": model.name,
            "trainable": model.trainable,
            "layers": layers,
            "input_layers": tree.map_structure(reference, model._inputs_struct),
            "output_layers": tree.map_structure(reference, model._outputs_struct),
        }
    )


def _node_to_config(node: Node, members: set[Node]) -> dict[str, Any]:
    """The arguments of a call; tensors name the layer and the number of its call within the model."""
    from graphkeras.saving import serialize_keras_object

    def numbered(x: Any) -> Any:
        if not isinstance(x, KerasTensor):
            return x
        operation, index, tensor_index = x._keras_history
        inside = sum(n in members for n in operation._inbound_nodes[:index])
        copied = KerasTensor(x.shape, x.dtype, name=x.name)
        copied._keras_history = KerasHistory(operation, inside, tensor_index)
        return copied

    args, kwargs = tree.map_structure(numbered, (node.arguments.args, node.arguments.kwargs))
    return {"args": serialize_keras_object(args), "kwargs": serialize_keras_object(kwargs)}


class _NotYet(Exception):
    """A call needs the output of a call that was not made yet."""


def functional_from_config(cls: type, config: dict[str, Any], custom_objects: Any = None) -> Any:
    """The model that `functional_to_config` described (also with older, list-like descriptions of calls)."""
    config = dict(config)
    layer_configs, inputs, outputs = (config.pop(k) for k in ("layers", "input_layers", "output_layers"))
    name, trainable = config.pop("name", None), config.pop("trainable", None)
    layers = {c["name"]: _make_layer(c, custom_objects) for c in layer_configs}
    waiting = {c["name"]: list(c["inbound_nodes"]) for c in layer_configs}
    while any(waiting.values()):
        progressed = False
        for layer_name, calls in waiting.items():
            while calls:
                try:
                    args, kwargs = _node_from_config(calls[0], layers)
                except _NotYet:
                    break
                layers[layer_name](*args, **kwargs)
                calls.pop(0)
                progressed = True
        if not progressed:
            stuck = {k: v for k, v in waiting.items() if v}
            raise ValueError(
                "Invalid Functional model configuration. The graph of the Functional model either has loops or "
                f"disconnected nodes. The following nodes failed to be resolved: {stuck}"
            )
    find = _tensor_finder(layers)
    return cls(inputs=find(inputs), outputs=find(outputs), name=name, trainable=trainable, **config)


def layer_from_config(config: dict[str, Any], custom_objects: Any) -> Any:
    """A layer or a nested model. Configs of Keras 2 name no module."""
    from graphkeras.saving import deserialize_keras_object

    if "module" not in config:
        name = config["class_name"]
        home = "keras.models" if name in ("Functional", "Model", "Sequential") else "keras.layers"
        config = {**config, "module": home, "registered_name": name}
    return deserialize_keras_object(config, custom_objects=custom_objects)


def _make_layer(config: dict[str, Any], custom_objects: Any) -> Any:
    layer = layer_from_config(config, custom_objects)
    if not isinstance(layer, Operation):
        raise ValueError(f"Expected a layer or an operation in the model's config, got {layer} (of type {type(layer)})")
    return layer


def _output_of(layers: dict[str, Any], name: str, node_index: int, tensor_index: int) -> KerasTensor:
    if name not in layers:
        raise ValueError(f"Invalid Functional model configuration. Unknown layer: {name}")
    nodes = layers[name]._inbound_nodes
    if len(nodes) <= node_index:
        raise _NotYet
    return nodes[node_index].output_tensors[tensor_index]


def _node_from_config(config: Any, layers: dict[str, Any]) -> tuple[Any, Any]:
    """The arguments of a call, with the tensors of the new layers."""
    if not config:
        return (), {}
    if isinstance(config, list):  # Keras 2: [[layer, node, tensor, kwargs], ...]
        tensors = [_output_of(layers, *c[:3]) for c in config]
        kwargs = config[0][3] if len(config[0]) > 3 else {}
        return (tensors[0] if len(tensors) == 1 else tensors,), kwargs
    from graphkeras.saving import deserialize_keras_object

    def revived(x: Any) -> Any:
        history = getattr(x, "_pre_serialization_keras_history", None) if isinstance(x, KerasTensor) else None
        return x if history is None else _output_of(layers, *history)

    args = deserialize_keras_object(config["args"])
    kwargs = deserialize_keras_object(config["kwargs"])
    return tree.map_structure(revived, tuple(args)), tree.map_structure(revived, kwargs)


def _tensor_finder(layers: dict[str, Any]) -> Callable[[Any], Any]:
    from graphkeras.models.functional import Functional

    def find(struct: Any) -> Any:
        if isinstance(struct, (list, tuple)) and len(struct) == 3 and isinstance(struct[0], str):
            name, node_index, tensor_index = struct
            if isinstance(layers.get(name), Functional):
                node_index -= 1
            return _output_of(layers, name, node_index, tensor_index)
        if isinstance(struct, dict):
            return {k: find(v) for k, v in struct.items()}
        return type(struct)(find(v) for v in struct)

    return find
