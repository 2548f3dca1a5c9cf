"""The examples in docstrings run (those of losses, metrics and optimizers do so in test_math_docstrings.py)."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings

import pytest

import graphkeras as keras
from tests.frontend import test_math_docstrings

PACKAGES = (
    "backend",
    "callbacks",
    "config",
    "core",
    "dtype_policies",
    "keras_alias",
    "layers",
    "mixed_precision",
    "models",
    "ops",
    "quantizers",
    "random",
    "saving",
    "trainers",
    "tree",
    "utils",
    "wrappers",
)
COMPILED = ("graphkeras.trainers.explain",)  # examples that speak of kernels


def _modules() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            package = importlib.import_module(f"graphkeras.{name}")
        except ModuleNotFoundError:
            continue
        found.append(package.__name__)
        if hasattr(package, "__path__"):
            found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return found


@pytest.mark.parametrize("name", _modules())
def test_examples(name, monkeypatch, tmp_path):
    if name not in COMPILED:
        monkeypatch.setenv("GRAPHKERAS_TARGET", "interpret")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert doctest.testmod(module).failed == 0


# What scripts use most: each of these has an example of its own.
COMMON = {
    "Model": "compile fit evaluate predict train_on_batch test_on_batch predict_on_batch summary save load_weights "
    "save_weights get_layer add_weight add_loss get_weights set_weights count_params",
    "layers": "Dense Conv1D Conv2D Conv2DTranspose Embedding LSTM GRU SimpleRNN Bidirectional TimeDistributed Flatten "
    "Reshape Dropout BatchNormalization LayerNormalization MaxPooling2D AveragePooling2D GlobalAveragePooling2D "
    "Activation ReLU LeakyReLU Concatenate Add Lambda MultiHeadAttention Rescaling Normalization",
    "losses": "BinaryCrossentropy CategoricalCrossentropy SparseCategoricalCrossentropy MeanSquaredError "
    "MeanAbsoluteError Huber KLDivergence CosineSimilarity",
    "optimizers": "SGD Adam AdamW RMSprop Adagrad Adadelta Adamax Nadam Ftrl Lion",
    "metrics": "Accuracy BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy AUC Precision Recall Mean "
    "F1Score",
    "callbacks": "Callback EarlyStopping ModelCheckpoint ReduceLROnPlateau LearningRateScheduler CSVLogger "
    "TerminateOnNaN BackupAndRestore LambdaCallback History",
}


@pytest.mark.parametrize("place", COMMON)
def test_common_names_have_examples(place):
    holder = getattr(keras, place)
    without = [n for n in COMMON[place].split() if ">>>" not in (getattr(holder, n).__doc__ or "")]
    assert not without, f"{place}: no example in the docstrings of {without}"


def test_packages_do_not_overlap():
    assert not set(PACKAGES) & set(test_math_docstrings.PACKAGES)
