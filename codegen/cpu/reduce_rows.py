"""Row kernels: one work item is one row, walked in one or several passes."""

from __future__ import annotations

from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cpu.nest import Levels, Nest, head, nested, reduction_kernel, row_results
from graphkeras.codegen.cpu.reduce_split import Cut
from graphkeras.codegen.index_maps import resolve
from graphkeras.codegen.kernel import Kernel, Scratch
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype


def row_kernel(nest: Nest, levels: Levels) -> Kernel:
    w = Writer()
    head(w, nest, f"one row at a time, {levels.count} passes")
    scratch = {n: f"r{k}" for k, n in enumerate(n for p in range(levels.count) for n in levels.saved(p))}
    args = [*nest.args, *nest.body.args]
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        for node, name in scratch.items():
            dtype = CpuHandler.register_dtype(node.dtype)
            w.line(f"{name} = ptr_{dtype}(args, {len(args)})")
            args.append(Scratch(nest.length * numpy_dtype(dtype).itemsize))
        with w.block("for item in range(lo, hi)"):
            if nest.kept:
                nest.decompose(w, "item", nest.kept)
            values: dict[Node, str] = {}
            for number in range(levels.count):
                _row_pass(w, nest, levels, number, values, scratch)
    return reduction_kernel(nest, "row_", w, args)


def pass_kernel(levels: Levels, cut: Cut) -> Kernel:
    """Rows that are walked once, whole or in chunks."""
    nest = cut.nest
    w = Writer()
    head(w, nest, "one row at a time, 1 pass")
    args = [*nest.args, *nest.body.args]
    word = cut.add_args(args)
    memory = cut.add_memory(args)
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        cut.declare(w, word, memory)
        with w.block("for item in range(lo, hi)"):
            cut.begin(w)
            if nest.kept:
                nest.decompose(w, "whole", nest.kept)
            fields = [[f"a{k}_{f}" for f in range(len(nest.fields(k)))] for k in range(len(nest.group.reduces))]
            for k, names in enumerate(fields):
                for name, (identity, _) in zip(names, nest.fields(k), strict=True):
                    w.line(f"{name} = {identity}")
            with w.block("if joined == 0"), nested(w, nest, nest.reduced, cut.ranges):
                done = nest.body.emit(w, {}, nest.index, only=levels.full_nodes(0, {}), store=levels.stores(0, "full"))
                for k, r in enumerate(nest.group.reduces):
                    x = nest.body.value(w, r.inputs[0], done, nest.index)
                    for name, text in zip(fields[k], nest.accumulate(w, k, fields[k], x, nest.position()), strict=True):
                        w.line(f"{name} = {text}")
            with w.block("else"), w.block("for part in range(joined)"):
                for k, names in enumerate(fields):
                    cut.merge(w, k, memory, names, "whole * joined + part")
            with w.block("if parts == 1"):
                values = {r: nest.finish(w, k, fields[k]) for k, r in enumerate(nest.group.reduces)}
                row_results(w, nest, levels, 0, values)
            with w.block("else"):
                for name, _, _, k in memory:
                    dtype = nest.fields(k)[int(name.split("_")[1])][1]
                    w.line(f"m{name}[item] = {CpuHandler.to_memory(name, dtype)}")
    return reduction_kernel(nest, "row_", w, args, cut)


def _row_pass(
    w: Writer, nest: Nest, levels: Levels, number: int, values: dict[Node, str], scratch: dict[Node, str]
) -> None:
    """One walk over the row, then what follows from its reductions. `values` are the row's finished numbers."""
    reduces = levels.reduces(number)
    stores = levels.stores(number, "full")
    kept = {n: "" for n in (*scratch, *nest.group.stored) if levels.passes[n] < number and levels.level(n) == "full"}
    names = [nest.group.reduces.index(r) for r in reduces]
    if reduces or stores or number == 0:
        for k in names:
            for f, (identity, _) in enumerate(nest.fields(k)):
                w.line(f"a{k}_{f} = {identity}")
        with nested(w, nest, nest.reduced):
            at_hand = dict(values)
            for node in _needed(levels, number, kept):
                at_hand[node] = _again(w, nest, node, scratch)
            done = nest.body.emit(w, at_hand, nest.index, only=levels.full_nodes(number, kept), store=stores)
            for node in levels.saved(number):
                if node in done:
                    w.line(f"{scratch[node]}[{nest.position()}] = {done[node]}")
            for k, r in zip(names, reduces, strict=True):
                x = nest.body.value(w, r.inputs[0], done, nest.index)
                old = [f"a{k}_{f}" for f in range(len(nest.fields(k)))]
                new = nest.accumulate(w, k, old, x, nest.position())
                for name, text in zip(old, new, strict=True):
                    w.line(f"{name} = {text}")
    for k, r in zip(names, reduces, strict=True):
        values[r] = nest.finish(w, k, [f"a{k}_{f}" for f in range(len(nest.fields(k)))])
    row_results(w, nest, levels, number, values)


def _needed(levels: Levels, number: int, kept: dict[Node, str]) -> list[Node]:
    """Kept nodes that this pass reads."""
    found = {resolve(i) for n in levels.full_nodes(number, kept) for i in n.inputs}
    found |= {resolve(r.inputs[0]) for r in levels.reduces(number)}
    return [n for n in kept if n in found]


def _again(w: Writer, nest: Nest, node: Node, scratch: dict[Node, str]) -> str:
    """Load what an earlier pass left behind: from the scratch row, or from the stored result."""
    name = w.name("k")
    if node in scratch:
        w.line(f"{name} = {scratch[node]}[{nest.position()}]")
    else:
        w.line(f"{name} = {nest.body.stored(node, nest.index)}")
    return name
