"""Data sets from folders of files: one folder per class."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.core import config
from graphkeras.utils import io_utils
from graphkeras.utils.batches import BatchedDataset
from graphkeras.utils.image_utils import INTERPOLATIONS, img_to_array, load_img
from graphkeras.utils.optional import require

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
TEXTS = (".txt",)
SOUNDS = (".wav",)

_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: Any = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """A data set of the images (bmp, gif, jpeg, png) in a folder. Needs Pillow.

    Args:
        directory: the folder; with `labels="inferred"` it has a folder for each class.
        labels: "inferred", None, or a list of integers in the order of the sorted paths.
        label_mode: "int", "binary" (float of shape (n, 1)), "categorical" (one-hot) or None.
        class_names: the folders to use, in the order of their labels.
        color_mode: "grayscale", "rgb" or "rgba".
        batch_size: None gives image after image.
        image_size: (height, width).
        shuffle: whether files are shuffled (otherwise sorted), and each pass has another order.
        seed: of the shuffling.
        validation_split: fraction of the files to reserve.
        subset: "training", "validation", or "both" for a pair of data sets.
        interpolation: as in `load_img`.
        follow_links: whether folders that are links are entered.
        crop_to_aspect_ratio: cut to the right proportions, not distorted.
        pad_to_aspect_ratio: filled up with black to the right proportions, not distorted.
        data_format: "channels_last" or "channels_first".
        format: accepted for compatibility.
        verbose: print how many files there are.

    Returns:
        re-iterable data set of float32 images in 0..255, or pairs with labels; it has `class_names`, `file_paths`.
    """
    require("PIL.Image", "image_dataset_from_directory")
    if color_mode not in _CHANNELS:
        raise ValueError(f'`color_mode` must be one of {{"rgb", "rgba", "grayscale"}}. Received: {color_mode}')
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"Unknown `interpolation`: {interpolation!r}. Expected one of {tuple(INTERPOLATIONS)}.")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("Only one of `pad_to_aspect_ratio` and `crop_to_aspect_ratio` can be set to `True`.")
    data_format = config.standardize_data_format(data_format)
    size = (int(image_size[0]), int(image_size[1]))

    def load(path: str) -> np.ndarray:
        if pad_to_aspect_ratio:
            img = _padded(load_img(path, color_mode), size, interpolation)
        else:
            img = load_img(path, color_mode, size, interpolation, keep_aspect_ratio=crop_to_aspect_ratio)
        return img_to_array(img, data_format, "float32")

    return _directory_dataset(load, IMAGES, **_common(locals()))


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: Any = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """A data set of the texts (.txt, UTF-8) in a folder.

    Args:
        max_length: characters after which a text is cut.
        directory, labels, ...: as in `image_dataset_from_directory`.

    Returns:
        re-iterable data set of arrays of strings, or pairs with labels; it has `class_names` and `file_paths`.
    """

    def load(path: str) -> str:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        return text if max_length is None else text[:max_length]

    return _directory_dataset(load, TEXTS, **_common(locals()))


def audio_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    batch_size: int | None = 32,
    sampling_rate: int | None = None,
    output_sequence_length: int | None = None,
    ragged: bool = False,
    shuffle: bool = True,
    seed: Any = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> Any:
    """A data set of the sounds (.wav, PCM of 8, 16, 24 or 32 bits) in a folder, as floats in -1..1.

    Args:
        sampling_rate: samples per second to convert to, by linear interpolation; None keeps that of the files.
        output_sequence_length: length to cut or fill up to; None fills up to the longest of a batch.
        ragged: only False.
        directory, labels, ...: as in `image_dataset_from_directory`.

    Returns:
        re-iterable data set of arrays of shape (n, length, channels), or pairs with labels.
    """
    if ragged:
        raise ValueError(
            "`ragged=True` is not available: graphkeras has dense tensors only. Leave it out to get zeros."
        )
    if sampling_rate is not None and (not isinstance(sampling_rate, int) or sampling_rate <= 0):
        raise ValueError(f"`sampling_rate` should be a positive integer. Received: sampling_rate={sampling_rate}")

    def load(path: str) -> np.ndarray:
        return _read_wave(path, sampling_rate, output_sequence_length)

    return _directory_dataset(load, SOUNDS, **_common(locals()))


def _common(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that all three functions have."""
    names = (
        "directory labels label_mode class_names batch_size shuffle seed validation_split subset follow_links verbose"
    )
    return {name: arguments[name] for name in names.split()}


