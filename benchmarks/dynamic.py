"""`python -m benchmarks dynamic`: programs whose Python code looks at values, compiled and run eagerly.

The programs of tests/programs: milliseconds per call (result and gradients) or per training step, the number of
different paths that were met, the traces it took, and what the first visits cost. The ratio is eager / compiled.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.contestants import OURS
from benchmarks.models import Effort
from benchmarks.records import Record, median, record, table

EAGER = f"{OURS} eager"


def programs() -> dict[str, Any]:
    from tests.programs.record import load

    functions, models = load()
    return {p.name: p for p in (*functions, *models)}


NAMES = tuple(programs())


class _Function:
    """One round calls a function once with each of its inputs."""

    def __init__(self, program: Any) -> None:
        from tests.programs.checks import Runner

        self.runner = Runner(program.make("float32"))
        self.calls = len(self.runner.case.inputs)
        self.values = self.runner.case.values

    def round(self, eagerly: bool) -> float:
        call = self.runner.eager if eagerly else self.runner.compiled
        self.runner.reset()
        start = time.perf_counter()
        for args in self.runner.case.inputs:
            call(*args)
        return (time.perf_counter() - start) / self.calls

    @property
    def trees(self) -> Any:
        return self.runner


class _Training:
    """One round trains from the first weights on."""

    values = False

    def __init__(self, program: Any) -> None:
        from tests.programs.checks import Trained

        case = program.make()
        self.models = {eagerly: Trained(case, eagerly) for eagerly in (True, False)}
        self.steps = case.epochs * -(-len(case.x) // case.batch_size)

    def round(self, eagerly: bool) -> float:
        model = self.models[eagerly]
        start = time.perf_counter()
        model.fit()
        return (time.perf_counter() - start) / self.steps

    @property
    def trees(self) -> Any:
        return self.models[False]


def measure(name: str, effort: Effort) -> list[Record]:
    from tests.programs.record import Program

    program: Program = programs()[name]
    run = _Training(program) if not program.make.__code__.co_argcount else _Function(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = run.round(False)
        run.round(False)
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(effort.rounds):
            for eagerly, samples in times.items():
                samples.append(run.round(eagerly))
    counts = {"paths_count": float(run.trees.paths), "traces_count": float(run.trees.traces)}
    note = "Python runs in every call" if run.values else ""
    return [
        record(name, OURS, note, call_s=times[False], first_s=first, **counts),
        record(name, EAGER, call_s=times[True]),
    ]


def text(records: Sequence[Record]) -> str:
    head = ("program", "paths", "traces", "ms eager", "ms compiled", "ratio", "ms first")
    rows = []
    ours = [r for r in records if r["who"] == OURS]
    eager = {r["case"]: r for r in records if r["who"] == EAGER}
    for r in ours:
        slow, fast = (min(x["figures"]["call_s"]["samples"]) for x in (eager[r["case"]], r))
        counts = [f"{median(r, f'{n}_count'):.0f}" for n in ("paths", "traces")]
        if r["note"]:
            counts = ["-", "each call"]
        ms = [f"{1e3 * t:.3g}" for t in (slow, fast)]
        rows.append([r["case"], *counts, *ms, f"{slow / fast:.1f}", f"{1e3 * median(r, 'first_s'):.0f}"])
    return table(head, rows)


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    found: list[Record] = []
    for name in names or NAMES:
        made = measure(name, effort)
        print(text(made).splitlines()[-1], flush=True)
        found += made
        yield made
    print(text(found))
