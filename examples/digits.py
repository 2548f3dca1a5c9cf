"""Trains a small convolutional network on scikit-learn's handwritten digits (1,797 scans of 8 x 8 pixels).

Run with `make demo`, or `python examples/digits.py`. It shows the progress of training with validation and early
stopping, the confusion matrix on digits the network has not seen, and at the end what the compiler made of the model.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphkeras as keras
from graphkeras import layers


def load_data():
    """Images as float32 in 0..1 with shape (n, 8, 8, 1), labels 0..9; 80 % to train, 20 % to test."""
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    return train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=7)


def build_model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.3),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def print_confusion(labels, predicted):
    """Rows: true digit; columns: predicted digit."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    print("\nConfusion matrix (rows: true, columns: predicted)")
    print("      " + "".join(f"{d:4d}" for d in range(10)))
    for digit, row in enumerate(counts):
        print(f"  {digit}   " + "".join(f"{n:4d}" if n else "   ." for n in row))


def main():
    keras.utils.set_random_seed(0)
    x_train, x_test, y_train, y_test = load_data()
    model = build_model()
    model.compile(keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.summary()
    model.fit(
        x_train,
        y_train,
        batch_size=32,
        epochs=40,
        validation_split=0.1,
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=8, restore_best_weights=True)],
    )
    probabilities = model.predict(x_test, verbose=0)
    print_confusion(y_test, probabilities.argmax(axis=1))
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"\nTest accuracy: {100 * accuracy:.2f} % on {len(x_test)} digits the network has not seen\n")
    model.explain()
    return accuracy


if __name__ == "__main__":
    main()