# -- one file --------------------------------------------------------------------------------------
def _padded(img: Any, size: tuple[int, int], interpolation: str) -> Any:
    """An image in the middle of a black one of the right size."""
    image = require("PIL.Image", "pad_to_aspect_ratio")
    scale = min(size[1] / img.size[0], size[0] / img.size[1])
    inner = (max(round(img.size[0] * scale), 1), max(round(img.size[1] * scale), 1))
    canvas = image.new(img.mode, (size[1], size[0]))
    resized = img.resize(inner, getattr(image.Resampling, INTERPOLATIONS[interpolation]))
    canvas.paste(resized, ((size[1] - inner[0]) // 2, (size[0] - inner[1]) // 2))
    return canvas


def _read_wave(path: str, rate: int | None, length: int | None) -> np.ndarray:
    with wave.open(path, "rb") as file:
        width, channels, own_rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        data = file.readframes(file.getnframes())
    if width == 1:
        values = (np.frombuffer(data, np.uint8).astype("float32") - 128) / 128
    elif width == 3:
        raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw
        values = wide.view("<i4")[:, 0].astype("float32") / 2**31
    else:
        values = np.frombuffer(data, f"<i{width}").astype("float32") / 2 ** (8 * width - 1)
    values = values.reshape(-1, channels)
    if rate is not None and rate != own_rate and len(values):
        times = np.arange(round(len(values) * rate / own_rate)) * (own_rate / rate)
        values = np.stack([np.interp(times, np.arange(len(values)), c) for c in values.T], axis=1).astype("float32")
    return values if length is None else _filled(values, length)


def _filled(values: np.ndarray, length: int) -> np.ndarray:
    short = max(length - len(values), 0)
    return np.pad(values[:length], ((0, short), (0, 0)))


# -- the data set ----------------------------------------------------------------------------------
def _directory_dataset(
    load: Callable[[str], Any],
    formats: tuple[str, ...],
    directory: Any,
    labels: Any,
    label_mode: str | None,
    class_names: Any,
    batch_size: int | None,
    shuffle: bool,
    seed: Any,
    validation_split: float | None,
    subset: str | None,
    follow_links: bool,
    verbose: bool,
) -> Any:
    _check_labels(labels, label_mode, class_names)
    _check_split(validation_split, subset, shuffle, seed)
    labels = None if label_mode is None else labels
    seed = int(np.random.randint(1_000_000)) if seed is None else seed
    paths, values, names = index_directory(
        os.fspath(directory), labels, formats, class_names, shuffle, seed, follow_links, verbose
    )
    if label_mode == "binary" and names is not None and len(names) != 2:
        raise ValueError(
            f'When passing `label_mode="binary"`, there must be exactly 2 class_names. Received: class_names={names}'
        )
    encoded = None if values is None else _encode(np.asarray(values), label_mode, len(names or ()))

    def dataset(part: slice, shuffled: bool) -> BatchedDataset:
        return _dataset(
            load, paths[part], None if encoded is None else encoded[part], names, batch_size, shuffled, seed
        )

    reserved = int((validation_split or 0) * len(paths))
    parts = {"training": slice(0, len(paths) - reserved), "validation": slice(len(paths) - reserved, None)}
    wanted = ["training", "validation"] if subset == "both" else [subset] if subset else []
    for name in wanted:
        count = len(paths[parts[name]])
        if not count:
            raise ValueError(f"No {name} files found in directory {directory}. Allowed formats: {formats}")
        if verbose:
            io_utils.print_msg(f"Using {count} files for {name}.")
    if not paths:
        raise ValueError(f"No files found in directory {directory}. Allowed formats: {formats}")
    if subset == "both":
        return [dataset(parts["training"], shuffle), dataset(parts["validation"], False)]
    return dataset(parts[subset] if subset else slice(None), shuffle)


def _dataset(
    load: Callable[[str], Any],
    paths: list[str],
    labels: Any,
    names: Any,
    batch_size: int | None,
    shuffle: bool,
    seed: Any,
) -> BatchedDataset:
    def batch(indices: Any) -> Any:
        if np.ndim(indices) == 0:
            x: Any = load(paths[indices])
        else:
            x = _stack([load(paths[i]) for i in indices])
        return x if labels is None else (x, labels[indices])

    result = BatchedDataset(batch, len(paths), batch_size, shuffle, seed)
    result.class_names = names
    result.file_paths = paths
    return result


def _stack(samples: list[Any]) -> np.ndarray:
    """Samples as an array; sounds of unequal length are filled up with zeros."""
    if isinstance(samples[0], np.ndarray) and len({x.shape for x in samples}) > 1:
        longest = max(len(x) for x in samples)
        samples = [_filled(x, longest) for x in samples]
    return np.array(samples)


def _encode(labels: np.ndarray, label_mode: str | None, count: int) -> np.ndarray:
    if label_mode == "binary":
        return labels.astype("float32")[:, None]
    if label_mode == "categorical":
        return np.eye(count, dtype="float32")[labels]
    return labels.astype("int32")


def index_directory(
    directory: str,
    labels: Any,
    formats: tuple[str, ...],
    class_names: Any = None,
    shuffle: bool = True,
    seed: Any = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> tuple[list[str], Any, list[str] | None]:
    """(paths of the files, their labels or None, names of the classes or None)."""
    if not os.path.isdir(directory):
        raise NotADirectoryError(f"No such directory: {directory}")
    folders = [""]
    if labels == "inferred":
        found = sorted(e.name for e in os.scandir(directory) if e.is_dir() and not e.name.startswith("."))
        if class_names is not None and not set(class_names) <= set(found):
            raise ValueError(
                "The `class_names` passed did not match the names of the subdirectories of the target directory. "
                f"Expected: {found} (or a subset of it), but received: class_names={class_names}"
            )
        folders = list(class_names) if class_names is not None else found
    paths: list[str] = []
    inferred: list[int] = []
    for label, folder in enumerate(folders):
        files = list(_files(os.path.join(directory, folder) if folder else directory, formats, follow_links))
        paths += files
        inferred += [label] * len(files)
    values, names = _labels_of(labels, paths, inferred, folders, directory)
    if verbose:
        classes = f" belonging to {len(names)} classes" if names is not None else ""
        io_utils.print_msg(f"Found {len(paths)} files{classes}.")
    if shuffle:
        order = np.random.RandomState(seed).permutation(len(paths))
        paths = [paths[i] for i in order]
        values = None if values is None else values[order]
    return paths, values, names


def _labels_of(labels: Any, paths: list[str], inferred: list[int], folders: list[str], directory: str) -> Any:
    if labels is None:
        return None, None
    if isinstance(labels, str):
        return np.array(inferred, "int32"), folders
    if len(labels) != len(paths):
        raise ValueError(
            "Expected the lengths of `labels` to match the number of files in the target directory. len(labels) is "
            f"{len(labels)} while we found {len(paths)} files in directory {directory}."
        )
    return np.asarray(labels), [str(label) for label in sorted(set(labels))]


def _files(folder: str, formats: tuple[str, ...], follow_links: bool) -> Any:
    for root, _, names in sorted(os.walk(folder, followlinks=follow_links)):
        for name in sorted(names):
            if name.lower().endswith(formats):
                yield os.path.join(root, name)


def _check_labels(labels: Any, label_mode: Any, class_names: Any) -> None:
    if (
        labels is not None
        and not isinstance(labels, (list, tuple))
        and not (isinstance(labels, str) and labels == "inferred")
    ):
        raise ValueError(
            "`labels` argument should be a list/tuple of integer labels, of the same size as the number of files in "
            'the target directory; "inferred" to take them from the subdirectories; or None for data without labels. '
            f"Received: labels={labels}"
        )
    if class_names and not isinstance(labels, str):
        raise ValueError(
            f'You can only pass `class_names` if `labels="inferred"`. Received: labels={labels}, and '
            f"class_names={class_names}"
        )
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(
            '`label_mode` argument must be one of "int", "categorical", "binary", or None. '
            f"Received: label_mode={label_mode}"
        )


def _check_split(validation_split: Any, subset: Any, shuffle: bool, seed: Any) -> None:
    if validation_split and not 0 < validation_split < 1:
        raise ValueError(f"`validation_split` must be between 0 and 1, received: {validation_split}")
    if bool(validation_split) != bool(subset):
        raise ValueError("If `subset` is set, `validation_split` must be set, and inversely.")
    if subset not in ("training", "validation", "both", None):
        raise ValueError(f'`subset` must be either "training", "validation" or "both", received: {subset}')
    if validation_split and shuffle and seed is None:
        raise ValueError(
            "If using `validation_split` and shuffling the data, you must provide a `seed` argument, to make sure that "
            "there is no overlap between the training and validation subset."
        )
