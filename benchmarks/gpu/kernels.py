"""Single kernels of all contestants, case by case, alternating. A contestant that fails in one case begins the next
one with a new process; a case that fails leaves a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contestants import OURS
from benchmarks.gpu.cases import BFLOAT, FLOAT, HALF, TF32, KernelCase, cases
from benchmarks.gpu.contestants import OLDER, Here, OnDevice
from benchmarks.records import Record, record
from benchmarks.runner import Field, Runner, WorkerFailed

TOLERANCE = {FLOAT: 1e-3, TF32: 1e-2, BFLOAT: 2e-2, HALF: 1e-2}
"""How far the norms of two libraries' results may lie apart, relatively."""
TRIES = 3  # processes that may fail to start before a contestant is given up
COPY = {"full": 1 << 30, "tiny": 1 << 16}  # bytes


@dataclass(frozen=True)
class Effort:
    """How to measure: rounds, seconds in each, seconds of silence after which a contestant has failed."""

    rounds: int = 9
    seconds: float = 0.04
    patience: float = 600.0
    sizes: str = "full"


class Workers:
    """Kernel workers that come back after they failed."""

    def __init__(self, who: Sequence[OnDevice], effort: Effort) -> None:
        self.who, self.effort = who, effort
        self.field = Field(pause=0.0)
        self.failed_starts = {c.name: 0 for c in who}

    def ready(self) -> None:
        """Start those that are not there, unless they failed to start too often."""
        for c in self.who:
            if c.name in self.field.runners or self.failed_starts[c.name] >= TRIES:
                continue
            self.field.notes.pop(c.name, None)
            self.field.enter(c.name, lambda c=c: self._start(c))
            self.failed_starts[c.name] += c.name not in self.field.runners

    def _start(self, c: OnDevice) -> Runner:
        return Runner(
            c, c.name, c.device, self.effort.sizes, script="gpu/kernel_worker.py", patience=self.effort.patience
        )

    def measure(self, **prepare: Any) -> tuple[dict[str, Any], dict[str, list[float]], dict[str, str]]:
        """What each said when it prepared, its seconds per call in each round, and what went wrong with whom."""
        self.ready()
        said = self.field.each(lambda r: ask(r, **prepare))
        self.field.each(lambda r: ask(r, do="time", seconds=self.effort.seconds))  # finds the length of a round
        times = self.field.rounds(self.effort.rounds, lambda r: ask(r, do="time", seconds=self.effort.seconds))
        return said, times, dict(self.field.notes)

    def close(self) -> None:
        self.field.close()


def ask(runner: Runner, **request: Any) -> Any:
    """An answer; an error makes the runner fail, since a device may be of no more use to its process after one."""
    answer = runner.ask(**request)
    if isinstance(answer, dict) and "error" in answer:
        raise WorkerFailed(f"{runner.who.name}: {answer['error']}")
    return answer


def copies(here: Here, effort: Effort) -> list[Record]:
    """The rate of copies on the device, by the driver and by PyTorch: what memory-bound kernels are held against."""
    workers = Workers(here.some(OURS, "torch"), effort)
    nbytes = COPY[effort.sizes]
    try:
        _, times, notes = workers.measure(do="copy", nbytes=nbytes)
    finally:
        workers.close()
    return [_record("copy", c, times, notes, 2.0 * nbytes, 0.0) for c in workers.who]


def run(
    suite: str, here: Here, effort: Effort, names: Sequence[str], show: Callable[[Sequence[Record]], None]
) -> Iterator[list[Record]]:
    """The records of each case of a suite, whose names hold one of `names` if there are any."""
    workers = Workers(_players(suite, here), effort)
    try:
        for case in cases(suite, effort.sizes):
            if names and not any(n in case.name for n in names):
                continue
            said, times, notes = workers.measure(do="prepare", suite=suite, case=case.name)
            notes |= differences(case, said)
            found = [_record(case.name, c, times, notes, case.nbytes, case.flops) for c in workers.who]
            show(found)
            yield found
    finally:
        workers.close()


def _players(suite: str, here: Here) -> list[OnDevice]:
    return here.some(OURS, "torch", *([OLDER] if suite in ("products", "convolutions") else []))


def differences(case: KernelCase, said: dict[str, Any]) -> dict[str, str]:
    """Notes about contestants whose results are not those of PyTorch."""
    reference = said.get("torch", {}).get("norms", [])
    found = {}
    for name, answer in said.items():
        for got, wanted in zip(answer["norms"], reference, strict=False):
            if not abs(got - wanted) <= TOLERANCE[case.numbers] * abs(wanted) + 1e-6:
                found[name] = f"{name}: WRONG: a result has norm {got:.6g}, that of PyTorch {wanted:.6g}"
    return found


def _record(
    case: str, who: OnDevice, times: dict[str, list[float]], notes: dict[str, str], nbytes: float, flops: float
) -> Record:
    samples = times.get(who.name, [])
    note = notes.get(who.name, "")
    if not samples:
        return record(case, who.name, note or "not measured")
    figures = {"time_s": samples, "gbs": [nbytes / t / 1e9 for t in samples]}
    if flops:
        figures["gflops"] = [flops / t / 1e9 for t in samples]
    return record(case, who.name, note, **figures)
