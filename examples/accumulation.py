"""Gradient accumulation: large batches in small pieces, in three ways that all equal training with the large batch.

1. a loop over pieces inside `train_step`, 2. a training loop of one's own around two compiled functions, 3. the
argument `gradient_accumulation_steps` of every optimizer. A wine classifier on scikit-learn's data is the subject.
"""

import os

import numpy as np
from sklearn.datasets import load_wine

import graphkeras as keras
from graphkeras import layers

QUICK = "GRAPHKERAS_QUICK" in os.environ
BATCH, PIECES = 48, 4
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class InPieces(keras.Model):
    """Takes the gradient of each quarter of the batch on its own, so that a quarter of the memory is enough."""

    def train_step(self, data):
        x, y = data
        size = BATCH // PIECES
        totals = [0.0] * len(self.trainable_variables)
        for i in range(PIECES):
            rows = slice(i * size, (i + 1) * size)
            with keras.GradientTape() as tape:
                y_pred = self(x[rows], training=True)
                loss = self.compute_loss(x[rows], y[rows], y_pred) / PIECES
            gradients = tape.gradient(loss, self.trainable_variables)
            totals = [t + g for t, g in zip(totals, gradients, strict=True)]
            self.compute_metrics(x[rows], y[rows], y_pred)
        self.optimizer.apply(totals, self.trainable_variables)
        return {m.name: m.result() for m in self.metrics if m.name != "loss"}


def build(cls=keras.Model):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((13,))
    return cls(inputs, layers.Dense(3)(layers.Dense(32, activation="relu")(inputs)))


def adam(**more):
    return keras.optimizers.Adam(1e-2, **more)


def written_out(model, x, y, epochs):
    """A loop of one's own: one compiled function adds up gradients, another one applies them."""
    optimizer, variables = adam(), model.trainable_variables
    sums = [keras.Variable(np.zeros(v.shape, "float32"), trainable=False) for v in variables]

    @keras.function
    def add(x, y):
        with keras.GradientTape() as tape:
            loss = LOSS(y, model(x, training=True)) / PIECES
        for total, gradient in zip(sums, tape.gradient(loss, variables), strict=True):
            total.assign_add(gradient)

    @keras.function
    def update():
        optimizer.apply([s.value for s in sums], variables)
        for total in sums:
            total.assign(keras.ops.zeros_like(total))

    optimizer.build(variables)
    size = BATCH // PIECES
    for _ in range(epochs):
        for piece in range(len(x) // size):
            rows = slice(piece * size, (piece + 1) * size)
            add(x[rows], y[rows])
            if (piece + 1) % PIECES == 0:
                update()


def main():
    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[: 3 * BATCH]
    x, y = ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32")[order], y[order].astype("int32")
    epochs = 5 if QUICK else 20

    def fit(model, optimizer, batch):
        model.compile(optimizer, LOSS, metrics=["accuracy"])
        model.fit(x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0)
        assert model.profile()  # the step ran as compiled kernels
        return model

    large = fit(build(), adam(), BATCH)
    pieces = fit(build(InPieces), adam(), BATCH)
    argument = fit(build(), adam(gradient_accumulation_steps=PIECES), BATCH // PIECES)
    own = build()
    written_out(own, x, y, epochs)
    accuracy = large.evaluate(x, y, verbose=0)[1]
    print(f"accuracy with batches of {BATCH}: {accuracy:.3f}")
    worst = 0.0
    for name, model in (("loop in train_step", pieces), ("loop written out", own), ("argument", argument)):
        pairs = zip(large.get_weights(), model.get_weights(), strict=True)
        apart = max(float(np.abs(a - b).max()) for a, b in pairs)
        worst = max(worst, apart)
        print(f"{name}: weights differ by at most {apart:.1e}")
    assert worst < 1e-5 and accuracy > (0.9 if QUICK else 0.97)
    return worst


if __name__ == "__main__":
    main()
