"""What the compiler tells people: tables of programs, GRAPHKERAS_DEBUG output, GRAPHKERAS_DUMP folders."""

from __future__ import annotations

import atexit
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from graphkeras.codegen import flags
from graphkeras.codegen.program import Program
from graphkeras.ir.graph import Graph
from graphkeras.ir.node import Node, Origin
from graphkeras.ir.op import Kind, get_op

_numbers = itertools.count()


def explain(program: Program) -> str:
    """The kernels of a program in the order they run: layers, work, and why they are one kernel.

    Bytes and flops are those of one run; `cut` is the number of pieces that threads share.
    """
    rows = [("kernel", "layers", "extent", "cut", "flops", "bytes")]
    for row in program.explain_rows():
        layers = ", ".join(dict.fromkeys(o.split(" (")[0] for o in row.origins))
        rows.append((row.name, _short(layers, 48), str(row.extent), str(row.chunks), _si(row.flops), _si(row.nbytes)))
    total = f"{len(program.kernels)} kernels, {len({k.source for k in program.kernels})} different, "
    total += f"{_si(sum(k.flops for k in program.kernels))}flop, {_si(sum(k.nbytes for k in program.kernels))}B, "
    return f"{program.name}\n{_table(rows)}\n{total}arena {_si(program.arena_nbytes)}B"


def timings(program: Program) -> str:
    """Time and rates of each kernel, from the profile that GRAPHKERAS_DEBUG=2 keeps or the last `profile()`."""
    rows = [("kernel", "µs", "GB/s", "GFLOP/s", "layers")]
    measured = program.measured()
    for kernel, seconds in zip(program.kernels_run, measured, strict=True):
        layers = ", ".join(dict.fromkeys(o.layer for o in kernel.origins))
        rate = [f"{amount / seconds / 1e9:.1f}" if seconds else "-" for amount in (kernel.nbytes, kernel.flops)]
        rows.append((kernel.name, f"{seconds * 1e6:.2f}", *rate, _short(layers, 60)))
    return f"{program.name}: {sum(measured) * 1e6:.1f} µs a step in kernels\n{_table(rows)}"


def kernel_rows(program: Program, seconds: Sequence[float]) -> list[tuple[Any, ...]]:
    """(layer, phase, kernel, seconds, flops, bytes, operations, layers, refusals) of each kernel, in order.

    A kernel belongs to the layer of the node it is built around: its product or reduction, else its last node.
    """
    reasons = {n: g.refusals for g in program.groups for n in g.nodes}
    rows = []
    for kernel, time in zip(program.kernels_run, seconds, strict=True):
        nodes = kernel.nodes
        heavy = next((n for n in nodes if get_op(n.op).kind not in (Kind.POINTWISE, Kind.VIEW)), None)
        main = heavy.origin if heavy is not None else nodes[-1].origin if nodes else Origin("copies")
        layers = tuple(dict.fromkeys(n.origin.layer for n in nodes))
        refusals = tuple(dict.fromkeys(reason for n in nodes for _, reason in reasons.get(n, ())))
        row = (kernel.name, time, kernel.flops, kernel.nbytes, max(1, len(nodes)), layers, refusals)
        rows.append((main.layer or "step", main.phase, *row))
    return rows


def compiled(program: Program, graph: Graph, seconds: float) -> None:
    """Called once for each new program: prints and writes what the flags ask for."""
    folder = flags.DUMP.value
    if folder is not None:
        dump(program, graph, folder)
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
        for source in dict.fromkeys(k.source for k in program.kernels):
            print(source, file=out)
    if level >= 7:
        _print_machine_code(program, out)


def on_fire() -> Callable[[Any, Node, Node], None] | None:
    """What `optimise` calls for each rewrite: prints it from GRAPHKERAS_DEBUG=6 on."""
    if flags.DEBUG.value < 6:
        return None
    return lambda rule, node, made: print(f"  {rule.name}: {node!r} -> {made!r}", file=sys.stderr)


def after_stage() -> Callable[[str, Graph], None] | None:
    """What `optimise` calls after each stage: prints the graph from GRAPHKERAS_DEBUG=5 on."""
    if flags.DEBUG.value < 5:
        return None
    return lambda stage, graph: print(f"after {stage}: {graph_text(graph)}", file=sys.stderr)


def _print_fusion(program: Program, out: TextIO) -> None:
    for kernel in program.kernels:
        if kernel.reason:
            print(f"  {kernel.name}: {kernel.reason}", file=out)
    for group in program.groups:
        for node, reason in group.refusals:
            print(f"  %{node.id} {node.op} stands alone: {reason}", file=out)


def _print_machine_code(program: Program, out: TextIO) -> None:
    from graphkeras.codegen.cpu import compiler

    for kernel in {k.source: k for k in program.kernels}.values():
        print(f"; {kernel.name}\n{compiler.optimised_ir(kernel.source)}", file=out)
        print(compiler.assembly(kernel.source), file=out)


def graph_text(graph: Graph) -> str:
    """One line per node: number, op, inputs, attributes, type, layer."""
    lines = [repr(graph)]
    for node in graph.nodes:
        parts = [f"%{i.id}" for i in node.inputs] + [f"{k}={v!r}" for k, v in node.attrs.items()]
        kinds = ", ".join(map(str, node.type)) if isinstance(node.type, tuple) else node.type
        layer = f"  # {node.origin}" if node.origin.layer else ""
        lines.append(f"%{node.id} = {node.op}({_short(', '.join(parts), 100)}) : {kinds}{layer}")
    return "\n".join([*lines, "return " + ", ".join(f"%{n.id}" for n in graph.outputs)])


def dump(program: Program, graph: Graph, folder: Path) -> Path:
    """Write graph, plan and kernel sources of one compile below `folder`; returns the new folder."""
    while (place := folder / f"{next(_numbers):03d}-{_file_name(program.name)}").exists():
        pass
    (place / "kernels").mkdir(parents=True)
    (place / "graph.txt").write_text(graph_text(graph) + "\n")
    (place / "plan.txt").write_text(explain(program) + "\n")
    for number, kernel in enumerate({k.source: k for k in program.kernels}.values()):
        (place / "kernels" / f"{number:03d}-{_file_name(kernel.name)}.py").write_text(kernel.source)
    return place


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
