"""GradientTape: record a piece of code, then ask for gradients, inside a compiled step and in eager code alike.

Inside a step everything is recorded anyway. What was recorded before the tape began must not pass gradients on, so in
the tape variables and watched tensors are new nodes of the same value (op "watched"), which nothing before depends on.
In eager code the tape opens a trace of its own, whose values are computed when Python asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.convert import convert_to_tensor
from graphkeras.core.rows import gradient_rows
from graphkeras.core.tensor import Operators, Tensor
from graphkeras.core.trace import Trace, current_trace, eager
from graphkeras.core.variable import Variable
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, count, reachable
from graphkeras.ir.interpreter import apply_reference
from graphkeras.ir.node import Node
from graphkeras.ir.types import TensorType, is_inexact


class EagerTrace(Trace):
    """A trace of code that runs now: every recorded tensor has a value, computed when it is asked for."""

    is_eager = True

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Node, Any] = {}

    def read(self, variable: Variable) -> Tensor:
        new = variable not in self.values
        tensor = super().read(variable)
        if new:
            self.known[self.reads[variable]] = variable._value.copy()
        return tensor

    def watch(self, array: np.ndarray) -> Node:
        """A node that stands for a concrete array."""
        node = self.builder.input(TensorType(tuple(array.shape), array.dtype.name), f"watched{len(self.known)}")
        self.known[node] = array
        return node

    def made(self, node: Node) -> None:
        self._evaluate(node)  # at once, so that an exception comes from the user's line

    def concrete_value(self, tensor: Tensor) -> np.ndarray:
        return self._evaluate(tensor.data)  # type: ignore[arg-type]

    def _evaluate(self, node: Node) -> Any:
        if node not in self.known:
            for n in sorted(reachable([node], stop=set(self.known)), key=lambda n: n.id):
                if n not in self.known:
                    self.known[n] = apply_reference(n, [self.known[i] for i in n.inputs])
        return self.known[node]

    def flush(self) -> None:
        """Give the variables that were assigned in the trace their new values."""
        updates = [(v, self.concrete_value(Tensor(self.lift(t), self))) for v, t in self.writes.items()]
        with eager():
            for variable, value in updates:
                variable.assign(value)


class GradientTape:
    """Records what happens in its `with` block so that gradients of it can be asked for.

    Args:
        persistent: accepted; a tape can always be asked more than once.
        watch_accessed_variables: whether gradients are available for every variable that was read, or only for those
            given to `watch`. The others are then unconnected: None, or zeros where these are asked for.

    Example:

    >>> import graphkeras as keras
    >>> w = keras.Variable(3.0)
    >>> with keras.GradientTape() as tape:
    ...     loss = w * w
    >>> float(tape.gradient(loss, w))
    6.0
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._persistent = persistent
        self._trace: Trace | None = None
        self._own: EagerTrace | None = None
        self._before: dict[Variable, Tensor] = {}  # what variables held when the tape began, as nodes of its own
        self._outside: dict[Variable, Tensor] = {}  # the same as the code around the tape knows it
        self._watched: list[tuple[Tensor, tuple[Any, Any], Node]] = []  # given back when the block ends
        self._leaves: set[Node] = set()
        self._chosen: set[Variable] | None = None if watch_accessed_variables else set()

    def __enter__(self) -> GradientTape:
        self._trace = current_trace()
        if self._trace is None:
            self._own = EagerTrace()
            self._trace = self._own.__enter__()
        self._begin(self._trace)
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._own is not None:
            self._own.__exit__(*exc)
        self._end(self._opened())
        for tensor, (data, trace), _ in self._watched:
            tensor.data, tensor.trace = data, trace
        if self._own is not None and exc[0] is None:
            self._own.flush()

    def _begin(self, trace: Trace) -> None:
        """Give what variables hold nodes of its own."""
        self._before = dict(trace.values)
        for variable, value in self._before.items():
            if self._own is None and is_inexact(str(value.dtype)):
                self._outside[variable] = value
                self._before[variable] = trace.values[variable] = Tensor(self._leaf(trace, trace.lift(value)), trace)

    def _end(self, trace: Trace) -> None:
        for variable, value in self._outside.items():
            if trace.values.get(variable) is self._before[variable]:
                trace.values[variable] = value
        self._outside = {}

    def _leaf(self, trace: Trace, node: Node) -> Node:
        """A new node of the same value."""
        trace.watches += 1
        leaf = trace.builder.emit("watched", node, token=trace.watches)
        self._leaves.add(leaf)
        return leaf

    def watch(self, tensor: Any) -> None:
        """Make gradients with respect to these tensors available.

        Variables need it only in a tape with `watch_accessed_variables=False`.
        """
        trace = self._opened()
        for leaf in tree.flatten(tensor):
            if isinstance(leaf, Variable):
                if self._chosen is not None:
                    self._chosen.add(leaf)
                continue
            if not isinstance(leaf, Tensor):
                raise ValueError(
                    f"GradientTape.watch() takes tensors. Received: {leaf!r} (of type {type(leaf).__name__}). "
                    "Convert it with ops.convert_to_tensor() first and use the result in the computation."
                )
            if isinstance(trace, EagerTrace) and leaf.trace is None:
                node = trace.watch(leaf.data)  # type: ignore[arg-type]
                self._leaves.add(node)
            else:
                node = self._leaf(trace, trace.lift(leaf))
            self._watched.append((leaf, (leaf.data, leaf.trace), node))
            leaf.data, leaf.trace = node, trace

    def tensor(self, value: Any) -> Tensor:
        """A new tensor of the same value that gradients can be asked for; `value` stays as it is.

        Gradients with respect to it leave out what is computed from `value` itself.
        """
        trace = self._opened()
        tensor = convert_to_tensor(value)
        if isinstance(trace, EagerTrace) and tensor.trace is None:
            tensor = Tensor(tensor.data)
            self.watch(tensor)
            return tensor
        return Tensor(self._leaf(trace, trace.lift(tensor)), trace)

    def gradient(
        self, target: Any, sources: Any, output_gradients: Any = None, unconnected_gradients: str = "none"
    ) -> Any:
        """Gradients of the sum of `target` with respect to `sources`, in their structure.

        Args:
            target: tensor or structure of tensors computed in the tape.
            sources: variables or tensors, in any structure.
            output_gradients: weights of the elements of `target`; default ones.
            unconnected_gradients: what stands for "does not depend on it": "none" or "zero".
        """
        if unconnected_gradients not in ("none", "zero"):
            raise ValueError(f"`unconnected_gradients` must be 'none' or 'zero'. Received: {unconnected_gradients!r}")
        trace = self._opened()
        leaves = tree.flatten(sources)
        nodes = [self._node(trace, s) for s in leaves]
        outputs = [trace.lift(t) for t in tree.flatten(target)]
        for output in outputs:
            if not is_inexact(output.type.dtype):
                raise ValueError(f"GradientTape.gradient() needs a float target. Received dtype {output.type.dtype}.")
        weights = None
        if output_gradients is not None:
            given = tree.flatten(output_gradients) if tree.is_nested(target) else [output_gradients]
            weights = [
                None if g is None else trace.lift(convert_to_tensor(g, dtype=o.type.dtype))
                for g, o in zip(given, outputs, strict=True)
            ]
        found = gradients(trace.builder, outputs, [n for n in nodes if n is not None], weights)
        results = iter(found)
        flat = [None if n is None else next(results) for n in nodes]
        return tree.pack_sequence_as(sources, self._tensors(trace, leaves, flat, unconnected_gradients))

    def jacobian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: str = "none",
        parallel_iterations: int | None = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """All first derivatives of one tensor: for each source a tensor of shape `target.shape + source.shape`.

        Args:
            target: float tensor computed in the tape.
            sources, unconnected_gradients: as for `gradient`.
            parallel_iterations, experimental_use_pfor: accepted; rows are computed by one compiled loop.

        Example:

        >>> import graphkeras as keras
        >>> w = keras.Variable([1.0, 2.0])
        >>> with keras.GradientTape() as tape:
        ...     y = w * w
        >>> tape.jacobian(y, w).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
        """
        trace = self._opened()
        output = self._single_target(trace, target, "jacobian")
        b, size = trace.builder, count(output.shape)
        weights = b.reshape(_identity(b, size, output.dtype), shape=(size, *output.shape))
        return self._rows(trace, output, sources, weights, unconnected_gradients, output.shape)

    def batch_jacobian(
        self,
        target: Any,
        source: Any,
        unconnected_gradients: str = "none",
        parallel_iterations: int | None = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """`jacobian` for each sample: shape `(batch, *target.shape[1:], *source.shape[1:])`.

        target, source: tensors with the batch in front; `target[i]` may depend on `source[i]` only.
        """
        trace = self._opened()
        output = self._single_target(trace, target, "batch_jacobian")
        if not output.shape or tuple(source.shape[:1]) != output.shape[:1]:
            raise ValueError(
                f"batch_jacobian() needs target and source of equal first extent. Received shapes {output.shape} and "
                f"{tuple(source.shape)}."
            )
        b, size = trace.builder, count(output.shape[1:])
        rows = b.reshape(_identity(b, size, output.dtype), shape=(size, 1, *output.shape[1:]))
        weights = b.broadcast_to(rows, shape=(size, *output.shape))
        result = self._rows(trace, output, source, weights, unconnected_gradients, (size,))
        if result is None:
            return None
        from graphkeras import ops

        return ops.reshape(ops.swapaxes(result, 0, 1), (*output.shape, *source.shape[1:]))

    def _single_target(self, trace: Trace, target: Any, method: str) -> Node:
        output = None if tree.is_nested(target) else trace.lift(target)
        if output is None or not is_inexact(output.type.dtype):
            raise ValueError(f"GradientTape.{method}() needs one float tensor as target. Received: {target!r}")
        return output

    def _rows(self, trace: Trace, output: Node, sources: Any, weights: Node, absent: str, shape: Any) -> Any:
        leaves = tree.flatten(sources)
        nodes = [self._node(trace, s) for s in leaves]
        found = iter(gradient_rows(trace.builder, output, [n for n in nodes if n is not None], weights))
        flat: list[Any] = [None if n is None else next(found) for n in nodes]
        tensors = self._tensors(trace, leaves, flat, absent)
        results = []
        for tensor, node, source in zip(tensors, flat, leaves, strict=True):
            if node is None and tensor is not None:
                tensor = Tensor(np.zeros((*shape, *source.shape), dtype=_dtype(source)))
            results.append(tensor if tensor is None else tensor.reshape((*shape, *source.shape)))
        return tree.pack_sequence_as(sources, results)

    def reset(self) -> None:
        """Forget everything recorded so far: what was computed before counts as constant from now on."""
        trace = self._opened()
        self._end(trace)
        self._begin(trace)
        self._watched = []
        if self._chosen is not None:
            self._chosen = set()

    def watched_variables(self) -> tuple[Variable, ...]:
        """The variables that have been read, of those that gradients are available for."""
        return tuple(v for v in self._opened().reads if self._watches(v))

    def _watches(self, variable: Variable) -> bool:
        return self._chosen is None or variable in self._chosen

    def _tensors(self, trace: Trace, sources: Sequence[Any], nodes: Sequence[Node | None], absent: str) -> list[Any]:
        done = self._own is not None and current_trace() is not self._own
        results: list[Any] = []
        for source, node in zip(sources, nodes, strict=True):
            if node is None:
                results.append(Tensor(np.zeros(source.shape, dtype=_dtype(source))) if absent == "zero" else None)
                continue
            tensor = Tensor(node, trace)
            results.append(Tensor(tensor.numpy()) if done else tensor)
        return results

    def _node(self, trace: Trace, source: Any) -> Node | None:
        if isinstance(source, Variable):
            if not self._watches(source):
                return None
            before = self._before.get(source)
            if before is not None:
                return trace.lift(before)
            return trace.reads.get(source)
        for tensor, _, node in self._watched:
            if tensor is source:
                return node
        if isinstance(source, Tensor) and source.trace is trace:
            return source.data if self._has_recorded(trace, source.data) else None  # type: ignore[return-value,arg-type]
        if isinstance(source, Operators):
            return None
        raise ValueError(f"GradientTape.gradient() takes variables and tensors as sources. Received: {source!r}")

    def _has_recorded(self, trace: Trace, node: Node) -> bool:
        """Whether a value that nobody watched was computed in the tape, from something that the tape knows."""
        if self._own is not None:
            return True
        known = self._leaves | {n for v, n in trace.reads.items() if v not in self._before}
        return not known.isdisjoint(reachable([node]))

    def _opened(self) -> Trace:
        if self._trace is None:
            raise RuntimeError("GradientTape was used before its `with` block began.")
        return self._trace

    def stop_recording(self) -> Any:
        """Context manager whose contents are computed outside the tape."""
        return _Stopped(self._opened())


class _Stopped:
    """What is recorded inside does not pass gradients on."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def __enter__(self) -> None:
        self.trace.stopped += 1

    def __exit__(self, *exc: Any) -> None:
        self.trace.stopped -= 1


def _identity(b: Builder, size: int, dtype: str) -> Node:
    rows, columns = (b.iota(shape=(size, size), dtype="int32", axis=axis) for axis in (0, 1))
    return b.cast(b.eq(rows, columns), dtype=dtype)


def _dtype(source: Any) -> Any:
    from graphkeras.ir.types import numpy_dtype

    return numpy_dtype(str(source.dtype))
