"""A generative adversarial network with two optimizers, trained by a `train_step` of its own on handwritten digits."""

import os

import numpy as np
from sklearn.datasets import load_digits

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
LATENT = 16


class GAN(keras.Model):
    """Generator: noise -> 8 x 8 image. Discriminator: image -> logit, positive for real ones."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [
                keras.Input((LATENT,)),
                layers.Dense(4 * 4 * 32, activation="relu"),
                layers.Reshape((4, 4, 32)),
                layers.Conv2DTranspose(32, 4, strides=2, padding="same"),
                layers.LeakyReLU(0.2),
                layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
            ],
            name="generator",
        )
        self.discriminator = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(32, 3, strides=2, padding="same"),
                layers.LeakyReLU(0.2),
                layers.Flatten(),
                layers.Dropout(0.3),
                layers.Dense(1),
            ],
            name="discriminator",
        )
        self.seeds = keras.random.SeedGenerator(4)
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.g_loss = keras.metrics.Mean(name="g_loss")

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def call(self, noise):
        return self.generator(noise)

    def train_step(self, real):
        count = ops.shape(real)[0]
        ones, zeros = ops.ones((count, 1)), ops.zeros((count, 1))
        noise = keras.random.normal((count, LATENT), seed=self.seeds)
        with keras.GradientTape() as tape:
            logits_real = self.discriminator(real, training=True)
            logits_fake = self.discriminator(self.generator(noise), training=True)
            d_loss = 0.5 * (self.loss_fn(0.9 * ones, logits_real) + self.loss_fn(zeros, logits_fake))
        variables = self.discriminator.trainable_variables
        self.d_optimizer.apply(tape.gradient(d_loss, variables), variables)

        noise = keras.random.normal((count, LATENT), seed=self.seeds)
        with keras.GradientTape() as tape:
            g_loss = self.loss_fn(ones, self.discriminator(self.generator(noise), training=True))
        variables = self.generator.trainable_variables
        self.g_optimizer.apply(tape.gradient(g_loss, variables), variables)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {m.name: m.result() for m in self.metrics}


def show(images):
    """Images side by side, as characters."""
    for row in range(8):
        print("  ".join("".join(" .:-=+*#%@"[int(9.99 * v)] * 2 for v in image[row, :, 0]) for image in images))


def main():
    keras.utils.set_random_seed(4)
    images = (load_digits().images / 16.0).astype("float32")[..., None]
    model = GAN()
    model.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), keras.optimizers.Adam(1e-3, beta_1=0.5))
    history = model.fit(images, batch_size=64, epochs=3 if QUICK else 60, verbose=0).history
    assert model.profile()  # the step, with both updates, ran as compiled kernels
    samples = model.predict(np.random.default_rng(0).normal(size=(500, LATENT)), verbose=0)
    show(samples[:5])
    distance = float(np.abs(samples.mean(axis=0) - images.mean(axis=0)).mean())
    print(f"losses: discriminator {history['d_loss'][-1]:.3f}, generator {history['g_loss'][-1]:.3f}")
    print(f"mean image of the samples differs from that of the digits by {distance:.3f} (grey: 0.29)")
    assert np.isfinite(samples).all() and distance < (0.3 if QUICK else 0.12)
    return distance


if __name__ == "__main__":
    main()
