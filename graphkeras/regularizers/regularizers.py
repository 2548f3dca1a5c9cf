"""Penalties on weights or outputs, added to the loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.config import floatx


class Regularizer:
    """Base of regularizers: called with a tensor, returns a scalar penalty.

    Example:
        >>> import graphkeras as keras
        >>> class Quartic(keras.regularizers.Regularizer):
        ...     def __call__(self, x):
        ...         return 0.1 * keras.ops.sum(x**4)
        ...     def get_config(self):
        ...         return {}
    """

    def __call__(self, x: Any) -> Any:
        return 0.0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"{self} does not implement get_config(). Return a dict of the arguments of its __init__, so that models "
            "with this regularizer can be saved."
        )


class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x**2)`.

    Args:
        l1: factor of the absolute values, a non-negative float.
        l2: factor of the squares.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> round(float(keras.regularizers.L1L2(0.1, 0.2)(np.array([1.0, -2.0]))), 4)
    1.3
    """

    def __init__(self, l1: float | None = 0.0, l2: float | None = 0.0) -> None:
        self.l1 = _checked(0.0 if l1 is None else l1, "l1")
        self.l2 = _checked(0.0 if l2 is None else l2, "l2")

    def __call__(self, x: Any) -> Any:
        penalty = ops.cast(0.0, x.dtype)
        if self.l1 != 0.0:
            penalty = penalty + self.l1 * ops.sum(ops.absolute(x))
        if self.l2 != 0.0:
            penalty = penalty + self.l2 * ops.sum(ops.square(x))
        return penalty

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(Regularizer):
    """`l1 * sum(|x|)`: drives weights to exact zeros.

    Args:
        l1: the factor, a non-negative float.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> round(float(keras.regularizers.L1(0.1)(np.array([1.0, -2.0]))), 4)
    0.3
    """

    def __init__(self, l1: float | None = 0.01) -> None:
        self.l1 = _checked(0.01 if l1 is None else l1, "l1")

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.absolute(x))

    def get_config(self) -> dict[str, Any]:
        return {"l1": _as_stored(self.l1)}


class L2(Regularizer):
    """`l2 * sum(x**2)`.

    Args:
        l2: the factor, a non-negative float.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> round(float(keras.regularizers.L2(0.1)(np.array([1.0, -2.0]))), 4)
    0.5
    """

    def __init__(self, l2: float | None = 0.01) -> None:
        self.l2 = _checked(0.01 if l2 is None else l2, "l2")

    def __call__(self, x: Any) -> Any:
        return self.l2 * ops.sum(ops.square(x))

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """Pushes the rows (or columns) of a matrix to be orthogonal: `factor` times the mean |cosine| of their pairs.

    Args:
        factor: the weight of the penalty, a non-negative float.
        mode: "rows" or "columns".

    Raises:
        ValueError: when called with anything but a matrix.
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = _checked(factor, "factor")
        if mode not in ("rows", "columns"):
            raise ValueError(
                f'Invalid value for argument `mode`. Expected one of {{"rows", "columns"}}. Received: mode={mode}'
            )
        self.mode = mode

    def __call__(self, inputs: Any) -> Any:
        if len(inputs.shape) != 2:
            raise ValueError(f"Inputs to OrthogonalRegularizer must have rank 2. Received: inputs.shape={inputs.shape}")
        axis = 1 if self.mode == "rows" else 0
        length = ops.sqrt(ops.maximum(ops.sum(ops.square(inputs), axis=axis, keepdims=True), 1e-12))
        unit = inputs / length
        other = ops.transpose(unit)
        cosines = ops.matmul(unit, other) if axis == 1 else ops.matmul(other, unit)
        size = inputs.shape[1 - axis]
        pairs = size * (size - 1.0) / 2.0
        off_diagonal = cosines * (1.0 - ops.eye(size, dtype=inputs.dtype))
        return self.factor * 0.5 * ops.sum(ops.absolute(off_diagonal)) / pairs

    def get_config(self) -> dict[str, Any]:
        return {"factor": _as_stored(self.factor), "mode": self.mode}


def _checked(value: Any, name: str) -> float:
    if not isinstance(value, (float, int, np.floating, np.integer)) or not math.isfinite(value) or value < 0:
        raise ValueError(
            f"Invalid value for argument {name}: expected a non-negative float. Received: {name}={value!r}"
        )
    return float(value)


def _as_stored(value: float) -> float:
    """The factor as Keras's files have it: rounded to the default float type."""
    return float(np.float32(value)) if floatx() != "float64" else value
