"""GRAPHKERAS_CHECK=1: every step also runs through the interpreter, and the first value that differs is named.

Slow, for finding errors of the compiler. Results may differ by rounding; TOLERANCE says how much is let through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.codegen.program import Program
from graphkeras.ir.graph import Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_inexact, numpy_dtype

TOLERANCE = {"float16": 2e-2, "bfloat16": 6e-2, "float32": 2e-3, "complex64": 2e-3}
"""Allowed difference by dtype, relative to the largest value of the array; wide dtypes 1e-8, integers none."""


class CheckError(AssertionError):
    """Compiled and interpreted values differ."""


class CheckedProgram(Program):
    """A Program that compares each step with the interpreter. `watch` must be called before `run`."""

    def watch(self, original: Graph, optimised: Graph, compile_graph: Callable[[Graph], Program]) -> None:
        """original: the graph as traced; optimised: what the kernels were made from."""
        self._original, self._optimised, self._compile = original, optimised, compile_graph

    def run(self, steps: int = 1, threads: int | None = None) -> None:
        count = len(self._inputs)
        for _ in range(steps):
            arrays = [reference() for reference in self._bound]
            before = [np.array(a) for a in arrays[:count]]
            super().run(1, threads)
            expected = evaluate(self._original, before)
            for k, wanted in enumerate(expected):
                got = arrays[self._donated[k]] if k in self._donated else arrays[count + k]
                if got is not None and not close(got, wanted):
                    raise CheckError(self._explain_difference(k, got, wanted, before))

    def _explain_difference(self, k: int, got: Any, wanted: Any, before: Sequence[np.ndarray]) -> str:
        node = self._optimised.outputs[k]
        text = f"{self.name}: output {k} ({node.type}, layer {self.named(node.origin)}) differs from the interpreter: "
        text += f"{_difference(got, wanted)}. "
        found = self._first_wrong(before)
        if found is not None:
            bad, detail = found
            return text + f"First wrong value: %{bad.id} = {bad.op} in layer {self.named(bad.origin)}: {detail}."
        if not close(evaluate(self._optimised, before)[k], np.asarray(wanted)):
            return text + "The optimised graph, interpreted, is wrong too: switch stages off with GRAPHKERAS_PASSES."
        kernels = [kernel.name for kernel in self.kernels if node in kernel.nodes]
        return text + f"Each node alone is right: look at the fused kernel {', '.join(kernels) or 'of this node'}."

    def _first_wrong(self, before: Sequence[np.ndarray]) -> tuple[Node, str] | None:
        """Compile once more with every value as an output; the first in topological order that differs."""
        nodes = [n for n in self._optimised.nodes if n.inputs and not isinstance(n.type, tuple)]
        probe = Graph(self._optimised.inputs, nodes, name="check")
        results = [np.empty(n.shape, numpy_dtype(n.dtype)) for n in nodes]
        program = self._compile(probe)
        program.bind([np.array(a) for a in before], results)
        Program.run(program, 1)
        for node, got, wanted in zip(nodes, results, evaluate(probe, before), strict=True):
            if not close(got, wanted):
                return node, _difference(got, wanted)
        return None


def close(got: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two arrays agree within TOLERANCE of their dtype; NaNs and infinities must agree."""
    name = got.dtype.name
    if not is_inexact(name):
        return bool(np.array_equal(got, wanted))
    tolerance = TOLERANCE.get(name, 1e-8)
    kind = np.complex128 if name.startswith("complex") else np.float64
    a, b = got.astype(kind), np.asarray(wanted).astype(kind)
    size = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
    return bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * size, equal_nan=True))


def _difference(got: np.ndarray, wanted: np.ndarray) -> str:
    with np.errstate(all="ignore"):
        gap = np.abs(got.astype(np.complex128) - np.asarray(wanted).astype(np.complex128))
    at = np.unravel_index(np.argmax(np.where(np.isnan(gap), np.inf, gap)), got.shape)
    return f"at {tuple(map(int, at))} compiled {got[at]}, interpreted {np.asarray(wanted)[at]}"
