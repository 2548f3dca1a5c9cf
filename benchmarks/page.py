"""`--html FILE`: what was measured as one self-contained page, plots inline, tables as printed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from html import escape

from benchmarks import compare, plots
from benchmarks.compiling import STAGES
from benchmarks.contestants import OURS
from benchmarks.records import Record, Report, by_case, median
from benchmarks.scale import points

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 920px; margin: 2em auto; padding: 0 1em; color: #24292f; }
svg { max-width: 100%; height: auto; display: block; margin: 0.5em 0 1.5em; }
svg text { font-family: system-ui, sans-serif; fill: #24292f; }
pre { overflow-x: auto; background: #f6f8fa; padding: 0.8em; font-size: 12px; }
td, th { text-align: left; padding: 0.1em 1em 0.1em 0; font-size: 13px; }
"""
MODULES = {"compile": "compiling"}


def page(report: Report, old: Report | None = None) -> str:
    """The whole document, well-formed XHTML."""
    parts = ["<h1>graphkeras benchmarks</h1>", facts(report)]
    if old is not None:
        parts += ["<h2>Compared with an older run</h2>", f"<pre>{escape(compare.text(old, report))}</pre>"]
    for suite, records in report["suites"].items():
        module = importlib.import_module(f"benchmarks.{MODULES.get(suite, suite)}")
        about = (module.__doc__ or "").split("\n\n", 1)
        parts += [f"<h2>{escape(suite)}</h2>", f"<p>{escape(about[-1].strip().replace('`', ''))}</p>"]
        parts += [f"<h3>{escape(title)}</h3>\n{svg}" for title, svg in PLOTS[suite](records)]
        parts.append(f"<pre>{escape(module.text(records))}</pre>")
    head = f'<head><meta charset="utf-8"/><title>graphkeras benchmarks</title><style>{STYLE}</style></head>'
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en">{head}<body>\n{body}\n</body></html>\n'
    )


def facts(report: Report) -> str:
    rows = {"when": report["when"], **report["host"], **report["versions"], **report["flags"]}
    cells = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


Plots = list[tuple[str, str]]
Groups = dict[str, dict[str, tuple[float, float]]]


def _against(records: Sequence[Record], name: str, base: str = OURS) -> Groups:
    """{case: {who: (figure relative to `base`, its noise)}} for cases that `base` has."""
    groups: Groups = {}
    for case, who in by_case(records).items():
        one = median(who.get(base), name)
        if one == one and one:
            found = {w: r["figures"][name] for w, r in who.items() if name in r["figures"]}
            groups[case] = {w: (f["median"] / one, f["noise"] * f["median"] / one) for w, f in found.items()}
    return groups


def _relative(records: Sequence[Record], figures: Mapping[str, str]) -> Plots:
    """A plot for each figure that was measured; bars are multiples of ours, so longer is slower or bigger."""
    made = []
    for name, title in figures.items():
        groups = _against(records, name)
        if groups:
            made.append((title, plots.bars(title, groups, "x", mark=1.0)))
    return made


def _models(records: Sequence[Record]) -> Plots:
    titles = {"step_s": "Seconds per training step", "predict_s": "predict of one sample"}
    titles |= {"memory_bytes": "Peak memory", "first_step_s": "Process start to the end of the first step, warm"}
    return _relative(records, {k: f"{v} (multiples of graphkeras)" for k, v in titles.items()})


def _dynamic(records: Sequence[Record]) -> Plots:
    return _relative(records, {"call_s": "Seconds per call or step (multiples of compiled)"})


def _ops(records: Sequence[Record]) -> Plots:
    share: Groups = {}
    for r in records:
        if "share" in r["figures"]:
            f = r["figures"]["share"]
            share.setdefault(r["case"], {})[r["who"]] = (f["median"] * 100, f["noise"] * f["median"] * 100)
    title = "Share of the machine's limit (over 100 %: the data stays in the caches)"
    made = [(title, plots.bars(title, share, "%", mark=100.0))] if share else []
    return made + _relative(records, {"time_s": "Time of a call (multiples of graphkeras)"})


def _compile(records: Sequence[Record]) -> Plots:
    rows = {
        f"{r['case']} {r['who'].removeprefix(OURS).strip()}": {
            s: median(r, f"{s}_s") for s in STAGES if f"{s}_s" in r["figures"]
        }
        for r in records
        if r["figures"]
    }
    return [("Seconds by stage", plots.stacks("Seconds by stage", rows, "s"))] if rows else []


def _memory(records: Sequence[Record]) -> Plots:
    groups: Groups = {}
    for r in records:
        if "peak_bytes" in r["figures"]:
            f = r["figures"]["peak_bytes"]
            groups.setdefault(r["case"], {})[r["who"]] = (f["median"] / 2**20, f["noise"] * f["median"] / 2**20)
    return [("Peak memory", plots.bars("Peak memory", groups, "MB"))] if groups else []


def _ablate(records: Sequence[Record]) -> Plots:
    made = []
    for case, who in by_case(records).items():
        found = {w: r["figures"]["off_ratio"] for w, r in who.items() if w != OURS and "off_ratio" in r["figures"]}
        groups = {w: {"time without / with": (f["median"], f["noise"] * f["median"])} for w, f in found.items()}
        if groups:
            made.append((case, plots.bars(case, groups, "x", mark=1.0)))
    return made


def _scale(records: Sequence[Record]) -> Plots:
    return [
        (
            sweep,
            plots.lines(
                sweep, {k: [(float(x), y) for x, y in v] for k, v in series.items()}, sweep, "seconds per step"
            ),
        )
        for sweep, series in points(records).items()
    ]


PLOTS: dict[str, Callable[[Sequence[Record]], Plots]] = {
    "models": _models,
    "ops": _ops,
    "compile": _compile,
    "memory": _memory,
    "ablate": _ablate,
    "dynamic": _dynamic,
    "scale": _scale,
}
