"""Data sets from folders and arrays, images, padding, splitting."""

import struct
import sys
import wave

import numpy as np
import pytest

import graphkeras as keras
from graphkeras.utils import optional


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6]]),
        ({"maxlen": 2, "truncating": "post", "value": 9}, [[9, 1], [2, 3], [4, 5]]),
        ({"maxlen": 0}, [[], [], []]),
    ],
)
def test_pad_sequences(arguments, wanted):
    assert keras.utils.pad_sequences([[1], [2, 3], [4, 5, 6]], **arguments).tolist() == wanted


def test_pad_sequences_of_vectors_and_strings():
    padded = keras.utils.pad_sequences([[[1, 2]], [[3, 4], [5, 6]], []], dtype="float32")
    assert padded.shape == (3, 2, 2) and padded[0].tolist() == [[0, 0], [1, 2]]
    assert keras.utils.pad_sequences([["a"], ["b", "c"]], dtype=object, value="-").tolist() == [["-", "a"], ["b", "c"]]
    with pytest.raises(ValueError, match="dtype=object"):
        keras.utils.pad_sequences([["a"]], value="-")
    with pytest.raises(ValueError, match="Padding"):
        keras.utils.pad_sequences([[1]], padding="left")


def test_timeseries_windows():
    series = np.arange(20)
    data = keras.utils.timeseries_dataset_from_array(
        series, series * 10, 3, sequence_stride=2, sampling_rate=3, batch_size=4, start_index=1, end_index=17
    )
    batches = list(data)
    x, y = np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])
    assert x.tolist() == [[s, s + 3, s + 6] for s in range(1, 11, 2)] and y.tolist() == [
        s * 10 for s in range(1, 11, 2)
    ]
    assert len(data) == 2 and [len(b[0]) for b in data] == [4, 1]
    with pytest.raises(ValueError, match="start_index"):
        keras.utils.timeseries_dataset_from_array(series, None, 3, start_index=30)
    with pytest.raises(ValueError, match="sampling_rate"):
        keras.utils.timeseries_dataset_from_array(series, None, 3, sampling_rate=0)


def test_shuffled_passes_differ_and_repeat_with_a_seed():
    def passes():
        data = keras.utils.timeseries_dataset_from_array(np.arange(40), None, 1, batch_size=8, shuffle=True, seed=3)
        return [np.concatenate(list(data)).ravel().tolist() for _ in range(2)]

    first, second = passes()
    assert first != second and sorted(first) == sorted(second) == list(range(40))
    assert passes() == [first, second]


def test_methods_of_data_sets():
    data = keras.utils.timeseries_dataset_from_array(np.arange(10), np.arange(10), 1, batch_size=3)
    calls = []

    def double(x, y):
        calls.append(1)
        return keras.ops.multiply(x, 2), y

    mapped = data.map(double).cache().prefetch(1)
    assert [x.ravel().tolist() for x, _ in mapped.take(2)] == [[0, 2, 4], [6, 8, 10]]
    list(mapped)
    list(mapped)
    assert len(calls) == 4 and len(data.skip(3)) == 1 and data.cardinality() == 4
    assert isinstance(mapped.first()[0], np.ndarray)


def test_models_train_on_data_sets():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = keras.utils.timeseries_dataset_from_array(np.arange(12.0), np.arange(12.0), 3, batch_size=4)
    history = model.fit(data, epochs=2, verbose=0, validation_data=data)
    assert len(history.history["val_loss"]) == 2
    assert model.predict(data.map(lambda x, y: x), verbose=0).shape == (10, 1)


