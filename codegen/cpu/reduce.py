"""Reduction kernels, by rows and by columns.

Row kernels reduce the innermost axis: one work item is one row, which stays in the cache while several passes walk it.
What a later pass needs of an earlier one is loaded again from a result that was stored, kept in a scratch row
(transcendentals), or simply computed again. So softmax, layer norm and cross-entropy, forward or backward, are one
kernel.

Column kernels keep the innermost axis: accumulators are a vector of columns, and rows stream by.

Long reductions with few results are split into a fixed number of chunks (decided by the sizes, not by the threads)
whose partial results a second kernel combines in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from graphkeras.codegen.body import Body
from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.codegen.cpu.pointwise import HEADER, SMALL, chunk_of, describe
from graphkeras.codegen.fuse import Group, merged_level, resolve
from graphkeras.codegen.kernel import Arg, Buffer, Int, Kernel, Ptr, Scratch, View, contiguous_strides
from graphkeras.codegen.lower import Lowering, lowers
from graphkeras.codegen.writer import Writer
from graphkeras.ir.body import Monoid
from graphkeras.ir.node import Node
from graphkeras.ir.op import get_op
from graphkeras.ir.types import numpy_dtype

SPLIT = 32768  # elements under one result from which a reduction is split
CHEAP = frozenset(
    [
        "add",
        "sub",
        "mul",
        "neg",
        "abs",
        "maximum",
        "minimum",
        "select",
        "cast",
        "relu",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "and",
        "or",
        "not",
        "xor",
        "sign",
        "floor",
        "isnan",
    ]
)


class Nest:
    """The loops of a reduction: axis groups, which of them are reduced, and their extents as words of the table."""

    def __init__(self, group: Group, body: Body) -> None:
        self.group, self.body = group, body
        space = group.space
        self.extents = [math.prod(space[a] for a in axes) for axes in body.groups]
        self.is_reduced = [bool(axes) and axes[-1] in group.axes for axes in body.groups]
        self.reduced = [g for g, r in enumerate(self.is_reduced) if r]
        self.kept = [g for g, r in enumerate(self.is_reduced) if not r]
        self.length = math.prod(self.extents[g] for g in self.reduced)
        self.results = math.prod(self.extents[g] for g in self.kept)
        self.args: list[Arg] = [Int(n) for n in self.extents]
        self.index = [f"i{g}" for g in range(len(self.extents))]
        self.monoids = [get_op(r.op).lower for r in group.reduces]

    def declare(self, w: Writer) -> None:
        # The extent of a vector is the batch, as a rule: another batch size must not make another kernel.
        last = len(self.extents) - 1 if len(self.extents) > 1 else None
        for g, n in enumerate(self.extents):
            w.line(f"n{g} = {n}" if g == last and n < SMALL else f"n{g} = int_arg(args, {g})")

    def decompose(self, w: Writer, item: str, groups: Sequence[int]) -> None:
        """Indices of `groups` from one flat number."""
        rest = item
        for position, g in enumerate(groups):
            if position == len(groups) - 1:
                w.line(f"i{g} = {rest}")
                return
            below = " * ".join(f"n{k}" for k in groups[position + 1 :])
            w.line(f"i{g} = {rest} // ({below})")
            after = w.name("rest")
            w.line(f"{after} = {rest} - i{g} * ({below})")
            rest = after

    def position(self) -> str:
        """Flat position along the reduced groups."""
        text = "0"
        for g in self.reduced:
            text = f"i{g}" if text == "0" else f"({text}) * n{g} + i{g}"
        return text

    def fields(self, k: int) -> list[tuple[str, str]]:
        """(identity literal, dtype) of each accumulator field of reduction k."""
        monoid: Monoid = self.monoids[k]
        source = self.group.reduces[k].inputs[0].dtype
        first = CpuHandler.register_dtype(monoid.accumulator(source))
        values = monoid.identity(first)
        dtypes = [first] + ["int32"] * (len(values) - 1)
        return [(CpuHandler.literal(v, d), d) for v, d in zip(values, dtypes, strict=True)]

    def accumulate(self, w: Writer, k: int, old: Sequence[str], value: str, position: str) -> list[str]:
        """Statements for combine(old, lift(value)); returns the expressions of the new fields."""
        monoid: Monoid = self.monoids[k]
        dtypes = [d for _, d in self.fields(k)]
        h = CpuHandler(w)
        source = self.group.reduces[k].inputs[0].dtype
        x = h.cast(Val(value, CpuHandler.register_dtype(source)), dtypes[0])
        if monoid.name in ("sum", "prod") and dtypes[0].startswith("float"):
            return [f"reduce_{'add' if monoid.name == 'sum' else 'mul'}({old[0]}, {x})"]
        lifted = monoid.lift(h, x, Val(f"int64({position})", "int64"))
        return list(monoid.combine(h, tuple(Val(o, d) for o, d in zip(old, dtypes, strict=True)), lifted))

    def finish(self, w: Writer, k: int, fields: Sequence[str]) -> str:
        monoid: Monoid = self.monoids[k]
        dtypes = [d for _, d in self.fields(k)]
        h = CpuHandler(w)
        result = monoid.finish(h, tuple(Val(f, d) for f, d in zip(fields, dtypes, strict=True)))
        wanted = self.group.reduces[k].dtype
        return result if CpuHandler.register_dtype(wanted) == result.dtype else h.cast(result, wanted)

    def merge(self, w: Writer, k: int, old: Sequence[str], new: Sequence[str]) -> list[str]:
        dtypes = [d for _, d in self.fields(k)]
        pair = [tuple(Val(v, d) for v, d in zip(vs, dtypes, strict=True)) for vs in (old, new)]
        return list(self.monoids[k].combine(CpuHandler(w), *pair))


class Levels:
    """Which pass over the row computes what."""

    def __init__(self, group: Group, body: Body) -> None:
        self.group, self.body = group, body
        self.members = set(group.nodes)
        self.passes: dict[Node, int] = {}
        for node in group.nodes:
            level = self.level(node)
            found = 0
            for i in node.inputs:
                base = resolve(i)
                if base in self.members:
                    after = int((level == "full" or node in group.reduces) and self.level(base) == "row")
                    found = max(found, self.passes[base] + after)
            self.passes[node] = found
        self.count = 1 + max(self.passes.values(), default=0)

    def level(self, node: Node) -> str:
        return "row" if node in self.group.reduces else merged_level(self.group, node) or "full"

    def reduces(self, number: int) -> list[Node]:
        return [r for r in self.group.reduces if self.passes[r] == number]

    def stores(self, number: int, level: str) -> list[Node]:
        return [n for n in self.group.stored if self.passes[n] == number and self.level(n) == level]

    def row_nodes(self, number: int) -> list[Node]:
        return [
            n
            for n in self.body.nodes
            if self.passes[n] == number and self.level(n) == "row" and n not in self.group.reduces
        ]

    def full_nodes(self, number: int, kept: dict[Node, str]) -> list[Node]:
        """Elementwise nodes to compute in pass `number`, in order; those in `kept` are at hand."""
        wanted = [r.inputs[0] for r in self.reduces(number)] + self.stores(number, "full")
        found: set[Node] = set()
        stack = [resolve(n) for n in wanted]
        while stack:
            node = stack.pop()
            if node in self.members and node not in found and self.level(node) == "full" and node not in kept:
                found.add(node)
                stack.extend(resolve(i) for i in node.inputs)
        return sorted(found, key=lambda n: n.id)

    def saved(self, number: int) -> list[Node]:
        """Nodes of pass `number` that a later pass should find in a scratch row instead of computing them again."""
        later: set[Node] = set()
        for p in range(number + 1, self.count):
            later |= set(self.full_nodes(p, {}))
        here = set(self.full_nodes(number, {}))
        return [
            n
            for n in sorted(later & here, key=lambda n: n.id)
            if self.passes[n] == number and n.op not in CHEAP and n not in self.group.stored
        ]


@lowers("row", "column")
def lower_reduce(ctx: Lowering, group: Group) -> None:
    group.reduces.sort(key=lambda n: n.id)
    body = ctx.body(group)
    nest = Nest(group, body)
    levels = Levels(group, body)
    parts = _parts(nest) if levels.count == 1 else 1
    if parts > 1:
        _lower_split(ctx, nest, levels, parts)
    elif group.kind == "row":
        ctx.launch(_row_kernel(nest, levels))
    else:
        ctx.launch(_column_kernel(nest, levels))


def _parts(nest: Nest) -> int:
    """Chunks of the outermost reduced group; one where there are results enough to share, or little to do."""
    if not nest.reduced:
        return 1
    inner = nest.extents[-1] if not nest.is_reduced[-1] else 1
    outer = nest.results // max(inner, 1)
    work = nest.length * inner
    if outer >= 8 or work * outer < SPLIT:
        return 1
    return max(1, min(64, work // (SPLIT // 2), nest.extents[nest.reduced[0]]))


def _kernel(nest: Nest, name: str, w: Writer, args: list[Arg], items: int, *, extra: Sequence[Buffer] = ()) -> Kernel:
    size = nest.length * nest.results
    group, body = nest.group, nest.body
    return Kernel(
        name=name,
        source=w.text(),
        args=tuple(args),
        extent=items,
        chunk=chunk_of(items, size),
        reads=body.reads,
        writes=tuple(dict.fromkeys([*body.writes, *extra])),
        flops=float(size * max(1, len(group.nodes))),
        nbytes=body.traffic,
        nodes=tuple(group.nodes),
    )


def _head(w: Writer, nest: Nest, title: str) -> None:
    for line in describe(nest.group.nodes, title):
        w.line(line)
    w.line(HEADER)


# -- rows -------------------------------------------------------------------------------------------
def _row_kernel(nest: Nest, levels: Levels) -> Kernel:
    w = Writer()
    _head(w, nest, f"one row at a time, {levels.count} passes")
    scratch = {n: f"r{k}" for k, n in enumerate(n for p in range(levels.count) for n in levels.saved(p))}
    args = [*nest.args, *nest.body.args]
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        for node, name in scratch.items():
            dtype = CpuHandler.register_dtype(node.dtype)
            w.line(f"{name} = ptr_{dtype}(args, {len(args)})")
            args.append(Scratch(nest.length * numpy_dtype(dtype).itemsize))
        with w.block("for item in range(lo, hi)"):
            if nest.kept:
                nest.decompose(w, "item", nest.kept)
            values: dict[Node, str] = {}
            for number in range(levels.count):
                _row_pass(w, nest, levels, number, values, scratch)
    return _kernel(nest, "row_" + nest.group.reduces[-1].op, w, args, nest.results)


def _row_pass(
    w: Writer, nest: Nest, levels: Levels, number: int, values: dict[Node, str], scratch: dict[Node, str]
) -> None:
    """One walk over the row, then what follows from its reductions. `values` are the row's finished numbers."""
    reduces = levels.reduces(number)
    stores = levels.stores(number, "full")
    kept = {n: "" for n in (*scratch, *nest.group.stored) if levels.passes[n] < number and levels.level(n) == "full"}
    names = [nest.group.reduces.index(r) for r in reduces]
    if reduces or stores or number == 0:
        for k in names:
            for f, (identity, _) in enumerate(nest.fields(k)):
                w.line(f"a{k}_{f} = {identity}")
        with _nested(w, nest, nest.reduced):
            at_hand = dict(values)
            for node in _needed(levels, number, kept):
                at_hand[node] = _again(w, nest, node, scratch)
            done = nest.body.emit(w, at_hand, nest.index, only=levels.full_nodes(number, kept), store=stores)
            for node in levels.saved(number):
                if node in done:
                    w.line(f"{scratch[node]}[{nest.position()}] = {done[node]}")
            for k, r in zip(names, reduces, strict=True):
                x = nest.body.value(w, r.inputs[0], done, nest.index)
                old = [f"a{k}_{f}" for f in range(len(nest.fields(k)))]
                new = nest.accumulate(w, k, old, x, nest.position())
                for name, text in zip(old, new, strict=True):
                    w.line(f"{name} = {text}")
    for k, r in zip(names, reduces, strict=True):
        values[r] = nest.finish(w, k, [f"a{k}_{f}" for f in range(len(nest.fields(k)))])
    _row_results(w, nest, levels, number, values)


