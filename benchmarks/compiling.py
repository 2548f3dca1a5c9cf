"""`python -m benchmarks compile`: seconds from process start to the end of the first training step, by stage.

Cold: an empty folder of kernels and programs. Warm: a second process finds them all on disk, and most stages are not
there. See compile_worker.py for the stages.
The loops (lengths_lstm ...) train on 20 lengths or batch sizes one after the other, with an empty folder: `first` has
the compile; after it a new shape is traced and planned, and kernels should not be compiled again. See shape_worker.py.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import OURS, Contestant, write_bytecode
from benchmarks.models import Effort
from benchmarks.records import Record, median, notes, record, si, table
from benchmarks.runner import Runner, WorkerFailed
from benchmarks.workloads import LARGE, WORKLOADS, workloads

LOOPS = {
    "lengths_lstm": "lengths",
    "lengths_text": "lengths",
    "lengths_transformer": "lengths",
    "batches_mlp": "batch sizes",
    "batches_cnn": "batch sizes",
}
"""What changes from step to step."""
NAMES = (*WORKLOADS, *LARGE, *LOOPS)
STAGES = ("import", "build", "trace", "optimise", "fuse", "lower", "plan", "kernels", "load")
COLD, WARM = f"{OURS} cold", f"{OURS} warm"


@dataclass(frozen=True)
class Target:
    """What a figure should not exceed."""

    case: str
    who: str
    name: str
    most: float
    words: str


TARGETS = (
    Target("resnet50", COLD, "process_s", 60.0, "ResNet-50 at 224 x 224, cold, in 60 s"),
    Target("resnet50", WARM, "process_s", 3.0, "ResNet-50 at 224 x 224, warm, in 3 s"),
    *(Target(x, OURS, "new_compiled_count", 0.0, f"new {what} compile nothing ({x})") for x, what in LOOPS.items()),
)


def names() -> list[str]:
    """Everything that can be asked for."""
    return [*workloads(), *LARGE, *LOOPS]


def start(script: str, name: str, folder: str) -> dict[str, Any]:
    runner = Runner(Contestant(OURS, sys.executable, OURS), name, script=script, GRAPHKERAS_CACHE=folder)
    runner.close()
    return runner.start


def measure(workload: str, effort: Effort) -> list[Record]:
    """A record for cold and one for warm."""
    found: dict[str, list[dict[str, float]]] = {COLD: [], WARM: []}
    try:
        for _ in range(1 if effort.is_quick else 3):
            with tempfile.TemporaryDirectory() as folder:
                found[COLD].append(start("compile_worker.py", workload, folder))
                found[WARM].append(start("compile_worker.py", workload, folder))
    except WorkerFailed as error:
        return [record(workload, OURS, str(error))]
    return [
        record(workload, who, **{k: [t.get(k, 0.0) for t in times] for k in times[0]}) for who, times in found.items()
    ]


def measure_loop(loop: str) -> list[Record]:
    """A record for a loop over shapes."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = start("shape_worker.py", loop, folder)
    except WorkerFailed as error:
        return [record(loop, OURS, str(error))]
    which = ", ".join(map(str, found.pop("which")))
    return [record(loop, OURS, f"kernels were compiled for {LOOPS[loop]} {which}" if which else "", **found)]


def verdicts(records: Sequence[Record]) -> list[str]:
    """One line for each target whose figure was measured."""
    lines = []
    for t in TARGETS:
        for r in records:
            if (r["case"], r["who"]) == (t.case, t.who) and t.name in r["figures"]:
                value = median(r, t.name)
                number = si(value, "s") if t.name.endswith("_s") else f"{value:.0f} compiled"
                lines.append(f"{'met   ' if value <= t.most else 'MISSED'} {t.words}: {number}")
    return lines


def text(records: Sequence[Record]) -> str:
    parts = []
    staged = [r for r in records if "process_s" in r["figures"]]
    if staged:
        rows = []
        for r in staged:
            counts = [f"{median(r, f'{n}_count'):.0f}" for n in ("kernels", "sources", "compiled")]
            name = f"{r['case']} {r['who'].removeprefix(OURS).strip()}"
            rows.append([name, *counts, *[si(median(r, f"{n}_s"), "s") for n in ("process", *STAGES)]])
        parts.append(table(("workload", "kernels", "sources", "compiled", "in all", *STAGES), rows))
    loops = [r for r in records if "new_s" in r["figures"]]
    if loops:
        rows = []
        for r in loops:
            counts = [f"{median(r, f'{n}_compiled_count'):.0f}" for n in ("first", "new", "seen")]
            shapes = f"{len(r['figures']['seen_s']['samples'])} {LOOPS[r['case']]}"
            times = [si(median(r, n), "s") for n in ("first_s", "new_s", "seen_s")]
            rows.append([r["case"], shapes, *counts, *times])
        head = ("loop", "over", "compiled first", "then", "second visit", "first step", "new shape", "seen shape")
        parts.append(table(head, rows))
    return "\n".join(x for x in (*parts, notes(records), *verdicts(records)) if x)


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    write_bytecode()
    for name in names or NAMES:
        found = measure_loop(name) if name in LOOPS else measure(name, effort)
        print(text(found), flush=True)
        yield found
