"""dot_general on the ordinary arithmetic units: C[b, i, j] = sum over k of A[b, i, k] * B[b, k, j].

A block computes a tile of C. It walks k in steps of 16; each step's pieces of A and B travel through registers into
shared memory, k outermost, while the step before is worked on. A thread holds 4 x 4 or 8 x 8 results. Operands may
have any strides as long as each of b, i, j, k is walked with one; others are copied into order first. Where there are
too few tiles for a large GPU and k is long, k is cut into parts, and a second kernel adds them in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from graphkeras.codegen.cuda.body import CudaBody, Element
from graphkeras.codegen.cuda.language import SIZES, divisor, register_type
from graphkeras.codegen.cuda.source import Source, decompose
from graphkeras.codegen.fuse import Group
from graphkeras.codegen.kernel import Kernel, View
from graphkeras.codegen.lower import Lowering, LoweringError
from graphkeras.codegen.views import mergeable
from graphkeras.codegen.writer import Writer
from graphkeras.ir.node import Node
from graphkeras.ir.types import is_float

DEPTH = 16  # of a step
PAD = 4  # elements between rows in shared memory: keeps vectors aligned, spreads banks
BUSY = 132  # blocks that occupy a large GPU
PART = 128  # least depth of a part


@dataclass(frozen=True)
class Operand:
    """A matrix for each b: strides along b, along its free axes, along k.

    Other operands (`conv.Patches`) have the same methods and find their elements in their own way.
    """

    view: View
    batch: int
    free: int
    depth: int

    @property
    def along_depth(self) -> bool:
        """Whether neighbours in memory are neighbours along k."""
        return self.depth == 1 and self.free != 1

    def width(self, free: int, depth: int, most: int = 4) -> int:
        """Elements of one access: `most` or 4 where they stand side by side and all such groups are aligned, or 1."""
        fast, other, extent = (1, self.free, depth) if self.along_depth else (self.free, self.depth, free)
        for n in (most, 4):
            aligned = all(s % n == 0 for s in (other, self.batch, self.view.offset, extent))
            if fast == 1 and aligned and min(16, n * SIZES[self.view.dtype]) <= self.view.buffer.align:
                return n
        return 1

    def declare(self, source: Source) -> Place:
        """Print nothing, take arguments; returns how elements are found."""
        steps = [source.word(s) for s in (self.free, self.depth)]
        return Place(source.word(self.batch), lambda w: f"f * {steps[0]} + d * {steps[1]}")


@dataclass(frozen=True)
class Place:
    """How a kernel finds an operand's elements. batch: name of the step along b.

    at: prints what is needed and gives the offset of the element (f, d) of free axes and k; where it sets the flag `ok`
    (guarded), elements for which it is False are zero.
    """

    batch: str
    at: Callable[[Writer], str]
    guarded: bool = False


class Matrix(Protocol):
    """What a product asks of an operand."""

    @property
    def view(self) -> View: ...

    @property
    def along_depth(self) -> bool: ...

    def width(self, free: int, depth: int, most: int = 4) -> int: ...

    def declare(self, source: Source) -> Place: ...


@dataclass(frozen=True)
class Problem:
    """A product in canonical form.

    interleaved: results stand as [row][batch][column] (groups of a convolution), not as [batch][row][column].
    """

    a: Matrix
    b: Matrix
    batches: int
    m: int
    n: int
    k: int
    interleaved: bool = False

    @property
    def dtype(self) -> str:
        """In which sums are held."""
        return register_type(self.a.view.dtype)


@dataclass(frozen=True)
class Tile:
    """rows x columns of a block; each thread has each x each of them."""

    rows: int
    columns: int
    each: int

    @property
    def threads(self) -> int:
        return self.rows * self.columns // self.each**2

    def blocks(self, p: Problem) -> int:
        return -(-p.m // self.rows) * -(-p.n // self.columns) * p.batches


TILES = (Tile(128, 128, 8), Tile(64, 64, 4), Tile(32, 32, 4))


def tile_for(p: Problem) -> Tile:
    """The largest tile that gives enough blocks; the smallest if none does."""
    return next((t for t in TILES if t.blocks(p) >= BUSY), TILES[-1])


def problem_of(ctx: Lowering, node: Node) -> Problem:
    """The canonical form; operands that cannot be walked that way are copied."""
    if node.dtype.startswith("complex"):
        raise LoweringError(f"dot_general of {node.dtype} in layer {node.origin} has no native kernel")
    views = [ctx.view(x) for x in node.inputs]
    contract, batch = node.attrs["contract"], node.attrs["batch"]
    pairs = sorted(zip(*contract, strict=True), key=lambda pair: -abs(views[1].strides[pair[1]]))
    operands = []
    for side, view in enumerate(views):
        depth = [pair[side] for pair in pairs]
        free = [i for i in range(len(view.shape)) if i not in (*depth, *batch[side])]
        operands.append(_operand(ctx, view, list(batch[side]), free, depth))
    free_a = [n for i, n in enumerate(views[0].shape) if i not in (*contract[0], *batch[0])]
    free_b = [n for i, n in enumerate(views[1].shape) if i not in (*contract[1], *batch[1])]
    batches = math.prod(views[0].shape[i] for i in batch[0])
    depth = math.prod(views[0].shape[i] for i in contract[0])
    return Problem(operands[0], operands[1], batches, math.prod(free_a), math.prod(free_b), depth)


def _operand(ctx: Lowering, view: View, batch: list[int], free: list[int], depth: list[int]) -> Operand:
    steps = [mergeable(view.shape, view.strides, axes) for axes in (batch, free, depth)]
    if any(s is None for s in steps):
        order = [*batch, *free, *depth]
        turned = replace(view, shape=tuple(view.shape[i] for i in order), strides=tuple(view.strides[i] for i in order))
        view = ctx.copy(turned)
        first, second = len(batch), len(batch) + len(free)
        groups = (range(first), range(first, second), range(second, len(order)))
        steps = [mergeable(view.shape, view.strides, list(g)) for g in groups]
    return Operand(view, *(s or 0 for s in steps))


class Shape(Protocol):
    """What a kernel asks of its tile."""

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def threads(self) -> int: ...

    def blocks(self, p: Problem) -> int: ...


class ProductWriter:
    """What all kernels of products share: arguments, the block's place, the epilogue."""

    depth = DEPTH  # of a step

    def __init__(self, p: Problem, tile: Shape, group: Group, parts: int, how: str) -> None:
        self.p, self.group, self.parts, self.shape = p, group, parts, tile
        self.lead = p.a.view.dtype
        what = f"product{how}, tiles of {tile.rows} x {tile.columns}" + (", in parts" if parts > 1 else "")
        self.source = Source(what, group.nodes, tile.threads)
        self.w = self.source.w
        self.size = SIZES[p.dtype]

    def epilogue(self) -> tuple[CudaBody, Element]:
        """The fused part, as a function of one result."""
        body = self.group.epilogue
        assert isinstance(body, CudaBody)
        body.begin(self.w, len(self.source.args))
        self.source.args += body.args
        self.source.reads += body.reads
        self.source.writes += body.writes
        stored = list(body.stored_nodes)
        return body, body.element(self.source.functions, "element", None, [self.group.anchor], stored)

    def width(self, body: CudaBody, most: int) -> int:
        """Neighbouring results of one row that the epilogue can take at a time."""
        extents = [math.prod(body.space[a] for a in axes) for axes in body.groups]
        width = min(most, body.width(len(extents) - 1, extents, False))
        while self.p.n % width:
            width //= 2
        return width

    def emit(self, body: CudaBody, element: Element, values: Sequence[str], first: int = 0) -> None:
        """Neighbours from `column` + first on of `row`, through the epilogue."""
        w, index = self.w, self._index(first, len(body.groups))
        inner, count = len(body.groups) - 1, len(values)
        loaded = {n: body.load_neighbours(w, n, index, inner, count) for n in body.loads_of(element)}
        loaded[self.group.anchor] = list(values)
        results = []
        for q in range(count):
            results.append(w.name("e"))
            w.line(f"{results[-1]} = {element.call({n: v[q] for n, v in loaded.items()})}")
        for position, node in enumerate(element.results):
            body.store_neighbours(w, node, [f"{r}[{position}]" for r in results], index, inner)

    def _index(self, offset: int, groups: int) -> list[str]:
        """Names of a result's index, with as many parts as the epilogue sees."""
        column = f"column + {offset}" if offset else "column"
        if self.p.interleaved:
            channel = f"batch * {self.n} + {column}"
            return ["row", f"({channel})"] if groups == 2 else [f"(row * {self.batches} * {self.n} + {channel})"]
        if groups == 3:
            return ["batch", "row", f"({column})"]
        return [f"((batch * {self.m} + row) * {self.n} + {column})"]

    def _kernel(self, name: str, traffic: float) -> Kernel:
        p, tile = self.p, self.shape
        moved = p.batches * (p.m * p.k + p.k * p.n) * SIZES[self.lead] + traffic
        flops = 2.0 * p.batches * p.m * p.n * p.k
        return self.source.kernel(name, tile.blocks(p) * self.parts, flops=flops, nbytes=float(moved))

    # -- arguments ---------------------------------------------------------------------------------
    def _arguments(self) -> None:
        p, source, w = self.p, self.source, self.w
        self.m, self.n, self.k = source.word(p.m), source.word(p.n), source.word(p.k)
        self.batches = source.word(p.batches)
        across, down = -(-p.n // self.shape.columns), -(-p.m // self.shape.rows)
        chunk = -(-p.k // (self.parts * self.depth)) * self.depth
        names = [source.word(v) for v in (across, divisor(across), down, divisor(down), p.batches, divisor(p.batches))]
        self.chunk = source.word(chunk)
        self.pointers, self.places = {}, {}
        for name, operand in (("a", p.a), ("b", p.b)):
            self.pointers[name] = source.source(operand.view)
            self.places[name] = operand.declare(source)
        parts = ["part", "batch", "down", "across"]
        decompose(w, "block_index()", ["", names[4], names[2], names[0]], ["", names[5], names[3], names[1]], parts)
        w.line(f"row0 = down * {self.shape.rows}")
        w.line(f"column0 = across * {self.shape.columns}")
        w.line(f"first = part * {self.chunk}")
        w.line(f"last = min(first + {self.chunk}, {self.k})")


class ProductKernel(ProductWriter):
    """One kernel being written."""

    def __init__(self, p: Problem, tile: Tile, group: Group, parts: int = 1) -> None:
        super().__init__(p, tile, group, parts, "")
        self.tile = tile

    # -- the two forms -----------------------------------------------------------------------------
    def whole(self) -> Kernel:
        """Finished results, through the epilogue."""
        self._arguments()
        body, element = self.epilogue()
        width = self.width(body, 4)
        self._walk()
        with self._results(width) as columns:
            for first in columns:
                with self.w.maybe_block(f"if column + {first} < {self.n}" if width < 4 else None):
                    self.emit(body, element, [f"total[at + {first + q}]" for q in range(width)], first)
        return self._kernel("product", body.traffic)

    def partial(self, target: View) -> Kernel:
        """Sums over a part of k."""
        self._arguments()
        place = self.source.destination(target)
        self._walk()
        w = self.w
        with self._results(1) as columns:
            w.line(f"to = part * {self.batches} * {self.m} * {self.n} + {self._index(0, 1)[0]}")
            for q in columns:
                with w.block(f"if column + {q} < {self.n}"):
                    w.line(f"store_{self.p.dtype}({place}, to + {q}, total[at + {q}])")
        return self._kernel("partial_product", 0.0)

    # -- the walk along k --------------------------------------------------------------------------
    def _walk(self) -> None:
        w, tile = self.w, self.tile
        across = tile.columns // tile.each
        w.line(f"tx = thread_index() & {across - 1}")
        w.line(f"ty = thread_index() >> {across.bit_length() - 1}")
        w.line(f"total = local_array({tile.each**2}, {self.p.dtype})")
        with w.block(f"for q in range({tile.each**2})"):
            w.line(f"total[q] = {self.p.dtype}(0)")
        places = {}
        for name, extent in (("a", tile.rows), ("b", tile.columns)):
            places[name] = self.source.scratch(DEPTH * (extent + PAD) * self.size)
            w.line(f"s{name} = shared_memory() + {places[name]}")
            w.line(f"next_{name} = local_array({extent * DEPTH // tile.threads}, {self.p.dtype})")
            w.line(f"at_{name} = {self.pointers[name]} + batch * {self.places[name].batch} * {SIZES[self.lead]}")
        with w.block(f"for step in range(first, last + {DEPTH}, {DEPTH})"):
            with w.block("if step > first"):  # the step before is in registers: give it to all, then work on it
                self._exchange("a", self.p.a, tile.rows)
                self._exchange("b", self.p.b, tile.columns)
            w.line("sync_threads()")
            with w.block("if step < last"):
                self._fetch("a", self.p.a, tile.rows, "row0", self.m, self.p.m)
                self._fetch("b", self.p.b, tile.columns, "column0", self.n, self.p.n)
            with w.block("if step > first"):
                self._multiply()
            w.line("sync_threads()")

    def _shape(self, name: str, operand: Matrix, extent: int) -> tuple[int, int, int]:
        """(elements of an access, accesses along the fast axis, accesses of a thread)."""
        free = self.p.m if name == "a" else self.p.n
        width = operand.width(free, self.p.k)
        fast = (DEPTH if operand.along_depth else extent) // width
        return width, fast, extent * DEPTH // (width * self.tile.threads)

    def _position(self, name: str, operand: Matrix, extent: int) -> None:
        """u: position along the free axis within the tile, v: along k within the step."""
        width, fast, _ = self._shape(name, operand, extent)
        w = self.w
        w.line(f"item = thread_index() + q * {self.tile.threads}")
        quick, slow = ("v", "u") if operand.along_depth else ("u", "v")
        w.line(f"{slow} = item >> {fast.bit_length() - 1}")
        w.line(f"{quick} = (item & {fast - 1}) * {width}")

    def _fetch(self, name: str, operand: Matrix, extent: int, start: str, bound: str, free: int) -> None:
        width, _, count = self._shape(name, operand, extent)
        w, dtype, place = self.w, self.p.dtype, self.places[name]
        with w.block(f"for q in range({count})"):
            self._position(name, operand, extent)
            w.line(f"f = {start} + u")
            w.line("d = step + v")
            for r in range(width):
                w.line(f"next_{name}[q * {width} + {r}] = {dtype}(0)")
            with w.block(f"if (f < {bound}) & (d < last)"):
                offset = place.at(w)
                with w.maybe_block("if ok" if place.guarded else None):
                    load = f"fetch{width if width > 1 else ''}_{self.lead}"
                    w.line(f"x_{name} = {load}(at_{name}, {offset})")
                    for r in range(width):
                        w.line(f"next_{name}[q * {width} + {r}] = {f'x_{name}[{r}]' if width > 1 else f'x_{name}'}")

    def _exchange(self, name: str, operand: Matrix, extent: int) -> None:
        """From registers to shared memory: [k][free]."""
        width, _, count = self._shape(name, operand, extent)
        w, dtype, row = self.w, self.p.dtype, extent + PAD
        with w.block(f"for q in range({count})"):
            self._position(name, operand, extent)
            values = [f"next_{name}[q * {width} + {r}]" for r in range(width)]
            if width > 1 and not operand.along_depth:
                w.line(f"shared_store{width}_{dtype}(s{name}, v * {row} + u, ({', '.join(values)}))")
                return
            for r, value in enumerate(values):
                w.line(f"shared_store_{dtype}(s{name}, (v + {r}) * {row} + u, {value})")

    def _multiply(self) -> None:
        w, tile, dtype = self.w, self.tile, self.p.dtype
        for name in "ab":
            w.line(f"own_{name} = local_array({tile.each}, {dtype})")
        with w.block(f"for d in range({DEPTH})"):
            for name, extent, thread in (("a", tile.rows, "ty"), ("b", tile.columns, "tx")):
                for half in range(tile.each // 4):
                    at = f"d * {extent + PAD} + {half * extent // (tile.each // 4)} + {thread} * 4"
                    x = w.name("own")
                    w.line(f"{x} = shared_load4_{dtype}(s{name}, {at})")
                    for r in range(4):
                        w.line(f"own_{name}[{4 * half + r}] = {x}[{r}]")
            with w.block(f"for i in range({tile.each})"), w.block(f"for j in range({tile.each})"):
                old = f"total[i * {tile.each} + j]"
                if is_float(dtype):
                    w.line(f"{old} = fma(own_a[i], own_b[j], {old})")
                else:
                    w.line(f"{old} = {dtype}({old} + {dtype}(own_a[i] * own_b[j]))")

    def _results(self, width: int) -> _Results:
        return _Results(self, width)


class _Results:
    """The loops over a thread's results: `row`, `column` of four neighbours, `at` their place in `total`."""

    def __init__(self, kernel: ProductKernel, width: int) -> None:
        self.kernel, self.width = kernel, width
        self.open: list[object] = []

    def __enter__(self) -> Sequence[int]:
        k, w, tile = self.kernel, self.kernel.w, self.kernel.tile
        halves = tile.each // 4

        def enter(head: str) -> None:
            block = w.block(head)
            block.__enter__()
            self.open.append(block)

        enter(f"for i in range({tile.each})")
        w.line(f"row = row0 + (i >> 2) * {tile.rows // halves} + ty * 4 + (i & 3)")
        enter(f"for h in range({halves})")
        w.line(f"column = column0 + h * {tile.columns // halves} + tx * 4")
        w.line(f"at = i * {tile.each} + h * 4")
        enter(f"if (row < {k.m}) & (column < {k.n})")
        return range(0, 4, self.width)

    def __exit__(self, *exc: object) -> None:
        for block in reversed(self.open):
            block.__exit__(None, None, None)  # type: ignore[attr-defined]


def sum_kernel(group: Group, p: Problem, partial: View) -> Kernel:
    """Adds the parts of each result in order; then the epilogue."""
    body = group.epilogue
    assert isinstance(body, CudaBody)
    source = Source("sum of the parts of a product", group.nodes)
    w = source.w
    extents = [math.prod(body.space[a] for a in axes) for axes in body.groups]
    size = p.batches * p.m * p.n
    total, parts = source.word(size), source.word(partial.shape[0])
    names = [source.word(n) for n in extents]
    dividers = [source.word(divisor(n)) for n in extents]
    place = source.source(partial)
    body.begin(w, len(source.args))
    source.args += body.args
    source.reads += body.reads
    source.writes += body.writes
    w.line(f"item = block_index() * {source.threads} + thread_index()")
    with w.block(f"if item < {total}"):
        w.line(f"total = {p.dtype}(0)")
        with w.block(f"for part in range({parts})"):
            term = f"total + fetch_{p.dtype}({place}, part * {total} + item)"
            w.line(f"total = {term if is_float(p.dtype) else f'{p.dtype}({term})'}")
        index = [f"i{g}" for g in range(len(extents))]
        decompose(w, "item", names, dividers, index)
        body.emit(w, {group.anchor: "total"}, index)
    moved = float(partial.shape[0] * size * SIZES[p.dtype]) + body.traffic
    return source.kernel("sum_parts", -(-size // source.threads), flops=float(size * partial.shape[0]), nbytes=moved)