def _needed(levels: Levels, number: int, kept: dict[Node, str]) -> list[Node]:
    """Kept nodes that this pass reads."""
    found = {resolve(i) for n in levels.full_nodes(number, kept) for i in n.inputs}
    found |= {resolve(r.inputs[0]) for r in levels.reduces(number)}
    return [n for n in kept if n in found]


def _again(w: Writer, nest: Nest, node: Node, scratch: dict[Node, str]) -> str:
    """Load what an earlier pass left behind: from the scratch row, or from the stored result."""
    name = w.name("k")
    if node in scratch:
        w.line(f"{name} = {scratch[node]}[{nest.position()}]")
    else:
        w.line(f"{name} = {nest.body.stored(node, nest.index)}")
    return name


def _row_results(w: Writer, nest: Nest, levels: Levels, number: int, values: dict[Node, str]) -> None:
    index = [f"i{g}" if not r else "0" for g, r in enumerate(nest.is_reduced)]
    done = nest.body.emit(w, values, index, only=levels.row_nodes(number), store=levels.stores(number, "row"))
    for node in (*levels.row_nodes(number), *levels.reduces(number)):
        values[node] = done[node]


class _nested:
    """Loops over axis groups, entered as one context."""

    def __init__(self, w: Writer, nest: Nest, groups: Sequence[int], ranges: dict[int, str] | None = None) -> None:
        self.w = w
        self.heads = [f"for i{g} in range({(ranges or {}).get(g, f'n{g}')})" for g in groups]
        self.open: list[Callable[..., object]] = []

    def __enter__(self) -> None:
        for head in self.heads:
            block = self.w.block(head)
            block.__enter__()
            self.open.append(block.__exit__)

    def __exit__(self, *exc: object) -> None:
        for close in reversed(self.open):
            close(None, None, None)