@pytest.fixture
def texts(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(5):
            (tmp_path / name / f"{i}.txt").write_text(f"{name} {i} é")
        (tmp_path / name / "deep" / "x.txt").write_text(f"{name} deep")
        (tmp_path / name / "notes.md").write_text("no")
    return tmp_path


def test_texts_from_folders(texts, capsys):
    data = keras.utils.text_dataset_from_directory(texts, batch_size=4, shuffle=False)
    assert "Found 12 files belonging to 2 classes." in capsys.readouterr().out
    assert data.class_names == ["cats", "dogs"] and len(data.file_paths) == 12
    x, y = data.first()
    assert x[0] == "cats 0 é" and y.tolist() == [0] * 4 and y.dtype == "int32"
    assert sum(int(labels.sum()) for _, labels in data) == 6
    cut = keras.utils.text_dataset_from_directory(texts, labels=None, max_length=3, shuffle=False, verbose=False)
    assert set(cut.first()) == {"cat", "dog"}


@pytest.mark.parametrize(("mode", "shape"), [("int", (12,)), ("binary", (12, 1)), ("categorical", (12, 2))])
def test_label_modes(texts, mode, shape):
    data = keras.utils.text_dataset_from_directory(texts, label_mode=mode, verbose=False, seed=1)
    x, y = data.first()
    assert y.shape == shape
    is_dog = np.array([t.startswith("dogs") for t in x])
    assert (y.argmax(-1) if mode == "categorical" else y.ravel()).astype(bool).tolist() == is_dog.tolist()


def test_splits_of_folders(texts):
    common = {"validation_split": 0.25, "seed": 5, "verbose": False}
    left, right = keras.utils.text_dataset_from_directory(texts, subset="both", **common)
    again = keras.utils.text_dataset_from_directory(texts, subset="validation", **common)
    assert len(left.file_paths) == 9 and right.file_paths == again.file_paths
    assert not set(left.file_paths) & set(right.file_paths)
    with pytest.raises(ValueError, match="seed"):
        keras.utils.text_dataset_from_directory(texts, subset="both", validation_split=0.25)
    with pytest.raises(ValueError, match="subset"):
        keras.utils.text_dataset_from_directory(texts, validation_split=0.25)


def test_wrong_arguments_of_folders(texts):
    with pytest.raises(ValueError, match="class_names"):
        keras.utils.text_dataset_from_directory(texts, class_names=["birds"])
    with pytest.raises(ValueError, match="number of files"):
        keras.utils.text_dataset_from_directory(texts, labels=[1, 2])
    with pytest.raises(ValueError, match="label_mode"):
        keras.utils.text_dataset_from_directory(texts, label_mode="float")
    with pytest.raises(NotADirectoryError, match="nowhere"):
        keras.utils.text_dataset_from_directory(texts / "nowhere")
    (texts / "none").mkdir()
    with pytest.raises(ValueError, match="No files found"):
        keras.utils.text_dataset_from_directory(texts / "none", labels=None)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_sounds(tmp_path, width):
    values = [0.5, -0.5, 0.25, 0.0]
    (tmp_path / "a").mkdir()
    with wave.open(str(tmp_path / "a" / "s.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(100)
        for v in values:
            number = int(v * 2 ** (8 * width - 1))
            sample = struct.pack("B", number + 128) if width == 1 else struct.pack("<i", number)[:width]
            file.writeframes(sample * 2)
    x, _ = keras.utils.audio_dataset_from_directory(tmp_path, output_sequence_length=6, verbose=False).first()
    assert x.shape == (1, 6, 2)
    np.testing.assert_allclose(x[0, :, 1], [*values, 0, 0], atol=1e-6)
    x, _ = keras.utils.audio_dataset_from_directory(tmp_path, sampling_rate=200, verbose=False).first()
    np.testing.assert_allclose(x[0, :4, 0], [0.5, 0, -0.5, -0.125], atol=1e-6)


@pytest.mark.parametrize(
    ("dataset", "sizes", "left", "right"),
    [
        (np.arange(10), {"left_size": 0.7}, list(range(7)), [7, 8, 9]),
        (list(range(10)), {"right_size": 2}, list(range(8)), [8, 9]),
        (np.arange(10), {"left_size": 3, "right_size": 3}, [0, 1, 2], [7, 8, 9]),
    ],
)
def test_split_dataset(dataset, sizes, left, right):
    parts = keras.utils.split_dataset(dataset, **sizes)
    assert [[int(x) for x in part] for part in parts] == [left, right]
    assert [len(p) for p in parts] == [len(left), len(right)]


def test_split_batches_and_structures():
    batches = keras.utils.timeseries_dataset_from_array(np.arange(10), np.arange(10), 1, batch_size=4)
    left, right = keras.utils.split_dataset(batches, left_size=0.5, shuffle=True, seed=1)
    found = [y for part in (left, right) for _, batch in part for y in batch.tolist()]
    assert sorted(found) == list(range(10)) and left.first()[0].shape == (4, 1)
    (x, y), *_ = keras.utils.split_dataset((np.arange(6), np.arange(6) * 2), left_size=0.5)[1]
    assert (x, y) == (3, 6)
    for sizes in ({}, {"left_size": 0}, {"left_size": 1.5}, {"left_size": 0.6, "right_size": 0.6}, {"right_size": 30}):
        with pytest.raises(ValueError, match="size"):
            keras.utils.split_dataset(np.arange(10), **sizes)


# -- images ----------------------------------------------------------------------------------------
def test_images_to_arrays_and_back(tmp_path):
    pytest.importorskip("PIL.Image")
    x = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype("float32")
    keras.utils.save_img(tmp_path / "a.png", x, scale=False)
    img = keras.utils.load_img(tmp_path / "a.png")
    np.testing.assert_array_equal(keras.utils.img_to_array(img), x)
    assert keras.utils.img_to_array(img, data_format="channels_first").shape == (3, 5, 7)
    grey = keras.utils.load_img(tmp_path / "a.png", color_mode="grayscale", target_size=(4, 2))
    assert keras.utils.img_to_array(grey).shape == (4, 2, 1)
    scaled = np.asarray(keras.utils.array_to_img(np.array([[[-1.0], [1.0]]])))
    assert scaled.tolist() == [[0, 255]]
    with pytest.warns(UserWarning, match="JPEG"):
        keras.preprocessing.image.save_img(tmp_path / "a.jpg", np.zeros((4, 4, 4)))
    for call in (
        lambda: keras.utils.array_to_img(np.zeros((2, 2))),
        lambda: keras.utils.array_to_img(np.zeros((2, 2, 2))),
        lambda: keras.utils.load_img(tmp_path / "a.png", color_mode="cmyk"),
        lambda: keras.utils.load_img(tmp_path / "a.png", target_size=(2, 2), interpolation="cubic"),
    ):
        with pytest.raises(ValueError, match=r"rank 3|channel number|color_mode|interpolation"):
            call()


def test_images_from_folders(tmp_path):
    pytest.importorskip("PIL.Image")
    for label, name in enumerate(("black", "white")):
        (tmp_path / name).mkdir()
        for i in range(3):
            keras.utils.save_img(tmp_path / name / f"{i}.png", np.full((4, 8, 3), 255.0 * label), scale=False)
    data = keras.utils.image_dataset_from_directory(tmp_path, image_size=(6, 6), batch_size=4, seed=0, verbose=False)
    x, y = data.first()
    assert x.shape == (4, 6, 6, 3) and x.dtype == "float32" and data.class_names == ["black", "white"]
    np.testing.assert_array_equal(x[:, 0, 0, 0], 255.0 * y)
    padded = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(6, 6), pad_to_aspect_ratio=True, color_mode="grayscale", shuffle=False, verbose=False
    )
    x, y = padded.first()
    assert x[-1, :, 3, 0].tolist() == [0, 255, 255, 255, 0, 0] or x[-1, :, 3, 0].tolist() == [0, 0, 255, 255, 255, 0]


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"load_img needs Pillow.*graphkeras\[images\]"):
        keras.utils.load_img("a.png")


def test_extras_are_declared():
    import pathlib
    import tomllib

    project = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for package, extra in optional._PACKAGES.values():
        assert any(r.startswith(package) for r in project["optional-dependencies"][extra])


def test_smart_resize_keeps_proportions():
    x = np.zeros((4, 12, 1), "float32")
    x[:, 4:8] = 1
    resized = keras.preprocessing.image.smart_resize(x, (2, 2))
    np.testing.assert_array_equal(resized, np.ones((2, 2, 1)))
    with pytest.raises(ValueError, match="rank"):
        keras.preprocessing.image.smart_resize(np.zeros((3, 3)), (2, 2))
