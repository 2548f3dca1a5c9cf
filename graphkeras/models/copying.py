"""Models as picklable states: what `pickle` and `copy.deepcopy` use."""

from __future__ import annotations

from typing import Any

import numpy as np

_NAMESPACE = "graphkeras."


def model_state(model: Any) -> dict[str, Any]:
    """Everything that makes an equal model: class, config, shapes, weights, compile settings, optimizer state."""
    from graphkeras.saving import serialize_keras_object

    optimizer = getattr(model, "optimizer", None) if getattr(model, "compiled", False) else None
    slots = [np.array(v) for v in optimizer.variables] if optimizer is not None and optimizer.built else None
    return {
        "config": serialize_keras_object(model),
        "custom_objects": {
            type(layer).__name__: type(layer)
            for layer in model._flatten_layers()
            if not type(layer).__module__.startswith(_NAMESPACE)
        },
        # By path order of `variables`, which holds the states of seed generators too.
        "variables": [np.array(v) for v in model.variables] if model.built else None,
        "trainable": [layer.trainable for layer in model._flatten_layers()],
        "optimizer": slots,
    }


def revive_model(state: dict[str, Any]) -> Any:
    """The model of a state."""
    from graphkeras.saving import deserialize_keras_object

    model = deserialize_keras_object(state["config"], custom_objects=state["custom_objects"], safe_mode=False)
    if state["variables"] is not None:
        _assign(model.variables, state["variables"], f"model '{model.name}'")
    for layer, trainable in zip(model._flatten_layers(), state["trainable"], strict=True):
        layer._trainable = trainable
    if state["optimizer"] is not None:
        model.optimizer.build(model.trainable_variables)
        _assign(model.optimizer.variables, state["optimizer"], f"the optimizer of model '{model.name}'")
    return model


def _assign(variables: list[Any], values: list[Any], owner: str) -> None:
    if len(variables) != len(values):
        raise ValueError(
            f"Cannot copy {owner}: the copy made from its config has {len(variables)} variables, the original "
            f"{len(values)}. Its `get_config()` or `build()` does not describe all of it."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
