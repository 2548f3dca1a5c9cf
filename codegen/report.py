"""What the compiler tells people: tables of programs, GRAPHKERAS_DEBUG output, GRAPHKERAS_DUMP folders."""

from __future__ import annotations

import atexit
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.base_program import Named, same
from graphkeras.codegen.kernel import Kernel
from graphkeras.codegen.program import Program
from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, Origin
from graphkeras.ir.op import Kind, get_op
from graphkeras.ir.printer import save_constants, to_text

_numbers = itertools.count()


def explain(program: Program) -> str:
    """The kernels of a program in the order they run: layers, work, and why they are one kernel.

    Bytes and flops are those of one run; `cut` is the number of pieces that threads share.
    """
    rows = [("kernel", "layers", "extent", "cut", "flops", "bytes")]
    for row in program.explain_rows():
        layers = ", ".join(dict.fromkeys(o.split(" (")[0] for o in row.origins))
        rows.append((row.name, _short(layers, 48), str(row.extent), str(row.chunks), _si(row.flops), _si(row.nbytes)))
    total = f"{len(program.kernels)} kernels, {len({s for k in program.kernels for s in k.sources})} different, "
    total += f"{_si(sum(k.flops for k in program.kernels))}flop, {_si(sum(k.nbytes for k in program.kernels))}B, "
    notes = "".join(f"\ntaken apart: {text}" for text in taken_apart(program))
    return f"{program.name}\n{_table(rows)}\n{total}arena {_si(program.arena_nbytes)}B{notes}"


def taken_apart(program: Program, named: Named = same) -> list[str]:
    """Which composites have no template, in which layer and phase, and why."""
    found = []
    for node, why in program.declined:
        origin = named(node.origin)
        found.append(f"{node.op} in {origin.layer or 'no layer'} ({origin.phase}): {why}")
    return list(dict.fromkeys(found))


def with_parts(kernels: Iterable[Kernel]) -> Iterator[Kernel]:
    """Kernels and those that they call."""
    for kernel in kernels:
        yield kernel
        yield from with_parts(kernel.parts)


def timings(program: Program) -> str:
    """Time and rates of each kernel, from the profile that GRAPHKERAS_DEBUG=2 keeps or the last `profile()`."""
    rows: list[tuple[str, ...]] = [("kernel", "µs", "GB/s", "GFLOP/s", "layers")]
    measured = program.measured()
    for kernel, seconds in zip(program.kernels_run, measured, strict=True):
        layers = ", ".join(dict.fromkeys(o.layer for o in kernel.origins))
        rate = [f"{amount / seconds / 1e9:.1f}" if seconds else "-" for amount in (kernel.nbytes, kernel.flops)]
        rows.append((kernel.name, f"{seconds * 1e6:.2f}", *rate, _short(layers, 60)))
    return f"{program.name}: {sum(measured) * 1e6:.1f} µs a step in kernels\n{_table(rows)}"


def kernel_rows(program: Program, seconds: Sequence[float], named: Named = same) -> list[tuple[Any, ...]]:
    """(layer, phase, kernel, seconds, flops, bytes, operations, layers, refusals, reason, choices) of each, in order.

    A kernel belongs to the layer of the node it is built around: its product or reduction, else its last node.
    refusals: which ops that read its results are not part of it, and why. named: what the reader calls the place that
    a node comes from.
    """
    reasons = {n: g.refusals for g in program.groups for n in g.nodes}
    rows = []
    for kernel, time in zip(program.kernels_run, seconds, strict=True):
        nodes = kernel.nodes
        heavy = next((n for n in nodes if get_op(n.op).kind not in (Kind.POINTWISE, Kind.VIEW)), None)
        main = named(heavy.origin if heavy is not None else nodes[-1].origin) if nodes else Origin("copies")
        layers = tuple(dict.fromkeys(named(n.origin).layer for n in nodes))
        refused = (pair for n in nodes for pair in reasons.get(n, ()))
        refusals = tuple(dict.fromkeys(f"{n.op} of {named(n.origin).layer or 'step'}: {why}" for n, why in refused))
        row = (kernel.name, time, kernel.flops, kernel.nbytes, max(1, len(nodes)), layers, refusals)
        rows.append((main.layer or "step", main.phase, *row, kernel.reason, kernel.choices))
    return rows


