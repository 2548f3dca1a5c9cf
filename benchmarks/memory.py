"""`python -m benchmarks memory`: the most memory that training takes, from process start to the end of two epochs.

`import` is what is resident once the framework is there, `training` what is added to it at the peak, `planned` the
arena that graphkeras placed its temporaries in. Kernels come from a warm cache; with a cold one the compiler's own
memory is `cold`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

from benchmarks.contestants import OURS, Contestant, contestants
from benchmarks.models import Effort
from benchmarks.records import Record, best_peer, by_case, median, notes, ratio, record, si, table
from benchmarks.runner import Runner, WorkerFailed
from benchmarks.workloads import chosen


def peak(who: Contestant, workload: str, folder: str) -> dict[str, float]:
    """Figures of one process that trains for two epochs."""
    runner = Runner(who, who.module, workload, GRAPHKERAS_CACHE=folder)
    try:
        runner.ask(do="fit", epochs=2)
        used = runner.ask(do="memory")
    finally:
        runner.close()
    begin = runner.start["memory_import"]
    found = {"peak_bytes": used["peak"], "import_bytes": begin, "training_bytes": used["peak"] - begin}
    return found | ({"planned_bytes": used["arena"]} if used["arena"] else {})


def measure(workload: str, effort: Effort, who: Sequence[Contestant]) -> list[Record]:
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for c in who:
            try:
                cold = {"cold_bytes": peak(c, workload, folder)["peak_bytes"]} if c.name == OURS else {}
                tries = [peak(c, workload, folder) for _ in range(1 if effort.is_quick else 3)]
                records.append(record(workload, c.name, **{k: [t[k] for t in tries] for k in tries[0]}, **cold))
            except WorkerFailed as error:
                records.append(record(workload, c.name, str(error)))
    return records


def text(records: Sequence[Record]) -> str:
    head = ("workload", "ours", "import", "training", "planned", "cold", "best peer", "peak", "ratio")
    rows = []
    for case, who in by_case(records).items():
        ours = who.get(OURS)
        best, value = best_peer(who, "peak_bytes")
        names = ("peak_bytes", "import_bytes", "training_bytes", "planned_bytes", "cold_bytes")
        cells = [si(median(ours, n), "bytes") for n in names]
        rows.append([case, *cells, best, si(value, "bytes"), ratio(value, median(ours, "peak_bytes"))])
    return "\n".join(x for x in (table(head, rows), notes(records)) if x)


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    for workload in chosen(names):
        found = measure(workload, effort, contestants(only))
        print(text(found), flush=True)
        yield found
