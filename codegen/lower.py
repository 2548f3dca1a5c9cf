"""Graph -> instructions: views for values, kernels for groups, destinations for results.

`Lowering.graph` lowers a graph whose inputs already have views and returns the views of its outputs; control flow
calls it again for bodies. Templates register themselves with `@lowers("op")` and get (ctx, group); see
`codegen/kernel.py` for what they produce and `codegen/body.py` for the epilogue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.body import Body
from graphkeras.codegen.fuse import Fusion, Group
from graphkeras.codegen.index_maps import (
    FREE_VIEWS,
    epilogue_groups,
    plain_groups,
    readers,
    resolve,
    result_strides,
    row_strides,
    spread,
    squeeze,
)
from graphkeras.codegen.kernel import (
    Buffer,
    Call,
    Copy,
    Instruction,
    Kernel,
    Ptr,
    View,
    Where,
    contiguous_strides,
)
from graphkeras.codegen.target import CPU, Target
from graphkeras.codegen.views import apply_view, collapse
from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.types import is_int, numpy_dtype

_COUNTER = Buffer(0, Where.INDEX, label="index")
Emitter = Callable[["Lowering", Group], None]
Refusal = Callable[[Node], str | None]
_EMITTERS: dict[tuple[str, str], Emitter] = {}
_REFUSALS: dict[tuple[str, str], Refusal] = {}


class LoweringError(NotImplementedError):
    """A graph holds an op that the native code generator does not know; the message names op and layer."""


def lowers(*ops: str, target: str = "cpu", refuses: Refusal | None = None) -> Callable[[Emitter], Emitter]:
    """Register the emitter of template ops (or of the group kinds "map", "row", "column").

    target: name of the Target whose kernels it makes, "any" for what only makes instructions (control flow).
    refuses: of composites; why a node should rather be taken apart into primitives, or None.
    """

    def decorate(fn: Emitter) -> Emitter:
        for op in ops:
            _EMITTERS[target, op] = fn
            if refuses is not None:
                _REFUSALS[target, op] = refuses
        return fn

    return decorate


def emitter_of(name: str, target: Target = CPU) -> Emitter | None:
    if (target.name, name) not in _EMITTERS:
        target.load_templates()  # importing them registers them
    return _EMITTERS.get((target.name, name)) or _EMITTERS.get(("any", name))


def refusal_of(node: Node, target: Target = CPU) -> str | None:
    """Why the template of a composite does not take this node, or None."""
    refuses = _REFUSALS.get((target.name, node.op))
    return refuses(node) if refuses is not None else None


def can_lower(graph: Graph, target: Target = CPU) -> Node | None:
    """The first node that has no native form on the target, or None."""
    from graphkeras.ir.op import Kind, get_op

    for node in graph.nodes:
        kind = get_op(node.op).kind
        if kind in (Kind.POINTWISE, Kind.SOURCE, Kind.REDUCE) or node.op in FREE_VIEWS or node.op == "item":
            continue
        if emitter_of(node.op, target) is None:
            return node
        for value in node.attrs.values():
            inner = (
                [value]
                if isinstance(value, Graph)
                else [v for v in value if isinstance(v, Graph)]
                if isinstance(value, tuple)
                else []
            )
            for body in inner:
                found = can_lower(body, target)
                if found is not None:
                    return found
    return None


class Lowering:
    """State of one program being lowered. Emitters use view, output, temp, const, status and launch."""

    def __init__(self, *, fuse: bool = True, target: Target = CPU) -> None:
        self.fuse, self.target = fuse, target
        self.views: dict[Node, View] = {}
        self.instructions: list[Instruction] = []
        self.groups: list[Group] = []
        self.status = Buffer(32, Where.CONST, data=np.zeros(4, np.int64), label="status")
        self._destinations: dict[Node, View] = {}
        self._consts: dict[Any, Buffer] = {}
        self._features: set[int] = set()  # extents of weights
        self.updated: frozenset[Buffer] = frozenset()  # inputs whose memory takes an output
        self.decisions: list[str] = []  # choices (cpu/choices.py) made for the group that is being lowered
        self.wanted: dict[str, None] | None = None  # sources of candidates, where they are only looked through
        self.may_search = True  # candidates may be measured: not while one is launched to be measured

    # -- for emitters ------------------------------------------------------------------------------
    def view(self, node: Node) -> View:
        """The view of a value that a kernel reads; materialises a strided form where a view cannot say it."""
        found = self.views.get(node)
        if found is not None:
            return found
        if node.op == "const":
            array = node.attrs["value"].array
            view = self.array_view(array)
        elif node.op == "iota":
            n = node.shape[node.attrs["axis"]] if node.shape else 1
            flat = self.array_view(np.arange(n, dtype=numpy_dtype(node.dtype)))
            strides = tuple(1 if a == node.attrs["axis"] and n != 1 else 0 for a in range(len(node.shape)))
            view = replace(flat, shape=node.shape, strides=strides)
        elif node.op in FREE_VIEWS:
            source = self.view(node.inputs[0])
            made = apply_view(node, source)
            view = made if made is not None else self._reshaped_copy(node, source)
        else:
            raise AssertionError(f"value {node!r} is read before it was computed")
        self.views[node] = view
        return view

    def output(self, node: Node, index: int | None = None) -> View:
        """The contiguous view in which a kernel stores `node` (or its result `index`)."""
        if index is None:
            if node not in self.views:
                place = self._destinations.get(node)
                self.views[node] = place if place is not None else self.new(node.type.shape, node.dtype, node.op)
            return self.views[node]
        raise AssertionError("ops with several results store through result()")

    def result(self, node: Node, index: int, items: dict[int, Node]) -> View:
        """Where result `index` of a tuple node goes: the view of its `item` node, or a temporary nobody reads."""
        item = items.get(index)
        type = node.type[index]
        if item is None:
            return self.new(type.shape, type.dtype, node.op)
        return self.output(item)

    def new(self, shape: tuple[int, ...], dtype: str, label: str = "") -> View:
        """A fresh contiguous temporary."""
        nbytes = math.prod(shape) * numpy_dtype(dtype).itemsize
        buffer = Buffer(max(nbytes, 1), Where.ARENA, label=label)
        return View(buffer, dtype, tuple(shape), contiguous_strides(shape))

    def temp(self, nbytes: int, label: str = "") -> Buffer:
        return Buffer(max(nbytes, 1), Where.ARENA, label=label)

    def const(self, array: np.ndarray) -> Buffer:
        """A constant array of the program; equal ones are stored once."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._consts:
            self._consts[key] = Buffer(max(array.nbytes, 1), Where.CONST, data=array, label="const")
        return self._consts[key]

    def array_view(self, array: np.ndarray) -> View:
        return View(self.const(array), array.dtype.name, tuple(array.shape), contiguous_strides(array.shape))

    def is_feature(self, extent: int) -> bool:
        """Whether an extent is one of the model's (channels, classes, units) rather than of the data.

        A kernel may print such a number; a batch size or a sequence length in a source is a compile for each of them.
        """
        return extent in self._features

    def is_rewritten(self, view: View) -> bool:
        """Whether each run of the program writes this memory anew: temporaries, and weights that are updated."""
        return view.buffer.where is Where.ARENA or view.buffer in self.updated

    def launch(self, kernel: Kernel) -> None:
        kernel.choices = tuple(self.decisions) if kernel.nodes else ()
        self.instructions.append(Call(kernel))

    @contextmanager
    def trial(self) -> Iterator[list[Instruction]]:
        """Launches go to the list that this yields; afterwards all is as before."""
        kept = self.instructions, dict(self.views), list(self.decisions), self.may_search
        found: list[Instruction] = []
        self.instructions, self.may_search = found, False
        try:
            yield found
        finally:
            self.instructions, self.views, self.decisions, self.may_search = kept

    def contiguous(self, node: Node) -> View:
        """The value as one contiguous run, copied when it is not."""
        view = self.view(node)
        return view if view.is_contiguous else self.copy(view)

    def copy(self, view: View, target: View | None = None) -> View:
        """Copy a view's elements to `target` (default: a fresh contiguous temporary), unless they are there."""
        target = target or self.new(view.shape, view.dtype, "copy")
        if math.prod(view.shape) and view != target:
            self.launch(self.target.copy_kernel(view, target))
        return target

    # -- graphs ------------------------------------------------------------------------------------
    def graph(self, graph: Graph, inputs: Sequence[View], destinations: Sequence[View | None]) -> list[View]:
        """Lower `graph`; outputs with a destination end up there, the others wherever they are.

        A destination may be the memory of an input (state updated in place): the kernel that computes the output
        writes there directly when nothing reads the old value afterwards, else the result is copied at the end.
        """
        if flags.TUNE.value == "measure" and self.wanted is None and not self.views:
            self._compile_candidates(graph, inputs, destinations)
        saved = self._destinations
        self._destinations = {}
        for node, view in zip(graph.inputs, inputs, strict=True):
            self.views[node] = view
        self._features |= weight_extents(graph)
        early = self._hand_on(graph, inputs, destinations)
        destinations = [None if k in early else d for k, d in enumerate(destinations)]
        groups = Fusion(graph, enabled=self.fuse, sums_rows=self.target.sums_rows).run()
        self.groups += groups
        self._place_outputs(graph, groups, destinations)
        self._place_parts(graph, groups)
        for group in groups:
            self._lower(graph, group)
        results = self._finish(graph, destinations)
        self._destinations = saved
        return [early.get(k, view) for k, view in enumerate(results)]

    def _compile_candidates(self, graph: Graph, inputs: Sequence[View], destinations: Sequence[View | None]) -> None:
        """Before the first graph is lowered: all candidates that will be measured, so that compilers share them."""
        if not self.target.tuning:
            return
        ahead = Lowering(fuse=self.fuse, target=self.target)
        ahead.wanted, ahead.updated = {}, self.updated
        ahead.graph(graph, inputs, destinations)
        self.target.compile_ahead(ahead.wanted)

    def _lower(self, graph: Graph, group: Group) -> None:
        group.stored = stored_nodes(graph, group)
        self.decisions = []
        name = group.anchor.op if group.anchor is not None else group.kind
        emit = emitter_of(name, self.target)
        if emit is None:
            raise LoweringError(f"op {name!r} in layer {group.nodes[0].origin} has no native kernel")
        if group.anchor is not None and isinstance(group.anchor.type, tuple):
            group.items = {u.attrs["index"]: u for u in graph.users[group.anchor] if u.op == "item"}
        elif group.stored and all(n.type.size == 0 for n in group.stored):
            for node in group.stored:  # nothing to compute
                self.output(node)
            return
        elif group.anchor is not None:
            group.epilogue = self.body(group, epilogue_groups(group.anchor) or plain_groups(group.anchor))
        emit(self, group)

    def body(self, group: Group, groups: Sequence[Sequence[int]] | None = None) -> Body:
        """The Body of a group over its full space; `groups`: axes behind each index (default: as few as can be)."""
        loads, aliases = self.operands(group)
        members = [n for n in group.nodes if n is not group.anchor and n not in group.reduces]
        stores = {n: self.stored_view(group, n) for n in group.stored}
        if groups is None:
            operands = [v.strides for v in (*loads.values(), *stores.values())]
            if group.axes:
                operands.append(row_strides(group.space, group.axes))
            groups = collapse(group.space, operands) or [[]]
        return self.target.body(members, loads, stores, group.space, groups, aliases)

    def operands(self, group: Group) -> tuple[dict[Node, View], dict[Node, Node]]:
        """Outside operands as strides over the group's space, and the view nodes that stand for members."""
        members = set(group.nodes)
        loads: dict[Node, View] = {}
        aliases: dict[Node, Node] = {}
        for node in group.nodes:
            if node is group.anchor:
                continue
            for i in node.inputs:
                base = resolve(i)
                if base in members:
                    if i is not base:
                        aliases[i] = base
                elif (scalar_value(i) is None or node in group.reduces) and i not in loads:
                    view = self._counted(i) if self.target.counts and base.op == "iota" else self.view(i)
                    loads[i] = replace(view, shape=group.space, strides=spread(group, view, node))
        return loads, aliases

    def _counted(self, node: Node) -> View:
        """A view on an index, for kernels that compute what they would load; floats are rounded in memory."""
        if node.op == "iota" and not is_int(node.dtype):
            return self.view(node)
        if node.op == "iota":
            strides = tuple(int(a == node.attrs["axis"] and n != 1) for a, n in enumerate(node.shape))
            return View(_COUNTER, node.dtype, node.shape, strides)
        made = apply_view(node, self._counted(node.inputs[0]))
        return made if made is not None else self.view(node)

    def stored_view(self, group: Group, node: Node) -> View:
        """Where a member's result goes, as strides over the group's space."""
        view = self.output(node)
        return replace(view, shape=group.space, strides=result_strides(group, node, view))

    def _reshaped_copy(self, node: Node, source: View) -> View:
        flat = self.copy(source)
        return replace(flat, shape=node.shape, strides=contiguous_strides(node.shape))

    # -- results -----------------------------------------------------------------------------------
    def _hand_on(self, graph: Graph, inputs: Sequence[View], destinations: Sequence[View | None]) -> dict[int, View]:
        """Copy inputs that are outputs as they are before anything overwrites them: output -> its view.

        Only to memory that is no input's: what lies there would be lost.
        """
        known, taken = set(graph.inputs), {v.buffer for v in inputs}
        done: dict[int, View] = {}
        for k, (node, place) in enumerate(zip(graph.outputs, destinations, strict=True)):
            if node in known and place is not None and place.buffer not in taken:
                done[k] = replace(place, shape=node.shape, strides=contiguous_strides(node.shape))
                self._transfer(self.view(node), done[k])
        return done

    def _place_parts(self, graph: Graph, groups: Sequence[Group]) -> None:
        """Operands of a concat that nobody else reads are computed where they belong in the result."""
        makers = {n: g for g in groups if g.kind == "map" for n in g.nodes}
        for node in graph.nodes:
            if node.op != "concat":
                continue
            place = self._destinations.get(node)
            if place is not None and any(place.buffer is self.views[i].buffer for i in graph.inputs):
                continue  # in place of something that is still read
            whole = self.output(node)
            for operand, view in zip(node.inputs, concat_parts(node, whole), strict=True):
                maker = makers.get(operand)
                if maker is None or operand in self._destinations or node.inputs.count(operand) > 1:
                    continue
                if all(u is node or u in maker.nodes for u in graph.users[operand]) and operand not in graph.outputs:
                    self._destinations[operand] = view

    def _place_outputs(self, graph: Graph, groups: Sequence[Group], destinations: Sequence[View | None]) -> None:
        owner = {n: (position, g) for position, g in enumerate(groups) for n in g.nodes}
        readers = _buffer_readers(graph, groups, self.views)
        # An input that is an output as it is (the old state, say) is copied at the end: nothing may overwrite it
        # before.
        inputs = set(graph.inputs)
        bases = [resolve(node) for node in graph.outputs]
        kept = {id(self.views[base].buffer) for base in bases if base in inputs}
        for node, place in zip(graph.outputs, destinations, strict=True):
            maker = node.inputs[0] if node.op == "item" else node
            if place is None or maker not in owner or node in self._destinations:
                continue
            position, group = owner[maker]
            if id(place.buffer) in kept or any(place.buffer is d.buffer for d in self._destinations.values()):
                continue
            uses = readers.get(place.buffer, [])
            if all(p < position or (p == position and _in_place(group, node, reads)) for p, reads in uses):
                self._destinations[node] = replace(place, shape=node.shape, strides=contiguous_strides(node.shape))

    def _finish(self, graph: Graph, destinations: Sequence[View | None]) -> list[View]:
        """Copies for outputs that could not be computed in place; all sources are read before any target is written."""
        results: list[View] = []
        late: list[tuple[View, View]] = []
        targets = {id(d.buffer) for d in destinations if d is not None}
        for node, place in zip(graph.outputs, destinations, strict=True):
            view = self.view(node)
            if place is None or (view.buffer is place.buffer and view.offset == place.offset and view.is_contiguous):
                results.append(view)
                continue
            if id(view.buffer) in targets and view.buffer is not place.buffer:
                view = self.copy(view)
            late.append((view, replace(place, shape=view.shape, strides=contiguous_strides(view.shape))))
            results.append(late[-1][1])
        for source, target in late:
            self._transfer(source, target)
        return results

    def _transfer(self, source: View, place: View) -> None:
        """Copy to contiguous memory at `place`."""
        target = replace(place, shape=source.shape, strides=contiguous_strides(source.shape))
        if source.is_contiguous and 0 not in source.shape:
            nbytes = math.prod(source.shape) * source.itemsize
            to, at = target.offset * target.itemsize, source.offset * source.itemsize
            self.instructions.append(Copy(Ptr(target.buffer, to), Ptr(source.buffer, at), nbytes))
        else:
            self.copy(source, target)


