"""The compiled steps of a model: made when first needed, kept by shape, remade when the model has changed."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.spec import compute_output_spec
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import ValueRequested
from graphkeras.ir.types import numpy_dtype
from graphkeras.optimizers.growth import grow
from graphkeras.trainers.checks import check_target_shapes
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.dynamic import DynamicStep
from graphkeras.trainers.step import (
    EagerStep,
    FunctionStep,
    Rows,
    StepProgram,
    forget_losses,
    trace_logs,
    trace_step,
)

MAX_PROGRAMS = 32
MAX_FAST = 16
READS_BEFORE_COMPILING = 1024  # 0.2 ms each; compiling takes 0.1 s and 30 MB
FAST_DTYPES = "fiub"

AnyStep = StepProgram | DynamicStep | EagerStep


class MetricLogs(dict[str, Any]):
    """Logs that are the metrics' results: nobody has to ask the metrics again."""


class Programs:
    """What `Trainer` inherits to turn batches into runs of compiled steps."""

    def _forget_programs(self) -> None:
        """Drop every traced step (the model or its compilation has changed)."""
        for name in ("_programs", "_fast", "_chunks", "_log_reader", "_dynamic_modes", "_path_trees"):
            self.__dict__.pop(name, None)
        for name in ("train_function", "test_function", "predict_function"):
            self.__dict__[name] = None

    def _step_program(self, mode: str, data: Any, rows: Rows | None = None) -> AnyStep:
        """What runs a step on data of these shapes."""
        if self._has_own_function(mode):
            name = f"{mode}_function"
            if getattr(self, name, None) is None:
                made = getattr(self, f"make_{name}")()
                if getattr(self, name, None) is None:  # it was returned and not set
                    setattr(self, name, made)
            return FunctionStep(self, mode, data)
        return self._compiled_step(mode, data, rows)

    def _has_own_function(self, mode: str) -> bool:
        """Whether the user has written `make_train_function` (or its like for the mode)."""
        from graphkeras.trainers.on_batch import OnBatch

        name = f"make_{mode}_function"
        return getattr(type(self), name) is not getattr(OnBatch, name)

    def _takes_whole_arrays(self, mode: str) -> bool:
        """Whether steps cut their batches out of whole arrays; otherwise they are given batches."""
        return not self.run_eagerly and not self._has_own_function(mode)  # type: ignore[attr-defined]

    def _compiled_step(self, mode: str, data: Any, rows: Rows | None = None) -> AnyStep:
        """The program for data of these shapes; traced and compiled if it is new."""
        if self.run_eagerly:  # type: ignore[attr-defined]
            return EagerStep(self, mode, data)
        programs: OrderedDict[Any, StepProgram | DynamicStep] = self.__dict__.setdefault("_programs", OrderedDict())
        key = (mode, rows, signature(data))
        program = programs.get(key)
        if program is None:
            program = programs[key] = self._make_program(mode, data, rows)
            while len(programs) > MAX_PROGRAMS:
                programs.popitem(last=False)
        else:
            programs.move_to_end(key)
        return program

    def _make_program(self, mode: str, data: Any, rows: Rows | None) -> StepProgram | DynamicStep:
        """One graph for the step; or a tree of paths, where its Python code asks for values."""
        dynamic: set[str] = self.__dict__.setdefault("_dynamic_modes", set())
        if mode not in dynamic:
            try:
                return trace_step(self, mode, data, rows)
            except ValueRequested:
                dynamic.add(mode)
        return DynamicStep(self, mode, data, rows)

    def _has_program(self, mode: str, data: Any) -> bool:
        """Whether data of these shapes has been seen, and so needs no checks of shapes."""
        return (mode, None, signature(data)) in self.__dict__.get("_programs", ())

    # -- the state of the model --------------------------------------------------------------------
    def _refresh(self, mode: str) -> None:
        """Honour changes since the last run: of `trainable`, of the layers."""
        layers = self._flatten_layers()  # type: ignore[attr-defined]
        now = {id(layer): (layer.name, layer.trainable) for layer in layers}
        trained = tuple(id(v) for v in self.trainable_variables)  # type: ignore[attr-defined]
        before = self.__dict__.get("_trained_state")
        self.__dict__["_trained_state"] = (now, trained)
        if before is None or before == (now, trained):
            return
        self._forget_programs()
        if not self.built:  # type: ignore[attr-defined]
            return
        changed = [name for key, (name, t) in now.items() if key in before[0] and before[0][key][1] != t]
        if changed and mode == "train":
            warnings.warn(
                f"The `trainable` state of layers {changed} has changed since the last run. The change takes effect "
                "now; optimizer state of variables that stay trainable is kept.",
                stacklevel=4,
            )

    def _grow_optimizer(self) -> None:
        """Give the optimizer state for variables that became trainable after it was built; keep what it has."""
        trainable, all_variables = self.trainable_variables, self.variables  # type: ignore[attr-defined]
        grow(self.optimizer, trainable, all_variables)  # type: ignore[attr-defined]

    def _adopt_new_variables(self) -> None:
        """After the trace of a step has built layers: the optimizer learns of their variables, programs do too."""
        if self.optimizer is not None and self.optimizer.built:  # type: ignore[attr-defined]
            self._grow_optimizer()
        for key in [k for k in self.__dict__.get("_programs", ()) if k[0] == "train"]:
            del self.__dict__["_programs"][key]
        for (mode, *_), paths in self.__dict__.get("_path_trees", {}).items():
            if mode == "train":
                paths.forget()
        self.__dict__.pop("_trained_state", None)

    # -- building ----------------------------------------------------------------------------------
    def _symbolic_build(self, data_batch: Any, mode: str = "train") -> None:
        """Build model, losses, metrics and optimizer from the shapes of a batch, and check the data against them."""
        metrics = self._compile_metrics  # type: ignore[attr-defined]
        loss = self._compile_loss  # type: ignore[attr-defined]
        unbuilt = not all(layer.built for layer in self._flatten_layers())  # type: ignore[attr-defined]
        pending = [part for part in (metrics, loss) if part is not None and not part.built]
        if mode == "predict":
            pending = []
        y = utils.unpack_x_y_sample_weight(data_batch)[1]
        if unbuilt and mode == "train" and self._trains_without_call(data_batch):
            return  # its step builds layers and optimizers when it is traced
        if unbuilt or pending:
            # A model that looks at values is built on the batch itself.
            try:
                if self.run_eagerly:  # type: ignore[attr-defined]
                    raise ValueRequested
                self._build_on(compute_output_spec, tree.map_structure(_spec, data_batch), pending)
            except ValueRequested:
                self._build_on(_call, tree.map_structure(_tensor, data_batch), pending)
            finally:
                forget_losses(self)
        if mode != "predict" and y is not None and self.__dict__.get("_output_spec") is not None:
            check_target_shapes(self, self.__dict__["_output_spec"], y)
        if mode == "train" and self.optimizer is not None:  # type: ignore[attr-defined]
            if not self.optimizer.built:  # type: ignore[attr-defined]
                self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]
            else:
                self._grow_optimizer()
        if unbuilt and hasattr(self, "_post_build"):
            self._post_build()

    def _trains_without_call(self, batch: Any) -> bool:
        """Whether the model has a `train_step` of its own whose batches `call` does not take (a GAN's, say).

        Its parts are built by the step; what is wrong with the batch is said there.
        """
        from graphkeras.trainers.trainer import Trainer

        if type(self).train_step is Trainer.train_step or self.run_eagerly:  # type: ignore[attr-defined]
            return False
        x = tree.map_structure(_spec, utils.unpack_x_y_sample_weight(batch)[0])
        try:
            compute_output_spec(self, x, training=False)  # type: ignore[arg-type]
        except ValueRequested:
            return False
        except Exception:
            return True
        finally:
            forget_losses(self)
        return False

    def _build_on(self, trial: Any, batch: Any, pending: Sequence[Any]) -> None:
        """Build on a batch of tensors, or of specs: `trial` calls a function on them."""
        x, y, sample_weight = utils.unpack_x_y_sample_weight(batch)
        y_pred = self._build_model(trial, x)
        self.__dict__["_output_spec"] = y_pred
        if self._compile_metrics in pending:  # type: ignore[attr-defined]
            trial(self.compute_metrics, x, y, y_pred, sample_weight=sample_weight)  # type: ignore[attr-defined]
        if self._compile_loss in pending:  # type: ignore[attr-defined]
            trial(self._compute_loss, x, y, y_pred, sample_weight=sample_weight, training=False)  # type: ignore[attr-defined]

    def _symbolic_trial(self, batch: Any) -> None:
        """Shape inference of outputs and loss for a batch: what does not fit raises."""
        x, y, sample_weight = tree.map_structure(_spec, utils.unpack_x_y_sample_weight(batch))
        y_pred = compute_output_spec(self, x, training=False)  # type: ignore[arg-type]
        compute_output_spec(self._compute_loss, x, y, y_pred, sample_weight, training=False)  # type: ignore[attr-defined]
        forget_losses(self)
        if y is not None:
            check_target_shapes(self, y_pred, y)

    def _build_model(self, trial: Any, x: Any) -> Any:
        try:
            return trial(self, x, training=False)
        except (ValueError, TypeError, NotImplementedError, ValueRequested):
            raise
        except Exception as error:
            raise RuntimeError(
                f"Unable to automatically build the model {self.name!r}. "  # type: ignore[attr-defined]
                "Please build it yourself before calling fit/evaluate/predict. A model is 'built' when its variables "
                "have been created and its `self.built` attribute is True. Usually, calling the model on a batch of "
                f"data is the right way to build it.\nException encountered:\n'{error}'"
            ) from error

    # -- reading logs ------------------------------------------------------------------------------
    def _metric_logs(self) -> MetricLogs:
        """The results of the metrics; where they are read after every batch, by a compiled program."""
        state = self.__dict__.setdefault("_log_reader", {"reads": 0, "program": None})
        state["reads"] += 1
        if state["reads"] < READS_BEFORE_COMPILING or self.run_eagerly:  # type: ignore[attr-defined]
            return MetricLogs(self.get_metrics_result())  # type: ignore[attr-defined]
        if state["program"] is None:
            try:
                state["program"] = trace_logs(self)
            except Exception:  # a metric whose result() is not made of ops
                state["program"] = False
        if not state["program"]:
            return MetricLogs(self.get_metrics_result())  # type: ignore[attr-defined]
        state["program"].run([])
        return MetricLogs(state["program"].logs(self))

    # -- prediction of small arrays ----------------------------------------------------------------
    def _fast_predict(self, x: np.ndarray) -> np.ndarray | None:
        """Predictions of one small array without adapters and callbacks; None if that way is not open."""
        table = self.__dict__.setdefault("_fast", {})
        key = (x.shape, x.dtype)
        fast = table.get(key)
        if fast is None:
            if x.dtype.kind not in FAST_DTYPES or not x.ndim:
                return None
            fast = table[key] = self._make_fast(x)
            while len(table) > MAX_FAST:
                table.pop(next(iter(table)))
        return fast(x) if fast else None

    def _make_fast(self, x: np.ndarray) -> Any:
        batch = utils.standardize(x, "x")
        self._symbolic_build(batch, "predict")
        program = self._step_program("predict", batch)
        if not isinstance(program, StepProgram) or program.written or tree.is_nested(program.prediction):
            return False
        if program.prediction.shape[:1] != x.shape[:1]:
            return False
        return FastPredict(program, batch)


