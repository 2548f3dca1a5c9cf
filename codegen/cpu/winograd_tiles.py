"""Winograd's F(4 x 4, 3 x 3) and F(4, 3), vector by vector: the transforms, and the products between them.

A tile of 4 x 4 results of a convolution with a 3 x 3 kernel is, for each pair of channels,

    y = A' [ (G g G') * (B' d B) ] A          d: 6 x 6 inputs, g: 3 x 3 weights, *: element by element

with 36 products instead of 144 (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks, 2016). The matrices interpolate polynomials at 0, 1, -1, 1/2, -2 and
infinity: of the sets that need few operations, this one rounds least (docs/notes/convolution.md).
The kernel's gradient is the same form read backwards: dg = G' [ (B' d B) * (A dy A') ] G.

A transform applies one of the matrices to the columns and then to the rows of a small square, for a vector of channels
at a time. One side of it is an *image* (channels last, with edges), the other *planes*: 36 arrays of channels, one for
each place of the 6 x 6 square. Of kernels along one axis only, squares are *flat*: one row, and there are 6 planes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir

from graphkeras.codegen.cpu.dialect import intrinsic, marked, types
from graphkeras.codegen.cpu.images import as_mask, call_outlined, lane_bits, prefetch_below, within
from graphkeras.codegen.cpu.micro import I64, Printer
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.cpu.winograd_sizes import OUT, SIDE, TAPS, UNROLL, rows_of


class _Lines(Printer):
    """The four matrices, each applied to a line of vectors."""

    def add(self, x: Any, y: Any) -> Any:
        return self.b.fadd(x, y)

    def sub(self, x: Any, y: Any) -> Any:
        return self.b.fsub(x, y)

    def scaled(self, factor: float, x: Any, y: Any = None) -> Any:
        """factor * x + y."""
        constant = ir.Constant(self.vector, [factor] * self.width)
        return self.b.fmul(constant, x) if y is None else self.fma(constant, x, y)

    def inputs(self, d: Sequence[Any]) -> list[Any]:
        """B': six inputs to six points. Differences of neighbours but one serve several rows."""
        p0, p1, p2, p3 = (self.sub(d[i + 2], d[i]) for i in range(4))
        odd, even = self.scaled(1.5, d[2], p1), self.scaled(1.5, d[3], p2)
        return [
            self.sub(self.scaled(1.5, p1, p2), p0),
            self.add(even, odd),
            self.sub(even, odd),
            self.scaled(2.0, p1, p2),
            self.scaled(-0.5, p1, p2),
            self.sub(self.scaled(1.5, p2, p3), p1),
        ]

    def outputs(self, m: Sequence[Any]) -> list[Any]:
        """A': six points to four results."""
        s, t = self.add(m[1], m[2]), self.sub(m[1], m[2])
        return [
            self.add(self.add(m[0], s), self.add(m[3], m[4])),
            self.scaled(0.5, m[3], self.scaled(-2.0, m[4], t)),
            self.scaled(0.25, m[3], self.scaled(4.0, m[4], s)),
            self.add(self.scaled(0.125, m[3], self.scaled(-8.0, m[4], t)), m[5]),
        ]

    def results(self, y: Sequence[Any]) -> list[Any]:
        """A: gradients of four results to six points."""
        even, odd = self.add(y[0], y[2]), self.add(y[1], y[3])
        half = self.scaled(0.5, y[1], self.scaled(0.25, y[2], self.scaled(0.125, y[3], y[0])))
        two = self.scaled(-2.0, y[1], self.scaled(4.0, y[2], self.scaled(-8.0, y[3], y[0])))
        return [y[0], self.add(even, odd), self.sub(even, odd), half, two, y[3]]

    def weights(self, g: Sequence[Any]) -> list[Any]:
        """G: three taps to six points."""
        even = self.add(g[0], g[2])
        half = self.scaled(0.5, g[1], self.scaled(0.25, g[2], g[0]))
        two = self.scaled(-2.0, g[1], self.scaled(4.0, g[2], g[0]))
        return [
            g[0],
            self.scaled(1 / 3, self.add(even, g[1])),
            self.scaled(1 / 3, self.sub(g[1], even)),
            self.scaled(-16 / 15, half),
            self.scaled(1 / 15, two),
            g[2],
        ]

    def taps(self, u: Sequence[Any]) -> list[Any]:
        """G': gradients of six points to three taps."""
        one, minus = self.scaled(1 / 3, u[1]), self.scaled(1 / 3, u[2])
        half, two = self.scaled(-16 / 15, u[3]), self.scaled(1 / 15, u[4])
        even, rest = self.sub(one, minus), self.add(half, two)
        return [
            self.add(u[0], self.add(even, rest)),
            self.add(self.add(one, minus), self.scaled(0.5, half, self.scaled(-2.0, two))),
            self.add(self.add(even, u[5]), self.scaled(0.25, half, self.scaled(4.0, two))),
        ]

    def square(self, values: list[list[Any]], line: Callable[[Sequence[Any]], list[Any]]) -> list[list[Any]]:
        """`line` on all columns, then on all rows; only that if there is one row."""
        if len(values) == 1:
            return [line(values[0])]
        columns = [line(column) for column in zip(*values, strict=True)]
        return [line(row) for row in zip(*columns, strict=True)]


