"""A variational autoencoder of handwritten digits: a sampling layer, `add_loss`, and a decoder used on its own."""

import os

import numpy as np
from sklearn.datasets import load_digits

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
LATENT = 8


class Sampling(layers.Layer):
    """Draws z from the normal distribution with the given mean and log-variance; adds the divergence as a loss."""

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight
        self.seed_generator = keras.random.SeedGenerator(5)

    def call(self, mean, log_var, training=None):
        divergence = -0.5 * ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var), axis=-1)
        self.add_loss(self.weight * ops.mean(divergence))
        if not training:
            return mean
        return mean + ops.exp(0.5 * log_var) * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


def build_models():
    image = keras.Input((64,))
    hidden = layers.Dense(128, activation="relu")(image)
    z = Sampling(1 / 64)(layers.Dense(LATENT, name="mean")(hidden), layers.Dense(LATENT, name="log_var")(hidden))
    code = keras.Input((LATENT,))
    decoder = keras.Model(code, layers.Dense(64, "sigmoid")(layers.Dense(128, "relu")(code)), name="decoder")
    return keras.Model(image, decoder(z), name="vae"), decoder


def main():
    keras.utils.set_random_seed(5)
    pixels = (load_digits().data / 16.0).astype("float32")
    train, test = pixels[:1500], pixels[1500:]
    model, decoder = build_models()
    model.compile(keras.optimizers.Adam(2e-3), loss="binary_crossentropy", metrics=["mse"])
    model.fit(train, train, epochs=4 if QUICK else 40, batch_size=32, verbose=2 if QUICK else 0)
    assert model.profile()  # the step ran as compiled kernels
    error = model.evaluate(test, test, return_dict=True, verbose=0)["mse"]
    plain = float(np.mean((test - train.mean(axis=0)) ** 2))
    new = decoder.predict(np.random.default_rng(0).normal(size=(4, LATENT)), verbose=0).reshape(-1, 8, 8)
    for row in range(8):
        print("  ".join("".join(" .:-=+*#%@"[int(9.99 * v)] * 2 for v in image[row]) for image in new))
    print(f"reconstruction error {error:.4f}; of the mean image {plain:.4f}")
    assert error < plain * (0.9 if QUICK else 0.5)
    return error


if __name__ == "__main__":
    main()
