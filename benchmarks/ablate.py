"""`python -m benchmarks ablate`: what each stage of the compiler and each feature of the loop brings.

Variants of graphkeras run side by side, alternating like contestants: with everything, and with one thing switched
off each. `ratio` is seconds per step without it / with everything: above 1 it helps. Differences within the noise
mean nothing. Every variant compiles its own kernels; that time is not in the figures.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from benchmarks.contestants import OURS, THREADS, Contestant
from benchmarks.models import Effort, epochs_for
from benchmarks.records import ENOUGH, Record, by_case, median, notes, record, si, table
from benchmarks.runner import Field, Runner
from benchmarks.workloads import WORKLOADS

NAMES = tuple(WORKLOADS)


def variants() -> list[Contestant]:
    """graphkeras as it is, without each stage, unfused, on one thread, and back in Python for each batch."""
    from graphkeras.ir.passes.pipeline import DOCS

    def made(name: str, per_batch: bool = False, **env: str) -> Contestant:
        return Contestant(name, sys.executable, OURS, tuple(env.items()), per_batch)

    stages = sorted(set(DOCS) - {"decompose"})
    found = [made(OURS), made("no fusion", GRAPHKERAS_PASSES="-fuse")]
    found.append(made("no Winograd form", GRAPHKERAS_PASSES="-winograd"))
    found += [made(f"no {stage}", GRAPHKERAS_PASSES=f"-{stage}") for stage in stages]
    if stages:
        found.append(made("no stage at all", GRAPHKERAS_PASSES=",".join(f"-{s}" for s in [*stages, "fuse"])))
    if THREADS > 1:
        found.append(made("one thread", GRAPHKERAS_THREADS="1"))
    return [*found, made("Python per batch", per_batch=True)]


def measure(workload: str, effort: Effort, folder: str) -> list[Record]:
    who = variants()
    field = Field()
    for c in who:
        field.enter(c.name, lambda c=c: Runner(c, c.module, workload, GRAPHKERAS_CACHE=folder))
    epochs = field.each(lambda r: epochs_for(r, effort))
    steps = field.rounds(effort.rounds, lambda r: r.ask(do="fit", epochs=epochs[r.who.name], per_batch=r.who.per_batch))
    field.close()
    base = steps.get(OURS) or []
    records = []
    for c in who:
        figures = {"step_s": steps[c.name]} if steps.get(c.name) else {}
        if figures and len(base) == len(steps[c.name]):  # pairs of one round: what slowed both is not in the ratio
            figures["off_ratio"] = [t / b for t, b in zip(steps[c.name], base, strict=True)]
        records.append(record(workload, c.name, field.notes.get(c.name, ""), **figures))
    return records


def text(records: Sequence[Record]) -> str:
    """A row for each variant, a column for each workload; * marks ratios beyond their noise."""
    cases = by_case(records)
    names = list(dict.fromkeys(r["who"] for r in records))
    rows = []
    for name in names:
        cells = [name]
        for who in cases.values():
            r = who.get(name)
            if name == OURS:
                cells.append(si(median(r, "step_s"), "s"))
            elif r is None or "off_ratio" not in r["figures"]:
                cells.append("-")
            else:
                f = r["figures"]["off_ratio"]
                known = len(f["samples"]) >= ENOUGH and abs(f["median"] - 1) > max(0.02, 2 * f["noise"])
                mark = "*" if known else " "
                cells.append(f"{f['median']:.2f}{mark}")
        rows.append(cells)
    return "\n".join(x for x in (table(("variant", *cases), rows), notes(records)) if x)


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> list[Record]:
    if only and OURS not in only:
        raise SystemExit(f"ablate measures {OURS} alone; received --only {' '.join(only)}")
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        for workload in names or NAMES:
            found = measure(workload, effort, folder)
            print(text(found) + "\n", flush=True)
            records += found
    return records
