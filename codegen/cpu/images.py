"""What tiles of images share: code of their own outside the loops, masks of what exists, memory asked for ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.micro import I64, Printer


def call_outlined(builder: Any, label: str, args: Sequence[Any], body: Callable[[Any, Sequence[Any]], None]) -> None:
    """Call `body` as a function of its own: inlined, its many addresses would be hoisted from loops, and spilled."""
    module = builder.module
    function = module.globals.get(label)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in args]), label)
        function.linkage = "internal"
        function.attributes.add("noinline")
        function.attributes.add("nounwind")
        own = ir.IRBuilder(function.append_basic_block("entry"))
        body(own, function.args)
        own.ret_void()
    builder.call(function, args)


def prefetch_below(
    lines: Printer, start: Any, row_step: Any, column_step: int, shape: Sequence[int], write: bool = False
) -> None:
    """Ask for the pixels of the tile below: rows of tiles are far enough apart for memory to answer in time."""
    for r in range(shape[0]):
        row = lines.at(start, lines.b.mul(row_step, I64(shape[0] + r)))
        lines.fetch([lines.at(row, column_step * c) for c in range(shape[1])], write)


def lane_bits(lines: Printer, lanes: Any, exists: Any) -> Any:
    """An integer with a bit for each of the first `lanes` lanes, or none; two such combine in one instruction."""
    b, kind = lines.b, ir.IntType(lines.width)
    count = b.select(b.icmp_signed("<", lanes, I64(lines.width)), lanes, I64(lines.width))
    below = b.sub(b.shl(I64(1), b.select(b.icmp_signed(">", count, I64(0)), count, I64(0))), I64(1))
    return b.trunc(b.select(exists, below, I64(0)), kind)


def as_mask(lines: Printer, bits: Any) -> Any:
    return lines.b.bitcast(bits, ir.VectorType(ir.IntType(1), lines.width))


def within(b: Any, i: int, low: Any, high: Any) -> Any:
    return b.and_(b.icmp_signed("<=", low, I64(i)), b.icmp_signed(">", high, I64(i)))
