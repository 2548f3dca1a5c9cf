"""The arguments of a template kernel: collected with their names, printed as the first lines of the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphkeras.codegen.kernel import Arg, Buffer, Float, Int, Kernel, Ptr, Scratch, View
from graphkeras.codegen.work import work_of_body
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype

if TYPE_CHECKING:
    from graphkeras.codegen.body import Body
    from graphkeras.codegen.fuse import Group

HEADER = "from graphkeras.codegen.cpu.support import *"


class Params:
    """Names for argument words. A literal costs no word but makes the source depend on its value."""

    def __init__(self) -> None:
        self.args: list[Arg] = []
        self.reads: list[Buffer] = []
        self.writes: list[Buffer] = []
        self._lines: list[str] = []

    def source(self, name: str, view: View) -> None:
        self._pointer(name, view.dtype, view.buffer, view.offset * view.itemsize)
        self.reads.append(view.buffer)

    def target(self, name: str, view: View) -> None:
        self._pointer(name, view.dtype, view.buffer, view.offset * view.itemsize)
        self.writes.append(view.buffer)

    def scratch(self, name: str, count: int, dtype: str) -> None:
        """Private memory of the thread, `count` elements."""
        self._lines.append(f"{name} = ptr_{dtype}(args, {len(self.args)})")
        self.args.append(Scratch(max(64, count * numpy_dtype(dtype).itemsize)))

    def word(self, name: str, value: int) -> None:
        self._lines.append(f"{name} = int_arg(args, {len(self.args)})")
        self.args.append(Int(int(value)))

    def real(self, name: str, value: float) -> None:
        self._lines.append(f"{name} = float_arg(args, {len(self.args)})")
        self.args.append(Float(value))

    def ints(self, **values: int) -> None:
        for name, value in values.items():
            self.word(name, value)

    def literal(self, name: str, value: int) -> None:
        self._lines.append(f"{name} = {int(value)}")

    def literals(self, **values: int) -> None:
        for name, value in values.items():
            self.literal(name, value)

    def table(self, stem: str, values: Sequence[int]) -> list[str]:
        """Several integers `stem0`, `stem1` ...; returns the names."""
        names = [f"{stem}{i}" for i in range(len(values))]
        for name, value in zip(names, values, strict=True):
            self.word(name, value)
        return names

    def declare(self, w: Writer) -> None:
        for line in self._lines:
            w.line(line)

    def _pointer(self, name: str, dtype: str, buffer: Buffer, offset: int) -> None:
        self._lines.append(f"{name} = ptr_{dtype}(args, {len(self.args)})")
        self.args.append(Ptr(buffer, offset))


def comment(w: Writer, text: str) -> None:
    """A head comment, line by line."""
    for line in text.strip().splitlines():
        w.line(("# " + line.strip()).rstrip())


def divide(w: Writer, index: str, extents: Sequence[str], parts: Sequence[str]) -> None:
    """Split a flat index into coordinates `parts`; extents and parts from the outermost, whose extent is not needed."""
    rest = index
    for extent, part in list(zip(extents, parts, strict=True))[:0:-1]:
        w.line(f"{part} = {rest} % {extent}")
        w.line(f"{part}_rest = {rest} // {extent}")
        rest = f"{part}_rest"
    w.line(f"{parts[0]} = {rest}")


def small_kernel(
    name: str,
    head: str,
    params: Params,
    body: Sequence[str],
    extent: int,
    chunk: int,
    node: Node,
    nbytes: float = 0.0,
    imports: Sequence[str] = (),
) -> Kernel:
    """A kernel written out by hand: `body` are the lines of `kernel(args, lo, hi)` after the arguments.

    imports: lines of the module after the usual import.
    """
    w = Writer()
    comment(w, head)
    w.line(HEADER)
    for line in imports:
        w.line(line)
    w.line()
    w.line()
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        for line in body:
            w.line(line)
    reads, writes = tuple(dict.fromkeys(params.reads)), tuple(dict.fromkeys(params.writes))
    args = tuple(params.args)
    return Kernel(name, w.text(), args, extent, max(1, chunk), reads, writes, 0.0, nbytes, (node,))


def template_kernel(
    name: str,
    w: Writer,
    params: Params,
    group: Group,
    body: Body | None,
    extent: int,
    flops: float,
    operands: Sequence[View],
    what: str,
    work: float | None = None,
) -> Kernel:
    """The kernel of a template that stores its result itself, or hands it to the epilogue `body`.

    operands: what it reads. flops: that the mathematics needs; work: by which items are dealt out, where that differs,
    beside the work of the epilogue.
    """
    args, reads, writes = params.args, params.reads, params.writes
    moved = sum(float(v.itemsize * math.prod(v.shape)) for v in operands)
    if body is None:
        moved += group.anchor.type.nbytes
    else:
        args, reads, writes = [*args, *body.args], [*reads, *body.reads], list(body.writes)
        moved += body.traffic
    return Kernel(
        name,
        w.text(),
        tuple(args),
        max(1, extent),
        items_per_chunk(extent, (flops if work is None else work) + work_of_body(body)),
        tuple(reads),
        tuple(writes),
        flops=flops,
        nbytes=moved,
        nodes=tuple(group.nodes),
        reason=what + ("" if body is None else " + epilogue"),
    )


def rows_per_chunk(elements: int) -> int:
    """Work items of `elements` elements each that make a chunk of about ten microseconds."""
    return max(1, 16384 // max(1, elements))


SERIAL = 3e6  # flops below which threads cost more than they give


def items_per_chunk(extent: int, flops: float) -> int:
    """Items of a product that make a chunk: one chunk when there is little to do, else ten microseconds or more."""
    if flops < SERIAL:
        return max(1, extent)
    return -(-extent // max(1, min(extent, int(flops / (SERIAL / 2)))))


def place_of(name: str, value: str, mode: str) -> list[str]:
    """Lines that set `name` to a place in [0, extent) and, unless clipped, `inside`."""
    lines = [f"{name} = int64({value})"]
    if mode == "clip":
        return [*lines, f"{name} = min(max({name}, 0), extent - 1)"]
    return [
        *lines,
        f"if {name} < 0:",
        f"    {name} += extent",
        f"inside = {name} >= 0 and {name} < extent",
    ]
