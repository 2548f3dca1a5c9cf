"""Projections applied to weights after every optimizer update."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.config import epsilon


class Constraint:
    """Base of constraints: called with a weight tensor, returns the projected tensor of the same shape.

    Example:
        >>> import graphkeras as keras
        >>> class Clipped(keras.constraints.Constraint):
        ...     def __call__(self, w):
        ...         return keras.ops.clip(w, -1.0, 1.0)
    """

    def __call__(self, w: Any) -> Any:
        return w

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        return cls(**config)


class MaxNorm(Constraint):
    """Scales vectors of weights down to a largest norm (Srivastava et al. 2014, section 5.1).

    Args:
        max_value: the largest norm allowed.
        axis: int or ints along which norms are taken: 0 for a Dense kernel `(inputs, units)`, `[0, 1, 2]` for a Conv2D
            kernel `(height, width, inputs, filters)`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.constraints.MaxNorm(1.0)(np.array([[3.0], [-4.0]])), 2))
    [[ 0.6]
     [-0.8]]
    """

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        return w * (ops.clip(norms, 0, self.max_value) / (epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Sets negative weights to zero.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.constraints.NonNeg()(np.array([[3.0], [-4.0]])), 2))
    [[3.]
     [0.]]
    """

    def __call__(self, w: Any) -> Any:
        return ops.maximum(w, 0)


class UnitNorm(Constraint):
    """Scales vectors of weights to norm 1.

    Args:
        axis: int or ints along which norms are taken (see `MaxNorm`).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.constraints.UnitNorm()(np.array([[3.0], [-4.0]])), 2))
    [[ 0.6]
     [-0.8]]
    """

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return w / (epsilon() + _norms(w, self.axis))

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Moves norms of vectors of weights into `[min_value, max_value]`.

    Args:
        min_value: the smallest norm.
        max_value: the largest norm.
        rate: how much of the way to go at each update: 1.0 enforces the bounds strictly.
        axis: int or ints along which norms are taken (see `MaxNorm`).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> print(np.round(keras.constraints.MinMaxNorm(0.5, 1.0)(np.array([[3.0], [-4.0]])), 2))
    [[ 0.6]
     [-0.8]]
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        norms = _norms(w, self.axis)
        wanted = self.rate * ops.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (epsilon() + norms))

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


def _norms(w: Any, axis: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(w), axis=axis, keepdims=True))
