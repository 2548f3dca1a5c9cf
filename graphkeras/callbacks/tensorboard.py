"""Event files for TensorBoard."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from graphkeras.callbacks.callback import Callback
from graphkeras.callbacks.learning_rates import add_rates


class TensorBoard(Callback):
    """Writes scalars, and histograms of the weights, as event files that TensorBoard shows.

    Args:
        log_dir: folder; `train` and `validation` are made in it.
        histogram_freq: epochs between histograms of the weights; 0: none.
        write_graph: write the model's config as text.
        write_images: accepted; weights are not drawn as images.
        write_steps_per_second: also write how fast training is.
        update_freq: "epoch", "batch" (1), or the number of batches between two points.
        profile_batch: accepted; the compiler's own reports show where time goes.
        embeddings_freq, embeddings_metadata: accepted; embeddings are not written.

    Needs the package `tensorboard` (the extra `graphkeras[tensorboard]`).
    """

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: Any = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self.profile_batch = profile_batch
        self.embeddings_freq = embeddings_freq
        self.embeddings_metadata = embeddings_metadata
        self._writers: dict[str, Any] = {}
        self._step = 0
        self._epoch_start = (0.0, 0)
        self._summary()  # a missing package is said at once

    @property
    def wants_batches(self) -> bool:
        """Batches matter only where points are written between epochs."""
        return self.update_freq != "epoch"

    def _summary(self) -> Any:
        try:
            from tensorboard.compat.proto import summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise ImportError(
                "The TensorBoard callback needs the package `tensorboard`: pip install 'graphkeras[tensorboard]' "
                "(or pip install tensorboard)."
            ) from None
        return summary_pb2, EventFileWriter

    def _write(self, part: str, step: int, **values: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        summary_pb2, writer = self._summary()
        if part not in self._writers:
            self._writers[part] = writer(os.path.join(self.log_dir, part))
        records = [_record(summary_pb2, name, value) for name, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=records))
        self._writers[part].add_event(event)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._step = 0
        if self.write_graph and hasattr(self.model, "to_json"):
            try:
                text = self.model.to_json()
            except NotImplementedError:  # a subclassed model without get_config
                text = ""
            if text:
                os.makedirs(self.log_dir, exist_ok=True)
                with open(os.path.join(self.log_dir, "model.json"), "w") as file:
                    file.write(text)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_start = (time.time(), self._steps_done())

    def _steps_done(self) -> int:
        optimizer = self.model.optimizer
        return int(np.asarray(optimizer.iterations)) if optimizer is not None else self._step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._step += 1
        if self.update_freq != "epoch" and self._step % self.update_freq == 0:
            self._write("train", self._step, **{f"batch_{k}": v for k, v in (logs or {}).items()})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = dict(logs or {})
        add_rates(self.model, logs)
        if self.write_steps_per_second:
            start, steps = self._epoch_start
            logs["steps_per_second"] = (self._steps_done() - steps) / max(time.time() - start, 1e-9)
        train = {f"epoch_{k}": v for k, v in logs.items() if not k.startswith("val_")}
        validation = {f"epoch_{k[4:]}": v for k, v in logs.items() if k.startswith("val_")}
        if train:
            self._write("train", epoch, **train)
        if validation:
            self._write("validation", epoch, **validation)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write("train", epoch, **{f"{v.path}/histogram": v.numpy() for v in self.model.weights})
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _record(summary_pb2: Any, name: str, value: Any) -> Any:
    """A scalar as `simple_value`, an array as a histogram of 30 bins."""
    if np.ndim(value) == 0:
        return summary_pb2.Summary.Value(tag=name, simple_value=float(value))
    flat = np.asarray(value, dtype=np.float64).reshape(-1)
    counts, edges = np.histogram(flat, bins=30) if flat.size else (np.zeros(1), np.zeros(2))
    histogram = summary_pb2.HistogramProto(
        min=float(flat.min(initial=np.inf)),
        max=float(flat.max(initial=-np.inf)),
        num=float(flat.size),
        sum=float(flat.sum()),
        sum_squares=float((flat * flat).sum()),
        bucket_limit=edges[1:].tolist(),
        bucket=counts.astype(float).tolist(),
    )
    return summary_pb2.Summary.Value(tag=name, histo=histogram)
