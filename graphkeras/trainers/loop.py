"""The loops over epochs and batches: feeding compiled steps, callbacks in between, validation.

Where no callback asks for batches, Python comes back about every 50 ms; each return costs one refresh of the progress
bar and is where Ctrl-C is noticed. An interruption between two native calls leaves all state as the last whole step
left it.
"""

from __future__ import annotations

import operator
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphkeras.core import config, tree
from graphkeras.ir.types import numpy_dtype
from graphkeras.trainers.checks import check_labels
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.epoch_iterator import UNLIMITED, EpochIterator, Segment
from graphkeras.utils.python_utils import pythonify_logs

CHUNK_SECONDS = 0.05
VERBOSE = ("auto", 0, 1, 2)


class Chunks:
    """How many steps to run in one native call: so many that it takes about `CHUNK_SECONDS`."""

    def __init__(self) -> None:
        self.steps = 1
        self._warm = False

    def observe(self, steps: int, seconds: float) -> None:
        """Learn from a call; the first one, which may have compiled, only allows a few more."""
        if not self._warm:
            self._warm = True
            self.steps = 4
            return
        fitting = int(CHUNK_SECONDS * steps / max(seconds, 1e-9))
        self.steps = max(1, min(fitting, self.steps * 16, UNLIMITED))


def chunks_of(model: Any, mode: str) -> Chunks:
    """The model's own memory of how long its steps take."""
    return model.__dict__.setdefault("_chunks", {}).setdefault(mode, Chunks())


def check_verbose(verbose: Any) -> None:
    if verbose not in VERBOSE and not isinstance(verbose, bool):
        raise ValueError(f"`verbose` must be 'auto', 0, 1 or 2. Received: verbose={verbose!r}")


def run_epoch(
    model: Any,
    mode: str,
    batches: EpochIterator,
    callbacks: Any,
    stopped: Callable[[], bool],
    predictions: Predictions | None = None,
) -> Mapping[str, Any]:
    """Run one pass; returns the logs of its last step, read from the state.

    Args:
        mode: "train", "test" or "predict".
        callbacks: a CallbackList, whose `on_{mode}_batch_*` hooks are called as often as they ask for.
        stopped: asked after every piece of work; True ends the pass.
        predictions: where "predict" puts its results.
    """
    frequency = callbacks.batch_frequency_of(mode)
    begin = getattr(callbacks, f"on_{mode}_batch_begin")
    end = getattr(callbacks, f"on_{mode}_batch_end")
    every = frequency == "every"
    chunks = chunks_of(model, mode)
    program: Any = None
    next_call = 0.0  # when hooks that only look now and then are due again
    batches.begin_epoch()
    try:
        while True:
            # Batches of a stream are run as they come, so that all that came before an error has been trained on.
            limit = model.steps_per_execution if every else chunks.steps if batches.is_resident else 1
            work = batches.next(limit)
            if work is None:
                break
            called = every or (frequency == "sometimes" and (batches.is_resident or time.perf_counter() >= next_call))
            if called:
                begin(work.begin)
            for segment in work.segments:
                program = _run(model, mode, segment, chunks, batches.checked, predictions)
            if called:
                last = work.begin + limit - 1 if every else work.end
                end(last, program.logs(model) if predictions is None else {"outputs": predictions.latest()})
                next_call = time.perf_counter() + CHUNK_SECONDS
            if stopped():
                break
    finally:
        batches.end_epoch()
    return {} if program is None or predictions is not None else program.logs(model)


def _run(
    model: Any, mode: str, segment: Segment, chunks: Chunks, checked: set[int], predictions: Predictions | None
) -> Any:
    """Run one segment; returns its program. `checked`: programs that have seen the whole arrays of this data set."""
    program = model._step_program(mode, segment.data, segment.rows)
    if segment.rows is None and mode != "predict":
        check_labels(model, utils.unpack_x_y_sample_weight(segment.data)[1])
    if segment.rows is None or id(program) not in checked:
        program.check(segment.arrays)
        checked.add(id(program))
    arrays = segment.arrays if predictions is None else predictions.inputs(program, segment)
    start = time.perf_counter()
    program.run(arrays, segment.steps)
    chunks.observe(segment.steps, time.perf_counter() - start)
    if predictions is not None:
        predictions.collect(program, segment)
    return program


class Predictions:
    """Where predictions go: one array per output for whole data sets, a list of batches for streams."""

    def __init__(self) -> None:
        self._whole: Any = None
        self._batches: list[Any] = []
        self._rows = 0
        self._latest = 0  # rows of the newest piece

    def inputs(self, program: Any, segment: Segment) -> list[np.ndarray]:
        """The program's data inputs, with the arrays that it fills."""
        if segment.rows is None:
            return segment.arrays
        if self._whole is None:
            count = next(a.shape[0] for a in segment.arrays)
            self._whole = tree.map_structure(
                lambda t: np.empty((count, *t.shape[1:]), numpy_dtype(t.dtype)), program.prediction
            )
        return [*segment.arrays, *tree.flatten(self._whole)]

    def collect(self, program: Any, segment: Segment) -> None:
        """Note what a run has written."""
        if segment.rows is None:
            self._batches.append(program.outputs())
            return
        self._latest = segment.steps * segment.rows.batch
        self._rows += self._latest

    def latest(self) -> Any:
        """The predictions of the newest piece."""
        if self._whole is None:
            return self._batches[-1]
        return tree.map_structure(lambda a: a[self._rows - self._latest : self._rows], self._whole)

    def result(self) -> Any:
        """All predictions so far."""
        if self._whole is not None:
            return tree.map_structure(lambda a: a if len(a) == self._rows else a[: self._rows], self._whole)
        if not self._batches:
            raise ValueError("The data set yielded no batch to predict from. Expected at least one.")
        return tree.map_structure(lambda *parts: np.concatenate([np.atleast_1d(p) for p in parts]), *self._batches)