def concat_parts(node: Node, whole: View) -> list[View]:
    """Where the operands of a concat lie in its result."""
    axis, at = node.attrs["axis"] % len(whole.shape), 0
    parts = []
    for operand in node.inputs:
        shape = operand.shape
        strides = tuple(0 if n == 1 else s for n, s in zip(shape, whole.strides, strict=True))
        parts.append(replace(whole, shape=shape, strides=strides, offset=whole.offset + at * whole.strides[axis]))
        at += shape[axis]
    return parts


def weight_extents(graph: Graph) -> set[int]:
    """Extents of the graph's inputs that are right-hand operands of products and convolutions."""
    found: set[int] = set()
    for node in graph.nodes:
        if node.op in ("dot_general", "conv", "conv_input_grad"):
            base = resolve(node.inputs[1])
            if base.op == "input":
                found.update(base.shape)
    return found


def stored_nodes(graph: Graph, group: Group) -> list[Node]:
    """Members whose value somebody outside the kernel reads."""
    members = set(group.nodes)
    outputs = set(graph.outputs)
    return [
        n for n in group.nodes if n in outputs or any(_escapes(graph, u, members, outputs) for u in readers(graph, n))
    ]


def _escapes(graph: Graph, user: Node, members: set[Node], outputs: set[Node]) -> bool:
    if user in members:
        return False
    if user.op in FREE_VIEWS:
        return user in outputs or any(_escapes(graph, u, members, outputs) for u in readers(graph, user))
    return True


