"""Rows of float32 scores in whole vectors: `close_row(p, n)` and `largest(p, vectors, start)`.

close_row: the lanes from element n to the end of its vector become -inf, by one load and one store of the vector: the
loads that follow would wait for single elements to reach the cache.
largest: the maximum of `start` and of the first `vectors` vectors. Not-a-numbers are passed over, which makes it one
instruction per vector; the exponentials of the same row keep them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import intrinsic, types
from graphkeras.codegen.cpu.micro import I64, Printer
from graphkeras.codegen.cpu.vectors import vector_width


def close_row() -> Any:
    return _close_row(vector_width("float32"))


@cache
def _close_row(width: int) -> Any:
    def close(typingctx, p, n):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pr = Printer(builder, "float32", width)
            rest = builder.and_(args[1], I64(width - 1))
            with builder.if_then(builder.icmp_signed("!=", rest, I64(0))):
                place = pr.at(args[0], builder.sub(args[1], rest))
                lowest = ir.Constant(pr.vector, [float("-inf")] * width)
                row = builder.select(pr.lanes_below(rest), pr.load(place, p.scope), lowest)
                pr.store(row, place, p.scope)
            return context.get_dummy_value()

        return types.void(p, types.int64), codegen

    return intrinsic(close)


def largest() -> Any:
    return _largest(vector_width("float32"))


@cache
def _largest(width: int) -> Any:
    def most(typingctx, p, vectors, start):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pr = Printer(builder, "float32", width)

            def larger(offsets: Any, accs: Any) -> Any:
                row = pr.load(pr.at(args[0], offsets[0]), p.scope)
                return [builder.select(builder.fcmp_ordered(">", row, accs[0]), row, accs[0])]

            (top,) = pr.nest([(args[1], I64(width))], [I64(0)], [pr.broadcast(args[2])], larger)
            while width_of(top) > 1:  # halves against each other
                half = width_of(top) // 2
                low, high = (_lanes(builder, top, range(first, first + half)) for first in (0, half))
                top = builder.select(builder.fcmp_ordered(">", high, low), high, low)
            return builder.extract_element(top, ir.IntType(32)(0))

        return types.float32(p, types.int64, types.float32), codegen

    return intrinsic(most)


def width_of(vector: Any) -> int:
    return int(vector.type.count)


def _lanes(builder: Any, vector: Any, which: range) -> Any:
    kind = ir.VectorType(ir.IntType(32), len(which))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), ir.Constant(kind, list(which)))
