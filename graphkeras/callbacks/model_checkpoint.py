"""Save the model while it trains."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from graphkeras.callbacks.monitor_callback import MonitorCallback
from graphkeras.utils import io_utils


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, after epochs or after numbers of batches.

    Args:
        filepath: path that ends in `.keras` (or `.h5`), or in `.weights.h5` with `save_weights_only`; it may contain
            fields such as `{epoch:02d}`, `{batch}`, `{val_loss:.2f}`.
        monitor: name in the logs, for `save_best_only`.
        verbose: 1 prints each saving.
        save_best_only: only save when `monitor` is better than ever before.
        save_weights_only: save weights in place of the whole model.
        mode: "min", "max" or "auto".
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: value that the first saving has to beat.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> path = os.path.join(folder, "best.keras")
    >>> callback = keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> os.listdir(folder)
    ['best.keras']
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._batches = BatchCounter(save_freq)
        self._current_epoch = 0
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(f"Unrecognized save_freq: {save_freq}. Expected save_freq are 'epoch' or integer values")
        if save_weights_only and not self.filepath.endswith(".weights.h5"):
            raise ValueError(
                "When using `save_weights_only=True` in `ModelCheckpoint`, the filepath provided must end in "
                f"`.weights.h5` (Keras weights format). Received: filepath={self.filepath}"
            )
        if not save_weights_only and not self.filepath.endswith((".keras", ".h5")):
            raise ValueError(
                f"The filepath provided must end in `.keras` (Keras model format). Received: filepath={self.filepath}"
            )

    @property
    def needs_direction(self) -> bool:
        return self.save_best_only and super().needs_direction

    @property
    def wants_batches(self) -> bool:
        """Batches matter only for saving every so many of them."""
        return self.save_freq != "epoch"

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._current_epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._batches.due(batch):
            self._save_model(self._current_epoch, batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.monitor_op is None and self.save_best_only:
            self._set_monitor_op()
        if self.save_freq == "epoch":
            self._save_model(epoch, None, logs)

    def _should_save(self, epoch: int, logs: dict[str, Any], path: str) -> bool:
        if not self.save_best_only:
            self._tell(f"\nEpoch {epoch + 1}: saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Can save best model only with {self.monitor} available. Available: {sorted(logs)}"
                + (" (`fit` got no validation data)" if self.monitor.startswith("val_") else ""),
                stacklevel=4,
            )
            return True
        if np.ndim(current) > 0:
            warnings.warn(
                f"Can save best model only when `monitor` is a scalar value. Received: {current}. "
                "Falling back to `save_best_only=False`.",
                stacklevel=4,
            )
            return True
        if self.monitor_op is None:
            self._set_monitor_op()
        if not self._is_improvement(current, self.best):
            self._tell(f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {_brief(self.best)}")
            return False
        self._tell(
            f"\nEpoch {epoch + 1}: {self.monitor} improved from {_brief(self.best)} to {current:.5f}, "
            f"saving model to {path}"
        )
        self.best = current
        return True

    def _tell(self, message: str) -> None:
        if self.verbose > 0:
            io_utils.print_msg(message)

    def _save_model(self, epoch: int, batch: int | None, logs: dict[str, Any] | None) -> None:
        path = self._get_file_path(epoch, batch, logs or {})
        if not self._should_save(epoch, logs or {}, path):
            return
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        if os.path.isdir(path):
            raise OSError(
                "Please specify a non-directory filepath for ModelCheckpoint. Filepath used is an existing directory: "
                f"{path}"
            )
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        self._tell(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _get_file_path(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> str:
        fields = {"epoch": epoch + 1, **logs}
        if batch is not None and "batch" not in logs:
            fields["batch"] = batch + 1
        try:
            return self.filepath.format(**fields)
        except KeyError as error:
            raise KeyError(
                f'Failed to format this callback filepath: "{self.filepath}". Reason: {error}. '
                f"Known fields: {', '.join(sorted(fields))}"
            ) from error


class BatchCounter:
    """Tells when `every` batches have gone by, over the borders of epochs and over jumps of several batches."""

    def __init__(self, every: Any) -> None:
        self.every = every
        self._seen = 0
        self._last: int | None = None

    def due(self, batch: int) -> bool:
        if self.every == "epoch" or not self.every:
            return False
        new_epoch = self._last is None or batch <= self._last
        self._seen += batch + 1 if new_epoch else batch - self._last  # type: ignore[operator]
        self._last = batch
        if self._seen < self.every:
            return False
        self._seen = 0
        return True


def _brief(value: Any) -> str:
    return "None" if value is None else f"{value:.5f}"
