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


def _names(program) -> list[str]:
    return [kernel.name for kernel in program.kernels]


def _run(program, arrays, expected):
    found = [np.empty_like(e) for e in expected]
    program.bind(arrays, found)
    program.run()
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, e)


def test_rows_of_a_carried_table_are_written_in_place() -> None:
    """Two loops, one inside the other: the table is copied once, when it comes in."""
    table_type, count = TensorType((6, 4), "float32"), TensorType((), "int32")

    def loop(b: Builder, i, table, limit, step):
        types = (i.type, table.type, limit.type)
        test, body = Builder(), Builder()
        ins, outs = [test.input(t, "a") for t in types], [body.input(t, "a") for t in types]
        cond = Graph(ins, [test.lt(ins[0], ins[2])], "cond")
        made = b.emit("while", i, table, limit, cond=cond, body=Graph(outs, step(body, *outs), "body"), carries=2)
        return [b.item(made, 0), b.item(made, 1)]

    def row(b: Builder, i, table, limit):
        values = b.broadcast_to(b.cast(i, dtype="float32"), shape=(1, 4))
        return [b.add(i, 1), b.dynamic_update_slice(table, values, i, b.const(0, "int32"))]

    def rows(b: Builder, i, table, limit):
        return loop(b, i, table, b.minimum(b.add(i, 2), limit), row)

    b = Builder()
    table, limit = b.input(table_type, "table"), b.input(count, "limit")
    graph = Graph([table, limit], loop(b, b.const(0, "int32"), table, limit, rows), "table")
    program = compile_graph(graph)
    arrays = [np.full((6, 4), -1, np.float32), np.array(5, np.int32)]
    _run(program, arrays, evaluate(graph, arrays))
    large = [k for k in program.kernels if any(b.nbytes >= 96 for b in k.writes) and "update" not in k.name]
    assert len(large) == 1, _names(program)


def test_updates_that_read_what_they_overwrite() -> None:
    b = Builder()
    x = b.input(TensorType((4, 3), "float32"), "x")
    rows = b.const(np.array([1, 0], np.int32))
    swapped = b.scatter(x, rows, b.slice(x, start=(0, 0), stop=(2, 3), step=(1, 1)), axis=0, combine="set")
    graph = Graph([x], [swapped], "swap")
    value = np.arange(12, dtype=np.float32).reshape(4, 3)
    (expected,) = evaluate(graph, [value])
    program = compile_graph(graph, {0: 0})
    program.bind([value], [value])
    program.run()
    np.testing.assert_array_equal(value, expected)


def test_state_updated_beside_a_sum_over_its_rows_is_written_in_place() -> None:
    """A weight's update and the norm of its columns share one kernel: every element is read where it is written."""
    from graphkeras.codegen.kernel import Copy

    rng, shape = np.random.default_rng(0), (700, 40)
    b = Builder()
    w, m, g = (b.input(TensorType(shape, "float32"), n) for n in "wmg")
    moment = b.add(b.mul(m, 0.9), g)
    new = b.sub(w, b.mul(moment, 0.1))
    norm = b.sqrt(b.reduce_sum(b.mul(new, new), axes=(0,), keepdims=True))
    limited = b.mul(new, b.div(b.minimum(norm, 1.0), b.add(norm, 1e-7)))
    graph = Graph([w, m, g], [limited, moment], "constrained update")
    arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
    expected = evaluate(graph, [a.astype(np.float64) for a in arrays], float64=True)
    results = []
    for threads in (1, 2):
        state = [a.copy() for a in arrays]
        program = compile_graph(graph, {0: 0, 1: 1})
        assert not any(isinstance(i, Copy) for i in program.instructions)
        program.bind(state, state[:2])
        program.run(1, threads=threads)
        for got, want in zip(state, expected, strict=False):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        results.append([a.tobytes() for a in state])
    assert results[0] == results[1]
