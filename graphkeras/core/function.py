"""Function: a graph of operations between given symbolic inputs and outputs, callable on tensors."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from graphkeras.core import tree
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.operation import Node, Operation
from graphkeras.core.shapes import shapes_match


class Function(Operation):
    """The operations between `inputs` and `outputs` as one operation.

    Args:
        inputs, outputs: KerasTensors, or nested structures of them.
        name: string.

    Example:

    >>> import graphkeras as keras
    >>> a, b = keras.KerasTensor((2,)), keras.KerasTensor((2,))
    >>> f = keras.Function([a, b], a * 2 + b)
    >>> f([keras.ops.ones((2,)), keras.ops.ones((2,))]).tolist()
    [3.0, 3.0]
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        self._inputs_struct = tree.map_structure(lambda x: x, inputs)
        self._outputs_struct = tree.map_structure(lambda x: x, outputs)
        self._inputs: list[KerasTensor] = tree.flatten(inputs)
        self._outputs: list[KerasTensor] = tree.flatten(outputs)
        for what, found in (("inputs", self._inputs), ("outputs", self._outputs)):
            if not found:
                raise ValueError(f"`{what}` argument cannot be empty. Received:\ninputs={inputs}\noutputs={outputs}")
        graph = map_graph(self._inputs, self._outputs)
        self._nodes, self._nodes_by_depth, self._operations, self._operations_by_depth = graph
        self._check_connected()

    @property
    def operations(self) -> list[Any]:
        return self._operations[:]

    @property
    def inputs(self) -> list[KerasTensor]:
        return self._inputs

    @property
    def outputs(self) -> list[KerasTensor]:
        return self._outputs

    def _ordered_nodes(self) -> list[Node]:
        """The nodes that compute something, inputs first."""
        by_depth = self._nodes_by_depth
        return [n for depth in sorted(by_depth, reverse=True) for n in by_depth[depth] if not n.is_input]

    def _check_connected(self) -> None:
        given = {id(x) for x in self._inputs}
        known = set(given)
        for node in self._ordered_nodes():
            if all(id(x) in known for x in node.input_tensors):
                known |= {id(x) for x in node.outputs}
        for path, x in tree.flatten_with_path(self._outputs_struct):
            if id(x) not in known:
                missing = [n.operation.name for n in self._nodes if n.is_input and id(n.outputs[0]) not in given]
                output = f"Output with path `{'.'.join(map(str, path))}`" if path else "The output"
                raise ValueError(
                    f"{output} is not connected to `inputs`. It also depends on "
                    f"inputs that are not among them: {missing}. Add them to `inputs`."
                )

    def compute_output_spec(self, inputs: Any) -> Any:
        self._assert_input_compatibility(inputs)
        flat = tree.flatten(inputs)
        if all(x is not None and tuple(x.shape) == r.shape for x, r in zip(flat, self._inputs, strict=True)):
            return tree.map_structure(lambda x: KerasTensor(x.shape, x.dtype), self._outputs_struct)
        return self._run_through_graph(flat, operation_fn=lambda op: op.compute_output_spec)

    def compute_output_shape(self, input_shape: Any) -> Any:
        dtypes = iter(self._inputs)
        inputs = tree.map_shape_structure(lambda s: KerasTensor(s, next(dtypes).dtype), input_shape)
        return tree.map_structure(lambda x: x.shape, self.compute_output_spec(inputs))

    def call(self, inputs: Any) -> Any:
        self._assert_input_compatibility(inputs)
        return self._run_through_graph(inputs)

    def _run_through_graph(
        self,
        inputs: Any,
        operation_fn: Callable[[Any], Callable[..., Any]] = lambda op: op,
        call_fn: Callable[..., Any] | None = None,
    ) -> Any:
        """Run each operation on the values of its inputs.

        operation_fn: gives for an operation what to call in its place.
        call_fn: if given, calls it: `call_fn(operation_fn(op), *args, **kwargs)`.
        """
        values = {id(x): y for x, y in zip(self._inputs, tree.flatten(inputs), strict=True)}
        for node in self._ordered_nodes():
            if any(id(x) not in values for x in node.input_tensors):
                continue  # belongs to another graph which shares the operation
            args, kwargs = node.arguments.fill_in(values)
            op = operation_fn(node.operation)
            outputs = op(*args, **kwargs) if call_fn is None else call_fn(op, *args, **kwargs)
            values.update((id(x), y) for x, y in zip(node.outputs, tree.flatten(outputs), strict=True))
        return tree.pack_sequence_as(self._outputs_struct, [values[id(x)] for x in self._outputs])

    def _assert_input_compatibility(self, inputs: Any) -> None:
        try:
            tree.assert_same_structure(inputs, self._inputs_struct)
        except ValueError:
            raise ValueError(
                f"Function '{self.name}' was called with an invalid input structure. Expected input structure: "
                f"{self._inputs_struct}\nReceived input structure: {inputs}"
            ) from None
        for x, reference in zip(tree.flatten(inputs), self._inputs, strict=True):
            if not shapes_match(x.shape, reference.shape):
                raise ValueError(
                    f"{type(self).__name__} '{self.name}' was passed incompatible inputs. For input "
                    f"'{reference.name}', expected shape {reference.shape}, but received instead a tensor with shape "
                    f"{tuple(x.shape)}."
                )


