"""`model.explain()`: layers, the kernels they became, and each one's share of time, bytes and flops."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers

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


def test_nothing_to_explain_before_fit():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="fresh")
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"'fresh' has no compiled train step.*`fit\(\)`"):
        model.explain()
