"""`python -m benchmarks ablate`: what each stage of the compiler and each feature of the loop brings.

Variants of graphkeras run side by side, alternating like contestants: with everything, and with one thing switched
off each. The figure is seconds per step without it / with everything: above 1 it helps; `=` means that the training
step becomes the same kernels without it. Differences within the noise (no *) mean nothing. Every variant compiles its
own kernels; that time is not in the figures (with GRAPHKERAS_CACHE set, a second run finds them there).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from benchmarks.compare import SPREADS
from benchmarks.contestants import OURS, THREADS, Contestant
from benchmarks.models import Effort, epochs_for
from benchmarks.records import ENOUGH, Record, by_case, median, notes, record, si, table
from benchmarks.runner import Field, Runner, kernel_folder
from benchmarks.workloads import chosen

EVERYTHING = "no stage at all"
PER_BATCH = "Python per batch"
"""Not the native loop: fit comes back to Python for each batch."""
ONE_THREAD = "one thread"


def switches() -> dict[str, str]:
    """Everything that GRAPHKERAS_PASSES switches off as a whole, and what it is."""
    from graphkeras.codegen.flags import KERNEL_STAGES
    from graphkeras.ir.passes.pipeline import DOCS

    return {name: doc for name, doc in {**KERNEL_STAGES, **DOCS}.items() if name != "decompose"}


def variants() -> list[Contestant]:
    """graphkeras as it is, without each stage, on one thread, and back in Python for each batch."""

    def made(name: str, per_batch: bool = False, **env: str) -> Contestant:
        return Contestant(name, sys.executable, OURS, tuple(env.items()), per_batch)

    stages = list(switches())
    found = [made(OURS), *(made(f"no {stage}", GRAPHKERAS_PASSES=f"-{stage}") for stage in stages)]
    found.append(made(EVERYTHING, GRAPHKERAS_PASSES=",".join(f"-{s}" for s in stages)))
    if THREADS > 1:
        found.append(made(ONE_THREAD, GRAPHKERAS_THREADS="1"))
    return [*found, made(PER_BATCH, per_batch=True)]


def measure(workload: str, effort: Effort, folder: str) -> list[Record]:
    """A record for each variant. Variants whose step is the same program as ours are not timed."""
    who = variants()
    same: set[str] = set()
    plans: dict[str, str] = {}
    with Field() as field:
        for c in who:
            field.enter(c.name, lambda c=c: _start(c, workload, folder, plans))
            leaves_out = "GRAPHKERAS_PASSES" in dict(c.environment)
            if leaves_out and c.name in plans and plans[c.name] == plans.get(OURS):
                same.add(c.name)
                field.runners.pop(c.name).close()
        epochs = field.each(lambda r: epochs_for(r, effort))
        steps = field.rounds(
            effort.rounds, lambda r: r.ask(do="fit", epochs=epochs[r.who.name], per_batch=r.who.per_batch)
        )
    base = steps.get(OURS) or []
    records = []
    for c in who:
        figures = {"step_s": steps[c.name]} if steps.get(c.name) else {}
        if figures and len(base) == len(steps[c.name]):  # pairs of one round: what slowed both is not in the ratio
            figures["off_ratio"] = [t / b for t, b in zip(steps[c.name], base, strict=True)]
        made = record(workload, c.name, field.notes.get(c.name, ""), **figures)
        records.append(made | {"same": True} if c.name in same else made)
    return records


def _start(who: Contestant, workload: str, folder: str, plans: dict[str, str]) -> Runner:
    runner = Runner(who, who.module, workload, GRAPHKERAS_CACHE=folder)
    runner.ask(do="fit", epochs=1, per_batch=who.per_batch)
    plans[who.name] = runner.ask(do="plan")
    return runner


def text(records: Sequence[Record]) -> str:
    """A row for each variant, a column for each workload; * marks ratios beyond their noise."""
    cases = by_case(records)
    names = list(dict.fromkeys(r["who"] for r in records))
    rows = [[name, *(_cell(name, who.get(name)) for who in cases.values())] for name in names]
    return "\n".join(x for x in (table(("variant", *cases), rows), notes(records)) if x)


def _cell(name: str, r: Record | None) -> str:
    if name == OURS:
        return si(median(r, "step_s"), "s")
    if r is not None and r.get("same"):
        return "= "
    if r is None or "off_ratio" not in r["figures"]:
        return "- "
    f = r["figures"]["off_ratio"]
    return f"{f['median']:.2f}" + ("*" if is_known(f) else " ")


def is_known(ratio: dict) -> bool:
    """Whether a ratio differs from 1 by more than its noise: every round says so, and the median by far."""
    samples = ratio["samples"]
    agreed = min(samples) > 1.02 or max(samples) < 0.98
    return agreed and len(samples) >= ENOUGH and abs(ratio["median"] - 1) > SPREADS * ratio["noise"]


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    if only and OURS not in only:
        raise SystemExit(f"ablate measures {OURS} alone; received --only {' '.join(only)}")
    records: list[Record] = []
    with kernel_folder() as folder:
        for workload in chosen(names):
            found = measure(workload, effort, folder)
            print(text(found) + "\n", flush=True)
            records += found
            yield found
    if len(by_case(records)) > 1:
        print(text(records))
