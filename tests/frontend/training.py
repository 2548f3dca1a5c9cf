"""A small regression problem, a linear model for it, and what plain SGD makes of the two, in NumPy."""

from __future__ import annotations

import numpy as np

import graphkeras as keras


def data(n=50, features=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)).astype("float32")
    return x, (x @ np.arange(1.0, features + 1.0)[:, None]).astype("float32")


def linear(features=4, units=1, **compiled):
    model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(units, use_bias=False)])
    model.compile(**{"optimizer": keras.optimizers.SGD(0.05), "loss": "mse", **compiled})
    return model


def numpy_sgd(kernel, x, y, batch, epochs, rate=0.05, weight=None):
    """Weights and mean loss of each epoch of plain SGD on the weighted mean square."""
    losses = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch):
            xb, yb = x[start : start + batch], y[start : start + batch]
            w = np.ones((len(xb), 1)) if weight is None else weight[start : start + batch, None]
            error = xb @ kernel - yb
            total += float((w * error**2).mean()) * len(xb)
            kernel = kernel - rate * 2 * xb.T @ (w * error) / len(xb)
        losses.append(total / len(x))
    return kernel, losses
