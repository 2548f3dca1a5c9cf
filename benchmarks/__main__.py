"""`python -m benchmarks SUITE ...`: models, ops, compile, memory, ablate, dynamic, scale, all.

See docs/guide/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks import compare, models, records
from benchmarks.contestants import ROOT
from benchmarks.workloads import WORKLOADS

SUITES = {
    "models": ("models", "training steps side by side with the peers that are installed"),
    "ops": ("ops", "single kernels against NumPy, PyTorch (oneDNN) and JAX (XLA), and against the machine's roof"),
    "compile": ("compiling", "cold and warm compile time, by stage"),
    "memory": ("memory", "peak and planned memory of training"),
    "ablate": ("ablate", "what each pass and feature brings"),
    "dynamic": ("dynamic", "programs that decide on values, compiled against eager"),
    "scale": ("scale", "cost as batch, width, depth and length grow"),
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--quick", action="store_true", help="few and short rounds: shows that it runs, not how fast")
    shared.add_argument("--rounds", type=int, default=0, help="rounds in place of the usual number")
    shared.add_argument(
        "--only", nargs="*", default=[], metavar="WHO", help="contestants, such as graphkeras keras-jax"
    )
    shared.add_argument("--out", default="", help="JSON file (default: benchmarks/results/SUITE.json)")
    shared.add_argument("--html", default="", metavar="FILE", help="write a report with plots")
    shared.add_argument(
        "--compare", default="", metavar="OLD.json", help="print what changed; exit code 2 if something got worse"
    )
    for name, (_, doc) in SUITES.items():
        command = commands.add_parser(name, parents=[shared], help=doc)
        command.add_argument(
            "names", nargs="*", metavar="NAME", help=f"cases of this suite (default: all). {', '.join(cases(name))}"
        )
    commands.add_parser("all", parents=[shared], help="every suite").set_defaults(names=[])
    show = commands.add_parser("show", parents=[shared], help="report and compare figures measured before")
    show.add_argument("names", nargs="+", metavar="FILE.json")
    return made


def cases(suite: str) -> list[str]:
    """The names that a suite takes."""
    if suite in ("models", "memory", "ablate"):
        return list(WORKLOADS)
    return list(importlib.import_module(f"benchmarks.{SUITES[suite][0]}").NAMES)


def measure(arguments: argparse.Namespace) -> records.Report:
    """Run the suites that were asked for; what was measured is on disk after each of them."""
    report = records.new_report()
    report["flags"] |= {"quick": "1"} if arguments.quick else {}
    path = Path(arguments.out) if arguments.out else ROOT / "benchmarks" / "results" / f"{arguments.command}.json"
    for suite in SUITES if arguments.command == "all" else [arguments.command]:
        unknown = set(arguments.names) - set(cases(suite))
        if unknown:
            sys.exit(f"{suite}: no case {', '.join(sorted(unknown))}; expected some of {', '.join(cases(suite))}")
        effort = models.QUICK if arguments.quick else models.Effort()
        if arguments.rounds:
            effort = replace(effort, rounds=arguments.rounds)
        print(f"== {suite}", flush=True)
        module = importlib.import_module(f"benchmarks.{SUITES[suite][0]}")
        report["suites"][suite] = module.run(arguments.names, effort, arguments.only)
        records.write(report, path)
    print(f"\nwritten to {path}")
    return report


def load(path: str) -> records.Report:
    return json.loads(Path(path).read_text())


def shown(paths: list[str]) -> records.Report:
    """Several reports as one: the facts of the first, the suites of all."""
    reports = [load(p) for p in paths]
    for other in reports[1:]:
        for suite, rows in other["suites"].items():
            reports[0]["suites"].setdefault(suite, []).extend(rows)
    for suite, rows in reports[0]["suites"].items():
        print(f"\n== {suite}\n" + importlib.import_module(f"benchmarks.{SUITES[suite][0]}").text(rows))
    return reports[0]


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    old = load(arguments.compare) if arguments.compare else None  # before the file may be overwritten
    report = shown(arguments.names) if arguments.command == "show" else measure(arguments)
    if arguments.html:
        from benchmarks import page

        Path(arguments.html).write_text(page.page(report, old))
        print(f"report in {arguments.html}")
    if old is None:
        return 0
    print("\n" + compare.text(old, report))
    return 2 if compare.regressions(old, report) else 0


if __name__ == "__main__":
    sys.exit(main())
