"""Control flow: ops that hold graphs, and the results of ops with several results.

scan(*init, *consts, *xs) -> (*carries, *ys); its body takes (carries, consts, slices of xs) and gives (carries, slices
of ys). while(*carry, *consts) -> carries. cond(index, *operands) -> the results of branches[index].
The gradients of the loops are in scan_gradient.py and while_gradient.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, register
from graphkeras.ir.ops.rules import as_int, want_ints
from graphkeras.ir.ops.scan_gradient import scan_vjp
from graphkeras.ir.ops.while_gradient import while_vjp
from graphkeras.ir.types import TensorType, is_inexact, numpy_dtype

Types = tuple[TensorType, ...]


# -- item ------------------------------------------------------------------------------------------
def _item_infer(types: Any, *, index: int) -> TensorType:
    if not isinstance(types, tuple):
        raise TypeError(f"item expects a node with several results; received {types}")
    if not 0 <= index < len(types):
        raise IndexError(f"item expects 0 <= index < {len(types)}; received {index}")
    return types[index]


register(
    Op(
        "item",
        Kind.OPAQUE,
        _item_infer,
        lambda values, *, index: values[index],
        None,  # autodiff gathers the cotangents of all items
        doc="Result `index` of an op with several results.",
    )
)


# -- shared ----------------------------------------------------------------------------------------
def _want_types(name: str, what: str, expected: Sequence[TensorType], received: Sequence[TensorType]) -> None:
    if len(expected) != len(received):
        raise ValueError(f"{name}: {what} expects {len(expected)} values; received {len(received)}")
    for i, (e, r) in enumerate(zip(expected, received, strict=True)):
        if e != r:
            error = TypeError if e.dtype != r.dtype else ValueError
            raise error(f"{name}: {what} expects {e} as value {i}; received {r}")


def _types(nodes: Sequence[Node]) -> list[TensorType]:
    return [n.type for n in nodes]


def _run(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Evaluate a body; in float64 throughout where the caller computes wider than the graph's types."""
    from graphkeras.ir.interpreter import evaluate

    pairs = zip(arrays, graph.inputs, strict=True)
    wider = any(a.dtype == np.float64 and i.dtype != "float64" for a, i in pairs)
    return evaluate(graph, arrays, float64=wider)


# -- scan ------------------------------------------------------------------------------------------
def _scan_infer(*types: TensorType, body: Graph, carries: int, consts: int, length: int, reverse: bool) -> Types:
    if len(types) < carries + consts:
        raise ValueError(f"scan expects {carries} carries and {consts} consts; received {len(types)} inputs")
    if as_int("scan", "length", length) < 0:
        raise ValueError(f"scan expects a non-negative length; received {length}")
    xs = types[carries + consts :]
    for x in xs:
        if x.rank == 0 or x.shape[0] != length:
            raise ValueError(f"scan of length {length} expects xs with that leading extent; received {x}")
    slices = [x.with_shape(x.shape[1:]) for x in xs]
    _want_types("scan", "body", [i.type for i in body.inputs], [*types[: carries + consts], *slices])
    if len(body.outputs) < carries:
        raise ValueError(f"scan: body expects to return {carries} carries; it returns {len(body.outputs)} values")
    _want_types("scan", "the next carry", types[:carries], _types(body.outputs[:carries]))
    ys = [o.type.with_shape((length, *o.shape)) for o in body.outputs[carries:]]
    return (*types[:carries], *ys)


def _scan(
    *arrays: np.ndarray, body: Graph, carries: int, consts: int, length: int, reverse: bool
) -> tuple[np.ndarray, ...]:
    carry, fixed, xs = list(arrays[:carries]), arrays[carries : carries + consts], arrays[carries + consts :]
    rows: list[list[np.ndarray]] = [[] for _ in body.outputs[carries:]]
    for t in reversed(range(length)) if reverse else range(length):
        results = _run(body, [*carry, *fixed, *(x[t] for x in xs)])
        carry = results[:carries]
        for row, y in zip(rows, results[carries:], strict=True):
            row.append(y)
    stacked = []
    for row, node in zip(rows, body.outputs[carries:], strict=True):
        if row:
            stacked.append(np.stack(row[::-1] if reverse else row))
        else:
            stacked.append(np.empty((0, *node.shape), numpy_dtype(node.dtype)))
    return (*carry, *stacked)


