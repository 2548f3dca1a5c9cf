"""Long reductions: partial results of chunks, then a kernel that combines them in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from graphkeras.codegen.body import Body
from graphkeras.codegen.cpu.handler import CpuHandler
from graphkeras.codegen.cpu.nest import Accumulator, Levels, Nest, head, nested, reduction_kernel
from graphkeras.codegen.cpu.pointwise import chunk_of
from graphkeras.codegen.cpu.reduce_columns import column_rows, names_of
from graphkeras.codegen.kernel import Arg, Buffer, Int, Kernel, Ptr, View, contiguous_strides
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.writer import Writer
from graphkeras.ir.types import numpy_dtype


def lower_split(ctx: Lowering, nest: Nest, levels: Levels, parts: int) -> None:
    """Partial results per chunk of the outermost reduced group, then a kernel that combines them in order."""
    group = nest.group
    inner = nest.kept[-1] if nest.kept and not nest.is_reduced[-1] else None
    columns = nest.extents[inner] if inner is not None else 1
    outer = [g for g in nest.kept if g != inner]
    items = math.prod(nest.extents[g] for g in outer) * parts
    partials: list[tuple[str, str, Buffer, int]] = []
    for k in range(len(group.reduces)):
        for f, (_, dtype) in enumerate(nest.fields(k)):
            memory = "uint8" if dtype == "bool" else dtype
            buffer = ctx.temp(items * columns * numpy_dtype(memory).itemsize, "partial")
            partials.append((f"a{k}_{f}", memory, buffer, k))
    ctx.launch(_partial_kernel(nest, levels, parts, partials, inner, outer, columns, items))
    ctx.launch(_combine_kernel(ctx, nest, levels, parts, partials, columns))


def _partial_kernel(
    nest: Nest,
    levels: Levels,
    parts: int,
    partials: Sequence[tuple[str, str, Buffer, int]],
    inner: int | None,
    outer: Sequence[int],
    columns: int,
    items: int,
) -> Kernel:
    w = Writer()
    head(w, nest, "partial results of one chunk of rows")
    split = nest.reduced[0]
    args = [*nest.args, *nest.body.args, Int(parts), Int(-(-nest.extents[split] // parts))]
    own = len(nest.args) + len(nest.body.args)
    accumulators: list[Accumulator] = []
    for name, dtype, buffer, k in partials:
        accumulators.append((name, dtype, len(args), k))
        args.append(Ptr(buffer))
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        w.line(f"parts = int_arg(args, {own})")
        w.line(f"length = int_arg(args, {own + 1})")
        for name, dtype, word, _ in accumulators:
            w.line(f"{name} = ptr_{dtype}(args, {word})")
        with w.block("for item in range(lo, hi)"):
            w.line("whole = item // parts")
            w.line("first = (item - whole * parts) * length")
            w.line(f"last = min(first + length, n{split})")
            if outer:
                nest.decompose(w, "whole", outer)
            ranges = {split: "first, last"}
            if inner is not None:
                w.line(f"base = item * n{inner}")
                column_rows(w, nest, levels, accumulators, inner, ranges, "base + ")
            else:
                _row_partial(w, nest, levels, accumulators, ranges)
    kernel = reduction_kernel(
        nest, "partial_" + nest.group.reduces[-1].op, w, args, items, extra=[p[2] for p in partials]
    )
    kernel.chunk = 1
    return kernel


def _row_partial(
    w: Writer, nest: Nest, levels: Levels, accumulators: Sequence[Accumulator], ranges: dict[int, str]
) -> None:
    for k in range(len(nest.group.reduces)):
        for f, (identity, _) in enumerate(nest.fields(k)):
            w.line(f"s{k}_{f} = {identity}")
    with nested(w, nest, nest.reduced, ranges):
        done = nest.body.emit(w, {}, nest.index, only=levels.full_nodes(0, {}), store=levels.stores(0, "full"))
        for k, r in enumerate(nest.group.reduces):
            x = nest.body.value(w, r.inputs[0], done, nest.index)
            old = [f"s{k}_{f}" for f in range(len(nest.fields(k)))]
            for name, text in zip(old, nest.accumulate(w, k, old, x, nest.position()), strict=True):
                w.line(f"{name} = {text}")
    for k in range(len(nest.group.reduces)):
        for f, name in enumerate(names_of(accumulators, k)):
            dtype = nest.fields(k)[f][1]
            w.line(f"{name}[item] = {CpuHandler.to_memory(f's{k}_{f}', dtype)}")


def _combine_kernel(
    ctx: Lowering,
    nest: Nest,
    levels: Levels,
    parts: int,
    partials: Sequence[tuple[str, str, Buffer, int]],
    columns: int,
) -> Kernel:
    """One result element per work item: combine its partial values, then the row-level rest of the group."""
    group = nest.group
    body = _row_body(ctx, nest, levels)
    w = Writer()
    head(w, nest, "combine the chunks, in order")
    extents = [math.prod(body.space[a] for a in axes) for axes in body.groups]
    args: list[Arg] = [Int(parts), Int(columns), *(Int(n) for n in extents), *body.args]
    words = 2 + len(extents)
    pointers = len(args)
    args += [Ptr(buffer) for _, _, buffer, _ in partials]
    with w.block("def kernel(args, lo, hi)"):
        w.line("parts = int_arg(args, 0)")
        w.line("columns = int_arg(args, 1)")
        for g in range(len(extents)):
            w.line(f"n{g} = int_arg(args, {2 + g})")
        body.begin(w, words)
        for word, (name, dtype, _, _) in enumerate(partials, pointers):
            w.line(f"{name} = ptr_{dtype}(args, {word})")
        with w.block("for item in range(lo, hi)"):
            w.line("whole = item // columns")
            w.line("first = whole * parts * columns + item - whole * columns")
            _combine_item(w, nest, levels, body, partials, len(extents))
    kernel = reduction_kernel(nest, "combine_" + group.reduces[-1].op, w, args, nest.results)
    kernel.reads = tuple(dict.fromkeys([*body.reads, *(p[2] for p in partials)]))
    kernel.writes = body.writes
    kernel.chunk = chunk_of(nest.results, nest.results * parts)
    kernel.flops, kernel.nbytes = float(nest.results * parts), float(4 * nest.results * parts)
    return kernel


def _combine_item(
    w: Writer,
    nest: Nest,
    levels: Levels,
    body: Body,
    partials: Sequence[tuple[str, str, Buffer, int]],
    index_count: int,
) -> None:
    for k in range(len(nest.group.reduces)):
        for f, (identity, _) in enumerate(nest.fields(k)):
            w.line(f"s{k}_{f} = {identity}")
    with w.block("for part in range(parts)"):
        for k in range(len(nest.group.reduces)):
            stored = [name for name, _, _, of in partials if of == k]
            fields = [
                CpuHandler.from_memory(f"{n}[first + part * columns]", d)
                for n, (_, d) in zip(stored, nest.fields(k), strict=True)
            ]
            old = [f"s{k}_{f}" for f in range(len(fields))]
            for name, text in zip(old, nest.merge(w, k, old, fields), strict=True):
                w.line(f"{name} = {text}")
    values = {
        r: nest.finish(w, k, [f"s{k}_{f}" for f in range(len(nest.fields(k)))])
        for k, r in enumerate(nest.group.reduces)
    }
    index = [f"i{g}" for g in range(index_count)]
    rest = "item"
    for g in range(index_count):
        below = " * ".join(f"n{k}" for k in range(g + 1, index_count))
        w.line(f"i{g} = {rest} // ({below})" if below else f"i{g} = {rest}")
        if below:
            w.line(f"rest{g} = {rest} - i{g} * ({below})")
            rest = f"rest{g}"
    body.emit(w, values, index, only=levels.row_nodes(0), store=levels.stores(0, "row"))


def _row_body(ctx: Lowering, nest: Nest, levels: Levels) -> Body:
    """The row-level nodes alone, over the kept axes."""
    from graphkeras.codegen.views import collapse

    group = nest.group
    kept = [a for a in range(len(group.space)) if a not in group.axes]
    space = tuple(group.space[a] for a in kept)

    def narrow(view: View) -> View:
        return replace(view, shape=space, strides=tuple(view.strides[a] for a in kept))

    nodes = levels.row_nodes(0)
    loads, aliases = ctx.operands(group)
    wanted = {i for n in nodes for i in n.inputs}
    loads = {n: narrow(v) for n, v in loads.items() if n in wanted}
    stores = {n: narrow(ctx.stored_view(group, n)) for n in levels.stores(0, "row")}
    operands = [v.strides for v in (*loads.values(), *stores.values())] + [contiguous_strides(space)]
    return Body(nodes, loads, stores, space, collapse(space, operands) or [[]], aliases)
