"""Graph -> Program: optimise, fuse, lower, plan memory. The entry of the native back end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from graphkeras.codegen import flags, report
from graphkeras.codegen.check import CheckedProgram
from graphkeras.codegen.claims import Claims
from graphkeras.codegen.kernel import Buffer, Call, Copy, Instruction, Kernel, View, Where, contiguous_strides
from graphkeras.codegen.lower import Lowering, LoweringError, can_lower
from graphkeras.codegen.memory import bodies, plan_memory
from graphkeras.codegen.program import Program
from graphkeras.codegen.target import CPU, Target
from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, Origin
from graphkeras.ir.passes.pipeline import DOCS, names, optimise


def compile_graph(
    graph: Graph, aliases: Mapping[int, int] | None = None, *, fuse: bool = True, target: Target = CPU
) -> Program:
    """Compile a graph to a native Program.

    aliases: output index -> input index whose memory the output takes (state updated in place).
    target: the machine to compile for.
    Raises LoweringError where an op has no native kernel (linear algebra, FFT); the interpreter runs such graphs.
    """
    started = time.perf_counter()
    off = flags.PASSES.value
    unknown = off - names() - {*flags.KERNEL_STAGES}
    if unknown:
        raise ValueError(
            f"GRAPHKERAS_PASSES: expected stages among {', '.join(sorted({*DOCS} - {'decompose'}))}, "
            f"{', '.join(sorted(flags.KERNEL_STAGES))}, "
            f"or rules among {', '.join(sorted(names() - {*DOCS}))}; received {', '.join(sorted(unknown))}"
        )
    original = graph
    stages = report.stages(graph)
    check = True if flags.DEBUG.value else None
    claims = Claims(target)
    graph = optimise(graph, claims, off=off, on_fire=report.on_fire(), after=stages, check=check)
    alien = can_lower(graph, target)
    if alien is not None:
        raise LoweringError(f"op {alien.op!r} in layer {alien.origin} has no native kernel")
    ctx = Lowering(fuse=fuse and "fuse" not in off, target=target)
    inputs = [_bound(n.type.shape, n.dtype, Where.INPUT, k, n.attrs["name"]) for k, n in enumerate(graph.inputs)]
    outputs: list[View] = []
    for k, node in enumerate(graph.outputs):
        source = (aliases or {}).get(k)
        if source is None:
            outputs.append(_bound(node.type.shape, node.dtype, Where.OUTPUT, k, f"output{k}"))
        else:
            if graph.inputs[source].type != node.type:
                raise ValueError(
                    f"output {k} ({node.type}) cannot take the memory of input {source} ({graph.inputs[source].type})"
                )
            outputs.append(inputs[source])
    ctx.updated = frozenset(inputs[k].buffer for k in (aliases or {}).values())
    ctx.graph(graph, inputs, outputs)
    instructions = ctx.instructions if "join_launches" in off else join_launches(ctx.instructions)
    plan = plan_memory(instructions, align=target.align)
    nodes = {n.id: n for n in graph.nodes}
    program: Program = (CheckedProgram if flags.CHECK.value and target is CPU else target.program)(
        instructions,
        inputs=[v.buffer for v in inputs],
        outputs=[v.buffer for v in outputs],
        input_types=[n.type for n in graph.inputs],
        output_types=[n.type for n in graph.outputs],
        offsets=plan.offsets,
        arena_nbytes=plan.nbytes,
        status=ctx.status,
        explain_error=lambda status: _explain(status, nodes, program.named),
        name=graph.name,
    )
    program.groups = ctx.groups
    program.declined = claims.declined
    if isinstance(program, CheckedProgram):
        program.watch(original, graph, compile_graph)
    report.compiled(program, graph, time.perf_counter() - started, stages, aliases)
    return program


def _explain(status: tuple[int, int, int, int], nodes: Mapping[int, Node], named: Callable[[Origin], Origin]) -> str:
    """The message of an error that a kernel reported: (code, node id, bad value, extent)."""
    _, identity, value, extent = status
    node = nodes.get(identity)
    where = "the compiled step"
    origin = Origin() if node is None else named(node.origin)
    if origin.layer or origin.file:
        where = f"layer {origin}" if origin.layer else f"{origin.file}:{origin.line}"
    op = node.op if node is not None else "a kernel"
    return (
        f"In {where}, {op!r} received the index {value}, but only 0 to {extent - 1} exist. Check the data (labels, "
        f"token ids) against the size of the table: an Embedding needs input_dim of at least {value + 1}."
    )


def _bound(shape: tuple[int, ...], dtype: str, where: Where, index: int, label: str) -> View:
    from graphkeras.ir.types import TensorType

    buffer = Buffer(max(TensorType(shape, dtype).nbytes, 1), where, index, label=label)
    return View(buffer, dtype, shape, contiguous_strides(shape))


# -- one launch for many --------------------------------------------------------------------------------
def join_launches(instructions: list[Instruction]) -> list[Instruction]:
    """Join independent launches of one source that can be joined (all Adam updates become one)."""
    result: list[Instruction] = []
    for instruction in instructions:
        for body in bodies(instruction):
            body[:] = join_launches(body)
        if not _joined(result, instruction):
            result.append(instruction)
    return result


def _joined(done: list[Instruction], instruction: Instruction) -> bool:
    if not isinstance(instruction, Call) or instruction.kernel.join is None:
        return False
    kernel, join = instruction.kernel, instruction.kernel.join
    for position in range(len(done) - 1, -1, -1):
        other = done[position]
        if not isinstance(other, Call) or other.kernel.source != kernel.source:
            continue
        between = done[position + 1 :]
        if _overlaps([other], kernel):
            return False
        if not _overlaps(between, kernel):  # move this one up
            done[position] = Call(join(other.kernel, kernel))
            return True
        if not _overlaps(between, other.kernel):  # move the earlier one down
            done.append(Call(join(other.kernel, kernel)))
            del done[position]
            return True
        return False
    return False


def _overlaps(instructions: list[Instruction], kernel: Kernel) -> bool:
    """Whether the order between `instructions` and `kernel` matters."""
    reads, writes = set(kernel.reads), set(kernel.writes)
    for instruction in instructions:
        other_reads, other_writes = _effects(instruction)
        if writes & (other_reads | other_writes) or reads & other_writes:
            return True
    return False


def _effects(instruction: Instruction) -> tuple[set[Buffer], set[Buffer]]:
    from graphkeras.codegen.memory import touched

    if isinstance(instruction, Call):
        return set(instruction.kernel.reads), set(instruction.kernel.writes)
    if isinstance(instruction, Copy):
        return {instruction.source.buffer}, {instruction.target.buffer}
    every = set(touched(instruction))
    for body in bodies(instruction):
        for inner in body:
            reads, writes = _effects(inner)
            every |= reads | writes
    return every, every
