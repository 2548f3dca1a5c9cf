"""FeatureSpace: kinds of features, crosses, models on top, saving."""

import numpy as np
import pytest

import graphkeras as keras

DATA = {
    "f": [0.0, 1.0, 2.0, 3.0],
    "n": [1.0, 3.0, 1.0, 3.0],
    "i": [5, 6, 5, 7],
    "s": ["a", "b", "a", "c"],
    "h": ["x", "y", "z", "x"],
}


def space(**options):
    features = {
        "f": "float",
        "n": "float_normalized",
        "i": "integer_categorical",
        "s": "string_categorical",
        "h": keras.utils.FeatureSpace.string_hashed(4),
    }
    made = keras.utils.FeatureSpace(features, crosses=[("i", "s")], crossing_dim=8, **options)
    made.adapt(DATA)
    return made


def test_concatenated():
    encoded = np.array(space()(DATA))
    # sorted names: f (1), h (4), i (4), n (1), s (4), then the cross (8)
    assert encoded.shape == (4, 22)
    np.testing.assert_allclose(encoded[:, 0], DATA["f"])
    np.testing.assert_allclose(encoded[:, 9], [-1, 1, -1, 1], atol=1e-3)
    for first, last in ((1, 5), (5, 9), (10, 14), (14, 22)):
        np.testing.assert_array_equal(encoded[:, first:last].sum(axis=1), 1)
    np.testing.assert_array_equal(encoded[0, 10:], encoded[2, 10:])


def test_dict_and_single_rows():
    made = space(output_mode="dict")
    one = made({name: values[0] for name, values in DATA.items()})
    assert set(one) == {"f", "n", "i", "s", "h", "i_X_s"}
    assert one["s"].shape == (4,) and one["i_X_s"].shape == (8,)
    np.testing.assert_array_equal(made(DATA)["s"][0], one["s"])


def test_adapt_to_batches_of_dicts():
    rows = [{name: values[k : k + 2] for name, values in DATA.items()} for k in (0, 2)]
    made = keras.utils.FeatureSpace({"n": "float_normalized", "s": "string_categorical"})
    made.adapt(rows)
    np.testing.assert_allclose(np.array(made(DATA))[:, 0], [-1, 1, -1, 1], atol=1e-3)
    assert sorted(made.preprocessors["s"].get_vocabulary()) == ["[UNK]", "a", "b", "c"]


def test_models_on_encoded_features():
    made = space()
    encoded = made.get_encoded_features()
    assert encoded.shape == (None, 22) and set(made.get_inputs()) == set(DATA)
    model = keras.Model(encoded, keras.layers.Dense(1)(encoded))
    model.compile("sgd", "mse")
    assert len(model.fit(made(DATA), np.ones((4, 1)), epochs=2, verbose=0).history["loss"]) == 2


def test_saving(tmp_path):
    made = space()
    made.save(tmp_path / "space.keras")
    loaded = keras.saving.load_model(tmp_path / "space.keras")
    np.testing.assert_allclose(np.array(loaded(DATA)), np.array(made(DATA)))


def test_errors_name_the_feature():
    with pytest.raises(ValueError, match="adapt"):
        keras.utils.FeatureSpace({"s": "string_categorical"})({"s": ["a"]})
    with pytest.raises(ValueError, match="'s'"):
        space()({"f": [1.0], "n": [1.0], "i": [5]})
    with pytest.raises(ValueError, match="Invalid feature type"):
        keras.utils.FeatureSpace({"s": "words"})
    with pytest.raises(ValueError, match="unknown features"):
        keras.utils.FeatureSpace({"s": "string_categorical"}, crosses=[("s", "t")])
    with pytest.raises(ValueError, match="output_mode='dict'"):
        keras.utils.FeatureSpace({"h": keras.utils.FeatureSpace.string_hashed(4, output_mode="int")})({"h": ["a"]})
