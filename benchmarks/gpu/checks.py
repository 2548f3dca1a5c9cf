"""The tests of the device, and compute-sanitizer over their small part: records that say passed or why not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from benchmarks.contestants import OURS, ROOT
from benchmarks.gpu.contestants import Here
from benchmarks.gpu.kernels import Effort
from benchmarks.records import Record, record

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
LONG = 3600.0  # seconds that all tests may take; a sanitizer makes its few a hundred times slower
TESTS = ("tests/gpu", "tests/codegen/test_cuda_compiler.py")
SMALL_PART = ("tests/gpu/test_gpu_training.py", "-k", "mlp and arrays")


def run(
    here: Here, effort: Effort, names: Sequence[str], show: Callable[[Sequence[Record]], None]
) -> Iterator[list[Record]]:
    """One record for the tests, one for each tool of compute-sanitizer."""
    jobs = [("tests", [sys.executable, "-m", "pytest", "-q", *TESTS])]
    sanitizer = shutil.which("compute-sanitizer")
    for tool in TOOLS:
        command = [sanitizer or "", "--tool", tool, "--error-exitcode", "1", sys.executable, "-m", "pytest", "-q"]
        jobs.append((f"sanitizer {tool}", [*command, *SMALL_PART]))
    for name, command in jobs:
        if names and not any(n in name for n in names):
            continue
        if here.device == "cpu":
            found = record(name, OURS, "needs a GPU, or the simulated device")
        elif name != "tests" and (sanitizer is None or here.device == "cuda:simulated"):
            why = "compute-sanitizer is not installed" if sanitizer is None else "the simulated device has none"
            found = record(name, OURS, why)
        else:
            found = judged(name, command, here.device, quick=name != "tests" or effort.sizes == "tiny")
        show([found])
        yield [found]


def judged(name: str, command: Sequence[str], device: str, quick: bool, seconds: float = LONG) -> Record:
    """passed_count is 1 if the command ended well and at least one test passed, else 0 with the end of its output."""
    env = {**os.environ, "GRAPHKERAS_TEST_DEVICE": device} | ({"GRAPHKERAS_QUICK": "1"} if quick else {})
    try:
        said = subprocess.run(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
            errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return record(name, OURS, f"did not end within {seconds:.0f} s", passed_count=0)
    lines = [x for x in said.stdout.splitlines() if x.strip()]
    counted = re.findall(r"(\d+) passed", said.stdout)
    if said.returncode == 0 and counted:
        return record(name, OURS, passed_count=1, tests_count=int(counted[-1]))
    end = " | ".join(lines[-3:])[-400:] or "said nothing"
    return record(name, OURS, f"exit code {said.returncode}: {end}", passed_count=0)
