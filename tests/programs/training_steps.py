"""Models with a `train_step` of their own that looks at values."""

from __future__ import annotations

import numpy as np

import graphkeras as keras
from graphkeras import layers, ops
from tests.programs.record import Training, training


def data(samples=48, features=4, classes=0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, features)).astype("float32")
    x *= np.linspace(0.3, 2.0, samples, dtype="float32")[:, None]  # batches differ
    target = x @ rng.normal(size=(features, max(classes, 1)))
    return x, target.argmax(axis=1).astype("int32") if classes else target.astype("float32")


class Base(keras.Model):
    """A small network whose step calls `update(x, y, loss, gradients)`."""

    outputs = 1

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(6, activation="tanh")
        self.head = layers.Dense(self.outputs)
        self.steps = self.add_weight((), "zeros", "int32", trainable=False, name="steps")

    def call(self, x, training=False):
        return self.head(self.hidden(x))

    def loss_of(self, x, y):
        return ops.mean((self(x, training=True) - y) ** 2)

    def gradients(self, x, y):
        with keras.GradientTape() as tape:
            loss = self.loss_of(x, y)
        return loss, tape.gradient(loss, self.trainable_variables)

    def train_step(self, batch):
        x, y = batch
        self.steps.assign_add(1)
        loss, gradients = self.gradients(x, y)
        self.update(x, y, loss, gradients)
        return {"loss": loss}

    def update(self, x, y, loss, gradients):
        self.optimizer.apply(gradients, self.trainable_variables)


def made(kind, optimizer=lambda: keras.optimizers.SGD(0.02), **options):
    def model(run_eagerly):
        keras.utils.set_random_seed(5)
        found = kind()
        found.compile(optimizer(), run_eagerly=run_eagerly)
        return found

    return Training(model, *data(classes=kind.outputs if kind.outputs > 1 else 0), **options)


def norm(gradients):
    return ops.sqrt(sum(ops.sum(g * g) for g in gradients))


@training
def gradient_norm_step():
    """Steps with large gradients are made shorter, very large ones left out."""

    class Careful(Base):
        def update(self, x, y, loss, gradients):
            size = norm(gradients)
            if size > 30:
                return
            if size > 5:
                gradients = [g * (5 / size) for g in gradients]
            super().update(x, y, loss, gradients)

    return made(Careful)


@training
def curriculum():
    """Hard samples are left out while the running loss is high."""

    class Curriculum(Base):
        def __init__(self):
            super().__init__()
            self.running = self.add_weight((), keras.initializers.Constant(5.0), trainable=False, name="running")

        def loss_of(self, x, y):
            errors = ops.mean((self(x, training=True) - y) ** 2, axis=-1)
            if self.running > 2.0:
                easy = ops.cast(errors <= ops.median(errors), errors.dtype)
                return ops.sum(errors * ops.stop_gradient(easy)) / ops.sum(easy)
            return ops.mean(errors)

        def update(self, x, y, loss, gradients):
            self.running.assign(0.7 * self.running + 0.3 * loss)
            super().update(x, y, loss, gradients)

    return made(Curriculum)


@training
def loss_switching():
    """A robust loss while errors are large, the squared one after."""

    class Switching(Base):
        def loss_of(self, x, y):
            error = self(x, training=True) - y
            if ops.max(ops.abs(error)) > 2.5:
                return ops.mean(ops.abs(error))
            return ops.mean(error * error)

    return made(Switching)


@training
def label_smoothing_schedule():
    """Labels are smoothed less with every hundredth of the training; the step counter decides."""

    class Smoothing(Base):
        outputs = 3

        def loss_of(self, x, y):
            if self.steps < 4:
                smooth = 0.3
            elif self.steps < 9:
                smooth = 0.1
            else:
                smooth = 0.0
            target = ops.one_hot(ops.cast(y, "int32"), 3) * (1 - smooth) + smooth / 3
            return -ops.mean(ops.sum(target * ops.log_softmax(self(x, training=True)), axis=-1))

    return made(Smoothing)


@training
def moving_average_teacher():
    """A teacher follows the student in every third step, and teaches once it is better than nothing."""

    class Student(Base):
        def __init__(self):
            super().__init__()
            self.teacher = layers.Dense(1, trainable=False)

        def call(self, x, training=False):
            self.teacher(x)
            return self.head(self.hidden(x))

        def loss_of(self, x, y):
            prediction, lesson = self(x, training=True), ops.stop_gradient(self.teacher(x))
            loss = ops.mean((prediction - y) ** 2)
            if ops.mean((lesson - y) ** 2) < 2 * ops.mean(y * y):
                loss = loss + 0.1 * ops.mean((prediction - lesson) ** 2)
            return loss

        def update(self, x, y, loss, gradients):
            super().update(x, y, loss, gradients)
            if self.steps % 3 == 0:
                for slow in self.teacher.weights:
                    slow.assign(0.9 * slow + 0.1 * ops.mean(self.head.kernel))

    return made(Student)


