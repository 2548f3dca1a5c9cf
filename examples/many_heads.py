"""The Functional API: three inputs (text, words, a number), two outputs with their own losses and weights.

Made data: support tickets with a title, tags and an age; the model gives a priority (regression) and a department
(classification). The truth is a known function of the inputs, so the result can be checked.
"""

import os

import numpy as np

import graphkeras as keras
from graphkeras import layers, ops

QUICK = "GRAPHKERAS_QUICK" in os.environ
WORDS, TAGS, DEPARTMENTS = 50, 12, 4


def make_tickets(count, seed=0):
    """Department: which quarter of the vocabulary most title words come from. Priority: number of tags and the age."""
    rng = np.random.default_rng(seed)
    department = rng.integers(0, DEPARTMENTS, count)
    size = WORDS // DEPARTMENTS
    title = 1 + department[:, None] * size + rng.integers(0, size, (count, 8))
    noise = rng.random((count, 8)) < 0.4
    title = np.where(noise, rng.integers(1, WORDS, (count, 8)), title)
    tags = (rng.random((count, TAGS)) < 0.3).astype("float32")
    age = rng.random((count, 1)).astype("float32")
    priority = 1 / (1 + np.exp(-(tags.sum(axis=1, keepdims=True) - 4 + 3 * (age - 0.5))))
    return {"title": title, "tags": tags, "age": age}, {"priority": priority, "department": department}


def build_model():
    title = keras.Input((None,), dtype="int32", name="title")
    tags = keras.Input((TAGS,), name="tags")
    age = keras.Input((1,), name="age")
    words = layers.Embedding(WORDS, 16)(title)
    features = layers.concatenate([ops.mean(words, axis=1), tags, age])
    features = layers.Dense(32, activation="relu")(features)
    priority = layers.Dense(1, activation="sigmoid", name="priority")(features)
    department = layers.Dense(DEPARTMENTS, name="department")(features)
    return keras.Model([title, tags, age], [priority, department], name="tickets")


def main():
    keras.utils.set_random_seed(2)
    x, y = make_tickets(4000)
    model = build_model()
    model.summary()
    model.compile(
        keras.optimizers.Adam(5e-3),
        loss={
            "priority": "mse",
            "department": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 5.0, "department": 0.5},
        metrics={"priority": ["mae"], "department": ["accuracy"]},
    )
    model.fit(x, y, epochs=2 if QUICK else 15, batch_size=64, validation_split=0.2, verbose=2)
    results = model.evaluate(*make_tickets(1000, seed=1), return_dict=True, verbose=0)
    accuracy, error = results["department_accuracy"], results["priority_mae"]
    print(f"department accuracy {accuracy:.3f}, mean absolute error of the priority {error:.3f}")
    assert accuracy > (0.7 if QUICK else 0.9)
    assert error < (0.2 if QUICK else 0.05)
    return results


if __name__ == "__main__":
    main()
