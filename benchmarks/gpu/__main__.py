"""`python -m benchmarks.gpu [SUITE ...]`: everything that is to be measured on a GPU, in one run.

All contestants that are installed take part, each in a process of its own, in turn, each round in another order; what
is reported are medians. A contestant that hangs, fails or runs out of memory loses its case and nothing else. What has
been measured is on disk after each case. Without a GPU, `--device cpu --sizes tiny` shows that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import compare, records
from benchmarks.contestants import ROOT
from benchmarks.gpu import checks, contestants, kernels, training
from benchmarks.gpu.cases import NAMES, SIZES, cases
from benchmarks.gpu.kernels import Effort
from benchmarks.gpu.models import CURVES, LARGE, SMALL
from benchmarks.gpu.report import line, summary
from benchmarks.gpu.targets import MISSED, verdicts

Suite = Callable[..., Iterator[list[records.Record]]]
SUITES: dict[str, tuple[Suite | None, str]] = {
    "checks": (checks.run, "the tests of the device, and compute-sanitizer"),
    "curves": (training.curves, "losses on the device against those on the CPU"),
    "copy": (None, "copies on the device (always measured with memory)"),
    "memory": (partial(kernels.run, "memory"), "memory-bound kernels against copies"),
    "products": (partial(kernels.run, "products"), "products against cuBLAS"),
    "convolutions": (partial(kernels.run, "convolutions"), "convolutions of ResNet-50 against cuDNN"),
    "attention": (partial(kernels.run, "attention"), "attention against scaled_dot_product_attention"),
    "small": (training.small, "small models: PyTorch, torch.compile, Keras on JAX and on PyTorch"),
    "large": (training.large, "ResNet-50 and a Transformer of 12 layers"),
}
QUICK = {"rounds": 3, "seconds": 0.01}


def parser() -> argparse.ArgumentParser:
    suites = "; ".join(f"{name}: {doc}" for name, (_, doc) in SUITES.items())
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    made.add_argument("suites", nargs="*", metavar="SUITE", help=f"default: all. {suites}")
    made.add_argument("--device", default="cuda:0", help="cuda:0, cuda:1 ..., or for rehearsals cpu, cuda:simulated")
    made.add_argument("--sizes", choices=SIZES, help="tiny: no measurement (default without a GPU)")
    made.add_argument("--cases", nargs="*", default=[], metavar="PART", help="only cases whose names hold one of these")
    made.add_argument("--only", nargs="*", default=[], metavar="WHO", help="contestants (default: all)")
    made.add_argument("--rounds", type=int, default=0, help="rounds in place of 9")
    made.add_argument("--quick", action="store_true", help="few and short rounds")
    made.add_argument("--patience", type=float, default=600.0, help="seconds of silence after which one has failed")
    made.add_argument("--out", default="", help="JSON file (default: benchmarks/results/gpu.json)")
    made.add_argument("--compare", default="", metavar="OLD.json", help="print what changed")
    made.add_argument("--list", action="store_true", help="print the cases, measure nothing")
    return made


def names(suite: str, sizes: str) -> list[str]:
    models = {"small": SMALL, "large": LARGE, "curves": CURVES}
    if suite in models:
        return list(models[suite][sizes])
    if suite in NAMES:
        return [c.name for c in cases(suite, sizes)]
    return ["copy"] if suite == "copy" else ["tests", *(f"sanitizer {tool}" for tool in checks.TOOLS)]


def main(argv: Sequence[str] | None = None) -> int:
    """0: every target that was measured is met; 1: nothing can be measured here; 2: a target is missed."""
    arguments = parser().parse_args(argv)
    real = contestants.is_gpu(arguments.device)
    sizes = arguments.sizes or ("full" if real else "tiny")
    asked = [s for s in SUITES if not arguments.suites or s in arguments.suites]
    unknown = set(arguments.suites) - set(SUITES)
    if unknown:
        parser().error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if arguments.list:
        print("\n".join(f"{suite}: {name}" for suite in asked for name in names(suite, sizes)))
        return 0
    effort = Effort(**(QUICK if arguments.quick or sizes == "tiny" else {}), patience=arguments.patience, sizes=sizes)
    effort = Effort(**asdict(effort) | ({"rounds": arguments.rounds} if arguments.rounds else {}))
    old = json.loads(Path(arguments.compare).read_text()) if arguments.compare else None
    report = begin(arguments, sizes)
    if report is None:
        return 1
    measure(report, asked, effort, arguments)
    if old is not None:
        print("\n" + compare.text(old, report))
    missed = any(v.said == MISSED for v in verdicts(report))
    return 2 if missed and sizes == "full" and real else 0


def begin(arguments: argparse.Namespace, sizes: str) -> records.Report | None:
    """A report with the facts of the machine and who takes part; None, and a message, without the device."""
    facts = device_facts(arguments.device)
    if isinstance(facts, str):
        print(f"nothing can be measured here: {facts}", file=sys.stderr)
        return None
    here = contestants.look(arguments.device, arguments.only, facts.get("arch", ""))
    report = records.new_report()
    report["host"].pop("threads")
    report["versions"] |= here.versions
    report["flags"] |= {"sizes": sizes} | ({"quick": "1"} if arguments.quick else {})
    report |= {"device": facts, "absent": here.absent, "targets": [], "who": [c.name for c in here.who]}
    report["here"] = here
    print(", ".join(f"{k} {v}" for k, v in facts.items()))
    print(f"taking part: {', '.join(report['who'])}")
    for name, why in here.absent.items():
        print(f"left out: {name} ({why})")
    return report


def measure(report: records.Report, asked: Sequence[str], effort: Effort, arguments: argparse.Namespace) -> None:
    here = report.pop("here")
    path = Path(arguments.out) if arguments.out else ROOT / "benchmarks" / "results" / "gpu.json"

    def keep(suite: str, found: list[records.Record]) -> None:
        report["suites"].setdefault(suite, []).extend(found)
        report["targets"] = [
            {"target": v.target.words, "said": v.said, "values": v.values, "failed": v.failed, "why": v.why}
            for v in verdicts(report)
        ]
        records.write(report, path)

    for suite in asked:
        print(f"\n== {suite}", flush=True)
        run = SUITES[suite][0]
        if suite == "copy" or (suite == "memory" and "copy" not in report["suites"]):
            found = kernels.copies(here, effort)
            keep("copy", found)
            print(line("copy", found, report), flush=True)
        report["suites"].setdefault(suite, [])
        if run is not None:
            show: Callable[[Sequence[records.Record]], None] = lambda rows, s=suite: print(  # noqa: E731
                line(s, rows, report), flush=True
            )
            for found in run(here, effort, arguments.cases, show):
                keep(suite, found)
    print("\n" + summary(report))
    print(f"\nwritten to {path}")


def device_facts(device: str) -> dict[str, Any] | str:
    """What the device is, asked in a process that ends, so that this one holds no memory there; or why there is none.

    A driver's version and a GPU's clocks are nvidia-smi's to tell, where it is installed.
    """
    code = (
        "import json, sys\nfrom benchmarks.gpu import ours\n"
        "try:\n    print(json.dumps(ours.facts(sys.argv[1])))\n"
        "except RuntimeError as error:\n    sys.exit(str(error))\n"
    )
    env = {**os.environ, **contestants.ORDER}
    said = subprocess.run([sys.executable, "-c", code, device], capture_output=True, text=True, cwd=ROOT, env=env)
    if said.returncode:
        return said.stderr.strip().splitlines()[-1]
    return {"asked": device} | json.loads(said.stdout) | _smi(device)


def _smi(device: str) -> dict[str, str]:
    fields = (
        "driver_version",
        "persistence_mode",
        "power.limit",
        "clocks.max.sm",
        "clocks.max.memory",
        "ecc.mode.current",
    )
    index = device.partition(":")[2]
    if not index.isdigit():
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "-i", index]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = said.stdout.strip().split(", ")
    return dict(zip(fields, values, strict=False)) if said.returncode == 0 and len(values) == len(fields) else {}


if __name__ == "__main__":
    sys.exit(main())
