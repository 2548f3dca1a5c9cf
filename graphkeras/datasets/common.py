"""What the data sets share: where they come from, safe reading of pickled arrays, shuffling and splitting."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from typing import Any

import numpy as np

from graphkeras.core import config
from graphkeras.utils.file_utils import get_file

GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"

Split = tuple[tuple[Any, Any], tuple[Any, Any]]


class ArraysOnly(pickle.Unpickler):
    """Reads pickled NumPy arrays and plain values; anything else in the file is refused before it can run."""

    _ALLOWED = frozenset(
        [
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        ]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"Refusing to load {module}.{name}: only NumPy arrays are expected here.")
        if module.endswith("multiarray"):
            return np.array(0).__reduce__()[0]
        return super().find_class(module, name)


def fetch(path: str, name: str, file_hash: str | None) -> str:
    """The local path of a file of the Keras collection."""
    return get_file(path, origin=f"{GOOGLE}{name}", file_hash=file_hash)


def load_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, also those of lists of unequal lengths, which NumPy keeps as pickles."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                arrays[member.removesuffix(".npy")] = _load_npy(io.BytesIO(archive.read(member)))
    return arrays


def _load_npy(file: io.BytesIO) -> Any:
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except ValueError:
        file.seek(0)
    major, _ = np.lib.format.read_magic(file)
    size = int.from_bytes(file.read(2 if major == 1 else 4), "little")
    file.seek(size, io.SEEK_CUR)
    return ArraysOnly(file).load()


def shuffled(seed: int, *arrays: Any) -> list[Any]:
    """Arrays in a random order, the same for all."""
    order = np.arange(len(arrays[0]))
    np.random.RandomState(seed).shuffle(order)
    return [a[order] for a in arrays]


def housing(path: str, name: str, file_hash: str, rows: int | None, test_split: float, seed: int) -> Split:
    """A table of numbers, shuffled and split."""
    if not 0 <= test_split < 1:
        raise ValueError(f"Invalid `test_split` argument: {test_split}. It must be between 0 and 1 (exclusive of 1).")
    with np.load(fetch(path, name, file_hash), allow_pickle=False) as file:
        x, y = shuffled(seed, file["x"][:rows], file["y"][:rows])
    count = int(len(x) * (1 - test_split))
    return (x[:count], y[:count]), (x[count:], y[count:])


# -- cifar -----------------------------------------------------------------------------------------
def cifar(folder: str, url: str, file_hash: str, inner: str, files: tuple[list[str], str], label: str) -> Split:
    """Images of 32 by 32 pixels from the archives of the University of Toronto."""
    root = get_file(folder, origin=url, extract=True, file_hash=file_hash)
    train = [_cifar_batch(os.path.join(root, inner, name), label) for name in files[0]]
    x, y = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return (x, y), _cifar_batch(os.path.join(root, inner, files[1]), label)


def _cifar_batch(path: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    with open(path, "rb") as file:
        batch = {k.decode(): v for k, v in ArraysOnly(file, encoding="bytes").load().items()}
    x = np.asarray(batch["data"], "uint8").reshape(-1, 3, 32, 32)
    if config.image_data_format() == "channels_last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return x, np.asarray(batch[label], "uint8").reshape(-1, 1)


# -- texts as numbers of words ---------------------------------------------------------------------
def renumber(xs: Any, start_char: int | None, index_from: int) -> list[list[int]]:
    """Sequences of word numbers, moved up by `index_from`, with a start mark."""
    start = [] if start_char is None else [start_char]
    shift = index_from or 0
    return [[*start, *(w + shift for w in x)] for x in xs]


def shorter_than(maxlen: int, xs: list[Any], labels: Any) -> tuple[list[Any], Any]:
    kept = [i for i, x in enumerate(xs) if len(x) < maxlen]
    if not kept:
        raise ValueError(f"After filtering for sequences shorter than maxlen={maxlen}, no sequence was kept.")
    return [xs[i] for i in kept], np.asarray(labels)[kept]


def limit_words(xs: list[Any], num_words: int | None, skip_top: int, oov_char: int | None) -> list[list[int]]:
    """Words from `skip_top` to `num_words` (exclusive); others become `oov_char`, or are left out."""
    limit = num_words or max(max(x) for x in xs)
    if oov_char is not None:
        return [[w if skip_top <= w < limit else oov_char for w in x] for x in xs]
    return [[w for w in x if skip_top <= w < limit] for x in xs]


def ragged(xs: list[Any]) -> np.ndarray:
    """A one-dimensional array of lists."""
    result = np.empty(len(xs), dtype=object)
    result[:] = xs
    return result
