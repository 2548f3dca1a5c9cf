"""Breast cancer diagnosis from a pandas table: normalisation inside the model, class weights, early stopping, saving.

569 tumours with 30 measurements each (scikit-learn's copy of the Wisconsin data). The saved file holds everything: the
loaded model takes raw measurements and gives the same probabilities.
"""

import os
import tempfile

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import graphkeras as keras
from graphkeras import layers

QUICK = "GRAPHKERAS_QUICK" in os.environ  # fewer epochs, for the tests


def build_model(table):
    normalization = layers.Normalization()
    normalization.adapt(table)
    return keras.Sequential(
        [
            keras.Input((table.shape[1],)),
            normalization,
            layers.Dense(32, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="diagnosis",
    )


def main():
    keras.utils.set_random_seed(1)
    data = load_breast_cancer(as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(
        data.data, data.target, test_size=0.25, stratify=data.target, random_state=0
    )
    model = build_model(x_train)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    share = y_train.mean()
    history = model.fit(
        x_train,
        y_train,
        epochs=5 if QUICK else 60,
        validation_split=0.15,
        class_weight={0: 0.5 / (1 - share), 1: 0.5 / share},
        callbacks=[keras.callbacks.EarlyStopping("val_auc", mode="max", patience=10, restore_best_weights=True)],
        verbose=2 if QUICK else 0,
    )
    results = model.evaluate(x_test, y_test, return_dict=True, verbose=0)
    print(f"{len(history.epoch)} epochs; accuracy {results['accuracy']:.3f}, area under the curve {results['auc']:.3f}")

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "diagnosis.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded.predict(x_test, verbose=0), model.predict(x_test, verbose=0))
    print("The loaded model gives the same probabilities.")
    assert results["auc"] > (0.9 if QUICK else 0.98)
    return results


if __name__ == "__main__":
    main()
