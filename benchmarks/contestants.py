"""Who takes part: graphkeras in this environment, Keras 3 on its three backends in the environment of `make peers`."""

from __future__ import annotations

import compileall
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(os.environ.get("GRAPHKERAS_PEERS", ROOT / ".peers"))
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
OURS = "graphkeras"
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


@dataclass(frozen=True)
class Contestant:
    """A Python to run, the module with the Keras API in it, and what its fit requests are run with."""

    name: str
    python: str
    module: str
    environment: tuple[tuple[str, str], ...] = ()
    per_batch: bool = False  # train with a callback that asks for every batch

    def env(self, **more: str) -> dict[str, str]:
        """The environment of its process. The worker also binds itself to THREADS cores, which no library can miss."""
        threads = str(THREADS)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GRAPHKERAS_THREADS", "BENCH_THREADS")
        limits = dict.fromkeys((*names, "NPROC", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)
        limits |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
        dropped = ("GRAPHKERAS_DEBUG", "GRAPHKERAS_DUMP", "GRAPHKERAS_CHECK", "GRAPHKERAS_TARGET", NO_BYTECODE)
        inherited = {k: v for k, v in os.environ.items() if k not in dropped}
        return {**inherited, **limits, **dict(self.environment), **more}


def write_bytecode() -> None:
    """Our modules get the bytecode that pip gave the peers' when it installed them: starting compiles no Python."""
    for package in (OURS, "ir", "codegen"):
        compileall.compile_dir(ROOT / package, quiet=1)


def contestants(only: Sequence[str] = ()) -> list[Contestant]:
    """graphkeras and every peer that is installed, or those of them that are named in `only`."""
    found = [Contestant(OURS, sys.executable, OURS)]
    python = PEERS / "bin" / "python"
    if python.exists():
        for backend in ("jax", "tensorflow", "torch"):
            found.append(Contestant(f"keras-{backend}", str(python), "keras", (("KERAS_BACKEND", backend),)))
    unknown = set(only) - {c.name for c in found}
    if unknown:
        more = "" if python.exists() else " (`make peers` installs others)"
        here = ", ".join(c.name for c in found)
        raise SystemExit(f"no contestant {', '.join(sorted(unknown))}; here are {here}{more}")
    return [c for c in found if not only or c.name in only]