_FROM_IMAGE = {"inputs": SIDE, "results": OUT, "weights": TAPS}
_TO_IMAGE = {"outputs": OUT, "taps": TAPS}


def transform(name: str, dtype: str, column_step: int, plane: int, ahead: bool = False, flat: bool = False) -> Any:
    """The intrinsic of one transform of one vector of channels.

    "inputs", "results", "weights": `t(x, at, row_step, row0, row1, column0, column1, lanes, v)` reads the square that
    starts `at` elements from x, of which rows row0..row1-1 and columns column0..column1-1 are in the image and the
    others zero, and writes point p to v + p * plane.
    "outputs", "taps": `t(v, y, at, row_step, rows, columns, lanes)` reads the planes and writes the first `rows` and
    `columns` of the square.
    lanes: channels that exist; the others are read as zero and not written.
    ahead: also fetch the part of the image that the tile below needs. flat: squares are one row.
    """
    return _transform(name, dtype, column_step, plane, ahead, flat, vector_width(dtype))


@cache
def _transform(name: str, dtype: str, column_step: int, plane: int, ahead: bool, flat: bool, width: int) -> Any:
    word = types.int64

    def read(typingctx, x, at, row_step, row0, row1, column0, column1, lanes, v):
        return types.void(x, *[word] * 7, v), emit(x.scope, v.scope)

    def write(typingctx, v, y, at, row_step, rows, columns, lanes):
        return types.void(v, y, *[word] * 5), emit(v.scope, y.scope)

    def emit(*scopes):
        def codegen(context, builder, sig, args):
            inner = _read_image if name in _FROM_IMAGE else _write_image

            def body(own, values):
                inner(_Lines(own, dtype, width), name, values, scopes, (column_step, plane), ahead, flat)

            label = f"winograd_{name}_{column_step}_{plane}_{flat}_{scopes[0]}_{scopes[1]}"
            call_outlined(builder, label, args, body)
            return context.get_dummy_value()

        return codegen

    made = read if name in _FROM_IMAGE else write
    made.__name__ = made.__qualname__ = f"winograd_{name}"
    return intrinsic(made)


def _squares(lines: _Lines, start: Any, row_step: Any, column_step: int, side: int, flat: bool) -> list[list[Any]]:
    """Pointers to the cells of a square of the image."""
    rows = [lines.at(start, lines.b.mul(row_step, I64(r))) for r in range(rows_of(side, flat))]
    return [[lines.at(row, column_step * c) for c in range(side)] for row in rows]


def _read_image(
    lines: _Lines, name: str, args: Sequence[Any], scopes: Sequence[int], steps: Sequence[int], ahead: bool, flat: bool
) -> None:
    x, at, row_step, row0, row1, column0, column1, lanes, v = args
    (x_scope, v_scope), (column_step, plane) = scopes, steps
    b, side = lines.b, _FROM_IMAGE[name]
    start = lines.at(x, at)
    if ahead:
        edge = (side - OUT) // 2  # the middle of each tile, so that no pixel is asked for twice
        core = lines.at(start, b.mul(row_step, I64(edge)), column_step * edge)
        prefetch_below(lines, core, row_step, column_step, (OUT, OUT))
    places = _squares(lines, start, row_step, column_step, side, flat)
    height = len(places)
    full = [b.icmp_signed("<=", low, I64(0)) for low in (row0, column0)]
    full += [b.icmp_signed(">=", high, I64(n)) for high, n in ((row1, height), (column1, side))]
    full.append(b.icmp_signed(">=", lanes, I64(lines.width)))
    whole = full[0]
    for condition in full[1:]:
        whole = b.and_(whole, condition)

    def finish(square: list[list[Any]]) -> None:
        points = lines.square(square, getattr(lines, name))
        for i, value in enumerate(v for row in points for v in row):
            lines.store(value, lines.at(v, plane * i), v_scope)

    with b.if_else(whole, likely=True) as (plain, edge):
        with plain:
            finish([[lines.load(place, x_scope) for place in row] for row in places])
        with edge:
            rows = [lane_bits(lines, lanes, within(b, i, row0, row1)) for i in range(height)]
            columns = [lane_bits(lines, lanes, within(b, i, column0, column1)) for i in range(side)]
            finish([
                [lines.load_masked(places[r][c], x_scope, as_mask(lines, b.and_(rows[r], columns[c])))
                 for c in range(side)]
                for r in range(height)
            ])  # fmt: skip


