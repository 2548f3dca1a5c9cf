"""`python -m benchmarks models`: training steps side by side, alternating, with medians.

All contestants are started, warmed up, and then asked in turn, round after round, to train for a while; what disturbs the machine
disturbs all of them. Reported: the median over rounds of seconds per step, and the ratio best peer / graphkeras (above 1: we are
faster), the median `predict` of one sample, peak memory, import time, and the time from process start to the end of the first training
step with a cold and a warm kernel cache.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contestants import ROOT, Contestant, contestants
from benchmarks.workloads import WORKLOADS

ROUND_SECONDS = 0.6


class Runner:
    """A worker process."""

    def __init__(self, who: Contestant, workload: str, **env: str) -> None:
        self.who = who
        command = [who.python, str(Path(__file__).parent / "worker.py"), who.module, workload]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=who.env(**env)
        )
        self.start = self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.who.name} ended with code {self.process.wait()}; run benchmarks/worker.py by hand")
        return json.loads(line)

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(workload: str, rounds: int) -> dict[str, dict[str, float]]:
    """All figures of one workload, by contestant."""
    runners = [Runner(who, workload) for who in contestants()]
    found: dict[str, dict[str, float]] = {}
    for runner in runners:
        runner.ask(do="fit", epochs=1)
        step = runner.ask(do="fit", epochs=1)
        runner.epochs = max(1, round(ROUND_SECONDS / max(step * _steps(workload), 1e-4)))  # type: ignore[attr-defined]
        runner.times = []  # type: ignore[attr-defined]
        found[runner.who.name] = dict(runner.start)
    for _ in range(rounds):
        for runner in runners:
            runner.times.append(runner.ask(do="fit", epochs=runner.epochs))  # type: ignore[attr-defined]
    for runner in runners:
        row = found[runner.who.name]
        row["step"] = statistics.median(runner.times)  # type: ignore[attr-defined]
        row["memory"] = runner.ask(do="memory")
        row["predict"] = runner.ask(do="predict", calls=100)
        runner.close()
    return found


def _steps(workload: str) -> int:
    return {"mlp": 100, "res": 6}.get(workload[:3], 10)


def cold_start(workload: str) -> float:
    """Seconds from process start to the end of the first step, with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(contestants()[0], workload, GRAPHKERAS_CACHE=folder)
        runner.close()
        return runner.start["first_step"]


def best_peer(rows: dict[str, dict[str, float]], key: str) -> tuple[str, float]:
    peers = {name: row[key] for name, row in rows.items() if name != "graphkeras"}
    name = min(peers, key=peers.get) if peers else ""  # type: ignore[arg-type]
    return name, peers.get(name, float("nan"))


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    head = f"{'workload':10s} {'ours/step':>11s} {'best peer':>22s} {'ratio':>6s} {'predict(1)':>11s} {'ratio':>6s} "
    lines = [head + f"{'memory':>8s} {'ratio':>6s} {'first step warm / cold / peer':>32s}"]
    for workload, rows in results.items():
        ours = rows["graphkeras"]
        who, peer = best_peer(rows, "step")
        _, predict = best_peer(rows, "predict")
        _, memory = best_peer(rows, "memory")
        _, first = best_peer(rows, "first_step")
        lines.append(
            f"{workload:10s} {ours['step'] * 1e3:8.3f} ms {who:>12s} {peer * 1e3:6.2f} ms {peer / ours['step']:6.2f} "
            f"{ours['predict'] * 1e6:8.1f} us {predict / ours['predict']:6.1f} "
            f"{ours['memory'] / 2**20:5.0f} MB {memory / ours['memory']:6.2f} "
            f"{ours['first_step']:11.2f} / {ours['cold_first_step']:5.2f} / {first:5.2f} s"
        )
    return "\n".join(lines)


def main(workloads: list[str], rounds: int, out: str) -> None:
    results = {}
    for workload in workloads or WORKLOADS:
        results[workload] = measure(workload, rounds)
        results[workload]["graphkeras"]["cold_first_step"] = cold_start(workload)
        print(table({workload: results[workload]}), flush=True)
    print("\n" + table(results))
    report = {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "host": {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "results": results,
    }
    path = Path(out) if out else ROOT / "benchmarks" / "results" / "models.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    print(f"\nwritten to {path}")
