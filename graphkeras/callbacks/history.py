"""The record of a training run."""

from __future__ import annotations

from typing import Any

from graphkeras.callbacks.callback import Callback


class History(Callback):
    """What `fit` returns: `history` maps each name to its values per epoch, `epoch` lists the epochs' numbers.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> callback = keras.callbacks.History()
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> callback.epoch
    [0, 1, 2]
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        # A callback may have replaced it.
        self.model.history = self
