"""Which stage, and which of its rules, makes a result wrong.

    python -m graphkeras.ir.bisect FOLDER     # a folder that GRAPHKERAS_DUMP wrote, or a text file of a graph

interprets the graph before and after the passes on random inputs and, where they differ, switches stages and then
single rules off until they agree. `find` does the same for any test of rightness: `codegen/repro.py` uses it with
compiled results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.parser import parse
from graphkeras.ir.passes.pipeline import DOCS, optimise, rules_of
from graphkeras.ir.printer import load_constants
from graphkeras.ir.types import is_inexact, numpy_dtype


class Finding(NamedTuple):
    """The first stage whose absence repairs the result, and the one rule of it that suffices, if there is one."""

    stage: str
    rule: str | None = None

    def __str__(self) -> str:
        name = self.rule or self.stage
        part = f"rule {self.rule!r} of stage {self.stage!r}" if self.rule else f"stage {self.stage!r}"
        return f"{part}: without it (GRAPHKERAS_PASSES=-{name}) the result is right"


def find(wrong: Callable[[frozenset[str]], bool], extra: Sequence[str] = ()) -> Finding | None:
    """wrong(off): whether the result is wrong with the stages and rules in `off` switched off.

    extra: further stages, such as the back end's "fuse". None: the result is right, or no single stage repairs it.
    """
    if not wrong(frozenset()):
        return None
    for stage in (*DOCS, *extra):
        if stage == "decompose" or wrong(frozenset({stage})):
            continue
        for name in rules_of(stage) if stage in DOCS else ():
            if not wrong(frozenset({name})):
                return Finding(stage, name)
        return Finding(stage)
    return None


def find_in_passes(graph: Graph, arrays: Sequence[np.ndarray], tolerance: float = 1e-6) -> Finding | None:
    """The stage or rule that changes what the graph computes, by the interpreter in float64."""
    expected = evaluate(graph, arrays, float64=True)

    def wrong(off: frozenset[str]) -> bool:
        results = evaluate(optimise(graph, off=off, check=False), arrays, float64=True)
        return not all(agree(got, want, tolerance) for got, want in zip(results, expected, strict=True))

    return find(wrong)


def agree(got: np.ndarray, want: np.ndarray, tolerance: float) -> bool:
    """Equal up to `tolerance`, relative to each value and to the largest one; NaN and infinities in the same places."""
    if not is_inexact(np.asarray(want).dtype.name):
        return bool(np.array_equal(got, want))
    size = np.abs(want[np.isfinite(want)]).max(initial=0.0) if np.size(want) else 0.0
    return bool(np.allclose(got, want, rtol=tolerance, atol=tolerance * max(size, 1e-30), equal_nan=True))


def sample_inputs(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for a graph's inputs: normal floats; integers are 0 or 1, so that they may be indices."""
    rng = np.random.default_rng(seed)
    arrays = []
    for node in graph.inputs:
        wanted = numpy_dtype(node.dtype)
        if is_inexact(node.dtype):
            arrays.append(np.asarray(rng.normal(size=node.shape)).astype(wanted))
        else:
            arrays.append(np.asarray(rng.integers(0, 2, node.shape)).astype(wanted))
    return arrays


def load(path: Path) -> Graph:
    """The traced graph of a dump folder, or the graph of a text file."""
    text = path / "ir_0_traced.txt" if path.is_dir() else path
    table = text.parent / "constants.npz"
    return parse(text.read_text(), load_constants(table) if table.exists() else {})


def main(argv: Sequence[str]) -> int:
    if len(argv) != 1:
        print("usage: python -m graphkeras.ir.bisect FOLDER_OR_TEXT_FILE", file=sys.stderr)
        return 2
    graph = load(Path(argv[0]))
    found = find_in_passes(graph, sample_inputs(graph))
    print(found or "the passes keep what the graph computes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
