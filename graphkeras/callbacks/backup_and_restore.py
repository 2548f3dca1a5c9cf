"""Go on after an interruption."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

from graphkeras.callbacks.callback import Callback
from graphkeras.callbacks.model_checkpoint import BatchCounter


class BackupAndRestore(Callback):
    """Saves the state of training, and takes it up again when `fit` is called anew after a crash.

    Args:
        backup_dir: folder of the backup; nothing else may use it.
        save_freq: "epoch", a number of batches, or False.
        double_checkpoint: also keep the backup before the last, for when writing was interrupted.
        delete_checkpoint: delete the backup when training ends.

    The model must be built before `fit`.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> callback = keras.callbacks.BackupAndRestore(folder)
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> len(history.epoch)
    3
    """

    def __init__(
        self,
        backup_dir: Any,
        save_freq: Any = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir:
            raise ValueError("Empty `backup_dir` argument passed. Expected the path of a folder.")
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(
                f"Invalid value for argument `save_freq`. Received: save_freq={save_freq}. "
                "Expected either 'epoch' or an integer value."
            )
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._batches = BatchCounter(save_freq)
        self._current_epoch = 0
        self._last_batch_seen = 0
        self._weights_path = os.path.join(self.backup_dir, "latest.weights.h5")
        self._metadata_path = os.path.join(self.backup_dir, "training_metadata.json")

    @property
    def wants_batches(self) -> bool:
        """Batches matter only for saving every so many of them."""
        return self.save_freq != "epoch" and bool(self.save_freq)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        try:
            self._load_model()
        except OSError:
            if not os.path.exists(self._weights_path + ".bkp"):
                raise
            shutil.copy(self._weights_path + ".bkp", self._weights_path)
            if os.path.exists(self._metadata_path + ".bkp"):
                shutil.copy(self._metadata_path + ".bkp", self._metadata_path)
            elif os.path.exists(self._metadata_path):
                os.remove(self._metadata_path)
            self._load_model()

    def _load_model(self) -> None:
        if not self.model.built:
            raise ValueError(
                "To use the BackupAndRestore callback, your model must be built before you call `fit()`. "
                f"Model {self.model} is unbuilt. You can build it beforehand by calling it on a batch of data."
            )
        if os.path.exists(self._weights_path):
            optimizer = self.model.optimizer
            if optimizer is not None and not optimizer.built:
                optimizer.build(self.model.trainable_variables)
            self.model.load_weights(self._weights_path)
        if os.path.exists(self._metadata_path):
            with open(self._metadata_path) as file:
                self.model._initial_epoch = json.load(file)["epoch"]

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._last_batch_seen = batch
        if self._batches.due(batch):
            self._save_model()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._current_epoch = epoch + 1
        self._last_batch_seen = 0
        if self.save_freq == "epoch":
            self._save_model()

    def _save_model(self) -> None:
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint:
            for path in (self._weights_path, self._metadata_path):
                if os.path.exists(path):
                    shutil.copy(path, path + ".bkp")
        self.model.save_weights(filepath=self._weights_path, overwrite=True)
        with open(self._metadata_path, "w") as file:
            json.dump({"epoch": self._current_epoch, "batch": self._last_batch_seen}, file)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.model._initial_epoch = None
        if self.delete_checkpoint and os.path.exists(self.backup_dir):
            shutil.rmtree(self.backup_dir)
