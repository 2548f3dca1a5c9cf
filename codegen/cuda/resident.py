"""A loop of small kernels as one that stays on the device for all iterations (Diamos et al., "Persistent RNNs", 2016).

The steps of a recurrent layer are too small to fill a GPU: what they cost is the way from one kernel to the next. So
the kernels of the body become functions of one cooperative kernel, whose blocks are all resident. What was a block of a
body's kernel is a number that the blocks deal among them; a block's threads split into parts where a kernel has fewer
threads than the largest. Between kernels that depend on each other all blocks meet at a counter in memory (a barrier of
the grid). Pointers to slices of scanned arrays move with the number of the trip.

Loops whose kernels fill the device stay sequences of graph nodes, and so do those with kernels that cannot be called:
with argument tables, tensor maps or parts in other languages.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from graphkeras.codegen.cuda.source import Source
from graphkeras.codegen.kernel import (
    Arg,
    Buffer,
    Call,
    Copy,
    Float,
    Instruction,
    Int,
    Kernel,
    Loop,
    Ptr,
    Step,
    View,
)
from graphkeras.codegen.lower import Lowering
from graphkeras.codegen.scans import is_plain

BLOCKS = 128  # that a device holds at a time; the driver launches fewer where it does not
FEWEST_TRIPS = 4
MOST_ARGS = 400  # parameters of a kernel take 4 KiB at most
COPY_THREADS = 256

_OWN = ("thread_index", "block_index", "block_count", "shared_memory", "sync_threads")


def lower_loop(ctx: Lowering, trips: int, body: Sequence[Instruction], steps: Sequence[Step]) -> list[Instruction]:
    """The loop as one resident kernel where that pays, else as a loop of the plan."""
    plan = _plan(trips, body, steps)
    if plan is None:
        return [Loop(trips, list(body), tuple(steps))]
    counter = ctx.new((1,), "uint64", "blocks that have met").buffer
    zero = ctx.const(np.zeros(1, np.uint64))
    return [Copy(Ptr(counter), Ptr(zero), 8), Call(_Writer(plan, counter).kernel())]


# -- whether it pays ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Plan:
    """phases: instructions that do not depend on each other, in order. parts: of the sources, by text."""

    trips: int
    phases: list[list[Instruction]]
    steps: dict[Buffer, Step]
    threads: int
    blocks: int
    parts: dict[str, ast.Module] = field(default_factory=dict)


def _plan(trips: int, body: Sequence[Instruction], steps: Sequence[Step]) -> _Plan | None:
    body = [i for i in body if not (isinstance(i, Call) and i.kernel.extent <= 0)]
    kernels = [i.kernel for i in body if isinstance(i, Call)]
    if trips < FEWEST_TRIPS or not kernels or not is_plain(body) or len(body) < 2:
        return None
    if sum(len(k.args) + 2 for k in kernels) > MOST_ARGS:
        return None
    parts: dict[str, ast.Module] = {}
    for kernel in kernels:
        if kernel.source not in parts:
            tree = _callable(kernel)
            if tree is None:
                return None
            parts[kernel.source] = tree
    threads = max([_threads(k) for k in kernels] + [COPY_THREADS for i in body if isinstance(i, Copy)])
    filled = max(-(-k.extent * _threads(k) // threads) for k in kernels)
    if filled > 2 * BLOCKS or any(threads % _threads(k) for k in kernels):
        return None
    blocks = max(k.extent for k in kernels)  # more than are filled: parts of a block share its units
    windows = {s.window: s for s in steps}
    return _Plan(trips, _phases(body, windows), windows, threads, min(blocks, BLOCKS), parts)


def _threads(kernel: Kernel) -> int:
    assert kernel.launch is not None
    return kernel.launch.threads


def _callable(kernel: Kernel) -> ast.Module | None:
    """The source as a tree, if its kernel can be made a function."""
    launch = kernel.launch
    if launch is None or launch.table or launch.cooperative:
        return None
    if not all(isinstance(a, (Ptr, Int, Float)) for a in kernel.args):
        return None
    tree = ast.parse(kernel.source)
    for node in tree.body:
        if isinstance(node, ast.Assign):
            name = node.targets[0]
            if not isinstance(node.value, ast.Constant) or (isinstance(name, ast.Name) and name.id == "FEATURES"):
                return None
        if isinstance(node, ast.FunctionDef) and node.name != "kernel":
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            if used & {*_OWN}:
                return None
    return tree


def _phases(body: Sequence[Instruction], windows: dict[Buffer, Step]) -> list[list[Instruction]]:
    """Instructions in order, cut where one needs what an earlier one of its phase does."""
    phases: list[list[Instruction]] = []
    read: set[Buffer] = set()
    written: set[Buffer] = set()
    for instruction in body:
        reads, writes = (_bases(buffers, windows) for buffers in _touched(instruction))
        if not phases or written & (reads | writes) or read & writes:
            phases.append([])
            read, written = set(), set()
        phases[-1].append(instruction)
        read |= reads
        written |= writes
    return phases


def _touched(instruction: Instruction) -> tuple[Sequence[Buffer], Sequence[Buffer]]:
    """(read, written)"""
    if isinstance(instruction, Call):
        return instruction.kernel.reads, instruction.kernel.writes
    assert isinstance(instruction, Copy)
    return [instruction.source.buffer], [instruction.target.buffer]


def _bases(buffers: Sequence[Buffer], windows: dict[Buffer, Step]) -> set[Buffer]:
    return {windows[b].base if b in windows else b for b in buffers}


# -- kernels as functions -------------------------------------------------------------------------------
class _AsFunction(ast.NodeTransformer):
    """`kernel(...)` -> `<name>(block_, count_, thread_, part_, shared_, ...)`, run by `own` of `whole` threads.

    What other kernels of the loop write may stand in memory that this one only reads: plain loads see it.
    """

    def __init__(self, name: str, own: int, whole: int) -> None:
        self.name, self.own, self.whole = name, own, whole
        self.functions: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        if node.name != "kernel":
            node.name = f"{self.name}_{node.name}"
            return node
        head = [ast.arg(a) for a in ("block_", "count_", "thread_", "part_", "shared_")]
        node.name, node.args.args = self.name, head + node.args.args
        node.decorator_list = [ast.Name("device", ast.Load())]
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id in self.functions:
            node.id = f"{self.name}_{node.id}"
        elif node.id.startswith("fetch"):
            node.id = "load" + node.id[len("fetch") :]
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        own = {"thread_index": "thread_", "block_index": "block_", "block_count": "count_", "shared_memory": "shared_"}
        if name in own:
            return ast.Name(own[name], ast.Load())
        if name == "sync_threads" and self.own < self.whole:
            return ast.Call(
                ast.Name("sync_part", ast.Load()), [ast.Name("part_", ast.Load()), ast.Constant(self.own)], []
            )
        return node

    def text(self, tree: ast.Module) -> str:
        """The functions of a source."""
        found = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
        self.functions = {n.name for n in found if n.name != "kernel"}
        return "\n\n\n".join(ast.unparse(ast.fix_missing_locations(self.visit(n))) for n in found)


COPY = """
@device
def copy_{dtype}(target, source, count):
    for i in range(block_index() * {threads} + thread_index(), count, block_count() * {threads}):
        store_{dtype}(target, i, load_{dtype}(source, i))


