"""A Wasserstein GAN with gradient penalty on handwritten digits: the critic's loss holds the norm of a gradient.

The penalty (Gulrajani et al. 2017) keeps the slope of the critic near one between real and generated images. Its
gradient is a derivative of a derivative; two tapes, one in the other, write it down, and the whole step with its three
updates of the critic and one of the generator is compiled as one graph.
"""

import os

import numpy as np
from sklearn.datasets import load_digits

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
LATENT = 16


def network(inputs, outputs, activation, name):
    hidden = [layers.Dense(128, activation="silu") for _ in range(2)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(outputs, activation=activation)], name=name)


class WGAN(keras.Model):
    """Generator: noise -> 64 pixels. Critic: 64 pixels -> a score, high for real images."""

    def __init__(self, critic_steps=3, penalty=5.0):
        super().__init__()
        self.critic_steps, self.penalty = critic_steps, penalty
        self.generator = network(LATENT, 64, "sigmoid", "generator")
        self.critic = network(64, 1, None, "critic")
        self.seeds = keras.random.SeedGenerator(2)
        self.distance = keras.metrics.Mean(name="distance")
        self.slope = keras.metrics.Mean(name="slope")

    def compile(self, critic_optimizer, generator_optimizer):
        super().compile()
        self.critic_optimizer, self.generator_optimizer = critic_optimizer, generator_optimizer

    @property
    def metrics(self):
        return [self.distance, self.slope]

    def call(self, noise):
        return self.generator(noise)

    def noise(self, count):
        return keras.random.normal((count, LATENT), seed=self.seeds)

    def slopes(self, real, fake):
        """The norm of the critic's gradient at a random point between each pair of images."""
        mix = keras.random.uniform((real.shape[0], 1), seed=self.seeds)
        between = mix * real + (1.0 - mix) * fake
        with keras.GradientTape() as tape:
            tape.watch(between)
            score = self.critic(between)
        return ops.sqrt(ops.sum(ops.square(tape.gradient(score, between)), axis=1) + 1e-12)

    def train_critic(self, real):
        fake = ops.stop_gradient(self.generator(self.noise(real.shape[0])))
        with keras.GradientTape() as tape:
            distance = ops.mean(self.critic(real)) - ops.mean(self.critic(fake))
            slope = self.slopes(real, fake)
            loss = self.penalty * ops.mean(ops.square(slope - 1.0)) - distance
        variables = self.critic.trainable_variables
        self.critic_optimizer.apply(tape.gradient(loss, variables), variables)
        self.distance.update_state(distance)
        self.slope.update_state(slope)

    def train_step(self, real):
        for _ in range(self.critic_steps):
            self.train_critic(real)
        with keras.GradientTape() as tape:
            loss = -ops.mean(self.critic(self.generator(self.noise(real.shape[0]))))
        variables = self.generator.trainable_variables
        self.generator_optimizer.apply(tape.gradient(loss, variables), variables)
        return {m.name: m.result() for m in self.metrics}


def show(images):
    """Images side by side, as characters."""
    for row in range(8):
        print("  ".join("".join(" .:-=+*#%@"[int(9.99 * v)] * 2 for v in image[row]) for image in images))


def main():
    keras.utils.set_random_seed(2)
    pixels = (load_digits().data / 16.0).astype("float32")
    model = WGAN()
    model.compile(*(keras.optimizers.Adam(1e-3, beta_1=0.0, beta_2=0.9) for _ in range(2)))
    history = model.fit(pixels, batch_size=64, epochs=4 if QUICK else 60, verbose=0).history
    assert model.profile()  # the step ran as compiled kernels
    samples = model.predict(np.random.default_rng(0).normal(size=(500, LATENT)), verbose=0)
    show(samples[:5].reshape(-1, 8, 8))
    apart = float(np.abs(samples.mean(axis=0) - pixels.mean(axis=0)).mean())
    nearest = np.linalg.norm(samples[:, None] - pixels[None], axis=-1).min(axis=1).mean()
    print(f"slope of the critic {history['slope'][-1]:.2f}, distance {history['distance'][-1]:.2f}")
    print(f"mean image differs by {apart:.3f} (grey: 0.29); nearest real digit at {nearest:.2f}")
    assert abs(history["slope"][-1] - 1.0) < 0.3 and apart < (0.25 if QUICK else 0.06)
    assert QUICK or nearest < 1.6
    return apart


if __name__ == "__main__":
    main()
