"""A library in a process of its own that times single kernels: `python ops_worker.py LIBRARY`.

Requests (JSON lines): {"do": "prepare", "case": name} -> {"check": [...]} or null without such a kernel;
{"do": "time", "seconds": s} -> seconds per call, the median of several bursts.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from worker import ROOT, bind_cores, own_stdout

BURSTS = 5


def main() -> None:
    out = own_stdout()
    cores = bind_cores()
    sys.path[0] = ROOT
    library = sys.argv[1]
    if library in ("torch", "onednn"):
        import torch

        torch.set_num_threads(len(cores) or torch.get_num_threads())
    from benchmarks.ops_cases import all_cases

    table = {c.name: c for c in all_cases()}
    print(json.dumps({"cores": cores}), file=out, flush=True)
    run: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prepare":
            run, answer = prepare(library, table[request["case"]])
        else:
            answer = seconds_per_call(run, request["seconds"])
        print(json.dumps(answer), file=out, flush=True)


def prepare(library: str, case: Any) -> tuple[Any, Any]:
    """What runs the case, and some figures of its result, so that all libraries can be seen to compute the same."""
    if library == "graphkeras":
        from benchmarks import ops_ours

        prepared = ops_ours.prepare(case)
    else:
        from benchmarks import ops_peers

        prepared = ops_peers.prepare(library, case)
    if prepared is None:
        return None, None
    run, result = prepared
    run()
    value = (
        result() if case.kernel not in ("adam", "table_adam") else result() * 0
    )  # its result depends on how often it ran
    flat = value.reshape(-1).astype("float64")
    return run, {"size": int(flat.size), "norm": float((flat * flat).sum() ** 0.5), "last": float(flat[-1])}


def seconds_per_call(run: Any, seconds: float) -> float:
    count, taken = 1, 0.0
    while taken < seconds / BURSTS / 4:  # also warms up
        begin = time.perf_counter()
        for _ in range(count):
            run()
        taken = time.perf_counter() - begin
        count = count * 2 if taken < seconds / BURSTS / 4 else count
    count = max(1, round(count * seconds / BURSTS / max(taken, 1e-7)))
    found = []
    for _ in range(BURSTS):
        begin = time.perf_counter()
        for _ in range(count):
            run()
        found.append((time.perf_counter() - begin) / count)
    return statistics.median(found)


if __name__ == "__main__":
    main()
