"""Losses of numbers: the functions of this package with a reduction, sample weights and masks."""

from __future__ import annotations

from typing import Any

from graphkeras.losses.functions import (
    cosine_similarity,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
)
from graphkeras.losses.wrapper import BuiltInLoss

# Arguments common to all classes: `reduction` (see `Loss`), `name` and `dtype` (of the computation).


class MeanSquaredError(BuiltInLoss):
    """Mean of squared differences.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.MeanSquaredError()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.0925
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_squared_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_squared_error, name=name, reduction=reduction, dtype=dtype)


class MeanAbsoluteError(BuiltInLoss):
    """Mean of absolute differences.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.MeanAbsoluteError()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.275
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "mean_absolute_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_absolute_error, name=name, reduction=reduction, dtype=dtype)


class MeanAbsolutePercentageError(BuiltInLoss):
    """Mean of absolute differences in percent of the target.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.MeanAbsolutePercentageError()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    125000016.0
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_percentage_error, name=name, reduction=reduction, dtype=dtype)


class MeanSquaredLogarithmicError(BuiltInLoss):
    """Mean of squared differences of `log(1 + y)`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.MeanSquaredLogarithmicError()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.0458
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, name=name, reduction=reduction, dtype=dtype)


class LogCosh(BuiltInLoss):
    """Mean of `log(cosh(error))`: squared error for small ones, absolute for large ones.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.LogCosh()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.0452
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "log_cosh", dtype: Any = None
    ) -> None:
        super().__init__(log_cosh, name=name, reduction=reduction, dtype=dtype)


class Huber(BuiltInLoss):
    """Squared error up to `delta`, linear beyond it.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.Huber()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.0463
    """

    _optional = {"delta": 1.0}

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            huber,
            reduction=reduction,
            name=name,
            dtype=dtype,
            delta=delta,
        )


class CosineSimilarity(BuiltInLoss):
    """Minus the cosine of the angle between target and prediction along `axis`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.CosineSimilarity()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    -0.9122
    """

    _optional = {"axis": -1}

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            cosine_similarity,
            reduction=reduction,
            name=name,
            dtype=dtype,
            axis=axis,
        )


class KLDivergence(BuiltInLoss):
    """Kullback-Leibler divergence of the prediction from the target distribution.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.KLDivergence()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.367
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "kl_divergence", dtype: Any = None
    ) -> None:
        super().__init__(kl_divergence, name=name, reduction=reduction, dtype=dtype)


class Poisson(BuiltInLoss):
    """Negative log-likelihood of counts under a Poisson distribution with mean `y_pred`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.Poisson()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.6585
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, name=name, reduction=reduction, dtype=dtype)
