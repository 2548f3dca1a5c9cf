"""The whole step as one graph: gather the batch, forward, loss, metrics, backward, optimizer, new state.

`trace_step` runs the model's `train_step`, `test_step` or `predict_step` once on traced tensors. Variables that the
step reads are inputs of the graph, what it assigns are outputs donated to them; so one native call does many steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkeras.backend import executor
from graphkeras.backend.structure import SAME, Names
from graphkeras.core import tree
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import Trace, ValueRequested, eager, origin
from graphkeras.core.variable import Variable
from graphkeras.ir.node import Node
from graphkeras.ir.residence import changed_all, refresh_all
from graphkeras.ir.types import TensorType, numpy_dtype
from graphkeras.trainers.data_adapters import data_adapter_utils as utils
from graphkeras.trainers.guards import IndexCheck, index_checks
from graphkeras.trainers.stateless import METHODS, call_with_state, run_step, takes_state


@dataclass(frozen=True)
class Rows:
    """The step gathers its own batch of `batch` rows from whole arrays, beginning at the row that `offset` says.

    shuffled: through a permutation of the rows; otherwise in their order.
    """

    batch: int
    shuffled: bool


class UnbatchedOutput(ValueError):
    """A prediction has no batch axis, so it cannot be written into one array for all batches."""


@dataclass
class StepProgram:
    """A traced step: its executable, the variables it reads and writes, and what it reports."""

    executable: executor.Executable
    variables: tuple[Variable, ...]
    written: frozenset[int]  # positions in `variables`
    aliases: dict[int, int]  # output -> input
    log_arrays: dict[str, np.ndarray]  # logs that are not functions of the metrics' state
    log_constants: dict[str, Any]
    state_logs: bool  # whether get_metrics_result() gives the logs
    prediction: Any = None  # structure of the predictions, leaves are their types
    result_arrays: list[np.ndarray] = field(default_factory=list)  # outputs that belong to the program
    index_checks: tuple[IndexCheck, ...] = ()
    names: Names = SAME  # what the traced model calls the layers of `executable`
    guarded: bool = True  # whether no step can fail on data that `check` has passed

    def pieces(self) -> list[executor.Piece]:
        """What to look at to explain the step."""
        return [executor.Piece("", self.executable, self.names)]

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Refuse data with indices out of range, before they spoil a step."""
        for check in self.index_checks:
            check.run(arrays)

    def run(self, arrays: Sequence[np.ndarray], steps: int = 1) -> None:
        """Run `steps` steps on the data inputs `arrays` (the explicit inputs of the graph, in order)."""
        with self.executable.lock:
            inputs = list(arrays)
            for i, variable in enumerate(self.variables):
                inputs.append(variable.bound(i in self.written))
            outputs, own = [], iter(self.result_arrays)
            for i in range(len(self.executable.graph.outputs)):
                outputs.append(inputs[self.aliases[i]] if i in self.aliases else next(own))
            self.executable.owner = self
            self.executable.bind(inputs, outputs, range(len(arrays), len(inputs)), self.names)
            try:
                if self.guarded:
                    self.executable.run(steps)
                else:
                    self._run_guarded([inputs[i] for i in self.aliases.values()], steps)
            finally:
                del inputs, outputs
                self.executable.release()

    def _run_guarded(self, state: Sequence[np.ndarray], steps: int) -> None:
        """Run; after an error the state is that of the last whole step: it is put back and the steps are run singly."""
        refresh_all(state)
        saved = [a.copy() for a in state]
        try:
            self.executable.run(steps)
            return
        except Exception:
            _restore(state, saved)
            if steps == 1:
                raise
        for _ in range(steps):
            self._run_guarded(state, 1)

    def logs(self, model: Any) -> dict[str, Any]:
        """What the last step reported."""
        if self.state_logs:
            return model._metric_logs()
        return {**{k: a.copy() for k, a in self.log_arrays.items()}, **self.log_constants}

    def outputs(self) -> Any:
        """Copies of the predictions of the last step (of a program for one batch)."""
        count = len(tree.flatten(self.prediction))
        return tree.pack_sequence_as(self.prediction, [a.copy() for a in self.result_arrays[:count]])


