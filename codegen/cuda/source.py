"""The text of a CUDA kernel, put together: head, device functions, the kernel with its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.kernel import Arg, Buffer, Float, Int, Kernel, Launch, Ptr, TensorMap, View
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node

HEADER = "from graphkeras.codegen.cuda.support import *"
THREADS = 256
WARP = 32


class Source:
    """A kernel that is being written. `w` takes the statements of the kernel, `functions` what stands before it.

    args: the kernel's arguments in order; parameter k is called a<k> (with `table`, a0 is the address of all of them).
    """

    def __init__(self, title: str, nodes: Sequence[Node] = (), threads: int = THREADS, table: bool = False) -> None:
        self.title, self.nodes, self.threads, self.table = title, tuple(nodes), threads, table
        self.args: list[Arg] = []
        self.w, self.functions = Writer(), Writer()
        self.constants: dict[str, object] = {"THREADS": threads}
        self.shared = 0
        self.reads: list[Buffer] = []
        self.writes: list[Buffer] = []

    # -- arguments ---------------------------------------------------------------------------------
    def word(self, value: int) -> str:
        """An integer argument; returns its name."""
        self.args.append(Int(int(value)))
        return f"a{len(self.args) - 1}"

    def real(self, value: float) -> str:
        self.args.append(Float(value))
        return f"a{len(self.args) - 1}"

    def source(self, view: View) -> str:
        """Address of a view that the kernel reads."""
        self.reads.append(view.buffer)
        return self._address(view.buffer, view.offset * view.itemsize)

    def destination(self, view: View) -> str:
        """Address of a view that the kernel writes."""
        self.writes.append(view.buffer)
        return self._address(view.buffer, view.offset * view.itemsize)

    def _address(self, buffer: Buffer, offset: int) -> str:
        self.args.append(Ptr(buffer, offset))
        return f"a{len(self.args) - 1}"

    def tensor_map(self, spec: TensorMap) -> str:
        """An array for the copy engine to read; the name stands for the address of its description."""
        self.reads.append(spec.buffer)
        self.args.append(spec)
        return f"a{len(self.args) - 1}"

    def scratch(self, nbytes: int, align: int = 16) -> int:
        """Reserve shared memory of the block; returns its offset from shared_memory(), which is a multiple of 1024."""
        offset = -(-self.shared // align) * align
        self.shared = offset + nbytes
        return offset

    # -- the whole ---------------------------------------------------------------------------------
    def text(self) -> str:
        lines = [f'"""{self.title}', "", *(f"    {n.op}" for n in self.nodes), '"""', HEADER, ""]
        letters = "p" if self.table else "".join(_letter(a) for a in self.args)
        lines.append(f'SIGNATURE = "{letters}"')
        lines += [f"{name} = {_literal(value)}" for name, value in self.constants.items()]
        lines += ["", "", *self.functions.text().splitlines()]
        names = ["a0"] if self.table else [f"a{k}" for k in range(len(self.args))]
        lines.append(f"def kernel({', '.join(names)}):")
        lines += ["    " + line if line else "" for line in self.w.text().splitlines()]
        return "\n".join(lines) + "\n"

    def kernel(self, name: str, blocks: int, *, flops: float = 0.0, nbytes: float = 0.0, **more: object) -> Kernel:
        """The record of the kernel, launched with `blocks` blocks."""
        cooperative = bool(more.pop("cooperative", False))
        return Kernel(
            name=name,
            source=self.text(),
            args=tuple(self.args),
            extent=blocks,
            chunk=1,
            reads=tuple(dict.fromkeys(self.reads)),
            writes=tuple(dict.fromkeys(self.writes)),
            flops=flops,
            nbytes=nbytes,
            nodes=self.nodes,
            launch=Launch(self.threads, self.shared, self.table, cooperative),
            **more,  # type: ignore[arg-type]
        )


def _letter(arg: Arg) -> str:
    if isinstance(arg, Ptr):
        return "p"
    if isinstance(arg, Int):
        return "i"
    if isinstance(arg, Float):
        return "f"
    if isinstance(arg, TensorMap):
        return "t"
    raise TypeError(f"{arg!r} cannot be an argument of a CUDA kernel")


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def decompose(w: Writer, item: str, extents: Sequence[str], dividers: Sequence[str], parts: Sequence[str]) -> None:
    """Split flat `item` into `parts`, outermost first. extents, dividers: names of the parts' extents and divisors.

    extents[0] and dividers[0] (of the outermost part) are not used. An empty divider means plain integer division.
    """
    rest = item
    for k in range(len(parts) - 1, 0, -1):
        upper = w.name("q")
        w.line(f"{upper} = divided({rest}, {dividers[k]})" if dividers[k] else f"{upper} = {rest} // {extents[k]}")
        w.line(f"{parts[k]} = {rest} - {upper} * {extents[k]}")
        rest = upper
    w.line(f"{parts[0]} = {rest}")
