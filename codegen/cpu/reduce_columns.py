"""Column kernels: rows stream by, one accumulator per column."""

from __future__ import annotations

from collections.abc import Sequence

from graphkeras.codegen.cpu.nest import Accumulator, Levels, Nest, head, nested, reduction_kernel, row_results
from graphkeras.codegen.kernel import Arg, Kernel, Scratch
from graphkeras.codegen.writer import Writer
from graphkeras.ir.types import numpy_dtype


def column_kernel(nest: Nest, levels: Levels) -> Kernel:
    """All rows of one outer item, then the results of its columns."""
    w = Writer()
    head(w, nest, "columns: rows stream by, one accumulator per column")
    args = [*nest.args, *nest.body.args]
    outer = nest.kept[:-1]
    inner = nest.kept[-1] if nest.kept else None
    columns = nest.extents[inner] if inner is not None else 1
    accumulators = _accumulators(nest, args, columns)
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        for name, dtype, word, _ in accumulators:
            w.line(f"{name} = ptr_{dtype}(args, {word})")
        with w.block("for item in range(lo, hi)"):
            if outer:
                nest.decompose(w, "item", outer)
            column_rows(w, nest, levels, accumulators, inner, {}, "")
            with nested(w, nest, [inner] if inner is not None else []):
                column = f"i{inner}" if inner is not None else "0"
                values = {
                    r: nest.finish(w, k, [f"{name}[{column}]" for name in names_of(accumulators, k)])
                    for k, r in enumerate(nest.group.reduces)
                }
                row_results(w, nest, levels, 0, values)
    return reduction_kernel(nest, "column_" + nest.group.reduces[-1].op, w, args, nest.results // max(columns, 1))


def _accumulators(nest: Nest, args: list[Arg], columns: int) -> list[Accumulator]:
    found = []
    for k in range(len(nest.group.reduces)):
        for f, (_, dtype) in enumerate(nest.fields(k)):
            memory = "uint8" if dtype == "bool" else dtype
            found.append((f"a{k}_{f}", memory, len(args), k))
            args.append(Scratch(columns * numpy_dtype(memory).itemsize))
    return found


def names_of(accumulators: Sequence[Accumulator], k: int) -> list[str]:
    return [name for name, _, _, of in accumulators if of == k]


def column_rows(
    w: Writer,
    nest: Nest,
    levels: Levels,
    accumulators: Sequence[Accumulator],
    inner: int | None,
    ranges: dict[int, str],
    base: str,
) -> None:
    """Set the accumulators (at `base` + column) to the identity and let the rows stream by."""
    column = base + (f"i{inner}" if inner is not None else "0")
    flat = [inner] if inner is not None else []
    with nested(w, nest, flat):
        for k in range(len(nest.group.reduces)):
            for name, (identity, _) in zip(names_of(accumulators, k), nest.fields(k), strict=True):
                w.line(f"{name}[{column}] = {identity}")
    with nested(w, nest, [g for g in nest.reduced if g != inner] + flat, ranges):
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
