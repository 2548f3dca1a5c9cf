"""Column kernels: rows stream by, one accumulator per column."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.cpu.nest import Accumulator, Levels, Nest, head, nested, reduction_kernel, row_results
from graphkeras.codegen.cpu.reduce_split import Cut
from graphkeras.codegen.kernel import Kernel
from graphkeras.codegen.writer import Writer


def column_kernel(levels: Levels, cut: Cut) -> Kernel:
    """All rows of one outer item, or a chunk of them, then the results of its columns."""
    nest = cut.nest
    w = Writer()
    head(w, nest, "columns: rows stream by, one accumulator per column")
    args = [*nest.args, *nest.body.args]
    word = cut.add_args(args) if nest.reduced else 0
    accumulators = cut.add_memory(args)
    inner = nest.kept[-1] if nest.kept else None
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        if inner is not None:  # never printed as a number: only the loop over the rows is worth unrolling
            w.line(f"columns = int_arg(args, {inner})")
        if nest.reduced:
            cut.declare(w, word, accumulators)
        else:
            for name, dtype, place, _ in accumulators:
                w.line(f"m{name} = ptr_{dtype}(args, {place})")
        with w.block("for item in range(lo, hi)"):
            if nest.reduced:
                cut.begin(w)
            if nest.kept[:-1]:
                nest.decompose(w, "whole" if nest.reduced else "item", nest.kept[:-1])
            _columns(w, levels, cut, accumulators, inner)
    return reduction_kernel(nest, "column_", w, args, cut)


def _columns(w: Writer, levels: Levels, cut: Cut, accumulators: Sequence[Accumulator], inner: int | None) -> None:
    """Identities, then rows or chunks streaming by, then the columns' results."""
    nest = cut.nest
    flat = [inner] if inner is not None else []
    column = f"i{inner}" if inner is not None else "0"
    for name, *_ in accumulators:
        w.line(f"{name} = shift(m{name}, item * step)" if nest.reduced else f"{name} = m{name}")
    with nested(w, nest, flat, {g: "columns" for g in flat}):
        for k in range(len(nest.group.reduces)):
            for name, (identity, _) in zip(names_of(accumulators, k), nest.fields(k), strict=True):
                w.line(f"{name}[{column}] = {identity}")
    if not nest.reduced:
        _rows(w, levels, nest, accumulators, column, flat, {})
        _results(w, levels, nest, accumulators, column, flat)
        return
    with w.block("if joined == 0"):
        _rows(w, levels, nest, accumulators, column, flat, cut.ranges)
    with w.block("else"), w.block("for part in range(joined)"):
        w.line(f"chunk = (whole * joined + part) * {'columns' if flat else '1'}")
        with nested(w, nest, flat, {g: "columns" for g in flat}):
            for k in range(len(nest.group.reduces)):
                old = [f"{n}[{column}]" for n in names_of(accumulators, k)]
                cut.merge(w, k, accumulators, old, f"chunk + {column}")
    with w.block("if parts == 1"):
        _results(w, levels, nest, accumulators, column, flat)


def names_of(accumulators: Sequence[Accumulator], k: int) -> list[str]:
    return [name for name, _, _, of in accumulators if of == k]


def _rows(
    w: Writer,
    levels: Levels,
    nest: Nest,
    accumulators: Sequence[Accumulator],
    column: str,
    flat: list[int],
    ranges: dict[int, str],
) -> None:
    with nested(w, nest, [g for g in nest.reduced if g not in flat] + flat, ranges):
        done = nest.body.emit(w, {}, nest.index, only=levels.full_nodes(0, {}), store=levels.stores(0, "full"))
        for k, r in enumerate(nest.group.reduces):
            x = nest.body.value(w, r.inputs[0], done, nest.index)
            old = [f"{name}[{column}]" for name in names_of(accumulators, k)]
            loaded = []
            for text in old:
                loaded.append(w.name("o"))
                w.line(f"{loaded[-1]} = {text}")
            for name, text in zip(old, nest.accumulate(w, k, loaded, x, nest.position()), strict=True):
                w.line(f"{name} = {text}")


def _results(
    w: Writer, levels: Levels, nest: Nest, accumulators: Sequence[Accumulator], column: str, flat: list[int]
) -> None:
    with nested(w, nest, flat, {g: "columns" for g in flat}):
        values = {
            r: nest.finish(w, k, [f"{name}[{column}]" for name in names_of(accumulators, k)])
            for k, r in enumerate(nest.group.reduces)
        }
        row_results(w, nest, levels, 0, values)
