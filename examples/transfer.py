"""Transfer learning: features learned on the digits 0-4, frozen, then fine-tuned, on a few examples of 5-9."""

import os

import numpy as np
from sklearn.datasets import load_digits

import graphkeras as keras
from graphkeras import layers

QUICK = "GRAPHKERAS_QUICK" in os.environ


def build_base():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(48, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
        ],
        name="features",
    )


def with_head(base):
    image = keras.Input((8, 8, 1))
    # training=False: the frozen batch normalisation keeps the statistics it has learned
    return keras.Model(image, layers.Dense(5, activation="softmax", name="head")(base(image, training=False)))


def compile_and_fit(model, x, y, rate, epochs):
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)


def main():
    keras.utils.set_random_seed(6)
    digits = load_digits()
    images, labels = (digits.images / 16.0).astype("float32")[..., None], digits.target
    old, new = labels < 5, labels >= 5
    base = build_base()
    first = keras.Sequential([base, layers.Dense(5, activation="softmax")])
    compile_and_fit(first, images[old], labels[old], 2e-3, 2 if QUICK else 10)

    x, y = images[new], labels[new] - 5
    few, rest = slice(0, 50), slice(50, None)
    model = with_head(base)
    base.trainable = False
    before = base.get_weights()
    compile_and_fit(model, x[few], y[few], 5e-3, 5 if QUICK else 40)
    assert all(np.array_equal(a, b) for a, b in zip(before, base.get_weights(), strict=True)), "the base was trained"
    frozen = model.evaluate(x[rest], y[rest], verbose=0)[1]

    base.trainable = True
    compile_and_fit(model, x[few], y[few], 2e-4, 3 if QUICK else 20)
    tuned = model.evaluate(x[rest], y[rest], verbose=0)[1]
    trained = sum(w.size for w in before)
    print(f"{trained} numbers of the base stayed as they were while the head learned from 50 images")
    print(f"accuracy on {len(y) - 50} other images: {frozen:.3f} frozen, {tuned:.3f} after fine-tuning")
    assert frozen > (0.5 if QUICK else 0.85) and tuned > (0.5 if QUICK else 0.85)
    return tuned


if __name__ == "__main__":
    main()
