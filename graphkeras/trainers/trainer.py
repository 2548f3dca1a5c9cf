"""`compile`, `fit`, `evaluate`, `predict` and their one-batch forms: what every model inherits."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.callbacks.callback_list import CallbackList
from graphkeras.core import config, tree
from graphkeras.core.dtypes import is_float_dtype
from graphkeras.core.tape import GradientTape
from graphkeras.core.trace import origin
from graphkeras.trainers import loop
from graphkeras.trainers.checks import check_arrays
from graphkeras.trainers.compilation import Compilation
from graphkeras.trainers.compile_loss import CompileLoss
from graphkeras.trainers.compile_utils import CompileMetrics
from graphkeras.trainers.data_adapters import SHUFFLE_DEFAULT
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.data_adapters.array_data_adapter import train_validation_split
from graphkeras.trainers.epoch_iterator import EpochIterator
from graphkeras.trainers.explain import Explain
from graphkeras.trainers.on_batch import OnBatch
from graphkeras.trainers.programs import MetricLogs
from graphkeras.trainers.stateless import StatelessSteps
from graphkeras.trainers.step import UnbatchedOutput

FAST_ROWS = 32  # predict() of at most so many rows takes the short way


class Trainer(StatelessSteps, Compilation, OnBatch, Explain):
    """Training, evaluation and prediction with compiled steps."""

    def __init__(self) -> None:
        self._run_eagerly = False
        self._jit_compile: Any = None
        self.compiled = False
        self.loss: Any = None
        self.optimizer: Any = getattr(self, "optimizer", None)
        self.steps_per_execution = 1
        self.stop_training = False
        self.stop_evaluating = False
        self.stop_predicting = False
        self._initial_epoch: int | None = None  # callbacks may set it in on_train_begin
        self._compute_loss_has_training_arg = "training" in inspect.signature(self.compute_loss).parameters
        self._compile_loss: CompileLoss | None = None
        self._compile_metrics: CompileMetrics | None = None
        self._loss_tracker: Any = None

    def _assert_compile_called(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(f"You must call `compile()` before calling `{method}()` of {self.name!r}.")  # type: ignore[attr-defined]

    # -- metrics -----------------------------------------------------------------------------------
    @property
    def metrics(self) -> list[Any]:
        """Loss tracker, compiled metrics, losses per output, metrics of the model and of its layers."""
        found = list(self._own_metrics())
        for layer in self._flatten_layers(include_self=False):  # type: ignore[attr-defined]
            if not isinstance(layer, Trainer):  # a nested model's compiled metrics belong to its own training
                found.extend(layer._metrics)
        return found

    def _own_metrics(self) -> list[Any]:
        found: list[Any] = []
        if self.compiled:
            found += [m for m in (self._loss_tracker, self._compile_metrics) if m is not None]
            found += self._compile_loss.metrics if self._compile_loss is not None else []
        return found + list(self._metrics)  # type: ignore[attr-defined]

    _get_own_metrics = _own_metrics

    @property
    def metrics_names(self) -> list[str]:
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        """Reset the state of all metrics, as happens at the start of each epoch."""
        for metric in self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """The current results of all metrics by name."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            value = metric.result()
            if isinstance(value, dict):
                results.update(value)
            else:
                results[metric.name] = value
        return results

    def _get_metrics_result_or_logs(self, logs: Any) -> Any:
        """The metrics' results if the step reported the same names, else what it reported."""
        if isinstance(logs, MetricLogs):
            return logs
        results = self.get_metrics_result()
        if not isinstance(logs, dict) or set(logs) != set(results):
            return logs
        tracker = self._loss_tracker
        if tracker is not None and tracker.name in logs and not float(tracker.count):
            results[tracker.name] = logs[tracker.name]  # a `train_step` of one's own, which does not use the tracker
        return results

    # -- steps, as a user would write them ----------------------------------------------------------
    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The total loss: the compiled losses, `add_loss` terms and regularization. Override it for a loss of your own.

        Args:
            x, y, sample_weight: the batch.
            y_pred: the model's outputs for `x`.
            training: whether this is a training step.

        Returns:
            scalar tensor.
        """
        total = None
        if self._compile_loss is not None:
            if y is None:
                raise ValueError(
                    f"Model {self.name!r} was compiled with a loss, but got no targets: `y` is None. "  # type: ignore[attr-defined]
                    "Pass `y` (validation_data=(x, y); generators yield (x, y)), or compile without a loss."
                )
            total = self._compile_loss(y, y_pred, sample_weight)
        for term in self.losses:  # type: ignore[attr-defined]
            term = ops.sum(term if is_float_dtype(term.dtype) else ops.cast(term, config.floatx()))
            total = term if total is None else ops.add(total, term)
        if total is None:
            if self._compile_loss is None and training:
                raise ValueError(
                    "No loss to compute. Provide a `loss` argument in `compile()`, call `add_loss()` in a layer, or "
                    "override `compute_loss()`."
                )
            return ops.zeros(())
        return total

    def _compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """`compute_loss`, also for overrides that were written without the `training` argument."""
        more = {"training": training} if self._compute_loss_has_training_arg else {}
        with origin(layer="loss"):
            return self.compute_loss(x, y, y_pred, sample_weight, **more)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the compiled metrics and return the results of all metrics; the result is what callbacks see."""
        if self._compile_metrics is not None:
            with origin(layer="metrics"):
                self._compile_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _has_own_train_step(self) -> bool:
        return type(self).train_step is not Trainer.train_step

    def train_step(self, data: Any, *more: Any) -> Any:
        """One step of training on a batch `data`; override it for a step of your own (it is compiled too).

        Args:
            data: `x`, `(x, y)` or `(x, y, sample_weight)`.

        Returns:
            dict of logs.

        As `train_step(state, data)` it returns `(logs, state)` and assigns nothing: state is the tuple of the lists of
        values of trainable, non-trainable, optimizer's and metrics' variables. An override may have either form.
        """
        if more:
            return self._train_step_of_state(data, *more)
        x, y, sample_weight = utils.unpack_x_y_sample_weight(data)
        with GradientTape() as tape:
            y_pred = self(x, training=True)  # type: ignore[operator]
            loss = self._compute_loss(x, y, y_pred, sample_weight, training=True)
            target = loss if self.optimizer is None else self.optimizer.scale_loss(loss)
        self._track_loss(loss, x)
        variables = self.trainable_weights  # type: ignore[attr-defined]
        if variables and self.optimizer is not None:
            self._grow_optimizer()  # the call may have built layers
            self.optimizer.apply(tape.gradient(target, variables), variables)
        elif not variables:
            warnings.warn(f"The model {self.name!r} does not have any trainable weights.", stacklevel=2)  # type: ignore[attr-defined]
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any, *more: Any) -> Any:
        """One step of evaluation on a batch; see `train_step`. The state of `(state, data)` has no optimizer's part."""
        if more:
            return self._test_step_of_state(data, *more)
        x, y, sample_weight = utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)  # type: ignore[operator]
        loss = self._compute_loss(x, y, y_pred, sample_weight, training=False)
        self._track_loss(loss, x)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any, *more: Any) -> Any:
        """The outputs for a batch; see `train_step`. With a state of trainable and non-trainable variables it returns
        `(outputs, non_trainable_variables)`.
        """
        if more:
            return self._predict_step_of_state(data, *more)
        x, _, _ = utils.unpack_x_y_sample_weight(data)
        return self(x, training=False)  # type: ignore[operator]

    def _track_loss(self, loss: Any, x: Any) -> None:
        if self._loss_tracker is not None:
            rows = next(i.shape[0] for i in tree.flatten(x) if i is not None)
            with origin(layer="metrics"):
                self._loss_tracker.update_state(loss, sample_weight=rows)

    # -- whole runs --------------------------------------------------------------------------------
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """Train the model.

        Args:
            x: arrays (or a list or dict of them), a PyDataset, a generator of `(x, y)` tuples, or a data set of another
                library that yields such batches.
            y: targets in the structure of the outputs; None where `x` yields them.
            batch_size: samples per step, 32 by default; arrays only.
            epochs: the number of the last epoch; training begins at `initial_epoch`.
            verbose: "auto" or 1 (progress bar), 2 (one line per epoch), 0 (silent).
            callbacks: list of Callbacks.
            validation_split: share of the samples, the last ones, kept for validation; arrays only.
            validation_data: `(x, y)`, `(x, y, sample_weight)` or a data set; wins over `validation_split`.
            shuffle: True: permute the samples in each epoch; "batch": within batches; False: keep the order.
            class_weight: {class: weight}, missing classes weigh 1; for several outputs one dict per output.
            sample_weight: weight per sample, or per position, or in the structure of `y`.
            initial_epoch: number of the first epoch, from 0.
            steps_per_epoch: steps that count as an epoch; the next one continues where it stopped.
            validation_steps, validation_batch_size: the same for validation.
            validation_freq: validate every so many epochs, or after the epochs in this list (from 1).

        Returns:
            History with the logs of all epochs in `.history`.

        Raises:
            ValueError: for data that does not fit together or to the model.

        With arrays and no callback that asks for batches, no Python runs between the batches. After an error or Ctrl-C
        the weights are those of the last completed step.

        Example:

        >>> import numpy as np, graphkeras as keras
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((8, 1)), np.ones((8, 1)), epochs=2, verbose=0)
        >>> len(history.history["loss"])
        2
        """
        self._assert_compile_called("fit")
        loop.check_verbose(verbose)
        epochs = loop.capped_epochs(epochs)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = train_validation_split((x, y, sample_weight), validation_split)
        batches = EpochIterator(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            shuffle=SHUFFLE_DEFAULT if shuffle is True else shuffle,
            class_weight=class_weight,
            resident=self._takes_whole_arrays("train"),
            steps_per_execution=self.steps_per_execution,
        )
        validation = None
        if validation_data is not None:
            size = validation_batch_size or batch_size
            validation = loop.Validation(validation_data, size, validation_steps, validation_freq)
        self._prepare("train", batches)
        if validation is not None:
            self._check_validation(batches, validation.batches(self))
        if not isinstance(callbacks, CallbackList):
            callbacks = CallbackList(
                callbacks,
                add_history=True,
                add_progbar=verbose != 0,
                verbose=verbose,
                epochs=epochs,
                steps=batches.num_batches,
                model=self,
            )
        loop.fit(self, batches, callbacks, validation, initial_epoch, epochs)
        return self.history

    def _prepare(self, mode: str, batches: EpochIterator) -> None:
        """Build what is not built, honour changes of the model, check the arrays."""
        self._refresh(mode)
        self._symbolic_build(batches.peek(), mode)
        self._refresh(mode)
        if batches.is_resident and mode != "predict":
            check_arrays(self, batches.adapter.data, warn=mode == "train")  # type: ignore[attr-defined]

    def _check_validation(self, training: EpochIterator, validation: EpochIterator) -> None:
        """Validation data that do not fit are refused before the training, not after its first epoch."""
        if not validation.is_resident or type(self).test_step is not Trainer.test_step:
            return
        check_arrays(self, validation.adapter.data, warn=False)  # type: ignore[attr-defined]
        batch = validation.peek()
        if not training.is_resident or _sample_shapes(batch) != _sample_shapes(training.peek()):
            self._symbolic_trial(batch)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Loss and metrics on a data set, in inference mode.

        Args:
            x, y, batch_size, verbose, sample_weight, callbacks: as for `fit`.
            steps: batches after which to stop.
            return_dict: return {name: value} instead of a list.

        Returns:
            the loss as a float if there are no metrics, else a list of loss and metrics; or a dict.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> sorted(model.evaluate(x, y, verbose=0, return_dict=True))
        ['loss']
        """
        self._assert_compile_called("evaluate")
        batches = kwargs.pop("_batches", None)
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        loop.check_verbose(verbose)
        if batches is None:
            batches = EpochIterator(
                x=x,
                y=y,
                sample_weight=sample_weight,
                batch_size=batch_size,
                steps_per_epoch=steps,
                resident=self._takes_whole_arrays("test"),
                steps_per_execution=self.steps_per_execution,
            )
        self._prepare("test", batches)
        if not isinstance(callbacks, CallbackList):
            callbacks = self._callbacks(callbacks, verbose, batches)
        logs = loop.evaluate(self, batches, callbacks)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The model's outputs for `x` as NumPy arrays, computed in batches.

        Args:
            x: as for `fit`, without targets.
            batch_size: samples per batch, 32 by default.
            verbose: as for `fit`; "auto" shows no bar where one batch is enough.
            steps: batches after which to stop.
            callbacks: list of Callbacks.

        A single array of at most one batch takes a short way without progress bar and callbacks.

        Example:

        >>> import numpy as np
        >>> import graphkeras as keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> model.predict(x, verbose=0).shape
        (8, 1)
        """
        loop.check_verbose(verbose)
        short = type(x) is np.ndarray and callbacks is None and steps is None and verbose in (0, "auto")
        if short and x.ndim and 0 < len(x) <= (batch_size or FAST_ROWS) and not self._run_eagerly:
            result = self._fast_predict(x)
            if result is not None:
                return result
        given = {"batch_size": batch_size, "steps_per_epoch": steps, "steps_per_execution": self.steps_per_execution}
        batches = EpochIterator(x=x, **given, resident=self._takes_whole_arrays("predict"))
        self._prepare("predict", batches)
        if not isinstance(callbacks, CallbackList):
            callbacks = self._callbacks(callbacks, verbose, batches)
        try:
            return loop.predict(self, batches, callbacks)
        except UnbatchedOutput:
            batches = EpochIterator(x=x, **given, resident=False)
            return loop.predict(self, batches, callbacks)

    def _callbacks(self, callbacks: Any, verbose: Any, batches: EpochIterator) -> CallbackList:
        shown = {"verbose": verbose, "epochs": 1, "steps": batches.num_batches}
        return CallbackList(callbacks, add_progbar=verbose != 0, model=self, **shown)

    def _flatten_metrics_in_order(self, logs: dict[str, Any]) -> Any:
        """Logs as a list: loss, metrics in the order of compile, the rest by name; a single value stays bare."""
        names: list[str] = []
        for metric in self.metrics:
            if isinstance(metric, CompileMetrics):
                names += [m.name for m in metric.metrics]
            else:
                names.append(metric.name)
        values = [logs[name] for name in names if name in logs]
        values += [logs[name] for name in sorted(logs) if name not in names]
        return values[0] if len(values) == 1 else values


def _sample_shapes(batch: Any) -> list[Any]:
    """Where the arrays of a batch are, and their shapes without the batch axis."""
    return [(path, None if x is None else tuple(x.shape[1:])) for path, x in tree.flatten_with_path(batch)]
