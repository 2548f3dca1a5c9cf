"""Preprocessing layers of categories, text and images."""

from __future__ import annotations

import doctest
import importlib
import json
import pathlib
from typing import Any

import numpy as np
import pytest

import graphkeras as keras
from graphkeras import layers, ops
from graphkeras.backend import executor
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.trace import Trace
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import type_of
from graphkeras.layers.preprocessing.encoding import fingerprint64, hash_bucket, siphash

rng = np.random.default_rng(0)
IMAGES = rng.uniform(0, 255, size=(4, 8, 6, 3)).astype("float32")


# -- categories --------------------------------------------------------------------------------------------
def test_category_encoding() -> None:
    rows = [[0, 1, 1], [3, 3, 3]]
    make = layers.CategoryEncoding
    assert make(4)(rows).tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]
    assert make(4, output_mode="count")(rows).tolist() == [[1, 2, 0, 0], [0, 0, 0, 3]]
    weighted = make(4, output_mode="count")(np.array(rows), count_weights=np.array([[0.5, 1, 1], [1, 2, 3]]))
    assert weighted.tolist() == [[0.5, 2, 0, 0], [0, 0, 0, 6]]
    assert make(4, output_mode="one_hot")(rows).shape == (2, 3, 4)
    assert make(4, output_mode="one_hot")([[1], [2]]).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert make(4)(KerasTensor((None, 3), "int32")).shape == (None, 4)
    with pytest.raises(ValueError, match="num_tokens"):
        make()
    with pytest.raises(ValueError, match="count_weights"):
        make(4)(np.array(rows), count_weights=np.ones((2, 3)))


def test_discretization() -> None:
    layer = layers.Discretization(bin_boundaries=[0.0, 0.5, 1.0])
    assert layer([[-1.0, 0.0, 0.49, 0.5, 7.0]]).tolist() == [[0, 1, 1, 2, 3]]
    assert str(layer([[0.1]]).dtype) == "int32"
    assert layers.Discretization([0.0], output_mode="one_hot")([-1.0, 1.0]).tolist() == [[1, 0], [0, 1]]
    adapted = layers.Discretization(num_bins=4)
    values = rng.permutation(np.arange(1000.0))
    adapted.adapt(values)
    np.testing.assert_allclose(adapted.bin_boundaries, [250, 500, 750], atol=20)
    in_batches = layers.Discretization(num_bins=4)
    in_batches.adapt(iter(np.split(values, 4)))
    np.testing.assert_allclose(in_batches.bin_boundaries, [250, 500, 750], atol=25)
    copy = layers.deserialize(json.loads(json.dumps(layers.serialize(adapted))))
    assert copy.bin_boundaries == adapted.bin_boundaries
    with pytest.raises(ValueError, match="num_bins"):
        layers.Discretization()
    with pytest.raises(ValueError, match="adapt"):
        layers.Discretization(num_bins=3)([1.0])


def test_hashes_are_those_of_the_published_functions() -> None:
    assert fingerprint64(b"") == 0x9AE16A3B2F90404F
    key = tuple(int.from_bytes(bytes(range(i, i + 8)), "little") for i in (0, 8))
    assert siphash(b"", key) == 0x726FDB47DD0E0E31  # the first vector of the paper's reference code
    assert siphash(bytes(range(15)), key) == 0xA129CA6149BE45E5
    # Buckets that TensorFlow's string ops give, for strings of every length class.
    texts = ["a", "graph", "twelve chars", "a text of twenty chars", "x" * 50, "y" * 100]
    assert [hash_bucket(t, 1000003) for t in texts] == BUCKETS
    assert [hash_bucket(t, 1000003, [133, 137]) for t in texts] == SALTED


BUCKETS = [291400, 840596, 151210, 891169, 717757, 299856]
SALTED = [554259, 362012, 219401, 576121, 716308, 963724]


