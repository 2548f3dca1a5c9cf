"""What recurrent layers compile to: one kernel forwards, one backwards, for any length, with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.backend import executor
from graphkeras.codegen.cpu import cache, runner
from graphkeras.codegen.kernel import Instruction, Kernel, Loop
from graphkeras.codegen.program import Program
from graphkeras.codegen.schedule import all_calls, blocks

layers = keras.layers
BATCH, STEPS, FEATURES, UNITS = 32, 60, 12, 64


class Leaky(layers.Layer):
    """A cell of one's own: a product, a softmax over the units, and an output that is no state."""

    def __init__(self) -> None:
        super().__init__()
        self.state_size = UNITS

    def build(self, shape: Any) -> None:
        self.inner = self.add_weight(shape=(shape[-1], UNITS))
        self.outer = self.add_weight(shape=(UNITS, UNITS))

    def call(self, x: Any, states: Any) -> Any:
        h = 0.9 * states[0] + 0.1 * keras.ops.tanh(x @ self.inner + states[0] @ self.outer)
        return keras.ops.softmax(h), [h]


MAKERS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: layers.LSTM(UNITS),
    "lstm backwards": lambda: layers.LSTM(UNITS, go_backwards=True, return_sequences=True),
    "gru": lambda: layers.GRU(UNITS),
    "gru, gate before": lambda: layers.GRU(UNITS, reset_after=False, return_sequences=True),
    "simple": lambda: layers.SimpleRNN(UNITS),
    "dropout": lambda: layers.LSTM(UNITS, dropout=0.2, recurrent_dropout=0.3),
    "custom": lambda: layers.RNN(Leaky()),
    "stacked cells": lambda: layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS)]),
    "convolution": lambda: layers.ConvLSTM1D(16, 3),
}


def trained(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, mask: bool = False) -> list[Program]:
    """Programs of a model that was fitted for two steps."""
    keras.utils.set_random_seed(0)
    programs = []
    made = executor._make

    def noting(*arguments: Any) -> Any:
        result = made(*arguments)
        programs.append(result.program)
        return result

    monkeypatch.setattr(executor, "_make", noting)
    layer = make()
    shape = (STEPS, FEATURES, 2) if "Conv" in type(layer).__name__ else (STEPS, FEATURES)
    inputs = keras.Input(shape)
    x = layers.Masking(0.0)(inputs) if mask else inputs
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layer(x))))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2 * BATCH, *shape)).astype("float32")
    data[:, :3] = 0.0
    model.fit(data, rng.normal(size=(2 * BATCH, 1)), batch_size=BATCH, verbose=0)
    monkeypatch.undo()
    return programs


def loops_of(instructions: Any) -> list[Instruction]:
    found = [i for i in instructions if isinstance(i, Loop)]
    return found + [j for i in instructions for block in blocks(i) for j in loops_of(block)]


def recurrences(program: Program) -> list[Kernel]:
    return [c.kernel for c in all_calls(program.instructions) if c.kernel.parts]


@pytest.mark.parametrize(
    ("name", "mask"), [*((n, False) for n in MAKERS), *((n, True) for n in MAKERS if n != "convolution")]
)
def test_one_kernel_forwards_and_one_backwards(name: str, mask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    program = trained(MAKERS[name], monkeypatch, mask)[0]
    found = recurrences(program)
    assert len(found) == 2 and not loops_of(program.instructions)
    assert all(k.extent == 4 for k in found)  # rows shared by threads, 8 each


def test_both_directions_and_layers_on_top_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (
        lambda: layers.Bidirectional(layers.GRU(UNITS)),
        lambda: keras.Sequential([layers.LSTM(UNITS, return_sequences=True), layers.LSTM(UNITS)]),
    ):
        program = trained(make, monkeypatch)[0]
        assert len(recurrences(program)) == 4 and not loops_of(program.instructions)


def test_the_same_bits_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(runner, "thread_count", lambda n=threads: n)
        monkeypatch.setattr(Program, "_threads", lambda self, steps, n=threads: n if self.image.parallel else 1)
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.LSTM(UNITS), layers.Dense(1)])
        model.compile("adam", "mse")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(70, STEPS, FEATURES)), rng.normal(size=(70, 1))
        model.fit(x, y, batch_size=35, epochs=2, verbose=0)
        results.append([w.numpy() for w in model.weights] + [model.predict(x, verbose=0)])
        monkeypatch.undo()
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_twenty_lengths_compile_nothing_after_the_first(name: str) -> None:
    model = keras.Sequential([keras.Input((None, FEATURES)), MAKERS[name](), layers.Dense(1)])
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    compiled = []
    for length in range(30, 50):
        x = rng.normal(size=(BATCH, length, FEATURES)).astype("float32")
        model.train_on_batch(x, rng.normal(size=(BATCH, 1)))
        compiled.append(cache.counts.compiled)
    assert compiled[0] == compiled[-1]
