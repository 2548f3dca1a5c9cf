"""Knowledge distillation: a small network learns from a large one, by a `compute_loss` of its own.

The teacher knows the class of every handwritten digit of the training set, the student that of one in twelve only. For
the others it is told what the teacher thinks (Hinton et al. 2015). The same student alone, with the same labels and as
many steps, is what it is compared with.
"""

import os

import numpy as np
from sklearn.datasets import load_digits

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
UNKNOWN = -1


def network(width, depth, name):
    hidden = [layers.Dense(width, activation="relu") for _ in range(depth)]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10)], name=name)


class Distiller(keras.Model):
    """Trains `student` on labels (UNKNOWN: there is none) and, with a weight, on the teacher's softened outputs."""

    def __init__(self, student, teacher, weight, temperature=3.0):
        super().__init__()
        self.student, self.teacher = student, teacher
        self.teacher.trainable = False
        self.weight, self.temperature = weight, temperature

    def call(self, x):
        return self.student(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        known = ops.cast(y != UNKNOWN, "float32")
        hard = keras.losses.sparse_categorical_crossentropy(ops.maximum(y, 0), y_pred, from_logits=True)
        loss = ops.sum(known * hard) / ops.maximum(ops.sum(known), 1.0)
        if self.weight and training:
            wanted = ops.softmax(self.teacher(x, training=False) / self.temperature)
            soft = keras.losses.categorical_crossentropy(wanted, y_pred / self.temperature, from_logits=True)
            loss = loss + self.weight * self.temperature**2 * ops.mean(soft)
        return loss


def main():
    keras.utils.set_random_seed(1)
    digits = load_digits()
    order = np.random.default_rng(1).permutation(len(digits.target))
    x, y = (digits.data[order] / 16.0).astype("float32"), digits.target[order].astype("int32")
    train, test = slice(0, 1200), slice(1200, None)
    partly = np.where(np.arange(1200) % 12 == 0, y[train], UNKNOWN).astype("int32")

    teacher = network(256, 2, "teacher")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher.compile("adam", loss, metrics=["accuracy"])
    teacher.fit(x[train], y[train], batch_size=32, epochs=5 if QUICK else 30, verbose=0)
    taught = teacher.evaluate(x[test], y[test], verbose=0)[1]

    accuracy = {}
    for name, weight in (("alone", 0.0), ("distilled", 1.0)):
        keras.utils.set_random_seed(7)
        model = Distiller(network(24, 1, f"student_{name}"), teacher, weight)
        model.compile(keras.optimizers.Adam(5e-3))
        model.fit(x[train], partly, batch_size=60, epochs=5 if QUICK else 60, verbose=0)
        assert model.profile()  # the step ran as compiled kernels
        accuracy[name] = float(np.mean(model.predict(x[test], verbose=0).argmax(axis=1) == y[test]))
    print(f"teacher {taught:.3f}, student alone {accuracy['alone']:.3f}, distilled {accuracy['distilled']:.3f}")
    assert accuracy["distilled"] > accuracy["alone"] + 0.03 and accuracy["distilled"] > (0.8 if QUICK else 0.93)
    return accuracy


if __name__ == "__main__":
    main()