def compiled(
    program: Program,
    graph: Graph,
    seconds: float,
    stages: Stages | None = None,
    aliases: Mapping[int, int] | None = None,
) -> None:
    """Called once for each new program: prints and writes what the flags ask for."""
    folder = flags.DUMP.value
    if folder is not None:
        dump(program, graph, folder, stages, aliases)
    level = flags.DEBUG.value
    if level == 0:
        return
    out = sys.stderr
    print(
        f"graphkeras: compiled {program.name} in {seconds:.2f} s: {len(graph.nodes)} nodes, "
        f"{len(program.kernels)} kernels, arena {_si(program.arena_nbytes)}B",
        file=out,
    )
    if level >= 2:
        program.keep_profile()
        atexit.register(lambda: print(timings(program), file=sys.stderr) if sum(program.measured()) else None)
    if level >= 3:
        print(explain(program), file=out)
        _print_fusion(program, out)
    if level >= 4:
        for source in dict.fromkeys(s for k in program.kernels for s in k.sources):
            print(source, file=out)
    if level >= 7:
        _print_machine_code(program, out)


def on_fire() -> Callable[[Any, Node, Node], None] | None:
    """What `optimise` calls for each rewrite: prints it from GRAPHKERAS_DEBUG=6 on."""
    if flags.DEBUG.value < 6:
        return None
    return lambda rule, node, made: print(f"  {rule.name}: {node!r} -> {made!r}", file=sys.stderr)


class Stages:
    """What `optimise` calls after each stage: prints graphs from GRAPHKERAS_DEBUG=5 on, keeps them for GRAPHKERAS_DUMP.

    Stages that change nothing are left out. `kept` holds (name, text); `constants` the arrays that the texts refer to.
    """

    def __init__(self, graph: Graph) -> None:
        self.constants: dict[str, np.ndarray] = {}
        self.kept = [("traced", to_text(graph, self.constants))]

    def __call__(self, stage: str, graph: Graph) -> None:
        text = to_text(graph, self.constants)
        if ":" not in stage and text != self.kept[-1][1]:  # bodies of loops are part of the graphs around them
            self.kept.append((stage, text))
            if flags.DEBUG.value >= 5:
                print(f"after {stage}: {text}", file=sys.stderr)


def stages(graph: Graph) -> Stages | None:
    """The listener for `optimise`, where a flag asks for one."""
    return Stages(graph) if flags.DEBUG.value >= 5 or flags.DUMP.value is not None else None


def _print_fusion(program: Program, out: TextIO) -> None:
    for kernel in program.kernels:
        if kernel.reason:
            print(f"  {kernel.name}: {'; '.join([kernel.reason, *kernel.choices])}", file=out)
    for group in program.groups:
        for node, reason in group.refusals:
            print(f"  %{node.id} {node.op} stands alone: {reason}", file=out)


def _print_machine_code(program: Program, out: TextIO) -> None:
    from graphkeras.codegen.cpu import compiler

    for kernel in {k.source: k for k in with_parts(program.kernels)}.values():
        print(f"; {kernel.name}\n{compiler.optimised_ir(kernel.source)}", file=out)
        print(compiler.assembly(kernel.source), file=out)


def dump(
    program: Program, graph: Graph, folder: Path, stages: Stages | None = None, aliases: Mapping[int, int] | None = None
) -> Path:
    """Write graphs, plan and kernel sources of one compile below `folder`; returns the new folder.

    ir_0_traced.txt is the graph as traced, ir_1_... what each stage made that changed something; repro.py compiles
    the first again and compares it with the interpreter.
    """
    while (place := folder / f"{next(_numbers):03d}-{_file_name(program.name)}").exists():
        pass
    (place / "kernels").mkdir(parents=True)
    stages = stages or Stages(graph)
    for number, (name, text) in enumerate(stages.kept):
        (place / f"ir_{number}_{_file_name(name)}.txt").write_text(text + "\n")
    save_constants(place / "constants.npz", stages.constants)
    (place / "aliases.json").write_text(json.dumps(sorted((aliases or {}).items())))
    (place / "repro.py").write_text(REPRO)
    (place / "plan.txt").write_text(explain(program) + "\n")
    for number, kernel in enumerate({k.source: k for k in with_parts(program.kernels)}.values()):
        (place / "kernels" / f"{number:03d}-{_file_name(kernel.name)}.py").write_text(kernel.source)
    return place


REPRO = '''"""Compile the graph of this folder, run it on random inputs, compare with the interpreter.

`python repro.py [seed]`; on a difference it says which pass makes it.
"""

import sys
from pathlib import Path

from graphkeras.codegen.repro import main

sys.exit(main(Path(__file__).parent, *map(int, sys.argv[1:])))
'''


# -- text -----------------------------------------------------------------------------------------------
def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)[:60] or "program"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _si(value: float) -> str:
    """A number with three digits and a prefix, a blank before it: 12.3 M."""
    for prefix in ("", "k", "M", "G"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:.3g} T"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = np.array([[len(cell) for cell in row] for row in rows]).max(axis=0)
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
