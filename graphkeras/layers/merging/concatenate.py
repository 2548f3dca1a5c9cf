"""Concatenate: tensors one after the other along an axis."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.merging.base import Merge, check_masks, is_shape_list


class Concatenate(Merge):
    """Joins a list of tensors along an axis; all other axes must agree.

    Args:
        axis: the axis, negative ones counted from the end.

    Raises:
        ValueError: if the shapes differ on another axis.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Concatenate()([np.ones((2, 3), "float32"), np.zeros((2, 5), "float32")]).shape
        (2, 8)
    """

    CONFIG = ("axis",)

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store(axis=axis)

    def build(self, input_shape: Any) -> None:
        if not is_shape_list(input_shape):
            raise ValueError(
                f"A `Concatenate` layer should be called on a list of at least 1 input. Layer {self.name} received: "
                f"input_shape={input_shape}"
            )
        rests = []
        for shape in input_shape:
            if not -len(shape) <= self.axis < len(shape):
                raise ValueError(f"Layer {self.name}: axis={self.axis} is out of bounds for an input of shape {shape}")
            axis = self.axis % len(shape)
            rests.append([n for i, n in enumerate(shape) if i != axis])
        same_rank = len({len(r) for r in rests}) == 1
        if not same_rank or any(len(set(sizes) - {None}) > 1 for sizes in zip(*rests, strict=True)):
            raise ValueError(
                "A `Concatenate` layer requires inputs with matching shapes except for the concatenation axis. "
                f"Layer {self.name} with axis={self.axis} received: input_shape={input_shape}"
            )

    def _same_rank(self, inputs: Any) -> Any:
        return inputs

    def _merge_function(self, inputs: Any) -> Any:
        return ops.concatenate(inputs, axis=self.axis)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The inputs' masks joined along the same axis; an input without one counts as unmasked."""
        if mask is None:
            return None
        check_masks(self, inputs, mask)
        if all(m is None for m in mask):
            return None
        full = []
        for x, m in zip(inputs, mask, strict=True):
            if m is None:
                full.append(ops.ones_like(x, dtype="bool"))
            elif len(m.shape) < len(x.shape):
                full.append(ops.logical_or(ops.expand_dims(m, -1), ops.zeros_like(x, dtype="bool")))
            else:
                full.append(ops.cast(m, "bool"))
        return ops.any(ops.concatenate(full, axis=self.axis), axis=-1)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate(axis, **kwargs)(inputs)`."""
    return Concatenate(axis=axis, **kwargs)(inputs)
