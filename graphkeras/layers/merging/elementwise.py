"""Layers that merge tensors element by element."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.masking import set_keras_mask
from graphkeras.layers.merging.base import MaskedMerge, Merge, full_mask


class Add(Merge):
    """Sum of a list of tensors of the same shape (or shapes that broadcast).

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Add()([np.ones((1, 2), "float32"), np.ones((1, 2), "float32")]).tolist()
        [[2.0, 2.0]]
    """

    def merge(self, a: Any, b: Any) -> Any:
        return ops.add(a, b)


class Subtract(Merge):
    """First of two tensors minus the second.

    Raises:
        ValueError: unless it is called on exactly two tensors.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Subtract()([np.ones((1, 2), "float32"), np.ones((1, 2), "float32")]).tolist()
        [[0.0, 0.0]]
    """

    INPUTS = 2

    def merge(self, a: Any, b: Any) -> Any:
        return ops.subtract(a, b)


class Multiply(Merge):
    """Product of a list of tensors of the same shape (or shapes that broadcast). A masked element counts as 1.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Multiply()([np.full((1, 2), 3.0, "float32"), np.full((1, 2), 2.0, "float32")]).tolist()
        [[6.0, 6.0]]
    """

    def _merge_function(self, inputs: list[Any]) -> Any:
        masks = [full_mask(x) for x in inputs]
        if all(m is None for m in masks):
            return super()._merge_function(inputs)
        output = super()._merge_function(
            [x if m is None else ops.where(m, x, 1) for x, m in zip(inputs, masks, strict=True)]
        )
        if any(m is None for m in masks):
            return output
        union = masks[0]
        for m in masks[1:]:
            union = ops.logical_or(union, m)
        output = ops.where(union, output, 0)
        set_keras_mask(output, ops.any(union, axis=-1))
        return output

    def merge(self, a: Any, b: Any) -> Any:
        return ops.multiply(a, b)


class Average(Merge):
    """Mean of a list of tensors of the same shape (or shapes that broadcast).

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Average()([np.ones((1, 2), "float32"), np.zeros((1, 2), "float32")]).tolist()
        [[0.5, 0.5]]
    """

    def _merge_function(self, inputs: list[Any]) -> Any:
        return ops.divide(super()._merge_function(inputs), len(inputs))

    def merge(self, a: Any, b: Any) -> Any:
        return ops.add(a, b)


class Maximum(MaskedMerge):
    """Elementwise maximum of a list of tensors; masked elements do not compete.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Maximum()([np.ones((1, 2), "float32"), np.zeros((1, 2), "float32")]).tolist()
        [[1.0, 1.0]]
    """

    def merge(self, a: Any, b: Any) -> Any:
        return ops.maximum(a, b)


class Minimum(MaskedMerge):
    """Elementwise minimum of a list of tensors; masked elements do not compete.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Minimum()([np.ones((1, 2), "float32"), np.zeros((1, 2), "float32")]).tolist()
        [[0.0, 0.0]]
    """

    def merge(self, a: Any, b: Any) -> Any:
        return ops.minimum(a, b)


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add(**kwargs)(inputs)`."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract(**kwargs)(inputs)`."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply(**kwargs)(inputs)`."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average(**kwargs)(inputs)`."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """`Maximum(**kwargs)(inputs)`."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """`Minimum(**kwargs)(inputs)`."""
    return Minimum(**kwargs)(inputs)
