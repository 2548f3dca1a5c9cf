"""What the project wants to reach on a GPU, and whether a run reached it.

A target gives a number for each case of its suite; the limit says how large it must be (or how small). A target is met
if every case that was measured meets it. A case in which graphkeras itself failed counts as missed; one in which the
peer failed, or is not there, is not measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contestants import OURS
from benchmarks.gpu.cases import BFLOAT, FLOAT, HALF, TF32
from benchmarks.records import Record, Report, best_peer, by_case, median

Rows = dict[str, Record]
MET, MISSED, OPEN = "met", "MISSED", "not measured"


@dataclass(frozen=True)
class Target:
    """words: what it says; value(rows of a case, report) -> number, NaN if not measured; takes: which cases."""

    suite: str
    words: str
    limit: float
    value: Callable[[Rows, Report], float]
    takes: Callable[[str], bool] = lambda case: True
    at_most: bool = False


@dataclass(frozen=True)
class Verdict:
    target: Target
    said: str  # MET, MISSED or OPEN
    values: dict[str, float]
    failed: tuple[str, ...]  # cases in which graphkeras failed
    why: str = ""

    @property
    def text(self) -> str:
        head = f"{self.said:12s} {self.target.words}"
        if self.said == OPEN:
            return f"{head}: {self.why}"
        values = self.values
        if not values:
            return f"{head}: graphkeras failed in {', '.join(self.failed)}"
        worst = (max if self.target.at_most else min)(values, key=values.__getitem__)
        good = sum(_meets(self.target, v) for v in values.values())
        text = f"{head}: {good} of {len(values) + len(self.failed)} cases, "
        text += f"median {statistics.median(values.values()):.3g}, worst {values[worst]:.3g} ({worst})"
        return text + (f"; graphkeras failed in {', '.join(self.failed)}" if self.failed else "")


def _meets(target: Target, value: float) -> bool:
    return value <= target.limit if target.at_most else value >= target.limit


def best_copy(report: Report) -> float:
    """The device's copy rate of this run in GB/s: the best that anybody reached; NaN if not measured."""
    rates = [median(r, "gbs") for r in report["suites"].get("copy", []) if "gbs" in r["figures"]]
    return max(rates, default=float("nan"))


def share_of_copy(rows: Rows, report: Report) -> float:
    return median(rows.get(OURS), "gbs") / best_copy(report)


def rate_to(peer: str) -> Callable[[Rows, Report], float]:
    """How many times the peer's speed ours is."""

    def value(rows: Rows, report: Report) -> float:
        return median(rows.get(peer), "time_s") / median(rows.get(OURS), "time_s")

    return value


def steps_to_best_peer(rows: Rows, report: Report) -> float:
    """Our steps per second to those of the fastest other."""
    peers = {who: r for who, r in rows.items() if who == OURS or not who.startswith(OURS)}
    return best_peer(peers, "step_s")[1] / median(rows.get(OURS), "step_s")


def _numbers(*which: str) -> Callable[[str], bool]:
    return lambda case: case.rsplit(" ", 1)[-1] in which


def _passed(rows: Rows, report: Report) -> float:
    return median(rows.get(OURS), "passed_count")


TARGETS = (
    Target("checks", "the tests of the device pass", 1, _passed, lambda c: c == "tests"),
    Target("checks", "compute-sanitizer finds nothing", 1, _passed, lambda c: c.startswith("sanitizer")),
    Target("curves", "losses on the device within 0.2 % of the CPU's", 2e-3,
           lambda rows, report: median(rows.get(OURS), "apart_ratio"), at_most=True),
    Target("memory", "memory-bound kernels at 0.9 of the copy bandwidth", 0.9, share_of_copy),
    Target("products", "bfloat16 products at 0.8 of cuBLAS", 0.8, rate_to("torch"), _numbers(BFLOAT)),
    Target("products", "float16 products at 0.8 of cuBLAS", 0.8, rate_to("torch"), _numbers(HALF)),
    Target("products", "tf32 products at 0.8 of cuBLAS", 0.8, rate_to("torch"), _numbers(TF32)),
    Target("products", "float32 products at 0.8 of cuBLAS", 0.8, rate_to("torch"), _numbers(FLOAT)),
    Target("convolutions", "convolutions at 0.65 of cuDNN", 0.65, rate_to("torch")),
    Target("small", "small models at 3 times the steps of the best peer", 3.0, steps_to_best_peer),
    Target("large", "large models within 1.3 times the best peer's step", 1 / 1.3, steps_to_best_peer),
)  # fmt: skip
"""Attention is measured too, against scaled_dot_product_attention, but has no target."""


def verdict(target: Target, report: Report) -> Verdict:
    rows = by_case([r for r in report["suites"].get(target.suite, []) if target.takes(r["case"])])
    values, failed = {}, []
    for case, who in rows.items():
        value = target.value(who, report)
        if not math.isnan(value):
            values[case] = value
        if _failed(who.get(OURS)):
            failed.append(case)
            values.pop(case, None)
    if not values and not failed:
        return Verdict(target, OPEN, {}, (), _why(target, rows, report))
    met = not failed and all(_meets(target, v) for v in values.values())
    return Verdict(target, MET if met else MISSED, values, tuple(failed))


def _failed(ours: Record | None) -> bool:
    """Whether graphkeras was asked and gave nothing, or something wrong."""
    if ours is None or ours["note"].startswith(NOT_ASKED):
        return False
    return not ours["figures"] or "WRONG" in ours["note"]


NOT_ASKED = ("needs a GPU", "compute-sanitizer is not installed", "the simulated device has none")
"""Notes of what was left out, which is no failure."""


def _why(target: Target, rows: dict[str, Rows], report: Report) -> str:
    if target.suite not in report["suites"]:
        return "this suite was not asked for"
    said = dict.fromkeys(r["note"] for who in rows.values() for r in who.values() if r["note"])
    absent = [f"{name}: {why}" for name, why in report["absent"].items()]
    return "; ".join([*list(said)[:2], *absent]) or "no case was asked for"


def verdicts(report: Report) -> list[Verdict]:
    return [verdict(target, report) for target in TARGETS]
