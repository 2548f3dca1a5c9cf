"""One function for many slices: map, vectorized_map, vectorize, associative_scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.operation import keras_op
from graphkeras.core.trace import ValueRequested
from graphkeras.ir.batching import batch, batched_graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ops.base import Tensor, apply, axis_of, cast_to, concat, current_trace, part, reshape_to, to_tensor
from graphkeras.ops.control import Structure, captures, scan, traced_body


@keras_op
def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """`f` of every slice of xs along the leading axis, stacked."""
    return scan(lambda _, x: ((), f(x)), (), xs)[1]


@keras_op
def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """`function` of every slice of `elements` along the leading axis, stacked; for all slices at once.

    The function is recorded for one slice and its ops are then given one more axis, so products become batched
    products; an op that cannot take one becomes a loop over the slices. Both branches of a `cond` whose predicate
    differs from slice to slice are computed. A function that assigns variables (random numbers do) or that asks for
    values runs for one slice after the other, as in `map`. Differentiable; any structure goes in and comes out.

    >>> from graphkeras import ops
    >>> ops.vectorized_map(lambda v: ops.sum(v * v), ops.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [5.0, 25.0]
    """
    rows = Structure(elements)
    sizes = {t.shape[0] if t.shape else -1 for t in rows.tensors}
    if len(sizes) != 1 or sizes & {-1, 0}:
        return map(function, elements)
    trace = current_trace()
    try:
        variables, body, result, _ = traced_body(lambda _, x: ((), function(x)), Structure(()), rows)
    except ValueRequested:
        if trace is not None:
            raise
        return map(function, elements)
    if variables:
        return map(function, elements)
    consts = captures(body)
    flags = [False] * len(consts) + [True] * len(rows.tensors)
    graph = body.graph("vectorized", 0, consts)
    if trace is not None:
        nodes = batch(trace.builder, graph, [trace.lift(t) for t in (*consts, *rows.tensors)], flags, sizes.pop())
        return result.build([Tensor(n, trace) for n in nodes])
    whole = batched_graph(graph, flags, sizes.pop())
    return result.build([Tensor(a) for a in evaluate(whole, [t.numpy() for t in (*consts, *rows.tensors)])])


@keras_op
def associative_scan(f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefix combinations of the slices by an associative `f(a, b)`, in log2(n) vectorised rounds.

    Hillis and Steele's scan: in round r every element is combined with the one 2**r places before it.
    """
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    items = Structure(elems)
    axes = [axis_of(axis, len(t.shape), "associative_scan") for t in items.tensors]
    sizes = {t.shape[a] for t, a in zip(items.tensors, axes, strict=True)}
    if len(sizes) != 1:
        raise ValueError(
            f"associative_scan: all of `elems` must have one size along axis {axis}; received {sorted(sizes)}"
        )
    n = sizes.pop()
    current = [apply("reverse", t, axes=(a,)) if reverse else t for t, a in zip(items.tensors, axes, strict=True)]
    shift = 1
    while shift < n:
        early = [part(t, a, 0, n - shift) for t, a in zip(current, axes, strict=True)]
        late = [part(t, a, shift, n) for t, a in zip(current, axes, strict=True)]
        joined = Structure(f(items.build(early), items.build(late))).tensors
        heads = [part(t, a, 0, shift) for t, a in zip(current, axes, strict=True)]
        current = [concat([h, cast_to(j, h.dtype)], a) for h, j, a in zip(heads, joined, axes, strict=True)]
        shift *= 2
    return items.build([apply("reverse", t, axes=(a,)) if reverse else t for t, a in zip(current, axes, strict=True)])


# -- vectorize ---------------------------------------------------------------------------------------
def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Any:
    """A function that applies `pyfunc` to all elements by broadcasting; "(n)->()" as signature: to all rows."""
    skipped = set(excluded or ())
    inputs = _parse_signature(signature) if signature else None

    @keras_op(class_name="Vectorize")
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        places = [i for i in range(len(args)) if i not in skipped]
        tensors = [to_tensor(args[i]) for i in places]
        ranks = [len(c) for c in inputs] if inputs is not None else [0] * len(tensors)
        if len(ranks) != len(tensors):
            raise TypeError(
                f"vectorize: the signature {signature!r} takes {len(ranks)} arguments; received {len(tensors)}"
            )
        for t, r in zip(tensors, ranks, strict=True):
            if len(t.shape) < r:
                raise ValueError(
                    f"vectorize: an argument of shape {t.shape} has not the {r} core dimensions of {signature!r}"
                )
        lead = np.broadcast_shapes(*(t.shape[: len(t.shape) - r] for t, r in zip(tensors, ranks, strict=True)))
        size = int(np.prod(lead))
        flat = [
            reshape_to(
                apply("broadcast_to", t, shape=(*lead, *t.shape[len(t.shape) - r :])),
                (size, *t.shape[len(t.shape) - r :]),
            )
            for t, r in zip(tensors, ranks, strict=True)
        ]

        def one(xs: Any) -> Any:
            full = list(args)
            for i, x in zip(places, xs, strict=True):
                full[i] = x
            return pyfunc(*full, **kwargs)

        found = map(one, tuple(flat))
        return tree.map_structure(lambda t: reshape_to(t, (*lead, *t.shape[1:])), found)

    return vectorized


def _parse_signature(signature: str) -> list[list[str]]:
    """The core dimensions of the inputs."""
    left, arrow, _ = signature.replace(" ", "").partition("->")
    if not arrow:
        raise ValueError(f"vectorize: argument `signature` must look like '(n),(n)->()'; received {signature!r}")
    return [[d for d in core.strip("()").split(",") if d] for core in left.replace("),(", ")|(").split("|")]
