"""Control flow: branches, loops, scans. What is built on them is in maps.py.

Outside a trace these are plain Python on values. Inside one the bodies are traced into graphs of their own, which
capture what they use from outside, and one `cond`, `while` or `scan` node is recorded.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.operation import keras_op
from graphkeras.core.trace import Trace
from graphkeras.ir.graph import Graph
from graphkeras.ir.types import TensorType
from graphkeras.ops.base import (
    Tensor,
    apply,
    cast_to,
    concrete,
    current_trace,
    full_of,
    part,
    reduce,
    reshape_to,
    to_tensor,
)

if TYPE_CHECKING:
    from graphkeras.core.variable import Variable


# -- structures --------------------------------------------------------------------------------------
class Structure:
    """A nested structure taken apart into tensors; None leaves stay where they are."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.leaves = tree.flatten(value)
        self.tensors = [to_tensor(x) for x in self.leaves if x is not None]

    def build(self, tensors: Sequence[Any]) -> Any:
        rest = iter(tensors)
        return tree.pack_sequence_as(self.value, [None if x is None else next(rest) for x in self.leaves])

    @property
    def types(self) -> list[TensorType]:
        return [TensorType(t.shape, t.dtype) for t in self.tensors]


def _like(result: Structure, expected: list[TensorType], what: str) -> list[Tensor]:
    """A body's results in the types of the state that goes in."""
    if len(result.tensors) != len(expected):
        raise ValueError(f"{what}: the state has {len(expected)} tensors, the body returned {len(result.tensors)}")
    for t, want in zip(result.tensors, expected, strict=True):
        if t.shape != want.shape:
            raise ValueError(f"{what}: the state's shapes may not change: {want.shape} went in, {t.shape} came out")
    return [cast_to(t, want.dtype) for t, want in zip(result.tensors, expected, strict=True)]


class BodyTrace(Trace):
    """A trace in which variables may be assigned: `Body` hands their values on from round to round."""

    def write(self, variable: Variable, value: Tensor) -> None:
        self.values[variable] = value