# -- columns ----------------------------------------------------------------------------------------
def _column_kernel(nest: Nest, levels: Levels) -> Kernel:
    """All rows of one outer item, then the results of its columns."""
    w = Writer()
    _head(w, nest, "columns: rows stream by, one accumulator per column")
    args = [*nest.args, *nest.body.args]
    outer = nest.kept[:-1]
    inner = nest.kept[-1] if nest.kept else None
    columns = nest.extents[inner] if inner is not None else 1
    accumulators = _accumulators(nest, args, columns)
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        for name, dtype, word, _ in accumulators:
            w.line(f"{name} = ptr_{dtype}(args, {word})")
        with w.block("for item in range(lo, hi)"):
            if outer:
                nest.decompose(w, "item", outer)
            _column_rows(w, nest, levels, accumulators, inner, {}, "")
            with _nested(w, nest, [inner] if inner is not None else []):
                column = f"i{inner}" if inner is not None else "0"
                values = {
                    r: nest.finish(w, k, [f"{name}[{column}]" for name in _names(accumulators, k)])
                    for k, r in enumerate(nest.group.reduces)
                }
                _row_results(w, nest, levels, 0, values)
    return _kernel(nest, "column_" + nest.group.reduces[-1].op, w, args, nest.results // max(columns, 1))


Accumulator = tuple[str, str, int, int]  # name, dtype, argument word, reduction


def _accumulators(nest: Nest, args: list[Arg], columns: int) -> list[Accumulator]:
    found = []
    for k in range(len(nest.group.reduces)):
        for f, (_, dtype) in enumerate(nest.fields(k)):
            memory = "uint8" if dtype == "bool" else dtype
            found.append((f"a{k}_{f}", memory, len(args), k))
            args.append(Scratch(columns * numpy_dtype(memory).itemsize))
    return found


def _names(accumulators: Sequence[Accumulator], k: int) -> list[str]:
    return [name for name, _, _, of in accumulators if of == k]


def _column_rows(
    w: Writer,
    nest: Nest,
    levels: Levels,
    accumulators: Sequence[Accumulator],
    inner: int | None,
    ranges: dict[int, str],
    base: str,
) -> None:
    """Set the accumulators (at `base` + column) to the identity and let the rows stream by."""
    column = base + (f"i{inner}" if inner is not None else "0")
    flat = [inner] if inner is not None else []
    with _nested(w, nest, flat):
        for k in range(len(nest.group.reduces)):
            for name, (identity, _) in zip(_names(accumulators, k), nest.fields(k), strict=True):
                w.line(f"{name}[{column}] = {identity}")
    with _nested(w, nest, [g for g in nest.reduced if g != inner] + flat, ranges):
        done = nest.body.emit(w, {}, nest.index, only=levels.full_nodes(0, {}), store=levels.stores(0, "full"))
        for k, r in enumerate(nest.group.reduces):
            x = nest.body.value(w, r.inputs[0], done, nest.index)
            old = [f"{name}[{column}]" for name in _names(accumulators, k)]
            loaded = []
            for text in old:
                loaded.append(w.name("o"))
                w.line(f"{loaded[-1]} = {text}")
            for name, text in zip(old, nest.accumulate(w, k, loaded, x, nest.position()), strict=True):
                w.line(f"{name} = {text}")


# -- long reductions --------------------------------------------------------------------------------
def _lower_split(ctx: Lowering, nest: Nest, levels: Levels, parts: int) -> None:
    """Partial results per chunk of the outermost reduced group, then a kernel that combines them in order."""
    group = nest.group
    inner = nest.kept[-1] if nest.kept and not nest.is_reduced[-1] else None
    columns = nest.extents[inner] if inner is not None else 1
    outer = [g for g in nest.kept if g != inner]
    items = math.prod(nest.extents[g] for g in outer) * parts
    partials: list[tuple[str, str, Buffer, int]] = []
    for k in range(len(group.reduces)):
        for f, (_, dtype) in enumerate(nest.fields(k)):
            memory = "uint8" if dtype == "bool" else dtype
            buffer = ctx.temp(items * columns * numpy_dtype(memory).itemsize, "partial")
            partials.append((f"a{k}_{f}", memory, buffer, k))
    ctx.launch(_partial_kernel(nest, levels, parts, partials, inner, outer, columns, items))
    ctx.launch(_combine_kernel(ctx, nest, levels, parts, partials, columns))


def _partial_kernel(
    nest: Nest,
    levels: Levels,
    parts: int,
    partials: Sequence[tuple[str, str, Buffer, int]],
    inner: int | None,
    outer: Sequence[int],
    columns: int,
    items: int,
) -> Kernel:
    w = Writer()
    _head(w, nest, "partial results of one chunk of rows")
    split = nest.reduced[0]
    args = [*nest.args, *nest.body.args, Int(parts), Int(-(-nest.extents[split] // parts))]
    own = len(nest.args) + len(nest.body.args)
    accumulators: list[Accumulator] = []
    for name, dtype, buffer, k in partials:
        accumulators.append((name, dtype, len(args), k))
        args.append(Ptr(buffer))
    with w.block("def kernel(args, lo, hi)"):
        nest.declare(w)
        nest.body.begin(w, len(nest.args))
        w.line(f"parts = int_arg(args, {own})")
        w.line(f"length = int_arg(args, {own + 1})")
        for name, dtype, word, _ in accumulators:
            w.line(f"{name} = ptr_{dtype}(args, {word})")
        with w.block("for item in range(lo, hi)"):
            w.line("whole = item // parts")
            w.line("first = (item - whole * parts) * length")
            w.line(f"last = min(first + length, n{split})")
            if outer:
                nest.decompose(w, "whole", outer)
            ranges = {split: "first, last"}
            if inner is not None:
                w.line(f"base = item * n{inner}")
                _column_rows(w, nest, levels, accumulators, inner, ranges, "base + ")
            else:
                _row_partial(w, nest, levels, accumulators, ranges)
    kernel = _kernel(nest, "partial_" + nest.group.reduces[-1].op, w, args, items, extra=[p[2] for p in partials])
    kernel.chunk = 1
    return kernel


def _row_partial(
    w: Writer, nest: Nest, levels: Levels, accumulators: Sequence[Accumulator], ranges: dict[int, str]
) -> None:
    for k in range(len(nest.group.reduces)):
        for f, (identity, _) in enumerate(nest.fields(k)):
            w.line(f"s{k}_{f} = {identity}")
    with _nested(w, nest, nest.reduced, ranges):
        done = nest.body.emit(w, {}, nest.index, only=levels.full_nodes(0, {}), store=levels.stores(0, "full"))
        for k, r in enumerate(nest.group.reduces):
            x = nest.body.value(w, r.inputs[0], done, nest.index)
            old = [f"s{k}_{f}" for f in range(len(nest.fields(k)))]
            for name, text in zip(old, nest.accumulate(w, k, old, x, nest.position()), strict=True):
                w.line(f"{name} = {text}")
    for k in range(len(nest.group.reduces)):
        for f, name in enumerate(_names(accumulators, k)):
            dtype = nest.fields(k)[f][1]
            w.line(f"{name}[item] = {CpuHandler.to_memory(f's{k}_{f}', dtype)}")


def _combine_kernel(
    ctx: Lowering,
    nest: Nest,
    levels: Levels,
    parts: int,
    partials: Sequence[tuple[str, str, Buffer, int]],
    columns: int,
) -> Kernel:
    """One result element per work item: combine its partial values, then the row-level rest of the group."""
    group = nest.group
    body = _row_body(ctx, nest, levels)
    w = Writer()
    _head(w, nest, "combine the chunks, in order")
    extents = [math.prod(body.space[a] for a in axes) for axes in body.groups]
    args: list[Arg] = [Int(parts), Int(columns), *(Int(n) for n in extents), *body.args]
    words = 2 + len(extents)
    pointers = len(args)
    args += [Ptr(buffer) for _, _, buffer, _ in partials]
    with w.block("def kernel(args, lo, hi)"):
        w.line("parts = int_arg(args, 0)")
        w.line("columns = int_arg(args, 1)")
        for g in range(len(extents)):
            w.line(f"n{g} = int_arg(args, {2 + g})")
        body.begin(w, words)
        for word, (name, dtype, _, _) in enumerate(partials, pointers):
            w.line(f"{name} = ptr_{dtype}(args, {word})")
        with w.block("for item in range(lo, hi)"):
            w.line("whole = item // columns")
            w.line("first = whole * parts * columns + item - whole * columns")
            _combine_item(w, nest, levels, body, partials, len(extents))
    kernel = _kernel(nest, "combine_" + group.reduces[-1].op, w, args, nest.results)
    kernel.reads = tuple(dict.fromkeys([*body.reads, *(p[2] for p in partials)]))
    kernel.writes = body.writes
    kernel.chunk = chunk_of(nest.results, nest.results * parts)
    kernel.flops, kernel.nbytes = float(nest.results * parts), float(4 * nest.results * parts)
    return kernel


def _combine_item(
    w: Writer,
    nest: Nest,
    levels: Levels,
    body: Body,
    partials: Sequence[tuple[str, str, Buffer, int]],
    index_count: int,
) -> None:
    for k in range(len(nest.group.reduces)):
        for f, (identity, _) in enumerate(nest.fields(k)):
            w.line(f"s{k}_{f} = {identity}")
    with w.block("for part in range(parts)"):
        for k in range(len(nest.group.reduces)):
            stored = [name for name, _, _, of in partials if of == k]
            fields = [
                CpuHandler.from_memory(f"{n}[first + part * columns]", d)
                for n, (_, d) in zip(stored, nest.fields(k), strict=True)
            ]
            old = [f"s{k}_{f}" for f in range(len(fields))]
            for name, text in zip(old, nest.merge(w, k, old, fields), strict=True):
                w.line(f"{name} = {text}")
    values = {
        r: nest.finish(w, k, [f"s{k}_{f}" for f in range(len(nest.fields(k)))])
        for k, r in enumerate(nest.group.reduces)
    }
    index = [f"i{g}" for g in range(index_count)]
    rest = "item"
    for g in range(index_count):
        below = " * ".join(f"n{k}" for k in range(g + 1, index_count))
        w.line(f"i{g} = {rest} // ({below})" if below else f"i{g} = {rest}")
        if below:
            w.line(f"rest{g} = {rest} - i{g} * ({below})")
            rest = f"rest{g}"
    body.emit(w, values, index, only=levels.row_nodes(0), store=levels.stores(0, "row"))


def _row_body(ctx: Lowering, nest: Nest, levels: Levels) -> Body:
    """The row-level nodes alone, over the kept axes."""
    from graphkeras.codegen.views import collapse

    group = nest.group
    kept = [a for a in range(len(group.space)) if a not in group.axes]
    space = tuple(group.space[a] for a in kept)

    def narrow(view: View) -> View:
        return replace(view, shape=space, strides=tuple(view.strides[a] for a in kept))

    nodes = levels.row_nodes(0)
    loads, aliases = ctx.operands(group)
    wanted = {i for n in nodes for i in n.inputs}
    loads = {n: narrow(v) for n, v in loads.items() if n in wanted}
    stores = {n: narrow(ctx.stored_view(group, n)) for n in levels.stores(0, "row")}
    operands = [v.strides for v in (*loads.values(), *stores.values())] + [contiguous_strides(space)]
    return Body(nodes, loads, stores, space, collapse(space, operands) or [[]], aliases)
