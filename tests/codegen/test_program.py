"""Programs as their users see them: binding, checks, shared memory, tables for people; and the flags."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import plan_codes, runner
from graphkeras.codegen.kernel import Buffer, Call, Float, Kernel, Ptr, Where
from graphkeras.codegen.program import Program
from graphkeras.codegen.schedule import Encoder
from graphkeras.ir.types import TensorType

SCALE = """from graphkeras.codegen.cpu.support import *


def kernel(args, lo, hi):
    x = ptr_float32(args, 0)
    y = ptr_float32(args, 1)
    a = float32(float_arg(args, 2))
    for i in range(lo, hi):
        y[i] = x[i] * a
"""
N = 32


def scale(x: Buffer, y: Buffer, a: float, chunk: int = N) -> Call:
    return Call(Kernel(f"scale{a}", SCALE, (Ptr(x), Ptr(y), Float(a)), N, chunk, (x,), (y,), flops=N, nbytes=8 * N))


def make(a: float = 2.0, chunk: int = N) -> Program:
    x, y = Buffer(4 * N, Where.INPUT, 0), Buffer(4 * N, Where.OUTPUT, 0)
    t = Buffer(4 * N, Where.ARENA, label="t")
    kind = [TensorType((N,), "float32")]
    plan = [scale(x, t, a, chunk), scale(t, y, 10.0, chunk)]
    return Program(
        plan, inputs=[x], outputs=[y], input_types=kind, output_types=kind, offsets={t: 64}, arena_nbytes=64 + 4 * N
    )


def test_rebinding_follows_the_arrays() -> None:
    program = make()
    for value in (1.0, 2.0, 3.0):
        x, y = np.full(N, value, "float32"), np.empty(N, "float32")
        program.bind([x], [y])
        program.run()
        np.testing.assert_array_equal(y, np.full(N, 20 * value))


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.zeros(N, "float64"), r"input 0: expected float32\[32\], received float64\[32\]"),
        (np.zeros((N, 1), "float32"), r"received float32\[32, 1\]"),
        (np.zeros(2 * N, "float32")[::2], "contiguous"),
        ([0.0] * N, "expected a NumPy array, received list"),
    ],
)
def test_bind_refuses_what_does_not_fit(array: object, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        make().bind([array], [np.zeros(N, "float32")])  # type: ignore[list-item]


def test_bind_refuses_read_only_outputs_and_wrong_counts() -> None:
    fixed = np.zeros(N, "float32")
    fixed.flags.writeable = False
    make().bind([fixed], [np.zeros(N, "float32")])
    with pytest.raises(ValueError, match="read-only"):
        make().bind([np.zeros(N, "float32")], [fixed])
    with pytest.raises(ValueError, match="expected 1 input arrays, received 2"):
        make().bind([fixed, fixed], [np.zeros(N, "float32")])
    with pytest.raises(RuntimeError, match="bind arrays"):
        make().run()


def test_bind_without_keeping_holds_no_reference() -> None:
    program = make()
    x, y = np.ones(N, "float32"), np.zeros(N, "float32")
    counts = sys.getrefcount(x), sys.getrefcount(y)
    for keep, more in ((False, 0), (True, 1), (False, 0)):
        program.bind([x], [y], keep=keep)
        assert (sys.getrefcount(x) - counts[0], sys.getrefcount(y) - counts[1]) == (more, more)
        program.run()
        np.testing.assert_array_equal(y, np.full(N, 20.0))
        y[:] = 0


def test_donated_output_is_the_array_of_its_input() -> None:
    x, d = Buffer(4 * N, Where.INPUT, 0), Buffer(4 * N, Where.INPUT, 1)
    program = Program([scale(x, d, 3.0)], inputs=[x, d], outputs=[d])
    a, b = np.ones(N, "float32"), np.zeros(N, "float32")
    program.bind([a, b], [b])
    program.run()
    np.testing.assert_array_equal(b, np.full(N, 3.0))
    with pytest.raises(ValueError, match="output 0 is written over input 1: expected the same array"):
        program.bind([a, b], [b.copy()])


def test_output_bound_over_an_input_is_refused() -> None:
    x, y = np.ones(N, "float32"), np.zeros(N, "float32")
    program = make()
    program.bind([x], [y])
    for arrays in ((x, x), (y, y)):
        with pytest.raises(ValueError, match="output 0 is bound to the memory of input 0"):
            program.bind([arrays[0]], [arrays[1]])
        with pytest.raises(RuntimeError, match="bind arrays"):
            program.run()
    program.bind([y], [x])  # exchanged: fine
    program.run()


def test_buffer_without_a_place_is_an_error_at_once() -> None:
    x, lost = Buffer(4 * N, Where.INPUT, 0), Buffer(4 * N, Where.ARENA, label="lost")
    with pytest.raises(ValueError, match="'lost' has no place"):
        Program([scale(x, lost, 1.0)], inputs=[x])
    with pytest.raises(ValueError, match="neither an input nor an output"):
        Program([scale(x, x, 1.0)])


def test_constants_are_copied_and_aligned() -> None:
    data = np.arange(N, dtype="float32")
    c, y = Buffer(4 * N, Where.CONST, data=data), Buffer(4 * N, Where.OUTPUT, 0)
    program = Program([scale(c, y, 1.0)], outputs=[y])
    out = np.zeros(N, "float32")
    program.bind([], [out])
    data[:] = -1
    program.run()
    np.testing.assert_array_equal(out, np.arange(N))


def test_programs_share_an_arena_that_grows() -> None:
    small = make()
    x, y = np.ones(N, "float32"), np.zeros(N, "float32")
    small.bind([x], [y])
    small.run()
    before = runner.arena.address
    runner.arena.reserve(len(runner.arena._array) + 4096)
    assert runner.arena.address != before and runner.arena.address % 64 == 0
    small.run()
    np.testing.assert_array_equal(y, np.full(N, 20.0))


def test_programs_may_be_run_from_several_threads() -> None:
    programs = [make(float(k), chunk=4) for k in range(1, 5)]
    outs = [np.zeros(N, "float32") for _ in programs]
    for program, out in zip(programs, outs, strict=True):
        program.bind([np.ones(N, "float32")], [out])
    pool = [threading.Thread(target=p.run, kwargs={"steps": 200, "threads": 2}) for p in programs]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert [o[0] for o in outs] == [10.0, 20.0, 30.0, 40.0]


def test_explain_rows_and_profile() -> None:
    program = make(chunk=8)
    x, y = np.ones(N, "float32"), np.full(N, 7.0, "float32")
    program.bind([x], [y])
    rows = program.explain_rows()
    assert [(r.name, r.extent, r.chunks, r.flops) for r in rows] == [("scale2.0", N, 4, N), ("scale10.0", N, 4, N)]
    timings = program.profile(repeats=50)
    assert [t.name for t in timings] == ["scale2.0", "scale10.0"] and all(t.seconds > 0 for t in timings)
    np.testing.assert_array_equal(y, np.full(N, 7.0))  # profiling leaves no trace


def barriers(plan: list[Call], offsets: dict[Buffer, int] | None = None) -> int:
    return sum(row[0] == plan_codes.BARRIER for row in Encoder(offsets or {}).encode(plan).rows) - 1


def test_barriers_stand_only_where_threads_depend_on_each_other() -> None:
    a, b, c, d = (Buffer(4 * N, Where.INPUT, k) for k in range(4))
    assert barriers([scale(a, b, 1.0), scale(b, c, 1.0)]) == 0  # serial after serial
    assert barriers([scale(a, b, 1.0, 4), scale(a, c, 1.0, 4)]) == 0  # both only read `a`
    assert barriers([scale(a, b, 1.0, 4), scale(b, c, 1.0, 4)]) == 1
    assert barriers([scale(a, b, 1.0, 4), scale(c, a, 1.0, 4)]) == 1  # writes what others may still read
    assert barriers([scale(a, b, 1.0), scale(b, c, 1.0, 4), scale(d, a, 1.0)]) == 1
    t, u = Buffer(4 * N, Where.ARENA), Buffer(4 * N, Where.ARENA)
    plan = [scale(a, t, 1.0, 4), scale(b, u, 1.0, 4)]
    assert barriers(plan, {t: 0, u: 4 * N}) == 0
    assert barriers(plan, {t: 0, u: 64}) == 1  # the same memory under two names


# -- flags ----------------------------------------------------------------------------------------------
def test_flag_comes_from_code_then_environment_then_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHKERAS_DEBUG", raising=False)
    assert flags.DEBUG.value == 0
    monkeypatch.setenv("GRAPHKERAS_DEBUG", "3")
    assert flags.DEBUG.value == 3
    with flags.DEBUG(5):
        assert flags.DEBUG.value == 5
        with flags.DEBUG(1):
            assert flags.DEBUG.value == 1
        assert flags.DEBUG.value == 5
    assert flags.DEBUG.value == 3
    flags.DEBUG.set(7)
    assert flags.DEBUG.value == 7
    flags.DEBUG.set(None)
    assert flags.DEBUG.value == 3


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        (flags.DEBUG, "8", "an integer from 0 to 7"),
        (flags.DEBUG, "loud", "an integer from 0 to 7"),
        (flags.CHECK, "maybe", "0 or 1"),
        (flags.TARGET, "tpu", "one of cpu, cuda, interpret, null"),
        (flags.PASSES, "fuse", "passes to switch off"),
        (flags.THREADS, "-1", "an integer from 0"),
    ],
)
def test_bad_values_name_the_variable(
    flag: flags.Flag, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=f"{flag.variable}: expected {expected}"):
        flag.set(value)
    monkeypatch.setenv(flag.variable, value)
    with pytest.raises(ValueError, match=flag.variable):
        _ = flag.value


def test_flags_are_typed() -> None:
    assert flags.PASSES.parse("-fuse, -algebra") == {"fuse", "algebra"}
    assert flags.CACHE.parse("off") is None and flags.CACHE.parse("/tmp/x") == Path("/tmp/x")
    assert flags.CHECK.parse("1") is True and flags.TARGET.parse("CPU") == "cpu"
    with flags.THREADS(3):
        assert runner.thread_count() == 3
