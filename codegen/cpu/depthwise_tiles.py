"""Convolution of few channels per group, vector by vector: a small square of outputs, or its part of the gradient.

Lanes are channels, and every product serves one output. What can be saved is loads: a tile of outputs reads each input
once and uses it for all the outputs and taps that meet there. Where groups have several channels, the tile goes through
their members: all lanes of a group get its first channel, then its second, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import get_or_insert_function, intrinsic, types
from graphkeras.codegen.cpu.images import as_mask, call_outlined, lane_bits, prefetch_below, within
from graphkeras.codegen.cpu.micro import I32, I64, Printer
from graphkeras.codegen.cpu.squares import Square
from graphkeras.codegen.cpu.vectors import vector_width


def tile(square: Square, dtype: str, gradient: bool = False) -> Any:
    """The intrinsic `t(x, at, x_row, row0, row1, column0, column1, lanes, w, y, y_at, y_row, rows, columns)`.

    Reads the inputs that start `at` elements from x, of which rows row0..row1-1 and columns column0..column1-1 are in
    the image and the others zero; writes the first `rows` and `columns` of the outputs `y_at` elements from y.
    gradient: y (of which the others are zero) is read, and the taps' sums are added to w, which is private memory and
    whole. lanes: channels that exist.
    """
    return _tile(square, dtype, gradient, vector_width(dtype))


@cache
def _tile(square: Square, dtype: str, gradient: bool, width: int) -> Any:
    word = types.int64

    def depthwise_tile(typingctx, x, at, x_row, row0, row1, column0, column1, lanes, w, y, y_at, y_row, rows, columns):
        def codegen(context, builder, sig, args):
            scopes = x.scope, w.scope, y.scope

            def body(own, values):
                printer = _Tile(own, dtype, width)
                printer.start(square, values, scopes)
                (printer.gradient if gradient else printer.forward)()

            call_outlined(builder, f"depthwise_{gradient}_{abs(hash((square, scopes)))}", args, body)
            return context.get_dummy_value()

        return types.void(x, *[word] * 7, w, y, *[word] * 4), codegen

    return intrinsic(depthwise_tile)


class _Tile(Printer):
    def start(self, square: Square, args: Sequence[Any], scopes: Sequence[int]) -> None:
        self.square, self.scopes = square, scopes
        self.x, self.x_at, self.x_row = args[:3]
        self.inside = args[3:7]  # rows and columns of the inputs that are in the image
        self.lanes, self.w, self.y, self.y_at, self.y_row = args[7:12]
        self.exist = args[12:]  # rows and columns of outputs

    # -- places and masks -------------------------------------------------------------------------------
    def places(self, pointer: Any, row_step: Any, step: int, shape: Sequence[int]) -> list[list[Any]]:
        rows = [self.at(pointer, self.b.mul(row_step, I64(r))) for r in range(shape[0])]
        return [[self.at(row, step * c) for c in range(shape[1])] for row in rows]

    def input_bits(self) -> tuple[list[Any], list[Any]]:
        row0, row1, column0, column1 = self.inside
        spans = (self.square.inputs[0], row0, row1), (self.square.inputs[1], column0, column1)
        return tuple([lane_bits(self, self.lanes, within(self.b, i, a, z)) for i in range(n)] for n, a, z in spans)  # type: ignore

    def output_bits(self) -> tuple[list[Any], list[Any]]:
        pairs = zip(self.square.outputs, self.exist, strict=True)
        return tuple(  # type: ignore[return-value]
            [lane_bits(self, self.lanes, self.b.icmp_signed(">", count, I64(i))) for i in range(n)]
            for n, count in pairs
        )

    def whole(self) -> Any:
        """Whether nothing of the tile is missing."""
        b, (row0, row1, column0, column1) = self.b, self.inside
        found = b.icmp_signed(">=", self.lanes, I64(self.width))
        for low in (row0, column0):
            found = b.and_(found, b.icmp_signed("<=", low, I64(0)))
        sizes = zip((row1, column1, *self.exist), (*self.square.inputs, *self.square.outputs), strict=True)
        for high, size in sizes:
            found = b.and_(found, b.icmp_signed(">=", high, I64(size)))
        return found

    # -- members of a group -----------------------------------------------------------------------------
    def each_member(self, accs: Sequence[Any], body: Callable[[Any, Callable[[Any], Any], Any], Any]) -> Sequence[Any]:
        """`body(offset of weights, share, accs) -> accs` for each member, which `share` gives to its group's lanes."""
        q = self.square
        levels = [] if q.members == 1 else [(I64(q.members), I64(1), I64(q.w_step // q.members))]

        def one(offsets: Sequence[Any], accs: Sequence[Any]) -> Any:
            return body(offsets[1], self.sharing(offsets[0]), accs)

        return self.nest(levels, [I64(0), I64(0)], accs, one)

    def sharing(self, member: Any) -> Callable[[Any], Any]:
        if self.square.members == 1:
            return lambda value: value
        b, members, bits = self.b, self.square.members, 8 * self.align * self.width
        words = self.align // 4  # of a lane: whatever its type, 32 bits are moved at a time
        first = [lane // members * members * words + word for lane in range(self.width) for word in range(words)]
        kind, floats = ir.VectorType(I32, len(first)), ir.VectorType(ir.FloatType(), len(first))
        undef = ir.Constant(kind, ir.Undefined)
        moved = b.trunc(b.mul(member, I64(words)), I32)
        moved = b.shuffle_vector(b.insert_element(undef, moved, I32(0)), undef, ir.Constant(kind, [0] * len(first)))
        order = b.add(ir.Constant(kind, first), moved)
        name = "llvm.x86.avx512.permvar.sf.512" if bits == 512 else "llvm.x86.avx2.permps"
        permute = get_or_insert_function(b.module, ir.FunctionType(floats, [floats, kind]), name)
        return lambda value: b.bitcast(b.call(permute, [b.bitcast(value, floats), order]), self.vector)

    # -- the two tiles ----------------------------------------------------------------------------------
    def forward(self) -> None:
        b, q = self.b, self.square
        x_scope, w_scope, y_scope = self.scopes
        start = self.at(self.x, self.x_at)
        steps = zip(q.outputs, q.strides, q.spread, strict=True)
        if q.ahead:
            prefetch_below(self, start, self.x_row, q.x_step, [-(-n * s // d) for n, s, d in steps])
            if q.members > 1:  # long between stores: then memory is not what they wait for
                prefetch_below(self, self.at(self.y, self.y_at), self.y_row, q.y_step, q.outputs, write=True)
        inputs = self.places(start, self.x_row, q.x_step, q.inputs)
        outputs = self.places(self.at(self.y, self.y_at), self.y_row, q.y_step, q.outputs)
        tap_row = I64(q.w_step * q.taps[1])
        taps = self.places(self.w, tap_row, q.w_step, q.taps)
        mask = as_mask(self, lane_bits(self, self.lanes, ir.Constant(ir.IntType(1), 1)))
        every = [(i, j) for i in range(q.outputs[0]) for j in range(q.outputs[1])]

        def sums(load: Callable[[int, int], Any]) -> dict[tuple[int, int], Any]:
            def add(offset: Any, share: Callable[[Any], Any], found: Sequence[Any]) -> list[Any]:
                accs = dict(zip(every, found, strict=True))  # no tap may meet an output
                weights = [[self.load_masked(self.at(place, offset), w_scope, mask) for place in row] for row in taps]
                for (r, c), pairs in q.products():
                    value = share(load(r, c))
                    for place, (s, t) in pairs:
                        old, weight = accs[place], weights[s][t]
                        accs[place] = b.fmul(value, weight) if old is self.zero else self.fma(value, weight, old)
                return list(accs.values())

            return dict(zip(every, self.each_member([self.zero] * len(every), add), strict=True))

        with b.if_else(self.whole(), likely=True) as (plain, edge):
            with plain:
                for (i, j), value in sums(lambda r, c: self.load(inputs[r][c], x_scope)).items():
                    self.store(value, outputs[i][j], y_scope)
            with edge:
                rows, columns = self.input_bits()
                found = sums(
                    lambda r, c: self.load_masked(inputs[r][c], x_scope, as_mask(self, b.and_(rows[r], columns[c])))
                )
                rows, columns = self.output_bits()
                for (i, j), value in found.items():
                    self.store_masked(value, outputs[i][j], y_scope, as_mask(self, b.and_(rows[i], columns[j])))

    def gradient(self) -> None:
        b, q = self.b, self.square
        x_scope, w_scope, y_scope = self.scopes
        start, result = self.at(self.x, self.x_at), self.at(self.y, self.y_at)
        if q.ahead:
            below = [n * s for n, s in zip(q.outputs, q.strides, strict=True)]
            prefetch_below(self, start, self.x_row, q.x_step, below)
            prefetch_below(self, result, self.y_row, q.y_step, q.outputs)
        inputs = self.places(start, self.x_row, q.x_step, q.inputs)
        outputs = self.places(result, self.y_row, q.y_step, q.outputs)
        taps = self.places(self.w, I64(q.w_step * q.taps[1]), q.w_step, q.taps)

        def add(load_x: Callable[[int, int], Any], load_y: Callable[[int, int], Any]) -> None:
            grads = {(i, j): load_y(i, j) for i in range(q.outputs[0]) for j in range(q.outputs[1])}

            def one(offset: Any, share: Callable[[Any], Any], accs: Sequence[Any]) -> Sequence[Any]:
                places = [[self.at(place, offset) for place in row] for row in taps]
                sums = [[self.load(place, w_scope) for place in row] for row in places]
                for (r, c), pairs in q.products():
                    value = share(load_x(r, c))
                    for place, (s, t) in pairs:
                        sums[s][t] = self.fma(value, grads[place], sums[s][t])
                for row, line in zip(sums, places, strict=True):
                    for value, place in zip(row, line, strict=True):
                        self.store(value, place, w_scope)
                return accs

            self.each_member([], one)

        with b.if_else(self.whole(), likely=True) as (plain, edge):
            with plain:
                add(lambda r, c: self.load(inputs[r][c], x_scope), lambda i, j: self.load(outputs[i][j], y_scope))
            with edge:
                rows, columns = self.input_bits()
                down, across = self.output_bits()
                add(
                    lambda r, c: self.load_masked(inputs[r][c], x_scope, as_mask(self, b.and_(rows[r], columns[c]))),
                    lambda i, j: self.load_masked(outputs[i][j], y_scope, as_mask(self, b.and_(down[i], across[j]))),
                )
