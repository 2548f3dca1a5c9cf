"""The fused scalar part of a CUDA kernel.

Statements cost Numba time that grows with their number, and a thread works on several neighbouring elements at a time:
so the scalar code is printed once, as a device function (`element`), and called once per element. Around it stand loads
and stores of up to 16 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphkeras.codegen.body import Body, Slot
from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_float


@dataclass(frozen=True)
class Element:
    """A printed device function: which values it takes, in order, and which it returns.

    The others parameters, `constants`, are names that mean the same at every call.
    """

    name: str
    params: tuple[Node, ...]
    constants: tuple[str, ...]
    results: tuple[Node, ...]

    def call(self, names: Mapping[Node, str]) -> str:
        return f"{self.name}({', '.join([*(names[n] for n in self.params), *self.constants])})"


class CudaBody(Body):
    """A Body whose pointers are addresses: `args` are the kernel's parameters a0, a1 ..., or a table in memory."""

    # -- how this target says it -------------------------------------------------------------------
    def pointer(self, dtype: str, table: str, word: int) -> str:
        return self.integer(table, word)

    def integer(self, table: str, word: int) -> str:
        return f"a{word}" if table == "args" else f"int_arg({table}, {word})"

    def constant(self, table: str, word: int, dtype: str) -> str:
        if is_float(dtype):
            wide = f"a{word}" if table == "args" else f"float_arg({table}, {word})"
            return CpuHandler.cast_text(wide, "float64", CpuHandler.register_dtype(dtype))
        return CpuHandler.cast_text(self.integer(table, word), "int64", dtype)

    def read(self, slot: Slot, offset: str) -> str:
        return f"{self._verb(slot)}_{slot.view.dtype}({slot.name}, {offset})"

    def write(self, slot: Slot, offset: str, value: str) -> str:
        return f"store_{slot.view.dtype}({slot.name}, {offset}, {value})"

    def _verb(self, slot: Slot) -> str:
        """Memory that nobody writes while the kernel runs may be read through the read-only path."""
        written = any(s.view.buffer is slot.view.buffer for s in self._stores.values())
        return "load" if written else "fetch"

    @property
    def stored_nodes(self) -> tuple[Node, ...]:
        return tuple(self._stores)

    # -- elements as functions ---------------------------------------------------------------------
    def element(
        self, w: Writer, name: str, nodes: Sequence[Node] | None, at_hand: Iterable[Node], results: Sequence[Node]
    ) -> Element:
        """Print `name(...)`: computes `nodes` (default: all) from operands and what is `at_hand`, returns `results`."""
        inside = Writer()
        names: dict[Node, str] = {}
        for k, node in enumerate(dict.fromkeys(self.base(n) for n in at_hand)):
            names[node] = f"h{k}"
        for k, node in enumerate(self._loads):
            names.setdefault(node, f"v{k}")
        params = dict(names)
        done = self.emit(inside, names, [], only=self.nodes if nodes is None else nodes, store=[])
        values = [self.value(inside, r, done, []) for r in results]
        text = inside.text() + " ".join(values)
        used = set(re.findall(r"\b[vhc]\d+\b", text))
        taken = tuple(n for n, p in params.items() if p in used)
        constants = tuple(c for c, word, _ in self._scalars.values() if word >= 0 and c in used)
        w.line("@device")
        with w.block(f"def {name}({', '.join([*(params[n] for n in taken), *constants])})"):
            for line in inside.text().splitlines():
                w.line(line)
            w.line(f"return ({', '.join(values)},)")
        w.line()
        w.line()
        return Element(name, taken, constants, tuple(results))

    def loads_of(self, element: Element) -> list[Node]:
        """The operands in memory that an element function takes."""
        return [n for n in element.params if n in self._loads]

    def slot_of(self, node: Node) -> Slot:
        """Where an operand or a result stands."""
        return self._loads[node] if node in self._loads else self._stores[node]

    # -- neighbours --------------------------------------------------------------------------------
    def width(self, inner: int, extents: Sequence[int], tail: bool) -> int:
        """Neighbouring elements along axis group `inner` that a thread can take at a time: 1, 2, 4 or 8.

        tail: rows need not be a multiple of it (there is only one).
        """
        slots = [s for s in self._slots.values() if s.strides[inner] == 1]
        most = max((s.view.itemsize for s in slots), default=4)
        width = min(8, 16 // most)
        while width > 1 and not ((tail or extents[inner] % width == 0) and all(_fits(s, inner, width) for s in slots)):
            width //= 2
        return width

    def load_neighbours(self, w: Writer, node: Node, index: Sequence[str], inner: int, width: int) -> list[str]:
        """Print the loads of `width` neighbours of an operand, or of a result stored before; one expression each."""
        slot = self.slot_of(node)
        if slot.loaded is not None:
            return [slot.loaded] * width
        name = w.name("v")
        step, offset = slot.strides[inner], self.offset(slot, index)
        if width == 1 or step == 0:
            w.line(f"{name} = {self.read(slot, offset)}")
            return [name] * width
        if step == 1:
            w.line(f"{name} = {self._verb(slot)}{width}_{slot.view.dtype}({slot.name}, {offset})")
            return [f"{name}[{k}]" for k in range(width)]
        names = []
        for k in range(width):
            names.append(f"{name}_{k}")
            w.line(f"{names[-1]} = {self.read(slot, f'{offset} + {k} * {slot.name}_s{inner}')}")
        return names

    def store_neighbours(self, w: Writer, node: Node, values: Sequence[str], index: Sequence[str], inner: int) -> None:
        """Print the stores of neighbours of a result."""
        slot = self._stores[node]
        step, offset = slot.strides[inner], self.offset(slot, index)
        if len(values) > 1 and step == 1:
            group = ", ".join(values)
            w.line(f"store{len(values)}_{slot.view.dtype}({slot.name}, {offset}, ({group}))")
            return
        for k, value in enumerate(values):
            w.line(self.write(slot, f"{offset} + {k} * {slot.name}_s{inner}" if k else offset, value))


def _fits(slot: Slot, inner: int, width: int) -> bool:
    """Whether groups of `width` elements are aligned wherever the other indices stand."""
    nbytes = slot.view.itemsize
    aligned = min(width * nbytes, 16) <= slot.view.buffer.align and slot.view.offset % width == 0
    return aligned and all(s % width == 0 for g, s in enumerate(slot.strides) if g != inner)