"""
MEET = """
@device
def meet(counter, blocks):
    sync_threads()
    if thread_index() == 0:
        arrive_and_wait(counter, blocks)
    sync_threads()


"""


class _Writer:
    """The resident kernel being written."""

    def __init__(self, plan: _Plan, counter: Buffer) -> None:
        self.plan, self.counter = plan, counter
        self.kernels = [i.kernel for phase in plan.phases for i in phase if isinstance(i, Call)]
        nodes = [n for k in self.kernels for n in k.nodes]
        self.source = Source(f"a loop whose blocks stay: {len(plan.phases)} phases", nodes, plan.threads)
        self.w = self.source.w

    def kernel(self) -> Kernel:
        source, w, plan = self.source, self.w, self.plan
        self._functions()
        shared = [k.launch.shared * (plan.threads // k.launch.threads) for k in self.kernels if k.launch is not None]
        source.scratch(max([*shared, 0]) + 16 * max(plan.threads // 32, 1))
        counter = source.destination(View(self.counter, "uint64", (1,), (1,)))
        trips = source.word(plan.trips)
        w.line("met = 0")
        with w.block(f"for trip in range({trips})"):
            for phase in plan.phases:
                for k, instruction in enumerate(phase):
                    if k:
                        w.line("sync_threads()")  # shared memory changes hands
                    self._copy(instruction) if isinstance(instruction, Copy) else self._call(instruction)
                w.line("met = met + block_count()")
                w.line(f"meet({counter}, met)")
        name = "loop_" + "_".join(dict.fromkeys(k.name for k in self.kernels))
        flops, nbytes = (float(plan.trips * sum(getattr(k, n) for k in self.kernels)) for n in ("flops", "nbytes"))
        return source.kernel(name[:80], plan.blocks, flops=flops, nbytes=nbytes, cooperative=True)

    def _functions(self) -> None:
        f, plan = self.source.functions, self.plan
        self.names: dict[str, str] = {}
        for kernel in self.kernels:
            if kernel.source in self.names:
                continue
            name = self.names[kernel.source] = f"part{len(self.names)}"
            text = _AsFunction(name, _threads(kernel), plan.threads).text(plan.parts[kernel.source])
            for line in text.splitlines():
                f.line(line)
            f.line()
            f.line()
        for dtype in sorted({_unit(i, plan.steps)[0] for p in plan.phases for i in p if isinstance(i, Copy)}):
            for line in COPY.format(dtype=dtype, threads=plan.threads).strip("\n").splitlines():
                f.line(line)
            f.line()
            f.line()
        for line in MEET.strip("\n").splitlines():
            f.line(line)
        f.line()
        f.line()

    # -- instructions ------------------------------------------------------------------------------
    def _call(self, instruction: Instruction) -> None:
        assert isinstance(instruction, Call)
        kernel, w, plan = instruction.kernel, self.w, self.plan
        assert kernel.launch is not None
        own, parts = kernel.launch.threads, plan.threads // kernel.launch.threads
        if parts == 1:
            part, thread, shared, worker, workers = (
                "0",
                "thread_index()",
                "shared_memory()",
                "block_index()",
                "block_count()",
            )
        else:
            w.line(f"part = thread_index() // {own}")
            part, thread, shared = "part", f"thread_index() - part * {own}", "shared_memory()"
            if kernel.launch.shared:
                shared += f" + part * {-(-kernel.launch.shared // 16) * 16}"
            worker, workers = "block_index() + part * block_count()", f"block_count() * {parts}"
        extent = self.source.word(kernel.extent)
        words = [self._arg(a, kernel) for a in kernel.args]
        with w.block(f"for item in range({worker}, {extent}, {workers})"):
            call = ["item", extent, thread, part, shared, *words]
            w.line(f"{self.names[kernel.source]}({', '.join(call)})")
            if kernel.launch.shared:
                w.line(f"sync_part(part, {own})" if parts > 1 else "sync_threads()")

    def _copy(self, instruction: Copy) -> None:
        dtype, size = _unit(instruction, self.plan.steps)
        target, source = self._pointer(instruction.target, True), self._pointer(instruction.source, False)
        self.w.line(f"copy_{dtype}({target}, {source}, {self.source.word(instruction.nbytes // size)})")

    # -- arguments ---------------------------------------------------------------------------------
    def _arg(self, arg: Arg, kernel: Kernel) -> str:
        if isinstance(arg, Ptr):
            return self._pointer(arg, arg.buffer in kernel.writes)
        if isinstance(arg, Int):
            return self.source.word(arg.value)
        assert isinstance(arg, Float)
        return self.source.real(arg.value)

    def _pointer(self, at: Ptr, writes: bool) -> str:
        step = self.plan.steps.get(at.buffer)
        base, start = (at.buffer, 0) if step is None else (step.base, step.start)
        view = View(base, "uint8", (1,), (1,), start + at.offset)
        name = self.source.destination(view) if writes else self.source.source(view)
        return name if step is None else f"{name} + trip * {self.source.word(step.stride)}"


def _unit(copy: Copy, steps: dict[Buffer, Step]) -> tuple[str, int]:
    """What a copy moves at a time, and its size."""
    numbers = [copy.nbytes, copy.target.offset, copy.source.offset]
    for pointer in (copy.target, copy.source):
        step = steps.get(pointer.buffer)
        numbers += [step.start, step.stride] if step is not None else []
    return ("uint8", 1) if any(n % 4 for n in numbers) else ("uint32", 4)