def _buffer_readers(
    graph: Graph, groups: Sequence[Group], views: dict[Node, View]
) -> dict[Buffer, list[tuple[int, list[tuple[Node, Node]]]]]:
    """For each input's buffer: positions of the groups that read it, with (reader, operand as it is seen)."""
    found: dict[Buffer, list[tuple[int, list[tuple[Node, Node]]]]] = {}
    for position, group in enumerate(groups):
        reads: dict[Buffer, list[tuple[Node, Node]]] = {}
        for node in group.nodes:
            for i in node.inputs:
                base = resolve(i)
                if base.op == "input" and base in views:
                    reads.setdefault(views[base].buffer, []).append((node, i))
        for buffer, pairs in reads.items():
            found.setdefault(buffer, []).append((position, pairs))
    return found


def _in_place(group: Group, output: Node, reads: Sequence[tuple[Node, Node]]) -> bool:
    """Whether `output` may be written over an operand, seen through `reads`, that the group itself still needs."""
    anchor = group.anchor
    if anchor is not None and len(reads) == 1 and reads[0] == (anchor, _updated(output)):
        return True
    return _elementwise(group, output, reads)


def _updated(output: Node) -> Node | None:
    """The operand whose memory `output` may take over: old state of a loop, or what is updated at some places."""
    if output.op in ("dynamic_update_slice", "scatter", "scatter_along_axis"):
        return output.inputs[0]
    if output.op == "item" and output.inputs[0].op in ("scan", "while"):
        index, loop = output.attrs["index"], output.inputs[0]
        return loop.inputs[index] if index < loop.attrs["carries"] else None
    return None


def _elementwise(group: Group, output: Node, reads: Sequence[tuple[Node, Node]]) -> bool:
    """Whether a kernel that writes `output` over an operand reads each old element only where it writes the new one."""
    if group.kind not in ("map", "column", "template") or output is group.anchor:
        return False
    for reader, seen in reads:
        if reader is group.anchor or seen.op in FREE_VIEWS or reader in group.reduces:
            return False
        if squeeze(seen.shape) != squeeze(output.shape) or squeeze(reader.shape) != squeeze(output.shape):
            return False
    return True