def test_hashing() -> None:
    layer = layers.Hashing(num_bins=5, mask_value="")
    found = layer([["a"], [""], ["b"]])
    assert found.shape == (3, 1) and found[1, 0] == 0 and np.asarray(found)[[0, 2]].min() >= 1
    assert layer([["a"]]).tolist() == layer([[b"a"]]).tolist()
    assert layers.Hashing(5)([12]).tolist() == layers.Hashing(5)(["12"]).tolist()
    assert layers.Hashing(5, salt=3)(["q"] * 2).shape == (2,)
    assert layers.Hashing(3, output_mode="count")([["a", "b", "a", "a"]]).shape == (1, 3)
    with pytest.raises(ValueError, match="num_bins"):
        layers.Hashing(0)
    crossed = layers.HashedCrossing(10)
    assert crossed((["A", "B", "A"], [1, 1, 1])).tolist()[0] == crossed((["A"], [1])).tolist()[0]
    assert layers.HashedCrossing(10, output_mode="one_hot")((["A"], [1])).shape == (1, 10)
    with pytest.raises(ValueError, match="integer or string"):
        crossed((np.array([1.0]), np.array([1.0])))


# -- lookups -----------------------------------------------------------------------------------------------
def test_string_lookup() -> None:
    layer = layers.StringLookup()
    layer.adapt([["a", "c", "d"], ["d", "b", "d"], ["a", "e", "f"]])
    assert layer.get_vocabulary() == ["[UNK]", "d", "a", "f", "e", "c", "b"]  # frequency, then reverse order
    assert layer([["a", "zz"], ["d", "b"]]).tolist() == [[2, 0], [1, 6]]
    inverse = layers.StringLookup(vocabulary=layer.get_vocabulary(), invert=True)
    assert inverse([[2, 0, 99]]).tolist() == [["a", "[UNK]", "[UNK]"]]
    masked = layers.StringLookup(vocabulary=["x", "y"], mask_token="", num_oov_indices=2)
    assert masked.get_vocabulary() == ["", "[UNK]", "[UNK]", "x", "y"]
    assert masked(["", "y"]).tolist() == [0, 4] and 1 <= int(masked(["other"])[0]) <= 2
    with pytest.raises(ValueError, match="OOV values"):
        layers.StringLookup(vocabulary=["x"], num_oov_indices=0)(["y"])
    with pytest.raises(ValueError, match="repeated"):
        layers.StringLookup(vocabulary=["x", "x"])
    with pytest.raises(ValueError, match="larger than the maximum"):
        layers.StringLookup(vocabulary=["x", "y", "z"], max_tokens=2)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("multi_hot", [[0, 1, 1, 0]]),
        ("count", [[0, 2, 1, 0]]),
        ("one_hot", [[[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]]),
    ],
)
def test_lookup_vectors(mode: str, expected: Any) -> None:
    layer = layers.StringLookup(vocabulary=["a", "b", "c"], output_mode=mode)
    assert layer([["a", "b", "a"]]).tolist() == expected
    assert (
        layers.StringLookup(vocabulary=["a"], output_mode=mode, max_tokens=9, pad_to_max_tokens=True)([["a"]]).shape[-1]
        == 9
    )


def test_tf_idf() -> None:
    layer = layers.StringLookup(output_mode="tf_idf")
    layer.adapt([["a", "b"], ["a", "c"], ["a", "a"]])
    assert layer.get_vocabulary() == ["[UNK]", "a", "c", "b"]
    idf = np.log(1 + 3 / (1 + np.array([3.0, 1.0, 1.0])))
    found = np.asarray(layer([["a", "a", "c", "?"]]))[0]
    np.testing.assert_allclose(found, [idf.mean(), 2 * idf[0], idf[1], 0], rtol=1e-5)
    given = layers.StringLookup(vocabulary=["a", "c"], idf_weights=[0.5, 2.0], output_mode="tf_idf")
    np.testing.assert_allclose(np.asarray(given([["c", "z"]]))[0], [1.25, 0, 2.0])


