"""The text form: what is printed is read back as the same graph."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.node import Origin
from graphkeras.ir.op import Op, Sample
from graphkeras.ir.parser import ParseError, parse
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.printer import equal, to_text
from graphkeras.ir.types import TensorType, is_inexact, numpy_dtype
from graphkeras.ir.verify import GraphError, verify
from tests.codegen.test_fuzz import random_graph
from tests.ir.test_loops import gradient_graph
from tests.ir.test_ops import CASES, build, draw


def round_trip(graph: Graph) -> Graph:
    table: dict[str, np.ndarray] = {}
    text = to_text(graph, table)
    read = parse(text, table)
    assert to_text(read) == text
    assert equal(graph, read)
    verify(read)
    assert [n.origin for n in graph.nodes] == [n.origin for n in read.nodes]
    return read


@pytest.mark.parametrize("op, sample", CASES)
def test_samples_round_trip(op: Op, sample: Sample) -> None:
    arrays = draw(op, sample)
    b, inputs, node = build(op, sample, arrays)
    outputs = [b.item(node, k) for k in range(len(node.type))] if isinstance(node.type, tuple) else [node]
    inexact = [i for i in inputs if is_inexact(i.dtype)]
    if op.vjp is not None and inexact and sample.differentiable and is_inexact(outputs[0].dtype):
        outputs += [g for g in gradients(b, [outputs[0]], inexact) if g is not None]
    verify(Graph(inputs, outputs))
    round_trip(Graph(inputs, outputs, op.name))


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_round_trip(seed: int) -> None:
    graph, arrays = random_graph(seed)
    for got, want in zip(evaluate(round_trip(graph), arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want)
    round_trip(optimise(graph))


def test_bodies_keep_their_relations() -> None:
    graph, arrays = gradient_graph()
    read = round_trip(graph)
    assert equal(optimise(read), optimise(graph))
    for got, want in zip(evaluate(read, arrays), evaluate(graph, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


def test_constants_keep_their_bits() -> None:
    values = {
        "float32": [0.1, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38],
        "float16": [0.1, -0.0, np.inf],
        "bfloat16": [0.1, -0.0],
        "float64": [0.1, 5e-324],
        "int64": [-(2**63), 2**63 - 1],
        "uint64": [2**64 - 1],
        "complex64": [complex(0.1, -0.0), complex(-np.inf, np.nan)],
        "bool": [True, False],
        "int8": [],
    }
    b = Builder()
    nodes = [b.const(np.array(v, numpy_dtype(d))) for d, v in values.items()]
    nodes.append(b.const(np.arange(100, dtype=np.float32)))
    read = round_trip(Graph([], nodes))
    for got, want in zip(evaluate(read, []), evaluate(Graph([], nodes), []), strict=True):
        assert got.dtype == want.dtype and got.tobytes() == want.tobytes()


def test_text() -> None:
    b = Builder()
    x = b.input(TensorType((2, 3), "float32"), "x")
    with b.origin(Origin("dense/scale", "model.py", 12, "update")):
        y = b.mul(x, 2.0)
    graph = Graph([x], [b.reduce_sum(y, axes=(0,), keepdims=False)], "step")
    assert to_text(graph) == (
        'graph "step" (%0) {\n'
        '  %0 = input("x") : float32[2,3]\n'
        "  %1 = const(2.0) : float32[]  # dense/scale (model.py:12) [update]\n"
        "  %2 = mul(%0, %1) : float32[2,3]  # dense/scale (model.py:12) [update]\n"
        "  %3 = reduce_sum(%2, axes=(0,), keepdims=False) : float32[3]\n"
        "  return %3\n"
        "}"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("graph (%0) { return %0 }", "a value defined before"),
        (
            'graph (%0) { %0 = input("x") : float32[2]\n %1 = exp(%0) : float32[3]\n return %1 }',
            r"line 2.*float32\[2\]",
        ),
        ('graph (%0) { %0 = input("x") : float32[2]\n %1 = nonsense(%0) : float32[2]\n return %1 }', "no op named"),
        ("graph () { %0 = const(@abc) : float32[40] return %0 }", "side table"),
        ("graph () { %0 = const(1.0) ; float32[] return %0 }", "column 28"),
    ],
)
def test_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        parse(text)


def test_verify_finds_what_is_wrong() -> None:
    b, other = Builder(), Builder()
    x = b.input(TensorType((2,), "float32"), "x")
    y = b.input(TensorType((2,), "float32"), "y")
    total = b.add(x, y)
    with pytest.raises(GraphError, match="not listed"):
        verify(Graph([x], [total]))
    with pytest.raises(GraphError, match="two builders"):
        verify(Graph([x, y, other.input(TensorType((2,), "float32"), "z")], [total]))
    with pytest.raises(GraphError, match="result of an op"):
        verify(Graph([x, y, total], [total]))
    with pytest.raises(GraphError, match="types of its outputs changed"):
        verify(Graph([x, y], [total]), Graph([x, y], [b.reshape(total, shape=(1, 2))]), "planted")
    wide = b.cast(b.cast(total, dtype="float64"), dtype="float32")
    with pytest.raises(GraphError, match=r"after 'planted'.*float64 appeared"):
        verify(Graph([x, y], [wide]), Graph([x, y], [total]), "planted")
    object.__setattr__(total, "type", TensorType((3,), "float32"))
    with pytest.raises(GraphError, match="shape rule says"):
        verify(Graph([x, y], [total]))
