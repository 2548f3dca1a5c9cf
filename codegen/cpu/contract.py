"""dot_general: products of strided operands from register tiles.

C[b, i, j] = sum over k of A[b, i, k] * B[b, k, j], where b, i and k may each be several axes. The work is cut into
items of `chunk` rows by `group` panels of columns (nv vectors each). An item walks k in blocks that fit the caches, the
rows in tiles of mr, and each row of tiles over all its panels before the next: A is read once, C is written in long
runs, and the epilogue follows at once. B's panels are copied to private memory first where many rows use them or where
they are not contiguous along the columns; rows of A that are not contiguous along k are copied tile by tile where
several panels use them. Few rows and both operands contiguous along k (gradients of inputs, q k^T): tiles of dot
products, nothing is moved.

The batch is a row of some products and the depth of others, so one source serves all sizes: what is copied, how many
panels an item has, how long the blocks of k are and into how many parts the depth is cut are arguments. The source
follows the columns (features, as a rule), the strides, and whether there is one row or several.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from graphkeras.codegen.body import Body
from graphkeras.codegen.cpu.choices import Candidate, pick
from graphkeras.codegen.cpu.packing import STRIP_TILES, pack_panel, pack_rows, turns_blocks
from graphkeras.codegen.cpu.params import HEADER, Params, comment, divide, template_kernel
from graphkeras.codegen.cpu.product import Axis, Product, lower_plain, merged, sum_kernel, sum_runs, widened
from graphkeras.codegen.cpu.product_shapes import (
    KBLOCK,
    PART,
    Forms,
    Shape,
    cheapest,
    cuts,
    form_of,
    forms_of,
    other_form,
    runs_along_depth,
)
from graphkeras.codegen.cpu.vectors import vector_width, vectors
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.work import work_of_body
from graphkeras.codegen.writer import Writer

COPIED_FOR = 128  # columns that use a copy of A


def product_of(a: View, b: View, contract: tuple[Axis, Axis], batch: tuple[Axis, Axis]) -> Product:
    used_a, used_b = {*contract[0], *batch[0]}, {*contract[1], *batch[1]}
    depth = [(a.shape[i], a.strides[i], b.strides[j]) for i, j in zip(*contract, strict=True)]
    depth.sort(key=lambda axis: (-abs(axis[2]), -abs(axis[1])))
    return Product(
        a.dtype,
        merged([(a.shape[i], a.strides[i], b.strides[j]) for i, j in zip(*batch, strict=True)]),
        merged([(n, s) for i, (n, s) in enumerate(zip(a.shape, a.strides, strict=True)) if i not in used_a]),
        merged(depth),
        merged([(n, s) for i, (n, s) in enumerate(zip(b.shape, b.strides, strict=True)) if i not in used_b]),
    )


@lowers("dot_general")
def lower_dot_general(ctx: Lowering, group: Group) -> None:
    """Choose operands the tiles can read, split the depth where there would be too few items, and launch."""
    node = group.anchor
    a, b = (ctx.view(x) for x in node.inputs)
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    if node.dtype not in ("float32", "float64"):
        if node.dtype not in ("float16", "bfloat16"):
            return lower_plain(ctx, group, product_of(a, b, contract, batch), a, b)
        a, b = widened(ctx, a), widened(ctx, b)
    product = product_of(a, b, contract, batch)
    scattered = len(product.depth) > 1 and product.k > 4 * KBLOCK and not product.along_columns
    if len(product.columns) > 1 or len(product.depth) > 2 or scattered:
        b = _in_order(ctx, b, [*batch[1], *contract[1], *_free(b, contract[1], batch[1])])
        contract, batch = _leading(contract, batch, side=1)
        product = product_of(a, b, contract, batch)
    if _depth_merges(product):
        a, contract, batch = _depth_first(ctx, a, b, contract, batch)
        product = product_of(a, b, contract, batch)
    if len(product.depth) > 2 or _lies_across(product):
        a = _in_order(ctx, a, [*batch[0], *_free(a, contract[0], batch[0]), *contract[0]])
        contract, batch = _trailing(a, contract, batch)
        product = product_of(a, b, contract, batch)
    product = replace(product, rewritten=ctx.is_rewritten(b), epilogue=work_of_body(group.epilogue))
    choose_and_launch(ctx, group, product, a, b)


def choose_and_launch(ctx: Lowering, group: Group, p: Product, a: View, b: View) -> None:
    """Tiles of the forms that the product may take at any size, then how it is cut at this one."""

    def launch(cut: Candidate) -> None:
        launch_product(ctx, group, p, forms, cut.value, a, b)

    forms = Forms(None, None)
    features = ctx.is_feature(p.m)
    spec = form_of(p, features)
    choices = forms_of(p, features)
    for mode, _, tiles in choices:
        forms = replace(forms, **{mode: min(tiles, key=lambda c: c.seconds).value})
    usual = cheapest(p, forms).mode
    for mode, kind, tiles in choices:

        def launch_with(c: Candidate, mode: str = mode) -> None:
            only = replace(Forms(None, None), **{mode: c.value})
            launch_product(ctx, group, p, only, cheapest(p, only), a, b)

        chosen = pick(ctx, kind, spec, tiles, launch_with if mode == usual else None)
        forms = replace(forms, **{mode: chosen.value})
    size = f"{spec},m={p.m},k={p.k},batches={p.batches},tiles={forms}"
    launch(pick(ctx, "cut", size, cuts(p, forms), launch))


def launch_product(ctx: Lowering, group: Group, p: Product, forms: Forms, shape: Shape, a: View, b: View) -> None:
    """One launch with the epilogue on the finished tiles; or, split along the depth, partial sums and a second one.

    Where another size of the same problem would split, its kernels come along (they are few and small).
    """
    parts = shape.parts
    direct = group.nodes == [group.anchor] and group.anchor.dtype == p.dtype
    partial = ctx.new((max(parts, 1), p.batches, p.m, p.n), p.dtype, "partial sums")
    if parts == 0:
        summed = None
    elif direct:
        flat = replace(partial, shape=(partial.shape[0], math.prod(partial.shape[1:])))
        summed = sum_runs(group, flat, ctx.output(group.anchor))
    else:
        summed = sum_kernel(group, partial, p)
    body = None if direct else group.epilogue
    if parts > 1:
        assert summed is not None
        ctx.launch(_Printer(p, shape, a, b, parts, splits=True).kernel(group, body, partial))
        ctx.launch(summed)
        return
    place = ctx.output(group.anchor) if direct else None
    kernel = _Printer(p, shape, a, b, splits=parts > 0).kernel(group, body, place)
    companions = [] if summed is None else [summed]
    if (other := other_form(p, forms, shape)) is not None:
        companions.append(_Printer(p, other, a, b).kernel(group, body, place))
    kernel.companions = tuple(k.source for k in companions)
    ctx.launch(kernel)


def _free(view: View, *used: Axis) -> list[int]:
    taken = {i for axes in used for i in axes}
    return [i for i in range(len(view.shape)) if i not in taken]


def _in_order(ctx: Lowering, view: View, order: Sequence[int]) -> View:
    """A contiguous copy with the axes in another order."""
    turned = replace(view, shape=tuple(view.shape[i] for i in order), strides=tuple(view.strides[i] for i in order))
    return ctx.copy(turned)


def _depth_merges(p: Product) -> bool:
    """A's copy in B's order would make the depth one run, and so many columns use the copy that it pays."""
    if len(p.depth) < 2 or p.n < COPIED_FOR or p.k < 4 * PART or not p.along_columns:
        return False
    return all(outer[2] == inner[2] * inner[0] for outer, inner in itertools.pairwise(p.depth))


def _lies_across(p: Product) -> bool:
    """A's depth takes such steps, and so many columns use it, that a copy along the depth costs less than strips of it,
    which are copied again for every few panels."""
    step = abs(p.depth[0][1]) * vectors().bytes // vector_width(p.dtype) if len(p.depth) == 1 else 0
    return min(p.m, p.k) >= PART and p.n >= 2 * PART and step * PART > vectors().l2 and not runs_along_depth(p)


def _depth_first(
    ctx: Lowering, a: View, b: View, contract: tuple[Axis, Axis], batch: tuple[Axis, Axis]
) -> tuple[View, tuple[Axis, Axis], tuple[Axis, Axis]]:
    """A copied with its batch, then its contracted axes in the order of B's memory; B as it is."""
    pairs = sorted(zip(*contract, strict=True), key=lambda axes: -abs(b.strides[axes[1]]))
    own = tuple(axis for axis, _ in pairs)
    a = _in_order(ctx, a, [*batch[0], *own, *_free(a, own, batch[0])])
    nb, nc = len(batch[0]), len(own)
    contract = tuple(range(nb, nb + nc)), tuple(axis for _, axis in pairs)
    return a, contract, (tuple(range(nb)), batch[1])


