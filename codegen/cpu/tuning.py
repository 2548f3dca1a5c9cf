"""The measured search: candidates of a choice are compiled and run in turns on the sizes at hand, the fastest wins.

A candidate is launched by its template on a Lowering set aside, and what it launched becomes a small program of its
own, with zeros for data (zeros are valid indices; arithmetic takes no longer or shorter for them). Before each run the
second-level cache is swept, as a kernel in a model rarely finds its operands near. The candidate that the model puts
first stays unless another is faster by more than MARGIN, so that noise decides nothing.
"""

from __future__ import annotations

import ctypes
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import cache, remembered, runner, target
from graphkeras.codegen.cpu.choices import Candidate, Emit
from graphkeras.codegen.cpu.vectors import vectors
from graphkeras.codegen.kernel import Buffer, Call, Instruction, Ptr, Where

if TYPE_CHECKING:
    from graphkeras.codegen.lower import Lowering
    from graphkeras.codegen.program import Program

FIRST_FEW = 5  # candidates that are measured, by the model's order
SECONDS = 0.4  # of measuring, for one choice
ROUNDS = (6, 60)  # at least and at most
HOPELESS = 1.5  # times the best after some rounds: not run again
LONG = 1e-3  # seconds of a run beside which waking threads is little
MARGIN = 0.03  # by which a candidate must beat the one that the model puts first


@dataclass
class Spent:
    """What searching took so far in this process."""

    searches: int = 0
    runs: int = 0
    seconds: float = 0.0
    warned: bool = False
    wanted: dict[str, None] = field(default_factory=dict)


spent = Spent()


def search(ctx: Lowering, kind: str, spec: str, ranked: Sequence[Candidate], emit: Emit) -> str | None:
    """The name of the fastest of the first few candidates, remembered; None where nothing can be measured."""
    if not target.processor().native or _budget_is_spent():
        return None
    few = ranked[:FIRST_FEW]
    if ctx.wanted is not None:  # only looked through, to compile all candidates of the graph at once
        for sources in (_sources(launched(ctx, c, emit)) for c in few):
            ctx.wanted.update(dict.fromkeys(sources))
        return None
    started = time.perf_counter()
    programs = {c.name: program_of(launched(ctx, c, emit)) for c in few}
    seconds = fastest_of(programs)
    name = _winner(few[0].name, seconds)
    if name != few[0].name:  # once more, between the two: a lucky or an unlucky run is no reason to leave the model
        name = _winner(few[0].name, fastest_of({n: programs[n] for n in (few[0].name, name)}))
    spent.searches += 1
    spent.seconds += time.perf_counter() - started
    remembered.remember(kind, spec, name, seconds)
    return name


def _winner(first: str, seconds: Mapping[str, float]) -> str:
    """The fastest; `first` where no other is so by more than MARGIN."""
    return min(seconds, key=lambda n: seconds[n] * (1.0 if n == first else 1.0 + MARGIN))


def launched(ctx: Lowering, candidate: Candidate, emit: Emit) -> list[Instruction]:
    """What the template launches for a candidate; `ctx` stays as it was."""
    with ctx.trial() as instructions:
        emit(candidate)
    return instructions


def _budget_is_spent() -> bool:
    if spent.seconds < flags.TUNE_SECONDS.value:
        return False
    if not spent.warned:
        spent.warned = True
        warnings.warn(
            f"GRAPHKERAS_TUNE: the {flags.TUNE_SECONDS.value} s of GRAPHKERAS_TUNE_SECONDS are over; what was measured "
            "is remembered, other choices follow the cost model. Run again to measure the rest.",
            stacklevel=2,
        )
    return True


def compile_ahead(wanted: Iterable[str]) -> None:
    """Compile the sources of all candidates together, so that worker processes share them."""
    started = time.perf_counter()
    cache.load(list(wanted))
    spent.seconds += time.perf_counter() - started


# -- programs of one candidate --------------------------------------------------------------------------
def _calls(instructions: Sequence[Instruction]) -> list[Call]:
    return [i for i in instructions if isinstance(i, Call)]


def _sources(instructions: Sequence[Instruction]) -> list[str]:
    calls = _calls(instructions)
    return [s for c in calls for s in (*c.kernel.sources, *c.kernel.companions)]


def program_of(instructions: Sequence[Instruction]) -> Program:
    """The launches as a program with memory of its own, all zeros."""
    from graphkeras.codegen.program import Program

    calls = _calls(instructions)
    buffers = dict.fromkeys(b for c in calls for b in _touched(c))
    own = [b for b in buffers if b.where in (Where.INPUT, Where.OUTPUT)]
    offsets, end = {}, 0
    for buffer in buffers:
        if buffer.where is Where.ARENA:
            offsets[buffer] = end
            end += -(-buffer.nbytes // runner.ALIGN) * runner.ALIGN + runner.ALIGN
    program = Program(calls, inputs=own, offsets=offsets, arena_nbytes=end, name="candidate")
    arrays = [runner.aligned(max(b.nbytes, 1)) for b in own]
    for array in arrays:
        array.fill(0)
    program.bind(arrays)
    return program


def _touched(call: Call) -> list[Buffer]:
    kernel = call.kernel
    return [*(a.buffer for a in kernel.args if isinstance(a, Ptr)), *kernel.reads, *kernel.writes]


# -- the clock ------------------------------------------------------------------------------------------
def fastest_of(programs: Mapping[str, Program]) -> dict[str, float]:
    """Least seconds of each program: run in turns, those far behind are left out after the first rounds."""
    best = dict.fromkeys(programs, float("inf"))
    threads, steps = _threads_of(programs.values())
    _clear_arena(max(p.arena_nbytes for p in programs.values()))
    broom = np.zeros(2 * vectors().l2, np.uint8)
    running, started = list(programs), time.perf_counter()
    for program in programs.values():
        program.run(1, threads)  # wakes threads, brings memory
    for number in range(ROUNDS[1]):
        for name in running:
            broom += 1
            best[name] = min(best[name], seconds_of_run(programs[name], threads, steps))
        if number + 1 >= ROUNDS[0]:
            least = min(best.values())
            running = [n for n in running if best[n] <= HOPELESS * least]
            if len(running) == 1 or time.perf_counter() - started > SECONDS:
                break
    return best


def _threads_of(programs: Iterable[Program]) -> tuple[int, int]:
    """As many threads as a program would wake for such work, and as many steps of a run as make that small."""
    from graphkeras.codegen.program import SMALL_WORK, estimate

    expected = max(estimate(p.kernels) for p in programs)
    threads = runner.thread_count() if expected > SMALL_WORK else 1
    return threads, 1 if threads == 1 else max(1, min(32, int(LONG / expected)))


def seconds_of_run(program: Program, threads: int, steps: int) -> float:
    """A step of one run: of one thread the time in kernels, of several from the first start to the last end."""
    spent.runs += 1
    if threads == 1:
        program.keep_profile()
        program.run(1, threads)
        return sum(program.measured())
    started = time.perf_counter()
    program.run(steps, threads)
    return (time.perf_counter() - started) / steps


def _clear_arena(nbytes: int) -> None:
    """Zeros where candidates have their temporaries: what lies there may be anything, and no run is under way."""
    with runner.run_lock:
        ctypes.memset(runner.arena.reserve(nbytes), 0, nbytes)
