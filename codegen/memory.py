"""The memory plan: liveness of temporaries over the instruction list, and their places in one arena.

The list is flattened (loops and branches too); a buffer that lives across a loop's edge lives as long as the loop.
Places are given greedily, largest buffers first, each at the lowest aligned offset that no overlapping lifetime
occupies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from graphkeras.codegen.kernel import Buffer, Call, Copy, Instruction, Loop, Ptr, Switch, TensorMap, Where, While

ALIGN = 64


@dataclass(frozen=True)
class Plan:
    """Offsets of arena buffers in bytes, and the arena's size."""

    offsets: dict[Buffer, int]
    nbytes: int
    lifetimes: dict[Buffer, tuple[int, int]]


def plan_memory(
    instructions: Sequence[Instruction],
    keep: Sequence[Buffer] = (),
    align: int = ALIGN,
    elsewhere: Collection[Buffer] = (),
) -> Plan:
    """Place all arena buffers at multiples of `align`, but for those that have their place `elsewhere`.

    keep: buffers that are read after the last instruction.
    """
    lifetimes = {b: span for b, span in _lifetimes(instructions).items() if b not in elsewhere}
    end = max((last for _, last in lifetimes.values()), default=0) + 1
    for buffer in keep:
        if buffer.where is Where.ARENA:
            first, _ = lifetimes.get(buffer, (0, 0))
            lifetimes[buffer] = (first, end)
    offsets: dict[Buffer, int] = {}
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    for buffer, (first, last) in sorted(lifetimes.items(), key=lambda item: (-item[0].nbytes, item[1])):
        size = -(-buffer.nbytes // align) * align
        offset = 0
        for other, stop, begin, finish in sorted(placed):
            if finish < first or last < begin:
                continue
            if offset + size <= other:
                break
            offset = max(offset, stop)
        offsets[buffer] = offset
        placed.append((offset, offset + size, first, last))
    return Plan(offsets, max((stop for _, stop, _, _ in placed), default=0), lifetimes)


def touched(instruction: Instruction) -> Iterator[Buffer]:
    """Buffers that an instruction (not its bodies) reads or writes."""
    if isinstance(instruction, Call):
        yield from instruction.kernel.reads
        yield from instruction.kernel.writes
        for arg in instruction.kernel.args:
            if isinstance(arg, (Ptr, TensorMap)):
                yield arg.buffer
    elif isinstance(instruction, Copy):
        yield instruction.target.buffer
        yield instruction.source.buffer
    elif isinstance(instruction, Loop):
        for step in instruction.steps:
            yield step.base
    elif isinstance(instruction, While):
        yield instruction.flag.buffer
    elif isinstance(instruction, Switch):
        yield instruction.index.buffer


def bodies(instruction: Instruction) -> list[list[Instruction]]:
    if isinstance(instruction, Loop):
        return [instruction.body]
    if isinstance(instruction, While):
        return [instruction.condition, instruction.body]
    return instruction.branches if isinstance(instruction, Switch) else []


def _lifetimes(instructions: Sequence[Instruction]) -> dict[Buffer, tuple[int, int]]:
    found: dict[Buffer, tuple[int, int]] = {}
    _walk(instructions, 0, found)
    return {b: span for b, span in found.items() if b.where is Where.ARENA}


def _walk(instructions: Sequence[Instruction], clock: int, found: dict[Buffer, tuple[int, int]]) -> int:
    for instruction in instructions:
        start = clock
        for buffer in touched(instruction):
            _extend(found, buffer, clock, clock)
        clock += 1
        windows = {s.window for s in instruction.steps} if isinstance(instruction, Loop) else set()
        for body in bodies(instruction):
            inner: dict[Buffer, tuple[int, int]] = {}
            clock = _walk(body, clock, inner)
            for buffer, (first, last) in inner.items():
                if buffer not in windows:
                    _extend(found, buffer, first, last)
        if clock > start + 1:
            _span_loop(instruction, start, clock, found)
    return clock


def _span_loop(instruction: Instruction, start: int, end: int, found: dict[Buffer, tuple[int, int]]) -> None:
    """What a loop touches and lives outside of it, or is carried to the next iteration, lives through it."""
    if isinstance(instruction, Switch):
        for buffer in touched(instruction):
            _extend(found, buffer, start, end)
        return
    inside: dict[Buffer, tuple[int, int]] = {}
    for body in bodies(instruction):
        _walk(body, 0, inside)
    for buffer in [*inside, *touched(instruction)]:
        if buffer in found:
            _extend(found, buffer, start, end)


def _extend(found: dict[Buffer, tuple[int, int]], buffer: Buffer, first: int, last: int) -> None:
    a, b = found.get(buffer, (first, last))
    found[buffer] = (min(a, first), max(b, last))
