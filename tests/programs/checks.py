"""The checks that every dynamic program has to pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import graphkeras as keras
from graphkeras import ops, tree
from graphkeras.backend import executor
from tests.programs.record import Case, Training


class Runner:
    """One program as a function of its arguments: results, and gradients where it has them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.start = [v.numpy().copy() for v in case.variables]

        def results(*args: Any) -> Any:
            if not case.differentiable:
                return case.fn(*args), ()
            with keras.GradientTape() as tape:
                args = tuple(_watch(tape, a) if i in case.wrt else a for i, a in enumerate(args))
                value = case.fn(*args)
                target = weighted(value)
            sources = [args[i] for i in case.wrt]
            return value, tape.gradient(target, sources, unconnected_gradients="zero")

        self.results = results
        self.compiled = keras.function(results)

    def reset(self) -> None:
        for variable, value in zip(self.case.variables, self.start, strict=True):
            variable.assign(value)

    def run(self, call: Callable[..., Any]) -> list[Any]:
        """Results for all inputs in turn, and the state at the end."""
        self.reset()
        found = [tree.map_structure(np.array, call(*args)) for args in self.case.inputs]
        return [*found, [v.numpy() for v in self.case.variables]]

    def eager(self, *args: Any) -> Any:
        return self.results(*_tensors(args))

    @property
    def trees(self) -> list[Any]:
        return list(self.compiled._trees.values())

    @property
    def traces(self) -> int:
        return sum(t.traces for t in self.trees)

    @property
    def paths(self) -> int:
        return sum(t.paths for t in self.trees)


def _tensors(args: Any) -> Any:
    return tree.map_structure(
        lambda x: ops.convert_to_tensor(x, dtype=x.dtype.name) if isinstance(x, np.ndarray) else x, args
    )


def _watch(tape: Any, value: Any) -> Any:
    return tree.map_structure(tape.tensor, value)


def weighted(value: Any) -> Any:
    """One number that depends on all float results."""
    floats = [x for x in tree.flatten(value) if "float" in str(x.dtype)]
    return sum(ops.sum(x * ops.cast(ops.cos(ops.reshape(ops.arange(x.size), x.shape)), x.dtype)) for x in floats)


def same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Whether two runs agree: results and state to 1e-6 of the largest element, float32 gradients to 1e-5."""
    *calls, state = zip(found, expected, strict=True)
    for (value, gradients), (wanted, slopes) in calls:
        _close(value, wanted, 1e-6)
        _close(gradients, slopes, 1e-5)
    _close(*state, 1e-6)


def _close(found: Any, expected: Any, tolerance: float) -> None:
    tree.assert_same_structure(found, expected)
    for a, b in zip(tree.flatten(found), tree.flatten(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))


def check_slopes(case: Case) -> None:
    """Gradients (interpreted, in float64) against differences along random directions."""
    runner = Runner(case)
    rng = np.random.default_rng(0)
    for position, args in enumerate(case.inputs):
        leaves = tree.flatten([args[i] for i in case.wrt])
        _bring_to(runner, position)
        gradients = tree.flatten(runner.eager(*args)[1])
        for _ in range(2):
            direction = [rng.normal(size=np.shape(x)) for x in leaves]
            slope = sum(float(np.sum(np.array(g) * d)) for g, d in zip(gradients, direction, strict=True))
            after, before = (_value_at(runner, position, direction, h) for h in (1e-6, -1e-6))
            np.testing.assert_allclose(slope, (after - before) / 2e-6, rtol=2e-5, atol=1e-7)


def _bring_to(runner: Runner, position: int) -> None:
    """The state in which the call at `position` finds the variables."""
    runner.reset()
    for args in runner.case.inputs[:position]:
        runner.case.fn(*_tensors(args))


def _value_at(runner: Runner, position: int, direction: Sequence[np.ndarray], step: float) -> float:
    case = runner.case
    args = list(case.inputs[position])
    moves = iter(direction)
    for i in case.wrt:
        args[i] = tree.map_structure(lambda x: np.asarray(x + step * next(moves)), args[i])
    _bring_to(runner, position)
    return float(weighted(case.fn(*_tensors(tuple(args)))))


class Compiles:
    """How many graphs have been compiled inside."""

    def __enter__(self) -> Compiles:
        self.before = executor.cache.compiled
        return self

    def __exit__(self, *exc: Any) -> None:
        self.count = executor.cache.compiled - self.before


class Trained:
    """A model that is trained again and again from the same weights."""

    def __init__(self, case: Training, eagerly: bool) -> None:
        self.case, self.model = case, case.model(eagerly)
        self.model(case.x[: case.batch_size])  # makes the weights
        self.start = self.model.get_weights()

    def fit(self) -> dict[str, list[float]]:
        case = self.case
        self.model.set_weights(self.start)
        options = {"batch_size": case.batch_size, "epochs": case.epochs, "shuffle": False, "verbose": 0}
        return self.model.fit(case.x, case.y, **options).history

    @property
    def trees(self) -> list[Any]:
        return list(self.model.__dict__.get("_path_trees", {}).values())

    @property
    def traces(self) -> int:
        return sum(t.traces for t in self.trees)

    @property
    def paths(self) -> int:
        return sum(t.paths for t in self.trees)