class FastPredict:
    """A predict program whose arrays stay bound: a call copies in, runs, copies out."""

    def __init__(self, program: StepProgram, batch: np.ndarray) -> None:
        self.executable = program.executable
        self.lock = program.executable.lock
        self.names = program.names
        self.checks = program.index_checks
        self.variables = program.variables
        self.input = np.empty(batch.shape, batch.dtype)
        self.output = np.empty(program.prediction.shape, numpy_dtype(program.prediction.dtype))
        self.bound: list[Any] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with self.lock:
            np.copyto(self.input, x)
            for check in self.checks:
                check.run([self.input])
            if self.executable.owner is not self or not self._same_values():
                self._bind()
            self.executable.run(1)
            return self.output.copy()

    def _same_values(self) -> bool:
        return all(bound() is v._value for v, bound in zip(self.variables, self.bound, strict=True))

    def _bind(self) -> None:
        values = [v._value for v in self.variables]
        self.executable.bind([self.input, *values], [self.output], names=self.names)
        self.executable.owner = self
        self.bound = [weakref.ref(a) for a in values]
        if self.executable.stays_bound:
            self.executable.release()


def signature(data: Any) -> Any:
    """A hashable description of a structure of arrays."""
    if isinstance(data, dict):
        return ("dict", *((k, signature(v)) for k, v in data.items()))
    if isinstance(data, (list, tuple)):
        return (type(data).__name__, *(signature(v) for v in data))
    return None if data is None else (tuple(data.shape), str(data.dtype))


def _call(fn: Any, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def _tensor(x: Any) -> Any:
    return None if x is None else Tensor(x)


def _spec(x: Any) -> Any:
    if x is None:
        return None
    return KerasTensor(tuple(x.shape), dtype=x.dtype if isinstance(x.dtype, str) else x.dtype.name)
