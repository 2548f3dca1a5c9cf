"""The hooks that user code can have called during training, evaluation and prediction."""

from __future__ import annotations

from typing import Any

from graphkeras.utils import python_utils


class Callback:
    """Base class of callbacks; override the hooks you want.

    Attributes:
        params: dict with "verbose", "epochs" and "steps".
        model: the model that is running.

    A callback that overrides one of the batch hooks makes the model come back to Python after every batch (after every
    `steps_per_execution` batches). One that only wants to look now and then sets `batch_frequency = "sometimes"`: its
    batch hooks are called after runs of many batches, with the index of the last.

    Example:

    >>> class Note(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, logs["loss"])
    """

    batch_frequency = "every"
    _calls_functions = False  # of the user

    def __init__(self) -> None:
        self.params: dict[str, Any] | None = None
        self._model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before a run with "verbose", "epochs" and "steps"."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before a run with the model."""
        self._model = model

    @property
    def model(self) -> Any:
        return self._model

    @python_utils.default
    def on_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Another name for `on_train_batch_begin`."""

    @python_utils.default
    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Another name for `on_train_batch_end`."""

    @python_utils.default
    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Before an epoch of training (`epoch` counts from 0)."""

    @python_utils.default
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """After an epoch; `logs` holds its means, validation results prefixed with "val_"."""

    @python_utils.default
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a batch of training (`batch` counts from 0 in each epoch)."""
        self.on_batch_begin(batch, logs=logs)

    @python_utils.default
    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After a batch of training; `logs` holds the means of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    @python_utils.default
    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a batch of evaluation or validation."""

    @python_utils.default
    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After a batch of evaluation or validation."""

    @python_utils.default
    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Before a batch of prediction."""

    @python_utils.default
    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """After a batch of prediction; `logs["outputs"]` holds its predictions."""

    @python_utils.default
    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """At the start of fit."""

    @python_utils.default
    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """At the end of fit; `logs` are those of the last epoch."""

    @python_utils.default
    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """At the start of evaluation or validation."""

    @python_utils.default
    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """At the end of evaluation or validation."""

    @python_utils.default
    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """At the start of prediction."""

    @python_utils.default
    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """At the end of prediction."""
