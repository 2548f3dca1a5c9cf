"""A whole loop as one kernel: a work item runs all iterations for its share of the rows, no thread waits for another.

The kernels of the body are called by address, with a private table of arguments for the running item: pointers moved to
its rows, slices of scanned arrays moved on after each iteration, temporaries in the thread's scratch memory, where a
few rows of them stay in the first-level cache. The driver below is one source for all loops; what differs is data.

    args: trips, items of table 0, scratch, then for tables 0 and 1 (the last item, with fewer rows)
          TABLE words each: where the lists below start (as words of args) and how many entries they have
    words   the argument words of all the body's kernels and copies, copied to scratch memory for each item
    calls   (function, first word, extent, chunk); function 0: a copy, (0, word of target and source, bytes, 0)
    places  (word, offset in scratch)     rows  (word, bytes per item)     steps  (word, bytes per iteration)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from graphkeras.codegen.kernel import (
    Arg,
    Buffer,
    Call,
    Copy,
    Entry,
    Instruction,
    Int,
    Kernel,
    Ptr,
    Scratch,
    Step,
)
from graphkeras.codegen.memory import plan_memory

HEAD, TABLE = 3, 10

SOURCE = '''"""A loop, item by item: all iterations for a share of the rows."""
from graphkeras.codegen.cpu.support import *
from graphkeras.codegen.cpu.native import *
def kernel(args, lo, hi):
    trips = int_arg(args, 0)
    whole = int_arg(args, 1)
    scratch = int_arg(args, 2)
    for item in range(lo, hi):
        head = args + 8 * 3 if item < whole else args + 8 * 13
        words = args + 8 * int_arg(head, 0)
        calls = args + 8 * int_arg(head, 2)
        n_calls = int_arg(head, 3)
        places = args + 8 * int_arg(head, 4)
        rows = args + 8 * int_arg(head, 6)
        steps = args + 8 * int_arg(head, 8)
        n_steps = int_arg(head, 9)
        for k in range(int_arg(head, 1)):
            store_i64(scratch + 8 * k, load_i64(words + 8 * k))
        for k in range(int_arg(head, 5)):
            store_i64(scratch + 8 * load_i64(places + 16 * k), scratch + load_i64(places + 16 * k + 8))
        for k in range(int_arg(head, 7)):
            at = scratch + 8 * load_i64(rows + 16 * k)
            store_i64(at, load_i64(at) + item * load_i64(rows + 16 * k + 8))
        for trip in range(trips):
            for k in range(n_calls):
                row = calls + 32 * k
                function = load_i64(row)
                table = scratch + 8 * load_i64(row + 8)
                extent = load_i64(row + 16)
                if function == 0:
                    copy_bytes(load_i64(table), load_i64(table + 8), extent)
                else:
                    chunk = load_i64(row + 24)
                    start = 0
                    while start < extent:
                        call_kernel(function, table, start, min(start + chunk, extent))
                        start += chunk
            for k in range(n_steps):
                at = scratch + 8 * load_i64(steps + 16 * k)
                store_i64(at, load_i64(at) + load_i64(steps + 16 * k + 8))
'''


@dataclass
class Share:
    """The body for one number of rows. instructions: Calls and Copies. moved: bytes from item to item, by buffer."""

    instructions: Sequence[Instruction]
    moved: Mapping[Buffer, int]


def loop_kernel(
    trips: int, items: int, shares: Sequence[Share], steps: Sequence[Step], outside: set[Buffer], chunk: int
) -> Kernel:
    """One kernel for `trips` iterations of the body over `items` items.

    shares: the body of all items but the last, and of the last if it has fewer rows. outside: buffers that the body
    shares with the program; its other temporaries are private. chunk: items that one thread takes at a time.
    """
    tables = [_Table(share, {s.window: s for s in steps}, outside) for share in shares]
    longest = max(t.nwords for t in tables)
    at = -(-8 * longest // 64) * 64
    nbytes = at + max(t.private + t.scratch for t in tables)
    args: list[Arg] = [Int(trips), Int(items if len(tables) == 1 else items - 1), Scratch(nbytes)]
    at_list = HEAD + 2 * TABLE
    bodies: list[Arg] = []
    for table in tables:
        for entries, width in table.lists(at):
            args += [Int(at_list + len(bodies)), Int(len(entries) // width)]
            bodies += entries
    args += args[HEAD : HEAD + TABLE] * (2 - len(tables))
    calls = [i.kernel for share in shares for i in share.instructions if isinstance(i, Call)]
    counts = [items - len(shares) + 1, 1]
    weights = [n for share, n in zip(shares, counts, strict=False) for i in share.instructions if isinstance(i, Call)]
    copied = sum(
        2.0 * n * i.nbytes for s, n in zip(shares, counts, strict=False) for i in s.instructions if isinstance(i, Copy)
    )
    return Kernel(
        name="loop_" + "_".join(dict.fromkeys(k.name.split("_")[0] for k in calls)),
        source=SOURCE,
        args=tuple([*args, *bodies]),
        extent=items,
        chunk=chunk,
        reads=tuple(dict.fromkeys(b for t in tables for b in t.reads)),
        writes=tuple(dict.fromkeys(b for t in tables for b in t.writes)),
        flops=trips * sum(k.flops * n for k, n in zip(calls, weights, strict=True)),
        nbytes=trips * (copied + sum(k.nbytes * n for k, n in zip(calls, weights, strict=True))),
        nodes=tuple(dict.fromkeys(n for k in calls for n in k.nodes)),
        reason=f"all iterations, {items} shares of the rows" if items > 1 else "all iterations",
        parts=tuple({k.source: k for k in calls}.values()),
        companions=tuple(dict.fromkeys(s for k in calls for s in k.companions)),
    )


@dataclass
class _Table:
    """Words and lists of one share."""

    share: Share
    windows: Mapping[Buffer, Step]
    outside: set[Buffer]
    words: list[Arg] = field(default_factory=list)
    calls: list[Arg] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # word, offset behind the table
    rows: list[Arg] = field(default_factory=list)
    steps: list[Arg] = field(default_factory=list)
    reads: list[Buffer] = field(default_factory=list)
    writes: list[Buffer] = field(default_factory=list)
    scratch: int = 0

    def __post_init__(self) -> None:
        plan = plan_memory(self.share.instructions, elsewhere={*self.outside, *self.windows})
        self.offsets, self.private = plan.offsets, -(-plan.nbytes // 64) * 64
        for instruction in self.share.instructions:
            if isinstance(instruction, Call):
                self._call(instruction.kernel)
            else:
                assert isinstance(instruction, Copy)
                self.calls += [Int(0), Int(len(self.words)), Int(instruction.nbytes), Int(0)]
                self._pointer(instruction.target)
                self._pointer(instruction.source)
                self._touch([instruction.source.buffer], [instruction.target.buffer])

    @property
    def nwords(self) -> int:
        return len(self.words)

    def lists(self, behind: int) -> list[tuple[list[Arg], int]]:
        """(entries, words per entry) of each list; `behind`: bytes of scratch memory that hold the table."""
        places: list[Arg] = [Int(v) for word, offset in self.places for v in (word, behind + offset)]
        return [(self.words, 1), (self.calls, 4), (places, 2), (self.rows, 2), (self.steps, 2)]

    def _call(self, kernel: Kernel) -> None:
        if kernel.extent <= 0:
            return
        chunk = kernel.extent if kernel.spread else kernel.chunk
        self.calls += [Entry(kernel.source), Int(len(self.words)), Int(kernel.extent), Int(chunk)]
        used = 0
        for arg in kernel.args:
            if isinstance(arg, Ptr):
                self._pointer(arg)
            elif isinstance(arg, Scratch):
                self.places.append((len(self.words), self.private + used))
                self.words.append(Int(0))
                used += -(-arg.nbytes // 64) * 64
            else:
                self.words.append(arg)
        self.scratch = max(self.scratch, used)
        self._touch(kernel.reads, kernel.writes)

    def _pointer(self, pointer: Ptr) -> None:
        word, buffer = len(self.words), pointer.buffer
        step = self.windows.get(buffer)
        if buffer in self.offsets:
            self.places.append((word, self.offsets[buffer] + pointer.offset))
            self.words.append(Int(0))
            return
        if step is not None:
            self.words.append(Ptr(step.base, step.start + pointer.offset))
            self.steps += [Int(word), Int(step.stride)]
        else:
            self.words.append(pointer)
        if self.share.moved.get(buffer):
            self.rows += [Int(word), Int(self.share.moved[buffer])]

    def _touch(self, reads: Sequence[Buffer], writes: Sequence[Buffer]) -> None:
        for found, buffers in ((self.reads, reads), (self.writes, writes)):
            for b in buffers:
                if b not in self.offsets:
                    found.append(self.windows[b].base if b in self.windows else b)
