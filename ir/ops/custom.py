"""A graph with a gradient of its own, and values that gradients are taken for."""

from __future__ import annotations

import numpy as np

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.types import TensorType


def _infer(*types: TensorType, forward: Graph, backward: Graph, index: int, args: int) -> TensorType:
    expected = tuple(i.type for i in forward.inputs)
    if types != expected:
        raise TypeError(f"custom expects inputs {[str(t) for t in expected]}; received {[str(t) for t in types]}")
    if len(backward.outputs) != args:
        raise ValueError(f"custom expects {args} gradients from `backward`; received {len(backward.outputs)}")
    return forward.outputs[index].type


def _reference(*arrays: np.ndarray, forward: Graph, backward: Graph, index: int, args: int) -> np.ndarray:
    from graphkeras.ir.interpreter import evaluate

    return evaluate(forward, arrays)[index]


def _vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    forward, index = node.attrs["forward"], node.attrs["index"]
    upstream = [ct if i == index else b.full(o.shape, 0, o.dtype) for i, o in enumerate(forward.outputs)]
    gradients = b.inline(node.attrs["backward"], [*node.inputs, *upstream])
    return [*gradients, *(None for _ in node.inputs[len(gradients) :])]


def _decompose(b: Builder, node: Node) -> Node:
    return b.inline(node.attrs["forward"], node.inputs)[node.attrs["index"]]


register(
    Op(
        "custom",
        Kind.COMPOSITE,
        _infer,
        _reference,
        _vjp,
        decompose=_decompose,
        doc=(
            "Output `index` of graph `forward`(args, consts). Its gradient for the first `args` inputs is graph "
            "`backward`(args, consts, upstream gradient of every output)."
        ),
    )
)


# -- an argument to differentiate for --------------------------------------------------------------
def _watched(x: TensorType, *, token: int) -> TensorType:
    return x


register(
    Op(
        "watched",
        Kind.COMPOSITE,
        _watched,
        lambda x, *, token: x,
        lambda b, ct, node: [ct],
        decompose=lambda b, node: node.inputs[0],
        samples=(Sample(((2, 3),), {"token": 0}),),
        doc=(
            "The value, as a node of its own per `token`: nodes are interned, and what a function does with its "
            "argument must be told from what it does with the same value from elsewhere."
        ),
    )
)
