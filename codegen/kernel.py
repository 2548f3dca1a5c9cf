"""What the lowering produces and the runtime consumes: buffers, views on them, kernels, and instructions.

Kernel ABI: `void kernel(int64* args, int64 lo, int64 hi)`. `args` holds one 64-bit word per Arg, in order:
addresses, integers, and floats (the bits of a float64). The kernel does the work items lo..hi-1 of `extent`.
Work is cut in chunks of `chunk` items, a number that depends on the problem alone, never on the threads.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphkeras.ir.node import Node, Origin
from graphkeras.ir.types import numpy_dtype


class Where(enum.Enum):
    """Who owns a buffer's memory."""

    INPUT = "input"  # bound by the caller before a run (data, variables)
    OUTPUT = "output"  # bound or owned per run: results
    ARENA = "arena"  # temporaries, placed by the memory plan
    CONST = "const"  # constants of the program
    INDEX = "index"  # no memory at all: element i is i


@dataclass(eq=False)
class Buffer:
    """A piece of memory. `index` counts inputs/outputs; `data` is the array of a CONST.

    align: what its address is a multiple of, as far as GPU kernels may rely on it (windows stand anywhere).
    """

    nbytes: int
    where: Where
    index: int = -1
    data: Any = None
    label: str = ""
    align: int = 256


@dataclass(frozen=True)
class View:
    """A strided array on a buffer; strides and offset count elements."""

    buffer: Buffer
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def itemsize(self) -> int:
        return numpy_dtype(self.dtype).itemsize

    @property
    def is_contiguous(self) -> bool:
        return self.strides == contiguous_strides(self.shape) or 0 in self.shape


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements; 0 along extents of one, so that equal layouts compare equal."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step if n != 1 else 0)
        step *= n
    return tuple(reversed(strides))


# -- kernel arguments: one 64-bit word each ---------------------------------------------------------
@dataclass(frozen=True)
class Ptr:
    """Address of element `offset` (in bytes) of a buffer."""

    buffer: Buffer
    offset: int = 0


@dataclass(frozen=True)
class Int:
    value: int


@dataclass(frozen=True)
class Float:
    """Passed as the bits of a float64; the kernel narrows it once, outside its loops."""

    value: float


@dataclass(frozen=True)
class Scratch:
    """Private memory of the running thread, 64-byte aligned, undefined on entry."""

    nbytes: int


@dataclass(frozen=True)
class Entry:
    """Address of the compiled kernel of a source: for kernels that call others."""

    source: str


@dataclass(frozen=True)
class Window:
    """What a copy of patches visits, for convolutions: one entry for each spatial axis, the innermost first.

    low, high: where the first base position stands from the array's start, and the last one's end from the array's end.
    strides: from one base position to the next.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class TensorMap:
    """An array as a GPU's copy engine knows it (TMA): the driver makes 128 bytes of it, which are passed by value.

    extents: the innermost axis first, which has unit stride. steps: in bytes, of the other axes. box: extents of a
        copy, whose rows are 128 bytes; or (channels, pixels) with a `window`. rounded: float32 becomes tf32 on the way.
    What of a box stands outside of the array is filled with zeros.
    """

    buffer: Buffer
    offset: int
    dtype: str
    extents: tuple[int, ...]
    steps: tuple[int, ...]
    box: tuple[int, ...]
    window: Window | None = None
    rounded: bool = False


Arg = Ptr | Int | Float | Scratch | Entry | TensorMap


@dataclass(frozen=True)
class Launch:
    """How a GPU starts a kernel: one block of `threads` threads for each work item of the kernel's `extent`.

    shared: bytes of shared memory of a block. table: the arguments stand in an array in device memory, whose address is
        the only parameter (kernels in segments); else each argument is a parameter.
    cooperative: all blocks are resident at once and may wait for each other.
    dealt: blocks deal the work items among them; no more are started than the device holds at once.
    """

    threads: int
    shared: int = 0
    table: bool = False
    cooperative: bool = False
    dealt: bool = False


@dataclass(eq=False)
class Kernel:
    """One launch: source text, arguments, work split, and what it is for.

    source: a Python module text that defines `kernel(args, lo, hi)`; its hash is the cache key, so everything that
        varies between models of the same structure (addresses, extents, scalar constants) belongs into `args`.
    reads/writes: buffers, for liveness. In-place is declared by the same buffer in both.
    parts: kernels that this one calls (through Entry arguments).
    """

    name: str
    source: str
    args: tuple[Arg, ...]
    extent: int
    chunk: int
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    flops: float = 0.0
    nbytes: float = 0.0
    nodes: tuple[Node, ...] = ()
    reason: str = ""
    launch: Launch | None = None  # of GPU kernels; `chunk` means nothing there
    parts: tuple[Kernel, ...] = ()
    companions: tuple[str, ...] = ()  # sources that other sizes of the same problem need, compiled along with this one
    choices: tuple[str, ...] = ()  # which of several ways was taken, and why (cpu/choices.py)
    join: Callable[[Kernel, Kernel], Kernel] | None = None  # makes one launch of two of the same source
    spread: bool = False  # a thread takes all its chunks in one call

    @property
    def origins(self) -> tuple[Origin, ...]:
        return tuple(dict.fromkeys(n.origin for n in self.nodes))

    def joined(self, other: Kernel, **changes: Any) -> Kernel:
        """This launch and another of the same source as one; changes: its arguments and how its work is cut."""
        return replace(
            self,
            reads=tuple(dict.fromkeys([*self.reads, *other.reads])),
            writes=tuple(dict.fromkeys([*self.writes, *other.writes])),
            flops=self.flops + other.flops,
            nbytes=self.nbytes + other.nbytes,
            nodes=self.nodes + other.nodes,
            **changes,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The source and those of its parts."""
        return tuple(dict.fromkeys((self.source, *(s for p in self.parts for s in p.sources))))


# -- instructions of a plan -------------------------------------------------------------------------
@dataclass(eq=False)
class Call:
    """Run a kernel over its whole extent."""

    kernel: Kernel


@dataclass(eq=False)
class Copy:
    """Copy `nbytes` between buffers (loop carries, state that could not be updated in place)."""

    target: Ptr
    source: Ptr
    nbytes: int


@dataclass(frozen=True)
class Step:
    """A buffer whose address advances by `stride` bytes after each iteration of the enclosing Loop.

    The buffer is a window on `base`: at iteration i it stands at base + start + i * stride.
    """

    window: Buffer
    base: Buffer
    start: int
    stride: int


@dataclass(eq=False)
class Loop:
    """Run `body` `trips` times (scan, fori)."""

    trips: int
    body: list[Instruction]
    steps: tuple[Step, ...] = ()


@dataclass(eq=False)
class While:
    """Run `condition`; while the bool in `flag` is true run `body` and `condition` again."""

    condition: list[Instruction]
    flag: Ptr
    body: list[Instruction]


@dataclass(eq=False)
class Switch:
    """Run the branch that the int32 in `index` selects (clamped to the range)."""

    index: Ptr
    branches: list[list[Instruction]] = field(default_factory=list)


Instruction = Call | Copy | Loop | While | Switch
