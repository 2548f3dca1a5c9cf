"""Rows that do not depend on each other: where they are, and graphs for fewer of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.rows import row_axes, with_rows
from graphkeras.ir.types import TensorType

ROWS = 6


def dot(b: Builder, x: Node, w: Node, contract=((1,), (0,)), batch=((), ())) -> Node:
    return b.dot_general(x, w, contract=contract, batch=batch)


def gates(b: Builder, h: Node, w: Node, x: Node, mask: Node) -> Node:
    z = b.add(dot(b, h, w), x)
    parts = [b.slice(z, start=(0, 4 * k), stop=(ROWS, 4 * k + 4), step=(1, 1)) for k in range(2)]
    return b.select(b.reshape(mask, shape=(ROWS, 1)), b.mul(b.tanh(parts[0]), b.sigmoid(parts[1])), h)


def attention(b: Builder, h: Node, w: Node, memory: Node, _: Node) -> Node:
    """A product batched over the rows, a normalisation along the memory, the memory's axes turned before."""
    turned = b.transpose(memory, perm=(0, 2, 1))
    query = b.slice(dot(b, h, w), start=(0, 0), stop=(ROWS, 4), step=(1, 1))
    scores = b.exp(dot(b, query, turned, ((1,), (2,)), ((0,), (0,))))
    weights = b.div(scores, b.reduce_sum(scores, axes=(1,), keepdims=True))
    return b.add(h, dot(b, weights, turned, ((1,), (1,)), ((0,), (0,))))


def from_the_left(b: Builder, h: Node, w: Node, _x: Node, _m: Node) -> Node:
    """The rows are the second axis in between; zeros take their rows from their reader."""
    product = b.dot_general(w, h, contract=((0,), (1,)), batch=((), ()))
    half = b.slice(product, start=(0, 0), stop=(4, ROWS), step=(1, 1))
    ones = b.full((ROWS, 4), 1.0, "float64")
    return b.sub(b.transpose(half, perm=(1, 0)), ones)


def pieces(b: Builder, h: Node, _w: Node, _x: Node, _m: Node) -> Node:
    wide = b.pad(h, low=(0, 1), high=(0, 1), interior=(0, 0), value=0.0)
    turned = b.reverse(b.cumulative(wide, axis=1, combine="sum", reverse=False), axes=(1,))
    both = b.concat(
        b.slice(turned, start=(0, 0), stop=(ROWS, 2), step=(1, 1)), b.full((ROWS, 2), 2.0, "float64"), axis=1
    )
    top = b.reduce_max(b.reshape(both, shape=(ROWS, 2, 2)), axes=(2,), keepdims=False)
    return b.concat(top, top, axis=1)


def from_what_is_scanned(b: Builder, h: Node, w: Node, x: Node, _m: Node) -> Node:
    """Only the reader of these says that they have rows."""
    top = b.reduce_max(x, axes=(1,), keepdims=True)
    wide = b.concat(b.exp(b.sub(x, top)), b.cumulative(x, axis=1, combine="sum", reverse=True), axis=1)
    total = b.reduce_sum(b.pad(wide, low=(0, 1), high=(0, 0), interior=(0, 0), value=1.0), axes=(1,), keepdims=False)
    return b.add(b.div(h, b.reshape(total, shape=(ROWS, 1))), dot(b, x, w, ((1,), (1,))))


def looked_up(b: Builder, h: Node, w: Node, _x: Node, mask: Node) -> Node:
    rows = b.take(w, b.cast(mask, dtype="int32"), axis=0, mode="clip")
    return b.add(h, b.slice(rows, start=(0, 0), stop=(ROWS, 4), step=(1, 1)))


def images(b: Builder, h: Node, w: Node, _x: Node, _m: Node) -> Node:
    picture = b.reshape(h, shape=(ROWS, 2, 2, 1))
    kernel = b.reshape(b.slice(w, start=(0, 0), stop=(2, 2), step=(1, 1)), shape=(2, 2, 1, 1))
    same = {"strides": (1, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 1), "groups": 1}
    back = b.conv_input_grad(b.conv(picture, kernel, **same), kernel, shape=(ROWS, 2, 2, 1), **same)
    return b.reshape(back, shape=(ROWS, 4))


SHAPES = {attention: (ROWS, 4, 3)}
INDEPENDENT = [gates, attention, from_the_left, pieces, from_what_is_scanned, looked_up, images]


def traced(body: Callable[..., Node]) -> tuple[Graph, list[np.ndarray]]:
    b, rng = Builder(), np.random.default_rng(0)
    shapes = [(ROWS, 4), (4, 8), SHAPES.get(body, (ROWS, 8))]
    arrays = [*(rng.normal(size=s) for s in shapes), rng.integers(0, 2, ROWS).astype(bool)]
    inputs = [b.input(TensorType(a.shape, a.dtype.name), f"x{i}") for i, a in enumerate(arrays)]
    return Graph(inputs, [body(b, *inputs)]), arrays


@pytest.mark.parametrize("body", INDEPENDENT)
def test_a_graph_for_fewer_rows_gives_those_rows(body: Callable[..., Node]) -> None:
    graph, arrays = traced(body)
    axes = row_axes(graph, ROWS, {graph.inputs[0]: 0}, [0])
    assert axes is not None and graph.inputs[1] not in axes
    whole = evaluate(graph, arrays)[0]
    for first, last in ((0, 2), (2, 6), (5, 6)):
        part = with_rows(graph, axes, last - first)
        cut = [a[first:last] if n in axes else a for n, a in zip(graph.inputs, arrays, strict=True)]
        np.testing.assert_allclose(evaluate(part, cut)[0], whole[first:last], rtol=1e-12)


def summed(b: Builder, h: Node, *_: Node) -> Node:
    return b.sub(h, b.reduce_sum(h, axes=(0,), keepdims=True))


def turned_around(b: Builder, h: Node, *_: Node) -> Node:
    return b.reverse(h, axes=(0,))


def shifted(b: Builder, h: Node, *_: Node) -> Node:
    one = b.slice(h, start=(1, 0), stop=(ROWS, 4), step=(1, 1))
    return b.pad(one, low=(1, 0), high=(0, 0), interior=(0, 0), value=0.0)


def compared(b: Builder, h: Node, *_: Node) -> Node:
    return b.reduce_sum(dot(b, h, h, ((1,), (1,))), axes=(1,), keepdims=True)


def contracted(b: Builder, h: Node, _w: Node, x: Node, _m: Node) -> Node:
    return dot(b, h, dot(b, h, x, ((0,), (0,))))


def sorted_rows(b: Builder, h: Node, *_: Node) -> Node:
    return b.sort(h, axis=0, descending=False)


def by_number(b: Builder, h: Node, *_: Node) -> Node:
    return b.mul(h, b.cast(b.iota(shape=(ROWS, 4), dtype="int32", axis=0), dtype="float64"))


def the_same_for_all(b: Builder, h: Node, w: Node, *_: Node) -> Node:
    return b.slice(w, start=(0, 0), stop=(4, 4), step=(1, 1))


DEPENDENT = [summed, turned_around, shifted, compared, contracted, sorted_rows, by_number, the_same_for_all]


@pytest.mark.parametrize("body", DEPENDENT)
def test_rows_that_depend_on_each_other_are_found(body: Callable[..., Node]) -> None:
    graph, _ = traced(body)
    assert row_axes(graph, ROWS, {graph.inputs[0]: 0}, [0]) is None
