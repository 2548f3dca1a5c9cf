"""Running a function traced (graph, then interpreter) to compare with the same function run eagerly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkeras.core.trace import Trace
from graphkeras.core.variable import Variable
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import type_of


def run_traced(fn: Callable[..., Any], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What `fn` returns for these inputs when it is one graph; variables get the values the graph assigns them."""
    arrays = [np.asarray(a) for a in arrays]
    with Trace() as trace:
        outputs = fn(*(trace.input(type_of(a)) for a in arrays))
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [] if outputs is None else [outputs]
    assigned: list[Variable] = list(trace.writes)
    graph = trace.finish([*outputs, *trace.writes.values()])
    results = evaluate(graph, [*arrays, *(v.numpy() for v in trace.reads)])
    for variable, value in zip(assigned, results[len(outputs) :], strict=True):
        variable.assign(value)
    return [np.asarray(r) for r in results[: len(outputs)]]
