"""What a workload is, and the random data of workloads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPARSE = "sparse_categorical_crossentropy"


@dataclass
class Workload:
    """An uncompiled model with its training arrays, loss and batch size."""

    model: Any
    x: Any  # an array, or a dict of them by input
    y: np.ndarray
    loss: str
    batch_size: int
    metrics: list[str] = field(default_factory=lambda: ["accuracy"])

    @property
    def steps(self) -> int:
        return len(self.y) // self.batch_size

    def rows(self, count: int) -> Any:
        """The first samples."""
        return {k: v[:count] for k, v in self.x.items()} if isinstance(self.x, dict) else self.x[:count]


def images(count: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Random values in [0, 1) and labels of ten classes."""
    rng = np.random.default_rng(0)
    return rng.random((count, *shape), dtype=np.float32), rng.integers(0, 10, count)


def tokens(count: int, length: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens and labels of two classes."""
    rng = np.random.default_rng(0)
    return rng.integers(0, vocabulary, (count, length)).astype(np.int32), rng.integers(0, 2, count)
