"""Random graphs: compiled, fused or not, optimised or not, they give what the interpreter gives.

The seed is in the test's name; `random_graph(seed)` builds the failing graph again.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from graphkeras.codegen import flags, repro
from graphkeras.codegen.compile import compile_graph
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.bisect import find_in_passes
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.printer import to_text
from graphkeras.ir.types import TensorType, numpy_dtype

SEEDS = range(120 if os.environ.get("GRAPHKERAS_LONG_TESTS") else 25)
EXTENTS = (1, 2, 3, 5, 8, 17, 33)
UNARY = ("neg", "abs", "tanh", "sigmoid", "relu", "sin", "floor", "exp")
BINARY = ("add", "sub", "mul", "maximum", "minimum", "div")


class Maker:
    """Grows a graph of random ops; values stay moderate so that errors do."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder()
        shape = tuple(int(n) for n in self.rng.choice(EXTENTS, self.rng.integers(1, 4)))
        self.inputs = [self.b.input(TensorType(shape, "float32"), f"x{i}") for i in range(2)]
        tail = shape[-1:]
        self.inputs.append(self.b.input(TensorType(tail, "float32"), "bias"))
        self.pool: list[Node] = list(self.inputs)

    def pick(self) -> Node:
        return self.pool[int(self.rng.integers(max(0, len(self.pool) - 6), len(self.pool)))]

    def grow(self) -> None:
        kinds = ["unary", "binary", "reduce", "softmax", "view", "dot", "select", "cumulate"]
        choice = self.rng.choice(kinds, p=PROBABILITY)
        made = getattr(self, "_" + choice)(self.pick())
        if made is not None and made.type.size <= 20000:
            self.pool.append(made)

    def _unary(self, x: Node) -> Node:
        op = str(self.rng.choice(UNARY))
        return self.b.emit(op, self.b.minimum(x, 3.0) if op == "exp" else x)

    def _binary(self, x: Node) -> Node:
        partners = [p for p in self.pool if _broadcasts(p.shape, x.shape)]
        y = partners[int(self.rng.integers(len(partners)))]
        op = str(self.rng.choice(BINARY))
        return self.b.div(x, self.b.add(self.b.abs(y), 1.0)) if op == "div" else self.b.emit(op, x, y)

    def _reduce(self, x: Node) -> Node | None:
        if not x.type.rank:
            return None
        chosen = self.rng.choice(x.type.rank, self.rng.integers(1, x.type.rank + 1), replace=False)
        axes = tuple(sorted(int(a) for a in chosen))
        op = str(self.rng.choice(["reduce_sum", "reduce_max", "reduce_min"]))
        made = self.b.emit(op, x, axes=axes, keepdims=bool(self.rng.integers(2)))
        count = x.type.size // max(made.type.size, 1)
        return self.b.mul(made, 1.0 / count) if op == "reduce_sum" else made

    def _softmax(self, x: Node) -> Node | None:
        return self.b.softmax(x, axis=int(self.rng.integers(x.type.rank))) if x.type.rank else None

    def _view(self, x: Node) -> Node | None:
        kind = self.rng.integers(4)
        if kind == 0:
            return self.b.transpose(x, perm=tuple(int(p) for p in self.rng.permutation(x.type.rank)))
        if kind == 1:
            return self.b.reshape(x, shape=(x.type.size,))
        if kind == 2 and x.type.rank:
            return self.b.reverse(x, axes=(0,))
        start = tuple(int(self.rng.integers(0, n)) for n in x.shape)
        return self.b.slice(x, start=start, stop=x.shape, step=tuple(1 + int(self.rng.integers(2)) for _ in x.shape))

    def _dot(self, x: Node) -> Node | None:
        if x.type.rank != 2:
            return None
        y = self.b.transpose(x, perm=(1, 0))
        return self.b.mul(self.b.dot_general(x, y, contract=((1,), (0,)), batch=((), ())), 1.0 / x.shape[1])

    def _select(self, x: Node) -> Node:
        return self.b.select(self.b.gt(x, 0.1), x, self.b.mul(x, 0.5))

    def _cumulate(self, x: Node) -> Node | None:
        if not x.type.rank:
            return None
        return self.b.tanh(self.b.cumulative(x, axis=x.type.rank - 1, combine="sum", reverse=False))


PROBABILITY = (0.25, 0.26, 0.16, 0.06, 0.14, 0.05, 0.08, 0.0)


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))


