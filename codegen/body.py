"""The scalar part of a kernel: pointwise nodes, printed once per element.

A Body is what fusion hangs on a kernel. Every kernel template (map, row, column, product, convolution ...) walks some
loops and has, inside them, names for the element it stands at; the Body prints the statements that load operands,
compute and store. A template uses it in three calls:

    body = group.epilogue                      # never None: without fusion it stores the anchor's own result
    first = len(own_args); args = [*own_args, *body.args]
    body.begin(w, first)                       # at the top of `kernel`: pointers, strides, scalar constants
    ...
    body.emit(w, {group.anchor: "acc"}, ["i", "j"])   # inside the innermost loop: index names, one per axis group

Operands are walked with one stride per axis group (`groups`): for a product the groups are (batch, rows, columns).
Strides of 0 and 1 are printed as literals, so that the innermost loop vectorises; all others, and all scalar
constants, arrive in `args`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.kernel import Arg, Buffer, Float, Int, Ptr, View, Where
from graphkeras.codegen.views import broadcast, mergeable
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.op import get_op
from graphkeras.ir.types import is_float

LITERALS = (0.0, 1.0, -1.0)  # not 2 and 0.5: a batch size and its inverse may have any other value


@dataclass
class Slot:
    """An operand's place among the arguments: its pointer word and its runtime strides, by axis group."""

    name: str
    view: View
    word: int
    strides: list[int]
    stride_words: dict[int, int] = field(default_factory=dict)
    loaded: str | None = None  # set for operands that do not move: read once, before the loops

    @property
    def counts(self) -> bool:
        """Whether the value is the index itself."""
        return self.view.buffer.where is Where.INDEX


