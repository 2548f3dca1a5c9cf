"""Forecasting a time series from windows: a PyDataset, a learning-rate schedule, and training that is interrupted.

Made data: two waves and noise. Training is stopped half-way, saved, loaded and carried on; the result has the same bits
as training in one go.
"""

import os
import tempfile

import numpy as np

import graphkeras as keras
from graphkeras import layers

QUICK = "GRAPHKERAS_QUICK" in os.environ
WINDOW, AHEAD = 32, 4


class Windows(keras.utils.PyDataset):
    """Batches of (WINDOW, 1) values and the value AHEAD steps after them."""

    def __init__(self, series, batch_size=64, **kwargs):
        super().__init__(**kwargs)
        self.series, self.batch_size = series, batch_size
        self.count = len(series) - WINDOW - AHEAD + 1

    def __len__(self):
        return -(-self.count // self.batch_size)

    def __getitem__(self, index):
        starts = np.arange(index * self.batch_size, min((index + 1) * self.batch_size, self.count))
        x = self.series[starts[:, None] + np.arange(WINDOW)][..., None]
        return x, self.series[starts + WINDOW + AHEAD - 1][:, None]


def make_series(count=2600):
    t = np.arange(count)
    rng = np.random.default_rng(0)
    return (np.sin(t / 9) + 0.5 * np.sin(t / 23 + 1) + 0.1 * rng.normal(size=count)).astype("float32")


def build_model():
    keras.utils.set_random_seed(8)
    model = keras.Sequential(
        [
            keras.Input((WINDOW, 1)),
            layers.Conv1D(16, 5, padding="causal", activation="relu"),
            layers.GRU(24),
            layers.Dense(1),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, decay_steps=300, alpha=0.05)
    model.compile(keras.optimizers.Adam(schedule), "mse", metrics=["mae"])
    return model


def main():
    series = make_series()
    train, test = Windows(series[:2000]), Windows(series[2000:])
    epochs = 2 if QUICK else 8
    model = build_model()
    model.fit(train, epochs=epochs, shuffle=False, verbose=2)
    error = model.evaluate(test, verbose=0)[1]

    interrupted = build_model()
    interrupted.fit(train, epochs=epochs // 2, shuffle=False, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "half.keras")
        interrupted.save(path)
        resumed = keras.models.load_model(path)
    resumed.fit(train, epochs=epochs, initial_epoch=epochs // 2, shuffle=False, verbose=0)
    same = all(np.array_equal(a, b) for a, b in zip(model.get_weights(), resumed.get_weights(), strict=True))

    naive = float(np.abs(test.series[WINDOW + AHEAD - 1 :] - test.series[WINDOW - 1 : -AHEAD]).mean())
    print(f"mean absolute error {error:.3f}; repeating the last value: {naive:.3f}")
    print(f"interrupted and resumed: {'the same bits' if same else 'DIFFERENT WEIGHTS'}")
    assert same and error < naive * (1.5 if QUICK else 0.6)
    return error


if __name__ == "__main__":
    main()
