"""What belongs together is one kernel: softmax, layer norm, dense with bias and activation, all updates of Adam."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers

ROWS, INPUTS, UNITS = 32, 40, 24
ONE_KERNEL = {
    "softmax": lambda: layers.Softmax(name="it"),
    "layer norm": lambda: layers.LayerNormalization(name="it"),
    "dense, bias, activation": lambda: layers.Dense(32, "gelu", name="it"),
}


@pytest.mark.parametrize("case", ONE_KERNEL)
def test_one_kernel(case):
    model = keras.Sequential([keras.Input((INPUTS,)), ONE_KERNEL[case](), layers.Dense(2)], name="net")
    model.predict(np.zeros((ROWS, INPUTS), "float32"), verbose=0)
    assert len([row for row in model.profile("predict") if row.layer == "it"]) == 1


def test_all_updates_of_adam_are_one_kernel():
    stack = [layers.Dense(UNITS + i, "relu") for i in range(5)] + [layers.LayerNormalization(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((INPUTS,)), *stack], name="net")
    model.compile("adam", "mse")
    model.fit(np.zeros((ROWS, INPUTS)), np.zeros((ROWS, 2)), verbose=0)
    assert len([row for row in model.profile() if row.phase == "update"]) == 1
