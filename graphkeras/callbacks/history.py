"""The record of a training run."""

from __future__ import annotations

from typing import Any

from graphkeras.callbacks.callback import Callback


class History(Callback):
    """What `fit` returns: `history` maps each name to its values per epoch, `epoch` lists the epochs' numbers."""

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
