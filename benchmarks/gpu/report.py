"""What a run says: a line for each case as soon as it is measured, and a line for each target at the end."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contestants import OURS
from benchmarks.gpu.cases import NAMES
from benchmarks.gpu.contestants import is_gpu
from benchmarks.gpu.targets import share_of_copy, steps_to_best_peer, verdicts
from benchmarks.records import Record, Report, by_case, median, ratio, si

WIDTH = 44


def line(suite: str, rows: Sequence[Record], report: Report) -> str:
    """The records of one case in one line, notes below it."""
    (who,) = by_case(rows).values()
    case = rows[0]["case"]
    if suite in NAMES or suite == "copy":
        text = _kernel(suite, case, who, report)
    elif suite == "checks":
        said = {1.0: "passed", 0.0: "NOT passed"}.get(median(who.get(OURS), "passed_count"), "not run")
        text = f"{case:{WIDTH}s} {said}"
    elif suite == "curves":
        text = f"{case:{WIDTH}s} losses apart by {median(who.get(OURS), 'apart_ratio'):.2g}"
    else:
        text = _steps(case, who, report)
    return "\n".join([text, *(f"  ! {r['note']}" for r in rows if r["note"])])


def _kernel(suite: str, case: str, who: dict[str, Record], report: Report) -> str:
    ours = who.get(OURS)
    text = f"{case:{WIDTH}s} {si(median(ours, 'time_s'), 's'):>9s} {median(ours, 'gbs'):8.0f} GB/s"
    if ours and "gflops" in ours["figures"]:
        text += f" {median(ours, 'gflops') / 1000:8.2f} TFLOP/s"
    if suite == "memory":
        text += f"  {share_of_copy(who, report):5.2f} of copy"
    for name, r in who.items():
        if name != OURS:
            text += f"  {name} {si(median(r, 'time_s'), 's')} ({ratio(median(r, 'time_s'), median(ours, 'time_s'))})"
    return text


def _steps(case: str, who: dict[str, Record], report: Report) -> str:
    text = f"{case:{WIDTH}s}"
    for name, r in who.items():
        text += f"  {name} {1 / median(r, 'step_s'):.4g}/s"
    return text + f"  ours / best peer {steps_to_best_peer(who, report):.2f}"


def summary(report: Report) -> str:
    """The targets, met or missed; and a warning where the figures are no measurement."""
    lines = [v.text for v in verdicts(report)]
    if report["flags"].get("sizes") != "full" or not is_gpu(report["device"]["asked"]):
        lines.insert(0, "A REHEARSAL: tiny sizes, or no GPU. Nothing below is a measurement.")
    return "\n".join(lines)
