"""Small programs as users write them, where something once went wrong."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")


class OwnStep(keras.Model):
    """Returns its loss under the name that the unused loss tracker has."""

    def __init__(self):
        super().__init__()
        self.head = layers.Dense(1)

    def call(self, x):
        return self.head(x)

    def train_step(self, data):
        x, y = data
        with keras.GradientTape() as tape:
            loss = ops.mean(ops.square(self(x, training=True) - y))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


@pytest.mark.parametrize("eagerly", [False, True])
def test_history_holds_the_loss_that_the_step_returned(eagerly):
    model = OwnStep()
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=eagerly)
    losses = model.fit(X, X[:, :1] + 1, epochs=3, verbose=0).history["loss"]
    assert 0 < losses[2] < losses[0]


def test_a_train_step_whose_batches_call_does_not_take():
    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.make = keras.Sequential([layers.Dense(4)])
            self.judge = keras.Sequential([layers.Dense(1)])

        def call(self, noise):
            if noise.shape[-1] != 2:
                raise ValueError("only noise")
            return self.make(noise)

        def train_step(self, real):
            noise = keras.random.normal((real.shape[0], 2), seed=3)
            with keras.GradientTape() as tape:
                loss = ops.mean(self.judge(self.make(noise))) - ops.mean(self.judge(real))
            variables = self.make.trainable_variables
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return {"gap": loss}

    model = Pair()
    model.compile(keras.optimizers.SGD(0.1))
    gaps = model.fit(X, epochs=3, verbose=0).history["gap"]
    assert gaps[2] < gaps[0]
    assert model.predict(X[:, :2], verbose=0).shape == (64, 4)


def test_normalization_adapts_to_a_table():
    pandas = pytest.importorskip("pandas")
    table, array = layers.Normalization(), layers.Normalization()
    table.adapt(pandas.DataFrame(X, columns=list("abcd")))
    array.adapt(X)
    np.testing.assert_array_equal(table(X).numpy(), array(X).numpy())


def test_a_model_of_two_inputs_trains_on_batches_of_a_generator():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], layers.Dense(1)(a - b))
    model.compile("adam", "mse")

    def batches():
        while True:
            yield (X[:32], X[32:]), np.zeros((32, 1))

    history = model.fit(batches(), steps_per_epoch=3, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
