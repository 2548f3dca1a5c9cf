"""From structured instructions to the rows of the plan loop, with a barrier only where threads depend on each other.

Serial work (kernels of one chunk, copies) runs on thread 0, so two serial instructions need no barrier between them,
and neither do parallel ones that touch different memory. A loop, while or switch without parallel work is serial as a
whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphkeras.codegen.cpu import plan_codes as op
from graphkeras.codegen.kernel import (
    Buffer,
    Call,
    Copy,
    Entry,
    Float,
    Instruction,
    Int,
    Kernel,
    Loop,
    Ptr,
    Scratch,
    Step,
    Switch,
    Where,
    While,
)

Range = tuple[object, int, int]  # memory, first byte, end


def chunks(kernel: Kernel) -> int:
    return -(-kernel.extent // kernel.chunk) if kernel.extent > 0 else 0


def is_parallel(instruction: Instruction) -> bool:
    if isinstance(instruction, Call):
        return chunks(instruction.kernel) > 1
    return any(is_parallel(i) for block in blocks(instruction) for i in block)


def blocks(instruction: Instruction) -> Sequence[Sequence[Instruction]]:
    """The instruction lists inside an instruction."""
    if isinstance(instruction, Loop):
        return (instruction.body,)
    if isinstance(instruction, While):
        return (instruction.condition, instruction.body)
    return instruction.branches if isinstance(instruction, Switch) else ()


def all_calls(instructions: Iterable[Instruction]) -> list[Call]:
    """Every Call, in the order of the plan."""
    found: list[Call] = []
    for i in instructions:
        if isinstance(i, Call):
            found.append(i)
        for block in blocks(i):
            found += all_calls(block)
    return found


@dataclass
class Access:
    """What an instruction touches, and whether thread 0 alone runs it."""

    serial: bool
    reads: list[Range] = field(default_factory=list)
    writes: list[Range] = field(default_factory=list)

    def conflicts(self, other: Access) -> bool:
        if self.serial and other.serial:
            return False
        return (
            _overlap(self.writes, other.writes)
            or _overlap(self.writes, other.reads)
            or _overlap(self.reads, other.writes)
        )


def _overlap(a: Sequence[Range], b: Sequence[Range]) -> bool:
    return any(x[0] == y[0] and x[1] < y[2] and y[1] < x[2] for x in a for y in b)


@dataclass
class Code:
    """The encoded plan. `words` is the argument table (one copy per thread), filled through the relocation lists.

    relocations: buffer -> (word, offset in bytes) pairs: the word holds address + offset.
    scratch: (word, offset in the thread's scratch memory). calls: row of each Call -> the call.
    entries: (word, source): the word holds the address of that source's kernel.
    links: code words (row, column) that hold the address of `data` words from the given index.
    """

    rows: list[list[int]] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    relocations: dict[Buffer, list[tuple[int, int]]] = field(default_factory=dict)
    scratch: list[tuple[int, int]] = field(default_factory=list)
    scratch_nbytes: int = 0
    entries: list[tuple[int, str]] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    data: list[int] = field(default_factory=list)
    links: list[tuple[int, int, int]] = field(default_factory=list)
    parallel: bool = False


class Encoder:
    """Builds a Code. `offsets` places the arena's buffers, so that reused memory counts as a dependence."""

    def __init__(self, offsets: Mapping[Buffer, int]) -> None:
        self.code = Code()
        self._offsets = offsets
        self._windows: dict[Buffer, Buffer] = {}
        self._pending: list[Access] = []
        self._free = False  # inside serial control flow: no barriers
        self._base_words: dict[Buffer, int] = {}

    def encode(self, instructions: Sequence[Instruction]) -> Code:
        self.code.parallel = any(is_parallel(i) for i in instructions)
        self._block(instructions)
        self._row(op.BARRIER)
        self._row(op.END)
        return self.code

    # -- words -------------------------------------------------------------------------------------
    def _row(self, *values: int) -> int:
        self.code.rows.append([*values, *[0] * (op.SIZE - len(values))])
        return len(self.code.rows) - 1

    def _word(self, value: int = 0) -> int:
        self.code.words.append(value)
        return len(self.code.words) - 1

    def _address(self, pointer: Ptr) -> int:
        word = self._word()
        self.code.relocations.setdefault(pointer.buffer, []).append((word, pointer.offset))
        return word

    def _arguments(self, kernel: Kernel) -> int:
        first, used = len(self.code.words), 0
        for arg in kernel.args:
            if isinstance(arg, Ptr):
                self._address(arg)
            elif isinstance(arg, Int):
                self._word(int(np.array(arg.value % 2**64, np.uint64).view(np.int64)))
            elif isinstance(arg, Float):
                self._word(int(np.array(arg.value, np.float64).view(np.int64)))
            elif isinstance(arg, Scratch):
                self.code.scratch.append((self._word(), used))
                used += -(-arg.nbytes // 64) * 64
            elif isinstance(arg, Entry):
                self.code.entries.append((self._word(), arg.source))
            else:
                raise TypeError(f"kernel {kernel.name}: argument {arg!r} is no Ptr, Int, Float, Scratch or Entry")
        self.code.scratch_nbytes = max(self.code.scratch_nbytes, used)
        return first

    # -- dependences -------------------------------------------------------------------------------
    def _range(self, buffer: Buffer) -> Range:
        while buffer in self._windows:
            buffer = self._windows[buffer]
        if buffer.where is Where.ARENA:
            if buffer not in self._offsets:
                raise ValueError(f"buffer {buffer.label!r} has no place in the arena (a window outside its Loop?)")
            start = self._offsets[buffer]
            return "arena", start, start + max(buffer.nbytes, 1)
        return id(buffer), 0, 1

    def _access(self, instruction: Instruction) -> Access:
        found = Access(not is_parallel(instruction))
        if isinstance(instruction, Call):
            found.reads += [self._range(b) for b in instruction.kernel.reads]
            found.writes += [self._range(b) for b in instruction.kernel.writes]
        elif isinstance(instruction, Copy):
            found.reads.append(self._range(instruction.source.buffer))
            found.writes.append(self._range(instruction.target.buffer))
        elif isinstance(instruction, Loop):
            self._enter_windows(instruction.steps)
        elif isinstance(instruction, While):
            found.reads.append(self._range(instruction.flag.buffer))
        elif isinstance(instruction, Switch):
            found.reads.append(self._range(instruction.index.buffer))
        for block in blocks(instruction):
            for inner in block:
                part = self._access(inner)
                found.reads += part.reads
                found.writes += part.writes
        return found

    def _enter_windows(self, steps: Sequence[Step]) -> None:
        self._windows.update({s.window: s.base for s in steps})

    def _barrier(self) -> None:
        if self._pending and not self._free:
            self._row(op.BARRIER)
        self._pending.clear()

    def _order(self, access: Access) -> None:
        if any(access.conflicts(p) for p in self._pending):
            self._barrier()
        self._pending.append(access)

    # -- instructions ------------------------------------------------------------------------------
    def _block(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Call):
                self._call(instruction)
            elif isinstance(instruction, Copy):
                self._order(self._access(instruction))
                self._row(
                    op.COPY, self._address(instruction.target), self._address(instruction.source), instruction.nbytes
                )
            elif self._free or is_parallel(instruction):
                self._barrier()
                self._control(instruction)
            else:
                self._order(self._access(instruction))
                self._serially(instruction)

    def _call(self, call: Call) -> None:
        kernel = call.kernel
        if kernel.extent <= 0:
            return
        if kernel.chunk <= 0:
            raise ValueError(f"kernel {kernel.name}: chunk must be positive, received {kernel.chunk}")
        self._order(self._access(call))
        kind = op.PARALLEL if chunks(kernel) > 1 else op.CALL
        row = self._row(kind, 0, self._arguments(kernel), kernel.extent, kernel.chunk, int(kernel.spread))
        self.code.calls[row] = call

    def _serially(self, instruction: Instruction) -> None:
        """Control flow for thread 0; the others jump over it."""
        skip = self._row(op.MASTER)
        pending, self._pending, self._free = self._pending, [], True
        self._control(instruction)
        self._pending, self._free = pending, False
        self.code.rows[skip][1] = len(self.code.rows)

    def _control(self, instruction: Instruction) -> None:
        if isinstance(instruction, Loop):
            self._loop(instruction)
        elif isinstance(instruction, While):
            self._while(instruction)
        elif isinstance(instruction, Switch):
            self._switch(instruction)
        else:
            raise TypeError(f"unknown instruction {instruction!r}")

    def _inner(self, instructions: Sequence[Instruction]) -> None:
        """A block that others jump into or out of: nothing stays pending across its ends."""
        self._block(instructions)
        self._barrier()

    def _sync(self) -> None:
        if not self._free:
            self._row(op.BARRIER)

    def _loop(self, loop: Loop) -> None:
        self._enter_windows(loop.steps)
        bases = {s.base: self._address(Ptr(s.base)) for s in loop.steps}
        counter = self._word()
        enter = self._row(op.ENTER, counter, loop.trips)
        body = len(self.code.rows)
        self._inner(loop.body)
        last = self._row(op.NEXT, counter, body)
        self.code.rows[enter][3] = len(self.code.rows)
        first, count = len(self.code.data), 0
        for step in loop.steps:
            for word, offset in self.code.relocations.pop(step.window, []):
                self.code.data += [word, bases[step.base], step.start + offset, step.stride]
                count += 1
        for row in (enter, last):
            self.code.rows[row][5] = count
            self.code.links.append((row, 4, first))

    def _while(self, loop: While) -> None:
        start = len(self.code.rows)
        self._inner(loop.condition)
        self._sync()
        leave = self._row(op.JUMP_IF_ZERO, self._address(loop.flag))
        self._sync()
        self._inner(loop.body)
        self._row(op.JUMP, start)
        self.code.rows[leave][2] = len(self.code.rows)
        self._sync()

    def _switch(self, switch: Switch) -> None:
        if not switch.branches:
            raise ValueError("switch without branches")
        self._sync()
        head = self._row(op.SWITCH, self._address(switch.index), 0, len(switch.branches))
        targets, exits = [], []
        for branch in switch.branches:
            targets.append(len(self.code.rows))
            self._sync()
            self._inner(branch)
            exits.append(self._row(op.JUMP))
        for row in exits:
            self.code.rows[row][1] = len(self.code.rows)
        self.code.links.append((head, 2, len(self.code.data)))
        self.code.data += targets
