"""Functions with a gradient of their own, and forward derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphkeras.core import tree
from graphkeras.core.operation import keras_op
from graphkeras.ir.graph import Graph
from graphkeras.ops.base import Tensor, apply, cast_to, current_trace, full_of, to_tensor
from graphkeras.ops.control import Body, Structure


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: `f(*args)` returns (value, grad); `grad(*upstream)` gives the gradients of the arguments.

    >>> from graphkeras import ops
    >>> @ops.custom_gradient
    ... def log1pexp(x):
    ...     e = ops.exp(x)
    ...     return ops.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))
    """

    @keras_op(class_name="CustomGradient")
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = Structure(args)
        if current_trace() is None:
            return f(*args, **kwargs)[0]
        return _with_gradient(f, given, kwargs)

    wrapped.__name__ = getattr(f, "__name__", "custom_gradient")
    wrapped.__doc__ = f.__doc__
    return wrapped


def _with_gradient(f: Callable[..., Any], given: Structure, kwargs: dict[str, Any]) -> Any:
    kept: list[Structure] = []
    n = len(given.tensors)

    def both(*tensors: Tensor) -> list[Tensor]:
        """The values, then the gradients for upstream gradients that are further inputs."""
        value, grad = f(*given.build(tensors[:n]), **kwargs)
        kept.append(Structure(value))
        trace = current_trace()
        assert trace is not None
        upstream = [trace.input(t) for t in kept[0].types]
        found = grad(*upstream)
        grads = list(found) if isinstance(found, (list, tuple)) else [found]
        grads = [g for g, x in zip(tree.flatten(grads), given.leaves, strict=False) if x is not None]
        zeros = [full_of(t.shape, 0, t.dtype) for t in given.tensors]
        rows = [z if g is None else cast_to(to_tensor(g), z.dtype) for g, z in zip(grads, zeros, strict=True)]
        return [*kept[0].tensors, *rows]

    body = Body(both, given.types)
    if body.written:
        raise ValueError(
            f"custom_gradient: the function assigns variable {body.written[0].path!r}; return the value instead"
        )
    count = len(kept[0].tensors)
    values, gradients_ = body.outputs[:count], body.outputs[count:]
    inputs, upstream, consts = body.inputs[:n], body.inputs[n:], body.nodes
    forward = Graph([*inputs, *consts], values, "custom_gradient")
    backward = Graph([*inputs, *consts, *upstream], gradients_, "custom_gradient backward")
    operands = [*given.tensors, *body.captures]
    found = [apply("custom", *operands, forward=forward, backward=backward, index=i, args=n) for i in range(count)]
    return kept[0].build(found)


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """Value of `fun(*primals)` and its derivative in the direction of `tangents` (and fun's second result).

    The gradient, for upstream u, is linear in u; its own gradient along the tangents is the forward derivative.
    """
    from graphkeras.ir.autodiff import gradients

    xs, vs = Structure(tuple(primals)), Structure(tuple(tangents))
    kept: list[Any] = []

    def body(*tensors: Tensor) -> list[Tensor]:
        value = fun(*xs.build(tensors[: len(xs.tensors)]))
        value, aux = value if has_aux else (value, None)
        ys, extra = Structure(value), Structure(aux)
        kept.extend((ys, extra))
        trace = current_trace()
        assert trace is not None
        b = trace.builder
        upstream = [b.input(t, f"upstream{i}") for i, t in enumerate(ys.types)]
        wrt = [trace.lift(t) for t in tensors[: len(xs.tensors)]]
        pulled = gradients(b, [trace.lift(y) for y in ys.tensors], wrt, upstream)
        pairs = [(g, trace.lift(v)) for g, v in zip(pulled, tensors[len(xs.tensors) :], strict=True) if g is not None]
        pushed = gradients(b, [g for g, _ in pairs], upstream, [v for _, v in pairs])
        rows = [
            Tensor(b.full(t.shape, 0, t.dtype) if p is None else p, trace)
            for p, t in zip(pushed, ys.types, strict=True)
        ]
        return [*ys.tensors, *rows, *extra.tensors]

    traced = Body(body, [*xs.types, *vs.types])
    operands = [*xs.tensors, *vs.tensors, *traced.captures]
    found = _inlined(Graph([*traced.inputs, *traced.nodes], traced.outputs, "jvp"), operands)
    ys, extra = kept[0], kept[1]
    n = len(ys.tensors)
    result = (ys.build(found[:n]), ys.build(found[n : 2 * n]))
    return (*result, extra.build(found[2 * n :])) if has_aux else result


def _inlined(graph: Graph, operands: Sequence[Tensor]) -> list[Tensor]:
    """A graph's results: its nodes in the current trace, or values outside."""
    trace = current_trace()
    if trace is not None:
        return [Tensor(n, trace) for n in trace.builder.inline(graph, [trace.lift(x) for x in operands])]
    from graphkeras.ir.interpreter import evaluate

    return [Tensor(a) for a in evaluate(graph, [x.numpy() for x in operands])]
