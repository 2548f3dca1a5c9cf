"""Creates the environment of the peers (`make peers`): Keras 3.15.1 with JAX, TensorFlow and PyTorch for the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent / ".peers"
STEPS = (["torch==2.13.0"], ["jax", "jaxlib", "keras==3.15.1"], ["tensorflow-cpu"])


def main() -> None:
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    for packages in STEPS:
        print("installing", *packages, flush=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    print(f"peers are ready in {PEERS}")


if __name__ == "__main__":
    main()
