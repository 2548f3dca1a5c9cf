"""Small callbacks: functions as hooks, CSV files, the NaN guard, posting to a server."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from graphkeras.callbacks.callback import Callback
from graphkeras.utils import io_utils


class LambdaCallback(Callback):
    """A callback made of functions.

    Args:
        on_epoch_begin, on_epoch_end: called with `(epoch, logs)`.
        on_train_begin, on_train_end: called with `(logs)`.
        on_train_batch_begin, on_train_batch_end: called with `(batch, logs=...)`.
        **kwargs: any other hook of Callback by name.

    Example:

    >>> import graphkeras as keras
    >>> note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    _calls_functions = True

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        named = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        self.__dict__.update(kwargs)
        self.__dict__.update({name: hook for name, hook in named.items() if hook is not None})


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file.

    Args:
        filename: path of the file.
        separator: what stands between the columns.
        append: add to an existing file instead of replacing it.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> callback = keras.callbacks.CSVLogger(os.path.join(folder, "log.csv"))
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> np.genfromtxt(os.path.join(folder, "log.csv"), delimiter=",", names=True).dtype.names
    ('epoch', 'loss', 'val_loss')
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.sep = separator
        self.append = append
        self.append_header = True
        self.keys: list[str] | None = None
        self.csv_file: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.append and os.path.exists(self.filename):
            with open(self.filename) as file:
                self.append_header = not file.readline()
        self._close()
        self.csv_file = open(self.filename, "a" if self.append else "w", newline="")  # noqa: SIM115  closed in _close
        self._writer = self.keys = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(k.startswith("val_") for k in self.keys):
                self.keys += [f"val_{k}" for k in self.keys]  # validation may come in a later epoch
        if self._writer is None:
            self._writer = csv.DictWriter(
                self.csv_file, fieldnames=["epoch", *self.keys], delimiter=self.sep, lineterminator="\r\n"
            )
            if self.append_header:
                self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **{k: _cell(logs.get(k, "NA")) for k in self.keys}})
        self.csv_file.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._close()
        self._writer = None

    def _close(self) -> None:
        if self.csv_file is not None and not self.csv_file.closed:
            self.csv_file.close()


def _cell(value: Any) -> Any:
    if isinstance(value, str) or np.ndim(value) == 0 or not isinstance(value, Iterable):
        return value
    return f'"[{", ".join(map(str, value))}]"'


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite.

    The loss is looked at whenever Python comes back from the compiled loop, about every 50 ms: it is a mean over the
    epoch, which stays NaN once a batch made it so.

    Args:
        raise_error: raise RuntimeError instead of ending the training in good order.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> callback = keras.callbacks.TerminateOnNaN()
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
    >>> len(history.epoch)
    3
    """

    batch_frequency = "sometimes"

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating training immediately."
            )
        io_utils.print_msg(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


class RemoteMonitor(Callback):
    """Posts the logs of each epoch to a server.

    Args:
        root: address of the server.
        path: path of the endpoint.
        field: name of the form's field with the data, unless `send_as_json`.
        headers: HTTP headers.
        send_as_json: send the data as the JSON body.

    Needs the package `requests`.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
    ) -> None:
        super().__init__()
        self.root, self.path, self.field = root, path, field
        self.headers = headers
        self.send_as_json = send_as_json

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        try:
            import requests
        except ImportError:
            raise ImportError("RemoteMonitor requires the `requests` library: pip install requests") from None
        data = {"epoch": epoch}
        data.update({k: v.item() if isinstance(v, (np.ndarray, np.generic)) else v for k, v in (logs or {}).items()})
        address = self.root + self.path
        try:
            if self.send_as_json:
                requests.post(address, json=data, headers=self.headers)
            else:
                requests.post(address, {self.field: json.dumps(data)}, headers=self.headers)
        except requests.exceptions.RequestException:
            warnings.warn(f"Could not reach RemoteMonitor root server at {self.root}", stacklevel=2)
