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


# how often the update moves all weights: weight and moments are read and written, the gradient is read
PASSES = {
    "sgd": (lambda: keras.optimizers.SGD(1e-2), 3, {}),
    "momentum": (lambda: keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True), 5, {}),
    "adam": (lambda: keras.optimizers.Adam(1e-3), 7, {}),
    "amsgrad": (lambda: keras.optimizers.Adam(1e-3, amsgrad=True), 9, {}),
    "adamw": (lambda: keras.optimizers.AdamW(1e-3), 7, {}),
    "adamax": (lambda: keras.optimizers.Adamax(1e-3), 7, {}),
    "nadam": (lambda: keras.optimizers.Nadam(1e-3), 7, {}),
    "adagrad": (lambda: keras.optimizers.Adagrad(1e-3), 5, {}),
    "adadelta": (lambda: keras.optimizers.Adadelta(1e-3), 7, {}),
    "rmsprop": (lambda: keras.optimizers.RMSprop(1e-3, momentum=0.9, centered=True), 9, {}),
    "ftrl": (lambda: keras.optimizers.Ftrl(1e-3), 7, {}),
    "lion": (lambda: keras.optimizers.Lion(1e-3), 5, {}),
    "clipped values": (lambda: keras.optimizers.Adam(1e-3, clipvalue=0.1), 7, {}),
    "clipped by the global norm": (lambda: keras.optimizers.Adam(1e-3, global_clipnorm=0.1), 8, {}),
    "decay": (lambda: keras.optimizers.Adam(1e-3, weight_decay=0.01), 7, {}),
    "average": (lambda: keras.optimizers.Adam(1e-3, use_ema=True), 9, {}),
    "accumulation": (lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=4), 9, {}),
    "loss scale": (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)), 7, {}),
    "constraint": (lambda: keras.optimizers.Adam(1e-3), 7, {"kernel_constraint": "non_neg"}),
}


@pytest.mark.parametrize("case", PASSES)
def test_an_update_is_one_pass_over_weights_and_state(case):
    make, arrays, options = PASSES[case]
    stack = [layers.Dense(200 + i, "relu", use_bias=not options, **options) for i in range(3)]
    model = keras.Sequential([keras.Input((INPUTS,)), *stack], name="net")
    model.compile(make(), "mse")
    model.fit(np.ones((ROWS, INPUTS)), np.ones((ROWS, 202)), verbose=0)
    rows = [row for row in model.profile() if row.phase == "update"]
    size = 4.0 * sum(v.value.size for v in model.trainable_variables)
    assert sum(row.nbytes for row in rows) <= arrays * size * 1.02 + 1000
    assert len([row for row in rows if row.nbytes > 1.5 * size]) == 1
