"""StackedRNNCells: several cells, one on top of the other, as one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkeras import ops
from graphkeras.layers.layer import Layer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object


class StackedRNNCells(Layer):
    """Cells in a row: each takes the output of the one before. `RNN([...])` makes one from a list.

    Args:
        cells: list of cells (see `RNN`).

    Raises:
        ValueError: if a cell lacks `call` or `state_size`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> stack = layers.StackedRNNCells([layers.LSTMCell(4), layers.LSTMCell(2)])
        >>> layers.RNN(stack)(np.ones((3, 5, 6), "float32")).shape
        (3, 2)
    """

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for cell in cells:
            if not hasattr(cell, "call"):
                raise ValueError(f"All cells must have a `call` method. Received cell without a `call` method: {cell}")
            if not hasattr(cell, "state_size"):
                raise ValueError(
                    f"All cells must have a `state_size` attribute. Received cell without a `state_size`: {cell}"
                )
        self.cells = cells

    @property
    def state_size(self) -> list[Any]:
        return [c.state_size for c in self.cells]

    @property
    def output_size(self) -> int:
        return _output_size(self.cells[-1])

    def get_initial_state(self, batch_size: int | None = None) -> list[Any]:
        return [self._initial_state(cell, batch_size) for cell in self.cells]

    def _initial_state(self, cell: Any, batch_size: int | None) -> Any:
        if hasattr(cell, "get_initial_state"):
            return cell.get_initial_state(batch_size=batch_size)
        if isinstance(cell.state_size, int):
            return ops.zeros((batch_size, cell.state_size), dtype=self.compute_dtype)
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in cell.state_size]

    def call(self, inputs: Any, states: Any, training: bool = False, **kwargs: Any) -> Any:
        after = []
        for cell, state in zip(self.cells, states, strict=True):
            inputs, state = self.run_cell(cell, inputs, state, training, **kwargs)
            after.append(state)
        return inputs, after[0] if len(after) == 1 else after

    @staticmethod
    def run_cell(cell: Any, inputs: Any, state: Any, training: bool, **kwargs: Any) -> tuple[Any, Any]:
        """One step of one of the cells; the new state has the structure of `state`."""
        nested = isinstance(state, (list, tuple))
        if getattr(cell, "_call_has_training_arg", False):
            kwargs["training"] = training
        run = cell if callable(cell) else cell.call
        output, after = run(inputs, list(state) if nested else [state], **kwargs)
        if isinstance(after, (list, tuple)):
            return output, list(after) if nested else after[0]
        return output, [after] if nested else after

    def build(self, input_shape: Any) -> None:
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell.build(input_shape)
                cell.built = True
            input_shape = (input_shape[0], _output_size(cell))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [serialize_keras_object(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = dict(config)
        cells = [deserialize_keras_object(c, custom_objects=custom_objects) for c in config.pop("cells")]
        return cls(cells, **config)


def _output_size(cell: Any) -> int:
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    return cell.state_size[0] if isinstance(cell.state_size, (list, tuple)) else cell.state_size
