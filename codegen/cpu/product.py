"""What accompanies products: widening of half floats, sums of partial results, and plain loops for integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from graphkeras.codegen.cpu.params import HEADER, Params, comment, divide, small_kernel
from graphkeras.codegen.cpu.vectors import vector_width
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, LoweringError
from graphkeras.codegen.writer import Writer
from graphkeras.ir.types import numpy_dtype

PIECE = 2048  # elements summed at a time
SUMMED = 8192  # partial sums per chunk, before an epilogue
STREAMED = 3.5  # flops that take as long as a byte of B, where it passes by once
Axis = tuple[int, ...]  # extent, then one stride per operand


@dataclass(frozen=True)
class Product:
    """Merged axes of a product: extents and strides. batch and depth: (n, sa, sb); rows: (n, sa); columns: (n, sb).

    rewritten: each run of the program writes B anew, each thread a part of it that lies together.
    epilogue: what follows on the tiles, in flops.
    """

    dtype: str
    batch: list[Axis]
    rows: list[Axis]
    depth: list[Axis]
    columns: list[Axis]
    rewritten: bool = False
    epilogue: float = 0.0

    @property
    def m(self) -> int:
        return math.prod(x[0] for x in self.rows)

    @property
    def n(self) -> int:
        return math.prod(x[0] for x in self.columns)

    @property
    def k(self) -> int:
        return math.prod(x[0] for x in self.depth)

    @property
    def batches(self) -> int:
        return math.prod(x[0] for x in self.batch)

    @property
    def along_columns(self) -> bool:
        """B is contiguous along its columns."""
        return not self.columns or (len(self.columns) == 1 and self.columns[0][1] == 1)

    @property
    def flops(self) -> float:
        return 2.0 * self.batches * self.m * self.n * self.k

    @property
    def work(self) -> float:
        """Flops with those of empty lanes, or as many as take the time in which B passes by, and the epilogue."""
        width = vector_width(self.dtype) if self.along_columns and self.dtype in ("float32", "float64") else 1
        lanes = -(-self.n // width) * width / max(self.n, 1)
        streamed = STREAMED * numpy_dtype(self.dtype).itemsize * self.batches * self.n * self.k
        return max(self.flops * lanes, streamed) + self.epilogue


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """Drop extents of one; join neighbours that every operand walks as one run."""
    found: list[Axis] = []
    for n, *strides in axes:
        if n == 1:
            continue
        if found and all(outer == inner * n for outer, inner in zip(found[-1][1:], strides, strict=True)):
            found[-1] = (found[-1][0] * n, *strides)
        else:
            found.append((n, *strides))
    return found


def widened(ctx: Lowering, view: View) -> View:
    """A contiguous float32 copy of a half operand."""
    source = view if view.is_contiguous else ctx.copy(view)
    target = ctx.new(view.shape, "float32", "widened")
    count = math.prod(view.shape)
    w, params = Writer(), Params()
    params.source("x", source)
    params.target("y", target)
    comment(w, f"{view.dtype} to float32, for a product that accumulates in float32.")
    w.line(HEADER)
    w.line()
    w.line()
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        with w.block("for i in range(lo, hi)"):
            w.line(f"y[i] = {view.dtype}_to_float32(x[i])")
    if count:
        moved = 6.0 * count
        ctx.launch(
            Kernel("widen", w.text(), tuple(params.args), count, 16384, (source.buffer,), (target.buffer,), 0.0, moved)
        )
    return target


def sum_kernel(group: Group, partial: View, p: Product) -> Kernel:
    """Adds the parts of a split product in their order and applies the epilogue."""
    w, params, body = Writer(), Params(), group.epilogue
    parts = partial.shape[0]
    comment(w, "Sum of the parts of a product that was split along its depth, row by row, then the epilogue.")
    w.line(HEADER)
    w.line()
    w.line()
    params.source("part", partial)
    params.scratch("total", p.n, p.dtype)
    params.ints(m=p.m, n=p.n, parts=parts, step=p.batches * p.m * p.n)
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        body.begin(w, len(params.args))
        with w.block("for row in range(lo, hi)"):
            w.line("batch = row // m")
            w.line("i = row % m")
            with w.block("for j in range(n)"):
                w.line("total[j] = part[row * n + j]")
            with w.block("for k in range(1, parts)"), w.block("for j in range(n)"):
                w.line("total[j] += part[k * step + row * n + j]")
            with w.block("for j in range(n)"):
                w.line("acc = total[j]")
                body.emit(w, {group.anchor: "acc"}, ["batch", "i", "j"])
    rows = p.batches * p.m
    return Kernel(
        "sum_parts",
        w.text(),
        (*params.args, *body.args),
        rows,
        max(1, -(-SUMMED // max(1, p.n * parts))),
        (partial.buffer, *body.reads),
        body.writes,
        flops=float(partial.shape[0] * rows * p.n),
        nbytes=parts * rows * p.n * partial.itemsize + body.traffic,
        nodes=tuple(group.nodes),
        reason="parts of a product summed in fixed order",
    )


def sum_runs(group: Group, partial: View, output: View) -> Kernel:
    """Adds the runs' partial sums in their order, in pieces that stay in the first-level cache."""
    runs, size = partial.shape
    params = Params()
    params.source("part", partial)
    params.target("y", output)
    params.scratch("total", PIECE, partial.dtype)
    params.ints(size=size, runs=runs)
    half = output.dtype in ("float16", "bfloat16")
    lines = [
        "for piece in range(lo, hi):",
        f"    first = piece * {PIECE}",
        f"    width = min({PIECE}, size - first)",
        "    for i in range(width):",
        "        total[i] = part[first + i]",
        "    for run in range(1, runs):",
        "        for i in range(width):",
        "            total[i] += part[run * size + first + i]",
        "    for i in range(width):",
        "        y[first + i] = " + (f"float32_to_{output.dtype}(total[i])" if half else "total[i]"),
    ]
    head = "Sum of partial results, element by element, in their order. One item is a piece of the result."
    moved = partial.itemsize * (runs + 1.0) * size
    return small_kernel("sum_runs", head, params, lines, -(-size // PIECE), 8, group.anchor, moved)


def lower_plain(ctx: Lowering, group: Group, p: Product, a: View, b: View) -> None:
    """Integers: three plain loops."""
    if group.anchor.dtype.startswith("complex"):
        raise LoweringError(f"dot_general of {group.anchor.dtype} in layer {group.anchor.origin} has no native kernel")
    w, params, body = Writer(), Params(), group.epilogue
    comment(w, f"C[b, i, j] = sum over k of A[b, i, k] * B[b, k, j] in {p.dtype} (wraps around): plain loops.")
    w.line(HEADER)
    w.line()
    w.line()
    params.source("a", a)
    params.source("b", b)
    params.ints(m=p.m, n=p.n)
    for letter, axes, sides in (
        ("batch", p.batch, "ab"), ("row", p.rows, "a"), ("column", p.columns, "b"), ("k", p.depth, "ab"),
    ):  # fmt: skip
        params.table(f"{letter}_n", [x[0] for x in axes])
        for i, side in enumerate(sides):
            params.table(f"{letter}_{side}", [x[i + 1] for x in axes])
    with w.block("def kernel(args, lo, hi)"):
        params.declare(w)
        body.begin(w, len(params.args))
        with w.block("for item in range(lo, hi)"), w.block("for j in range(n)"):
            w.line("batch = item // m")
            w.line("i = item % m")
            w.line("a_at = 0")
            w.line("b_at = 0")
            for letter, index, axes, sides in (
                ("batch", "batch", p.batch, "ab"), ("row", "i", p.rows, "a"), ("column", "j", p.columns, "b"),
            ):  # fmt: skip
                _offsets(w, letter, index, len(axes), sides)
            w.line(f"acc = {p.dtype}(0)")
            _plain_sum(w, p)
            body.emit(w, {group.anchor: "acc"}, ["batch", "i", "j"])
    rows = p.batches * p.m
    chunk = max(1, int(3e4 / max(1, p.n * p.k)))
    reads, args = (a.buffer, b.buffer, *body.reads), (*params.args, *body.args)
    ctx.launch(
        Kernel("dot_plain", w.text(), args, rows, chunk, reads, body.writes, flops=p.flops, nodes=tuple(group.nodes))
    )


def _offsets(w: Writer, letter: str, index: str, count: int, sides: str) -> None:
    names = [f"{letter}{i}" for i in range(count)]
    if names:
        divide(w, index, [f"{letter}_n{i}" for i in range(count)], names)
        for side in sides:
            w.line(f"{side}_at += " + " + ".join(f"{name} * {letter}_{side}{i}" for i, name in enumerate(names)))


def _plain_sum(w: Writer, p: Product) -> None:
    with ExitStack() as loops:
        for i in range(len(p.depth)):
            loops.enter_context(w.block(f"for k{i} in range(k_n{i})"))
        at_a = "".join(f" + k{i} * k_a{i}" for i in range(len(p.depth)))
        at_b = "".join(f" + k{i} * k_b{i}" for i in range(len(p.depth)))
        w.line(f"acc = {p.dtype}(acc + a[a_at{at_a}] * b[b_at{at_b}])")
