"""Column kernels: threads side by side walk down the rows, then put their columns together through shared memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphkeras.codegen.cpu.nest import Levels, Nest
from graphkeras.codegen.cuda.body import CudaBody, Element
from graphkeras.codegen.cuda.fold import Folds
from graphkeras.codegen.cuda.language import divisor
from graphkeras.codegen.cuda.partial import Partial, combine_kernel, partials_of
from graphkeras.codegen.cuda.pointwise import SMALL
from graphkeras.codegen.cuda.source import THREADS, WARP, Source, decompose
from graphkeras.codegen.kernel import Kernel
from graphkeras.codegen.lower import Lowering
from graphkeras.ir.node import Node

BLOCKS = 528
ROWS = 128  # rows that are worth a block


def lower_columns(ctx: Lowering, nest: Nest, levels: Levels, body: CudaBody) -> None:
    kernel = ColumnKernel(nest, levels, body)
    parts = max(1, min(BLOCKS // max(1, kernel.tiles * kernel.outer), nest.length // ROWS))
    if parts == 1:
        ctx.launch(kernel.finished(1, None))
        return
    partials = partials_of(ctx, nest, parts, nest.results)
    ctx.launch(kernel.finished(parts, partials))
    ctx.launch(combine_kernel(ctx, nest, levels, parts, partials, kernel.columns))


class ColumnKernel:
    """One kernel being written."""

    def __init__(self, nest: Nest, levels: Levels, body: CudaBody) -> None:
        self.nest, self.levels, self.body = nest, levels, body
        self.inner = nest.kept[-1]
        self.columns = nest.extents[self.inner]
        self.width = body.width(self.inner, nest.extents, False)
        vectors = self.columns // self.width
        self.across = min(WARP, 1 << max(0, vectors - 1).bit_length())  # threads side by side
        self.down = THREADS // self.across
        self.tiles = -(-vectors // self.across)
        self.outer = math.prod(nest.extents[g] for g in nest.kept[:-1])

    def finished(self, parts: int, partials: Sequence[Partial] | None) -> Kernel:
        nest, body = self.nest, self.body
        kind = "in parts" if partials else "whole"
        source = Source(f"columns, {self.across} x {self.down} threads, {kind}", nest.group.nodes)
        source.reads, source.writes = list(body.reads), list(body.writes)
        self.source, self.w = source, source.w
        self.folds = Folds(source, nest)
        self._arguments(parts)
        places = [source.destination(view) for _, _, view in partials or ()]
        body.begin(self.w, len(source.args))
        source.args += body.args
        self._where()
        self._down_the_rows()
        self._across_the_rows()
        with self.w.block("if live & (y == 0)"):
            for q in range(self.width):
                if partials:
                    self._store_partials(q, partials, places)
                else:
                    self._results(q)
        size = nest.length * nest.results
        flops = float(size * max(1, len(nest.group.nodes)))
        name = ("partial_" if partials else "column_") + nest.group.reduces[-1].op
        return source.kernel(name, self.tiles * parts * self.outer, flops=flops, nbytes=body.traffic)

    # -- arguments and indices ---------------------------------------------------------------------
    def _arguments(self, parts: int) -> None:
        nest, source = self.nest, self.source
        small = nest.length * nest.results < SMALL
        self.vectors = source.word(self.columns // self.width)
        self.rows = source.word(nest.length)
        self.tile_count, self.part_count = source.word(self.tiles), source.word(parts)
        self.chunk = source.word(-(-nest.length // parts))
        self.extents = [source.word(n) for n in nest.extents]
        self.dividers = [source.word(divisor(n)) if small else "" for n in nest.extents]

    def _decompose(self, item: str, groups: Sequence[int]) -> None:
        if groups:
            names = [f"i{g}" for g in groups]
            decompose(self.w, item, [self.extents[g] for g in groups], [self.dividers[g] for g in groups], names)

    def _where(self) -> None:
        """Which columns, which part of the rows, and which outer item this thread works on."""
        w = self.w
        w.line(f"x = thread_index() & {self.across - 1}")
        w.line(f"y = thread_index() >> {self.across.bit_length() - 1}")
        w.line(f"rest = block_index() // {self.tile_count}")
        w.line(f"vector = (block_index() - rest * {self.tile_count}) * {self.across} + x")
        w.line(f"whole = rest // {self.part_count}")
        w.line(f"part = rest - whole * {self.part_count}")
        w.line(f"live = vector < {self.vectors}")
        w.line(f"vector = select(live, vector, {self.vectors} - 1)")
        w.line(f"i{self.inner} = vector * {self.width}")
        w.line(f"first = part * {self.chunk}")
        w.line(f"last = select(live, min(first + {self.chunk}, {self.rows}), 0)")
        self._decompose("whole", self.nest.kept[:-1])

    # -- the work ----------------------------------------------------------------------------------
    def _down_the_rows(self) -> None:
        w, levels = self.w, self.levels
        stores = levels.stores(0, "full")
        wanted = [r.inputs[0] for r in self.nest.group.reduces] + stores
        element = self.body.element(self.source.functions, "element", levels.full_nodes(0, {}), (), wanted)
        for k in range(len(self.nest.group.reduces)):
            for q in range(self.width):
                self.folds.start(w, k, f"_{q}")
        hoisted = self._hoist(element)
        with w.block(f"for j in range(first + y, last, {self.down})"):
            self._decompose("j", self.nest.reduced)
            self._step(element, stores, hoisted)

    def _hoist(self, element: Element) -> dict[Node, list[str]]:
        """Operands that do not move down the rows."""
        found = {}
        for node in self.body.loads_of(element):
            slot = self.body.slot_of(node)
            if not any(slot.strides[g] for g in self.nest.reduced):
                index = ["0" if r else f"i{g}" for g, r in enumerate(self.nest.is_reduced)]
                found[node] = self.body.load_neighbours(self.w, node, index, self.inner, self.width)
        return found

    def _step(self, element: Element, stores: Sequence[Node], hoisted: dict[Node, list[str]]) -> None:
        w, body, index = self.w, self.body, self.nest.index
        at_hand = dict(hoisted)
        for node in body.loads_of(element):
            if node not in at_hand:
                at_hand[node] = body.load_neighbours(w, node, index, self.inner, self.width)
        results = []
        for q in range(self.width):
            results.append(w.name("e"))
            w.line(f"{results[-1]} = {element.call({n: names[q] for n, names in at_hand.items()})}")
        count = len(self.nest.group.reduces)
        for position, node in enumerate(stores, count):
            body.store_neighbours(w, node, [f"{r}[{position}]" for r in results], index, self.inner)
        for k in range(count):
            for q, r in enumerate(results):
                self.folds.fold(w, k, f"{r}[{k}]", "j", f"_{q}")

    def _across_the_rows(self) -> None:
        """Thread (x, 0) adds up what threads (x, 1) ... have, in order."""
        w, folds, columns = self.w, self.folds, self.across * self.width
        ks = range(len(self.nest.group.reduces))
        places = {}
        for k in ks:
            for f in range(len(folds.names(k))):
                places[k, f] = self.source.scratch(self.down * columns * folds.size(k, f))
                for q in range(self.width):
                    at = f"y * {columns} + {q * self.across} + x"
                    w.line(f"{folds.store(k, f)}(shared_memory() + {places[k, f]}, {at}, {folds.names(k, f'_{q}')[f]})")
        w.line("sync_threads()")
        with w.block("if y == 0"), w.block(f"for other in range(1, {self.down})"):
            for k in ks:
                for q in range(self.width):
                    at = f"other * {columns} + {q * self.across} + x"
                    others = [
                        f"{folds.load(k, f)}(shared_memory() + {places[k, f]}, {at})"
                        for f in range(len(folds.names(k)))
                    ]
                    folds.merge(w, k, others, f"_{q}")

    def _store_partials(self, q: int, partials: Sequence[Partial], places: Sequence[str]) -> None:
        for place, (k, f, view) in zip(places, partials, strict=True):
            at = f"rest * {self.vectors} * {self.width} + i{self.inner} + {q}"
            self.w.line(f"store_{view.dtype}({place}, {at}, {self.folds.names(k, f'_{q}')[f]})")

    def _results(self, q: int) -> None:
        """Results of one column, and what follows from them."""
        index = ["0" if r else f"i{g}" for g, r in enumerate(self.nest.is_reduced)]
        if q:
            index[self.inner] = f"(i{self.inner} + {q})"
        values = self.folds.finish(self.w, range(len(self.nest.group.reduces)), f"_{q}")
        self.body.emit(self.w, values, index, only=self.levels.row_nodes(0), store=self.levels.stores(0, "row"))
