"""Who takes part: graphkeras in this environment, Keras 3 on its three backends in the environment of `make peers`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(os.environ.get("GRAPHKERAS_PEERS", ROOT / ".peers"))
THREADS = 2


@dataclass(frozen=True)
class Contestant:
    """A Python to run and the module with the Keras API in it."""

    name: str
    python: str
    module: str
    environment: tuple[tuple[str, str], ...] = ()

    def env(self, **more: str) -> dict[str, str]:
        threads = str(THREADS)
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GRAPHKERAS_THREADS"), threads)
        limits |= {"TF_NUM_INTRAOP_THREADS": threads, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        return {**os.environ, **limits, **dict(self.environment), **more}


def contestants() -> list[Contestant]:
    """graphkeras, and every peer that is installed."""
    found = [Contestant("graphkeras", sys.executable, "graphkeras")]
    python = PEERS / "bin" / "python"
    if python.exists():
        for backend in ("jax", "tensorflow", "torch"):
            found.append(Contestant(f"keras-{backend}", str(python), "keras", (("KERAS_BACKEND", backend),)))
    return found
