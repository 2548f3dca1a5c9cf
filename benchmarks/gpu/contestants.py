"""Who takes part on a device, and who does not and why. Every contestant is looked at in a process of its own.

graphkeras runs in this environment. PyTorch and Keras 3 on JAX and PyTorch live in the environment of `make peers-gpu`
(or of GRAPHKERAS_PEERS), PyTorch once as it is and once through torch.compile.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import OURS, ROOT, Contestant

PEERS = Path(os.environ.get("GRAPHKERAS_PEERS", ROOT / ".peers-gpu"))
LOOK = 180.0  # seconds that a library may take to say what it has
OLDER = f"{OURS} mma.sync"
"""graphkeras with the tensor cores as GPUs before Hopper have them."""
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""So that everybody, nvidia-smi too, counts devices in the same order."""
CODE = {
    "torch": "import torch; assert not {gpu} or torch.cuda.is_available(), 'sees no GPU'; print(torch.__version__, "
    "torch.version.cuda)",
    "jax": "import jax; assert not {gpu} or any(d.platform == 'gpu' for d in jax.devices()), 'sees no GPU'; "
    "print(jax.__version__)",
    "keras": "import importlib.metadata as m; print(m.version('keras'))",
}
NEEDS = {"torch": ("torch",), "torch.compile": ("torch",), "keras-jax": ("jax", "keras")}
NEEDS["keras-torch"] = ("torch", "keras")


def is_gpu(device: str) -> bool:
    """Whether the name is that of hardware: not of the CPU, not of the simulated device."""
    return device.startswith("cuda:") and device != "cuda:simulated"


@dataclass(frozen=True)
class OnDevice(Contestant):
    """A contestant on a GPU: as many host threads as it likes. `device` is "cpu" for rehearsals."""

    device: str = "cuda:0"

    def env(self, **more: str) -> dict[str, str]:
        if not is_gpu(self.device):
            return super().env(**more)
        dropped = ("GRAPHKERAS_DEBUG", "GRAPHKERAS_DUMP", "GRAPHKERAS_CHECK", "GRAPHKERAS_TARGET", "JAX_PLATFORMS")
        inherited = {k: v for k, v in os.environ.items() if k not in dropped}
        # JAX would take most of the memory of a device that others use in the same run.
        given = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3", **ORDER}
        if self.module == "keras":  # it takes the first device that it sees
            number = int(self.device.partition(":")[2] or 0)
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            given["CUDA_VISIBLE_DEVICES"] = visible[number] if visible[0] else str(number)
        return {**inherited, **given, **dict(self.environment), **more}


@dataclass
class Here:
    """What a look around found. versions: by library; absent: {contestant: why}."""

    device: str
    who: list[OnDevice]
    versions: dict[str, str]
    absent: dict[str, str]

    def some(self, *names: str) -> list[OnDevice]:
        """Those of them that are here."""
        return [c for c in self.who if c.name in names]


def look(device: str, only: Sequence[str] = (), arch: str = "") -> Here:
    """Every contestant that can use the device (of architecture `arch`), or those that are named in `only`."""
    known = {OURS, OLDER, *NEEDS}
    unknown = set(only) - known
    if unknown:
        raise SystemExit(f"no contestant {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    found = Here(device, [OnDevice(OURS, sys.executable, OURS, device=device)], {}, {})
    if arch == "sm_90":
        found.who.append(OnDevice(OLDER, sys.executable, OURS, device=device))
    missing = _libraries(found)
    python = str(PEERS / "bin" / "python")
    for name, needs in NEEDS.items():
        backend = name.removeprefix("keras-")
        why = dict.fromkeys(missing[n] for n in needs if n in missing)
        if why:
            found.absent[name] = "; ".join(why)
        elif name.startswith("keras-"):
            found.who.append(OnDevice(name, python, "keras", (("KERAS_BACKEND", backend),), device=device))
        else:
            found.who.append(OnDevice(name, python, "torch", device=device))
    if only:
        found.who = [c for c in found.who if c.name in only]
        found.absent = {k: v for k, v in found.absent.items() if k in only}
    return found


def _libraries(found: Here) -> dict[str, str]:
    """Why libraries are not here; versions of those that are go to `found`."""
    python = PEERS / "bin" / "python"
    if found.device == "cuda:simulated":
        return dict.fromkeys(CODE, "the simulated device is known to graphkeras only")
    if not python.exists():
        return dict.fromkeys(CODE, f"no environment of peers at {PEERS} (make peers-gpu)")
    missing = {}
    asker = OnDevice("peers", str(python), "", device=found.device)
    for name, code in CODE.items():
        try:
            said = subprocess.run(
                [str(python), "-c", code.format(gpu=is_gpu(found.device))],
                capture_output=True,
                text=True,
                timeout=LOOK,
                env=asker.env(),
            )
        except subprocess.TimeoutExpired:
            missing[name] = f"{name} did not answer within {LOOK:.0f} s"
            continue
        if said.returncode:
            lines = said.stderr.strip().splitlines()
            missing[name] = f"{name}: {lines[-1][:200] if lines else 'ended without a word'}"
        else:
            found.versions[f"peers: {name}"] = said.stdout.strip()
    return missing