def _restore(state: Sequence[np.ndarray], saved: Sequence[np.ndarray]) -> None:
    for array, old in zip(state, saved, strict=True):
        array[...] = old
    changed_all(state)


class EagerStep:
    """A step as plain Python on concrete tensors, for `run_eagerly`: the same interface as StepProgram."""

    def __init__(self, model: Any, mode: str, data: Any) -> None:
        self.model, self.mode, self.data = model, mode, data
        self.result: Any = None

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Eager ops check their indices themselves."""

    def run(self, arrays: Sequence[np.ndarray], steps: int = 1) -> None:
        leaves = iter(arrays)
        batch = tree.map_structure(lambda x: None if x is None else Tensor(next(leaves)), self.data)
        try:
            self.result = self._step(batch)
        finally:
            forget_losses(self.model)

    def _step(self, batch: Any) -> Any:
        return run_step(self.model, self.mode, batch)

    def logs(self, model: Any) -> dict[str, Any]:
        return dict(self.result)

    def outputs(self) -> Any:
        return tree.map_structure(lambda t: np.array(t), self.result)


class FunctionStep(EagerStep):
    """A step that a `make_train_function` of the user's own runs: given an iterator of one batch at a time.

    The function takes `iterator` and returns logs (or predictions), or `(state, iterator)` and returns them with the
    new state. What it calls may be compiled: the function of `super().make_train_function()`, or a `keras.function`.
    """

    def _step(self, batch: Any) -> Any:
        function = getattr(self.model, f"{self.mode}_function")
        if takes_state(function):
            return call_with_state(self.model, self.mode, function, iter([batch]))
        return function(iter([batch]))


def trace_step(model: Any, mode: str, data: Any, rows: Rows | None = None, interpret: bool = False) -> StepProgram:
    """Trace and compile one step of `model`.

    Args:
        model: a Trainer.
        mode: "train", "test" or "predict".
        data: structure of NumPy arrays (or of anything with shape and dtype): a batch, or whole arrays with `rows`.
        rows: how to cut the batch out of whole arrays; None: `data` is the batch.
        interpret: run it with the NumPy references.
    """
    tracer = StepTracer(model, mode, data, rows)
    try:
        with eager(), tracer.trace, origin(phase="forward"):
            tracer.record()
        tracer.check_variables()
        if not tracer.trace.requested:
            return tracer.finish(interpret)
    except Exception as error:
        if tracer.trace.requested and not isinstance(error, ValueRequested):
            raise ValueRequested(str(error)) from error
        raise
    finally:
        forget_losses(model)
    raise ValueRequested(f"{METHODS[mode]} of {model.name} asked for a value and went on without it")


def trace_logs(model: Any) -> StepProgram:
    """A program that computes `get_metrics_result()` from the metrics' variables."""
    with eager(), Trace() as trace:
        flat = _flat_logs(model.get_metrics_result())
    if trace.writes:
        raise ValueError("a metric assigns variables in result()")
    traced = {k: v for k, v in flat.items() if isinstance(v, Tensor) and v.trace is trace}
    graph = trace.finish(list(traced.values()), f"logs of {model.name}")
    arrays = executor.empty_outputs(graph)
    return StepProgram(
        executable=executor.compile(graph),
        variables=tuple(trace.reads),
        written=frozenset(),
        aliases={},
        log_arrays=dict(zip(traced, arrays, strict=True)),
        log_constants={k: v for k, v in flat.items() if k not in traced},
        state_logs=False,
        result_arrays=arrays,
    )


def forget_losses(model: Any) -> None:
    """Drop the losses that layers kept: they are tensors of a trace that has ended."""
    clear = getattr(model, "_clear_losses", None)
    if clear is not None:
        clear()


