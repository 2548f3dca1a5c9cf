"""Steps whose Python code asks for values: a tree of compiled paths, one batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.backend.executor import Piece
from graphkeras.backend.guarded import StateGrown
from graphkeras.backend.paths import PathTree, Recorded
from graphkeras.core import tree
from graphkeras.core.trace import Trace, eager
from graphkeras.trainers.step import Rows, StepTracer, UnbatchedOutput, forget_losses


@dataclass
class _Report:
    """What the outputs of a path stand for."""

    prediction: Any
    names: tuple[str, ...]  # logs that are outputs
    constants: dict[str, Any]
    state_logs: bool


@dataclass(frozen=True)
class _Spec:
    """Shape and dtype of one input."""

    shape: tuple[int, ...]
    dtype: str


class DynamicStep:
    """A step of `model` as a tree of paths: the same interface as StepProgram.

    Args:
        model, mode, data, rows: as for `trace_step`.
    """

    written: frozenset[int] = frozenset()

    def __init__(self, model: Any, mode: str, data: Any, rows: Rows | None) -> None:
        if rows is not None and mode == "predict":
            raise UnbatchedOutput(
                f"predict_step of {model.name!r} decides on values: its outputs are known batch by batch"
            )
        self.model, self.mode, self.rows = model, mode, rows
        self.batch = tree.map_structure(lambda a: None if a is None else _spec(a, rows), data)
        trees = model.__dict__.setdefault("_path_trees", {})
        key = (mode, tuple(tree.flatten(self.batch)), str(tree.map_structure(lambda _: 0, self.batch)))
        if key not in trees:
            trees[key] = PathTree(f"{mode}_step of {model.name}", self._record)
        self.tree: PathTree = trees[key]
        self.report: _Report | None = None
        self.results: list[np.ndarray] = []

    def pieces(self) -> list[Piece]:
        """What to look at to explain the step: the segments of its tree."""
        return self.tree.pieces()

    @property
    def prediction(self) -> Any:
        """Structure of the last predictions."""
        return None if self.report is None else self.report.prediction

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Kernels check indices themselves, and state changes only after the last of them."""

    def run(self, arrays: Sequence[np.ndarray], steps: int = 1) -> None:
        """Run `steps` steps; arrays as for StepProgram."""
        if self.rows is None:
            self._step(list(arrays))
            return
        size, offset = self.rows.batch, arrays[-1]
        count = len(arrays) - 1 - self.rows.shuffled
        for _ in range(steps):
            first = int(offset)
            rows = arrays[count][first : first + size] if self.rows.shuffled else slice(first, first + size)
            self._step([a[rows] for a in arrays[:count]])
            offset[()] = first + size

    def _step(self, batch: list[np.ndarray]) -> None:
        self.report, self.results = self.tree.run(batch)

    def _record(self, trace: Trace) -> Recorded:
        tracer = StepTracer(self.model, self.mode, self.batch, None, trace)
        known = self._trained()
        try:
            tracer.record()
        except ValueError:  # perhaps the optimizer was given variables of a layer that was built just now
            if self._trained() == known:
                raise
        finally:
            forget_losses(self.model)
        if self._trained() != known:
            with eager():
                self.model._adopt_new_variables()
            raise StateGrown
        report = _Report(tracer.prediction, tuple(tracer.extra), tracer.constants, tracer.state_logs)
        return Recorded([*tracer.results, *tracer.extra.values()], report)

    def _trained(self) -> list[int]:
        return [id(v) for v in self.model.trainable_variables] if self.mode == "train" else []

    def logs(self, model: Any) -> dict[str, Any]:
        """What the last step reported."""
        assert self.report is not None
        if self.report.state_logs:
            return model._metric_logs()
        return {**dict(zip(self.report.names, self.results, strict=True)), **self.report.constants}

    def outputs(self) -> Any:
        """The predictions of the last step."""
        assert self.report is not None
        return tree.pack_sequence_as(self.report.prediction, [a.copy() for a in self.results])


def _spec(array: Any, rows: Rows | None) -> _Spec:
    shape = tuple(array.shape) if rows is None else (rows.batch, *array.shape[1:])
    return _Spec(shape, array.dtype if isinstance(array.dtype, str) else array.dtype.name)