def map_graph(
    inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]
) -> tuple[set[Node], dict[int, list[Node]], list[Any], dict[int, list[Any]]]:
    """The graph between tensors: its nodes, nodes by depth, operations in order, operations by depth.

    Depth is the longest way from a node to an output. Operations are ordered by falling depth, then by the order in
    which a search from the outputs meets them: this order is that of `model.layers` and of weights.
    """
    ordered, first_met = collect_nodes(inputs, outputs)
    members = set(ordered)
    node_depth: dict[Node, int] = {}
    op_depth: dict[Any, int] = {}
    for node in reversed(ordered):
        depth = max(node_depth.get(node, 0), op_depth.get(node.operation, 0))
        node_depth[node] = op_depth[node.operation] = depth
        for parent in node.parent_nodes:
            if parent in members:
                node_depth[parent] = max(depth + 1, node_depth.get(parent, 0))
    for x in inputs:  # inputs that no output depends on
        op, index, _ = x._keras_history
        if op is not None and op not in op_depth and op._inbound_nodes[index].is_input:
            node = op._inbound_nodes[index]
            op_depth[op] = node_depth[node] = 0
            first_met[op] = -1
            members.add(node)
    nodes_by_depth: dict[int, list[Node]] = defaultdict(list)
    for node, depth in node_depth.items():
        nodes_by_depth[depth].append(node)
    ops_by_depth: dict[int, list[Any]] = defaultdict(list)
    for op, depth in op_depth.items():
        ops_by_depth[depth].append(op)
    operations: list[Any] = []
    for depth in sorted(ops_by_depth, reverse=True):
        ops_by_depth[depth].sort(key=lambda op: first_met[op])
        operations += ops_by_depth[depth]
    _check_computable(inputs, nodes_by_depth)
    _check_names(operations)
    return members, nodes_by_depth, operations, ops_by_depth


def _check_computable(inputs: Sequence[KerasTensor], nodes_by_depth: dict[int, list[Node]]) -> None:
    known = {id(x) for x in inputs}
    passed: list[str] = []
    for depth in sorted(nodes_by_depth, reverse=True):
        for node in nodes_by_depth[depth]:
            for x in node.input_tensors:
                if id(x) not in known:
                    raise ValueError(
                        f"Graph disconnected: cannot find parent for tensor {x} at operation '{node.operation}'. "
                        f"The following previous operations were accessed without issue: {passed}. Is an `Input` "
                        "missing among the model's inputs?"
                    )
            passed.append(node.operation.name)
            known |= {id(x) for x in node.outputs}


def _check_names(operations: Sequence[Any]) -> None:
    for name, times in Counter(op.name for op in operations).items():
        if times > 1:
            raise ValueError(
                f'The name "{name}" is used {times} times in the model. All operation names should be unique.'
            )


def collect_nodes(inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> tuple[list[Node], dict[Any, int]]:
    """Nodes that the outputs depend on, inputs first, and for each operation when a depth-first search met it first.

    The search does not go behind `inputs`.
    """
    input_ids = {id(x) for x in inputs}
    ordered: list[Node] = []
    first_met: dict[Any, int] = {}
    finished: set[Node] = set()
    in_progress: set[Node] = set()
    # Each entry is a tensor to look at, or a node whose inputs have all been looked at.
    stack: list[KerasTensor | Node] = list(reversed(outputs))
    while stack:
        entry = stack.pop()
        if isinstance(entry, Node):
            finished.add(entry)
            in_progress.discard(entry)
            ordered.append(entry)
            continue
        op, index, _ = getattr(entry, "_keras_history", (None, 0, 0))
        if op is None:
            continue
        node = op._inbound_nodes[index]
        if node in finished or (not node.is_input and id(entry) in input_ids):
            continue
        if node in in_progress:
            raise ValueError(f"Tensor {entry} from operation '{op.name}' is part of a cycle.")
        first_met.setdefault(op, len(first_met))
        in_progress.add(node)
        stack.append(node)
        stack += reversed(node.input_tensors)
    return ordered, first_met
