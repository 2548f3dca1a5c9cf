"""Runs the graph of a dump folder (GRAPHKERAS_DUMP) again: compiled against interpreted; bisects the passes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.check import close
from graphkeras.codegen.compile import compile_graph
from graphkeras.ir.bisect import Finding, find, load, sample_inputs
from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import numpy_dtype


def main(folder: Path, seed: int = 0) -> int:
    """Print what differs and which pass is to blame; 0: nothing differs."""
    graph = load(folder)
    aliases = {int(k): int(v) for k, v in json.loads((folder / "aliases.json").read_text())}
    arrays = sample_inputs(graph, seed)
    bad = differing(graph, arrays, aliases)
    if not bad:
        print(f"{graph.name}: compiled and interpreted results agree")
        return 0
    print(f"{graph.name}: outputs {', '.join(map(str, bad))} differ")
    print(culprit(graph, arrays, aliases) or "no single pass is to blame: look at the kernels (GRAPHKERAS_CHECK=1)")
    return 1


def differing(graph: Graph, arrays: Sequence[np.ndarray], aliases: Mapping[int, int] | None = None) -> list[int]:
    """Outputs (by index) whose compiled value is not the interpreted one."""
    results = run_compiled(graph, arrays, aliases)
    pairs = zip(results, evaluate(graph, arrays), strict=True)
    return [k for k, (got, want) in enumerate(pairs) if not close(got, np.asarray(want))]


def run_compiled(
    graph: Graph, arrays: Sequence[np.ndarray], aliases: Mapping[int, int] | None = None, steps: int = 1
) -> list[np.ndarray]:
    """Compile and run once; the given arrays stay as they are, also where outputs take the memory of inputs."""
    inputs = [np.array(a, order="C") for a in arrays]
    outputs = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    for output, source in (aliases or {}).items():
        outputs[output] = inputs[source]
    program = compile_graph(graph, aliases)
    program.bind(inputs, outputs)
    program.run(steps)
    return outputs


def culprit(graph: Graph, arrays: Sequence[np.ndarray], aliases: Mapping[int, int] | None = None) -> Finding | None:
    """The stage or rule whose absence makes compiled and interpreted results agree."""

    def wrong(off: frozenset[str]) -> bool:
        with flags.PASSES(",".join(f"-{name}" for name in sorted(off))):
            return bool(differing(graph, arrays, aliases))

    return find(wrong, extra=("fuse",))
