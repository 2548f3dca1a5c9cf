"""Prices of houses in California: 20640 rows of 8 numbers."""

from __future__ import annotations

from graphkeras.datasets.common import Split, housing

_HASH = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"


def load_data(
    version: str = "large", path: str = "california_housing.npz", test_split: float = 0.2, seed: int = 113
) -> Split:
    """((x_train, y_train), (x_test, y_test)): x of shape (n, 8), y the median price in dollars.

    Args:
        version: "large", or "small" for the first 600 rows.
        path: name in the cache.
        test_split: fraction of the rows for the second pair.
        seed: of the shuffling.
    """
    if version not in ("small", "large"):
        raise ValueError(f"Argument `version` must be one of 'small', 'large'. Received: version={version}")
    rows = 600 if version == "small" else None
    return housing(path, "california_housing.npz", _HASH, rows, test_split, seed)
