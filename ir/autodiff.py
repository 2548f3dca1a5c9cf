"""Reverse-mode differentiation as a graph transformation.

`gradients` appends the backward pass to the builder that made the forward one, so gradients of gradients are
gradients of a graph like any other. Cotangents are summed and un-broadcast here, in one place.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from graphkeras.ir.graph import Builder, reachable
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.passes.attention import for_gradient
from graphkeras.ir.types import TensorType, is_inexact


class GradientError(ValueError):
    """An op on the path has no gradient; the message names the op and where it comes from."""


def gradients(
    b: Builder,
    outputs: Sequence[Node],
    wrt: Sequence[Node],
    cotangents: Sequence[Node | None] | None = None,
    *,
    partial: bool = False,
) -> list[Node | None]:
    """Vector-Jacobian product of `outputs` with respect to `wrt`; None where no path leads from one to the other.

    cotangents: one per output, of its type; default: ones (the gradient of the sum).
    partial: treat the `wrt` nodes as independent of each other (do not differentiate below them).
    """
    if cotangents is None:
        cotangents = [b.full_like(o, 1.0) for o in outputs]
    targets = set(wrt)
    active = _active(outputs, targets, partial)
    everything = functools.cache(lambda: reachable(outputs))
    sums: dict[Node, Node] = {}
    parts: dict[Node, dict[int, Node]] = {}  # of nodes with several results, by result index
    for output, ct in zip(outputs, cotangents, strict=True):
        if ct is not None and is_inexact(output.type.dtype):
            _accumulate(b, sums, output, ct)
    for node in sorted(active, key=lambda n: n.id, reverse=True):
        ct = sums.get(node)
        if node.op == "item" and not (partial and node in targets):
            if ct is not None:
                found = parts.setdefault(node.inputs[0], {})
                index = node.attrs["index"]
                found[index] = b.add(found[index], ct) if index in found else ct
            continue
        if not node.inputs or (partial and node in targets):
            continue
        if isinstance(node.type, tuple):
            if node not in parts:
                continue
            pulled = _pull(b, node, [parts[node].get(i) for i in range(len(node.type))])
        else:
            if ct is None:
                continue
            whole = for_gradient(b, node, everything, targets) if node.op == "dot_general" else None
            if whole is not None:  # attention written out: differentiated as the op that it is
                result, sources = whole
                for source, grad in zip(sources, gradients(b, [result], sources, [ct], partial=True), strict=True):
                    if grad is not None and source in active:
                        _accumulate(b, sums, source, grad)
                continue
            pulled = _pull(b, node, ct)
        with b.origin(node.origin._replace(phase="backward")):
            for source, grad in zip(node.inputs, pulled, strict=True):
                if grad is not None and source in active and _is_differentiable(source):
                    _accumulate(b, sums, source, unbroadcast(b, grad, source.type))
    return [sums.get(w) for w in wrt]


def unbroadcast(b: Builder, node: Node, type: TensorType) -> Node:
    """Sum over the axes along which a value of `type` was broadcast to `node`'s shape."""
    if node.shape == type.shape:
        return node
    extra = node.type.rank - type.rank
    axes = list(range(extra))
    axes += [i + extra for i, n in enumerate(type.shape) if n == 1 and node.shape[i + extra] != 1]
    summed = b.reduce_sum(node, axes=tuple(axes), keepdims=False)
    return b.reshape(summed, shape=type.shape)


def _pull(b: Builder, node: Node, ct: Node | list[Node | None]) -> Sequence[Node | None]:
    op = get_op(node.op)
    with b.origin(node.origin._replace(phase="backward")):
        if op.vjp is not None:
            result = op.vjp(b, ct, node)
        elif op.decompose is not None and op.kind is Kind.COMPOSITE:
            result = through_decomposition(b, ct if isinstance(ct, list) else [ct], node)
        else:
            raise GradientError(
                f"op {node.op!r} in layer {node.origin} has no gradient. Use stop_gradient() on its result if none "
                "is needed, or an op that is differentiable."
            )
    if len(result) != len(node.inputs):
        raise AssertionError(f"vjp of {node.op!r} gave {len(result)} cotangents for {len(node.inputs)} inputs")
    return result


def through_decomposition(b: Builder, cts: Sequence[Node | None], node: Node) -> list[Node | None]:
    """Cotangents of a composite's inputs, from those of its results, through the primitives it stands for."""
    decompose = get_op(node.op).decompose
    assert decompose is not None
    made = decompose(b, node)
    outs = list(made) if isinstance(node.type, tuple) else [made]
    unique = list(dict.fromkeys(node.inputs))  # an input that is given twice gets its sum once
    found = dict(zip(unique, gradients(b, outs, unique, cts, partial=True), strict=True))
    return [found.pop(i, None) for i in node.inputs]


def _active(outputs: Sequence[Node], targets: set[Node], partial: bool) -> set[Node]:
    """Nodes on a differentiable path from a target to an output."""
    below: set[Node] = set()
    for node in sorted(reachable(outputs, stop=targets if partial else None), key=lambda n: n.id):
        if not _is_differentiable(node):
            continue
        if node in targets or any(i in below for i in node.inputs):
            below.add(node)
    return below


def _is_differentiable(node: Node) -> bool:
    if node.op == "stop_gradient":
        return False
    types = node.type if isinstance(node.type, tuple) else (node.type,)
    return any(is_inexact(t.dtype) for t in types)


def _accumulate(b: Builder, sums: dict[Node, Node], node: Node, ct: Node) -> None:
    if ct.dtype != node.dtype:
        ct = b.cast(ct, dtype=node.dtype)
    sums[node] = b.add(sums[node], ct) if node in sums else ct