def _write_image(
    lines: _Lines, name: str, args: Sequence[Any], scopes: Sequence[int], steps: Sequence[int], ahead: bool, flat: bool
) -> None:
    v, y, at, row_step, rows, columns, lanes = args
    (v_scope, y_scope), (column_step, plane) = scopes, steps
    b, side = lines.b, _TO_IMAGE[name]
    height = rows_of(side, flat)
    planes = [[plane * (r * SIDE + c) for c in range(SIDE)] for r in range(rows_of(SIDE, flat))]
    points = [[lines.load(lines.at(v, place), v_scope) for place in row] for row in planes]
    found = lines.square(points, getattr(lines, name))
    whole = b.and_(
        b.icmp_signed(">=", lanes, I64(lines.width)),
        b.and_(b.icmp_signed(">=", rows, I64(height)), b.icmp_signed(">=", columns, I64(side))),
    )
    start = lines.at(y, at)
    if ahead:
        prefetch_below(lines, start, row_step, column_step, (OUT, OUT), write=True)
    places = _squares(lines, start, row_step, column_step, side, flat)
    with b.if_else(whole, likely=True) as (plain, edge):
        with plain:
            for r in range(height):
                for c in range(side):
                    lines.store(found[r][c], places[r][c], y_scope)
        with edge:
            of_row = [lane_bits(lines, lanes, b.icmp_signed(">", rows, I64(i))) for i in range(height)]
            of_column = [lane_bits(lines, lanes, b.icmp_signed(">", columns, I64(i))) for i in range(side)]
            for r in range(height):
                for c in range(side):
                    here = as_mask(lines, b.and_(of_row[r], of_column[c]))
                    lines.store_masked(found[r][c], places[r][c], y_scope, here)


# -- products between the transforms ----------------------------------------------------------------------


def product(mr: int, nv: int, a_row: int, a_depth: int, b_depth: int, c_row: int, dtype: str, adding: bool = False):
    """The intrinsic `t(a, b, c, depth)`: c[m, j] = (old c if adding) + sum over k < depth of a[m, k] * b[k, j].

    mr rows, nv vectors of columns, all of which exist: the private arrays of the transforms are padded. Element steps
    are part of the code, so that rows need no registers. depth: a multiple of UNROLL.
    """
    return _product(mr, nv, a_row, a_depth, b_depth, c_row, dtype, adding, vector_width(dtype))


@cache
def _product(mr, nv, a_row, a_depth, b_depth, c_row, dtype, adding, width) -> Any:
    def winograd_product(typingctx, a, b, c, depth):
        def codegen(context, builder, sig, args):
            _emit_product(
                Printer(builder, dtype, width), args, (a.scope, b.scope, c.scope), (mr, nv),
                (a_row, a_depth, b_depth, c_row), adding,
            )  # fmt: skip
            return context.get_dummy_value()

        return types.void(a, b, c, types.int64), codegen

    return intrinsic(winograd_product)


def _emit_product(p: Printer, args, scopes, size, steps, adding: bool) -> None:
    a, b, c, depth = args
    a_scope, b_scope, c_scope = scopes
    (mr, nv), (a_row, a_depth, b_depth, c_row) = size, steps

    def body(offsets, accs):
        a_at, b_at = offsets
        accs = list(accs)
        for k in range(UNROLL):
            columns = [p.load(p.at(b, b_at, k * b_depth + p.width * j), b_scope) for j in range(nv)]
            for m in range(mr):
                one = marked(p.b, p.b.load(p.at(a, a_at, m * a_row + k * a_depth)), a_scope)
                row = p.broadcast(one)
                for j in range(nv):
                    accs[m * nv + j] = p.fma(row, columns[j], accs[m * nv + j])
        return accs

    places = [p.at(c, m * c_row + p.width * j) for m in range(mr) for j in range(nv)]
    start = [p.load(place, c_scope) for place in places] if adding else [p.zero] * (mr * nv)
    turns = p.b.ashr(depth, I64(UNROLL.bit_length() - 1))
    level = (turns, I64(UNROLL * a_depth), I64(UNROLL * b_depth))
    for value, place in zip(p.nest([level], [I64(0), I64(0)], start, body), places, strict=True):
        p.store(value, place, c_scope)
