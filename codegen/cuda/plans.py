"""What a program asks of its plan before it runs: how many launches, who decides the way, which copies there are."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.cuda.conditions import flag_kernel, index_kernel
from graphkeras.codegen.kernel import Buffer, Call, Copy, Instruction, Kernel, Loop, Ptr, Switch, While
from graphkeras.codegen.lower import LoweringError
from graphkeras.codegen.memory import bodies


def launches(instructions: Sequence[Instruction]) -> int:
    """Nodes of the captured graph."""
    count = 0
    for instruction in instructions:
        inner = sum(launches(body) for body in bodies(instruction))
        count += instruction.trips * inner if isinstance(instruction, Loop) else 1 + inner
    return count


def chooses(instructions: Sequence[Instruction]) -> bool:
    """Whether there is a `while` or `cond` among them, or in their bodies."""
    return any(isinstance(i, (While, Switch)) or any(map(chooses, bodies(i))) for i in instructions)


def choosers(instructions: Sequence[Instruction]) -> dict[Instruction, Kernel]:
    """The kernels that say which way loops and branches go."""
    found: dict[Instruction, Kernel] = {}
    for instruction in instructions:
        if isinstance(instruction, While):
            found[instruction] = flag_kernel(instruction.flag)
        elif isinstance(instruction, Switch):
            found[instruction] = index_kernel(instruction.index, len(instruction.branches))
        for body in bodies(instruction):
            found.update(choosers(body))
    return found


def refuse_moving_tables(instructions: Sequence[Instruction], windows: frozenset[Buffer] = frozenset()) -> None:
    """Argument tables are written once per set of addresses: they cannot hold windows that move with a loop."""
    for instruction in instructions:
        if isinstance(instruction, Call):
            kernel = instruction.kernel
            table = kernel.launch is not None and kernel.launch.table
            if table and any(isinstance(a, Ptr) and a.buffer in windows for a in kernel.args):
                raise LoweringError(
                    f"kernel {kernel.name} updates state from slices of a loop, which has no native form"
                )
        elif isinstance(instruction, Loop):
            refuse_moving_tables(instruction.body, windows | {s.window for s in instruction.steps})
        else:
            for body in bodies(instruction):
                refuse_moving_tables(body, windows)


def copies_of(instructions: Sequence[Instruction]) -> list[Copy]:
    found: list[Copy] = []
    for instruction in instructions:
        if isinstance(instruction, Copy):
            found.append(instruction)
        elif isinstance(instruction, Loop):
            found += copies_of(instruction.body)
        elif isinstance(instruction, While):
            found += copies_of(instruction.condition) + copies_of(instruction.body)
        elif isinstance(instruction, Switch):
            found += [c for branch in instruction.branches for c in copies_of(branch)]
    return found