class Body:
    """A function traced on inputs of given types; `captures` are the outer tensors it uses.

    variables: those that the function assigns; their values are inputs from place `at` on, and outputs behind the
        first `keep` results. `written` names assigned variables that were not among them.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        types: Sequence[TensorType],
        variables: Sequence[Variable] = (),
        at: int = 0,
        keep: int | None = None,
    ) -> None:
        with BodyTrace() as trace:
            inputs = [trace.input(t) for t in (*types[:at], *map_types(variables), *types[at:])]
            end = at + len(variables)
            trace.values.update(zip(variables, inputs[at:end], strict=True))
            results: list[Tensor] = fn(*inputs[:at], *inputs[end:])
            keep = len(results) if keep is None else keep
            final = [cast_to(trace.values[v], v.dtype) for v in variables]
            self.outputs = [trace.lift(r) for r in (*results[:keep], *final, *results[keep:])]
            self.captures = [outer for outer, _ in trace.captures.values()]
            self.nodes = [node for _, node in trace.captures.values()]
            for variable, node in trace.reads.items():  # only without an outer trace, which would have read them
                self.captures.append(Tensor(variable.numpy()))
                self.nodes.append(node)
        known = {id(v) for v in variables}  # `in` a list would compare values
        self.written = [v for v in trace.writes if id(v) not in known]
        self.trace = trace
        self.inputs = trace.inputs

    def graph(self, name: str, before: int, consts: Sequence[Tensor]) -> Graph:
        """The graph on (first `before` inputs, consts, other inputs); it need not use every const."""
        own = {c.data: n for c, n in zip(self.captures, self.nodes, strict=True)}
        nodes = [
            own[c.data] if c.data in own else self.trace.builder.input(TensorType(c.shape, c.dtype), f"const{i}")
            for i, c in enumerate(consts)
        ]
        return Graph([*self.inputs[:before], *nodes, *self.inputs[before:]], self.outputs, name)


def map_types(variables: Sequence[Variable]) -> list[TensorType]:
    return [TensorType(tuple(v.shape), v.dtype) for v in variables]


def _settled(make: Callable[[list[Variable]], list[Body]]) -> tuple[list[Variable], list[Body]]:
    """Bodies traced until all variables that they assign are known (a second time, if there are any)."""
    variables: list[Variable] = []
    while True:
        bodies = make(variables)
        new = dict.fromkeys(v for body in bodies for v in body.written)
        if not new:
            return variables, bodies
        variables = [*variables, *new]


def _values(variables: Sequence[Variable]) -> list[Tensor]:
    """What the variables hold in the trace around the body."""
    trace = current_trace()
    assert trace is not None
    return [trace.read(v) for v in variables]


def _write(variables: Sequence[Variable], values: Sequence[Tensor]) -> None:
    trace = current_trace()
    assert trace is not None
    for v, value in zip(variables, values, strict=True):
        trace.write(v, value)


def captures(*bodies: Body) -> list[Tensor]:
    found: dict[Any, Tensor] = {}
    for body in bodies:
        for c in body.captures:
            found.setdefault(c.data, c)
    return list(found.values())


def _results(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


# -- branches ----------------------------------------------------------------------------------------
@keras_op
def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """`true_fn()` if `pred` holds, else `false_fn()`; both must return the same structure.

    >>> from graphkeras import ops
    >>> ops.cond(True, lambda: 1, lambda: 2)
    1
    """
    known = concrete(pred)
    if known is not None:
        return true_fn() if builtins.bool(known) else false_fn()
    index = cast_to(apply("not", cast_to(reshape_to(to_tensor(pred), ()), "bool")), "int32")
    return _branch(index, [true_fn, false_fn], "cond")


@keras_op
def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`branches[index](*operands)`, the index limited to the branches that exist."""
    known = concrete(index)
    if known is not None:
        return branches[builtins.min(builtins.max(int(known), 0), len(branches) - 1)](*operands)
    where = cast_to(reshape_to(to_tensor(index), ()), "int32")
    where = apply("minimum", apply("maximum", where, 0), len(branches) - 1)
    return _branch(where, [lambda b=b: b(*operands) for b in branches], "switch")


def _branch(index: Tensor, branches: Sequence[Callable[[], Any]], what: str) -> Any:
    structures: list[Structure] = []

    def run(fn: Callable[[], Any]) -> list[Tensor]:
        structures.append(Structure(fn()))
        return structures[-1].tensors

    def trace_all(variables: list[Variable]) -> list[Body]:
        structures.clear()
        return [Body(lambda fn=fn: run(fn), (), variables) for fn in branches]

    variables, bodies = _settled(trace_all)
    first = structures[0]
    for other in structures[1:]:
        tree.assert_same_structure(first.value, other.value)
        if other.types != first.types:
            raise ValueError(
                f"{what}: all branches must return tensors of the same shapes and dtypes; received "
                f"{[str(t) for t in first.types]} and {[str(t) for t in other.types]}"
            )
    consts = captures(*bodies)
    graphs = tuple(b.graph(f"{what} branch {i}", len(variables), consts) for i, b in enumerate(bodies))
    n = len(first.tensors)
    if not n and not variables:
        return first.value
    found = _results(apply("cond", index, *_values(variables), *consts, branches=graphs))
    _write(variables, found[n:])
    return first.build(found[:n])


# -- loops -------------------------------------------------------------------------------------------
@keras_op
def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: Any = None
) -> Any:
    """Repeats `loop_vars = body(*loop_vars)` while `cond(*loop_vars)` holds. Shapes and dtypes must stay.

    Differentiable. The gradient keeps some states of the loop and runs it again between them, so that its memory does
    not depend on the number of steps; with few `maximum_iterations` (256 at most) it keeps all.

    >>> from graphkeras import ops
    >>> ops.while_loop(lambda i: i < 5, lambda i: i + 1, [0])
    [<Tensor shape=(), dtype=int32, value=5>]
    """
    single = not isinstance(loop_vars, (list, tuple))
    state = (loop_vars,) if single else loop_vars
    result = _while(cond, body, state, maximum_iterations)
    return result[0] if single else result


