"""Tracing: running Python once to record the graph, and the one function through which every primitive goes.

`apply("add", x, y)` computes at once on concrete tensors (NumPy reference, no compiler) and records a node when an
argument is traced. A Trace holds the graph being built: its inputs, the variables it read and their new values.
Traces nest: the body of a scan is traced in a Trace of its own, which captures the outer tensors it uses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from graphkeras.core.tensor import Tensor
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import conform
from graphkeras.ir.node import Node, Origin
from graphkeras.ir.op import get_op
from graphkeras.ir.types import TensorType, is_inexact, type_of

if TYPE_CHECKING:
    from graphkeras.core.variable import Variable

_state = threading.local()


class TraceError(RuntimeError):
    """A traced tensor was used where it cannot be."""


class ValueRequested(TraceError, ValueError):
    """Python asked for the value of a traced tensor in a trace that has no values."""


def current_trace() -> Trace | None:
    """The innermost Trace being recorded, or None in eager code."""
    stack = getattr(_state, "stack", None)
    return stack[-1] if stack else None


def is_live(tensor: Any) -> bool:
    """False for a traced tensor whose trace has ended: it has no meaning any more."""
    trace = getattr(tensor, "trace", None)
    return trace is None or trace in (getattr(_state, "stack", None) or ())


@contextmanager
def eager() -> Iterator[None]:
    """Leave all traces for a while (to create a variable's first value, say)."""
    before = getattr(_state, "stack", None)
    _state.stack = []
    try:
        yield
    finally:
        _state.stack = before or []


class Trace:
    """One graph being recorded. Use as a context manager; `finish` gives the Graph.

    Graph inputs, in order: those made by `input`, then variables in the order of their first reading, then captures.
    """

    is_eager = False  # whether every recorded tensor has a value that Python may ask for

    def __init__(self) -> None:
        self.builder = Builder()
        self.parent: Trace | None = None
        self.watches = 0  # tensors made to take gradients for
        self.stopped = 0  # inside of so many GradientTape.stop_recording()
        self.requested = False  # whether Python asked for a value that the trace could not give
        self.ended = False
        self.inputs: list[Node] = []
        self.reads: dict[Variable, Node] = {}
        self.values: dict[Variable, Tensor] = {}  # current value of every variable read or assigned
        self.captures: dict[Node, tuple[Tensor, Node]] = {}
        self.created: list[Variable] = []  # while it was recorded

    def __enter__(self) -> Trace:
        self.parent = current_trace()
        if not hasattr(_state, "stack"):
            _state.stack = []
        if self.parent is not None and self.parent.builder is not self.builder:
            self.builder.begin_in(self.parent.builder.current_origin)
        _state.stack.append(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        popped = _state.stack.pop()
        assert popped is self
        self.ended = not self.is_eager

    # -- inputs ------------------------------------------------------------------------------------
    def input(self, type: TensorType, name: str = "") -> Tensor:
        node = self.builder.input(type, name or f"arg{len(self.inputs)}")
        self.inputs.append(node)
        return Tensor(node, self)

    def lift(self, x: Any, dtype: str | None = None) -> Node:
        """The node of any tensor-like value in this trace: its own node, a captured outer one, or a constant."""
        if isinstance(x, Tensor) and x.trace is not None:
            return x.data if x.trace is self else self._capture(x)  # type: ignore[return-value]
        if isinstance(x, Tensor):
            return self._constant(x.data)  # type: ignore[arg-type]
        if hasattr(x, "read_value"):  # a Variable
            return self.lift(x.read_value())
        if hasattr(x, "__array__"):
            return self._constant(np.asarray(x))
        return self.builder.const(x, dtype)

    def _constant(self, array: np.ndarray) -> Node:
        if array.size > 1 and (array == array.flat[0]).all():
            scalar = self.builder.const(array.flat[0])
            return self.builder.emit("broadcast_to", scalar, shape=tuple(array.shape))
        return self.builder.const(array)

    def _capture(self, x: Tensor) -> Node:
        if x.data in self.captures:
            return self.captures[x.data][1]  # type: ignore[index]
        if not self._encloses(x.trace):
            if x.trace.is_eager:
                return self._constant(x.numpy())
            raise _outlived(x)
        node = self.builder.input(x.data.type, f"capture{len(self.captures)}")  # type: ignore[union-attr]
        self.captures[x.data] = (x, node)  # type: ignore[index]
        return node

    def _encloses(self, other: Any) -> bool:
        trace = self.parent
        while trace is not None:
            if trace is other:
                return True
            trace = trace.parent
        return False

    # -- variables ---------------------------------------------------------------------------------
    def read(self, variable: Variable) -> Tensor:
        """The variable's current value inside this trace."""
        if variable in self.values:
            return self.values[variable]
        if self.parent is not None:
            return self.parent.read(variable)
        node = self.builder.input(TensorType(tuple(variable.shape), variable._dtype), variable.path)
        self.reads[variable] = node
        self.values[variable] = Tensor(node, self)
        return self.values[variable]

    def write(self, variable: Variable, value: Tensor) -> None:
        """Record an assignment; the new value is an output of the graph."""
        if self.parent is not None and not isinstance(self, ScratchTrace):
            raise TraceError(
                f"variable {variable.path!r} is assigned inside the body of scan, while_loop, cond or map. "
                "Carry the new value through the loop's state and assign it after the loop."
            )
        self.values[variable] = value

    @property
    def writes(self) -> dict[Variable, Tensor]:
        """Variables whose value at the end is not the one that was read."""
        return {v: t for v, t in self.values.items() if v not in self.reads or t.data is not self.reads[v]}

    def made(self, node: Node) -> None:
        """Called for every recorded op that its data can make fail."""

    # -- end ---------------------------------------------------------------------------------------
    def finish(self, outputs: Sequence[Any], name: str = "graph") -> Graph:
        """The graph of `outputs`; `reads` and `captures` say what its inputs after the explicit ones are."""
        nodes = [self.lift(o) for o in outputs]
        inputs = [*self.inputs, *self.reads.values(), *(n for _, n in self.captures.values())]
        return Graph(inputs, nodes, name)

    def concrete_value(self, tensor: Tensor) -> np.ndarray:
        """The value of a traced tensor, where Python asks for one."""
        self.check_live(tensor)
        self.requested = True
        inside = "" if self.parent is None else " inside a function given to scan, while_loop, cond or map"
        raise ValueRequested(
            f"Python asked for the value of a traced tensor (shape {tensor.shape}, dtype {tensor.dtype}){inside}, in "
            f"{tensor.data.origin}. There are no values here: use ops.cond, ops.where, "  # type: ignore[union-attr]
            "ops.while_loop or ops.fori_loop for decisions on values, or compile(..., run_eagerly=True)."
        )

    def check_live(self, tensor: Tensor) -> None:
        """Refuse to give a value when the run that had it is over."""
        if self.ended:
            raise _outlived(tensor)

    @property
    def gives_values(self) -> bool:
        """Whether values can be had here, if need be by tracing once more; not in shape inference and loop bodies."""
        return self.parent is None

    def text(self, tensor: Tensor) -> str:
        """What the user's `print(tensor)` shows."""
        if self.ended or not self.gives_values:
            return repr(tensor)
        return repr(Tensor(self.concrete_value(tensor)))

    def concrete_bool(self, tensor: Tensor) -> bool:
        """What `if tensor:` sees."""
        check_single(tensor)
        return bool(self.concrete_value(tensor))

    def concrete_int(self, tensor: Tensor) -> int:
        """What `int(tensor)` gives."""
        return int(self.concrete_value(tensor))


def _outlived(tensor: Tensor) -> TraceError:
    return TraceError(
        f"a traced tensor ({tensor!r}) was kept and used after its trace had ended. Return it from the traced "
        "function, or store it in a Variable with assign(), instead of keeping it in an attribute or a list."
    )


def check_single(tensor: Tensor) -> None:
    """Refuse a truth value of several elements."""
    if tensor.size != 1:
        raise ValueError(
            f"The truth value of a tensor of shape {tensor.shape} is ambiguous. Use ops.any() or ops.all() to decide "
            "for the whole tensor, ops.where() to choose element by element, ops.cond() to choose in the graph."
        )


class ScratchTrace(Trace):
    """A trace whose graph is thrown away: shape inference. Assignments are allowed and forgotten."""

    gives_values = False  # type: ignore[assignment]


CAN_FAIL = frozenset({"take", "take_along_axis", "sparse_softmax_crossentropy"})  # by an index out of range
ALWAYS_RECORDED = frozenset({"broadcast_to", "iota"})  # cheap as nodes, large as constants


def apply(op: str, *args: Any, **attrs: Any) -> Any:
    """Apply one IR primitive to tensors (also variables, arrays, Python numbers, which take the dtype of the others).

    Returns a Tensor, or a tuple of them for an op with several results. Dtypes must already agree where the op's record
    wants it: promotion is the public ops' business.
    """
    trace = current_trace()
    traced = trace is not None and (op in ALWAYS_RECORDED or any(_is_traced(a) for a in args))
    if traced:
        assert trace is not None
        return _record(trace, op, args, attrs)
    return _compute(op, args, attrs)


def _is_traced(x: Any) -> bool:
    if isinstance(x, Tensor):
        return x.trace is not None
    return hasattr(x, "read_value")  # a Variable inside a trace


def _record(trace: Trace, op: str, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
    dtype = _scalar_dtype(args)
    nodes = [trace.lift(a, dtype) for a in args]
    if op in CAN_FAIL:
        with trace.builder.origin(_here(trace)):
            node = trace.builder.emit(op, *nodes, **attrs)
        trace.made(node)
    else:
        node = trace.builder.emit(op, *nodes, **attrs)
    if isinstance(node.type, tuple):
        return tuple(_result(trace, trace.builder.item(node, i)) for i in range(len(node.type)))
    return _result(trace, node)


def _here(trace: Trace) -> Origin:
    """The origin with the user's line, for an error in a run that comes later."""
    from graphkeras.core.errors import user_place

    file, line = user_place()
    return trace.builder.current_origin._replace(file=file, line=line)


def _result(trace: Trace, node: Node) -> Tensor:
    if trace.stopped and is_inexact(node.dtype):
        node = trace.builder.emit("stop_gradient", node)
    return Tensor(node, trace)


def _compute(op: str, args: Sequence[Any], attrs: dict[str, Any]) -> Any:
    if all(type(a) is Tensor for a in args):  # nearly always: the public ops have converted and promoted
        arrays = [a.data if a.trace is None else a.numpy() for a in args]
    else:
        dtype = _scalar_dtype(args)
        arrays = [_array(a, dtype) for a in args]
    record = get_op(op)
    expected = record.infer(*[type_of(a) for a in arrays], **attrs)
    with np.errstate(all="ignore"):
        result = conform(record.reference(*arrays, **attrs), expected)
    if isinstance(result, tuple):
        return tuple(Tensor(r) for r in result)
    return Tensor(result)


def _scalar_dtype(args: Sequence[Any]) -> str | None:
    """The dtype that Python numbers among the arguments take."""
    dtypes = [str(a.dtype) for a in args if hasattr(a, "dtype")]
    return next((d for d in dtypes if d != "bool"), dtypes[0] if dtypes else None)


def _array(x: Any, dtype: str | None) -> np.ndarray:
    if isinstance(x, Tensor):
        return x.numpy()
    if hasattr(x, "read_value"):
        return x.read_value().numpy()
    if hasattr(x, "__array__"):
        return np.asarray(x)
    from graphkeras.ir.types import numpy_dtype

    return np.asarray(x, dtype=None if dtype is None else numpy_dtype(dtype))


@contextmanager
def origin(layer: str | None = None, phase: str | None = None) -> Iterator[None]:
    """Nodes recorded inside belong to this layer path and phase of the step (no effect in eager code)."""
    trace = current_trace()
    if trace is None:
        yield
        return
    now = trace.builder.current_origin
    changed = Origin(now.layer if layer is None else layer, now.file, now.line, now.phase if phase is None else phase)
    with trace.builder.origin(changed):
        yield


def trace_function(fn: Callable[..., Any], types: Sequence[TensorType], name: str = "graph") -> tuple[Trace, Any]:
    """Run `fn` on fresh traced inputs; returns the trace and what `fn` returned."""
    with Trace() as trace:
        result = fn(*(trace.input(t) for t in types))
    return trace, result
