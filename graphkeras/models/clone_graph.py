"""Copying calls of a graph, for sub-models that begin at intermediate tensors. Layers are shared, not copied."""

from __future__ import annotations

from typing import Any

from graphkeras.core import tree
from graphkeras.core.function import collect_nodes
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.operation import Node
from graphkeras.layers.input_layer import Input, InputLayer


def is_input_tensor(x: KerasTensor) -> bool:
    """Whether a tensor was made by `Input`."""
    history = getattr(x, "_keras_history", None)
    if history is None or history.operation is None:
        raise ValueError(
            f"{x!r} was not made by `Input` nor by calling a layer on one, so it cannot be an input of a model. "
            "Use `graphkeras.Input(shape)`."
        )
    return history.operation._inbound_nodes[history.node_index].is_input


def clone_graph_nodes(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """The same calls from new Inputs in place of intermediate tensors; returns the new inputs and outputs."""
    flat_inputs, flat_outputs = tree.flatten(inputs), tree.flatten(outputs)
    nodes, _ = collect_nodes(flat_inputs, flat_outputs)
    input_ids = {id(x) for x in flat_inputs}
    copies: dict[int, KerasTensor] = {}
    for x in flat_inputs:
        if is_input_tensor(x):
            copies[id(x)] = x
        else:
            copies[id(x)] = Input(batch_shape=x.shape, dtype=x.dtype, name=f"{x.name}CLONE")
    new_inputs = tree.pack_sequence_as(inputs, [copies[id(x)] for x in flat_inputs])

    def copy(x: Any) -> Any:
        if not isinstance(x, KerasTensor):
            return x
        if id(x) not in copies:
            copies[id(x)] = KerasTensor(x.shape, x.dtype, name=f"{x.name}_clone")
        return copies[id(x)]

    for node in nodes:
        if isinstance(node.operation, InputLayer):
            for x in node.outputs:  # an Input that is not among `inputs`: it stays, and the model's check will name it
                copies.setdefault(id(x), x)
            continue
        args, kwargs = tree.map_structure(copy, (node.arguments.args, node.arguments.kwargs))
        # An output which is itself one of `inputs` keeps the new Input; the call gets another tensor in its place.
        results = [KerasTensor(x.shape, x.dtype) if id(x) in input_ids else copy(x) for x in node.outputs]
        Node(node.operation, args, kwargs, results)
    return new_inputs, tree.map_structure(copy, outputs)
