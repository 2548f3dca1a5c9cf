"""Downloads, archives, data sets from the cache, plots, estimators, seeds, small helpers."""

import gzip
import hashlib
import io
import pickle
import random
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.datasets import common
from graphkeras.utils import file_utils


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("content")
    return path


def test_get_file_downloads_once(source, tmp_path):
    digest = hashlib.sha256(b"content").hexdigest()
    cache = tmp_path / "cache"
    path = keras.utils.get_file("a.txt", source.as_uri(), file_hash=digest, cache_dir=cache)
    assert Path(path).read_text() == "content" and path == str(cache / "datasets" / "a.txt")
    source.write_text("changed")
    assert Path(keras.utils.get_file("a.txt", source.as_uri(), cache_dir=cache)).read_text() == "content"
    with pytest.raises(ValueError, match="does not match"):
        keras.utils.get_file("a.txt", source.as_uri(), file_hash=digest, cache_dir=cache, force_download=True)
    assert Path(path).read_text() == "content"
    keras.utils.get_file("a.txt", source.as_uri(), cache_dir=cache, force_download=True)
    assert Path(path).read_text() == "changed"
    assert sorted(p.name for p in (cache / "datasets").iterdir()) == ["a.txt"]


def test_get_file_says_what_to_do_without_a_net(tmp_path):
    missing = (tmp_path / "none.txt").as_uri()
    with pytest.raises(OSError, match=r"URL fetch failure on.*put the file at"):
        keras.utils.get_file("a.txt", missing, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="origin"):
        keras.utils.get_file("a.txt")
    with pytest.raises(ValueError, match="Paths are no longer accepted"):
        keras.utils.get_file("b/a.txt", missing)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_stay_in_their_folder(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    names = ("good.txt", "deep/good.txt", "../bad.txt", str(tmp_path / "bad.txt"))
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 1
                archive.addfile(info, io.BytesIO(b"x"))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "../../outside"
            archive.addfile(link)
    with pytest.warns(UserWarning, match="Skipping invalid path"):
        folder = keras.utils.get_file("b.bin", path.as_uri(), extract=True, cache_dir=tmp_path / "cache")
    found = sorted(str(p.relative_to(folder)) for p in tmp_path.glob("cache/datasets/b_extracted/**/*") if p.is_file())
    assert found == ["deep/good.txt", "good.txt"]
    assert not list(tmp_path.rglob("bad.txt")) and not list(tmp_path.rglob("link"))


# -- data sets -------------------------------------------------------------------------------------
@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder; hashes of the files in it are taken as right."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(file_utils, "validate_file", lambda *a, **k: True)
    folder = tmp_path / "datasets"
    folder.mkdir()
    return folder


def test_mnist(cache):
    x, y = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype("uint8"), np.array([3, 4], "uint8")
    np.savez(cache / "mnist.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
    (a, b), (c, d) = keras.datasets.mnist.load_data()
    np.testing.assert_array_equal(a, x)
    assert b.tolist() == [3, 4] and c.shape == (1, 28, 28) and d.tolist() == [3]


def test_fashion_mnist(cache):
    (cache / "fashion-mnist").mkdir()
    for kind in ("train", "t10k"):
        images = b"\x00\x00\x08\x03" + bytes(12) + bytes(range(256)) * 7
        images = images[: 16 + 2 * 784]
        with gzip.open(cache / "fashion-mnist" / f"{kind}-images-idx3-ubyte.gz", "wb") as file:
            file.write(images)
        with gzip.open(cache / "fashion-mnist" / f"{kind}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(b"\x00\x00\x08\x01" + bytes(4) + b"\x05\x06")
    (x, y), _ = keras.datasets.fashion_mnist.load_data()
    assert x.shape == (2, 28, 28) and x[0, 0, 5] == 5 and y.tolist() == [5, 6]


@pytest.mark.parametrize("name", ["boston_housing", "california_housing"])
def test_housing(cache, name):
    np.savez(cache / f"{name}.npz", x=np.arange(20.0).reshape(10, 2), y=np.arange(10.0))
    module = getattr(keras.datasets, name)
    (x, y), (x_test, y_test) = module.load_data(test_split=0.3)
    assert len(x) == 7 and len(x_test) == 3 and sorted([*y, *y_test]) == list(range(10))
    np.testing.assert_array_equal(x[:, 0], 2 * y)
    with pytest.raises(ValueError, match="test_split"):
        module.load_data(test_split=1.0)


def test_imdb(cache):
    reviews = np.empty(3, dtype=object)
    reviews[:] = [[1, 2, 50], [4], [5, 6]]
    np.savez(cache / "imdb.npz", x_train=reviews, y_train=[0, 1, 0], x_test=reviews, y_test=[1, 1, 0])
    (x, y), _ = keras.datasets.imdb.load_data(num_words=20)
    assert sorted(x.tolist()) == [[1, 4, 5, 2], [1, 7], [1, 8, 9]] and len(y) == 3
    (x, _), _ = keras.datasets.imdb.load_data(maxlen=4, start_char=None, index_from=0, oov_char=None, num_words=6)
    assert sorted(x.tolist()) == [[1, 2], [4], [5]]
    assert keras.datasets.reuters.get_label_names()[3] == "earn"


def test_cifar(cache):
    batch = {b"data": np.arange(2 * 3072).reshape(2, 3072).astype("uint8"), b"labels": [1, 2], b"fine_labels": [3, 4]}
    for folder, names in {
        "cifar-10-batches-py": [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
        "cifar-100-python": ["train", "test"],
    }.items():
        with tarfile.open(cache / f"{folder}-target_archive", "w:gz") as archive:
            data = pickle.dumps(batch, protocol=2)
            for name in names:
                info = tarfile.TarInfo(f"{folder}/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    (x, y), (x_test, _) = keras.datasets.cifar10.load_data()
    assert x.shape == (10, 32, 32, 3) and y.shape == (10, 1) and x_test.shape == (2, 32, 32, 3)
    assert x[0, 0, 1].tolist() == [1, 1, 1]
    (_, y), _ = keras.datasets.cifar100.load_data()
    assert y.ravel().tolist() == [3, 4]


def test_pickles_in_data_sets_hold_arrays_only():
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    with pytest.raises(pickle.UnpicklingError, match="Refusing"):
        common.ArraysOnly(io.BytesIO(pickle.dumps(Evil()))).load()
    array = np.array([[1, 2]], "float32")
    np.testing.assert_array_equal(common.ArraysOnly(io.BytesIO(pickle.dumps(array, protocol=2))).load(), array)


# -- plots -----------------------------------------------------------------------------------------
def test_plot_model_source(tmp_path):
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu", name="in_a")], name="inner")
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(1, name="out")(inner(x)))
    model.get_layer("out").trainable = False
    path = tmp_path / "m.dot"
    options = {"show_shapes": True, "show_dtype": True, "show_layer_names": True, "show_trainable": True}
    keras.utils.plot_model(model, path, expand_nested=True, show_layer_activations=True, **options)
    text = path.read_text()
    for part in ("in_a", "Activation: <b>relu", "(None, 3)", "float32", "Non-trainable", "cluster_", "digraph"):
        assert part in text
    assert text.count("->") == 2
    keras.utils.plot_model(model, path)
    assert "in_a" not in path.read_text() and path.read_text().count("->") == 2


def test_plot_without_pydot(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pydot", None)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ImportError, match=r"pydot.*graphkeras\[plot\]"):
        keras.utils.plot_model(model, tmp_path / "m.png")
    with pytest.raises(ValueError, match="not yet been built"):
        keras.utils.plot_model(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "m.dot")


# -- estimators ------------------------------------------------------------------------------------
def estimator_model(X, y, loss, activation=None):
    outputs = y.shape[1] if y.ndim > 1 else 1
    layers = [keras.Input((X.shape[1],)), keras.layers.Dense(8, "relu"), keras.layers.Dense(outputs, activation)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.05), loss)
    return model


def test_sklearn_wrappers():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    labels = np.where(X[:, 0] > 0, "yes", "no")
    classifier = keras.wrappers.SKLearnClassifier(
        estimator_model,
        model_kwargs={"loss": "categorical_crossentropy", "activation": "softmax"},
        fit_kwargs={"epochs": 15, "verbose": 0},
    )
    classifier.fit(X, labels)
    assert classifier.score(X, labels) > 0.9 and classifier.classes_.tolist() == ["no", "yes"]
    assert classifier.decision_function(X).shape == (80, 2) and classifier.epoch_ == 15
    assert sklearn.base.clone(classifier).fit_kwargs == {"epochs": 15, "verbose": 0}
    grid = GridSearchCV(classifier, {"fit_kwargs": [{"epochs": 1, "verbose": 0}]}, cv=2).fit(X, labels)
    assert grid.best_params_
    copy = pickle.loads(pickle.dumps(classifier))
    assert (copy.predict(X) == classifier.predict(X)).all()
    with pytest.raises(ValueError, match="one class"):
        classifier.fit(X, ["a"] * 80)

    regressor = keras.wrappers.SKLearnRegressor(
        estimator_model(X, X[:, 0], "mse"), fit_kwargs={"epochs": 30, "verbose": 0}
    )
    assert make_pipeline(StandardScaler(), regressor).fit(X, X[:, 0]).score(X, X[:, 0]) > 0.8
    assert regressor.predict(X).shape == (80,)
    transformer = keras.wrappers.SKLearnTransformer(regressor.model_)
    assert transformer.fit(X, X[:, 0], verbose=0).transform(X).shape == (80, 1)
    with pytest.raises(RuntimeError, match="compiled"):
        keras.wrappers.SKLearnRegressor(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])).fit(X, X[:, 0])


def test_wrappers_without_sklearn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"scikit-learn.*graphkeras\[sklearn\]"):
        keras.wrappers.SKLearnClassifier  # noqa: B018  reading it imports it


# -- the rest --------------------------------------------------------------------------------------
def test_set_random_seed_repeats_everything():
    def numbers():
        keras.utils.set_random_seed(11)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dropout(0.5)])
        model.compile("sgd", "mse")
        x = np.random.rand(8, 4)
        loss = model.fit(x, np.random.rand(8, 3), epochs=2, verbose=0).history["loss"]
        return [random.random(), np.random.rand(), *keras.random.normal((2,)).tolist(), *loss]

    assert numbers() == numbers()
    with pytest.raises(ValueError, match="seed"):
        keras.utils.set_random_seed(-1)


