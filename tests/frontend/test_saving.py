"""Files of models and weights: what Keras wrote is read, what is written is read again, errors name their cause."""

import copy
import io
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import graphkeras as keras
from tests.fixtures import models

FIXTURES = Path(models.__file__).with_name("keras_models.zip")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that Keras wrote."""
    folder = tmp_path_factory.mktemp("keras_files")
    with zipfile.ZipFile(FIXTURES) as archive:
        archive.extractall(folder)
    models.subclassed_class(keras)
    return folder


@pytest.fixture(scope="module")
def expected(files):
    return dict(np.load(files / "expected.npz"))


def check_outputs(model, name, expected):
    x = models.inputs(name)
    for i, y in enumerate(models.outputs(model, x)):
        np.testing.assert_allclose(y, expected[f"{name}/output/{i}"], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", models.BUILDERS)
def test_models_of_keras(files, expected, name):
    model = keras.saving.load_model(files / f"{name}.keras")
    check_outputs(model, name, expected)
    state = [v for k, v in expected.items() if k.startswith(f"{name}/optimizer/")]
    assert len(model.optimizer.variables) == len(state) > 0
    for variable, value in zip(model.optimizer.variables, state, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "cnn", "nested", "attention"])
def test_hdf5_models_of_keras(files, expected, name):
    model = keras.saving.load_model(files / f"{name}.h5")
    check_outputs(model, name, expected)
    assert int(model.optimizer.iterations.numpy()) == 4
    other = models.BUILDERS[name](keras)
    other.load_weights(files / f"{name}.h5")
    check_outputs(other, name, expected)


@pytest.mark.parametrize("name", ["subclassed", "recurrent"])
def test_weights_of_keras(files, expected, name):
    model = models.BUILDERS[name](keras)
    model.load_weights(files / f"{name}.weights.h5")
    check_outputs(model, name, expected)


def test_sharded_weights_of_keras(files, expected):
    model = models.mlp(keras)
    model.load_weights(files / "sharded.weights.json")
    for i, value in enumerate(model.get_weights()):
        np.testing.assert_array_equal(value, expected[f"sharded/{i}"])


def layout(path):
    """Path -> shape of all data sets, and the names of objects."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda n, o: found.update({n: o.shape if hasattr(o, "shape") else o.attrs.get("name") and 1}))
    return found


def test_layout_is_that_of_keras(files, tmp_path):
    for name in ("subclassed", "recurrent"):
        keras.utils.clear_session(free_memory=False)
        model = models.BUILDERS[name](keras)
        models.train(model, models.inputs(name), "sgd")
        model.save_weights(tmp_path / "own.weights.h5")
        assert layout(tmp_path / "own.weights.h5") == layout(files / f"{name}.weights.h5")


