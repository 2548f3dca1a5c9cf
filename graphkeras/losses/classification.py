"""Losses of classes, masks and labels: the functions of this package with a reduction, sample weights and masks."""

from __future__ import annotations

from typing import Any

from graphkeras.losses.functions import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_generalized_cross_entropy,
    categorical_hinge,
    hinge,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from graphkeras.losses.structured import circle, ctc, dice, tversky
from graphkeras.losses.wrapper import BuiltInLoss, SparseTargets

# Arguments common to all classes: `reduction` (see `Loss`), `name` and `dtype` (of the computation).


class Hinge(BuiltInLoss):
    """Mean of `max(1 - y_true * y_pred, 0)`, targets -1 and 1 (0 and 1 are converted).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.Hinge()
    >>> round(float(loss(np.array([[-1.0, 1.0], [1.0, -1.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.775
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(hinge, name=name, reduction=reduction, dtype=dtype)


class SquaredHinge(BuiltInLoss):
    """Mean of `max(1 - y_true * y_pred, 0)**2`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.SquaredHinge()
    >>> round(float(loss(np.array([[-1.0, 1.0], [1.0, -1.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.8425
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "squared_hinge", dtype: Any = None
    ) -> None:
        super().__init__(squared_hinge, name=name, reduction=reduction, dtype=dtype)


class CategoricalHinge(BuiltInLoss):
    """`max(highest wrong score - right score + 1, 0)`, one-hot targets.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.CategoricalHinge()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.55
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "categorical_hinge", dtype: Any = None
    ) -> None:
        super().__init__(categorical_hinge, name=name, reduction=reduction, dtype=dtype)


class CTC(SparseTargets, BuiltInLoss):
    """Connectionist temporal classification; see `losses.ctc` for shapes."""

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "ctc", dtype: Any = None) -> None:
        super().__init__(ctc, name=name, reduction=reduction, dtype=dtype)


class BinaryCrossentropy(BuiltInLoss):
    """Cross-entropy of targets 0 and 1 with one output each.

    Args:
        from_logits: whether predictions are logits rather than probabilities. Logits are more accurate.
        label_smoothing: fraction of the way from each target to 1/2.
        axis: the axis of classes, averaged over.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.BinaryCrossentropy()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.3375
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class BinaryFocalCrossentropy(BuiltInLoss):
    """Binary cross-entropy that counts easy samples less, by `(1 - p)**gamma`.

    See `losses.binary_focal_crossentropy` for the arguments.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.BinaryFocalCrossentropy()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.0434
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_focal_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            apply_class_balancing=apply_class_balancing,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(BuiltInLoss):
    """Cross-entropy of one-hot targets.

    Args:
        from_logits: whether predictions are logits rather than probabilities. Logits are more accurate.
        label_smoothing: how much of each target is spread over all classes.
        axis: the axis of classes.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.CategoricalCrossentropy()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.3143
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalFocalCrossentropy(BuiltInLoss):
    """Categorical cross-entropy that counts easy samples less, by `alpha * (1 - p)**gamma`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.CategoricalFocalCrossentropy()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.0104
    """

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_focal_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(SparseTargets, BuiltInLoss):
    """Cross-entropy of targets given as class numbers.

    Args:
        from_logits: whether predictions are logits rather than probabilities. Logits are more accurate.
        ignore_class: class number to leave out of the loss, or None.
        axis: the axis of classes.

    Example:
        >>> import graphkeras as keras
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> round(float(loss([0, 1], [[0.0, 0.0], [0.0, 0.0]])), 4)
        0.6931
    """

    _optional = {"axis": -1}

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )


class Dice(BuiltInLoss):
    """`1 - 2 |A and B| / (|A| + |B|)` over the axes `axis` (None: all).

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.Dice()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.2821
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dice",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            dice,
            reduction=reduction,
            name=name,
            dtype=dtype,
            axis=axis,
        )


class Tversky(BuiltInLoss):
    """Dice with price `alpha` of missed and `beta` of invented pixels.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> loss = keras.losses.Tversky()
    >>> round(float(loss(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[0.1, 0.8], [0.6, 0.4]]))), 4)
    0.2821
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            tversky,
            reduction=reduction,
            name=name,
            dtype=dtype,
            alpha=alpha,
            beta=beta,
            axis=axis,
        )


class Circle(SparseTargets, BuiltInLoss):
    """Circle loss on embeddings of unit length; see `losses.circle`."""

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            circle,
            reduction=reduction,
            name=name,
            dtype=dtype,
            gamma=gamma,
            margin=margin,
            remove_diagonal=remove_diagonal,
        )


class CategoricalGeneralizedCrossEntropy(SparseTargets, BuiltInLoss):
    """`(1 - p**q) / q`: robust to wrong labels; targets are class numbers.

    Raises:
        ValueError: for `q` outside of (0, 1).
    """

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:
        if not 0 < q < 1:
            raise ValueError(f"Argument `q` must be in the interval (0, 1). Received: q={q}")
        super().__init__(
            categorical_generalized_cross_entropy,
            reduction=reduction,
            name=name,
            dtype=dtype,
            q=q,
        )
