"""TimeDistributed: a layer applied to every time step."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.core.wrapper import Wrapper
from graphkeras.layers.layer import Layer
from graphkeras.layers.rnn.loop import time_major

# Built-in layers of these packages treat every element of a batch by itself.
_PER_ELEMENT = ("activations", "convolutional", "core", "pooling", "reshaping", "attention", "rnn")
_NOT_PER_ELEMENT = frozenset({"Lambda", "Wrapper"})


class TimeDistributed(Wrapper):
    """Applies a layer, with the same weights, to each slice `inputs[:, t]`.

    Where the layer is known to treat the elements of a batch independently, all steps are computed as one large batch;
    others (BatchNormalization, your own layers) are called step by step.

    Args:
        layer: the layer.

    Call arguments:
        inputs: tensor of shape `(batch, time, ...)`.
        training: passed to the layer if it takes it.
        mask: bool tensor of shape `(batch, time)`; its steps are passed to the layer if it takes a mask.

    Raises:
        ValueError: for something else than a layer, inputs with fewer than 3 axes, or a mask of another shape.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.TimeDistributed(layers.Conv2D(8, 3))(np.ones((2, 5, 6, 6, 3), "float32")).shape
        (2, 5, 4, 4, 8)
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Please initialize `TimeDistributed` layer with a `keras.layers.Layer` instance. Received: {layer}"
            )
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        super().build(_step_shape(input_shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = self.layer.compute_output_shape(_step_shape(input_shape))
        return (shape[0], input_shape[1], *shape[1:])

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if mask is not None:
            _check_mask(mask, inputs)
        kwargs = {"training": training} if self.layer._call_has_training_arg else {}
        mask = mask if self.layer._call_has_mask_arg else None
        return (
            self._folded(inputs, mask, kwargs)
            if treats_elements_alone(self.layer)
            else self._looped(inputs, mask, kwargs)
        )

    def _folded(self, inputs: Any, mask: Any, kwargs: dict[str, Any]) -> Any:
        """Time and batch as one batch."""
        batch, length = inputs.shape[:2]
        if mask is not None:
            kwargs["mask"] = ops.reshape(mask, (batch * length, *mask.shape[2:]))
        y = self.layer.call(ops.reshape(inputs, (batch * length, *inputs.shape[2:])), **kwargs)
        return ops.reshape(y, (batch, length, *y.shape[1:]))

    def _looped(self, inputs: Any, mask: Any, kwargs: dict[str, Any]) -> Any:
        outputs = []
        for t in range(inputs.shape[1]):
            if mask is not None:
                kwargs["mask"] = mask[:, t]
            outputs.append(self.layer.call(inputs[:, t], **kwargs))
        return time_major(ops.stack(outputs))


def treats_elements_alone(layer: Any) -> bool:
    """Whether the outputs for a batch are those for its elements, and a call changes no state that matters."""
    if type(layer).__module__ == "graphkeras.models.sequential":  # not a class that somebody derived from it
        return all(treats_elements_alone(inner) for inner in layer.layers)
    home, _, package = type(layer).__module__.partition(".layers.")
    return (
        home == "graphkeras"
        and package.split(".")[0] in _PER_ELEMENT
        and type(layer).__name__ not in _NOT_PER_ELEMENT
        and not getattr(layer, "stateful", False)
        and all(treats_elements_alone(inner) for inner in layer._layers)
    )


def _step_shape(input_shape: Any) -> tuple[int | None, ...]:
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) < 3:
        raise ValueError(
            "`TimeDistributed` Layer should be passed an `input_shape` with at least 3 dimensions, received: "
            f"{input_shape}"
        )
    return (input_shape[0], *input_shape[2:])


def _check_mask(mask: Any, inputs: Any) -> None:
    if len(mask.shape) < 2:
        raise ValueError(
            "The `mask` passed to the `TimeDistributed` layer must be at least 2D (e.g., `(batch_size, timesteps)`), "
            f"but it has {len(mask.shape)} dimension(s) with shape {tuple(mask.shape)}."
        )
    if tuple(mask.shape[:2]) != tuple(inputs.shape[:2]):
        raise ValueError(
            f"The `mask` passed to the `TimeDistributed` layer has a shape {tuple(mask.shape)} that is incompatible "
            f"with the input shape {tuple(inputs.shape)}. The first two dimensions of the mask (batch size and "
            "timesteps) must match the input's first two dimensions. Expected mask shape prefix: "
            f"({inputs.shape[0]}, {inputs.shape[1]})."
        )
