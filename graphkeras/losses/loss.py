"""Base of losses, and how per-sample values become one number: weights, masks, reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkeras import dtype_policies, ops
from graphkeras.core import tree
from graphkeras.core.config import floatx
from graphkeras.core.masking import get_keras_mask
from graphkeras.core.naming import auto_name

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)
MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class Loss:
    """Base of losses. Subclasses implement `call(y_true, y_pred)` and return one value per sample.

    Args:
        name: name; by default the class's name in snake case.
        reduction: "sum_over_batch_size" or "mean" (sum divided by the number of values), "mean_with_sample_weight"
            (divided by the sum of the weights), "sum", "none" or None.
        dtype: dtype or policy of the computation; default the default float type.

    Example:
        >>> import graphkeras as keras
        >>> class Cubic(keras.losses.Loss):
        ...     def call(self, y_true, y_pred):
        ...         return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** 3, axis=-1)
        >>> float(Cubic()([[1.0, 2.0]], [[0.0, 0.0]]))
        4.5
    """

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        self.name = name or auto_name(type(self).__name__)
        self.reduction = standardize_reduction(reduction)
        self._dtype_policy = dtype_policies.get(dtype or floatx())
        self._dtype = self._dtype_policy.compute_dtype

    @property
    def dtype(self) -> str:
        return self._dtype

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss.

        Args:
            y_true: targets, a tensor or a nest of them.
            y_pred: predictions, batch first. A mask on it (`_keras_mask`) leaves values out.
            sample_weight: weights that broadcast to the values, or None.
        """
        mask = get_keras_mask(y_pred)
        y_pred = _convert(y_pred, lambda x: ops.convert_to_tensor(x, dtype=self.dtype))
        y_true = _convert(y_true, self._as_target)
        values = self.call(y_true, y_pred)
        value_mask = get_keras_mask(values)
        if mask is None:
            mask = value_mask
        elif value_mask is not None:
            mask = ops.logical_and(mask, value_mask)
        return reduce_weighted_values(values, sample_weight, mask, self.reduction, self.dtype)

    def _as_target(self, x: Any) -> Any:
        return ops.convert_to_tensor(x, dtype=self.dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement `call(self, y_true, y_pred)`.")

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**config)

    def _obj_type(self) -> str:
        return "Loss"


def _convert(x: Any, convert: Callable[[Any], Any]) -> Any:
    """Each tensor of a nest converted; a nested list of Python numbers is one tensor."""
    if isinstance(x, (list, tuple)) and all(isinstance(leaf, (int, float)) for leaf in tree.flatten(x)):
        return convert(x)
    return tree.map_structure(convert, x)


def standardize_reduction(reduction: Any) -> Any:
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"Invalid value for argument `reduction`. Expected one of {REDUCTIONS}. Received: reduction={reduction!r}"
        )
    return reduction


def squeeze_or_expand_to_same_rank(x1: Any, x2: Any, expand_rank_1: bool = True) -> tuple[Any, Any]:
    """Two tensors whose ranks differ by one trailing axis of extent 1, given the same rank.

    A vector is expanded to `(n, 1)`; of higher ranks the longer shape is squeezed.
    """
    if len(x1.shape) + 1 == len(x2.shape):
        x2, x1 = squeeze_or_expand_to_same_rank(x2, x1, expand_rank_1)
        return x1, x2
    if len(x1.shape) == len(x2.shape) + 1 and x1.shape[-1] == 1:
        if len(x2.shape) == 1 and expand_rank_1:
            return x1, ops.expand_dims(x2, axis=-1)
        return ops.squeeze(x1, axis=-1), x2
    return x1, x2


def reduce_values(values: Any, sample_weight: Any = None, reduction: Any = "sum_over_batch_size") -> Any:
    """One number from (already weighted) values; `sample_weight` only matters for "mean_with_sample_weight"."""
    if reduction in (None, "none") or tuple(values.shape) in ((), (0,)):
        return values
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        return ops.divide_no_nan(ops.sum(values), ops.cast(ops.sum(sample_weight), values.dtype))
    if reduction in MEANS and 0 not in values.shape:
        return ops.mean(values)
    return ops.sum(values)


def reduce_weighted_values(
    values: Any,
    sample_weight: Any = None,
    mask: Any = None,
    reduction: Any = "sum_over_batch_size",
    dtype: Any = None,
) -> Any:
    """Values times weights and mask, reduced."""
    reduction = standardize_reduction(reduction)
    values = ops.convert_to_tensor(values, dtype=dtype)
    if sample_weight is not None:
        sample_weight = ops.convert_to_tensor(sample_weight, dtype=values.dtype)
    weight = apply_mask(sample_weight, mask, values.dtype, reduction)
    if weight is not None:
        values, weight = squeeze_or_expand_to_same_rank(values, weight)
        _check_weight(values, weight)
        values = values * weight
    return reduce_values(values, weight, reduction)


def _check_weight(values: Any, weight: Any) -> None:
    shape, wanted = tuple(weight.shape), tuple(values.shape)
    fits = len(shape) <= len(wanted) and all(
        a == b or a in (1, None) or b in (1, None) for a, b in zip(shape[::-1], wanted[::-1], strict=False)
    )
    if wanted and not fits:  # a loss that is one number for the batch is scaled by the mean weight
        per_sample = wanted[:1] + (1,) * (len(wanted) - 1)
        raise ValueError(
            f"Argument `sample_weight` (or the mask) of shape {shape} cannot be broadcast to the losses, which have "
            f"shape {wanted}. Give one weight per sample, shape {per_sample}, or one per value."
        )


def apply_mask(sample_weight: Any, mask: Any, dtype: Any, reduction: Any) -> Any:
    """Weights with a mask folded in.

    For a mean over all values the kept ones weigh `total / kept`, so that the result is the mean over kept values.
    """
    if mask is None:
        return sample_weight
    kept = ops.cast(mask, dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        total = 1
        for extent in kept.shape:
            total *= extent
        kept = kept * ops.divide_no_nan(ops.cast(total, dtype), ops.sum(kept))
    if sample_weight is None:
        return kept
    kept, sample_weight = squeeze_or_expand_to_same_rank(kept, sample_weight)
    return sample_weight * kept
