"""`python -m benchmarks ops [KERNEL | PART OF A NAME ...]`: single kernels against other libraries and the machine.

Ours are compiled from a graph of one op; peers are NumPy (OpenBLAS), PyTorch and JAX (XLA), each in a process of its
own, and for products oneDNN itself (PyTorch takes a BLAS for them). One sample is a call from Python that ends when the
result is there; `call 8` shows what of it is the call itself. Rates come from the flops and bytes of the mathematics;
`share` is the part of the nearest limit (see codegen/cpu/roof.py) that is reached.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Sequence

from benchmarks.contestants import OURS, PEERS, THREADS, Contestant
from benchmarks.models import Effort
from benchmarks.op_case import Case
from benchmarks.ops_cases import QUICK, all_cases
from benchmarks.records import Record, best_peer, by_case, median, notes, ratio, record, si, table
from benchmarks.runner import Field, Runner
from graphkeras.codegen.cpu import roof

NAMES = tuple(dict.fromkeys(c.kernel for c in all_cases()))
TOLERANCE = 1e-3


def libraries(only: Sequence[str] = ()) -> list[Contestant]:
    """graphkeras and NumPy from this environment, PyTorch and JAX from that of the peers."""
    found = [Contestant(name, sys.executable, name) for name in (OURS, "numpy")]
    python = PEERS / "bin" / "python"
    if python.exists():
        found += [Contestant(name, str(python), name) for name in ("torch", "onednn", "jax")]
    names = {n.removeprefix("keras-") for n in only}
    return [c for c in found if not names or c.name in names]


def chosen_cases(names: Sequence[str]) -> list[Case]:
    """All cases, or those of the kernels that are named and those whose own name holds one of `names`."""
    kernels = [n for n in names if n in NAMES]
    parts = [n for n in names if n not in NAMES]
    return [c for c in all_cases() if not names or c.kernel in kernels or any(p in c.name for p in parts)]


def knows(name: str) -> bool:
    return bool(chosen_cases([name]))


def measure(case: Case, field: Field, limits: roof.Roof, effort: Effort) -> list[Record]:
    """A record for each library that has the kernel."""
    checks = field.each(lambda r: r.ask(do="prepare", case=case.name))
    able = [name for name, check in checks.items() if check is not None]
    seconds = max(effort.predict / 4, 0.01)
    times: dict[str, list[float]] = {name: [] for name in able}
    for number in range(effort.rounds):
        order = able if number % 2 == 0 else able[::-1]
        for name, value in field.each(lambda r: r.ask(do="time", seconds=seconds), order).items():
            times[name].append(value)
    made = [record(case.name, name, note) for name, note in field.notes.items() if not times.get(name)]
    for name in able:
        if not times[name]:
            continue
        note = "" if agree(checks[able[0]], checks[name]) else f"{name} computes another result than {able[0]}"
        rates = {"share": [limits.share(case.flops, case.nbytes, t) for t in times[name]]}
        rates["gflops"] = [case.flops / t / 1e9 for t in times[name]]
        rates["gbs"] = [case.nbytes / t / 1e9 for t in times[name]]
        made.append(record(case.name, name, note, time_s=times[name], **rates))
    return made


def agree(first: dict[str, float], second: dict[str, float]) -> bool:
    """Whether two results are the same up to rounding, judged by size, norm and last element."""
    scale = max(first["norm"] / max(first["size"], 1) ** 0.5, 1e-30)
    return (
        first["size"] == second["size"]
        and math.isclose(first["norm"], second["norm"], rel_tol=TOLERANCE, abs_tol=1e-30)
        and abs(first["last"] - second["last"]) <= TOLERANCE * max(scale, abs(first["last"]))
    )


def text(records: Sequence[Record]) -> str:
    others = [w for w in dict.fromkeys(r["who"] for r in records) if w not in (OURS, "machine")]
    head = ("kernel", "ours", "GFLOP/s", "GB/s", "share", *others, "best peer", "ratio")
    rows, lines = [], []
    for case, who in by_case(records).items():
        if "machine" in who:
            figures = {k: median(who["machine"], k) for k in who["machine"]["figures"]}
            lines.append("machine: " + ", ".join(f"{k} {v:.1f}" for k, v in figures.items()))
            continue
        ours = who.get(OURS)
        best, value = best_peer(who, "time_s")
        mine = [median(ours, k) for k in ("time_s", "gflops", "gbs", "share")]
        cells = [case, si(mine[0], "s"), f"{mine[1]:.1f}", f"{mine[2]:.1f}", si(mine[3], "share")]
        cells += [si(median(who.get(w), "time_s"), "s") for w in others]
        rows.append([*cells, best, ratio(value, mine[0])])
    return "\n".join(x for x in (*lines, table(head, rows) if rows else "", notes(records)) if x)


def run(names: Sequence[str], effort: Effort, only: Sequence[str] = ()) -> Iterator[list[Record]]:
    limits = roof.measure(THREADS)
    facts = {"peak_gflops": limits.flops / 1e9, "one_thread_gflops": limits.flops_one / 1e9}
    facts |= {"copy_gbs": limits.bytes / 1e9, "one_thread_copy_gbs": limits.bytes_one / 1e9}
    records = [record("machine", "machine", **facts)]
    print(text(records), flush=True)
    yield list(records)
    chosen = chosen_cases(names)
    if effort.is_quick and not names:
        chosen = [c for c in chosen if c.name in QUICK]
    field = Field()
    folder = tempfile.TemporaryDirectory()
    for c in libraries(only):
        field.enter(c.name, lambda c=c: Runner(c, c.name, script="ops_worker.py", GRAPHKERAS_CACHE=folder.name))
    try:
        for case in chosen:
            found = measure(case, field, limits, effort)
            times = ", ".join(f"{r['who']} {si(median(r, 'time_s'), 's')}" for r in found if r["figures"])
            print(f"{case.name}: {times}", flush=True)
            records += found
            yield found
    finally:
        field.close()
        folder.cleanup()
    print("\n" + text(records))