register(
    Op(
        "scan",
        Kind.OPAQUE,
        _scan_infer,
        _scan,
        scan_vjp,
        doc="A loop of known length. ys[t] belongs to xs[t] in both directions.",
    )
)


# -- while -----------------------------------------------------------------------------------------
def _while_infer(*types: TensorType, cond: Graph, body: Graph, carries: int, bound: int = 0) -> Types:
    _want_types("while", "body", [i.type for i in body.inputs], types)
    _want_types("while", "condition", [i.type for i in cond.inputs], types)
    _want_types("while", "the next carry", types[:carries], _types(body.outputs))
    _want_types("while", "the condition's result", [TensorType((), "bool")], _types(cond.outputs))
    return tuple(types[:carries])


def _while(*arrays: np.ndarray, cond: Graph, body: Graph, carries: int, bound: int = 0) -> tuple[np.ndarray, ...]:
    carry, fixed = list(arrays[:carries]), arrays[carries:]
    while bool(_run(cond, [*carry, *fixed])[0]):
        carry = _run(body, [*carry, *fixed])
    return tuple(carry)


register(
    Op(
        "while",
        Kind.OPAQUE,
        _while_infer,
        _while,
        while_vjp,
        doc="Repeat body while cond holds; both see the consts. bound: the most steps it can take; 0: not known.",
    )
)


# -- cond ------------------------------------------------------------------------------------------
def _cond_infer(index: TensorType, *operands: TensorType, branches: tuple[Graph, ...]) -> Types:
    want_ints("cond", index, "the index")
    if index.shape != ():
        raise ValueError(f"cond expects a scalar index; received {index}")
    if not branches:
        raise ValueError("cond expects at least one branch; received none")
    for i, graph in enumerate(branches):
        _want_types("cond", f"branch {i}", [n.type for n in graph.inputs], operands)
        _want_types("cond", f"the results of branch {i}", _types(branches[0].outputs), _types(graph.outputs))
    return tuple(_types(branches[0].outputs))


def _cond(index: np.ndarray, *operands: np.ndarray, branches: tuple[Graph, ...]) -> tuple[np.ndarray, ...]:
    return tuple(_run(branches[min(max(int(index), 0), len(branches) - 1)], operands))


def _branch_gradient(graph: Graph, given: Sequence[bool], wanted: Sequence[int]) -> Graph:
    """(operands, cotangents that are given) -> cotangents of the wanted operands; zeros where there is no path."""
    from graphkeras.ir.autodiff import gradients

    b = Builder()
    inputs = [b.input(n.type, f"operand{i}") for i, n in enumerate(graph.inputs)]
    outputs = b.inline(graph, inputs)
    cts = [b.input(o.type, f"ct{i}") if g else None for i, (o, g) in enumerate(zip(outputs, given, strict=True))]
    targets = [inputs[i] for i in wanted]
    grads = gradients(b, outputs, targets, cts)
    results = [g if g is not None else b.full_like(t, 0) for g, t in zip(grads, targets, strict=True)]
    return Graph([*inputs, *(c for c in cts if c is not None)], results, f"{graph.name}.gradient")


def _cond_vjp(b: Builder, ct: Sequence[Node | None], node: Node) -> list[Node | None]:
    index, *operands = node.inputs
    wanted = [i for i, o in enumerate(operands) if is_inexact(o.dtype)]
    given = [c is not None and is_inexact(c.dtype) for c in ct]
    if not wanted or not any(given):
        return [None] * len(node.inputs)
    branches = tuple(_branch_gradient(g, given, wanted) for g in node.attrs["branches"])
    cts = [c for c, g in zip(ct, given, strict=True) if g and c is not None]
    pulled = b.cond(index, *operands, *cts, branches=branches)
    found: list[Node | None] = [None] * len(node.inputs)
    for position, i in enumerate(wanted):
        found[1 + i] = b.item(pulled, position)
    return found


register(
    Op(
        "cond",
        Kind.OPAQUE,
        _cond_infer,
        _cond,
        _cond_vjp,
        doc="The results of branches[index]; an index out of range is moved to the nearest branch.",
    )
)
