"""What the two forms of a scan share (instructions of the plan, one kernel by rows): its places, its lowered body."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from graphkeras.codegen.kernel import Buffer, Call, Copy, Instruction, Step, View, Where
from graphkeras.codegen.lower import Lowering
from graphkeras.ir.graph import Graph


@dataclass(frozen=True)
class Scan:
    """A scan whose values have their places. inputs, places: views of the body's inputs and outputs."""

    body: Graph
    length: int
    carries: int
    consts: int
    inputs: list[View]
    places: list[View]
    steps: tuple[Step, ...]

    @property
    def shared(self) -> list[View]:
        """Inputs that are the same in all iterations."""
        return self.inputs[self.carries : self.carries + self.consts]


def lower_body(ctx: Lowering, graph: Graph, inputs: Sequence[View], places: Sequence[View | None]) -> list[Instruction]:
    """Instructions of a body, lowered apart; values of the body are not visible outside."""
    outer, ctx.instructions = ctx.instructions, []
    known = dict(ctx.views)
    ctx.graph(graph, inputs, places)
    ctx.views = known
    body, ctx.instructions = ctx.instructions, outer
    return body


def is_plain(instructions: Sequence[Instruction]) -> bool:
    """Whether there is no control flow among them."""
    return all(isinstance(i, (Call, Copy)) for i in instructions)


def split_off(
    instructions: Sequence[Instruction], fixed: set[Buffer], outside: set[Buffer]
) -> tuple[list[Instruction], list[Instruction]]:
    """(calls that do the same in each iteration, the rest).

    fixed: buffers that no iteration writes. outside: buffers that are read after the loop, or by the next iteration.
    """
    if not is_plain(instructions):
        return [], list(instructions)
    writers = Counter(b for i in instructions for b in _written(i))
    known, before, rest = set(fixed), list[Instruction](), list[Instruction]()
    for i in instructions:
        if (
            isinstance(i, Call)
            and all(b in known or b.where is Where.CONST for b in i.kernel.reads)
            and all(b.where is Where.ARENA and writers[b] == 1 and b not in outside for b in i.kernel.writes)
        ):
            known |= set(i.kernel.writes)
            before.append(i)
        else:
            rest.append(i)
    return before, rest


def _written(instruction: Instruction) -> Sequence[Buffer]:
    if isinstance(instruction, Call):
        return instruction.kernel.writes
    return [instruction.target.buffer] if isinstance(instruction, Copy) else []
