"""70000 grey pictures of handwritten digits."""

from __future__ import annotations

import numpy as np

from graphkeras.datasets.common import Split, fetch

_HASH = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(path: str = "mnist.npz") -> Split:
    """((x_train, y_train), (x_test, y_test)): uint8 pictures of shape (n, 28, 28), labels of shape (n,).

    path: name in the cache.
    """
    with np.load(fetch(path, "mnist.npz", _HASH), allow_pickle=False) as file:
        return (file["x_train"], file["y_train"]), (file["x_test"], file["y_test"])
