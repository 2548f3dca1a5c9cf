"""All callbacks of a run, called as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphkeras.callbacks.callback import Callback
from graphkeras.callbacks.history import History
from graphkeras.callbacks.monitor_callback import MonitorCallback
from graphkeras.callbacks.progbar_logger import ProgbarLogger
from graphkeras.core import tree
from graphkeras.utils import python_utils


class CallbackList(Callback):
    """Calls every hook of a list of callbacks, with logs turned into sorted Python floats.

    Args:
        callbacks: callback or (nested) list of them.
        add_history: add a History if there is none.
        add_progbar: add a ProgbarLogger if there is none.
        model: the model they belong to.
        params: passed to every callback's `set_params`.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.callbacks: list[Any] = tree.flatten(callbacks) if callbacks else []
        for callback in self.callbacks:
            if isinstance(callback, type) or not hasattr(callback, "set_model"):
                fix = f". Write {callback.__name__}(...)" if isinstance(callback, type) else ""
                raise TypeError(
                    f"`callbacks` must hold Callback instances. Received: {callback!r} (of type {type(callback)}){fix}"
                )
        self._history = next((c for c in self.callbacks if isinstance(c, History)), None)
        self._progbar = next((c for c in self.callbacks if isinstance(c, ProgbarLogger)), None)
        if self._history is None and add_history:
            self._history = History()
            self.callbacks.append(self._history)
        if self._progbar is None and add_progbar:
            self._progbar = ProgbarLogger()
            self.callbacks.append(self._progbar)
        self.set_model(model)
        self.set_params(params)

    @property
    def are_own(self) -> bool:
        """Whether all are the library's own and call no functions of the user: they leave the data as they are."""
        found = all(type(c).__module__.startswith(__package__) and not c._calls_functions for c in self.callbacks)
        return found and type(self) is CallbackList

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def set_model(self, model: Any) -> None:
        if model is None:
            return
        super().set_model(model)
        if self._history is not None:
            model.history = self._history
        for callback in self.callbacks:
            callback.set_model(model)

    def check_monitors(self) -> None:
        """Let callbacks that watch a value refuse an unknown name before the training, not after its first epoch."""
        if self.model is None or self.model._has_own_train_step():
            return  # a step of one's own may report anything
        for callback in self.callbacks:
            if isinstance(callback, MonitorCallback) and callback.needs_direction:
                callback._set_monitor_op()

    def batch_frequency_of(self, mode: str) -> str:
        """How often the batch hooks of "train", "test" or "predict" must be called: "every", "sometimes" or "never"."""
        names = [f"on_{mode}_batch_begin", f"on_{mode}_batch_end"]
        if mode == "train":
            names += ["on_batch_begin", "on_batch_end"]
        found = "never"
        for callback in self.callbacks:
            if all(python_utils.is_default(getattr(callback, n, None)) for n in names):
                continue
            if not getattr(callback, "wants_batches", True):
                continue
            if getattr(callback, "batch_frequency", "every") == "every":
                return "every"
            found = "sometimes"
        return found

    def _each(self, hook: str, *args: Any, logs: Mapping[str, Any] | None = None) -> None:
        shared = python_utils.pythonify_logs(logs)
        for callback in self.callbacks:
            getattr(callback, hook)(*args, logs=shared)

    def _each_positional(self, hook: str, *args: Any, logs: Mapping[str, Any] | None = None) -> None:
        shared = python_utils.pythonify_logs(logs)
        for callback in self.callbacks:
            getattr(callback, hook)(*args, shared)

    def on_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._each("on_batch_begin", batch, logs=logs)

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        self._each("on_batch_end", batch, logs=logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._each_positional("on_epoch_begin", epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._each_positional("on_epoch_end", epoch, logs=logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._each("on_train_batch_begin", batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._each("on_train_batch_end", batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._each("on_test_batch_begin", batch, logs=logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._each("on_test_batch_end", batch, logs=logs)

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._each("on_predict_batch_begin", batch, logs=logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._each("on_predict_batch_end", batch, logs=logs)

    def on_train_begin(self, logs: Any = None) -> None:
        self._each_positional("on_train_begin", logs=logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._each_positional("on_train_end", logs=logs)

    def on_test_begin(self, logs: Any = None) -> None:
        self._each_positional("on_test_begin", logs=logs)

    def on_test_end(self, logs: Any = None) -> None:
        self._each_positional("on_test_end", logs=logs)

    def on_predict_begin(self, logs: Any = None) -> None:
        self._each_positional("on_predict_begin", logs=logs)

    def on_predict_end(self, logs: Any = None) -> None:
        self._each_positional("on_predict_end", logs=logs)
