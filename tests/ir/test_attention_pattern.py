"""Attention that programs spell out is found, differentiated as one op, and gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.passes.attention import replace_attention
from graphkeras.ir.passes.pipeline import decompose
from graphkeras.ir.types import TensorType

B, H, T, S, D, E = 2, 3, 5, 7, 4, 6
Parts = dict[str, Node]


def plain(b: Builder, x: Parts) -> Node:
    scores = b.div(b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1))), 2.0)
    return b.dot_general(b.softmax(scores, axis=3), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def masked(b: Builder, x: Parts) -> Node:
    """Scale, a bias that is learned, a bool mask; keys turned first, as a matrix product wants them."""
    turned = b.transpose(x["k"], perm=(0, 1, 3, 2))
    scores = b.dot_general(x["q"], turned, contract=((3,), (2,)), batch=((0, 1), (0, 1)))
    scores = b.add(x["bias"], b.mul(0.5, scores))
    scores = b.select(x["mask"], scores, -1e9)
    return b.dot_general(b.softmax(scores, axis=3), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def lengths_before_heads(b: Builder, x: Parts) -> Node:
    """(batch, length, heads, size), keys first in both products, places to hide instead of places to keep."""
    q, k, v = (b.transpose(x[name], perm=(0, 2, 1, 3)) for name in "qkv")
    scores = b.dot_general(k, q, contract=((3,), (3,)), batch=((0, 2), (0, 2)))
    scores = b.mul(b.transpose(scores, perm=(0, 1, 3, 2)), 0.3)
    scores = b.select(b.emit("not", x["mask"]), b.full_like(scores, -1e9), scores)
    out = b.dot_general(v, b.softmax(scores, axis=3), contract=((1,), (3,)), batch=((0, 2), (0, 1)))
    return b.transpose(out, perm=(0, 3, 1, 2))


def one_head(b: Builder, x: Parts) -> Node:
    q, k, v = (b.reshape(b.slice(x[n], start=(0, 0, 0, 0), stop=(B, 1, *x[n].shape[2:]), step=(1,) * 4),
                         shape=(B, *x[n].shape[2:])) for n in "qkv")  # fmt: skip
    mask = b.reshape(x["mask"], shape=(B, 1, S))
    scores = b.select(mask, b.dot_general(q, k, contract=((2,), (2,)), batch=((0,), (0,))), -1e8)
    return b.dot_general(b.softmax(scores, axis=2), v, contract=((2,), (1,)), batch=((0,), (0,)))


def dropped(b: Builder, x: Parts) -> Node:
    scores = b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    weights = b.softmax(scores, axis=3)
    allowed = b.ge(b.random_bits(x["key"], shape=weights.shape), b.const(int(0.25 * 2**32), "uint32"))
    weights = b.select(allowed, b.mul(weights, 1 / 0.75), 0.0)
    return b.dot_general(weights, x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def causal(b: Builder, x: Parts) -> Node:
    row, column = (
        b.reshape(b.iota(shape=(n,), dtype="int32", axis=0), shape=shape) for n, shape in ((T, (T, 1)), (S, (1, S)))
    )
    scores = b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    scores = b.select(x["mask"], b.select(b.ge(row, column), scores, -1e9), -1e9)
    return b.dot_general(b.softmax(scores, axis=3), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def graph_of(make: Callable[[Builder, Parts], Node], extra: Callable[[Builder, Node], Node | None]) -> Graph:
    """The result, the gradients of all float inputs, and what `extra` makes of the softmax."""
    b = Builder()
    shapes = {"q": (B, H, T, D), "k": (B, H, S, D), "v": (B, H, S, E), "bias": (H, T, S)}
    x = {name: b.input(TensorType(shape, "float32"), name) for name, shape in shapes.items()}
    x["mask"] = b.input(TensorType((B, 1, 1, S), "bool"), "mask")
    x["key"] = b.input(TensorType((2,), "uint32"), "key")
    out = make(b, x)
    outputs = [out]
    weights = next(n for n in b._table.values() if n.op == "softmax")
    other = extra(b, weights)
    if other is not None:
        outputs.append(other)
    seeds = [b.const(np.random.default_rng(i).standard_normal(o.shape), o.dtype) for i, o in enumerate(outputs)]
    found = gradients(b, outputs, [x[n] for n in shapes], seeds)
    return Graph(list(x.values()), [*outputs, *(g for g in found if g is not None)])


def values() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = ((B, H, T, D), (B, H, S, D), (B, H, S, E), (H, T, S))
    arrays: list[np.ndarray] = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    return [*arrays, rng.random((B, 1, 1, S)) > 0.3, np.array([1, 2], np.uint32)]


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


@pytest.mark.parametrize("make", [plain, masked, lengths_before_heads, one_head, dropped, causal])
def test_found_and_the_same(make: Callable[[Builder, Parts], Node], monkeypatch: pytest.MonkeyPatch) -> None:
    found = replace_attention(graph_of(make, lambda b, weights: None))
    assert ops(found).count("attention") == 1 and "attention_grad" in ops(found)
    if make is not masked:  # a learned bias needs the weights for its own gradient
        assert "softmax" not in ops(found) and ops(found).count("dot_general") == 0
    monkeypatch.setattr("graphkeras.ir.autodiff.for_gradient", lambda *given: None)
    spelled = graph_of(make, lambda b, weights: None)
    assert "attention_grad" not in ops(spelled)
    assert len(found.outputs) == len(spelled.outputs)
    for graph in (found, decompose(found)):
        for got, want in zip(evaluate(graph, values()), evaluate(spelled, values()), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_causal_mask_is_no_array() -> None:
    graph = replace_attention(graph_of(causal, lambda b, weights: None))
    (node,) = (n for n in graph.nodes if n.op == "attention")
    assert node.attrs["causal"] and len(node.inputs) == 4 and "iota" not in ops(graph)


def test_weights_that_somebody_reads_stay() -> None:
    graph = graph_of(plain, lambda b, weights: b.mul(weights, weights))
    assert "attention" not in ops(replace_attention(graph)) and "attention_grad" not in ops(graph)


def not_scaled_by_a_number(b: Builder, x: Parts) -> Node:
    scores = b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    scores = b.mul(scores, x["bias"])
    return b.dot_general(b.softmax(scores, axis=3), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def infinitely_low(b: Builder, x: Parts) -> Node:
    """A row of -inf alone is NaN, and stays so."""
    scores = b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    scores = b.select(x["mask"], scores, float("-inf"))
    return b.dot_general(b.softmax(scores, axis=3), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def mask_before_scale(b: Builder, x: Parts) -> Node:
    scores = b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    scores = b.mul(b.add(scores, x["bias"]), 3.0)
    return b.dot_general(b.softmax(scores, axis=3), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


def over_queries(b: Builder, x: Parts) -> Node:
    scores = b.dot_general(x["q"], x["k"], contract=((3,), (3,)), batch=((0, 1), (0, 1)))
    return b.dot_general(b.softmax(scores, axis=2), x["v"], contract=((3,), (2,)), batch=((0, 1), (0, 1)))


@pytest.mark.parametrize("make", [not_scaled_by_a_number, infinitely_low, mask_before_scale, over_queries])
def test_what_only_looks_like_it_stays(make: Callable[[Builder, Parts], Node]) -> None:
    graph = graph_of(make, lambda b, weights: None)
    assert "attention" not in ops(replace_attention(graph)) and "attention_grad" not in ops(graph)


def test_gradients_by_the_weights_themselves() -> None:
    """What is asked for lies inside: nothing is replaced."""
    b = Builder()
    q, k, v = (b.input(TensorType((2, 5, 4), "float32"), name) for name in "qkv")
    weights = b.softmax(b.dot_general(q, k, contract=((2,), (2,)), batch=((0,), (0,))), axis=2)
    out = b.dot_general(weights, v, contract=((2,), (1,)), batch=((0,), (0,)))
    (by_weights,) = gradients(b, [out], [weights])
    assert by_weights is not None and by_weights.op != "item"
