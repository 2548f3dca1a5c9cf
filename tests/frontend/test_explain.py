"""`model.explain()`: layers, the kernels they became, and each one's share of time, bytes and flops."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers
from graphkeras.codegen.cpu import roof

ROWS, INPUTS, UNITS = 32, 40, 24


@pytest.fixture
def model():
    stack = [keras.Input((INPUTS,)), layers.Dense(UNITS, "relu", name="wide"), layers.Dense(2)]
    made = keras.Sequential(stack, name="net")
    made.compile("adam", "mse")
    made.fit(np.zeros((4 * ROWS, INPUTS)), np.zeros((4 * ROWS, 2)), batch_size=ROWS, verbose=0)
    return made


def test_the_screen_says_where_time_bytes_and_flops_go(model, capsys):
    model.explain()
    text = capsys.readouterr().out
    head = next(line for line in text.splitlines() if line.startswith("layers"))
    assert head.split() == ["layers", "phase", "kernels", "time", "share", "flops", "bytes", "GFLOP/s", "GB/s"]
    assert sum(map(float, re.findall(r"([\d.]+) %", text))) == pytest.approx(100, abs=1)
    wide = next(line for line in text.splitlines() if line.startswith("wide ") and "forward" in line)
    assert re.search(r" dot_\S+ +[\d.]+ us +[\d.]+ % +[\d.]+ k +[\d.]+ k ", wide), wide
    assert re.search(r"\d+ graph operations became \d+ kernels", text)
    assert max(map(len, text.splitlines())) <= 120


def test_the_work_of_a_dense_layer_is_counted(model):
    (row,) = [r for r in model.profile() if (r.layer, r.phase) == ("wide", "forward")]
    product = 2 * ROWS * INPUTS * UNITS
    assert product <= row.flops <= 1.1 * product  # bias and activation are part of the kernel
    assert row.nbytes >= 4 * (ROWS * INPUTS + INPUTS * UNITS + UNITS + ROWS * UNITS)


def test_shares_of_the_roof_are_shown_where_asked_for(model, capsys):
    for row in model.profile():
        assert row.seconds > 0 and row.roof > 0
    model.explain(roof=True)
    text = capsys.readouterr().out
    head = next(line for line in text.splitlines() if line.startswith("layers"))
    assert head.endswith("GB/s  of roof")
    wide = next(line for line in text.splitlines() if line.startswith("wide ") and "forward" in line)
    (row,) = [r for r in model.profile() if (r.layer, r.phase) == ("wide", "forward")]
    assert float(re.search(r"(\d+) %$", wide)[1]) == pytest.approx(100 * row.roof, abs=0.51)


def test_the_roof_is_that_of_flops_or_of_bytes_and_explain_measures_nothing(model, capsys, monkeypatch):
    asked = []

    def measure(threads, tries):
        asked.append(threads)
        return roof.Roof(flops_one=1e9, flops=2e9, bytes_one=1e9, bytes=4e9)

    monkeypatch.setattr(roof, "measure", measure)
    model.explain()
    assert not asked and "of roof" not in capsys.readouterr().out
    for row in model.profile():
        assert row.roof == pytest.approx(max(row.flops / 2e9, row.nbytes / 4e9) / row.seconds)
    assert asked


def test_reasons_say_why_operations_are_one_kernel_and_others_are_not(model, capsys):
    model.explain(kernels=True, reasons=True)
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"  dot_\S+: product \+ epilogue", line) for line in lines)
    refusals = [text for row in model.profile() for text in row.refusals]
    assert refusals and all(any(text[:40] in line for line in lines) for text in refusals)


def test_nothing_to_explain_before_fit():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="fresh")
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"'fresh' has no compiled train step.*`fit\(\)`"):
        model.explain()
