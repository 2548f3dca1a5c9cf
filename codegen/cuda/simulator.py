"""Runs CUDA kernel sources without a GPU: all threads of many blocks in lock-step, as NumPy arrays. For tests.

    memory = Memory()
    x = memory.upload(array)
    report = run(kernel.source, [x, 5], blocks=4, shared=1024, memory=memory)
    report.raise_if_wrong()

The source is rewritten: a condition that differs between threads becomes a mask, a loop runs while any thread wants to.
The functions of the language are NumPy twins (`simulator_ops.py`). What lock-step would hide is checked on the way:

- races: a thread touches memory that another one wrote (or writes what another one read) with no barrier between them,
  in shared memory and in global memory;
- reads of shared memory that nobody wrote, addresses outside of every allocation, misaligned accesses;
- barriers and shuffles that only a part of the block or warp reaches.

Bank conflicts of shared memory are counted (`Report.conflicts`). Kernels with barriers in shared memory, whose
warpgroups wait for one another, run as `simulator_roles.py` says. Not simulated: time, the memory model beyond
barriers, threads of one warp that go separate ways and wait for each other.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

from graphkeras.codegen.cuda.simulator_memory import Memory, Shadow, SharedMemory
from graphkeras.codegen.kernel import Kernel

FILE = "<simulated kernel>"
RESIDENT = 132
"""Blocks that a simulated device holds at once, of kernels that deal their work among them."""

LANES = 1 << 16
"""Threads that run at a time; more blocks follow in turns."""


class SimulationError(AssertionError):
    """A kernel did something that a GPU would punish: a race, a wild address, a barrier in a branch."""


@dataclass(frozen=True)
class Problem:
    kind: str
    line: int
    text: str


@dataclass
class Report:
    """What a run found. problems: at most one of a kind and line. conflicts: line -> worst bank conflict (1: none)."""

    problems: dict[tuple[str, int], Problem] = field(default_factory=dict)
    conflicts: dict[int, int] = field(default_factory=dict)
    source: str = ""

    @property
    def races(self) -> list[Problem]:
        return [p for p in self.problems.values() if p.kind == "race"]

    def raise_if_wrong(self) -> None:
        """Raise SimulationError that tells every problem with its line of the source."""
        if self.problems:
            lines = self.source.splitlines()
            told = [
                f"line {p.line}: {p.kind}: {p.text}\n    {lines[p.line - 1].strip()}" for p in self.problems.values()
            ]
            raise SimulationError("\n".join(told) + "\n\n" + self.source)


class Machine:
    """The threads of a batch of blocks, in lock-step. Twins of the language use mask, vec, problem and the memories."""

    def __init__(self, memory: Memory, blocks: range, grid: int, threads: int, shared: int, report: Report) -> None:
        self.memory, self.report = memory, report
        self.threads, self.grid = threads, grid
        self.blocks = len(blocks)
        self.lanes = self.blocks * threads
        lane = np.arange(self.lanes, dtype=np.int64)
        self.thread = lane % threads
        self.local_block = lane // threads
        self.block = self.local_block + blocks.start
        self.mask = np.ones(self.lanes, bool)
        self.full = True
        self._stack: list[tuple[np.ndarray, bool]] = []
        self.shared = SharedMemory(self.blocks, shared)
        self.block_clock = np.zeros(self.lanes, np.int64)  # barriers passed: of the block, of the warp
        self.warp_clock = np.zeros(self.lanes, np.int64)
        self.identity = memory.new_threads(self.lanes, blocks.start * threads)
        self.grid_clock = np.zeros(self.lanes, np.int64)  # barriers of the grid that a thread knows of
        self.published: list[np.ndarray] = []  # for each of them: what each block's clock was when it arrived
        self.pending: list[Any] = []  # asynchronous copies not yet committed, groups not yet waited for
        self.groups: list[list[Any]] = []

    # -- masks -------------------------------------------------------------------------------------
    def enter(self, condition: Any) -> bool:
        """Go on with the threads for which the condition holds; whether there are any."""
        self._stack.append((self.mask, self.full))
        if isinstance(condition, np.ndarray):
            self.mask = self.mask & condition
            self.full = self.full and bool(self.mask.all())
        elif not condition:
            self.mask, self.full = np.zeros_like(self.mask), False
        return bool(self.mask.any())

    def leave(self) -> None:
        self.mask, self.full = self._stack.pop()

    def assign(self, value: Any, old: Any) -> Any:
        """The new value of a variable, where the running threads are; the others keep what they have."""
        if self.full or old is UNSET:
            return value
        if isinstance(value, tuple):
            return tuple(self.assign(v, o) for v, o in zip(value, old, strict=True))
        if isinstance(value, (Local, str)) or value is old:
            return value
        return np.where(self.mask, value, old)

    def loop(self, *bounds: Any) -> Iterator[Any]:
        """`for ... in range(*bounds)`, with bounds that may differ between threads."""
        if not any(isinstance(b, np.ndarray) for b in bounds):
            yield from range(*map(int, bounds))
            return
        start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        i = self.vec(start, np.int64).copy()
        while True:
            more = i < stop if not np.any(np.asarray(step) < 0) else i > stop
            if self.enter(more):
                yield i
                self.leave()
                i = i + step
            else:
                self.leave()
                return

    def begin_while(self) -> None:
        self._stack.append((self.mask, self.full))

    def again(self, condition: Any) -> bool:
        """One more turn of a `while`? Threads that are done wait for the others."""
        if isinstance(condition, np.ndarray):
            self.mask = self.mask & condition
            self.full = self.full and bool(self.mask.all())
            return bool(self.mask.any())
        return bool(condition) and bool(self.mask.any())

    # -- for the twins -----------------------------------------------------------------------------
    def vec(self, x: Any, dtype: Any = None) -> np.ndarray:
        """A value as one element per thread."""
        x = np.broadcast_to(np.asarray(x), (self.lanes,))
        return x if dtype is None else x.astype(dtype, copy=False)

    def warps(self, x: Any, dtype: Any = None) -> np.ndarray:
        return self.vec(x, dtype).reshape(-1, 32)

    def problem(self, kind: str, text: str) -> None:
        """Note a problem at the line of the source that is being run."""
        line = self.line()
        self.report.problems.setdefault((kind, line), Problem(kind, line, text))

    def line(self) -> int:
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != FILE:
            frame = frame.f_back
        return frame.f_lineno if frame is not None else 0

    def sync(self) -> None:
        """sync_threads."""
        self.together("the barrier", self.threads)
        self.block_clock[self.mask] += 1
        self.warp_clock[self.mask] += 1
        if self.published and self.full:
            known = np.repeat(self.grid_clock.reshape(-1, self.threads).max(1), self.threads)
            if (known != self.grid_clock).any():
                self.grid_clock = known
                self.block_clock[:] = self.block_clock.max() + 1
                self.warp_clock[:] = self.warp_clock.max() + 1

    def sync_part(self, part: Any, size: int) -> None:
        """A barrier of `size` threads of a block."""
        self.together("the barrier of a part", size)
        if (self.vec(part)[self.mask] != (self.thread // size)[self.mask]).any():
            self.problem("divergence", "a part's barrier has another part's number")
        self.block_clock[self.mask] += 1
        self.warp_clock[self.mask] += 1

    def arrive(self, address: Any, wanted: Any) -> None:
        """arrive_and_wait: one thread of each block, all blocks of the grid."""
        lanes = np.flatnonzero(self.mask)
        at, goal = self.vec(address, np.int64)[lanes], self.vec(wanted, np.int64)[lanes]
        if self.blocks != self.grid or len(lanes) != self.grid or len({*self.local_block[lanes]}) != self.grid:
            self.problem("divergence", "a barrier of the grid is reached by a part of the blocks, or twice by some")
            return
        if len({*at}) != 1 or not self.memory.inside(at, 8):
            self.problem("wild address", "the blocks do not meet at one place")
            return
        count = int(self.memory.read(int(at[0]), 8).view(np.uint64)[0]) + self.grid
        self.memory.write(int(at[0]), np.array([count], np.uint64))
        if (goal != count).any():
            self.problem("divergence", f"blocks wait for {goal[0]} arrivals, there are {count}")
        self.published.append(self.block_clock[lanes].copy())
        self.grid_clock[lanes] = len(self.published)

    def ordered(self, at: np.ndarray, nbytes: int, write: bool) -> None:
        """More checks of accesses to shared memory (`simulator_roles.py`)."""

    def together(self, what: str, size: int) -> None:
        """All threads of each group of `size` must be here, or none."""
        if self.full:
            return
        here = self.mask.reshape(-1, size)
        if (here.any(1) != here.all(1)).any():
            self.problem("divergence", f"{what} is reached by a part of the threads only")

    def access(self, shadow: Shadow, places: np.ndarray, write: bool) -> None:
        """Look for races of the running threads at these places (one row of places per running thread)."""
        m = self.mask
        known = int(self.grid_clock[m].min()) if self.published and m.any() else 0
        shadow.published = self.published[known - 1] if known else None
        found = shadow.touch(
            places, self.identity[m], self.threads, self.block_clock[m], self.warp_clock[m], self.memory.oldest, write
        )
        if found is not None:
            self.problem("race", found)


class Local:
    """A local array: one row per thread."""

    def __init__(self, machine: Machine, count: int, dtype: Any) -> None:
        self.machine = machine
        self.data = np.zeros((machine.lanes, count), dtype)

    def __getitem__(self, k: Any) -> np.ndarray:
        if isinstance(k, np.ndarray):
            return self.data[np.arange(len(self.data)), np.where(self.machine.mask, k, 0)]
        return self.data[:, int(k)].copy()

    def __setitem__(self, k: Any, value: Any) -> None:
        m = self.machine.mask
        self.data[m, k[m] if isinstance(k, np.ndarray) else int(k)] = self.machine.vec(value)[m]


class _Unset:
    """A variable before its first assignment."""


UNSET = _Unset()


# -- rewriting ------------------------------------------------------------------------------------------
def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("M_", ast.Load()), name, ast.Load()), list(args), [])


class _Rewriter(ast.NodeTransformer):
    """Python for one thread -> Python for all of them."""

    def __init__(self) -> None:
        self._count = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self.generic_visit(node)
        node.decorator_list = []
        own = {a.arg for a in node.args.args}
        names = sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} - own)
        head: list[ast.stmt] = [ast.Assign([ast.Name(n, ast.Store())], ast.Name("UNSET_", ast.Load())) for n in names]
        node.body = [ast.copy_location(s, node.body[0]) for s in head] + node.body
        return node

    def visit_Module(self, node: ast.Module) -> Any:
        node.body = [
            self.visit(s) if isinstance(s, ast.FunctionDef) else s
            for s in node.body
            if not isinstance(s, ast.ImportFrom)
        ]
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        self.generic_visit(node)
        target = node.targets[0]
        if isinstance(target, ast.Name):
            node.value = _call("assign", node.value, ast.Name(target.id, ast.Load()))
        elif isinstance(target, ast.Tuple):
            old = ast.Tuple([ast.Name(t.id, ast.Load()) for t in target.elts], ast.Load())  # type: ignore[attr-defined]
            node.value = _call("assign", node.value, old)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        old = ast.parse(ast.unparse(node.target), mode="eval").body
        return self.visit(ast.copy_location(ast.Assign([node.target], ast.BinOp(old, node.op, node.value)), node))

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        self.generic_visit(node)
        return ast.Call(ast.Name("select", ast.Load()), [node.test, node.body, node.orelse], [])

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        self.generic_visit(node)
        result = node.values[0]
        for value in node.values[1:]:
            result = ast.BinOp(result, ast.BitAnd() if isinstance(node.op, ast.And) else ast.BitOr(), value)
        return result

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not):
            return ast.BinOp(node.operand, ast.BitXor(), ast.Constant(True))
        return node

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        self._count += 1
        name = f"c_{self._count}"
        found: list[ast.stmt] = [ast.Assign([ast.Name(name, ast.Store())], node.test)]
        sides = [(node.body, ast.Name(name, ast.Load()))]
        if node.orelse:
            sides.append((node.orelse, ast.BinOp(ast.Name(name, ast.Load()), ast.BitXor(), ast.Constant(True))))  # type: ignore[arg-type]
        for body, condition in sides:
            found.append(ast.If(_call("enter", condition), body, []))
            found.append(ast.Expr(_call("leave")))
        return [ast.copy_location(s, node) for s in found]

    def visit_For(self, node: ast.For) -> Any:
        self.generic_visit(node)
        if not (isinstance(node.iter, ast.Call) and getattr(node.iter.func, "id", "") == "range"):
            raise SimulationError(f"line {node.lineno}: kernels loop over range(...) only")
        node.iter = _call("loop", *node.iter.args)
        return node

    def visit_While(self, node: ast.While) -> Any:
        self.generic_visit(node)
        node.test = _call("again", node.test)
        found = [ast.Expr(_call("begin_while")), node, ast.Expr(_call("leave"))]
        return [ast.copy_location(s, node) for s in found]

    def visit_Break(self, node: ast.stmt) -> Any:
        raise SimulationError(f"line {node.lineno}: break and continue are not simulated; use the loop's condition")

    visit_Continue = visit_Break

    def visit_Return(self, node: ast.Return) -> Any:
        if node.value is None:
            raise SimulationError(f"line {node.lineno}: a kernel must not return early; put the rest into an if")
        self.generic_visit(node)
        return node


_compiled: dict[str, CodeType] = {}


def _code(source: str) -> CodeType:
    if source not in _compiled:
        tree = _Rewriter().visit(ast.parse(source))
        _compiled[source] = compile(ast.fix_missing_locations(tree), FILE, "exec")
    return _compiled[source]


def blocks_of(kernel: Kernel) -> int:
    """With how many blocks a kernel is started."""
    dealt = kernel.launch is not None and kernel.launch.dealt
    return min(kernel.extent, RESIDENT) if dealt else kernel.extent


def run(
    source: str, args: Sequence[int | float], *, blocks: int, memory: Memory, shared: int = 0, check: bool = True
) -> Report:
    """Run `kernel(*args)` of a source with `blocks` blocks.

    args: addresses in `memory`, integers and floats. shared: bytes of shared memory per block.
    check: look for races too (slower).
    """
    from graphkeras.codegen.cuda.simulator_ops import namespace

    report = Report(source=source)
    constants: dict[str, Any] = {}
    exec(compile(ast.Module(_constants(source), []), FILE, "exec"), constants)
    threads = constants["THREADS"]
    memory.new_launch()
    if "barrier_init(" in source:
        from graphkeras.codegen.cuda.simulator_roles import run_block

        memory.checked = check
        for number in range(blocks):
            run_block(_code(source), args, number, blocks, threads, shared, memory, report)
        return report
    per = blocks if "arrive_and_wait(" in source else max(1, LANES // threads)
    for first in range(0, blocks, per):
        machine = Machine(memory, range(first, min(first + per, blocks)), blocks, threads, shared, report)
        machine.shared.checked = memory.checked = check
        space = {"M_": machine, "UNSET_": UNSET, **namespace(machine)}
        with np.errstate(all="ignore"):
            exec(_code(source), space)
            space["kernel"](*args)
    return report


def _constants(source: str) -> list[ast.stmt]:
    return [s for s in ast.parse(source).body if isinstance(s, ast.Assign) and isinstance(s.value, ast.Constant)]
