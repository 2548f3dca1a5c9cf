"""`python -m benchmarks compile`: seconds from process start to the end of the first training step, by stage.

Cold: an empty folder of kernels. Warm: a second process finds them all on disk. See compile_worker.py for the stages.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from benchmarks.contestants import OURS, Contestant
from benchmarks.models import Effort
from benchmarks.records import Record, median, notes, record, si, table
from benchmarks.runner import Runner, WorkerFailed
from benchmarks.workloads import LARGE, WORKLOADS

NAMES = (*WORKLOADS, *LARGE)
STAGES = ("import", "build", "trace", "optimise", "fuse", "lower", "plan", "kernels", "load")
COLD, WARM = f"{OURS} cold", f"{OURS} warm"


def compile_once(workload: str, folder: str) -> dict[str, float]:
    runner = Runner(
        Contestant(OURS, sys.executable, OURS), workload, script="compile_worker.py", GRAPHKERAS_CACHE=folder
    )
    runner.close()
    return runner.start


def measure(workload: str, effort: Effort) -> list[Record]:
    """A record for cold and one for warm."""
    tries = 1 if effort.rounds <= 3 else 3
    found: dict[str, list[dict[str, float]]] = {COLD: [], WARM: []}
    try:
        for _ in range(tries):
            with tempfile.TemporaryDirectory() as folder:
                found[COLD].append(compile_once(workload, folder))
                found[WARM].append(compile_once(workload, folder))
    except WorkerFailed as error:
        return [record(workload, OURS, str(error))]
    return [
        record(workload, who, **{k: [t.get(k, 0.0) for t in times] for k in times[0]}) for who, times in found.items()
    ]


def text(records: Sequence[Record]) -> str:
    head = ("workload", "kernels", "sources", "compiled", "in all", *STAGES)
    rows = []
    for r in records:
        counts = [f"{median(r, f'{n}_count'):.0f}" for n in ("kernels", "sources", "compiled")]
        name = f"{r['case']} {r['who'].removeprefix(OURS).strip()}"
        rows.append([name, *counts, *[si(median(r, f"{n}_s"), "s") for n in ("process", *STAGES)]])
    return "\n".join(x for x in (table(head, rows), notes(records)) if x)


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> list[Record]:
    records: list[Record] = []
    for workload in names or NAMES:
        found = measure(workload, effort)
        print(text(found), flush=True)
        records += found
    return records