@training
def gradient_accumulation():
    """The optimizer moves in every third step."""

    class Accumulating(Base):
        def __init__(self):
            super().__init__()
            self.hidden.build((None, 4))
            self.head.build((None, 6))
            self.sums = [self.add_weight(v.shape, "zeros", trainable=False) for v in self.trainable_variables]

        def update(self, x, y, loss, gradients):
            for total, g in zip(self.sums, gradients, strict=True):
                total.assign_add(g)
            if self.steps % 3 == 0:
                super().update(x, y, loss, [total / 3 for total in self.sums])
                for total in self.sums:
                    total.assign(ops.zeros_like(total))

    return made(Accumulating)


@training
def step_taken_back():
    """A step that makes the loss worse is undone and the next one made shorter."""

    class Cautious(Base):
        def __init__(self):
            super().__init__()
            self.rate = self.add_weight((), keras.initializers.Constant(0.3), trainable=False, name="rate")

        def update(self, x, y, loss, gradients):
            before = [ops.convert_to_tensor(v) + 0 for v in self.trainable_variables]
            for v, g in zip(self.trainable_variables, gradients, strict=True):
                v.assign(v - self.rate * g)
            if self.loss_of(x, y) > loss:
                for v, old in zip(self.trainable_variables, before, strict=True):
                    v.assign(old)
                self.rate.assign(self.rate * 0.5)
            else:
                self.rate.assign(self.rate * 1.05)

    return made(Cautious)


@training
def dynamic_loss_scale():
    """The scale of the loss is halved when a gradient is not finite, and the step left out."""

    class Scaled(Base):
        def __init__(self):
            super().__init__()
            self.scale = self.add_weight((), keras.initializers.Constant(2.0**126), trainable=False, name="scale")

        def loss_of(self, x, y):
            return super().loss_of(x, y) * self.scale

        def update(self, x, y, loss, gradients):
            if not ops.all(ops.stack([ops.all(ops.isfinite(g)) for g in gradients])):
                self.scale.assign(self.scale / 4)
                return
            super().update(x, y, loss, [g / self.scale for g in gradients])

        def train_step(self, batch):
            super().train_step(batch)
            return {"scale": ops.log2(self.scale)}

    return made(Scaled)


@training
def sparse_update():
    """Only the layer with the larger gradient learns in a step."""

    class Sparse(Base):
        def update(self, x, y, loss, gradients):
            first, second = gradients[:2], gradients[2:]
            if norm(first) > norm(second):
                gradients = [*first, *(ops.zeros_like(g) for g in second)]
            else:
                gradients = [*(ops.zeros_like(g) for g in first), *second]
            super().update(x, y, loss, gradients)

    return made(Sparse)


@training
def critic_steps():
    """A critic is trained until it is ahead, three times at most, before the generator's step."""

    class Adversarial(Base):
        def __init__(self):
            super().__init__()
            self.critic = layers.Dense(1, use_bias=False)

        def call(self, x, training=False):
            made = self.head(self.hidden(x))
            self.critic(made)
            return made

        def train_step(self, batch):
            x, y = batch
            own = [*self.hidden.trainable_variables, *self.head.trainable_variables]
            self(x, training=True)
            for _ in range(3):
                with keras.GradientTape() as tape:
                    gap = ops.mean(self.critic(self(x))) - ops.mean(self.critic(y))
                if gap < -0.2:
                    break
                (g,) = tape.gradient(gap, [self.critic.kernel])
                self.critic.kernel.assign(self.critic.kernel - 0.05 * g)
            with keras.GradientTape() as tape:
                loss = ops.mean((self(x, training=True) - y) ** 2) - 0.1 * ops.mean(self.critic(self(x)))
            self.optimizer.apply(tape.gradient(loss, own), own)
            return {"loss": loss, "gap": gap}

    return made(Adversarial)


@training
def inner_loop():
    """Fast weights are adapted until the loss of a task has halved; the outer step goes through it (MAML)."""

    class Meta(Base):
        def loss_of(self, x, y):
            half = x.shape[0] // 2
            fast = self.head.kernel + 0.0
            hidden = self.hidden(x)
            self.head(hidden)
            start = None
            for _ in range(4):
                with keras.GradientTape() as tape:
                    tape.watch(fast)
                    task = ops.mean((ops.matmul(hidden[:half], fast) - y[:half]) ** 2)
                start = task if start is None else start
                if task < 0.5 * start:
                    break
                fast = fast - 0.2 * tape.gradient(task, fast)
            return ops.mean((ops.matmul(hidden[half:], fast) - y[half:]) ** 2)

        def gradients(self, x, y):
            loss, found = super().gradients(x, y)
            pairs = zip(found, self.trainable_variables, strict=True)
            return loss, [ops.zeros_like(v) if g is None else g for g, v in pairs]

    return made(Meta)


@training
def early_stop_in_step():
    """An auxiliary loss is dropped for good once it is small: a variable remembers it."""

    class Auxiliary(Base):
        def __init__(self):
            super().__init__()
            self.active = self.add_weight((), "ones", "int32", trainable=False, name="active")

        def loss_of(self, x, y):
            hidden = self.hidden(x)
            loss = ops.mean((self.head(hidden) - y) ** 2)
            if self.active == 1:
                extra = ops.mean(hidden * hidden)
                if extra < 0.25:
                    self.active.assign(0)
                loss = loss + 0.5 * extra
            return loss

    return made(Auxiliary)