def random_graph(seed: int) -> tuple[Graph, list[np.ndarray]]:
    maker = Maker(seed)
    for _ in range(int(maker.rng.integers(5, 25))):
        maker.grow()
    outputs = [maker.pool[-1], maker.pick(), maker.pick()]
    arrays = [maker.rng.normal(size=i.shape).astype(np.float32) for i in maker.inputs]
    return Graph(maker.inputs, outputs, f"fuzz{seed}"), arrays


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graph(seed: int) -> None:
    graph, arrays = random_graph(seed)
    exact = evaluate(graph, arrays, float64=True)
    blame = find_in_passes(graph, arrays, 1e-9)
    assert blame is None, f"the passes changed the meaning: {blame}"
    rough = evaluate(graph, arrays)
    for fuse in (True, False):
        program = compile_graph(graph, fuse=fuse)
        results = [np.empty(o.type.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
        program.bind(arrays, results)
        program.run(2, threads=1 + seed % 2)
        for got, want, near in zip(results, exact, rough, strict=True):
            slack = 50 * np.abs(near - want).max(initial=0.0)  # what float32 loses in the references as well
            if not np.allclose(got, want, rtol=2e-5, atol=2e-5 + slack, equal_nan=True):
                blame = repro.culprit(graph, arrays)
                note = f"fuse={fuse}; {blame}\n{to_text(graph)}"
                np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 + slack, err_msg=note)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_prod", "reduce_max", "argmax"])
def test_reductions_of_one_repeated_number(op: str, dtype: str) -> None:
    """The kernels read it as an operand where no rule has replaced it."""
    b = Builder()
    x = b.input(TensorType((3,), dtype), "x")
    attrs = {"axis": 0} if op == "argmax" else {"axes": (0,), "keepdims": False}
    made = b.emit(op, b.full((4, 3), 2, dtype), **attrs)
    graph = Graph([x], [b.add(b.cast(made, dtype=dtype), x)])
    with flags.PASSES("-reduce_of_number,-sum_of_broadcast"):
        assert not repro.differing(graph, [np.ones(3, dtype)])
    assert not repro.differing(graph, [np.ones(3, dtype)])


def test_readers_of_a_result_wait_for_its_op() -> None:
    """A product reads one result of a loop; the kernel of what the loop reads ends with a younger value."""
    inner = Builder()
    carry, x = (inner.input(TensorType((4,), "float32"), n) for n in ("carry", "x"))
    total = inner.tanh(inner.add(carry, x))
    body = Graph([carry, x], [total, inner.mul(total, 2.0)], "body")
    b = Builder()
    weights, start, xs = (b.input(TensorType(s, "float32"), n) for s, n in (((4, 4), "w"), ((4,), "h"), ((6, 4), "x")))
    late = b.dot_general(b.exp(b.dot_general(xs, weights, contract=((1,), (0,)), batch=((), ()))), weights, **PRODUCT)
    loop = b.scan(b.reduce_sum(late, axes=(0,), keepdims=False), late, body=body, **LOOP)
    stacked = b.dot_general(b.item(loop, 1), weights, **PRODUCT)
    younger = b.tanh(late)  # joins the product that the loop reads
    graph = Graph([weights, start, xs], [stacked, b.add(b.item(loop, 0), start), younger])
    rng = np.random.default_rng(0)
    assert not repro.differing(graph, [0.1 * rng.normal(size=i.shape).astype(np.float32) for i in graph.inputs])


def test_what_a_product_reads_is_not_computed_after_it() -> None:
    """x + v / 4 goes into a product, and again into the pointwise work that follows it."""
    b = Builder()
    w, x, v = (b.input(TensorType(s, "float32"), n) for s, n in (((3, 3), "w"), ((2, 3), "x"), ((2, 3), "v")))
    moved = b.add(x, b.mul(v, 0.25))
    field = b.sub(b.tanh(b.dot_general(moved, w, **PRODUCT)), b.mul(moved, 0.3))
    error = b.reduce_max(b.abs(b.mul(b.sub(field, v), 0.125)), axes=(0, 1), keepdims=False)
    graph = Graph([w, x, v], [b.gt(error, 0.05), error, field])
    rng = np.random.default_rng(0)
    assert not repro.differing(graph, [rng.normal(size=i.shape).astype(np.float32) for i in graph.inputs])


PRODUCT = {"contract": ((1,), (0,)), "batch": ((), ())}
LOOP = {"carries": 1, "consts": 0, "length": 6, "reverse": False}


@pytest.mark.parametrize("seed", range(60 if os.environ.get("GRAPHKERAS_LONG_TESTS") else 12))
def test_random_gradient(seed: int) -> None:
    """Gradients of random graphs: other patterns than people write, and rules that hold in the backward pass only."""
    graph, arrays = random_gradient(seed)
    exact = evaluate(graph, arrays, float64=True)
    blame = find_in_passes(graph, arrays, 1e-9)
    assert blame is None, f"the passes changed the meaning: {blame}"
    rough = evaluate(graph, arrays)
    for got, want, near in zip(repro.run_compiled(graph, arrays), exact, rough, strict=True):
        size = np.abs(want).max(initial=1.0)
        slack = 2e-5 * size + 50 * np.abs(near - want).max(initial=0.0)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=slack, err_msg=to_text(graph))


def random_gradient(seed: int) -> tuple[Graph, list[np.ndarray]]:
    """A random graph of smooth ops and its derivatives for all inputs."""
    maker = Maker(1000 + seed)
    for _ in range(int(maker.rng.integers(4, 14))):
        maker.grow()
    b = maker.b
    scalars = [b.reduce_sum(b.tanh(p), axes=tuple(range(p.type.rank)), keepdims=False) for p in maker.pool[-3:]]
    loss = b.add(b.add(scalars[0], scalars[1]), scalars[2])
    found = [g for g in gradients(b, [loss], maker.inputs) if g is not None]
    arrays = [maker.rng.normal(size=i.shape).astype(np.float32) for i in maker.inputs]
    return Graph(maker.inputs, [loss, *found], f"gradient{seed}"), arrays
