"""What a case of `ops` is: plain data, so that every worker builds it for its own library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """kernel: which computation; inputs: their shapes; flops, nbytes: of the mathematics, not of an implementation."""

    kernel: str
    label: str
    inputs: tuple[Shape, ...]
    flops: float
    nbytes: float
    indices: int = 0  # bound of the last input if it holds indices
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.kernel} {self.label}"

    def arrays(self) -> list[np.ndarray]:
        """Inputs from a fixed seed, the same in every process."""
        rng = np.random.default_rng(0)
        made: list[np.ndarray] = [rng.standard_normal(s, dtype=np.float32) for s in self.inputs]
        if self.indices:
            made[-1] = rng.integers(0, self.indices, self.inputs[-1]).astype(np.int32)
        if self.kernel in ("adam", "table_adam"):  # second moments are not negative
            place = 3 if self.kernel == "adam" else 2
            made[place] = np.abs(made[place])
        return made
