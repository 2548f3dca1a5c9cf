"""Frozen and thawed layers between two fits: optimizer slots and moving averages stay with their variables."""

from __future__ import annotations

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers

pytestmark = pytest.mark.filterwarnings("ignore:The `trainable` state")
X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X[:, :1] - 0.5 * X[:, 1:2]


def build(optimizer):
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, "tanh", name="first"), layers.Dense(3), layers.Dense(1)]
    )
    model.compile(optimizer, "mse")
    return model


def fit(model, epochs=1, **more):
    return model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, **more)


def test_slots_of_a_frozen_layer_are_kept():
    model = build(keras.optimizers.SGD(0.05, momentum=0.9))
    fit(model)
    slots = {v.path: v.numpy() for v in model.optimizer.variables}
    model.layers[0].trainable = False
    frozen = model.layers[0].get_weights()
    fit(model)
    for path, value in {v.path: v.numpy() for v in model.optimizer.variables}.items():
        if "momentum" in path:
            assert np.array_equal(value, slots[path]) == ("first" in path), path
    for before, after in zip(frozen, model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_layers_that_begin_frozen_get_slots_when_they_thaw():
    """Two layers whose weights have one path: each keeps the momentum that is its own."""

    class Three(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [layers.Dense(3, name="same") for _ in range(3)]
            self.end = layers.Dense(1)
            for part in self.parts:  # outside of the model's scope: all weights get the path same/kernel
                part.build((None, 4))

        def call(self, x):
            return self.end(keras.ops.concatenate([part(x) for part in self.parts], axis=-1))

    keras.utils.set_random_seed(1)
    optimizer, model = keras.optimizers.SGD(0.05, momentum=0.9), Three()
    first, second, third = model.parts
    assert first.kernel.path == second.kernel.path
    model.compile(optimizer, "mse")
    first.trainable = third.trainable = False
    fit(model)
    momentum = {id(v): s.numpy() for v, s in zip(optimizer._trainable_variables, optimizer.momentums, strict=True)}
    first.trainable = True
    model._grow_optimizer()
    third.trainable = True
    model._grow_optimizer()
    assert [id(v) for v in optimizer._trainable_variables] == [id(v) for v in model.trainable_variables]
    for variable, slot in zip(optimizer._trainable_variables, optimizer.momentums, strict=True):
        expected = momentum.get(id(variable), np.zeros(variable.shape))
        np.testing.assert_array_equal(slot.numpy(), expected, err_msg=variable.path)
    assert any(np.abs(m).max() > 0 for m in momentum.values())
    fit(model)


def test_moving_averages_with_a_frozen_layer():
    model = build(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5))
    fit(model)
    model.layers[0].trainable = False
    frozen = model.layers[0].get_weights()
    fit(model, epochs=2)
    for before, after in zip(frozen, model.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    averages = dict(
        zip(map(id, model.optimizer._trainable_variables), model.optimizer._model_variables_moving_average, strict=True)
    )
    for variable in model.trainable_weights:
        np.testing.assert_allclose(variable.numpy(), averages[id(variable)].numpy(), rtol=1e-6)


def test_frozen_by_a_callback_between_epochs_counts_at_the_next_fit():
    model = build("sgd")

    class Freeze(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.layers[0].trainable = False

    start = model.layers[0].kernel.numpy()
    fit(model, epochs=2, callbacks=[Freeze()])
    after = model.layers[0].kernel.numpy()
    assert np.abs(after - start).max() > 0
    fit(model)
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), after)


def test_frozen_layers_add_no_regularization():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1, kernel_regularizer=keras.regularizers.L2(10.0))(inputs))
    model.compile("sgd", "mse")
    heavy = model.evaluate(X, Y, verbose=0)
    model.layers[1].trainable = False
    assert model.evaluate(X, Y, verbose=0) < heavy
    assert model.losses == []
