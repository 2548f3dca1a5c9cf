"""State that is overwritten and, as it was before, also a result."""

from __future__ import annotations

import numpy as np

from graphkeras.codegen.compile import compile_graph
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import TensorType

VECTOR = TensorType((16,), "float32")


def test_scan_that_stacks_the_old_carry() -> None:
    b = Builder()
    carry, x = b.input(VECTOR, "carry"), b.input(VECTOR, "x")
    body = Graph([carry, x], [b.add(b.mul(carry, 0.5), x), carry], "body")
    outer = Builder()
    start, xs = outer.input(VECTOR, "start"), outer.input(TensorType((5, 16), "float32"), "xs")
    scan = outer.emit("scan", start, xs, body=body, carries=1, consts=0, length=5, reverse=False)
    graph = Graph([start, xs], [outer.item(scan, 0), outer.item(scan, 1)], "old carry")
    arrays = [np.arange(16, dtype=np.float32), np.arange(80, dtype=np.float32).reshape(5, 16)]
    expected = evaluate(graph, arrays)
    found = [np.empty_like(e) for e in expected]
    program = compile_graph(graph)
    program.bind(arrays, found)
    program.run()
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-6)


def test_donated_state_with_its_old_value_as_result() -> None:
    b = Builder()
    state = b.input(VECTOR, "state")
    graph = Graph([state], [b.add(state, 1.0), state], "old value")
    value, old = np.zeros(16, np.float32), np.empty(16, np.float32)
    program = compile_graph(graph, {0: 0})
    program.bind([value], [value, old])
    program.run(steps=3)
    np.testing.assert_array_equal(value, np.full(16, 3.0))
    np.testing.assert_array_equal(old, np.full(16, 2.0))
