"""The memory plan: liveness of temporaries over the instruction list, and their places in one arena.

The list is flattened (loops and branches too); a buffer that lives across a loop's edge lives as long as the loop.
Places are given greedily, largest buffers first, each at the lowest aligned offset that no overlapping lifetime
occupies; a large one may move up inside the memory that is taken anyhow, to where its halves lie on the halves of those
that had the memory before it: each half is written by the same threads, and lines need not change caches.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphkeras.codegen.kernel import Buffer, Call, Copy, Instruction, Loop, Ptr, Switch, TensorMap, Where, While

ALIGN = 64
SHARED_FROM = 2**16  # bytes from which a buffer is worth aligning
CENTRES = 16  # of the largest users of the same memory that are tried

Place = tuple[int, int, int, int]  # offset, end, first and last instruction


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
    placed: list[Place] = []
    nbytes = 0
    for buffer, (first, last) in sorted(lifetimes.items(), key=lambda item: (-item[0].nbytes, item[1])):
        size = -(-buffer.nbytes // align) * align
        gaps = list(_gaps(placed, first, last))
        offset = next(start for start, stop in gaps if stop - start >= size)
        nbytes = max(nbytes, offset + size)
        if size >= SHARED_FROM:
            offset = _aligned_offset(placed, gaps, offset, size, (first, last), nbytes, align)
        offsets[buffer] = offset
        placed.append((offset, offset + size, first, last))
    return Plan(offsets, nbytes, lifetimes)


def _gaps(placed: Sequence[Place], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Memory that nothing needs between two times, from below; the last gap has no end."""
    start = 0
    for other, stop, begin, finish in sorted(placed):
        if finish < first or last < begin:
            continue
        if start < other:
            yield start, other
        start = max(start, stop)
    yield start, sys.maxsize


def _aligned_offset(
    placed: Sequence[Place],
    gaps: Sequence[tuple[int, int]],
    lowest: int,
    size: int,
    span: tuple[int, int],
    end: int,
    align: int,
) -> int:
    """The offset below `end` at which the fewest bytes lie in another half than that of their memory's other users."""
    users = np.array([p for p in placed if p[3] < span[0] or span[1] < p[2]], np.int64).reshape(-1, 4)
    middles = (users[:, 0] + users[:, 1]) // 2
    found = {lowest}
    for middle in dict.fromkeys(middles[:CENTRES].tolist()):
        offset = (middle - size // 2) // align * align
        if offset >= 0 and any(start <= offset and offset + size <= min(stop, end) for start, stop in gaps):
            found.add(offset)
    return min(sorted(found), key=lambda offset: _displaced(users, middles, offset, size))


def _displaced(users: np.ndarray, middles: np.ndarray, offset: int, size: int) -> int:
    """Bytes of a buffer at `offset` between its middle and those of the users of the same memory."""
    middle = offset + size // 2
    low = np.maximum(np.minimum(middles, middle), np.maximum(users[:, 0], offset))
    high = np.minimum(np.maximum(middles, middle), np.minimum(users[:, 1], offset + size))
    return int(np.maximum(high - low, 0).sum())


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
