"""What a run leaves: records of figures with their samples, the facts about the machine, tables.

A report is {"when", "host", "versions", "flags", "suites": {suite: [record]}}; a record is
{"case", "who", "figures": {name: {"median", "min", "noise", "samples"}}, "note"}.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contestants import OURS, PEERS, ROOT, THREADS

Figure = dict[str, Any]
Record = dict[str, Any]
Report = dict[str, Any]

UNITS = {"s": 1.0, "bytes": 1.0, "gflops": -1.0, "gbs": -1.0, "share": -1.0, "count": 1.0, "ratio": 0.0}
"""By the suffix of a figure's name: 1 if less is better, -1 if more is, 0 if neither."""


ENOUGH = 3
"""Samples from which on their noise means something."""


def figure(samples: float | Iterable[float]) -> Figure:
    """Median, minimum and noise (half the distance of the quartiles, relative to the median) of the samples."""
    values = [float(samples)] if isinstance(samples, (int, float)) else [float(v) for v in samples]
    middle = statistics.median(values)
    noise = 0.0
    if len(values) > 1 and middle:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        noise = (high - low) / 2 / abs(middle)
    return {"median": middle, "min": min(values), "noise": noise, "samples": values}


def record(case: str, who: str, note: str = "", **figures: float | Iterable[float]) -> Record:
    return {"case": case, "who": who, "note": note, "figures": {k: figure(v) for k, v in figures.items()}}


def unit_of(name: str) -> str:
    suffix = name.rsplit("_", 1)[-1]
    return suffix if suffix in UNITS else "count"


def by_case(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """{case: {who: record}}, in order of appearance."""
    found: dict[str, dict[str, Record]] = {}
    for r in records:
        found.setdefault(r["case"], {})[r["who"]] = r
    return found


def median(r: Record | None, name: str) -> float:
    """The median of a figure; NaN where it was not measured."""
    return float("nan") if r is None or name not in r["figures"] else r["figures"][name]["median"]


def best_peer(rows: dict[str, Record], name: str, ours: str = OURS) -> tuple[str, float]:
    """Who of the others has the best median of a figure, and which; ("", NaN) without one."""
    sign = UNITS[unit_of(name)] or 1.0
    peers = {who: median(r, name) for who, r in rows.items() if who != ours and name in r["figures"]}
    if not peers:
        return "", float("nan")
    who = min(peers, key=lambda w: sign * peers[w])
    return who, peers[who]


# -- the run ----------------------------------------------------------------------------------------
def new_report() -> Report:
    """A report without figures: when, where, with what."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "host": {
            "machine": platform.machine(),
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "threads": THREADS,
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        "versions": versions(),
        "flags": {k: v for k, v in sorted(os.environ.items()) if k.startswith("GRAPHKERAS_") and k not in _PRIVATE},
        "suites": {},
    }


_PRIVATE = ("GRAPHKERAS_CACHE", "GRAPHKERAS_PEERS", "GRAPHKERAS_DUMP")  # folders say nothing to others


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def versions() -> dict[str, str]:
    """Versions of what takes part, with the commit of this tree."""
    found = {name: importlib.metadata.version(name) for name in (OURS, "numpy", "numba", "llvmlite")}
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    if commit:
        found["commit"] = commit
    python = PEERS / "bin" / "python"
    if python.exists():
        names = ("keras", "jax", "jaxlib", "tensorflow-cpu", "torch", "numpy")
        code = f"import importlib.metadata as m\nfor n in {names}:\n try: print(n, m.version(n))\n"
        code += " except m.PackageNotFoundError: pass"
        said = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False).stdout
        found |= {f"peers: {n}": v for n, v in (line.split() for line in said.splitlines())}
    return found


def write(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")  # an interruption leaves the old file or the new one
    beside.write_text(json.dumps(report, indent=1))
    beside.replace(path)


# -- text -------------------------------------------------------------------------------------------
def si(value: float, unit: str = "") -> str:
    """A figure with a unit's prefix: 12.3 us, 4.56 ms, 78.9 MB; "-" for NaN."""
    if value != value:
        return "-"
    if unit == "bytes":
        return f"{value / 2**20:.1f} MB"
    if unit in ("gflops", "gbs"):
        return f"{value:.1f} " + {"gflops": "GFLOP/s", "gbs": "GB/s"}[unit]
    if unit == "share":
        return f"{value * 100:.0f} %"
    if unit == "s":
        for factor, name in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
            if abs(value) * factor >= 1 or name == "us":
                return f"{value * factor:.3g} {name}" if abs(value) * factor < 1000 else f"{value * factor:.0f} {name}"
    return f"{value:.2f}" if unit == "ratio" else f"{value:g}"


def ratio(peer: float, ours: float) -> str:
    return f"{peer / ours:.2f}" if ours and peer == peer and ours == ours else "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their longest entry; the first stands left, the others right."""
    lines = [tuple(head), *(tuple(r) for r in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    text = [
        "  ".join(c.ljust(w) if not k else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    text.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in text)


def notes(records: Sequence[Record]) -> str:
    """What went wrong, one line each."""
    return "\n".join(f"! {r['case']}: {r['note']}" for r in records if r["note"])