def _leading(contract: tuple[Axis, Axis], batch: tuple[Axis, Axis], side: int) -> tuple[tuple, tuple]:
    """Attributes after `_in_order` put batch and contracted axes of operand b first."""
    nb, nc = len(batch[side]), len(contract[side])
    return (contract[0], tuple(range(nb, nb + nc))), (batch[0], tuple(range(nb)))


def _trailing(a: View, contract: tuple[Axis, Axis], batch: tuple[Axis, Axis]) -> tuple[tuple, tuple]:
    nb, nc, rank = len(batch[0]), len(contract[0]), len(a.shape)
    return (tuple(range(rank - nc, rank)), contract[1]), (tuple(range(nb)), batch[1])


# -- the kernel -----------------------------------------------------------------------------------------
class _Printer:
    """Prints the source of one product kernel.

    splits: the source can do the depth in several parts, whose sums follow one another in C; `parts` says how many.
    The epilogue is left to those who add them.
    """

    def __init__(self, p: Product, shape: Shape, a: View, b: View, parts: int = 1, splits: bool = False) -> None:
        self.p, self.s, self.a, self.b = p, shape, a, b
        self.columns = shape.columns(p.dtype)
        self.panels = -(-p.n // self.columns)
        self.groups = max(1, -(-self.panels // shape.group))
        self.turns = shape.mode == "broadcast" and shape.mr > 1 and not runs_along_depth(p)  # the source can copy A
        self.row_chunks = max(1, -(-p.m // shape.chunk))
        self.splits = splits
        self.k_part = -(-p.k // parts)
        self.parts = -(-p.k // max(self.k_part, 1)) if parts > 1 else 1
        self.w = Writer()

    @property
    def tail(self) -> int:
        """Rows of the tile for the last few rows; 0: none."""
        return self.s.mr // 2 if self.s.mode != "dot" and self.s.mr > 1 else 0

    @property
    def extent(self) -> int:
        return self.parts * self.p.batches * self.row_chunks * self.groups

    @property
    def kept(self) -> int:
        """Rows of C in private memory: those of a tile, or all where blocks of k follow one another."""
        s = self.s
        return s.chunk if s.kblock and s.kblock < self.k_part else min(s.mr, s.chunk)

    def kernel(self, group: Group, body: Body | None, direct: View | None) -> Kernel:
        """direct: memory that takes the tiles as they are: the result, or partial sums. Else they pass through `body`,
        which a split product has too, for its source to be that of the whole one."""
        params = self._params(body, direct)
        w = self.w
        self._head(group)
        with w.block("def kernel(args, lo, hi)"):
            params.declare(w)
            if body is not None:
                body.begin(w, len(params.args))
            with w.block("for item in range(lo, hi)"):
                self._item(body, group)
        p = self.p
        name = f"dot_{p.m}x{p.n}x{p.k}"
        operands, work = (self.a, self.b), p.work - p.epilogue
        return template_kernel(name, w, params, group, body, self.extent, p.flops, operands, "product", work)

    def _head(self, group: Group) -> None:
        w, s = self.w, self.s
        operand = {"always": "B's panel copied", "never": "B read in place", "asked": "B's panel copied where it pays"}
        comment(
            w,
            f"""C[b, i, j] = sum over k of A[b, i, k] * B[b, k, j] ({self.p.dtype}).
            Axes: {len(self.p.batch)} batch, {len(self.p.rows)} row, {len(self.p.depth)} depth.
            An item is `rows_per_item` rows by `group` panels of {self.columns} columns.
            Tile: {s.mr} rows x {s.nv} {"columns" if s.mode == "dot" else "vectors"} ({s.mode}), {operand[s.pack]}.""",
        )
        w.line(HEADER)
        w.line("from graphkeras.codegen.cpu.micro import tile")
        turning = s.pack != "never" and turns_blocks(self.p)
        if self.turns:
            w.line("from graphkeras.codegen.cpu.packing import move")
        if turning:
            w.line("from graphkeras.codegen.cpu.transpose import transpose")
        w.line()
        levels = max(1, len(self.p.depth))
        w.line(f'TILE = tile({s.mr}, {s.nv}, {levels}, "{self.p.dtype}", "{s.mode}", masked={s.masked})')
        if turning:
            w.line(f'TURN = transpose("{self.p.dtype}")')
        if self.turns:
            w.line(f'MOVE = move({s.mr}, "{self.p.dtype}")')
        if self.tail:
            w.line(f'TAIL = tile({self.tail}, {s.nv}, {levels}, "{self.p.dtype}", "{s.mode}", masked={s.masked})')
        w.line()
        w.line()

    def _params(self, body: Body | None, direct: View | None) -> Params:
        p, s = self.p, self.s
        params = Params()
        params.source("a", self.a)
        params.source("b", self.b)
        if direct is not None:
            params.target("c", direct)
        else:
            params.scratch("c", self.kept * s.group * self.columns, p.dtype)
        if body is not None:
            params.ints(kept=self.kept, c_step=s.group * self.columns)
            if self.splits:
                params.word("whole", direct is None)
        params.scratch("a_rows", s.chunk, "int64")
        params.scratch("c_rows", s.chunk, "int64")
        if s.mode == "dot":
            params.scratch("b_rows", s.nv, "int64")
        if s.pack != "never":
            depth = min(p.k, s.kblock) if s.kblock else p.k
            params.scratch("panel", depth * self.columns * s.group if s.packed else 1, p.dtype)
        if s.pack == "asked":
            params.word("packed", s.packed)
        if self.turns:
            params.scratch("turned_rows", STRIP_TILES * s.mr * s.kblock if s.turned else 1, p.dtype)
            params.scratch("in_turn", s.mr, "int64")
            params.word("turned", s.turned)
        params.ints(m=p.m, n=p.n, row_chunks=self.row_chunks, rows_per_item=s.chunk)
        params.ints(panels=self.panels, group=s.group, groups=self.groups)
        for letter, axes in (("batch", p.batch), ("row", p.rows), ("k", p.depth or [(1, 0, 0)])):
            params.table(f"{letter}_n", [x[0] for x in axes])
            params.table(f"{letter}_a", [x[1] for x in axes])
        params.table("batch_b", [x[2] for x in p.batch])
        step = p.columns[0][1] if p.columns else 1
        (params.literal if step == 1 else params.word)("b_step", step)
        for i, axis in enumerate(p.depth or [(1, 0, 0)]):
            (params.literal if axis[2] == 1 else params.word)(f"k_b{i}", axis[2])
        if s.kblock:
            params.word("k_block", s.kblock)
        if self.splits:
            params.ints(batches=p.batches, k_part=self.k_part)
        return params

    def _item(self, body: Body | None, group: Group) -> None:
        """Where the item stands, its row tables, then the tiles."""
        w, s = self.w, self.s
        w.line("first = item % groups * group")
        w.line("last = min(first + group, panels)")
        w.line("row0 = item // groups % row_chunks * rows_per_item")
        w.line("batch = item // groups // row_chunks")
        w.line("rows = min(rows_per_item, m - row0)")
        w.line(f"j0 = first * {self.columns}")
        w.line("a_at = 0")
        w.line("b_at = j0 * b_step")
        if self.p.batch:
            names = [f"batch{i}" for i in range(len(self.p.batch))]
            if self.splits:
                w.line("in_batch = batch % batches")
            divide(w, "in_batch" if self.splits else "batch", [f"batch_n{i}" for i in range(len(names))], names)
            for side in "ab":
                terms = " + ".join(f"{name} * batch_{side}{i}" for i, name in enumerate(names))
                w.line(f"{side}_at += {terms}")
        self._tables(body is None)
        if not s.kblock:
            return self._tiles("0", "k_n0", body, group)
        if self.splits:
            w.line("k_first = batch // batches * k_part")
            w.line("k_end = min(k_first + k_part, k_n0)")
        begin, end = ("k_first", "k_end") if self.splits else ("0", "k_n0")
        with w.block(f"for k0 in range({begin}, max({end}, {begin} + 1), k_block)"):
            w.line(f"depth = min(k_block, {end} - k0)")
            self._tiles("k0", "depth", body, group)

    def _tables(self, direct: bool) -> None:
        """Offsets of the item's rows in A and C."""
        w, s = self.w, self.s
        with w.block("for r in range(rows)"):
            w.line("row = row0 + r")
            names = [f"row_i{i}" for i in range(len(self.p.rows))]
            if names:
                divide(w, "row", [f"row_n{i}" for i in range(len(names))], names)
            terms = "".join(f" + {name} * row_a{i}" for i, name in enumerate(names))
            w.line(f"a_rows[r] = a_at{terms}")
            own, result = "r % kept * c_step", "(batch * m + row) * n + j0"
            w.line(
                f"c_rows[r] = {result if direct else f'select(whole != 0, {own}, {result})' if self.splits else own}"
            )
        if s.mode == "dot":  # one panel to an item
            w.line("columns = n - j0")
            with w.block(f"for j in range({s.nv})"):
                w.line("b_rows[j] = min(j, columns - 1) * b_step")
        if self.turns:
            with w.block(f"for r in range({s.mr})"):
                w.line("in_turn[r] = r")

    def _tiles(self, k0: str, depth: str, body: Body | None, group: Group) -> None:
        """All tiles of an item at one block of the depth."""
        w, s, p, columns = self.w, self.s, self.p, self.columns
        w.line(f"b_from = b_at + {k0} * k_b0")
        nest = [(depth if i == 0 else f"k_n{i}", f"k_a{i}", f"k_b{i}") for i in range(max(1, len(p.depth)))]
        operand = f"shift(b, b_from + (j - first) * {columns} * b_step)"
        if s.pack != "never":
            length = " * ".join(n for n, _, _ in nest)
            w.line(f"panel_size = {columns} * {length}")
            with w.maybe_block("if packed != 0" if s.pack == "asked" else None), w.block("for j in range(first, last)"):
                w.line(f"columns = min({columns}, n - j * {columns})")
                w.line("to = shift(panel, (j - first) * panel_size)")
                w.line(f"here = b_from + (j - first) * {columns} * b_step")
                pack_panel(w, p, columns, depth)
            steps = [" * ".join([str(columns), *(n for n, _, _ in nest[i + 1 :])]) for i in range(len(nest))]
            if s.pack == "asked":
                operand = f"either(packed != 0, shift(panel, (j - first) * panel_size), {operand})"
                steps = [f"select(packed != 0, {new}, {old})" for new, (_, _, old) in zip(steps, nest, strict=True)]
            else:
                operand = "shift(panel, (j - first) * panel_size)"
            nest = [(n, sa, step) for (n, sa, _), step in zip(nest, steps, strict=True)]
        w.line(f"a_here = shift(a, {k0} * k_a0)")
        left, table = "a_here", "shift(a_rows, i)"
        if self.turns:
            n, step, step_b = nest[0]
            nest[0] = (n, f"select(turned != 0, {s.mr}, {step})", step_b)
            strip = s.mr * STRIP_TILES
            left = f"either(turned != 0, shift(turned_rows, i % {strip} * {depth}), a_here)"
            table = "either(turned != 0, in_turn, shift(a_rows, i))"
        w.line(f"nest = ({', '.join(x for axis in nest for x in axis)})")
        accumulate = "0" if k0 == "0" else f"{k0} - k_first" if self.splits else k0
        places = "b_rows" if s.mode == "dot" else "c_rows"
        call = f"(left, table, {operand}, {places}, shift(c, (j - first) * {columns}), shift(c_rows, i)"
        call += f", rows - i, columns, {accumulate}, nest)"
        with w.block(f"for i in range(0, rows, {s.mr})"):
            if self.turns:
                with w.block(f"if turned != 0 and i % {strip} == 0"):
                    pack_rows(w, p, s.mr, depth)
            w.line(f"left = {left}")
            w.line(f"table = {table}")
            with w.block("for j in range(first, last)"):
                w.line(f"columns = min({columns}, n - j * {columns})")
                if self.tail:
                    with w.block(f"if rows - i > {self.tail}"):
                        w.line("TILE" + call)
                    with w.block("else"):
                        w.line("TAIL" + call)
                else:
                    w.line("TILE" + call)
            if body is not None:
                done = f"{k0} + {depth} >= {'k_end' if self.splits else 'k_n0'}" if s.kblock else ""
                tests = [t for t in (done, "whole != 0" if self.splits else "") if t]
                with w.maybe_block(f"if {' and '.join(tests)}" if tests else None):
                    self._store(body, group)

    def _store(self, body: Body, group: Group) -> None:
        """The finished rows are hot in the cache: apply the epilogue and store."""
        w = self.w
        w.line(f"width = min(last * {self.columns}, n) - j0")
        with w.block(f"for r in range(i, min(i + {self.s.mr}, rows))"):
            w.line("done = shift(c, c_rows[r])")
            w.line("i_row = row0 + r")
            with w.block("for jj in range(width)"):
                w.line("column = j0 + jj")
                w.line("acc = done[jj]")
                body.emit(w, {group.anchor: "acc"}, ["batch", "i_row", "column"])
