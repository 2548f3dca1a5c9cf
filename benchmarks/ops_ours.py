"""Cases of `ops` as graphs of the compiler: the same door that models go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.op_case import Case
from benchmarks.ops_cases import ADAM, TOP
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.program import Program
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype, type_of


def prepare(case: Case) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    """(run the case once, its first result) with arrays bound."""
    arrays = case.arrays()
    graph, aliases = build(case, arrays)
    program = compile_graph(graph, aliases)
    bind(program, graph, aliases, arrays)
    outputs = program._alive[len(arrays) :]
    return program.run, lambda: np.array(outputs[0])


def bind(program: Program, graph: Graph, aliases: dict[int, int], arrays: list[np.ndarray]) -> None:
    outputs = [
        arrays[aliases[k]] if k in aliases else np.empty(n.type.shape, numpy_dtype(n.type.dtype))
        for k, n in enumerate(graph.outputs)
    ]
    program.bind(arrays, outputs)


def build(case: Case, arrays: list[np.ndarray]) -> tuple[Graph, dict[int, int]]:
    b = Builder()
    inputs = [b.input(type_of(a), f"x{k}") for k, a in enumerate(arrays)]
    return Graph(inputs, results(b, case, inputs), case.kernel), aliases(case)


def results(b: Builder, case: Case, inputs: Sequence[Node]) -> list[Node]:
    """The nodes that compute the case."""
    family = case.kernel.split("_")[0] if case.kernel.startswith(("dot", "dense", "conv")) else case.kernel
    made = _GRAPHS[family](b, case, *inputs)
    return list(made) if isinstance(made, tuple) else [made]


def aliases(case: Case) -> dict[int, int]:
    """Which results overwrite which inputs."""
    return {"adam": {0: 0, 1: 2, 2: 3}, "table_adam": {0: 0, 1: 1, 2: 2}}.get(case.kernel, {})


def _dot(b: Builder, case: Case, x: Node, y: Node) -> Node:
    form = case.kernel[-2:]
    first = x.type.rank - 2
    contract = ((first + (form[0] == "n"),), (first + (form[1] == "t"),))
    return b.dot_general(x, y, contract=contract, batch=((tuple(range(first)),) * 2))


def _dense(b: Builder, case: Case, x: Node, w: Node, bias: Node, *residual: Node) -> Node:
    y = b.relu(b.add(b.dot_general(x, w, contract=((1,), (0,)), batch=((), ())), bias))
    return b.add(y, residual[0]) if residual else y


def _conv(b: Builder, case: Case, x: Node, y: Node) -> Node:
    p = dict(case.parameters)
    dilation = (p["dilation"],) * len(p["strides"])
    attrs = dict(strides=p["strides"], padding=tuple((n, n) for n in p["pads"]), dilation=dilation, groups=p["groups"])
    if case.kernel == "conv":
        return b.conv(x, y, **attrs)
    if case.kernel == "conv_kernel_grad":
        return b.conv_kernel_grad(x, y, shape=p["w"], **attrs)
    return b.conv_input_grad(x, y, shape=p["x"], **attrs)


def _adam(b: Builder, case: Case, w: Node, g: Node, m: Node, v: Node) -> tuple[Node, ...]:
    a = ADAM
    m = b.add(m, b.mul(b.sub(g, m), 1 - a["beta1"]))
    v = b.add(v, b.mul(b.sub(b.mul(g, g), v), 1 - a["beta2"]))
    return b.sub(w, b.div(b.mul(m, a["rate"]), b.add(b.sqrt(v), a["epsilon"]))), m, v


def _table_adam(b: Builder, case: Case, w: Node, m: Node, v: Node, rows: Node, places: Node) -> tuple[Node, ...]:
    return _adam(b, case, w, b.scatter(b.full(w.shape, 0, w.dtype), places, rows, axis=0, combine="add"), m, v)


_GRAPHS: dict[str, Callable[..., Any]] = {
    "call": lambda b, c, x: b.add(x, 1.0),
    "dot": _dot,
    "dense": _dense,
    "conv": _conv,
    "softmax": lambda b, c, x: b.softmax(x, axis=1),
    "layer_norm": lambda b, c, x, g, s: b.layer_norm(x, g, s, axis=(1,), epsilon=1e-6),
    "bias_relu": lambda b, c, x, y: b.relu(b.add(x, y)),
    "sum_rows": lambda b, c, x: b.reduce_sum(x, axes=(1,), keepdims=False),
    "sum_columns": lambda b, c, x: b.reduce_sum(x, axes=(0,), keepdims=False),
    "sum_all": lambda b, c, x: b.reduce_sum(x, axes=(0, 1), keepdims=False),
    "max_rows": lambda b, c, x: b.reduce_max(x, axes=(1,), keepdims=False),
    "argmax_rows": lambda b, c, x: b.argmax(x, axis=1),
    "argmax_columns": lambda b, c, x: b.argmax(x, axis=0),
    "top_k": lambda b, c, x: b.item(b.top_k(x, k=TOP), index=0),
    "adam": _adam,
    "table_adam": _table_adam,
    "gather": lambda b, c, x, i: b.take(x, i, axis=0, mode="clip"),
}
