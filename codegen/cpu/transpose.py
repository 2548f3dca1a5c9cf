"""Square transposes in vector registers: `turn = transpose("float32")`, then `turn(source, step, target, to_step)`.

A block of W x W elements, W lanes of a vector, goes from rows `step` elements apart to rows `to_step` apart. Each of
log2(W) rounds exchanges halves between pairs of rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import intrinsic, marked, types
from graphkeras.codegen.cpu.vectors import vector_width

I32 = ir.IntType(32)
_LLVM = {"float32": (ir.FloatType(), 4), "float64": (ir.DoubleType(), 8)}


def transpose(dtype: str) -> Any:
    """The intrinsic for elements of `dtype` and the vector width of the machine."""
    return _transpose(dtype, vector_width(dtype))


@cache
def _transpose(dtype: str, width: int) -> Any:
    scalar, align = _LLVM[dtype]
    vector = ir.VectorType(scalar, width)

    def turn(typingctx, source, step, target, to_step):  # type: ignore[no-untyped-def]
        signature = types.void(source, types.int64, target, types.int64)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def place(pointer: Any, stride: Any, row: int) -> Any:
                at = builder.gep(pointer, [builder.mul(stride, ir.Constant(ir.IntType(64), row))])
                return builder.bitcast(at, vector.as_pointer())

            rows = []
            for r in range(width):
                row = builder.load(place(args[0], args[1], r))
                row.align = align
                rows.append(marked(builder, row, source.scope))
            for r, row in enumerate(_turned(builder, rows, width)):
                stored = builder.store(row, place(args[2], args[3], r))
                stored.align = align
                marked(builder, stored, target.scope)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(turn)


def _turned(builder: Any, rows: list[Any], width: int) -> list[Any]:
    block = 1
    while block < width:
        lanes = range(width)
        low = [c if c // block % 2 == 0 else width + c - block for c in lanes]
        high = [c + block if c // block % 2 == 0 else width + c for c in lanes]
        made = list(rows)
        for r in lanes:
            if r // block % 2 == 0:
                made[r] = _shuffled(builder, rows[r], rows[r + block], low)
                made[r + block] = _shuffled(builder, rows[r], rows[r + block], high)
        rows, block = made, 2 * block
    return rows


def _shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))