def test_integer_lookup_also_in_models() -> None:
    layer = layers.IntegerLookup(vocabulary=[12, 36, 1138, 42], num_oov_indices=2, mask_token=0)
    data = np.array([[12, 1138, 42], [0, 1000, 1001]])
    expected = [[3, 5, 6], [0, 1, 2]]
    assert layer(data).tolist() == expected
    inputs = keras.Input((3,), dtype="int64")
    model = keras.Model(inputs, layer(inputs))
    assert model.predict(data, verbose=0).tolist() == expected
    assert layers.IntegerLookup(vocabulary=[7, 9], invert=True)([0, 1, 2]).tolist() == [-1, 7, 9]
    copy = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    assert copy(data).tolist() == expected


def test_vocabulary_in_assets(tmp_path: pathlib.Path) -> None:
    for layer in (layers.StringLookup(mask_token=""), layers.TextVectorization(output_sequence_length=3)):
        layer.adapt(["one", "two two", "three three three"])
        layer.save_assets(str(tmp_path))
        copy = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
        copy.load_assets(str(tmp_path))
        assert copy.get_vocabulary() == layer.get_vocabulary()
    config = layers.serialize(layers.StringLookup(vocabulary=["a"]))
    assert config["config"]["vocabulary"] == ["a"]


# -- text --------------------------------------------------------------------------------------------------
def test_text_vectorization() -> None:
    layer = layers.TextVectorization(max_tokens=6, output_sequence_length=4)
    layer.adapt(["The cat, the dog.", "THE end of the cat"])
    assert layer.get_vocabulary() == ["", "[UNK]", "the", "cat", "of", "end"]
    assert layer(["a cat of the end", "Dog"]).tolist() == [[1, 3, 4, 2], [1, 0, 0, 0]]
    assert layer(np.array([["cat"], ["the end"]])).tolist() == [[3, 0, 0, 0], [2, 5, 0, 0]]
    assert layer("the cat").tolist() == [2, 3, 0, 0]
    assert layer(["end"]).dtype == "int64"


