"""How many cores this process has."""

from __future__ import annotations

import functools
import os
from pathlib import Path


@functools.cache
def available_cores() -> int:
    """Physical cores that this process may run on, within the limit of its control group."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    cores = set()
    for cpu in allowed:
        file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(file.read_text() if file.exists() else str(cpu))
    return max(1, min(len(cores), _cgroup_limit()))


def _cgroup_limit() -> int:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return 1_000_000 if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 1_000_000
