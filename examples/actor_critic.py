"""Advantage actor-critic on the balancing pole: physics, rollout and learning are one compiled step.

64 carts run side by side. `train_step` lets them move 32 times (`ops.scan`), rates what happened by generalized
advantage estimation (Schulman et al. 2016; a second scan, backwards), and updates policy and critic. The physics are
those of Barto, Sutton and Anderson (1983): a reward of 1 per move until the pole tilts by 12 degrees, the cart leaves
the track or 500 moves are done. The states of the carts are weights of the model, so that rollouts go on where the last
one ended.
"""

import os

import numpy as np

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
CARTS, MOVES, LIMIT = 64, 32, 500
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02


def physics(state, action):
    """The state (position, speed, angle, angular speed) after one move with a push to the left (0) or right (1)."""
    x, v, angle, spin = (state[:, i] for i in range(4))
    force = FORCE * (2.0 * ops.cast(action, "float32") - 1.0)
    sine, cosine = ops.sin(angle), ops.cos(angle)
    pushed = (force + POLE * HALF_LENGTH * spin**2 * sine) / (CART + POLE)
    lean = (GRAVITY * sine - cosine * pushed) / (HALF_LENGTH * (4.0 / 3.0 - POLE * cosine**2 / (CART + POLE)))
    pull = pushed - POLE * HALF_LENGTH * lean * cosine / (CART + POLE)
    return ops.stack([x + SECONDS * v, v + SECONDS * pull, angle + SECONDS * spin, spin + SECONDS * lean], axis=1)


def has_fallen(state):
    return ops.logical_or(ops.abs(state[:, 0]) > 2.4, ops.abs(state[:, 2]) > np.pi / 15)


class ActorCritic(keras.Model):
    """Two networks of a state: the logit of pushing to the right, and the expected return."""

    def __init__(self, discount=0.99, trust=0.98, curiosity=0.01):
        super().__init__()
        self.discount, self.trust, self.curiosity = discount, trust, curiosity
        self.actor, self.critic = (
            keras.Sequential(
                [keras.Input((4,)), layers.Dense(64, "tanh"), layers.Dense(64, "tanh"), layers.Dense(1)], name=name
            )
            for name in ("actor", "critic")
        )
        self.seeds = keras.random.SeedGenerator(1)
        self.carts = self.add_weight(shape=(CARTS, 4), initializer="zeros", trainable=False, name="carts")
        self.age = self.add_weight(shape=(CARTS,), initializer="zeros", trainable=False, name="age")
        self.length = self.add_weight(shape=(), initializer="zeros", trainable=False, name="length")

    def call(self, state):
        return self.actor(state)

    def value(self, states):
        """The expected return of (MOVES, CARTS) states; at best about 1 / (1 - discount)."""
        return ops.reshape(self.critic(ops.reshape(states, (-1, 4))), (MOVES, CARTS)) / (1.0 - self.discount)

    def rollout(self):
        """MOVES moves of all carts: states, actions, and whether the episode ended (by a fall, or at all)."""
        noise = keras.random.uniform((MOVES, CARTS), seed=self.seeds)
        starts = keras.random.uniform((MOVES, CARTS, 4), -0.05, 0.05, seed=self.seeds)

        def move(carry, drawn):
            state, age = carry
            luck, start = drawn
            action = luck < ops.sigmoid(self.actor(state)[:, 0])
            after = physics(state, action)
            fell = has_fallen(after)
            ended = ops.logical_or(fell, age + 1.0 >= LIMIT)
            carry = ops.where(ended[:, None], start, after), ops.where(ended, 0.0, age + 1.0)
            return carry, (state, action, after, fell, ended, age + 1.0)

        (state, age), seen = ops.scan(move, (self.carts.value, self.age.value), (noise, starts))
        self.carts.assign(state)
        self.age.assign(age)
        return seen

    def advantages(self, values, following, fell, ended):
        """How much better each move was than expected; the future beyond the end of an episode does not count."""
        alive, going = 1.0 - ops.cast(fell, "float32"), 1.0 - ops.cast(ended, "float32")
        surprise = 1.0 + self.discount * alive * following - values

        def back(later, now):
            total = now[0] + self.discount * self.trust * now[1] * later
            return total, total

        return ops.scan(back, ops.zeros((CARTS,)), (surprise, going), reverse=True)[1]

    def train_step(self, data):
        states, actions, after, fell, ended, ages = self.rollout()
        following = self.value(after)
        with keras.GradientTape() as tape:
            values = self.value(states)
            logits = ops.reshape(self.actor(ops.reshape(states, (-1, 4))), (MOVES, CARTS))
            gain = ops.stop_gradient(self.advantages(values, following, fell, ended))
            wanted = ops.stop_gradient(values + gain)
            gain = (gain - ops.mean(gain)) / (ops.std(gain) + 1e-6)
            surprisal = keras.losses.binary_crossentropy(
                ops.cast(actions, "float32")[..., None], logits[..., None], from_logits=True
            )
            chance = ops.sigmoid(logits)
            entropy = ops.softplus(logits) - chance * logits
            policy = ops.mean(gain * surprisal) - self.curiosity * ops.mean(entropy)
            loss = policy + ops.mean(ops.square((values - wanted) * (1.0 - self.discount)))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        ended = ops.cast(ended, "float32")
        mean = ops.sum(ended * ages) / ops.maximum(ops.sum(ended), 1.0)
        recent = ops.where(ops.sum(ended) > 0, 0.9 * self.length + 0.1 * mean, self.length)
        self.length.assign(recent)
        return {"return": recent}


class Solved(keras.callbacks.Callback):
    """Ends the training when the carts hardly ever fall."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = logs["return"] > 0.98 * LIMIT


def judge(model, episodes=50):
    """Mean return of the policy that always takes the likelier push, in NumPy's hands."""
    state = np.random.default_rng(0).uniform(-0.05, 0.05, size=(episodes, 4)).astype("float32")
    alive, total = np.ones(episodes, bool), np.zeros(episodes)
    for _ in range(LIMIT):
        action = model.predict(state, batch_size=episodes, verbose=0)[:, 0] > 0
        state = np.array(physics(keras.ops.convert_to_tensor(state), action))
        total += alive
        alive &= ~np.array(has_fallen(state))
        if not alive.any():
            break
    return float(total.mean())


def main():
    keras.utils.set_random_seed(0)
    model = ActorCritic()
    epochs = 5 if QUICK else 30
    rate = keras.optimizers.schedules.PolynomialDecay(2e-3, epochs * 50, 0.0)
    model.compile(keras.optimizers.Adam(rate, clipnorm=0.5))
    before = judge(model)
    rollouts = np.zeros((50, 1), "float32")  # one step per entry; the step makes its own data
    history = model.fit(rollouts, batch_size=1, epochs=epochs, verbose=0, callbacks=[Solved()]).history["return"]
    assert model.profile()  # the step ran as compiled kernels
    after = judge(model)
    print("return while training: " + " ".join(f"{value:.0f}" for value in history))
    print(f"return of the policy: {before:.0f} before, {after:.0f} after (at most {LIMIT})")
    assert after > (before if QUICK else 450)
    return after


if __name__ == "__main__":
    main()
