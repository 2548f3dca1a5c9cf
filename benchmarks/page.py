"""`--html FILE`: what was measured as one self-contained page, plots inline, tables as printed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from html import escape

from benchmarks import compare, plots, roofs
from benchmarks.compiling import STAGES
from benchmarks.contestants import OURS
from benchmarks.records import Record, Report, by_case, median
from benchmarks.scale import points

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --back: #ffffff; --soft: #f6f8fa; --rule: #d0d7de; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --back: #0d1117; --soft: #161b22; --rule: #444c56; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 920px; margin: 2em auto; padding: 0 1em; }
body { color: var(--ink); background: var(--back); }
svg { max-width: 100%; height: auto; display: block; margin: 0.5em 0 1.5em; }
svg text { font-family: system-ui, sans-serif; }
pre { overflow-x: auto; background: var(--soft); padding: 0.8em; font-size: 12px; }
td, th { text-align: left; padding: 0.1em 1em 0.1em 0; font-size: 13px; border-bottom: 1px solid var(--rule); }
.wide { overflow-x: auto; }
.wide td:nth-child(n+4), .wide th:nth-child(n+4) { text-align: right; white-space: nowrap; }
"""
MODULES = {"compile": "compiling"}
MOST_KERNELS = 10


def page(report: Report, old: Report | None = None) -> str:
    """The whole document, well-formed XHTML."""
    parts = ["<h1>graphkeras benchmarks</h1>", facts(report)]
    if old is not None:
        parts += ["<h2>Compared with an older run</h2>", f"<pre>{escape(compare.text(old, report))}</pre>"]
    if report.get("interrupted"):
        parts.append("<p><strong>This run was interrupted: what comes after that is missing.</strong></p>")
    for suite, records in report["suites"].items():
        if suite not in PLOTS:
            parts.append(f"<h2>{escape(suite)}</h2><p>This version has no such suite.</p>")
            continue
        module = importlib.import_module(f"benchmarks.{MODULES.get(suite, suite)}")
        about = (module.__doc__ or "").split("\n\n", 1)
        parts += [f"<h2>{escape(suite)}</h2>", f"<p>{escape(about[-1].strip().replace('`', ''))}</p>"]
        parts += [f"<h3>{escape(title)}</h3>\n{svg}" for title, svg in PLOTS[suite](records)]
        parts.append(f"<pre>{escape(module.text(records))}</pre>")
        parts += _kernels(records)
    head = '<head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>'
    head += f"<title>graphkeras benchmarks</title><style>{STYLE}{plots.style()}</style></head>"
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en">{head}<body>\n{body}\n</body></html>\n'
    )


def facts(report: Report) -> str:
    rows = {"when": report["when"], **report["host"], **report["versions"], **report["flags"]}
    cells = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items())
    return f"<table>{cells}</table>"


def _kernels(records: Sequence[Record]) -> list[str]:
    """All kernels of every workload that was profiled, in the order of the step, folded away."""
    parts = []
    head = ("kernel", "layers", "phase", "time", "of step", "GFLOP/s", "of peak", "GB/s", "of copies")
    for r in records:
        if not r.get("kernels"):
            continue
        rows = [(k["kernel"], roofs.layers(k, 60), k["phase"], *roofs.cells(k)) for k in r["kernels"]]
        cells = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
        names = "".join(f"<th>{h}</th>" for h in head)
        title = f"All {len(rows)} kernels of one step of {escape(r['case'])}, in order"
        parts.append(
            f'<details class="wide"><summary>{title}</summary><table><tr>{names}</tr>{cells}</table></details>'
        )
    return parts


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
        if any(len(g) > 1 for g in groups.values()):
            made.append((title, plots.bars(title, groups, "x", mark=1.0)))
    return made


def _models(records: Sequence[Record]) -> Plots:
    titles = {"step_s": "Seconds per training step", "predict_s": "predict of one sample"}
    titles |= {"memory_bytes": "Peak memory", "first_step_s": "Process start to the end of the first step, warm"}
    made = _relative(
        records, {k: f"{v} (multiples of graphkeras: longer is slower, or bigger)" for k, v in titles.items()}
    )
    for r in records:
        if r.get("kernels"):
            made.append((f"Kernels of {r['case']} against the machine's limits", _limits(r)))
    return made


def _limits(r: Record) -> str:
    """The longest kernels of a step: shares of the peak and of the bandwidth of copies."""
    groups: Groups = {}
    for k in roofs.shown(r["kernels"])[0][:MOST_KERNELS]:
        name = f"{roofs.title(k)}, {k['time_share'] * 100:.0f} % of step"
        shares = {"of peak flops": k.get("flops_share", 0.0), "of copy bandwidth": k.get("bytes_share", 0.0)}
        while name in groups:
            name += "'"
        groups[name] = {who: (share * 100, 0.0) for who, share in shares.items()}
    return plots.bars(f"{r['case']}: share of the machine's limits", groups, "%", mark=100.0)


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
        if "process_s" in r["figures"]
    }
    made = [("Seconds by stage", plots.stacks("Seconds by stage", rows, "s"))] if rows else []
    loops: Groups = {}
    for r in records:
        for name, words in (("new_s", "a new shape"), ("seen_s", "a shape seen before")):
            if name in r["figures"]:
                f = r["figures"][name]
                loops.setdefault(r["case"], {})[words] = (f["median"] * 1e3, f["noise"] * f["median"] * 1e3)
    title = "One training step with a new shape, and with one seen before"
    return made + ([(title, plots.bars(title, loops, "ms"))] if loops else [])


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
        # Variants that become the same kernels have no ratio.
        found = {w: r["figures"]["off_ratio"] for w, r in who.items() if w != OURS and "off_ratio" in r["figures"]}
        groups = {w: {"time without / with": (f["median"], f["noise"] * f["median"])} for w, f in found.items()}
        if groups:
            title = f"{case}: time of a step without it, in multiples of the time with it"
            made.append((title, plots.bars(title, groups, "x", mark=1.0)))
    return made


def _scale(records: Sequence[Record]) -> Plots:
    return [
        (
            f"Time of a training step over {sweep.replace('_', ' of ')} (both axes logarithmic)",
            plots.lines(
                sweep,
                {k: [(float(x), y) for x, y in v] for k, v in series.items()},
                sweep.split("_")[0],
                "time of a training step",
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