class StepTracer:
    """Records one step of `model` in `trace`, and keeps what it returns."""

    def __init__(self, model: Any, mode: str, data: Any, rows: Rows | None, trace: Trace | None = None) -> None:
        self.model, self.mode, self.data, self.rows = model, mode, data, rows
        self.trace = Trace() if trace is None else trace
        self.offset: Tensor | None = None
        self.results: list[Tensor] = []  # explicit outputs: the next offset, predictions
        self.donated: dict[int, Node] = {}  # output index -> input node
        self.extra: dict[str, Tensor] = {}
        self.constants: dict[str, Any] = {}
        self.state_logs = False
        self.prediction: Any = None

    # -- recording ---------------------------------------------------------------------------------
    def record(self) -> None:
        with origin(layer="batch"):
            batch = self._batch()
        result = run_step(self.model, self.mode, batch)
        if self.mode == "predict":
            self._predictions(result)
        else:
            self._logs(result)
        if self.rows is not None:
            assert self.offset is not None
            b = self.trace.builder
            following = b.add(self.offset.data, b.const(self.rows.batch, "int64"))
            self.donated[len(self.results)] = self.offset.data  # type: ignore[assignment]
            self.results.append(Tensor(following, self.trace))

    def _batch(self) -> Any:
        paths = iter(_labels(self.data))
        inputs = []
        for leaf in tree.flatten(self.data):
            name = next(paths)
            inputs.append(None if leaf is None else self.trace.input(_type(leaf), name))
        if self.rows is None:
            return tree.pack_sequence_as(self.data, inputs)
        order: Tensor | None = None
        if self.rows.shuffled:
            count = next(t.shape[0] for t in inputs if t is not None)
            order = self.trace.input(TensorType((count,), "int64"), "order")
        self.offset = self.trace.input(TensorType((), "int64"), "offset")
        index = None if order is None else self._slice(order.data, self.rows.batch)
        gathered: dict[Node, Tensor] = {}
        for t in inputs:
            if t is None or t.data in gathered:
                continue
            if index is None:
                node = self._slice(t.data, self.rows.batch)
            else:
                node = self.trace.builder.take(t.data, index, axis=0, mode="clip")
            gathered[t.data] = Tensor(node, self.trace)  # type: ignore[index]
        return tree.pack_sequence_as(self.data, [None if t is None else gathered[t.data] for t in inputs])

    def _starts(self, rank: int) -> list[Node]:
        assert self.offset is not None
        zero = self.trace.builder.const(0, "int64")
        return [self.offset.data, *[zero] * (rank - 1)]  # type: ignore[list-item]

    def _slice(self, node: Any, batch: int) -> Node:
        sizes = (batch, *node.shape[1:])
        return self.trace.builder.dynamic_slice(node, *self._starts(len(sizes)), sizes=sizes)

    def _logs(self, result: Any) -> None:
        method = METHODS[self.mode]
        if not isinstance(result, Mapping):
            raise ValueError(
                f"{type(self.model).__name__}.{method}() must return a dict of logs {{name: value}}. "
                f"Received: {result!r} (of type {type(result).__name__}). Return self.compute_metrics(...) or "
                "{m.name: m.result() for m in self.metrics}."
            )
        flat = _flat_logs(result)
        known = _flat_logs(self.model.get_metrics_result())
        if flat.keys() == known.keys() and all(_same(flat[k], known[k]) for k in flat):
            self.state_logs = True
            return
        for name, value in flat.items():
            if isinstance(value, Variable):
                value = value.value
            if isinstance(value, Tensor) and value.trace is not None:
                self.extra[name] = value
            else:
                self.constants[name] = value

    def _predictions(self, result: Any) -> None:
        leaves = [t if isinstance(t, Tensor) else Tensor(self.trace.lift(t), self.trace) for t in tree.flatten(result)]
        nodes = [Tensor(self.trace.lift(t), self.trace) for t in leaves]
        self.prediction = tree.pack_sequence_as(result, [_type(t) for t in nodes])
        for t in nodes:
            if self.rows is None:
                self.results.append(t)
                continue
            if not t.shape or t.shape[0] != self.rows.batch:
                raise UnbatchedOutput(
                    f"predict_step of {self.model.name!r} returned shape {t.shape} for {self.rows.batch} samples"
                )
            count = next(leaf.shape[0] for leaf in tree.flatten(self.data) if leaf is not None)
            whole = self.trace.input(TensorType((count, *t.shape[1:]), t.dtype), f"prediction{len(self.results)}")
            node = self.trace.builder.dynamic_update_slice(whole.data, t.data, *self._starts(len(t.shape)))
            self.donated[len(self.results)] = whole.data  # type: ignore[assignment]
            self.results.append(Tensor(node, self.trace))

    # -- end ---------------------------------------------------------------------------------------
    def check_variables(self) -> None:
        """A layer made anew in every `call` would start from fresh random weights that nothing trains."""
        known = {id(v) for v in self.model.variables}
        lost = [v for v in self.trace.created if v.trainable and v in self.trace.reads and id(v) not in known]
        if lost:
            raise ValueError(
                f"While the {self.mode} step of {self.model.name!r} was traced, variables were created that do not "
                f"belong to the model: {[v.path for v in lost]}. They would never be trained or saved. Create layers "
                "and weights in `__init__` or `build` and keep them in an attribute; `call` only uses them."
            )

    def finish(self, interpret: bool) -> StepProgram:
        trace = self.trace
        writes = trace.writes
        for variable in writes:
            if variable not in trace.reads:  # assigned without being read: it still needs its memory
                node = trace.builder.input(TensorType(tuple(variable.shape), variable._dtype), variable.path)
                trace.reads[variable] = node
        variables = tuple(trace.reads)
        outputs = [*self.results, *writes.values(), *self.extra.values()]
        graph = trace.finish(outputs, f"{self.mode}_step of {self.model.name}")
        position = {node: i for i, node in enumerate(graph.inputs)}
        aliases = {i: position[node] for i, node in self.donated.items()}
        first = len(self.results)
        aliases.update({first + i: position[trace.reads[v]] for i, v in enumerate(writes)})
        own = [
            np.zeros(node.type.shape, dtype=numpy_dtype(node.type.dtype))
            for i, node in enumerate(graph.outputs)
            if i not in aliases
        ]
        logs = dict(zip(self.extra, own[len(own) - len(self.extra) :], strict=True))
        checks, covered = index_checks(graph, sum(leaf is not None for leaf in tree.flatten(self.data)))
        executable = executor.compile(graph, aliases, interpret=interpret)
        return StepProgram(
            index_checks=checks,
            guarded=covered,
            executable=executable,
            names=Names(executable.graph, graph),
            variables=variables,
            written=frozenset(i for i, v in enumerate(variables) if v in writes),
            aliases=aliases,
            log_arrays=logs,
            log_constants=self.constants,
            state_logs=self.state_logs,
            prediction=self.prediction,
            result_arrays=own,
        )


def _labels(data: Any) -> list[str]:
    """One name per leaf of a packed batch: x, y['a'], sample_weight ..."""
    found = []
    parts = utils.unpack_x_y_sample_weight(data)
    for label, part in zip(("x", "y", "sample_weight"), parts, strict=True):
        found += [label + "".join(f"[{p!r}]" for p in path) for path, _ in tree.flatten_with_path(part)]
    return found


def _type(x: Any) -> TensorType:
    dtype = x.dtype
    return TensorType(tuple(x.shape), dtype if isinstance(dtype, str) else dtype.name)


def _flat_logs(logs: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in logs.items():
        flat.update(_flat_logs(value) if isinstance(value, Mapping) else {name: value})
    return flat


def _same(a: Any, b: Any) -> bool:
    """Whether two log values are one node of the graph (or one concrete value)."""
    if isinstance(a, Variable) or isinstance(b, Variable):
        return a is b
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.data is b.data
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and np.array_equal(a, b)