def _as_arguments(value: Any, like: Any) -> Any:
    """What a body returned, as the sequence of loop variables."""
    if isinstance(value, (list, tuple)) and len(value) == len(like):
        return type(like)(value) if isinstance(like, (list, tuple)) and not hasattr(like, "_fields") else value
    return type(like)([value]) if len(like) == 1 else value


def _holds(condition: Any) -> Tensor:
    """A condition as one bool; of several all must hold."""
    found = cast_to(to_tensor(condition), "bool")
    return reduce("reduce_and", found, tuple(range(len(found.shape)))) if found.shape else found


def _while(cond: Callable[..., Any], body: Callable[..., Any], state: Any, maximum: Any) -> Any:
    start = Structure(state)
    if current_trace() is None:
        values, rounds = start.build(start.tensors), 0
        while _holds(cond(*values)).numpy() and (maximum is None or rounds < int(maximum)):
            values = start.build(_like(Structure(_as_arguments(body(*values), state)), start.types, "while_loop"))
            rounds += 1
        return values
    counter = [] if maximum is None else [to_tensor(0, "int32")]
    limit = None if maximum is None else to_tensor(maximum, "int32")
    carry = [*start.tensors, *counter]
    types = [TensorType(t.shape, t.dtype) for t in carry]
    n = len(start.tensors)

    def test(*tensors: Tensor) -> list[Tensor]:
        holds = _holds(cond(*start.build(tensors[:n])))
        return [holds if limit is None else apply("and", holds, apply("lt", tensors[n], limit))]

    def step(*tensors: Tensor) -> list[Tensor]:
        after = Structure(_as_arguments(body(*start.build(tensors[:n])), state))
        return [*_like(after, start.types, "while_loop"), *(apply("add", t, 1) for t in tensors[n:])]

    count = len(carry)
    variables, (steps,) = _settled(lambda found: [Body(step, types, found, count)])
    tests = Body(lambda *tensors: test(*tensors[:count]), [*types, *map_types(variables)])
    if tests.written:
        raise ValueError(f"while_loop: the condition assigns variable {tests.written[0].path!r}; only the body may")
    consts = captures(tests, steps)
    carries = count + len(variables)
    graphs = {
        "cond": tests.graph("while condition", carries, consts),
        "body": steps.graph("while body", carries, consts),
    }
    known = None if maximum is None else concrete(maximum)
    bound = 0 if known is None else int(known)
    found = _results(apply("while", *carry, *_values(variables), *consts, carries=carries, bound=bound, **graphs))
    _write(variables, found[count:])
    return start.build(found[:n])


@keras_op
def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """`for i in range(lower, upper): value = body_fun(i, value)`. Differentiable; cheaper with known bounds."""
    low, high = concrete(lower), concrete(upper)
    if low is None or high is None:
        first = cast_to(to_tensor(lower), "int32")
        last = cast_to(to_tensor(upper), "int32")
        loop = (lambda i, v: apply("lt", i, last)), (lambda i, v: (apply("add", i, 1), body_fun(i, v)))
        return _while(*loop, (first, init_val), None)[1]
    if current_trace() is None:
        value = init_val
        for i in range(int(low), int(high)):
            value = body_fun(to_tensor(i), value)
        return value
    steps = np.arange(int(low), int(high), dtype="int32")
    return scan(lambda v, i: (body_fun(i, v), None), init_val, steps)[0]


