"""60000 colour pictures of 100 kinds of things in 20 groups."""

from __future__ import annotations

from graphkeras.datasets.common import Split, cifar

_HASH = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"


def load_data(label_mode: str = "fine") -> Split:
    """((x_train, y_train), (x_test, y_test)): uint8 pictures of shape (n, 32, 32, 3), labels of shape (n, 1).

    label_mode: "fine" (100 labels) or "coarse" (20).
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f'`label_mode` must be one of `"fine"`, `"coarse"`. Received: label_mode={label_mode}.')
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    files = (["train"], "test")
    return cifar("cifar-100-python-target", url, _HASH, "cifar-100-python", files, f"{label_mode}_labels")
