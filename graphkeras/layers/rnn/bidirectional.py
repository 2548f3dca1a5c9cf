"""Bidirectional: one recurrent layer forwards and one backwards."""

from __future__ import annotations

import copy
from typing import Any

from graphkeras import ops
from graphkeras.core import tree
from graphkeras.layers.layer import Layer
from graphkeras.saving import deserialize_keras_object, serialize_keras_object

MERGE_MODES = ("sum", "mul", "ave", "concat", None)


class Bidirectional(Layer):
    """Runs a recurrent layer from first to last step and another one from last to first, and merges their outputs.

    Args:
        layer: an RNN layer. Both directions are made new from its config.
        merge_mode: "concat" (along the last axis), "sum", "mul", "ave", or None for a pair of outputs.
        weights: list of initial values, first half for the forward layer.
        backward_layer: the layer for the other direction, with the opposite `go_backwards`; a copy of `layer` if None.

    Call arguments:
        sequences, mask, training: see `RNN`.
        initial_state: list, first half for the forward layer.

    Raises:
        ValueError: for something else than a layer, another merge mode, or two layers that do not go together.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
        >>> layer(np.ones((2, 5, 3), "float32")).shape
        (2, 5, 8)
    """

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_layer(layer, "Please initialize `Bidirectional` layer with a `keras.layers.Layer` instance.")
        if backward_layer is not None:
            _check_layer(backward_layer, "`backward_layer` need to be a `keras.layers.Layer` instance.")
        if merge_mode not in MERGE_MODES:
            raise ValueError(
                f"Invalid merge mode. Received: {merge_mode}. Merge mode should be one of "
                '{"sum", "mul", "ave", "concat", None}'
            )
        super().__init__(**kwargs)
        self.forward_layer = _copied(layer, "forward_", {})
        self.backward_layer = backward_layer or _copied(layer, "backward_", {"go_backwards": True})
        for direction in (self.forward_layer, self.backward_layer):
            if hasattr(layer, "use_cudnn"):
                direction.use_cudnn = layer.use_cudnn
            if getattr(direction, "zero_output_for_mask", None) is not None:
                # Repeated outputs would differ between the directions, so that merging them means nothing.
                direction.zero_output_for_mask = direction.return_sequences
        self._check_pair()
        self.merge_mode = merge_mode
        if weights:
            half = len(weights) // 2
            self.forward_layer.initial_weights = weights[:half]
            self.backward_layer.initial_weights = weights[half:]
        self.stateful = layer.stateful
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.supports_masking = True
        self.input_spec = layer.input_spec

    def _check_pair(self) -> None:
        """The two layers run in opposite directions and return the same things."""
        forward, backward = self.forward_layer, self.backward_layer
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "Forward layer and backward layer should have different `go_backwards` value. Received: "
                f"forward_layer.go_backwards {forward.go_backwards}, backward_layer.go_backwards="
                f"{backward.go_backwards}"
            )
        for name in ("stateful", "return_sequences", "return_state"):
            a, b = getattr(forward, name), getattr(backward, name)
            if a != b:
                raise ValueError(
                    "Forward layer and backward layer are expected to have the same value for attribute "
                    f'"{name}", got "{a}" for forward layer and "{b}" for backward layer'
                )

    # -- shapes, masks ---------------------------------------------------------------------------------
    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        shape = self.forward_layer.compute_output_shape(sequences_shape)
        states: tuple[Any, ...] = ()
        if self.return_state:
            shape, states = shape[0], (*shape[1:], *shape[1:])
        if self.merge_mode == "concat":
            shape = (*shape[:-1], 2 * shape[-1])
        outputs = (tuple(shape),) if self.merge_mode is not None else (tuple(shape), tuple(shape))
        if self.return_state:
            return (*outputs, *states)
        return outputs[0] if self.merge_mode is not None else list(outputs)

    def compute_mask(self, _: Any, mask: Any) -> Any:
        found = tree.flatten(mask)
        output_mask = found[0] if self.return_sequences and found else None
        count = 1 if self.merge_mode is not None else 2
        states = 2 * len(self.forward_layer.state_size) if self.return_state else 0
        if count == 1 and not states:
            return output_mask
        return (*(output_mask for _ in range(count)), *(None for _ in range(states)))

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer.build(sequences_shape)
            given = layer.__dict__.pop("initial_weights", None)
            if given is not None:
                layer.set_weights(given)

    # -- the computation -------------------------------------------------------------------------------
    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        halves: tuple[Any, Any] = (None, None)
        if initial_state is not None:
            half = len(initial_state) // 2
            halves = (initial_state[:half], initial_state[half:])
        directions = (self.forward_layer, self.backward_layer)
        found = [
            self._direction(x, sequences, state, mask, training) for x, state in zip(directions, halves, strict=True)
        ]
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*found[0][1:], *found[1][1:])
            found = [y[0] for y in found]
        y, back = (ops.cast(v, self.compute_dtype) for v in found)
        if self.return_sequences:
            back = ops.flip(back, axis=1)
        output = self._merge(y, back)
        if not self.return_state:
            return output
        return (*output, *states) if self.merge_mode is None else (output, *states)

    def _direction(self, layer: Any, sequences: Any, state: Any, mask: Any, training: Any) -> Any:
        kwargs: dict[str, Any] = {}
        if layer._call_has_training_arg:
            kwargs["training"] = training
        if layer._call_has_mask_arg:
            kwargs["mask"] = mask
        return layer(sequences, initial_state=state, **kwargs)

    def _merge(self, y: Any, back: Any) -> Any:
        if self.merge_mode == "concat":
            return ops.concatenate([y, back], axis=-1)
        if self.merge_mode == "mul":
            return y * back
        if self.merge_mode is None:
            return (y, back)
        return y + back if self.merge_mode == "sum" else (y + back) / 2

    # -- states ----------------------------------------------------------------------------------------
    def reset_state(self) -> None:
        """Set the states of both layers to zero.

        Raises:
            AttributeError: if the layer is not stateful.
        """
        if not self.stateful:
            raise AttributeError("Layer must be stateful.")
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def reset_states(self) -> None:
        """Same as `reset_state`."""
        self.reset_state()

    @property
    def states(self) -> tuple[Any, ...] | None:
        """The states of a stateful layer: those of the forward layer, then those of the backward layer."""
        if self.forward_layer.states and self.backward_layer.states:
            return (*self.forward_layer.states, *self.backward_layer.states)
        return None

    # -- config ----------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": serialize_keras_object(self.forward_layer),
            "backward_layer": serialize_keras_object(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        config = copy.deepcopy(config)
        for name in ("layer", "backward_layer"):
            if config.get(name) is not None:
                config[name] = deserialize_keras_object(config[name], custom_objects=custom_objects)
        return cls(**config)


def _check_layer(layer: Any, message: str) -> None:
    if not isinstance(layer, Layer):
        raise ValueError(f"{message} Received: {layer}")


def _copied(layer: Any, prefix: str, changes: dict[str, Any]) -> Any:
    """A layer of the same config without any state of `layer`."""
    config = serialize_keras_object(layer)
    config["config"].update(changes, name=prefix + layer.name.removeprefix(prefix))
    return deserialize_keras_object(config)
