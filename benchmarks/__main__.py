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
from benchmarks.contestants import PEERS, ROOT, contestants
from benchmarks.workloads import workloads

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
        return [*workloads(), "more", "all"]
    module = importlib.import_module(f"benchmarks.{SUITES[suite][0]}")
    return list(module.names() if hasattr(module, "names") else module.NAMES)


def checked(arguments: argparse.Namespace) -> list[str]:
    """The suites to run; whatever is wrong with the arguments is said before anything is measured."""
    suites = list(SUITES) if arguments.command == "all" else [arguments.command]
    for suite in suites:
        known = getattr(importlib.import_module(f"benchmarks.{SUITES[suite][0]}"), "knows", cases(suite).__contains__)
        unknown = {name for name in arguments.names if not known(name)}
        if unknown:
            sys.exit(f"{suite}: no case {', '.join(sorted(unknown))}; expected some of {', '.join(cases(suite))}")
    if arguments.rounds < 0:
        sys.exit(f"--rounds: expected a positive number; received {arguments.rounds}")
    if suites == ["ops"]:
        who = importlib.import_module("benchmarks.ops").libraries(arguments.only)
    else:
        who = contestants(arguments.only)
    if not who:
        sys.exit(f"--only: nobody here is called {' or '.join(arguments.only)}")
    if not PEERS.is_dir() and not arguments.only and set(suites) & {"models", "memory", "scale", "ops"}:
        print("No peers are installed (see `make peers`): graphkeras runs without them.", flush=True)
    return suites


def measure(arguments: argparse.Namespace) -> records.Report:
    """Run the suites that were asked for; what was measured is on disk after each case, after Ctrl-C too."""
    suites = checked(arguments)
    report = records.new_report()
    report["flags"] |= {"quick": "1"} if arguments.quick else {}
    path = Path(arguments.out) if arguments.out else ROOT / "benchmarks" / "results" / f"{arguments.command}.json"
    effort = models.QUICK if arguments.quick else models.Effort()
    if arguments.rounds:
        effort = replace(effort, rounds=arguments.rounds)
    try:
        for suite in suites:
            print(f"== {suite}", flush=True)
            module = importlib.import_module(f"benchmarks.{SUITES[suite][0]}")
            rows = report["suites"].setdefault(suite, [])
            for found in module.run(arguments.names, effort, arguments.only):
                rows += found
                records.write(report, path)
    except KeyboardInterrupt:
        report["interrupted"] = True
        print("\ninterrupted: what had been measured is kept", flush=True)
        for suite, rows in report["suites"].items():
            print(importlib.import_module(f"benchmarks.{SUITES[suite][0]}").text(rows))
    records.write(report, path)
    print(f"\nwritten to {path}")
    return report


def load(path: str) -> records.Report:
    """A report from disk; what is wrong with the file is said in one line."""
    try:
        report = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"cannot read {path}: {error}")
    if not isinstance(report, dict) or "suites" not in report:
        sys.exit(f"{path} is no report: expected a JSON file that `python -m benchmarks` has written")
    return report


def shown(paths: list[str]) -> records.Report:
    """Several reports as one: the facts of the first, the suites of all."""
    reports = [load(p) for p in paths]
    for other in reports[1:]:
        for suite, rows in other["suites"].items():
            reports[0]["suites"].setdefault(suite, []).extend(rows)
    for suite, rows in reports[0]["suites"].items():
        if suite in SUITES:
            print(f"\n== {suite}\n" + importlib.import_module(f"benchmarks.{SUITES[suite][0]}").text(rows))
    return reports[0]


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    old = load(arguments.compare) if arguments.compare else None  # before the file may be overwritten
    if arguments.html and not Path(arguments.html).absolute().parent.is_dir():
        sys.exit(f"--html: no folder {Path(arguments.html).absolute().parent}")
    report = shown(arguments.names) if arguments.command == "show" else measure(arguments)
    if arguments.html:
        from benchmarks import page

        Path(arguments.html).write_text(page.page(report, old), encoding="utf-8")
        print(f"report in {arguments.html}")
    if old is not None:
        print("\n" + compare.text(old, report))
    if report.get("interrupted") and arguments.command != "show":
        return 130
    return 2 if old is not None and compare.regressions(old, report) else 0


if __name__ == "__main__":
    sys.exit(main())
