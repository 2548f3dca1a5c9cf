"""Callbacks that set the learning rate: by a schedule over epochs, and when progress stalls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphkeras.callbacks.callback import Callback
from graphkeras.callbacks.monitor_callback import MonitorCallback
from graphkeras.utils import io_utils


def optimizers_of(model: Any) -> Iterator[tuple[str, Any]]:
    """Pairs (suffix for names, optimizer): several for an optimizer made of others."""
    if hasattr(model.optimizer, "optimizers"):
        for optimizer in model.optimizer.optimizers:
            yield f"_{optimizer.name}", optimizer
    else:
        yield "", model.optimizer


def add_rates(model: Any, logs: dict[str, Any]) -> None:
    """Put the current learning rates into the logs."""
    for suffix, optimizer in optimizers_of(model):
        logs[f"learning_rate{suffix}"] = float(np.asarray(optimizer.learning_rate))


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of each epoch.

    Args:
        schedule: function `(epoch, learning_rate) -> float` (or `(epoch) -> float`).
        verbose: 1 prints the new rate.

    Example:

    >>> import graphkeras as keras
    >>> halve = keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.5 if epoch else lr)
    """

    _calls_functions = True

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for suffix, optimizer in optimizers_of(self.model):
            if not hasattr(optimizer, "learning_rate"):
                raise ValueError(
                    f'LearningRateScheduler: Optimizer must have a "learning_rate" attribute. Received: {optimizer!r}'
                )
            rate = self._scheduled(epoch, float(np.asarray(optimizer.learning_rate)))
            optimizer.learning_rate = rate
            if self.verbose > 0:
                name = f"{suffix[1:]} " if suffix else ""
                io_utils.print_msg(f"\nEpoch {epoch + 1}: LearningRateScheduler setting {name}learning rate to {rate}.")

    def _scheduled(self, epoch: int, rate: float) -> float:
        try:
            result = self.schedule(epoch, rate)
        except TypeError:  # a schedule of the epoch alone
            result = self.schedule(epoch)
        if not isinstance(result, (float, np.floating)):
            raise ValueError(
                f"The output of the `schedule` function should be a float. Got: {result!r} (of type {type(result)})"
            )
        return result

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            add_rates(self.model, logs)


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when `monitor` has not improved for `patience` epochs.

    Args:
        monitor: name in the logs.
        factor: new rate / old rate, below 1.
        patience: epochs without improvement.
        verbose: 1 prints each reduction.
        mode: "min", "max" or "auto".
        min_delta: smallest change that counts as an improvement.
        cooldown: epochs to wait after a reduction before counting again.
        min_lr: the rate never falls below this.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> callback = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=0, min_delta=100.0)
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> model.optimizer.learning_rate.numpy().item() < 0.01
    True
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"ReduceLROnPlateau received unexpected keyword arguments: {', '.join(kwargs)}")
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Received factor={factor}")
        self.factor = factor
        self.min_lr = min_lr
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.cooldown_counter = 0
        self.wait = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.best = None
        self.cooldown_counter = self.wait = 0

    def in_cooldown(self) -> bool:
        """Whether epochs are not counted because of a recent reduction."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.monitor_op is None:
            self._set_monitor_op()
        logs = {} if logs is None else logs
        add_rates(self.model, logs)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._reduce(epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def _reduce(self, epoch: int) -> bool:
        reduced = False
        for suffix, optimizer in optimizers_of(self.model):
            rate = float(np.asarray(optimizer.learning_rate))
            if rate <= np.float32(self.min_lr):
                continue
            reduced = True
            rate = max(rate * self.factor, self.min_lr)
            optimizer.learning_rate = rate
            if self.verbose > 0:
                name = f" {suffix[1:]}" if suffix else ""
                io_utils.print_msg(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing{name} learning rate to {rate}.")
        return reduced
