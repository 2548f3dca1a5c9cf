"""The layout stage: which transposes are left, and that values stay what they were."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.parser import parse
from graphkeras.ir.passes.layout import choose_orders
from graphkeras.ir.printer import to_text
from graphkeras.ir.types import TensorType
from graphkeras.ir.verify import verify

SEEDS = range(300 if os.environ.get("GRAPHKERAS_LONG_TESTS") else 60)
OUT, IN = (0, 3, 1, 2), (0, 2, 3, 1)  # channels last -> channels first, and back


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def agrees(graph: Graph, seed: int = 0) -> Graph:
    """The graph after the stage, well formed and of the same value."""
    made = choose_orders(graph)
    verify(made, graph, "layout")
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=i.shape).astype(np.float32) for i in graph.inputs]
    pairs = zip(evaluate(made, arrays, float64=True), evaluate(graph, arrays, float64=True), strict=True)
    for got, want in pairs:
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=f"{to_text(graph)}\n{to_text(made)}")
    return made


def conv(b: Builder, x: Node, w: Node) -> Node:
    """Channels first, as the frontend traces it."""
    ones = (1, 1)
    attrs = {"strides": ones, "padding": ((1, 1), (1, 1)), "dilation": ones, "groups": 1}
    return b.transpose(b.conv(b.transpose(x, perm=IN), w, **attrs), perm=OUT)


def inputs(b: Builder, *shapes: tuple[int, ...]) -> list[Node]:
    return [b.input(TensorType(s, "float32"), f"x{i}") for i, s in enumerate(shapes)]


def test_channels_first_between_convolutions() -> None:
    """Batch statistics, scale, activation and residual are computed in the convolutions' order."""
    b = Builder()
    x, w, v, scale = inputs(b, (2, 3, 6, 5), (3, 3, 3, 4), (3, 3, 4, 4), (4,))
    y = conv(b, x, w)
    mean = b.mul(b.reduce_sum(y, axes=(0, 2, 3), keepdims=False), 1 / 60)
    y = b.relu(b.mul(b.sub(y, b.reshape(mean, shape=(1, 4, 1, 1))), b.reshape(scale, shape=(1, 4, 1, 1))))
    z = b.add(conv(b, y, v), y)
    graph = Graph([x, w, v, scale], [b.reduce_sum(z, axes=(2, 3), keepdims=False)])
    assert ops(graph).count("transpose") == 4
    assert ops(agrees(graph)).count("transpose") == 1  # of the input


@pytest.mark.parametrize(
    "view",
    [
        lambda b, x: b.slice(x, start=(0, 1, 0, 2), stop=(2, 4, 6, 5), step=(1, 1, 2, 1)),
        lambda b, x: b.pad(x, low=(0, 0, 1, 0), high=(0, 2, 0, 0), interior=(0, 0, 0, 1), value=1.5),
        lambda b, x: b.reverse(x, axes=(1, 3)),
        lambda b, x: b.concat(x, b.tanh(x), axis=1),
        lambda b, x: b.add(x, b.iota(shape=x.shape, dtype="float32", axis=1)),
        lambda b, x: b.broadcast_to(b.slice(x, start=(0,) * 4, stop=(2, 1, 6, 5), step=(1,) * 4), shape=x.shape),
        lambda b, x: b.mul(x, b.reduce_max(x, axes=(1,), keepdims=True)),
        lambda b, x: b.select(b.gt(x, 0.5), x, b.full(x.shape, 0.0, "float32")),
    ],
    ids=["slice", "pad", "reverse", "concat", "iota", "broadcast", "keepdims", "select"],
)
def test_views_and_pointwise_ops_follow(view) -> None:
    b = Builder()
    (x,) = inputs(b, (2, 6, 5, 4))
    y = b.transpose(view(b, b.tanh(b.transpose(x, perm=OUT))), perm=IN)
    graph = Graph([x], [y])
    assert "transpose" in ops(graph) and "transpose" not in ops(agrees(graph))


def test_two_orders_of_one_value_stay() -> None:
    """x + x^T needs both; nothing is gained."""
    b = Builder()
    (x,) = inputs(b, (5, 5))
    graph = Graph([x], [b.add(x, b.transpose(x, perm=(1, 0)))])
    assert ops(agrees(graph)).count("transpose") == 1


def test_products_take_either_side() -> None:
    """The transpose after a pointwise group goes into the product, whichever side of the group it stood on."""
    text = """graph (%0, %1) {
        %0 = input("x") : float32[8,4]
        %1 = input("w") : float32[8,3]
        %2 = transpose(%0, perm=(1, 0)) : float32[4,8]
        %3 = tanh(%2) : float32[4,8]
        %4 = dot_general(%3, %1, contract=((1,), (0,)), batch=((), ())) : float32[4,3]
        return %4 }"""
    from graphkeras.ir.passes.pipeline import optimise

    made = optimise(parse(text))
    assert "transpose" not in ops(made)
    assert "transpose" in ops(optimise(parse(text), off=("layout",)))
    x, w = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in ((8, 4), (8, 3)))
    np.testing.assert_allclose(evaluate(made, [x, w])[0], np.tanh(x.T) @ w, rtol=1e-5, atol=1e-6)