@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
@pytest.mark.parametrize("name", ["mlp", "functional", "nested"])
def test_round_trip(tmp_path, name, ending):
    model, x = models.BUILDERS[name](keras), models.inputs(name)
    models.train(model, x, "adam")
    path = tmp_path / f"model{ending}"
    model.save(path, zipped=bool(ending))
    loaded = keras.models.load_model(path)
    for a, b in zip(models.outputs(model, x), models.outputs(loaded, x), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not keras.models.load_model(path, compile=False).compiled


def test_training_goes_on_where_it_was(tmp_path):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x, y = models.inputs("mlp"), np.ones((6, 3), "float32")
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(x, y, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    whole = model.fit(x, y, epochs=3, verbose=0, shuffle=False).history["loss"]
    assert loaded.fit(x, y, epochs=3, verbose=0, shuffle=False).history["loss"] == whole


def test_archive_members(tmp_path):
    path = tmp_path / "a.keras"
    models.mlp(keras).save(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        config = json.loads(archive.read("config.json"))
        assert config["module"] == "keras" and config["class_name"] == "Sequential"
        assert set(json.loads(archive.read("metadata.json"))) == {"keras_version", "date_saved"}


def test_file_objects_and_pickles():
    model, x = models.functional(keras), models.inputs("functional")
    buffer = io.BytesIO()
    keras.saving.save_model(model, buffer)
    buffer.seek(0)
    for other in (keras.saving.load_model(buffer), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        for a, b in zip(models.outputs(model, x), models.outputs(other, x), strict=True):
            np.testing.assert_array_equal(a, b)


class Vocabulary(keras.layers.Layer):
    """Keeps a file and a weight of its own kind."""

    words = ""

    def call(self, x):
        return x

    def save_assets(self, folder):
        Path(folder, "words.txt").write_text(self.words)

    def load_assets(self, folder):
        self.words = Path(folder, "words.txt").read_text()

    def save_own_variables(self, store):
        store["count"] = np.array(len(self.words))

    def load_own_variables(self, store):
        self.count = int(store["count"])


@pytest.mark.parametrize("zipped", [True, False])
def test_assets_and_own_variables(tmp_path, zipped):
    layer = Vocabulary()
    layer.words = "one two"
    model = keras.Sequential([keras.Input((2,)), layer])
    path = tmp_path / ("model.keras" if zipped else "model")
    model.save(path, zipped=zipped)
    loaded = keras.saving.load_model(path, custom_objects={"Vocabulary": Vocabulary})
    assert (loaded.layers[0].words, loaded.layers[0].count) == ("one two", 7)
    if zipped:
        assert "assets/layers/vocabulary/words.txt" in zipfile.ZipFile(path).namelist()


def test_sharded_weights(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(8)])
    index = tmp_path / "model.weights.json"
    model.save_weights(index, max_shard_size=260 / 2**30)
    assert len(list(tmp_path.iterdir())) == 4
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(8)])
    other.load_weights(index)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="max_shard_size"):
        model.save_weights(index, max_shard_size=10 / 2**30)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes(tmp_path, dtype):
    def build():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype=dtype)])

    model, other = build(), build()
    model.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    assert other.layers[0].kernel.dtype == dtype
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), other.layers[0].kernel.numpy())


def dense(*units):
    return keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(n) for n in units)])


@pytest.mark.parametrize("ending", [".weights.h5", ".keras", ".h5"])
def test_mismatch(tmp_path, ending):
    path = str(tmp_path / f"m{ending}")
    source, target = dense(3, 2), dense(3, 5)
    source.save_weights(path) if ending == ".weights.h5" else source.save(path)
    before = target.layers[1].get_weights()
    with pytest.raises(ValueError) as info:
        target.load_weights(path)
    assert path in str(info.value) and target.layers[1].name in str(info.value) and "skip_mismatch" in str(info.value)
    target = dense(3, 5)
    before = target.layers[1].get_weights()
    with pytest.warns(UserWarning, match="could not be loaded|Skipping"):
        target.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(target.layers[0].get_weights()[0], source.layers[0].get_weights()[0])
    np.testing.assert_array_equal(target.layers[1].get_weights()[0], before[0])


def test_objects_to_skip(tmp_path):
    source, target = dense(3, 2), dense(3, 2)
    source.save_weights(tmp_path / "m.weights.h5")
    before = target.layers[0].get_weights()[0]
    keras.saving.load_weights(target, tmp_path / "m.weights.h5", objects_to_skip=[target.layers[0]])
    np.testing.assert_array_equal(target.layers[0].get_weights()[0], before)
    np.testing.assert_array_equal(target.layers[1].get_weights()[0], source.layers[1].get_weights()[0])


def test_unknown_layer_is_named(tmp_path):
    class Strange(keras.layers.Layer):
        def call(self, x):
            return x

    x = keras.Input((3,))
    keras.Model(x, Strange()(x)).save(tmp_path / "m.keras")
    with pytest.raises(TypeError, match=r"Could not locate class 'Strange'.*register_keras_serializable"):
        keras.saving.load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("path", ["m.txt", "m.keras.zip", "model"])
