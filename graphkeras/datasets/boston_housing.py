"""Prices of houses in Boston: 506 rows of 13 numbers."""

from __future__ import annotations

from graphkeras.datasets.common import Split, housing

_HASH = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Split:
    """((x_train, y_train), (x_test, y_test)): x of shape (n, 13), y the median price in thousands of dollars.

    Args:
        path: name in the cache.
        test_split: fraction of the rows for the second pair.
        seed: of the shuffling.
    """
    return housing(path, "boston_housing.npz", _HASH, None, test_split, seed)