@keras_op
def scan(
    f: Callable[[Any, Any], Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: Any = 1,
) -> Any:
    """Runs `carry, y = f(carry, x)` over the leading axis of xs; returns the last carry and all y stacked.

    xs: any structure of tensors, or None with `length`. Differentiable. `unroll` is accepted and ignored.

    >>> from graphkeras import ops
    >>> ops.scan(lambda c, x: (c + x, c * x), 0.0, ops.arange(3.0))
    (<Tensor shape=(), dtype=float32, value=3.>, <Tensor shape=(3,), dtype=float32, value=[0. 0. 2.]>)
    """
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ValueError(f"`unroll` must be an positive integer or boolean. Received: unroll={unroll}")
    if xs is None and length is None:
        raise ValueError(f"Got no `xs` to scan over and `length` not provided. Received: xs={xs}, length={length}")
    start, rows = Structure(init), Structure(xs)
    sizes = {t.shape[0] if t.shape else -1 for t in rows.tensors} | ({int(length)} if length is not None else set())
    if len(sizes) != 1 or -1 in sizes:
        raise ValueError(
            f"scan: all of `xs` must have the same leading dimension, equal to `length`; received shapes "
            f"{[t.shape for t in rows.tensors]} and length={length}"
        )
    n = sizes.pop()
    if current_trace() is None:
        return _scan_values(f, start, rows, n, reverse)
    return _scan_traced(f, start, rows, n, reverse)


def _row(t: Tensor, i: int) -> Tensor:
    return Tensor(np.asarray(t.numpy()[i])) if not t.is_traced else reshape_to(part(t, 0, i, i + 1), t.shape[1:])


def _scan_values(f: Callable[[Any, Any], Any], start: Structure, rows: Structure, n: int, reverse: bool) -> Any:
    carry = start.build(start.tensors)
    found: list[Structure] = []
    for i in range(n - 1, -1, -1) if reverse else range(n):
        carry, y = f(carry, rows.build([_row(t, i) for t in rows.tensors]))
        carry = start.build(_like(Structure(carry), start.types, "scan"))
        found.append(Structure(y))
    if not found:
        _, _, like, types = traced_body(f, start, rows)
        return carry, like.build([full_of((0, *t.shape), 0, t.dtype) for t in types])
    if reverse:
        found.reverse()
    stacked = [Tensor(np.stack([y.tensors[j].numpy() for y in found])) for j in range(len(found[0].tensors))]
    return carry, found[0].build(stacked)


def traced_body(
    f: Callable[[Any, Any], Any], start: Structure, rows: Structure
) -> tuple[list[Variable], Body, Structure, list[TensorType]]:
    kept: list[Structure] = []
    n = len(start.tensors)

    def body(*tensors: Tensor) -> list[Tensor]:
        carry, y = f(start.build(tensors[:n]), rows.build(tensors[n:]))
        kept.append(Structure(y))
        return [*_like(Structure(carry), start.types, "scan"), *kept[-1].tensors]

    types = [*start.types, *(TensorType(t.shape[1:], t.dtype) for t in rows.tensors)]
    variables, (traced,) = _settled(lambda found: [Body(body, types, found, n, n)])
    return variables, traced, kept[-1], kept[-1].types


def _scan_traced(f: Callable[[Any, Any], Any], start: Structure, rows: Structure, n: int, reverse: bool) -> Any:
    variables, body, ys, types = traced_body(f, start, rows)
    own = len(start.tensors)
    carries = own + len(variables)
    if n == 0:
        return start.build(start.tensors), ys.build([full_of((0, *t.shape), 0, t.dtype) for t in types])
    consts = captures(body)
    if not body.outputs:
        return start.value, ys.value
    found = _results(
        apply(
            "scan",
            *start.tensors,
            *_values(variables),
            *consts,
            *rows.tensors,
            body=body.graph("scan body", carries, consts),
            carries=carries,
            consts=len(consts),
            length=n,
            reverse=bool(reverse),
        )
    )
    _write(variables, found[own:carries])
    return start.build(found[:own]), ys.build(found[carries:])
