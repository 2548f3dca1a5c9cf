"""Register tiles: the inner loops of products and convolutions, written as vector LLVM IR.

`tile(mr, nv, levels, dtype)` is an intrinsic computing a block of `mr` rows by `nv` vectors (W elements each)

    acc[m][j] = sum over k_1..k_levels of  A(m, k) * B(k, j)        A at  moff[m] + sum k_l * astride_l
                                                                   B at  W * j  + sum k_l * bstride_l

in registers through all loop levels, then writing `rows` rows and `cols` columns of it at coff[m] of C. The modes:

    "broadcast"  A is one element per row, B a vector of columns: dense products, convolutions, kernel gradients.
    "vector"     A is a vector of columns as well: depthwise convolution (no sum over channels).
    "dot"        both are vectors along the innermost k, summed across at the end; B has a row per column, at noff[j].
                 For products whose two operands are contiguous along the contraction: nothing is transposed.

Empty loops give zeros. Rows past `rows` repeat the last one and are not stored, so tables end at `rows`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import get_or_insert_function, intrinsic, marked, rolled, types
from graphkeras.codegen.cpu.vectors import vector_width

AHEAD = 4  # steps of the depth by which a row of B is asked for early where it serves one row of A only

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_LLVM = {"float32": ir.FloatType(), "float64": ir.DoubleType()}


def tile(mr: int, nv: int, levels: int, dtype: str, mode: str = "broadcast", masked: bool = False, unit: bool = False):
    """The intrinsic `t(a, moff, b, noff, c, coff, rows, cols, accumulate, (extent, astride, bstride, ...))`.

    mr, nv: rows and vectors ("dot": columns) of the tile. levels: loop nest depth, outermost first in the arguments.
    masked: B is not readable past `cols`. unit: moff[m] is m (A is contiguous along rows), the table is not read.
    accumulate: non-zero adds to C. `noff` is read in "dot" mode only.
    """
    return _tile(mr, nv, levels, dtype, mode, masked, unit, vector_width(dtype))


@cache
def _tile(mr: int, nv: int, levels: int, dtype: str, mode: str, masked: bool, unit: bool, width: int) -> Any:
    def micro_tile(typingctx, a, moff, b, noff, c, coff, rows, cols, accumulate, nest):
        word = types.int64
        signature = types.void(a, moff, b, noff, c, coff, word, word, word, types.UniTuple(word, 3 * levels))

        def codegen(context, builder, sig, args):
            emitter = _Dot if mode == "dot" else _Tile
            words = [builder.extract_value(args[9], i) for i in range(3 * levels)]
            scopes = (a.scope, b.scope, c.scope)
            emitter(builder, mr, nv, dtype, mode, masked, unit, width, scopes).emit(args[:9], words)
            return context.get_dummy_value()

        return signature, codegen

    micro_tile.__name__ = micro_tile.__qualname__ = f"tile_{mode}_{mr}x{nv}_{levels}"
    return intrinsic(micro_tile)


class Printer:
    """Vector instructions and loops over vectors, for one type of element."""

    def __init__(self, builder, dtype, width) -> None:
        self.b, self.width = builder, width
        self.scalar = _LLVM[dtype]
        self.vector = ir.VectorType(self.scalar, width)
        self.align = 8 if dtype == "float64" else 4
        self.suffix = f"v{width}f{self.align * 8}"
        self.zero = ir.Constant(self.vector, [0.0] * width)

    def at(self, pointer, *offsets):
        for offset in offsets:
            pointer = self.b.gep(pointer, [offset if isinstance(offset, ir.Value) else I64(offset)])
        return pointer

    def load(self, pointer, scope):
        value = self.b.load(self.b.bitcast(pointer, self.vector.as_pointer()))
        value.align = self.align
        return marked(self.b, value, scope)

    def load_masked(self, pointer, scope, mask):
        vector_pointer = self.vector.as_pointer()
        kind = ir.FunctionType(self.vector, [vector_pointer, I32, mask.type, self.vector])
        call = get_or_insert_function(self.b.module, kind, f"llvm.masked.load.{self.suffix}.p0{self.suffix}")
        value = self.b.call(call, [self.b.bitcast(pointer, vector_pointer), I32(self.align), mask, self.zero])
        return marked(self.b, value, scope)

    def store_masked(self, value, pointer, scope, mask):
        vector_pointer = self.vector.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [self.vector, vector_pointer, I32, mask.type])
        call = get_or_insert_function(self.b.module, kind, f"llvm.masked.store.{self.suffix}.p0{self.suffix}")
        stored = self.b.call(call, [value, self.b.bitcast(pointer, vector_pointer), I32(self.align), mask])
        marked(self.b, stored, scope)

    def store(self, value, pointer, scope):
        stored = self.b.store(value, self.b.bitcast(pointer, self.vector.as_pointer()))
        stored.align = self.align
        marked(self.b, stored, scope)

    def fetch(self, places, write=False):
        """Ask for the lines at `places`, which may lie anywhere, into the first-level cache."""
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        call = get_or_insert_function(self.b.module, kind, "llvm.prefetch.p0i8")
        for place in places:
            self.b.call(call, [self.b.bitcast(place, byte), I32(int(write)), I32(3), I32(1)])

    def broadcast(self, scalar):
        undef = ir.Constant(self.vector, ir.Undefined)
        one = self.b.insert_element(undef, scalar, I32(0))
        return self.b.shuffle_vector(one, undef, ir.Constant(ir.VectorType(I32, self.width), [0] * self.width))

    def fma(self, x, y, z):
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.b.call(get_or_insert_function(self.b.module, kind, f"llvm.fmuladd.{self.suffix}"), [x, y, z])

    def lanes_below(self, count):
        """Mask of the lanes whose number is below `count` (an i64)."""
        kind = ir.VectorType(I64, self.width)
        undef = ir.Constant(kind, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        limit = self.b.shuffle_vector(self.b.insert_element(undef, count, I32(0)), undef, zeros)
        return self.b.icmp_signed("<", ir.Constant(kind, list(range(self.width))), limit)

    def all_lanes(self, flag):
        kind = ir.VectorType(I1, self.width)
        undef = ir.Constant(kind, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        return self.b.shuffle_vector(self.b.insert_element(undef, flag, I32(0)), undef, zeros)

    def nest(self, levels, start, accs, body):
        """Run `body(offsets, accs) -> accs` over the nest. levels: (extent, *strides), outermost first."""
        if not levels:
            return body(start, accs)
        b, (extent, *strides) = self.b, levels[0]
        before = b.block
        head, inside, after = (b.append_basic_block(n) for n in ("k_head", "k_body", "k_done"))
        b.branch(head)
        b.position_at_end(head)
        counter = b.phi(I64)
        counter.add_incoming(I64(0), before)
        offsets = [b.phi(I64) for _ in start]
        for phi, first in zip(offsets, start, strict=True):
            phi.add_incoming(first, before)
        carried = [b.phi(self.vector) for _ in accs]
        for phi, first in zip(carried, accs, strict=True):
            phi.add_incoming(first, before)
        b.cbranch(b.icmp_signed("<", counter, extent), inside, after)
        b.position_at_end(inside)
        results = self.nest(levels[1:], offsets, carried, body)
        end = b.block
        counter.add_incoming(b.add(counter, I64(1)), end)
        for phi, stride in zip(offsets, strides, strict=True):
            phi.add_incoming(b.add(phi, stride), end)
        for phi, value in zip(carried, results, strict=True):
            phi.add_incoming(value, end)
        rolled(b.branch(head))
        b.position_at_end(after)
        return carried


class _Tile(Printer):
    """Prints one tile into an LLVM builder."""

    def __init__(self, builder, mr, nv, dtype, mode, masked, unit, width, scopes) -> None:
        super().__init__(builder, dtype, width)
        self.a_scope, self.b_scope, self.c_scope = scopes
        self.mr, self.nv, self.mode, self.masked, self.unit = mr, nv, mode, masked, unit

    def row_starts(self, a, moff, rows):
        """Where each row of A begins; rows that do not exist are the last one."""
        last = self.b.sub(rows, I64(1))
        starts = []
        for m in range(self.mr):
            row = self.b.select(self.b.icmp_signed("<", I64(m), last), I64(m), last)
            starts.append(self.at(a, self.b.load(self.at(moff, row))))
        return starts

    def emit(self, args, words):
        a, moff, b, _noff, c, coff, rows, cols, accumulate = args
        bld, nv = self.b, self.nv
        if self.unit:
            row_start = [self.at(a, m) for m in range(self.mr)]
        else:
            row_start = self.row_starts(a, moff, rows)
        masks = [self.lanes_below(bld.sub(cols, I64(self.width * j))) for j in range(nv)]

        def read(pointer, scope, j):
            return self.load_masked(pointer, scope, masks[j]) if self.masked else self.load(pointer, scope)

        def step(offsets, accs):
            a_at, b_at = offsets
            columns = [read(self.at(b, b_at, self.width * j), self.b_scope, j) for j in range(nv)]
            if self.mr == 1:
                self.fetch([self.at(b, b_at, bld.mul(words[-1], I64(AHEAD)), self.width * j) for j in range(nv)])
            out = []
            for m in range(self.mr):
                if self.mode == "broadcast":
                    row = [self.broadcast(marked(bld, bld.load(self.at(row_start[m], a_at)), self.a_scope))] * nv
                else:
                    row = [read(self.at(row_start[m], a_at, self.width * j), self.a_scope, j) for j in range(nv)]
                out += [self.fma(row[j], columns[j], accs[m * nv + j]) for j in range(nv)]
            return out

        levels = [tuple(words[i : i + 3]) for i in range(0, len(words), 3)]
        accs = self.nest(levels, [I64(0), I64(0)], [self.zero] * (self.mr * nv), step)
        self.write(accs, c, coff, rows, cols, accumulate, masks)

    def write(self, accs, c, coff, rows, cols, accumulate, masks):
        """Store the rows that exist, whole vectors where all columns exist."""
        bld, nv = self.b, self.nv
        whole = bld.icmp_signed(">=", cols, I64(self.width * nv))
        adding = bld.icmp_signed("!=", accumulate, I64(0))
        for m in range(self.mr):
            with bld.if_then(bld.icmp_signed(">", rows, I64(m)), likely=True):
                start = self.at(c, bld.load(self.at(coff, m)))
                places = [self.at(start, self.width * j) for j in range(nv)]
                row = accs[m * nv : (m + 1) * nv]
                with bld.if_else(bld.and_(whole, bld.not_(adding)), likely=True) as (plain, other):
                    with plain:
                        for value, place in zip(row, places, strict=True):
                            self.store(value, place, self.c_scope)
                    with other, bld.if_else(adding, likely=False) as (plus, over):
                        # no masked load where nothing is added: it would wait for the masked store before it
                        with plus:
                            for value, place, mask in zip(row, places, masks, strict=True):
                                old = self.load_masked(place, self.c_scope, mask)
                                self.store_masked(bld.fadd(value, old), place, self.c_scope, mask)
                        with over:
                            for value, place, mask in zip(row, places, masks, strict=True):
                                self.store_masked(value, place, self.c_scope, mask)


class _Dot(_Tile):
    """Tile of dot products: vectors run along the innermost k; its rest is read with a mask."""

    def emit(self, args, words):
        a, moff, b, noff, c, coff, rows, cols, accumulate = args
        bld = self.b
        a_rows = self.row_starts(a, moff, rows)
        b_rows = [self.at(b, bld.load(self.at(noff, n))) for n in range(self.nv)]
        *outer, (extent, _sa, _sb) = [tuple(words[i : i + 3]) for i in range(0, len(words), 3)]
        width = I64(self.width)
        whole = bld.sdiv(extent, width)
        rest = bld.srem(extent, width)
        mask = self.lanes_below(rest)

        def step(read):
            def body(offsets, accs):
                a_at, b_at = offsets
                lefts = [read(self.at(p, a_at), self.a_scope) for p in a_rows]
                rights = [read(self.at(p, b_at), self.b_scope) for p in b_rows]
                pairs = [(x, y) for x in lefts for y in rights]
                return [self.fma(x, y, acc) for (x, y), acc in zip(pairs, accs, strict=True)]

            return body

        def row(offsets, accs):
            accs = self.nest([(whole, width, width)], offsets, accs, step(self.load))
            done = bld.mul(whole, width)
            tail = [bld.add(o, done) for o in offsets]
            once = bld.zext(bld.icmp_signed(">", rest, I64(0)), I64)
            return self.nest(
                [(once, I64(0), I64(0))], tail, accs, step(lambda p, scope: self.load_masked(p, scope, mask))
            )

        accs = self.nest(outer, [I64(0), I64(0)], [self.zero] * (self.mr * self.nv), row)
        adding = bld.icmp_signed("!=", accumulate, I64(0))
        for m in range(self.mr):
            with bld.if_then(bld.icmp_signed(">", rows, I64(m)), likely=True):
                start = self.at(c, bld.load(self.at(coff, m)))
                for n in range(self.nv):
                    with bld.if_then(bld.icmp_signed(">", cols, I64(n)), likely=True):
                        self.write_sum(accs[m * self.nv + n], self.at(start, n), adding)

    def write_sum(self, vector, place, adding):
        kind = ir.FunctionType(self.scalar, [self.scalar, self.vector])
        name = f"llvm.vector.reduce.fadd.{self.suffix}"
        call = self.b.call(
            get_or_insert_function(self.b.module, kind, name),
            [ir.Constant(self.scalar, -0.0), vector],
            fastmath=("reassoc",),
        )
        old = self.b.select(adding, marked(self.b, self.b.load(place), self.c_scope), ir.Constant(self.scalar, 0.0))
        marked(self.b, self.b.store(self.b.fadd(call, old), place), self.c_scope)