def test_text_standardize_split_ngrams() -> None:
    assert layers.TextVectorization(standardize=None, vocabulary=["Hi!"])(["Hi! hi"]).tolist() == [[2, 1]]
    assert layers.TextVectorization(split="character", vocabulary=["a", "b"])(["ab c"]).tolist() == [[2, 3, 1, 1]]
    grams = layers.TextVectorization(ngrams=2)
    assert grams.words(["a b c"]) == [["a", "b", "c", "a b", "b c"]]
    custom = layers.TextVectorization(
        standardize=lambda x: np.char.replace(x, "-", " "),
        split=lambda x: [s.split("|") for s in x],
        vocabulary=["a b"],
    )
    assert custom(["a-b|c"]).tolist() == [[2, 1]]
    bags = layers.TextVectorization(output_mode="count", vocabulary=["a", "b"])
    assert bags(["a a x", "b"]).tolist() == [[1, 2, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="ngrams"):
        layers.TextVectorization(ngrams="two")
    with pytest.raises(ValueError, match="ragged"):
        layers.TextVectorization(ragged=True)
    with pytest.raises(ValueError, match="static vocabulary"):
        layers.TextVectorization(vocabulary=["a"]).adapt(["b"])


# -- images ------------------------------------------------------------------------------------------------
RANDOM = [
    layers.RandomFlip(),
    layers.RandomRotation(0.2),
    layers.RandomZoom(0.3, 0.2, fill_mode="wrap"),
    layers.RandomTranslation(0.2, 0.1, fill_mode="constant", fill_value=3.0),
    layers.RandomContrast(0.4),
    layers.RandomBrightness(0.3),
    layers.RandomCrop(5, 4),
    layers.RandomSaturation(0.8),
    layers.RandomHue(0.5),
    layers.MixUp(2.0),
    layers.CutMix(),
]


@pytest.mark.parametrize("layer", RANDOM, ids=lambda x: type(x).__name__)
def test_random_layers_change_images_in_training_only(layer: Any) -> None:
    same = np.asarray(layer(IMAGES, training=False))
    if not isinstance(layer, layers.RandomCrop):
        np.testing.assert_array_equal(same, IMAGES)
    changed = [np.asarray(layer(IMAGES, training=True)) for _ in range(4)]
    assert any((c.shape != same.shape) or (c != changed[0]).any() for c in changed[1:])
    assert layer(KerasTensor((None, 8, 6, 3), "float32")).shape == (None, *changed[0].shape[1:])
    one = layer(IMAGES[0], training=True)
    assert one.shape == changed[0].shape[1:]
    result = layer({"images": IMAGES, "labels": np.arange(4)}, training=True)
    assert result["images"].shape == changed[0].shape and result["labels"].shape == (4,)
    copy = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    assert json.dumps(copy.get_config()) == json.dumps(layer.get_config())
    with pytest.raises(ValueError, match="bounding boxes"):
        layer({"images": IMAGES, "bounding_boxes": np.zeros((4, 1, 4))})


@pytest.mark.parametrize("layer", RANDOM, ids=lambda x: type(x).__name__)
def test_compiled_random_layers_give_what_the_interpreter_gives(layer: Any) -> None:
    with Trace() as trace:
        output = layer(trace.input(type_of(IMAGES)), training=True)
    graph = trace.finish([output])
    arrays = [IMAGES, *(v.numpy() for v in trace.reads)]
    found = executor.empty_outputs(graph)
    compiled = executor.compile(graph)
    with compiled.lock:
        compiled.bind(arrays, found)
        compiled.run()
        compiled.release()
    np.testing.assert_allclose(found[0], evaluate(graph, arrays)[0], rtol=1e-3, atol=2e-2)


def test_flips_and_turns() -> None:
    image = np.arange(6, dtype="float32").reshape(2, 3, 1)
    found = {tuple(np.asarray(layers.RandomFlip("horizontal", seed=s)(image)).ravel()) for s in range(12)}
    assert found == {(0, 1, 2, 3, 4, 5), (2, 1, 0, 5, 4, 3)}
    found = {tuple(np.asarray(layers.RandomFlip(seed=s)(image)).ravel()) for s in range(40)}
    assert len(found) == 4
    square = np.arange(9, dtype="float32").reshape(3, 3, 1)
    quarter = layers.RandomRotation((0.25, 0.25))(square)
    np.testing.assert_allclose(np.asarray(quarter)[..., 0], np.rot90(square[..., 0]), atol=1e-4)
    down = layers.RandomTranslation((1 / 3, 1 / 3), 0.0, fill_mode="constant")(square)
    np.testing.assert_allclose(np.asarray(down)[..., 0], [[0, 0, 0], [0, 1, 2], [3, 4, 5]], atol=1e-5)
    out = layers.RandomZoom((1.0, 1.0), fill_mode="constant", interpolation="nearest")(np.ones((4, 4, 1), "float32"))
    assert np.asarray(out).sum() == 4  # twice as far away: a quarter of the area
    bright = layers.RandomBrightness((0.2, 0.2))(np.full((1, 2, 2, 1), 250.0, "float32"))
    np.testing.assert_allclose(np.asarray(bright), 255.0)


def test_colours() -> None:
    grey = np.asarray(layers.RandomGrayscale(1.0)(IMAGES))
    np.testing.assert_allclose(grey, np.repeat(grey[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(np.asarray(layers.RandomGrayscale(0.0)(IMAGES)), IMAGES)
    for neutral in (layers.RandomSaturation((0.5, 0.5)), layers.RandomHue((0.0, 0.0))):
        np.testing.assert_allclose(np.asarray(neutral(IMAGES)), IMAGES, atol=1e-2)
    red = np.zeros((1, 1, 1, 3), "float32")
    red[..., 0] = 1
    half = layers.RandomHue((1.0, 1.0), value_range=(0, 1))
    np.testing.assert_allclose(np.asarray(half(red)).ravel(), [0, 1, 1], atol=1e-5)  # the complement
    stretched = np.asarray(layers.AutoContrast()(IMAGES))
    np.testing.assert_allclose(stretched.min(axis=(1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(stretched.max(axis=(1, 2)), 255, atol=1e-3)
    mixed = layers.MixUp(seed=1)({"images": IMAGES, "labels": np.eye(4, dtype="float32")})
    labels = np.asarray(mixed["labels"])
    cut = layers.CutMix((1.0, 1.0), seed=2)({"images": IMAGES, "labels": np.eye(4, dtype="float32")})
    kept = (np.asarray(cut["images"]) == IMAGES).all(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(np.diag(np.asarray(cut["labels"])), kept, atol=1e-5)
    np.testing.assert_allclose(np.asarray(mixed["images"]), np.tensordot(labels, IMAGES, 1), rtol=1e-3, atol=1e-2)


def test_sizes() -> None:
    ramp = np.arange(48, dtype="float32").reshape(1, 6, 8, 1)
    crop = np.asarray(layers.CenterCrop(2, 4)(ramp))
    np.testing.assert_array_equal(crop, ramp[:, 2:4, 2:6])
    assert layers.CenterCrop(12, 4)(ramp).shape == (1, 12, 4, 1)
    resized = layers.Resizing(3, 4)(ramp)
    np.testing.assert_allclose(np.asarray(resized), np.asarray(ops.image.resize(ramp, (3, 4))))
    assert layers.Resizing(3, 4)(ramp.astype("uint8")).dtype == "uint8"
    assert layers.Resizing(3, 4, data_format="channels_first")(np.ones((2, 3, 8, 8), "float32")).shape == (2, 3, 3, 4)
    part = np.asarray(layers.RandomCrop(2, 3, seed=1)(ramp, training=True))[0, ..., 0]
    top, left = divmod(int(part[0, 0]), 8)
    np.testing.assert_array_equal(part, ramp[0, top : top + 2, left : left + 3, 0])
    assert layers.RandomCrop(2, 3)(ramp, training=False).shape == (1, 2, 3, 1)


def test_augmentation_inside_a_model() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.1),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    model.fit(IMAGES, np.zeros((4, 1)), epochs=2, verbose=0)
    first = model.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), first)


def test_pipeline() -> None:
    pipeline = layers.Pipeline([layers.CenterCrop(4, 4), layers.RandomFlip(seed=1), layers.Rescaling(2.0)])
    y = pipeline(IMAGES, training=False)
    np.testing.assert_allclose(np.asarray(y), 2 * IMAGES[:, 2:6, 1:5], rtol=1e-6)
    copy = layers.deserialize(json.loads(json.dumps(layers.serialize(pipeline))))
    assert [type(x) for x in copy.layers] == [type(x) for x in pipeline.layers]


def test_default_configs_are_those_of_keras() -> None:
    golden = json.loads((pathlib.Path(__file__).parent / "golden" / "default_configs.json").read_text())
    made = {
        "RandomFlip": layers.RandomFlip(name="random_flip"),
        "RandomRotation": layers.RandomRotation(0.2, name="random_rotation"),
        "RandomZoom": layers.RandomZoom(0.1, name="random_zoom"),
        "RandomContrast": layers.RandomContrast(0.2, name="random_contrast"),
        "Resizing": layers.Resizing(8, 8, name="resizing"),
        "CenterCrop": layers.CenterCrop(8, 8, name="center_crop"),
        "CategoryEncoding": layers.CategoryEncoding(5, name="category_encoding"),
        "Discretization": layers.Discretization([1.0, 2.0], name="discretization"),
        "Hashing": layers.Hashing(10, name="hashing"),
        "HashedCrossing": layers.HashedCrossing(10, name="hashed_crossing"),
        "IntegerLookup": layers.IntegerLookup(name="integer_lookup"),
        "StringLookup": layers.StringLookup(name="string_lookup"),
        "TextVectorization": layers.TextVectorization(name="text_vectorization"),
    }
    for name, layer in made.items():
        found = json.loads(json.dumps(layers.serialize(layer)))["config"]
        assert found == golden[f"keras.layers.{name}"]["serialized"]["config"], name


def test_docstring_examples() -> None:
    home = "graphkeras.layers.preprocessing."
    names = ("category_encoding", "discretization", "hashing", "lookups", "text_vectorization", "pipeline")
    for name in (*names, "image.random_affine", "image.color_space", "image.random_color", "image.sizes"):
        result = doctest.testmod(importlib.import_module(home + name))
        assert result.failed == 0 and result.attempted > 0, name
