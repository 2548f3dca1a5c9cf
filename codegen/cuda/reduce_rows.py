"""Row kernels: a few threads, a warp or a block per row, in one or several passes over it.

What a later pass needs of an earlier one each thread finds where it left it itself: in a result that it stored, or in a
row of shared memory (transcendentals); the rest is computed again from operands that are still in the first cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphkeras.codegen.cpu.nest import Levels, Nest
from graphkeras.codegen.cuda.body import CudaBody, Element
from graphkeras.codegen.cuda.fold import Folds, register
from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.cuda.partial import combine_kernel, partials_of
from graphkeras.codegen.cuda.pointwise import SMALL
from graphkeras.codegen.cuda.source import THREADS, WARP, Source, decompose
from graphkeras.codegen.kernel import Kernel
from graphkeras.codegen.lower import Lowering
from graphkeras.ir.node import Node
from graphkeras.ir.types import numpy_dtype

SHARED = 96 * 1024  # bytes of shared memory that rows may take per block
ACCUMULATORS = 4096  # bytes before those rows
BLOCKS = 528  # that keep a large GPU busy: four for each of 132 multiprocessors
PART = 4096  # elements that are worth a block


@dataclass
class Layout:
    """How rows are given to threads. lanes: threads per row. rows: rows per block. width: elements at a time."""

    lanes: int
    rows: int
    threads: int
    width: int


def layout_of(nest: Nest, body: CudaBody) -> Layout:
    width = body.width(len(nest.extents) - 1, nest.extents, False) if nest.reduced and nest.is_reduced[-1] else 1
    vectors = -(-max(nest.length, 1) // width)
    if vectors > 256:
        lanes = THREADS if vectors <= 4096 else 1024
        return Layout(lanes, 1, lanes, width)
    lanes = min(WARP, 1 << max(0, (vectors + 1) // 2 - 1).bit_length())
    return Layout(lanes, 128 // lanes, 128, width)


def lower_rows(ctx: Lowering, nest: Nest, levels: Levels, body: CudaBody) -> None:
    parts = min(BLOCKS // max(nest.results, 1), nest.length // PART) if levels.count == 1 else 1
    if parts > 1:
        partials = partials_of(ctx, nest, parts, nest.results)
        ctx.launch(RowKernel(nest, levels, body, parts).partial(partials))
        ctx.launch(combine_kernel(ctx, nest, levels, parts, partials, 1))
    else:
        ctx.launch(RowKernel(nest, levels, body).whole())


class RowKernel:
    """One kernel being written."""

    def __init__(self, nest: Nest, levels: Levels, body: CudaBody, parts: int = 1) -> None:
        self.nest, self.levels, self.body, self.parts = nest, levels, body, parts
        self.layout = layout_of(nest, body)
        if parts > 1:
            self.layout = Layout(THREADS, 1, THREADS, self.layout.width)
        title = f"rows, {self.layout.lanes} threads each, {levels.count} passes" + (", in parts" if parts > 1 else "")
        self.source = Source(title, nest.group.nodes, self.layout.threads)
        self.source.reads, self.source.writes = list(body.reads), list(body.writes)
        self.w = self.source.w
        self.folds = Folds(self.source, nest)
        self.values: dict[Node, str] = {}  # of the row
        self.scratch: dict[Node, str] = {}
        self._hoisted: dict[Node, str] = {}
        self._row_bytes = 0

    # -- the two forms -----------------------------------------------------------------------------
    def whole(self) -> Kernel:
        """All of each row at once, with what follows from it."""
        w, rows = self.w, self.layout.rows
        self._arguments()
        if rows > 1:
            w.line(f"lane = thread_index() & {self.layout.lanes - 1}")
            w.line(f"own = thread_index() >> {self.layout.lanes.bit_length() - 1}")
            w.line(f"row = block_index() * {rows} + own")
            w.line(f"live = row < {self.results}")
            w.line(f"row = select(live, row, {self.results} - 1)")
            w.line(f"start = lane * {self.layout.width}")
            w.line(f"end = select(live, {self.length}, 0)")
        else:
            w.line("lane = thread_index()")
            w.line("row = block_index()")
            w.line(f"start = lane * {self.layout.width}")
            w.line(f"end = {self.length}")
        self._row_indices()
        self._scratch_rows()
        for number in range(self.levels.count):
            self._pass(number)
            self._row_results(number)
        return self._kernel("row_", -(-self.nest.results // rows))

    def partial(self, partials: Sequence[tuple[int, int, object]]) -> Kernel:
        """One part of each row; blocks write the accumulators."""
        w = self.w
        self._arguments()
        chunk = -(-self.nest.length // (self.parts * self.layout.width)) * self.layout.width
        parts, chunk_name = self.source.word(self.parts), self.source.word(chunk)
        places = [self.source.destination(view) for _, _, view in partials]  # type: ignore[arg-type]
        w.line(f"row = block_index() // {parts}")
        w.line(f"part = block_index() - row * {parts}")
        w.line(f"start = part * {chunk_name} + thread_index() * {self.layout.width}")
        w.line(f"end = min(part * {chunk_name} + {chunk_name}, {self.length})")
        self._row_indices()
        self._pass(0)
        with w.block("if thread_index() == 0"):
            for place, (k, f, view) in zip(places, partials, strict=True):
                w.line(f"store_{view.dtype}({place}, block_index(), {self.folds.names(k)[f]})")  # type: ignore[attr-defined]
        return self._kernel("partial_", self.nest.results * self.parts)

    def _kernel(self, prefix: str, blocks: int) -> Kernel:
        size = self.nest.length * self.nest.results
        name = prefix + self.nest.group.reduces[-1].op
        flops = float(size * max(1, len(self.nest.group.nodes)))
        assert self.source.shared <= ACCUMULATORS or not self._row_bytes
        self.source.shared = max(self.source.shared, self._row_bytes)
        return self.source.kernel(name, blocks, flops=flops, nbytes=self.body.traffic)

    # -- arguments and indices ---------------------------------------------------------------------
    def _arguments(self) -> None:
        nest, source = self.nest, self.source
        small = nest.length * nest.results < SMALL
        self.results, self.length = source.word(nest.results), source.word(nest.length)
        self.extents = [source.word(n) for n in nest.extents]
        self.dividers = [source.word(divisor(n)) if small else "" for n in nest.extents]
        self.body.begin(self.w, len(source.args))
        source.args += self.body.args

    def _indices(self, item: str, groups: Sequence[int]) -> None:
        if groups:
            names = [f"i{g}" for g in groups]
            decompose(self.w, item, [self.extents[g] for g in groups], [self.dividers[g] for g in groups], names)

    def _row_indices(self) -> None:
        self._indices("row", self.nest.kept)

    def _scratch_rows(self) -> None:
        """Rows in shared memory for what later passes want to find again."""
        saved = [n for p in range(self.levels.count) for n in self.levels.saved(p)]
        sizes = [numpy_dtype(register(n.dtype)).itemsize * self.nest.length for n in saved]
        if self.layout.rows * sum(-(-s // 16) * 16 for s in sizes) > SHARED - ACCUMULATORS:
            return
        offset = ACCUMULATORS
        for k, (node, size) in enumerate(zip(saved, sizes, strict=True)):
            stride = -(-size // 16) * 16
            first, step = self.source.word(offset), self.source.word(stride)
            own = "own" if self.layout.rows > 1 else "0"
            self.w.line(f"r{k} = shared_memory() + {first} + {own} * {step}")
            self.scratch[node] = f"r{k}"
            offset += self.layout.rows * stride
            self._row_bytes = offset

    # -- passes ------------------------------------------------------------------------------------
    def _pass(self, number: int) -> None:
        levels, body, w = self.levels, self.body, self.w
        reduces, stores = levels.reduces(number), levels.stores(number, "full")
        ks = [self.nest.group.reduces.index(r) for r in reduces]
        if reduces or stores:
            kept = [
                n
                for n in (*self.scratch, *self.nest.group.stored)
                if levels.passes[n] < number and levels.level(n) == "full"
            ]
            saved = [n for n in levels.saved(number) if n in self.scratch]
            nodes = levels.full_nodes(number, dict.fromkeys(kept, ""))
            wanted = [r.inputs[0] for r in reduces] + stores + [n for n in saved if n in nodes]
            element = body.element(self.source.functions, f"pass{number}", nodes, [*self.values, *kept], wanted)
            for k in ks:
                self.folds.start(w, k)
            self._hoist(element)
            with w.block(f"for j in range(start, end, {self.layout.lanes * self.layout.width})"):
                self._step(element, len(ks), stores, ks)
        if self.layout.lanes > WARP:
            self.folds.across_block(w, ks)
        else:
            for k in ks:
                self.folds.across_lanes(w, k, self.layout.lanes)
        self.values.update(self.folds.finish(w, ks) if self.parts == 1 else {})

    def _hoist(self, element: Element) -> None:
        """Operands that do not move along the row are loaded before it."""
        for node in self.body.loads_of(element):
            slot = self.body.slot_of(node)
            if node not in self._hoisted and not any(slot.strides[g] for g in self.nest.reduced):
                index = ["0" if r else f"i{g}" for g, r in enumerate(self.nest.is_reduced)]
                self._hoisted[node] = self.body.load_neighbours(self.w, node, index, len(index) - 1, 1)[0]

    def _step(self, element: Element, count: int, stores: Sequence[Node], ks: Sequence[int]) -> None:
        """One vector of the row."""
        w, body, width = self.w, self.body, self.layout.width
        inner = len(self.nest.extents) - 1
        self._indices("j", self.nest.reduced)
        index = self.nest.index
        at_hand: dict[Node, list[str]] = {}
        for node in element.params:
            if node in self.values:
                at_hand[node] = [self.values[node]] * width
            elif node in self._hoisted:
                at_hand[node] = [self._hoisted[node]] * width
            elif node in self.scratch:
                at_hand[node] = self._from_scratch(node)
            else:
                at_hand[node] = body.load_neighbours(w, node, index, inner, width)
        results = []
        for q in range(width):
            results.append(w.name("e"))
            w.line(f"{results[-1]} = {element.call({n: names[q] for n, names in at_hand.items()})}")
        for position, node in enumerate(element.results[count:], count):
            values = [f"{r}[{position}]" for r in results]
            if node in stores and position < count + len(stores):
                body.store_neighbours(w, node, values, index, inner)
            else:
                self._to_scratch(node, values)
        for position, k in enumerate(ks):
            for q, r in enumerate(results):
                self.folds.fold(w, k, f"{r}[{position}]", f"j + {q}" if q else "j")

    def _from_scratch(self, node: Node) -> list[str]:
        width = self.layout.width
        name = self.w.name("k")
        count = str(width) if width > 1 else ""
        self.w.line(f"{name} = shared_load{count}_{register(node.dtype)}({self.scratch[node]}, j)")
        return [f"{name}[{q}]" for q in range(width)] if width > 1 else [name]

    def _to_scratch(self, node: Node, values: Sequence[str]) -> None:
        count, value = (str(len(values)), f"({', '.join(values)})") if len(values) > 1 else ("", values[0])
        self.w.line(f"shared_store{count}_{register(node.dtype)}({self.scratch[node]}, j, {value})")

    def _row_results(self, number: int) -> None:
        """What follows from the row's numbers: one value per row, stored by its first thread."""
        w, levels = self.w, self.levels
        index = ["0" if r else f"i{g}" for g, r in enumerate(self.nest.is_reduced)]
        done = self.body.emit(w, {**self._hoisted, **self.values}, index, only=levels.row_nodes(number), store=[])
        for node in (*levels.row_nodes(number), *levels.reduces(number)):
            self.values[node] = done[node]
        stores = levels.stores(number, "row")
        if stores:
            with w.block("if live & (lane == 0)" if self.layout.rows > 1 else "if lane == 0"):
                self.body.emit(w, dict(done), index, only=(), store=stores)
