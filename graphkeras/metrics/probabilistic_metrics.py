"""Losses of probabilities and margins as metrics."""

from __future__ import annotations

from typing import Any

from graphkeras import losses
from graphkeras.metrics.reduction_metrics import BuiltInMean


class KLDivergence(BuiltInMean):
    """Mean Kullback-Leibler divergence of the prediction from the target.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.KLDivergence()
    >>> metric.update_state(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.7803
    """

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(losses.kl_divergence, name=name, dtype=dtype)
        self._direction = "down"


class Poisson(BuiltInMean):
    """Mean Poisson loss."""

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(losses.poisson, name=name, dtype=dtype)
        self._direction = "down"


class Hinge(BuiltInMean):
    """Mean hinge loss, targets -1 and 1 (0 and 1 are converted)."""

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(losses.hinge, name=name, dtype=dtype)
        self._direction = "down"


class SquaredHinge(BuiltInMean):
    """Mean squared hinge loss."""

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(losses.squared_hinge, name=name, dtype=dtype)
        self._direction = "down"


class CategoricalHinge(BuiltInMean):
    """Mean categorical hinge loss, one-hot targets."""

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(losses.categorical_hinge, name=name, dtype=dtype)
        self._direction = "down"


class BinaryCrossentropy(BuiltInMean):
    """Mean binary cross-entropy. Arguments: see `losses.BinaryCrossentropy`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.BinaryCrossentropy()
    >>> metric.update_state(np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.6]))
    >>> round(float(metric.result()), 4)
    0.5403
    """

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )
        self._direction = "down"


class CategoricalCrossentropy(BuiltInMean):
    """Mean cross-entropy of one-hot targets. Arguments: see `losses.CategoricalCrossentropy`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.CategoricalCrossentropy()
    >>> metric.update_state(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.7803
    """

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )
        self._direction = "down"


class SparseCategoricalCrossentropy(BuiltInMean):
    """Mean cross-entropy of class numbers. Arguments: see `losses.SparseCategoricalCrossentropy`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> metric = keras.metrics.SparseCategoricalCrossentropy()
    >>> metric.update_state(np.array([2, 1]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.7803
    """

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.sparse_categorical_crossentropy,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )
        self._direction = "down"
