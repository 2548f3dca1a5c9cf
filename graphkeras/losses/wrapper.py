"""Losses made of a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.losses.loss import Loss, squeeze_or_expand_to_same_rank
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object


class LossFunctionWrapper(Loss):
    """A loss that calls `fn(y_true, y_pred, **kwargs)`.

    Args:
        fn: function of targets and predictions that returns one value per sample.
        reduction: see `Loss`.
        name: name.
        dtype: dtype or policy of the computation.
        **kwargs: passed to `fn`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if not tree.is_nested(y_pred) and not tree.is_nested(y_true):
            y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
        else:
            leaves = zip(tree.flatten(y_true), tree.flatten(y_pred), strict=True)
            pairs = [squeeze_or_expand_to_same_rank(a, b) for a, b in leaves]
            y_true = tree.pack_sequence_as(y_true, [a for a, _ in pairs])
            y_pred = tree.pack_sequence_as(y_pred, [b for _, b in pairs])
        values = self.fn(y_true, y_pred, **self._fn_kwargs)
        if values is None:
            raise ValueError(f"The loss {self.name!r} returned None instead of a tensor: is a `return` missing?")
        return values

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "fn": serialize_keras_object(self.fn)}
        return {**config, **serialize_keras_object(self._fn_kwargs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        return cls(**(deserialize_keras_object(config) if "fn" in config else config))

    def __repr__(self) -> str:
        return f"<LossFunctionWrapper({self.fn}, kwargs={self._fn_kwargs})>"


class BuiltInLoss(LossFunctionWrapper):
    """A loss class of this package: the config holds the arguments of `__init__`, not the function.

    `_optional` names arguments with the defaults at which Keras's files leave them out.
    """

    _optional: dict[str, Any] = {}

    def get_config(self) -> dict[str, Any]:
        config = Loss.get_config(self)
        for key, value in self._fn_kwargs.items():
            if key not in self._optional or value != self._optional[key]:
                config[key] = serialize_keras_object(value)
        return config

    def __getattr__(self, name: str) -> Any:
        kwargs = self.__dict__.get("_fn_kwargs", {})
        if name in kwargs:
            return kwargs[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class SparseTargets:
    """Mixin for losses whose targets are class numbers: integers stay integers."""

    dtype: str

    def _as_target(self, x: Any) -> Any:
        from graphkeras import ops
        from graphkeras.core.dtypes import is_int_dtype

        if hasattr(x, "dtype") and not is_int_dtype(x.dtype):
            return ops.convert_to_tensor(x, dtype=self.dtype)
        return ops.convert_to_tensor(x)