def test_the_smaller_side_is_copied() -> None:
    """A value that is read in two fixed orders is moved once, where it is small."""
    b = Builder()
    small, big = inputs(b, (4, 1, 3), (3, 50, 4))
    turned = b.transpose(big, perm=(2, 1, 0))  # (4, 50, 3)
    both = b.mul(turned, b.broadcast_to(small, shape=(4, 50, 3)))
    graph = Graph([small, big], [b.transpose(both, perm=(2, 1, 0))])
    made = agrees(graph)
    assert [n.shape for n in made.nodes if n.op == "transpose"] == [(3, 1, 4)]


class Grower:
    """Random graphs of transposes, views, pointwise ops, reductions and products of values of rank 2 to 4."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder()
        shape = tuple(int(n) for n in self.rng.choice((1, 2, 3, 5), self.rng.integers(2, 5)))
        self.inputs = inputs(self.b, shape, shape, shape[-1:])
        self.pool = list(self.inputs)

    def grow(self) -> None:
        x = self.pool[int(self.rng.integers(max(0, len(self.pool) - 5), len(self.pool)))]
        kinds = (
            self.transpose,
            self.transpose,
            self.transpose,
            self.unary,
            self.binary,
            self.reduce,
            self.view,
            self.dot,
        )
        made = kinds[int(self.rng.integers(len(kinds)))](x)
        if made is not None and made.type.size <= 5000:
            self.pool.append(made)

    def transpose(self, x: Node) -> Node:
        return self.b.transpose(x, perm=tuple(int(p) for p in self.rng.permutation(x.type.rank)))

    def unary(self, x: Node) -> Node:
        return self.b.emit(str(self.rng.choice(["tanh", "neg", "abs"])), x)

    def binary(self, x: Node) -> Node:
        fitting = [p for p in self.pool if _broadcasts(p.shape, x.shape)]
        return self.b.emit(
            str(self.rng.choice(["add", "mul", "maximum"])), x, fitting[int(self.rng.integers(len(fitting)))]
        )

    def reduce(self, x: Node) -> Node | None:
        if x.type.rank < 2:
            return None
        axes = self.rng.choice(x.type.rank, self.rng.integers(1, x.type.rank), replace=False)
        return self.b.reduce_max(x, axes=tuple(sorted(int(a) for a in axes)), keepdims=bool(self.rng.integers(2)))

    def view(self, x: Node) -> Node | None:
        kind, rank = self.rng.integers(5), x.type.rank
        if kind == 0 and rank:
            return self.b.reverse(x, axes=(int(self.rng.integers(rank)),))
        if kind == 1 and rank:
            return self.b.concat(x, x, axis=int(self.rng.integers(rank)))
        if kind == 2:
            low = tuple(int(v) for v in self.rng.integers(0, 2, rank))
            return self.b.pad(x, low=low, high=low[::-1], interior=(0,) * rank, value=0.0)
        if kind == 3:
            start = tuple(int(self.rng.integers(0, n)) for n in x.shape)
            return self.b.slice(x, start=start, stop=x.shape, step=(1,) * rank)
        return self.b.reshape(x, shape=x.shape[::-1])

    def dot(self, x: Node) -> Node | None:
        if x.type.rank < 2:
            return None
        axis = int(self.rng.integers(x.type.rank))
        lead = tuple(a for a in range(x.type.rank) if a != axis)[:1]
        made = self.b.dot_general(x, self.transpose(x) if not lead else x, contract=((axis,),) * 2, batch=(lead, lead))
        return self.b.mul(made, 1.0 / x.shape[axis])


def _broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) <= len(b) and all(m in (1, n) for m, n in zip(reversed(a), reversed(b), strict=False))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(seed: int) -> None:
    grower = Grower(seed)
    for _ in range(int(grower.rng.integers(4, 24))):
        grower.grow()
    graph = Graph(grower.inputs, [grower.pool[-1], *grower.pool[-4:-2]], f"layout{seed}")
    made = agrees(graph, seed)
    moved = [sum(math.prod(n.shape) for n in g.nodes if n.op == "transpose") for g in (made, graph)]
    assert moved[0] <= 2 * moved[1] + 1


def test_random_graphs_are_changed() -> None:
    """The seeds above are no empty test."""
    changed = 0
    for seed in range(40):
        grower = Grower(seed)
        for _ in range(20):
            grower.grow()
        graph = Graph(grower.inputs, grower.pool[-3:])
        changed += choose_orders(graph) is not graph
    assert changed > 8, changed