def test_clear_session_starts_names_anew():
    keras.utils.clear_session(free_memory=False)
    assert [keras.layers.Dense(1).name for _ in range(2)] == ["dense", "dense_1"]
    keras.utils.clear_session(free_memory=False)
    assert keras.layers.Dense(1).name == "dense"


def test_config():
    config = keras.utils.Config(rate=0.1)
    config["size"] = 2
    config.freeze()
    with pytest.raises(ValueError, match="frozen"):
        config.rate = 1
    with pytest.raises(AttributeError, match="Did you mean"):
        config.rat  # noqa: B018
    config.unfreeze()
    assert config.pop("size") == 2 and config.to_json() == '{"rate": 0.1}' and dict(config.items()) == {"rate": 0.1}


def test_source_inputs():
    a, b = keras.Input((2,)), keras.Input((2,))
    found = keras.utils.get_source_inputs(keras.layers.Dense(1)(a + b) * 2)
    assert [any(f is x for f in found) for x in (a, b)] == [True, True] and len(found) == 2


def test_legacy_serialization():
    from graphkeras.legacy import saving

    config = saving.serialize_keras_object(keras.regularizers.L2(0.5))
    assert config == {"class_name": "L2", "config": {"l2": 0.5}}
    found = saving.deserialize_keras_object(config, {"L2": keras.regularizers.L2})
    assert float(found.l2) == 0.5
    assert saving.serialize_keras_object(keras.activations.relu) == "relu"
    with pytest.raises(ValueError, match="Unknown loss"):
        saving.deserialize_keras_object("strange", {}, printable_module_name="loss")


def test_lazy_names():
    for module in (keras.utils, keras.datasets, keras.preprocessing, keras.wrappers, keras.saving):
        for name in dir(module):
            if not name.startswith("_") and name not in ("FeatureSpace", "KerasFileEditor"):
                getattr(module, name)
        with pytest.raises(AttributeError, match="no attribute"):
            module.nothing  # noqa: B018
