"""70000 grey pictures of 10 kinds of clothes."""

from __future__ import annotations

import gzip
import os

import numpy as np

from graphkeras.datasets.common import GOOGLE, Split
from graphkeras.utils.file_utils import get_file


def load_data() -> Split:
    """((x_train, y_train), (x_test, y_test)): uint8 pictures of shape (n, 28, 28), labels of shape (n,)."""
    (x, y), (x_test, y_test) = ((_read(f"{k}-images-idx3"), _read(f"{k}-labels-idx1")) for k in ("train", "t10k"))
    return (x.reshape(len(y), 28, 28), y), (x_test.reshape(len(y_test), 28, 28), y_test)


def _read(name: str) -> np.ndarray:
    """A file of bytes after a head: magic number, then the extents."""
    name = f"{name}-ubyte.gz"
    path = get_file(name, origin=GOOGLE + name, cache_subdir=os.path.join("datasets", "fashion-mnist"))
    with gzip.open(path, "rb") as file:
        data = file.read()
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