class Body:
    """See the module's text.

    nodes: pointwise nodes in topological order. loads: outside operands, node -> View. stores: node -> View.
    space: the full iteration shape; groups: the axes behind each index name, outer to inner.
    aliases: view nodes inside the kernel that are the same element as another member (a row's sum seen as a column).
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        loads: Mapping[Node, View],
        stores: Mapping[Node, View],
        space: tuple[int, ...],
        groups: Sequence[Sequence[int]],
        aliases: Mapping[Node, Node] | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.space = space
        self.aliases = aliases or {}
        members = set(self.nodes)
        self.groups = [list(g) for g in groups]
        self.args: list[Arg] = []
        self._slots: dict[tuple[int, str, int, tuple[int, ...]], Slot] = {}
        self._loads = {n: self._slot(f"x{i}", v) for i, (n, v) in enumerate(loads.items())}
        self._stores = {n: self._slot(f"y{i}", v) for i, (n, v) in enumerate(stores.items())}
        self._scalars: dict[Node, tuple[str, int, str]] = {}
        for node in self.nodes:
            for i in node.inputs:
                if self.base(i) not in members and i not in loads and scalar_value(i) is not None:
                    self._scalar(i)

    # -- facts for the kernel record ---------------------------------------------------------------
    @property
    def reads(self) -> tuple[Buffer, ...]:
        return tuple(dict.fromkeys(s.view.buffer for s in self._loads.values() if not s.counts))

    @property
    def writes(self) -> tuple[Buffer, ...]:
        return tuple(dict.fromkeys(s.view.buffer for s in self._stores.values()))

    def writes_of(self, nodes: Iterable[Node]) -> tuple[Buffer, ...]:
        """Where some of the results go."""
        return tuple(dict.fromkeys(self._stores[n].view.buffer for n in nodes if n in self._stores))

    @property
    def traffic(self) -> float:
        """Bytes moved by the Body's own loads and stores, each element counted once."""
        return float(sum(_moved(s.view) for s in [*self._loads.values(), *self._stores.values()] if not s.counts))

    def strides_of(self, group: int) -> list[int]:
        """All operands' strides along one index (templates look for unit strides)."""
        return [s.strides[group] for s in [*self._loads.values(), *self._stores.values()]]

    # -- printing ----------------------------------------------------------------------------------
    def begin(self, w: Writer, first: int, table: str = "args") -> None:
        """Declare pointers, runtime strides and scalar constants, read from `table` starting at word `first`."""
        written = {s.view.buffer for s in self._stores.values()}
        for slot in self._slots.values():
            word = first + slot.word
            start = self.integer(table, word) if slot.counts else self.pointer(slot.view.dtype, table, word)
            w.line(f"{slot.name} = {start}")
            for group, word in slot.stride_words.items():
                w.line(f"{slot.name}_s{group} = {self.integer(table, first + word)}")
        for name, word, dtype in self._scalars.values():
            if word >= 0:
                w.line(f"{name} = {self.constant(table, first + word, dtype)}")
        for slot in self._slots.values():
            if not any(slot.strides) and slot.view.buffer not in written:
                slot.loaded = f"{slot.name}_0"
                w.line(f"{slot.loaded} = {self.count(slot, '0') if slot.counts else self.read(slot, '0')}")

    def emit(
        self,
        w: Writer,
        seeds: Mapping[Node, str],
        index: Sequence[str],
        *,
        only: Sequence[Node] | None = None,
        store: Sequence[Node] | None = None,
    ) -> dict[Node, str]:
        """Compute `only` (default: all nodes) at the element that `index` names, and store `store` (default: all).

        seeds: names of values that the template has at hand. Returns the names of all computed values.
        """
        names = dict(seeds)
        wanted = self.nodes if only is None else only
        handler = CpuHandler(w)
        for node in wanted:
            if node in names:
                continue
            inputs = [(self.value(w, i, names, index), i.dtype) for i in node.inputs]
            names[node] = handler.apply(get_op(node.op), inputs, node)
        for node in self._stores if store is None else store:
            if node in self._stores:
                slot = self._stores[node]
                value = self.value(w, node, names, index)
                w.line(self.write(slot, self.offset(slot, index), value))
        return names

    def fetches(self, index: Sequence[str]) -> list[str]:
        """Lines that ask for the cache lines at `index` of all loaded arrays that lie along the last index."""
        arrays = [s for s in self._loads.values() if not s.counts]
        slots = {id(s): s for s in arrays if s.strides[-1] == 1 and any(s.strides[:-1])}
        return [f"prefetch(shift({s.name}, {self.offset(s, index)}))" for s in slots.values()]

    def base(self, node: Node) -> Node:
        """The member that a view node inside the kernel stands for."""
        while node in self.aliases:
            node = self.aliases[node]
        return node

    def value(self, w: Writer, node: Node, names: dict[Node, str], index: Sequence[str]) -> str:
        """The name of a value at the current element, loading it where it comes from outside."""
        node = self.base(node)
        if node not in names:
            names[node] = self._operand(w, node, index)
        return names[node]

    def stored(self, node: Node, index: Sequence[str]) -> str:
        """Expression that reads back a result which an earlier pass of the kernel stored."""
        slot = self._stores[node]
        return self.read(slot, self.offset(slot, index))

    def offset(self, slot: Slot, index: Sequence[str]) -> str:
        """The element offset of an operand at the named index."""
        terms = []
        for group, (name, stride) in enumerate(zip(index, slot.strides, strict=True)):
            if stride == 1:
                terms.append(name)
            elif stride != 0:
                terms.append(f"{name} * {slot.name}_s{group}")
        return " + ".join(terms) or "0"

    # -- how a target says it (kernels of other targets override these) --------------------------------
    def pointer(self, dtype: str, table: str, word: int) -> str:
        """Expression of a pointer among the arguments."""
        return f"ptr_{dtype}({table}, {word})"

    def integer(self, table: str, word: int) -> str:
        """Expression of an integer among the arguments."""
        return f"int_arg({table}, {word})"

    def constant(self, table: str, word: int, dtype: str) -> str:
        """Expression of a scalar constant of `dtype` among the arguments."""
        if is_float(dtype):
            return CpuHandler.cast_text(f"float_arg({table}, {word})", "float64", CpuHandler.register_dtype(dtype))
        return CpuHandler.cast_text(self.integer(table, word), "int64", dtype)

    def read(self, slot: Slot, offset: str) -> str:
        """Expression of an operand's element, as registers hold it."""
        return CpuHandler.from_memory(f"{slot.name}[{offset}]", slot.view.dtype)

    def write(self, slot: Slot, offset: str, value: str) -> str:
        """Statement that stores a value."""
        return f"{slot.name}[{offset}] = {CpuHandler.to_memory(value, slot.view.dtype)}"

    def count(self, slot: Slot, offset: str) -> str:
        """The element of a view on an index: its own offset."""
        return f"{slot.view.dtype}({slot.name} + {offset})"

    # -- parts -------------------------------------------------------------------------------------
    def _operand(self, w: Writer, node: Node, index: Sequence[str]) -> str:
        if node in self._loads:
            slot = self._loads[node]
            if slot.loaded is not None:
                return slot.loaded
            name = w.name("v")
            offset = self.offset(slot, index)
            w.line(f"{name} = {self.count(slot, offset) if slot.counts else self.read(slot, offset)}")
            return name
        return self._scalars[node][0]

    def _slot(self, name: str, view: View) -> Slot:
        seen = broadcast(view, self.space)
        strides = []
        for axes in self.groups:
            stride = mergeable(self.space, seen.strides, axes)
            if stride is None:
                raise ValueError(f"operand strides {seen.strides} over {self.space} do not merge along axes {axes}")
            strides.append(stride)
        key = (id(view.buffer), view.dtype, view.offset, tuple(strides))
        if key in self._slots:  # read and written in place: one pointer, so that the alias rules hold
            return self._slots[key]
        slot = self._slots[key] = Slot(name, view, len(self.args), strides)
        self.args.append(Int(view.offset) if slot.counts else Ptr(view.buffer, view.offset * view.itemsize))
        for group, stride in enumerate(strides):
            if stride not in (0, 1):
                slot.stride_words[group] = len(self.args)
                self.args.append(Int(stride))
        return slot

    def _scalar(self, node: Node) -> None:
        if node in self._scalars:
            return
        value = scalar_value(node)
        if value is None:
            raise ValueError(f"operand {node!r} of a fused body is neither loaded nor constant")
        if node.dtype == "bool" or (is_float(node.dtype) and value in LITERALS):
            self._scalars[node] = (CpuHandler.literal(value, node.dtype), -1, node.dtype)
            return
        self._scalars[node] = (f"c{len(self._scalars)}", len(self.args), node.dtype)
        self.args.append(Float(float(value)) if is_float(node.dtype) else Int(int(value)))


def fits(space: tuple[int, ...], groups: Sequence[Sequence[int]], view: View) -> bool:
    """Whether an operand can be walked with one stride per axis group."""
    seen = broadcast(view, space)
    return all(mergeable(space, seen.strides, axes) is not None for axes in groups)


def _moved(view: View) -> int:
    size = view.itemsize
    for n, s in zip(view.shape, view.strides, strict=True):
        if s != 0:
            size *= n
    return size