def test_endings(tmp_path, path):
    with pytest.raises(ValueError, match="extension"):
        dense(2).save(tmp_path / path)
    with pytest.raises(ValueError, match="not supported"):
        keras.saving.load_model(tmp_path / path)
    with pytest.raises(ValueError, match=r"\.weights\.h5"):
        dense(2).save_weights(tmp_path / path)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.weights\.h5"):
        dense(2).load_weights(tmp_path / "none.weights.h5")
    with pytest.raises(ValueError, match="is missing"):
        keras.saving.load_model(tmp_path / "none.keras")
    (tmp_path / "bad.keras").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(ValueError, match="damaged"):
        keras.saving.load_model(tmp_path / "bad.keras")
    (tmp_path / "bad.weights.h5").write_bytes(b"nothing")
    with pytest.raises(OSError, match=r"bad\.weights\.h5"):
        dense(2).load_weights(tmp_path / "bad.weights.h5")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    class Breaks(keras.layers.Layer):
        def call(self, x):
            return x

        def save_own_variables(self, store):
            raise RuntimeError("no")

    path = tmp_path / "m.keras"
    dense(2).save(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no"):
        keras.Sequential([keras.Input((4,)), Breaks()]).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.keras"]


def test_overwrite_asks(tmp_path, monkeypatch):
    path = tmp_path / "m.keras"
    dense(2).save(path)
    before = path.read_bytes()
    monkeypatch.setattr("builtins.input", lambda _: "n")
    dense(3).save(path, overwrite=False)
    assert path.read_bytes() == before


def test_callbacks_save_and_restore(tmp_path):
    x, y = models.inputs("mlp"), np.ones((6, 3), "float32")
    model = dense(3)
    model.compile("adam", "mse")
    saves = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="loss")
    model.fit(x, y, epochs=2, verbose=0, callbacks=[saves])
    best = keras.saving.load_model(tmp_path / "2.keras")
    np.testing.assert_array_equal(best.get_weights()[0], model.get_weights()[0])

    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=4, verbose=0, callbacks=[backup, Crash()])
    state = model.get_weights()
    other = dense(3)
    other.compile("adam", "mse")
    history = other.fit(x, y, epochs=2, verbose=0, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    assert history.epoch == []
    np.testing.assert_array_equal(other.get_weights()[0], state[0])


def test_h5py_is_imported_when_needed():
    import subprocess

    code = "import graphkeras, graphkeras.saving, graphkeras.models, sys; assert 'h5py' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_file_editor(tmp_path, capsys):
    path = tmp_path / "m.keras"
    source = dense(3, 2)
    source.compile("adam", "mse")
    source.save(path)
    editor = keras.saving.KerasFileEditor(path)
    assert editor.compare(source) == {"status": "success", "error_count": 0, "match_count": 6}
    editor.summary()
    assert "dense_1" in capsys.readouterr().out and editor.config["class_name"] == "Sequential"
    editor.add_object("layers/dense_5", {"0": np.ones((2, 2))})
    editor.rename_object("dense_5", "dense_2")
    editor.add_weights("layers/dense_2", {"1": np.zeros(2)})
    editor.delete_object("optimizer")
    target = dense(3, 2, 2)
    assert editor.compare(target)["status"] == "success"
    editor.save(tmp_path / "new.weights.h5")
    target.load_weights(tmp_path / "new.weights.h5")
    np.testing.assert_array_equal(target.layers[2].get_weights()[0], np.ones((2, 2)))
    editor.delete_weight("dense_2", "1")
    editor.add_weights("dense_1", {"0": np.zeros((9, 9))})
    assert editor.compare(target)["error_count"] == 2
    for call in (
        lambda: editor.delete_object("dense_9"),
        lambda: editor.delete_object("layers/dense_9"),
        lambda: editor.rename_object("dense", "a/b"),
        lambda: editor.add_weights("dense", [1]),
        lambda: editor.delete_weight("dense", "7"),
        lambda: editor.save(tmp_path / "x.h5"),
        lambda: keras.saving.KerasFileEditor(tmp_path / "x.h5"),
    ):
        with pytest.raises(ValueError, match=r"not|leaf|dict|expected"):
            call()


def test_links_and_missing_folders(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.keras").symlink_to(tmp_path / "real" / "m.keras")
    dense(2).save(tmp_path / "link.keras")
    assert os.listdir(tmp_path / "real") == ["m.keras"] and (tmp_path / "link.keras").is_symlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        dense(2).save(tmp_path / "none" / "m.keras")
    dense(2).save(tmp_path / "made" / "m.h5")
    assert keras.saving.load_model(tmp_path / "made" / "m.h5").count_params() == 10