# -- fit --------------------------------------------------------------------------------------------
def fit(
    model: Any, batches: EpochIterator, callbacks: Any, validation: Validation | None, first: int, epochs: int
) -> None:
    """All epochs of `Model.fit`; see there."""
    model.stop_training = False
    callbacks.on_train_begin()
    callbacks.check_monitors()
    first = model._initial_epoch or first
    logs: dict[str, Any] = {}
    finished = False
    sources = [batches, *([] if validation is None else [validation.batches(model)])]
    for source in sources:
        source.are_steady = callbacks.are_own
    try:
        for epoch in range(first, epochs):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            last = run_epoch(model, "train", batches, callbacks, lambda: model.stop_training)
            if not batches.steps_done:
                if epoch == first:
                    raise ValueError("The training data yielded no batch. Expected at least one.")
                warnings.warn(
                    f"The data set is used up: training stops before epoch {epoch + 1} of {epochs}. Pass "
                    "`steps_per_epoch`, or a data set that can be iterated again.",
                    stacklevel=3,
                )
                break
            logs = pythonify_logs(model._get_metrics_result_or_logs(last))
            if validation is not None and validation.due(epoch):
                logs.update({f"val_{k}": v for k, v in validation.run(model, callbacks).items()})
            callbacks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        finished = True
    finally:
        for source in sources:
            source.close()
        if epochs > 0 and hasattr(model.optimizer, "finalize_variable_values"):
            model.optimizer.finalize_variable_values(model.trainable_weights)
        if finished:
            callbacks.on_train_end(logs)


class Validation:
    """Validation data and when to use them; the iterator is made at the first use and kept."""

    def __init__(self, data: Any, batch_size: int | None, steps: int | None, frequency: Any) -> None:
        if not isinstance(frequency, (int, np.integer)) and not isinstance(frequency, (list, tuple, set)):
            raise ValueError(
                "Expected `validation_freq` to be a list or int. "
                f"Received: validation_freq={frequency} of the type {type(frequency)}."
            )
        self.x, self.y, self.sample_weight = utils.unpack_x_y_sample_weight(data)
        self.batch_size, self.steps, self.frequency = batch_size, steps, frequency
        self._batches: EpochIterator | None = None

    def due(self, epoch: int) -> bool:
        """Whether to validate after the epoch with this number (from 0)."""
        if isinstance(self.frequency, (int, np.integer)):
            return (epoch + 1) % self.frequency == 0
        return epoch + 1 in self.frequency

    def batches(self, model: Any) -> EpochIterator:
        if self._batches is None:
            self._batches = EpochIterator(
                self.x,
                self.y,
                self.sample_weight,
                batch_size=self.batch_size,
                steps_per_epoch=self.steps,
                resident=model._takes_whole_arrays("test"),
                steps_per_execution=model.steps_per_execution,
            )
        return self._batches

    def run(self, model: Any, callbacks: Any) -> dict[str, Any]:
        return model.evaluate(
            x=self.x,
            y=self.y,
            sample_weight=self.sample_weight,
            batch_size=self.batch_size,
            steps=self.steps,
            callbacks=callbacks,
            return_dict=True,
            _batches=self.batches(model),
        )


def evaluate(model: Any, batches: EpochIterator, callbacks: Any) -> dict[str, Any]:
    """One pass of `Model.evaluate`; returns its logs as floats."""
    model.stop_evaluating = False
    callbacks.on_test_begin()
    model.reset_metrics()
    last = run_epoch(model, "test", batches, callbacks, lambda: model.stop_evaluating)
    if not batches.steps_done:
        raise ValueError("The data set yielded no batch to evaluate on. Expected at least one.")
    logs = pythonify_logs(model._get_metrics_result_or_logs(last))
    callbacks.on_test_end(logs)
    return logs


def predict(model: Any, batches: EpochIterator, callbacks: Any) -> Any:
    """One pass of `Model.predict`; returns arrays in the structure of the outputs."""
    model.stop_predicting = False
    callbacks.on_predict_begin()
    predictions = Predictions()
    run_epoch(model, "predict", batches, callbacks, lambda: model.stop_predicting, predictions)
    callbacks.on_predict_end()
    return predictions.result()


def capped_epochs(epochs: int) -> int:
    """The number of epochs after the limit of `config.set_max_epochs`; TypeError if it is no whole number."""
    try:
        epochs = operator.index(epochs)
    except TypeError:
        raise TypeError(
            f"`epochs` of `fit()` must be an integer. Received: epochs={epochs!r} ({type(epochs)})"
        ) from None
    cap = config.max_epochs()
    if cap and cap < epochs:
        warnings.warn(f"Limiting epochs to {cap}", stacklevel=3)
        return cap
    return epochs
