"""Evaluate with averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphkeras.callbacks.callback import Callback


class SwapEMAWeights(Callback):
    """Exchanges the weights for their moving average during evaluation and prediction.

    Args:
        swap_on_epoch: also between the end of an epoch and the beginning of the next, so that callbacks such as
            ModelCheckpoint see the averages.

    Needs an optimizer with `use_ema=True`.
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._ema_weights_in_model = False

    def _averages(self) -> Iterator[tuple[Any, Any]]:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        parts = getattr(optimizer, "optimizers", [optimizer])
        averaged = [p for p in parts if getattr(p, "use_ema", False) and hasattr(p, "_model_variables_moving_average")]
        if not averaged:
            raise ValueError(
                "SwapEMAWeights must be used when `use_ema=True` is set on the optimizer. "
                f"Received: use_ema={getattr(optimizer, 'use_ema', False)}. Compile with e.g. Adam(use_ema=True)."
            )
        for part in averaged:
            yield from zip(part._trainable_variables, part._model_variables_moving_average, strict=True)

    def _swap(self, into_model: bool) -> None:
        if self._ema_weights_in_model == into_model:
            return
        for variable, average in self._averages():
            value = variable.numpy()
            variable.assign(average.numpy())
            average.assign(value)
        self._ema_weights_in_model = into_model

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.swap_on_epoch:
            return
        self._swap(True)
        assert self.params is not None
        if epoch == self.params["epochs"] - 1:
            # At the end of fit the averages are written over the weights: give them back what was swapped out.
            for variable, average in self._averages():
                average.assign(variable.numpy())

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._swap(True)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        self._swap(False)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._swap(True)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        self._swap(False)
