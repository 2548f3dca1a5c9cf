"""Settings of the compiler: each is an environment variable and a context manager.

    GRAPHKERAS_DEBUG=2 python train.py          # for a whole run
    with flags.DEBUG(2): model.fit(...)         # for a part of it
    flags.DEBUG.set(2); flags.DEBUG.value       # from here on

A value given in code wins over the environment. Bad values raise ValueError that names the variable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flag(Generic[T]):
    """One typed setting. `parse` turns text into a value or raises ValueError with what it expected."""

    def __init__(self, name: str, default: T, parse: Callable[[str], T], doc: str) -> None:
        self.variable = "GRAPHKERAS_" + name
        self.default, self.doc = default, doc
        self._parse = parse
        self._stack: list[T] = []
        self._seen: tuple[str | None, T] = (None, default)
        FLAGS[self.variable] = self

    @property
    def value(self) -> T:
        """The value in force: from code, else from the environment, else the default."""
        if self._stack:
            return self._stack[-1]
        text = os.environ.get(self.variable) or None
        if text != self._seen[0]:
            self._seen = text, self.default if text is None else self.parse(text)
        return self._seen[1]

    def parse(self, value: Any) -> T:
        try:
            return self._parse(str(value).strip())
        except ValueError as error:
            raise ValueError(f"{self.variable}: expected {error}; received {value!r}. {self.doc}") from None

    def set(self, value: Any) -> None:
        """Set for the rest of the process; None goes back to the environment."""
        self._stack[:] = [] if value is None else [self.parse(value)]

    @contextmanager
    def __call__(self, value: Any) -> Iterator[None]:
        self._stack.append(self.parse(value))
        try:
            yield
        finally:
            self._stack.pop()

    def __repr__(self) -> str:
        return f"<{self.variable}={self.value!r}>"


FLAGS: dict[str, Flag[Any]] = {}
"""All flags by variable name; the documentation is made from it."""


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.lstrip("-").isdigit() or not low <= int(text) <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    known = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
    if text.lower() not in known:
        raise ValueError("0 or 1")
    return known[text.lower()]


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError("one of " + ", ".join(names))
        return text.lower()

    return parse


def _tune(text: str) -> str:
    """What to do where a kernel can be made in several ways: "off", "remembered" or "measure"."""
    known = {
        "0": "off",
        "off": "off",
        "1": "measure",
        "on": "measure",
        "measure": "measure",
        "remembered": "remembered",
    }
    if text.lower() not in known:
        raise ValueError("0, 1 or remembered")
    return known[text.lower()]


def _passes(text: str) -> frozenset[str]:
    """Names of passes that are switched off, written as -name,-name."""
    parts = [p.strip() for p in text.split(",") if p.strip()]
    if not all(p.startswith("-") and len(p) > 1 for p in parts):
        raise ValueError("passes to switch off, such as -fuse,-algebra")
    return frozenset(p[1:] for p in parts)


def _capability(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise ValueError("a compute capability such as 8.0")
    return int(major), int(minor)


def _folder(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _cache_folder(text: str) -> Path | None:
    return None if text.lower() in ("off", "0") else Path(text).expanduser()


DEBUG = Flag(
    "DEBUG",
    0,
    _integer(0, 7),
    "1 compile summary, 2 time and rates per kernel, 3 fusion decisions, 4 generated source, 5 IR after each pass, "
    "6 each rule that fired, 7 LLVM IR and assembly. Each level adds to those below it; all goes to stderr.",
)
DUMP: Flag[Path | None] = Flag(
    "DUMP",
    None,
    _folder,
    "Receives one folder per compile: the graph after each stage, the plan, kernel sources, repro.py.",
)
KERNEL_STAGES = {
    "fuse": "neighbours share a kernel",
    "winograd": "3 x 3 convolutions with fewer products; results differ from direct sums by rounding",
    "attention_tiles": "attention in tiles, without a matrix of scores in memory",
    "row_loops": "all steps of a recurrence in one kernel, threads share the rows",
    "join_launches": "updates of all weights in one launch",
}
"""What PASSES can switch off besides stages and rules of graphs, and what it is."""

PASSES: Flag[frozenset[str]] = Flag("PASSES", frozenset(), _passes, "Stages and single rules to leave out.")
CHECK = Flag("CHECK", False, _boolean, "Run each kernel also through the interpreter and compare.")
TARGET = Flag("TARGET", "cpu", _choice("cpu", "cuda", "interpret", "null"), "What programs are compiled for.")
FRONTEND = Flag(
    "FRONTEND",
    "own",
    _choice("own", "numba"),
    "What turns kernel sources into LLVM IR: our translator, or Numba (slower; one checks the other).",
)
THREADS = Flag("THREADS", 0, _integer(0, 1024), "Threads of a program; 0: one for each physical core it may use.")
CACHE: Flag[Path | None] = Flag(
    "CACHE",
    Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "graphkeras",
    _cache_folder,
    "Folder of compiled kernels, or off.",
)
PROGRAMS = Flag("PROGRAMS", True, _boolean, "Keep whole programs in the folder of CACHE, not only their kernels.")
TUNE = Flag(
    "TUNE",
    "remembered",
    _tune,
    "1 measures kernels that can be made in several ways and remembers the fastest in the folder of CACHE; 0 takes "
    "what the cost model says; default: what was measured, else the model.",
)
TUNE_SECONDS = Flag("TUNE_SECONDS", 300, _integer(0, 1_000_000), "Most seconds that TUNE=1 takes in one process.")
TF32 = Flag("TF32", False, _boolean, "Whether GPUs may round float32 products to tf32 (10 bits of fraction): faster.")
CPU = Flag("CPU", "", str, "CPU to compile for, in LLVM's spelling (also AArch64's); default: this machine's.")
GPU: Flag[tuple[int, int] | None] = Flag(
    "GPU",
    None,
    _capability,
    "Generation of GPUs to choose kernels for, as a compute capability: 8.0 for those that every GPU since Ampere "
    "runs; default: the device's own.",
)
