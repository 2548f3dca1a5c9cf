"""Every dynamic program: compiled as eager, gradients as finite differences, second visits for nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.programs.checks import Compiles, Runner, Trained, check_slopes, same
from tests.programs.record import load

FUNCTIONS, MODELS = load()


def test_there_are_enough_of_them() -> None:
    names = [p.name for p in (*FUNCTIONS, *MODELS)]
    assert len(names) == len(set(names)) >= 40


@pytest.mark.parametrize("program", FUNCTIONS, ids=lambda p: p.name)
def test_compiled_as_eager_and_second_visits(program) -> None:
    runner = Runner(program.make("float32"))
    expected = runner.run(runner.eager)
    same(runner.run(runner.compiled), expected)
    runner.run(runner.compiled)  # numbers that Python computes become inputs when they are seen to vary
    traces = runner.traces
    with Compiles() as again:
        same(runner.run(runner.compiled), expected)
    assert again.count == 0 and runner.traces == traces
    assert all(t.interactive == runner.case.values for t in runner.trees)
    assert runner.paths > 1 or runner.case.values or program.make.__module__.endswith("structured")


@pytest.mark.parametrize("program", FUNCTIONS, ids=lambda p: p.name)
def test_gradients_are_slopes(program) -> None:
    case = program.make("float64")
    if case.differentiable:
        check_slopes(case)


@pytest.mark.parametrize("program", MODELS, ids=lambda p: p.name)
def test_training_steps(program) -> None:
    case = program.make()
    eager, compiled = Trained(case, True), Trained(case, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no path limit, no gradient that is missing
        expected, found = eager.fit(), compiled.fit()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    for a, b in zip(compiled.model.get_weights(), eager.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    traces = compiled.traces
    with Compiles() as again:
        assert compiled.fit() == found
    assert again.count == 0 and compiled.traces == traces and compiled.paths > 1
