"""`python -m benchmarks scale [batch width depth length ...]`: seconds per step as one size grows and all else stays.

`exponent` is the slope between neighbours in the doubly logarithmic plot: 1 means twice the size costs twice the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from benchmarks.contestants import OURS, contestants
from benchmarks.models import Effort, epochs_for
from benchmarks.records import Record, best_peer, by_case, median, notes, ratio, record, si, table
from benchmarks.runner import Field, Runner, kernel_folder

SWEEPS: dict[str, tuple[str, tuple[int, ...]]] = {
    "batch": ("mlp:batch={},steps=20", (1, 4, 16, 64, 256, 1024)),
    "width": ("mlp:batch=32,width={},steps=20", (32, 128, 512, 1024, 2048)),
    "depth": ("mlp:batch=32,width=128,depth={},steps=20", (1, 4, 16, 64)),
    "length_lstm": ("lstm:batch=16,length={}", (10, 40, 160, 320)),
    "length_transformer": ("transformer:batch=16,length={}", (25, 50, 100, 200, 400)),
}
NAMES = tuple(SWEEPS)


def measure(sweep: str, size: int, effort: Effort, folder: str, only: Sequence[str] = ()) -> list[Record]:
    workload = SWEEPS[sweep][0].format(size)
    who = contestants(only)
    with Field() as field:
        for c in who:
            field.enter(c.name, lambda c=c: Runner(c, c.module, workload, GRAPHKERAS_CACHE=folder))
        epochs = field.each(lambda r: epochs_for(r, effort))
        steps = field.rounds(max(1, effort.rounds // 2), lambda r: r.ask(do="fit", epochs=epochs[r.who.name]))
    case = f"{sweep} {size}"
    found = [(c.name, field.notes.get(c.name, ""), steps.get(c.name)) for c in who]
    return [record(case, name, note, **({"step_s": times} if times else {})) for name, note, times in found]


def points(records: Sequence[Record]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """{sweep: {who: [(size, seconds per step)]}}."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for r in records:
        if "step_s" in r["figures"]:
            sweep, size = r["case"].rsplit(" ", 1)
            found.setdefault(sweep, {}).setdefault(r["who"], []).append((int(size), median(r, "step_s")))
    return found


def text(records: Sequence[Record]) -> str:
    rows, before = [], ("", 0, 0.0)
    for case, who in by_case(records).items():
        sweep, size = case.rsplit(" ", 1)
        mine = median(who.get(OURS), "step_s")
        best, value = best_peer(who, "step_s")
        slope = "-"
        if before[0] == sweep and before[2] == before[2] and mine == mine:
            slope = f"{math.log(mine / before[2]) / math.log(int(size) / before[1]):.2f}"
        rows.append([case, si(mine, "s"), slope, best, si(value, "s"), ratio(value, mine)])
        before = (sweep, int(size), mine)
    return "\n".join(
        x for x in (table(("size", "ours/step", "exponent", "best peer", "/step", "ratio"), rows), notes(records)) if x
    )


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    with kernel_folder() as folder:
        for sweep in names or SWEEPS:
            sizes = SWEEPS[sweep][1]
            found: list[Record] = []
            for size in sizes[1:3] if effort.is_quick else sizes:
                made = measure(sweep, size, effort, folder, only)
                found += made
                yield made
            print(text(found) + "\n", flush=True)
