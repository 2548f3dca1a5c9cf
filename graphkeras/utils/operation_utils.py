"""Questions about the graph between symbolic tensors."""

from __future__ import annotations

from typing import Any


def get_source_inputs(tensor: Any) -> list[Any]:
    """The Input tensors that a symbolic tensor is computed from.

    Example:

    >>> import graphkeras as keras
    >>> x = keras.Input((3,))
    >>> y = keras.layers.Dense(2)(x + 1)
    >>> keras.utils.get_source_inputs(y)[0] is x
    True
    """
    if not hasattr(tensor, "_keras_history"):
        return [tensor]
    found: list[Any] = []
    waiting, seen = [tensor], set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        operation, index, _ = current._keras_history
        sources = operation._inbound_nodes[index].input_tensors if operation is not None else []
        if sources:
            waiting.extend(reversed(sources))
        else:
            found.append(current)
    return found
