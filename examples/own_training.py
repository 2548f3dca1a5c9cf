"""Everything of one's own: layer, loss, metric, callback, and a `train_step`, which is compiled like the built-in one.

Robust regression on scikit-learn's diabetes data with some spoiled targets: the step clips what single samples
contribute, the loss is smooth near zero and linear far away.
"""

import os

import numpy as np
from sklearn.datasets import load_diabetes

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ


class Residual(layers.Layer):
    """x + Dense(relu(Dense(x))), scaled by a learned number that starts at zero."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape):
        self.inner = layers.Dense(self.width, activation="relu")
        self.outer = layers.Dense(input_shape[-1])
        self.scale = self.add_weight(shape=(), initializer="zeros", name="scale")

    def call(self, x):
        return x + self.scale * self.outer(self.inner(x))


class LogCosh(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.mean(ops.log(ops.cosh(y_pred - y_true)), axis=-1)


class MedianError(keras.metrics.Metric):
    """Mean over the batches of the median absolute error."""

    def __init__(self, name="median_error", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.batches = self.add_weight(name="batches", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(ops.median(ops.abs(y_true - y_pred)))
        self.batches.assign_add(1.0)

    def result(self):
        return self.total / ops.maximum(self.batches, 1.0)


class Robust(keras.Model):
    """Trains with the gradients of a loss in which no sample weighs more than `limit`."""

    def __init__(self, limit=2.0):
        super().__init__()
        self.limit = limit
        self.blocks = [Residual(32), Residual(32)]
        self.head = layers.Dense(1)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def train_step(self, data):
        x, y = data
        with keras.GradientTape() as tape:
            y_pred = self(x, training=True)
            error = ops.abs(ops.stop_gradient(y_pred) - y)
            weight = ops.minimum(1.0, self.limit / (error[:, 0] + 1e-6))
            loss = self.compute_loss(x, y, y_pred, sample_weight=weight)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


class Note(keras.callbacks.Callback):
    """Keeps the learned scales of the blocks after every epoch."""

    def on_train_begin(self, logs=None):
        self.scales = []

    def on_epoch_end(self, epoch, logs=None):
        self.scales.append([float(block.scale) for block in self.model.blocks])


def main():
    keras.utils.set_random_seed(3)
    x, y = load_diabetes(return_X_y=True)
    x, y = (x / x.std(axis=0)).astype("float32"), ((y - y.mean()) / y.std()).astype("float32")[:, None]
    train, test = slice(0, 340), slice(340, None)
    spoiled = y[train].copy()
    spoiled[::10] += 20  # wrong targets that a squared loss would follow
    model = Robust()
    model.compile(keras.optimizers.Adam(3e-3), loss=LogCosh(), metrics=[MedianError()])
    note = Note()
    history = model.fit(x[train], spoiled, epochs=5 if QUICK else 40, batch_size=32, verbose=0, callbacks=[note])
    error = float(np.median(np.abs(model.predict(x[test], verbose=0) - y[test])))
    guess = float(np.median(np.abs(spoiled.mean() - y[test])))
    print(f"loss {history.history['loss'][0]:.3f} -> {history.history['loss'][-1]:.3f}, scales {note.scales[-1]}")
    print(f"median error on clean test data {error:.3f} (always the mean of the training targets: {guess:.3f})")
    assert error < (guess if QUICK else 0.6)
    return error


if __name__ == "__main__":
    main()
