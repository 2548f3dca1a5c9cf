"""Contrastive learning without labels (SimCLR, Chen et al. 2020): two views of one digit are to look alike.

The digits stand at random places of a canvas, so that pixels compare badly: the nearest neighbour by pixels is often a
digit that stands at the same place. The encoder, which has never seen a label, learns to look at the shape. Its
features are judged by the nearest neighbours among 300 labelled images.
"""

import os

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
SIZE = 14


def canvas(images, seed):
    """Each 8 x 8 image at a random place of a SIZE x SIZE canvas."""
    placed = np.zeros((len(images), SIZE, SIZE, 1), "float32")
    for i, (row, column) in enumerate(np.random.default_rng(seed).integers(0, SIZE - 7, size=(len(images), 2))):
        placed[i, row : row + 8, column : column + 8, 0] = images[i]
    return placed


def encoder():
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(64),
        ],
        name="encoder",
    )


class Contrastive(keras.Model):
    """An encoder trained so that views of one image agree more than views of different images."""

    def __init__(self, temperature=0.2):
        super().__init__()
        self.encoder = encoder()
        self.head = keras.Sequential([keras.Input((64,)), layers.ReLU(), layers.Dense(32)], name="head")
        self.temperature = temperature
        self.move = keras.Sequential(
            [
                keras.Input((SIZE, SIZE, 1)),
                layers.RandomTranslation(0.3, 0.3, fill_mode="constant", seed=1),
                layers.RandomRotation(0.03, fill_mode="constant", seed=2),
            ],
            name="move",
        )
        self.seeds = keras.random.SeedGenerator(3)
        self.loss_tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.loss_tracker]

    def call(self, images):
        return self.encoder(images)

    def view(self, images):
        """Moved, slightly turned, of another brightness, with noise."""
        images = self.move(images, training=True)
        gain = keras.random.uniform((images.shape[0], 1, 1, 1), 0.7, 1.3, seed=self.seeds)
        return gain * images + 0.05 * keras.random.normal(images.shape, seed=self.seeds)

    def agreement(self, images):
        """Cross-entropy of finding the other view of an image among all other views of the batch."""
        count = images.shape[0]
        views = ops.concatenate([self.view(images), self.view(images)])
        z = ops.normalize(self.head(self.encoder(views, training=True)), axis=-1)
        logits = ops.matmul(z, ops.transpose(z)) / self.temperature - 1e9 * ops.eye(2 * count)
        other = ops.concatenate([ops.arange(count) + count, ops.arange(count)])
        return ops.mean(keras.losses.sparse_categorical_crossentropy(other, logits, from_logits=True))

    def train_step(self, images):
        with keras.GradientTape() as tape:
            loss = self.agreement(images)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}


def judge(model, x, y):
    """Accuracy for images 1300 and on of their nearest neighbours by cosine among the first 300, whose labels count."""
    features = x.reshape(len(x), -1) if model is None else model.predict(x, verbose=0)
    neighbours = KNeighborsClassifier(5, metric="cosine", weights="distance").fit(features[:300], y[:300])
    return float(neighbours.score(features[1300:], y[1300:]))


def main():
    keras.utils.set_random_seed(6)
    digits = load_digits()
    x, y = canvas(digits.images / 16.0, seed=0), digits.target
    pixels = judge(None, x, y)
    model = Contrastive()
    model.compile(keras.optimizers.Adam(2e-3))
    untrained = judge(model, x, y)
    history = model.fit(x[:1300], batch_size=100, epochs=5 if QUICK else 60, verbose=0).history["loss"]
    assert model.profile()  # the step ran as compiled kernels
    learned = judge(model, x, y)
    print(f"loss {history[0]:.2f} -> {history[-1]:.2f}")
    print(f"nearest neighbours: by pixels {pixels:.3f}, untrained encoder {untrained:.3f}, trained {learned:.3f}")
    assert learned > pixels + 0.1 and learned > (0.6 if QUICK else 0.85)
    return learned


if __name__ == "__main__":
    main()
