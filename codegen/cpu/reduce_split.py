"""Cutting long reductions: the same source reduces whole, reduces one chunk of rows, or combines the chunks in order.

Which of the three a launch does is said by arguments, so that a batch of any size finds the kernel that it needs.
Chunks follow from the sizes, never from the threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cpu.nest import Accumulator, Nest
from graphkeras.codegen.kernel import Arg, Buffer, Int, Ptr, Scratch
from graphkeras.codegen.writer import Writer
from graphkeras.ir.types import numpy_dtype

SPLIT = 32768  # elements under one result from which a reduction is split


@dataclass
class Cut:
    """One launch of a reduction: `parts` chunks of the outermost reduced group, or `joined` chunks to be combined."""

    nest: Nest
    parts: int = 1
    joined: int = 0
    partials: list[Buffer] = field(default_factory=list)  # one per accumulator field

    @property
    def name(self) -> str:
        return "partial_" if self.parts > 1 else "combine_" if self.joined else ""

    def add_args(self, args: list[Arg]) -> int:
        """Append the words that tell the three apart; returns the first one's place."""
        nest, first = self.nest, len(args)
        length = -(-nest.extents[nest.reduced[0]] // self.parts)
        step = columns_of(nest) if self.parts > 1 else 0
        args += [Int(self.parts), Int(length), Int(self.joined), Int(step)]
        return first

    def add_memory(self, args: list[Arg]) -> list[Accumulator]:
        """Append two words per field: where a launch accumulates, then where it finds chunks to combine."""
        found: list[Accumulator] = []
        columns = columns_of(self.nest)
        for at, (k, f, dtype) in enumerate(memory_fields(self.nest)):
            found.append((f"a{k}_{f}", dtype, len(args), k))
            own = Scratch(columns * numpy_dtype(dtype).itemsize)
            args.append(Ptr(self.partials[at]) if self.parts > 1 else own)
            args.append(Ptr(self.partials[at]) if self.joined else Int(0))
        return found

    def declare(self, w: Writer, word: int, accumulators: Sequence[Accumulator]) -> None:
        for k, name in enumerate(("parts", "length", "joined", "step")):
            w.line(f"{name} = int_arg(args, {word + k})")
        for name, dtype, place, _ in accumulators:
            w.line(f"m{name} = ptr_{dtype}(args, {place})")
            w.line(f"p{name} = ptr_{dtype}(args, {place + 1})")

    def begin(self, w: Writer) -> None:
        """At the top of an item: its result `whole`, and its rows from `first` to `last`."""
        w.line("whole = item // parts")
        w.line("first = (item - whole * parts) * length")
        w.line(f"last = min(first + length, n{self.nest.reduced[0]})")

    @property
    def ranges(self) -> dict[int, str]:
        return {self.nest.reduced[0]: "first, last"}

    def merge(self, w: Writer, k: int, accumulators: Sequence[Accumulator], old: Sequence[str], place: str) -> None:
        """old = combine(old, chunk) for reduction k, the chunk's fields at `place` of the partial results."""
        stored = [name for name, _, _, of in accumulators if of == k]
        dtypes = [d for _, d in self.nest.fields(k)]
        fields = [CpuHandler.from_memory(f"p{n}[{place}]", d) for n, d in zip(stored, dtypes, strict=True)]
        for name, text in zip(old, self.nest.merge(w, k, old, fields), strict=True):
            w.line(f"{name} = {text}")


def memory_fields(nest: Nest) -> list[tuple[int, int, str]]:
    """(reduction, field, element type in memory) of all accumulators."""
    return [
        (k, f, "uint8" if dtype == "bool" else dtype)
        for k in range(len(nest.group.reduces))
        for f, (_, dtype) in enumerate(nest.fields(k))
    ]


def columns_of(nest: Nest) -> int:
    """Results side by side that one item accumulates: the innermost extent where it is kept."""
    return nest.extents[-1] if nest.kept and not nest.is_reduced[-1] else 1


def parts_of(nest: Nest) -> int:
    """Chunks of the outermost reduced group; one where there are results enough to share, or little to do."""
    if not nest.reduced:
        return 1
    inner = columns_of(nest)
    outer = nest.results // max(inner, 1)
    work = nest.length * inner
    if outer >= 8 or work * outer < SPLIT:
        return 1
    return max(1, min(64, work // (SPLIT // 2), nest.extents[nest.reduced[0]]))


def partial_sizes(nest: Nest, parts: int) -> list[int]:
    """Bytes of each field's partial results."""
    outer = math.prod(nest.extents[g] for g in nest.kept) // max(columns_of(nest), 1)
    count = outer * parts * columns_of(nest)
    return [count * numpy_dtype(dtype).itemsize for _, _, dtype in memory_fields(nest)]
