"""Creates the environment of the peers: Keras 3.15.1 with JAX, TensorFlow and PyTorch (`make peers`), or with JAX and
PyTorch for CUDA 13 (`make peers-gpu`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU = (["torch==2.13.0"], ["jax", "jaxlib", "keras==3.15.1"], ["tensorflow-cpu"])
GPU = (["torch==2.13.0"], ["jax[cuda13]", "keras==3.15.1"])
"""PyTorch first: its wheels name exact versions of NVIDIA's libraries, JAX's are content with them."""


def main() -> None:
    folder, steps = (ROOT / ".peers-gpu", GPU) if sys.argv[1:] == ["gpu"] else (ROOT / ".peers", CPU)
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for packages in steps:
        print("installing", *packages, flush=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    print(f"peers are ready in {folder}")


if __name__ == "__main__":
    main()
