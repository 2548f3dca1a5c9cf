"""Copies that a product makes of its operands: panels of columns of B, tiles of rows of A."""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import intrinsic, marked, types
from graphkeras.codegen.cpu.product import Product
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.writer import Writer

STRIP_TILES = 8


def pack_panel(w: Writer, p: Product, columns: int, depth: str) -> None:
    """Copy `columns` columns of B from `here` on, row by row of k, to `to`, whose rows are that of a whole panel."""
    if len(p.depth) == 2:
        with w.block("for k_outer in range(k_n0)"):
            w.line("inner = shift(to, k_outer * k_n1 * " + f"{columns})")
            w.line("source = shift(b, here + k_outer * k_b0)")
            _panel_rows(w, p, columns, "k_n1", 1, "inner")
    else:
        w.line("source = shift(b, here)")
        _panel_rows(w, p, columns, depth, 0, "to")


def turns_blocks(p: Product) -> bool:
    """Whether B is contiguous along the depth and not along the columns: blocks of it turn in registers."""
    return bool(p.depth) and p.depth[-1][2] == 1 and bool(p.columns) and p.columns[0][1] != 1


def _panel_rows(w: Writer, p: Product, panel: int, depth: str, level: int, to: str) -> None:
    if turns_blocks(p):
        _turned_blocks(w, panel, vector_width(p.dtype), depth, to)
        return
    with w.block(f"if columns == {panel}"):
        _plain_rows(w, str(panel), panel, depth, level, to)
    with w.block("else"):
        _plain_rows(w, "columns", panel, depth, level, to)


def _plain_rows(w: Writer, columns: str, panel: int, depth: str, level: int, to: str) -> None:
    with w.block(f"for k in range({depth})"), w.block(f"for column in range({columns})"):
        w.line(f"{to}[k * {panel} + column] = source[k * k_b{level} + column * b_step]")


def _turned_blocks(w: Writer, panel: int, width: int, depth: str, to: str) -> None:
    """Square blocks in registers, then what is left at both edges element by element."""
    w.line(f"k_whole = {depth} // {width} * {width}")
    w.line(f"c_whole = columns // {width} * {width}")
    with w.block(f"for column in range(0, c_whole, {width})"), w.block(f"for k in range(0, k_whole, {width})"):
        w.line(f"TURN(shift(source, column * b_step + k), b_step, shift({to}, k * {panel} + column), {panel})")
    with w.block("for column in range(columns)"):
        w.line("k_rest = select(column < c_whole, k_whole, 0)")
        with w.block(f"for k in range(k_rest, {depth})"):
            w.line(f"{to}[k * {panel} + column] = source[column * b_step + k]")


def pack_rows(w: Writer, p: Product, mr: int, depth: str) -> None:
    """Copy a strip of rows of A from row i on to `turned_rows`: tile by tile, `mr` elements for each k.

    A strip at a time, because one row of A is a few places in each of many distant lines of memory.
    """
    w.line(f"strip = min({STRIP_TILES * mr}, rows - i)")
    w.line(f"whole = strip // {mr}")
    if len(p.rows) == 1 and p.rows[0][1] == 1:
        w.line("source_rows = shift(a_here, a_rows[i])")
        with w.block(f"for k in range({depth})"), w.block("for t in range(whole)"):
            w.line(f"MOVE(shift(source_rows, k * k_a0 + t * {mr}), shift(turned_rows, (t * {depth} + k) * {mr}))")
        w.line(f"packed_rows = whole * {mr}")
    else:
        w.line("packed_rows = 0")
    with w.block("for r in range(packed_rows, strip)"), w.block(f"for k in range({depth})"):
        w.line(f"turned_rows[(r // {mr} * {depth} + k) * {mr} + r % {mr}] = a_here[a_rows[i + r] + k * k_a0]")


@cache
def move(count: int, dtype: str) -> Any:
    """The intrinsic `move(source, target)` that copies `count` contiguous elements as one vector."""
    vector = ir.VectorType(ir.DoubleType() if dtype == "float64" else ir.FloatType(), count)

    def moved(typingctx, source, target):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = builder.load(builder.bitcast(args[0], vector.as_pointer()))
            stored = builder.store(marked(builder, value, source.scope), builder.bitcast(args[1], vector.as_pointer()))
            value.align = stored.align = 8 if dtype == "float64" else 4
            marked(builder, stored, target.scope)
            return context.get_dummy_value()

        return types.void(source, target), codegen

    return intrinsic(moved)
