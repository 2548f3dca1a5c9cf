"""Where each layer's weights are in a file: the paths that Keras 3.15 writes (golden/weight_layouts.json)."""

import json
from pathlib import Path

import h5py
import pytest

import graphkeras as keras

GOLDEN = json.loads((Path(__file__).parent / "golden" / "weight_layouts.json").read_text())


def sequence(layer):
    return keras.Sequential([keras.Input((5, 4)), layer])


def attention(layer, *inputs):
    x = keras.Input((5, 4))
    return keras.Model(x, layer([x, x]) if not inputs else layer(x, x))


WRAPPED = {
    "Bidirectional(LSTM)": lambda k: sequence(k.Bidirectional(k.LSTM(2))),
    "TimeDistributed(Dense)": lambda k: sequence(k.TimeDistributed(k.Dense(2))),
    "RNN([LSTMCell,GRUCell])": lambda k: sequence(k.RNN([k.LSTMCell(2), k.GRUCell(3)])),
    "SpectralNormalization(Dense)": lambda k: keras.Sequential(
        [keras.Input((4,)), k.SpectralNormalization(k.Dense(2))]
    ),
    "MultiHeadAttention": lambda k: attention(k.MultiHeadAttention(2, 3), "x", "x"),
    "GroupQueryAttention": lambda k: attention(k.GroupQueryAttention(3, 4, 2), "x", "x"),
    "Attention(use_scale)": lambda k: attention(k.Attention(use_scale=True)),
    "AdditiveAttention": lambda k: attention(k.AdditiveAttention()),
}


def build(name):
    if name in WRAPPED:
        return WRAPPED[name](keras.layers)
    entry = GOLDEN[name]
    layer = getattr(keras.layers, name)(**entry["config"])
    return keras.Sequential([keras.Input(tuple(entry["input"])), layer])


@pytest.mark.parametrize("name", GOLDEN)
def test_paths_and_shapes(name, tmp_path):
    keras.utils.clear_session(free_memory=False)
    build(name).save_weights(tmp_path / "layer.weights.h5")
    found = []
    with h5py.File(tmp_path / "layer.weights.h5") as file:
        file.visititems(
            lambda path, x: found.append([path, list(x.shape), str(x.dtype)]) if isinstance(x, h5py.Dataset) else None
        )
    assert sorted(found) == sorted(GOLDEN[name]["h5"])
