"""`python -m benchmarks models [NAME ...]`: see benchmarks/models.py."""

from __future__ import annotations

import argparse

from benchmarks import models
from benchmarks.workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("models", help="training steps side by side with the peers that are installed")
    command.add_argument("names", nargs="*", choices=[*WORKLOADS, []], help="workloads (default: all)")
    command.add_argument("--rounds", type=int, default=7)
    command.add_argument("--out", default="", help="JSON file for the figures")
    arguments = parser.parse_args()
    models.main(list(arguments.names), arguments.rounds, arguments.out)


if __name__ == "__main__":
    main()
