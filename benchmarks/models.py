"""`python -m benchmarks models`: training steps side by side, alternating, with medians.

All contestants are started, warmed up, and then asked in turn, round after round and each round in another order,
to train for a while; what disturbs the machine disturbs all of them. Every one calls `fit` with the same arrays,
batch size, optimizer, loss and metric. Reported: median, minimum and noise over the rounds of seconds per step and
of `predict` of one sample, peak memory of training, import time, and the time from process start to the end of the
first training step with a cold and a warm kernel cache; then the kernels of our step and their shares of the machine's
limits (see roofs.py). Ratios are best peer / graphkeras: above 1 we are better.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import roofs
from benchmarks.contestants import OURS, Contestant, contestants
from benchmarks.records import Record, best_peer, by_case, median, notes, ratio, record, si, table
from benchmarks.runner import Field, Runner
from benchmarks.workloads import chosen


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, seconds of training and of predicting in each, and of warming up at most."""

    rounds: int = 9
    train: float = 0.6
    predict: float = 0.2
    warm_fits: int = 6
    starts: int = 2  # process starts whose first step is timed
    profiles: int = 5  # measurements of each kernel
    is_quick: bool = False


QUICK = Effort(rounds=3, train=0.15, predict=0.05, warm_fits=3, starts=1, profiles=2, is_quick=True)


def epochs_for(runner: Runner, effort: Effort) -> int:
    """Warm up until two fits agree to 15 %, then say how many epochs fill a round."""
    before, step = float("inf"), 0.0
    for _ in range(effort.warm_fits):
        step = runner.ask(do="fit", epochs=1, per_batch=runner.who.per_batch)
        if abs(step - before) < 0.15 * step:
            break
        before = step
    return max(1, round(effort.train / max(step * runner.start["steps"], 1e-5)))


def prime(who: Contestant, workload: str, folder: str) -> dict[str, float]:
    """Start a process that ends: files come into the page cache and, for graphkeras, all kernels into `folder`."""
    runner = Runner(who, who.module, workload, GRAPHKERAS_CACHE=folder)
    try:
        if who.name == OURS:
            runner.ask(do="fit", epochs=1)
            runner.ask(do="predict", calls=1)
        return runner.start
    finally:
        runner.close()


def measure(workload: str, effort: Effort, who: Sequence[Contestant], machine: Record | None = None) -> list[Record]:
    """All figures of one workload, a record for each contestant; ours with its kernels, where `machine` is given."""
    field = Field()
    kernels: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, field:
        figures: dict[str, dict[str, list[float]]] = {c.name: {} for c in who}
        for c in who:
            _start(field, c, workload, folder, effort, figures[c.name])
        threads = {n: _other_threads(r) for n, r in field.runners.items()}
        epochs = field.each(lambda r: epochs_for(r, effort))
        steps = field.rounds(
            effort.rounds, lambda r: r.ask(do="fit", epochs=epochs[r.who.name], per_batch=r.who.per_batch)
        )
        memory = field.each(lambda r: r.ask(do="memory"))
        calls = field.each(lambda r: r.ask(do="time_predict", seconds=effort.predict))
        predicts = field.rounds(effort.rounds, lambda r: r.ask(do="predict", calls=calls[r.who.name]))
        if machine is not None and OURS in field.runners:
            found = field.each(lambda r: r.ask(do="kernels", rounds=effort.profiles), [OURS])
            kernels = roofs.with_shares(found.get(OURS, []), machine)
            figures[OURS] |= {k: [v] for k, v in roofs.summary(kernels).items()}
    for name, answers in (("step_s", steps), ("predict_s", predicts)):
        for c, samples in answers.items():
            if samples:
                figures[c][name] = samples
    for c, used in memory.items():
        figures[c]["memory_bytes"] = [used["peak"]]
        if used["arena"]:
            figures[c]["arena_bytes"] = [used["arena"]]
    made = [
        record(workload, c.name, field.notes.get(c.name) or threads.get(c.name, ""), **figures[c.name]) for c in who
    ]
    return [r | {"kernels": kernels} if r["who"] == OURS and kernels else r for r in made]


def _other_threads(runner: Runner) -> str:
    """What to say about a contestant whose library reports another number of threads than it was given."""
    given, taken = int(runner.who.env()["BENCH_THREADS"]), runner.start["threads"]
    return "" if given == taken else f"{runner.who.name} uses {taken} threads, not {given}"


def _start(
    field: Field, who: Contestant, workload: str, folder: str, effort: Effort, found: dict[str, list[float]]
) -> None:
    """Start a contestant several times, the last time to stay; the very first start of graphkeras finds no kernels."""
    starts: list[dict[str, float]] = []

    def stay() -> Runner:
        if who.name == OURS or effort.starts > 1:
            cold = prime(who, workload, folder)
            if who.name == OURS:
                found["cold_first_step_s"] = [cold["first_step"]]
        for _ in range(effort.starts - 1):
            runner = Runner(who, who.module, workload, GRAPHKERAS_CACHE=folder)
            starts.append(runner.start)
            runner.close()
        return Runner(who, who.module, workload, GRAPHKERAS_CACHE=folder)

    field.enter(who.name, stay)
    if who.name in field.runners:
        starts.append(field.runners[who.name].start)
    for name, key in (("first_step_s", "first_step"), ("import_s", "import")):
        if starts:
            found[name] = [s[key] for s in starts]


def text(records: Sequence[Record]) -> str:
    """One line for each workload: ours, the best peer, the ratio."""
    head = ("workload", "ours/step", "noise", "best peer", "/step", "ratio", "predict(1)", "ratio", "memory", "ratio")
    head += ("first step warm", "cold", "peer", "import", "peer")
    rows = []
    for case, who in by_case(records).items():
        if case == roofs.MACHINE:
            continue
        ours = who.get(OURS)
        best = {k: best_peer(who, k) for k in ("step_s", "predict_s", "memory_bytes", "first_step_s", "import_s")}
        mine = {k: median(ours, k) for k in (*best, "cold_first_step_s")}
        noise = ours["figures"]["step_s"]["noise"] if ours and "step_s" in ours["figures"] else float("nan")
        cells = [case, si(mine["step_s"], "s"), f"{noise * 100:.1f} %", best["step_s"][0], si(best["step_s"][1], "s")]
        cells += [ratio(best["step_s"][1], mine["step_s"])]
        for key, unit in (("predict_s", "s"), ("memory_bytes", "bytes")):
            cells += [si(mine[key], unit), ratio(best[key][1], mine[key])]
        cells += [si(mine["first_step_s"], "s"), si(mine["cold_first_step_s"], "s"), si(best["first_step_s"][1], "s")]
        cells += [si(mine["import_s"], "s"), si(best["import_s"][1], "s")]
        rows.append(cells)
    lines = (roofs.machine_text(records), table(head, rows) if rows else "", notes(records))
    return "\n".join([*(x for x in lines if x), *kernel_tables(records)])


def kernel_tables(records: Sequence[Record]) -> list[str]:
    """For each workload, the kernels of our step."""
    return ["\n" + roofs.text(r["case"], r["kernels"]) for r in records if r.get("kernels")]


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    who = contestants(only)
    machine = roofs.machine()
    print(roofs.machine_text([machine]), flush=True)
    yield [machine]
    for workload in chosen(names):
        found = measure(workload, effort, who, machine)
        print(text(found) + "\n", flush=True)
        yield found
