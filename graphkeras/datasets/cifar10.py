"""60000 colour pictures of 10 kinds of things."""

from __future__ import annotations

from graphkeras.datasets.common import Split, cifar

_HASH = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"


def load_data() -> Split:
    """((x_train, y_train), (x_test, y_test)): uint8 pictures of shape (n, 32, 32, 3), labels of shape (n, 1)."""
    files = ([f"data_batch_{i}" for i in range(1, 6)], "test_batch")
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    return cifar("cifar-10-batches-py-target", url, _HASH, "cifar-10-batches-py", files, "labels")
