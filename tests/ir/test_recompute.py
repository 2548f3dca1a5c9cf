"""Recompute or store: what is computed again, what is kept, and that no bit changes."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.parser import parse
from graphkeras.ir.passes import recompute as stage
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.printer import equal, to_text
from graphkeras.ir.types import TensorType
from graphkeras.ir.verify import verify

PRODUCT = {"contract": ((1,), (0,)), "batch": ((), ())}


def deep(activation, layers: int = 5, width: int = 4, batch: int = 60) -> Graph:
    """A chain of products with `activation(b, x, scale)` between them, its loss and gradients."""
    b = Builder()
    x = b.input(TensorType((batch, width), "float32"), "x")
    weights = [b.input(TensorType((width, width), "float32"), f"w{i}") for i in range(layers)]
    scale = b.input(TensorType((width,), "float32"), "scale")
    h = x
    for w in weights:
        h = activation(b, b.dot_general(h, w, **PRODUCT), scale)
    loss = b.reduce_sum(b.tanh(h), axes=(0, 1), keepdims=False)
    found = gradients(b, [loss], [*weights, scale])
    return Graph([x, *weights, scale], [loss, *(g for g in found if g is not None)])


def normalised(b: Builder, x: Node, scale: Node) -> Node:
    """Batch normalisation, relu and a gate."""
    mean = b.mul(b.reduce_sum(x, axes=(0,), keepdims=True), 1 / x.shape[0])
    centred = b.sub(x, mean)
    variance = b.mul(b.reduce_sum(b.mul(centred, centred), axes=(0,), keepdims=True), 1 / x.shape[0])
    unit = b.mul(centred, b.rsqrt(b.add(variance, 1e-3)))
    return b.mul(b.relu(b.add(b.mul(unit, scale), 0.1)), unit)


def crossing_bytes(graph: Graph) -> int:
    """Bytes of early values that late ones read, barriers looked through; inputs, views and vectors left out."""
    passes = stage._Passes(graph)
    kept = set()
    for node in passes.crossing:
        while node.op in ("barrier", *stage.VIEWS):
            node = node.inputs[0]
        if node.op not in ("input", "const") and len(stage._squeezed(node)) > 1:
            kept.add(node)
    return sum(n.type.nbytes for n in kept)


def same_bits(graph: Graph) -> Graph:
    """The graph after the stage: well formed, printed and parsed alike, of the same bits."""
    made = stage.recompute(graph)
    verify(made, graph, "recompute")
    assert equal(parse(to_text(made)), made)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=i.shape).astype(np.float32) for i in graph.inputs]
    for got, want in zip(evaluate(made, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want, err_msg=to_text(made))
    return made


def barriers(graph: Graph) -> int:
    return sum(n.op == "barrier" for n in graph.nodes)


def test_normalised_values_are_computed_again() -> None:
    graph = optimise(deep(normalised), off=("recompute",))
    made = same_bits(graph)
    assert barriers(made)
    assert crossing_bytes(made) <= 0.6 * crossing_bytes(graph)


def test_what_a_product_reads_is_kept() -> None:
    """relu's result is read by the next weights' gradient, so its mask comes from there: nothing is left to gain."""
    graph = optimise(deep(lambda b, x, scale: b.relu(x)), off=("recompute",))
    made = same_bits(graph)
    products = [n for n in made.nodes if n.op == "dot_general" and n.origin.phase == "backward"]
    assert products and not any(i.op == "barrier" for n in products for i in n.inputs)
    again = [n for n in made.nodes if n.origin.phase == "backward" and any(i.op == "barrier" for i in n.inputs)]
    assert {n.op for n in again} <= {"gt"}


def test_dear_ops_are_not_computed_twice() -> None:
    """The derivative of tanh needs its result alone; exp costs more than the bytes it saves."""
    graph = optimise(deep(lambda b, x, scale: b.mul(b.exp(b.mul(x, 0.1)), b.add(x, 1.0))), off=("recompute",))
    made = same_bits(graph)
    assert sum(n.op == "exp" for n in made.nodes) == sum(n.op == "exp" for n in graph.nodes)


def test_a_graph_without_backward_pass_stays() -> None:
    b = Builder()
    x = b.input(TensorType((6, 4), "float32"), "x")
    product = b.dot_general(x, b.reshape(x, shape=(4, 6)), **PRODUCT)
    graph = Graph([x], [normalised(b, product, b.full((6,), 0.7, "float32"))])
    assert stage.recompute(graph) is graph


def test_the_cut_does_not_follow_the_batch() -> None:
    """Kernels are shared between batch sizes, so what they compute must be."""
    ops = [[n.op for n in optimise(deep(normalised, batch=batch)).nodes] for batch in (2, 7, 60, 5000)]
    assert ops.count(ops[0]) == len(ops)


def test_later_stages_keep_the_copies_apart() -> None:
    made = optimise(deep(normalised))
    assert barriers(made) and barriers(optimise(made, off=("recompute",))) == barriers(made)


def test_the_stage_can_be_switched_off() -> None:
    assert not barriers(optimise(deep(normalised), off=("recompute",)))


def test_a_barrier_is_differentiable() -> None:
    b = Builder()
    x, y = (b.input(TensorType((3,), "float32"), n) for n in "xy")
    out = b.mul(b.barrier(x, y), b.tanh(y))
    graph = Graph([x, y], gradients(b, [out], [x, y]))
    arrays = [np.array([1.0, 2.0, 3.0], np.float32), np.array([0.5, -0.5, 0.0], np.float32)]
    by_x, by_y = evaluate(graph, arrays)
    np.testing.assert_allclose(by_x, np.tanh(arrays[1]), rtol=1e-6)
    np.testing.assert_allclose(by_y, arrays[0] * (1 - np.tanh(arrays[1]) ** 2), rtol=1e-6)


def random_network(seed: int) -> Graph:
    """Products with random pointwise chains, broadcasts, views and reductions between them, and gradients."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.input(TensorType((6, 4), "float32"), "x")
    weights = [b.input(TensorType((4, 4), "float32"), f"w{i}") for i in range(int(rng.integers(2, 5)))]
    pool = [x]
    for w in weights:
        h = b.dot_general(pool[-1], w, **PRODUCT)
        pool.append(h)
        for _ in range(int(rng.integers(1, 9))):
            y = pool[int(rng.integers(max(0, len(pool) - 4), len(pool)))]
            kind = int(rng.integers(7))
            if kind == 0:
                y = b.sub(y, b.mul(b.reduce_sum(y, axes=(int(rng.integers(2)),), keepdims=True), 0.2))
            elif kind == 1:
                y = b.transpose(b.abs(b.transpose(y, perm=(1, 0))), perm=(1, 0))
            elif kind == 2:
                y = b.select(b.gt(y, 0.1), y, b.mul(y, 0.5))
            elif kind == 3:
                y = b.reshape(b.relu(b.reshape(y, shape=(24,))), shape=(6, 4))
            elif kind == 4:
                y = b.mul(y, b.add(pool[int(rng.integers(len(pool)))], 1.0))
            else:
                y = b.emit(str(rng.choice(["tanh", "sigmoid", "neg", "relu"])), y)
            pool.append(y)
    loss = b.reduce_sum(b.tanh(pool[-1]), axes=(0, 1), keepdims=False)
    return Graph([x, *weights], [loss, *(g for g in gradients(b, [loss], weights) if g is not None)])


@pytest.mark.parametrize("prices", [stage.PRICES, (0.0,) * 4], ids=["as priced", "everything again"])
@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int, prices: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PRICES", prices)
    graph = optimise(random_network(seed), off=("recompute",))
    made = same_bits(graph)
    assert crossing_bytes(made) <= crossing_bytes(graph)
