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


def test_times_can_be_measured_again(model):
    x, y = np.zeros((70 * ROWS, INPUTS)), np.zeros((70 * ROWS, 2))

    def times():
        return [row.seconds for row in model.profile()]

    model.fit(x, y, batch_size=ROWS, verbose=0)
    before = times()
    model.fit(x, y, batch_size=ROWS, verbose=0)
    assert times() == before  # 64 steps are enough
    model.reset_profile()
    assert not any(times())
    model.fit(x, y, batch_size=ROWS, verbose=0)
    assert len(times()) == len(before) and all(times()) and times() != before


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


def trained(names, title, activation="relu", separate=False):
    """A model of two Dense layers with these names; `separate` makes the activation a layer of its own."""
    middle = [layers.Activation(activation, name=names[1])] if separate else []
    wide = layers.Dense(UNITS, None if separate else activation, name=names[0])
    stack = [keras.Input((INPUTS,)), wide, *middle, layers.Dense(2, name=names[-1])]
    made = keras.Sequential(stack, name=title)
    made.compile(keras.optimizers.Adam(name=f"rule_of_{title}"), "mse")
    made.fit(np.zeros((4 * ROWS, INPUTS)), np.zeros((4 * ROWS, 2)), batch_size=ROWS, verbose=0)
    return made


def names_in(rows):
    return {x for row in rows for x in (row.layer, *row.layers) if x}


def test_equal_models_share_a_program_and_keep_their_names(capsys):
    first, second = trained(("a1", "a2"), "first"), trained(("b1", "b2"), "second")
    executables = {p.executable for m in (first, second) for p in m.__dict__["_programs"].values()}
    assert len(executables) == 1
    for model, letter, other in ((second, "b", "a"), (first, "a", "b")):
        found = names_in(model.profile())
        assert {f"{letter}1", f"{letter}2", f"rule_of_{model.name}"} <= found
        assert not {f"{other}1", f"{other}2"} & found
        assert {row.phase for row in model.profile() if f"{letter}1" in row.layers} >= {"forward", "backward"}
        model.explain(kernels=True, reasons=True)
        text = capsys.readouterr().out
        assert f"{letter}1 " in text and f"{other}1" not in text and f"{other}2" not in text


def test_layers_that_are_cut_otherwise_share_no_program():
    """One layer of the first would stand for two of the second: names could not be told apart."""
    one, two = trained(("a1", "a2"), "one"), trained(("b1", "bend", "b2"), "two", separate=True)
    assert {"a1", "a2"} <= names_in(one.profile())
    assert {"b1", "bend", "b2"} <= names_in(two.profile())


def test_names_of_loops_are_those_of_the_model():
    def recurrent(prefix):
        stack = [keras.Input((5, 3)), layers.LSTM(4, name=prefix + "_lstm"), layers.Dense(1, name=prefix + "_end")]
        made = keras.Sequential(stack, name=prefix)
        made.compile("sgd", "mse")
        made.fit(np.zeros((16, 5, 3)), np.zeros((16, 1)), batch_size=8, verbose=0)
        return made

    for model in (recurrent("red"), recurrent("blue")):
        loops = [row for row in model.profile() if row.kernel.startswith("loop")]
        assert {row.phase for row in loops} == {"forward", "backward"}
        assert {row.layer for row in loops} == {f"{model.name}_lstm"}
        assert {f"{model.name}_lstm", f"{model.name}_end"} <= names_in(model.profile())
        other = "blue" if model.name == "red" else "red"
        assert not any(name.startswith(other) for name in names_in(model.profile()))


def test_an_error_in_a_shared_program_names_the_layer_of_the_model_that_ran():
    class Look(keras.Model):
        def __init__(self, name):
            super().__init__(name=name)
            self.table = layers.Embedding(10, 3, name=f"table_of_{name}")

        def call(self, tokens):
            return keras.ops.sum(self.table(tokens + 1), axis=1)  # no check of the data sees this index

    models = [Look(name) for name in ("left", "right")]
    for model in models:
        model.compile("sgd", "mse")
        model.fit(np.zeros((8, 2), "int32"), np.zeros((8, 3), "float32"), batch_size=8, verbose=0)
    for model in reversed(models):
        with pytest.raises(IndexError, match=f"table_of_{model.name}.*index 10"):
            model.fit(np.full((8, 2), 9, "int32"), np.zeros((8, 3), "float32"), batch_size=8, verbose=0)


class Deciding(keras.Model):
    """Its step depends on a value; `values` makes Python use it."""

    def __init__(self, values=False, name="deciding"):
        super().__init__(name=name)
        self.values = values
        self.inner, self.end = layers.Dense(8, name="inner"), layers.Dense(1, name="end")

    def call(self, x):
        y = self.inner(x)
        if self.values:
            return self.end(y * float(keras.ops.mean(x)))
        if keras.ops.mean(x) > 0:
            y = keras.ops.tanh(y)
        return self.end(y)


def test_a_step_that_decides_is_shown_by_segments(capsys):
    model = Deciding()
    model.compile("sgd", "mse")
    x = np.concatenate([np.ones((8, 4)), -np.ones((8, 4))])
    model.fit(x, np.zeros((16, 1)), batch_size=8, shuffle=False, verbose=0)
    by_segment = {}
    for row in model.profile():
        by_segment.setdefault(row.segment, []).append(row)
    assert len(by_segment) == 3
    (root,) = [s for s in by_segment if "up to a decision in test_explain.py" in s]
    (positive,) = [s for s in by_segment if "gave True, to the end" in s]
    (negative,) = [s for s in by_segment if "gave False, to the end" in s]
    assert next(iter(by_segment)) == root
    work = {s: sum(row.operations for row in rows) for s, rows in by_segment.items()}
    assert work[positive] > work[negative]  # tanh and its gradient
    assert "end" in names_in(by_segment[positive]) and "end" in names_in(by_segment[negative])
    model.explain(roof=True, reasons=True)
    text = capsys.readouterr().out
    assert all(segment in " ".join(text.split()) for segment in by_segment)


def test_a_step_that_hands_values_to_python_is_shown_by_parts(capsys):
    model = Deciding(values=True)
    model.compile("sgd", "mse")
    model.fit(np.ones((32, 4)), np.zeros((32, 1)), batch_size=8, verbose=0)
    assert {"inner", "end"} <= names_in(model.profile())
    model.explain()
    assert "handed values to Python" in capsys.readouterr().out
