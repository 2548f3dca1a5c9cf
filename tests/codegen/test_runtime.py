"""Kernels written by hand, run by programs: the language, the plan loop, threads, control flow, errors."""

from __future__ import annotations

import ctypes
import itertools
import re

import numpy as np
import pytest

from graphkeras.codegen.base_program import KernelError
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu import cache, compiler
from graphkeras.codegen.kernel import (
    Buffer,
    Call,
    Copy,
    Float,
    Int,
    Kernel,
    Loop,
    Ptr,
    Scratch,
    Step,
    Switch,
    Where,
    While,
)
from graphkeras.codegen.program import Program
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import TensorType

HEAD = "from graphkeras.codegen.cpu.support import *\n\n\n"

ADD_ONE = (
    HEAD
    + '''def kernel(args, lo, hi):
    """y = x + a"""
    x = ptr_float32(args, 0)
    y = ptr_float32(args, 1)
    a = float32(float_arg(args, 2))
    for i in range(lo, hi):
        y[i] = x[i] + a
'''
)

ADAM = (
    HEAD
    + '''def kernel(args, lo, hi):
    """m, v, p in place"""
    p = ptr_float32(args, 0)
    g = ptr_float32(args, 1)
    m = ptr_float32(args, 2)
    v = ptr_float32(args, 3)
    rate = float32(float_arg(args, 4))
    for i in range(lo, hi):
        a = m[i] + (g[i] - m[i]) * float32(0.1)
        b = v[i] + (g[i] * g[i] - v[i]) * float32(0.001)
        m[i] = a
        v[i] = b
        p[i] = p[i] - rate * a / (sqrt(b) + float32(1e-7))
'''
)

ROW_SUM = (
    HEAD
    + '''def kernel(args, lo, hi):
    """y[i] = sum_j x[i, j], by way of scratch"""
    x = ptr_float32(args, 0)
    y = ptr_float32(args, 1)
    n = int_arg(args, 2)
    t = ptr_float32(args, 3)
    for i in range(lo, hi):
        for j in range(n):
            t[j] = x[i * n + j]
        total = float32(0.0)
        for j in range(n):
            total = reduce_add(total, t[j])
        y[i] = total
'''
)

CHECKED_TAKE = (
    HEAD
    + '''def kernel(args, lo, hi):
    """y[i] = x[k[i]], an error outside 0..n"""
    x = ptr_float32(args, 0)
    k = ptr_int32(args, 1)
    y = ptr_float32(args, 2)
    status = ptr_int64(args, 3)
    n = int_arg(args, 4)
    for i in range(lo, hi):
        at = int64(k[i])
        if at < 0 or at >= n:
            set_status(status, 1, 77, at, n)
        else:
            y[i] = x[at]
'''
)

LESS = (
    HEAD
    + '''def kernel(args, lo, hi):
    """flag = x[0] < limit"""
    x = ptr_float32(args, 0)
    flag = ptr_bool(args, 1)
    flag[0] = uint8(x[0] < float32(float_arg(args, 2)))
'''
)


def buffer(array: np.ndarray, where: Where, index: int = -1) -> Buffer:
    return Buffer(array.nbytes, where, index, label=f"{where.value}{index}")


def launch(source: str, args: tuple, n: int, reads: tuple, writes: tuple, chunk: int | None = None) -> Call:
    kernel = Kernel("k", source, args, n, chunk or max(n, 1), reads, writes, flops=1e12)  # flops: worth any thread
    return Call(kernel)


def add(x: Buffer, y: Buffer, a: float, n: int, chunk: int | None = None) -> Call:
    return launch(ADD_ONE, (Ptr(x), Ptr(y), Float(a)), n, (x,), (y,), chunk)


def call(source: str, *words: int, n: int) -> None:
    """Call a kernel by its address, with a table of words."""
    table = np.array(words, np.int64)
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(cache.load([source])[0])
    function(table.ctypes.data, 0, n)


def expression(text: str, *arrays: np.ndarray, out: str) -> np.ndarray:
    """Compute `text` of x0, x1 ... elementwise by a kernel."""
    result = np.empty(arrays[0].shape, out)
    lines = [f"    p{k} = ptr_{a.dtype}(args, {k})" for k, a in enumerate((*arrays, result))]
    lines += ["    for i in range(lo, hi):"]
    lines += [f"        x{k} = p{k}[i]" for k in range(len(arrays))]
    lines += [f"        p{len(arrays)}[i] = {text}"]
    source = HEAD + "def kernel(args, lo, hi):\n" + "\n".join(lines) + "\n"
    call(source, *(a.ctypes.data for a in (*arrays, result)), n=result.size)
    return result


# -- the language ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["sqrt", "floor", "ceil", "trunc", "rint", "fabs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalar_functions_agree_with_numpy(name: str, dtype: str) -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -0.0, np.inf, -np.inf, np.nan, 3.25], dtype)
    with np.errstate(invalid="ignore"):
        expected = getattr(np, name)(x)
    np.testing.assert_array_equal(expression(f"{name}(x0)", x, out=dtype), expected)


def test_minimum_and_maximum_propagate_nan() -> None:
    x, y = (np.array(v, "float32") for v in zip(*itertools.product([1, -1, np.nan, np.inf], repeat=2), strict=True))
    np.testing.assert_array_equal(expression("minimum(x0, x1)", x, y, out="float32"), np.minimum(x, y))
    np.testing.assert_array_equal(expression("maximum(x0, x1)", x, y, out="float32"), np.maximum(x, y))


@pytest.mark.parametrize("target", ["int8", "int32", "int64", "uint8", "uint32"])
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_casts_from_float_saturate(source: str, target: str) -> None:
    x = np.array([0.9, -0.9, 100.7, 1e30, -1e30, np.inf, -np.inf, np.nan], source)
    info = np.iinfo(target)
    expected = [int(np.clip(np.trunc(np.float64(v)), info.min, info.max)) if abs(v) < 1e9 else 0 for v in x]
    expected = [info.max if v > 1e9 else info.min if v < -1e9 else e for v, e in zip(x, expected, strict=True)]
    np.testing.assert_array_equal(expression(f"{target}(x0)", x, out=target), np.array(expected, target))
    np.testing.assert_array_equal(expression(f"{source}_to_{target}(x0)", x, out=target), np.array(expected, target))


def test_half_floats_round_to_nearest_even_over_all_values() -> None:
    import ml_dtypes

    every = np.arange(2**16, dtype=np.uint16)
    for name, kind in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):
        wide = every.view(kind).astype("float32")
        np.testing.assert_array_equal(expression(f"{name}_to_float32(x0)", every, out="float32"), wide)
        finite = np.sort(wide[np.isfinite(wide)]).astype("float64")
        middle = (finite[1:] + finite[:-1]) / 2  # ties, and their neighbours on both sides
        for values in (middle, np.nextafter(middle, np.inf), np.nextafter(middle, -np.inf)):
            narrow = values.astype("float32")
            got = expression(f"float32_to_{name}(x0)", narrow, out="uint16")
            np.testing.assert_array_equal(got.view(kind).astype("f4"), narrow.astype(kind).astype("f4"))
    ties = np.array([1 + 2.0**-11, 1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-11 - 2.0**-40, -1 - 2.0**-11 - 2.0**-40])
    got = expression("float64_to_float16(x0)", ties, out="uint16").view(np.float16)
    np.testing.assert_array_equal(got, ties.astype(np.float16))


def test_bits_and_logic() -> None:
    x = np.array([1.0, -2.5, 0.0], "float32")
    np.testing.assert_array_equal(expression("bitcast_int32(x0)", x, out="int32"), x.view("int32"))
    y = np.array([-8, 7, 1], "int32")
    np.testing.assert_array_equal(expression("bitcast_float32(x0)", y, out="float32"), y.view("float32"))
    np.testing.assert_array_equal(expression("select(x0 > int32(0), int32(1), int32(-1))", y, out="int32"), [-1, 1, 1])
    np.testing.assert_array_equal(expression("x0 >> int32(1)", y, out="int32"), y >> 1)
    logical = expression("shr_logical(x0, int32(1))", y, out="int32")
    np.testing.assert_array_equal(logical, (y.view("uint32") >> 1).view("int32"))


# -- code quality ---------------------------------------------------------------------------------------
def vectors(source: str) -> set[str]:
    return set(re.findall(r"<\d+ x (\w+)>", compiler.optimised_ir(source)))


def test_elementwise_and_reduction_loops_become_vector_code_without_alias_checks() -> None:
    assert "float" in vectors(ADAM) and "float" in vectors(ROW_SUM)
    assert "memcheck" not in compiler.optimised_ir(ADAM)


def test_many_pointers_still_vectorise() -> None:
    lines = [f"    p{k} = ptr_float32(args, {k})" for k in range(40)]
    body = "        p0[i] = " + " + ".join(f"p{k}[i]" for k in range(1, 40))
    source = HEAD + "def kernel(args, lo, hi):\n" + "\n".join(lines) + "\n    for i in range(lo, hi):\n" + body + "\n"
    assert "float" in vectors(source)


def test_kernel_with_python_in_it_is_refused() -> None:
    source = (
        HEAD + "import math\n\n\ndef kernel(args, lo, hi):\n    p = ptr_float64(args, 0)\n    p[0] = math.erf(p[0])\n"
    )
    with pytest.raises(compiler.CompileError, match=r"cannot call math\.erf"):
        compiler.compile_object(source)
    with pytest.raises(compiler.CompileError, match="no_such_name"):
        compiler.compile_object(HEAD + "def kernel(args, lo, hi):\n    no_such_name(args)\n")


# -- plans ----------------------------------------------------------------------------------------------
def test_adam_updates_in_place_and_matches_numpy() -> None:
    rng = np.random.default_rng(0)
    p, g, m, v = (rng.random(1000, dtype="float32") for _ in range(4))
    expect_m = m + (g - m) * np.float32(0.1)
    expect_v = v + (g * g - v) * np.float32(0.001)
    expect_p = p - np.float32(0.01) * expect_m / (np.sqrt(expect_v) + np.float32(1e-7))
    buffers = tuple(buffer(a, Where.INPUT, k) for k, a in enumerate((p, g, m, v)))
    args = (*(Ptr(b) for b in buffers), Float(0.01))
    writes = (buffers[0], buffers[2], buffers[3])
    program = Program([launch(ADAM, args, 1000, buffers, writes)], inputs=buffers)
    program.bind([p, g, m, v])
    program.run()
    for got, expected in ((p, expect_p), (m, expect_m), (v, expect_v)):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(37, 513)).astype("float32")
    results = []
    for threads in (1, 2, 3, 5):
        sums, out = np.zeros(37, "float32"), np.zeros(37, "float32")
        bx, by, bo = buffer(x, Where.INPUT, 0), buffer(sums, Where.OUTPUT, 0), buffer(out, Where.OUTPUT, 1)
        args = (Ptr(bx), Ptr(by), Int(513), Scratch(513 * 4))
        plan = [launch(ROW_SUM, args, 37, (bx,), (by,), 4), add(by, bo, 1.0, 37, 8)]
        program = Program(plan, inputs=[bx], outputs=[by, bo])
        program.bind([x], [sums, out])
        program.run(steps=20, threads=threads)
        np.testing.assert_allclose(sums, x.sum(1), rtol=1e-4, atol=1e-4)
        results.append(out.tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_below_the_normal_range_are_zero_in_a_run_and_only_there(threads: int) -> None:
    b = Builder()
    x = b.input(TensorType((200_000,), "float32"), "x")
    program = compile_graph(Graph([x], [b.mul(x, b.const(np.float32(0.5)))]))
    smallest = np.finfo(np.float32).tiny
    data = np.resize(np.array([smallest, smallest * 2, -smallest, 1e-42], "float32"), 200_000)
    y = np.empty_like(data)
    program.bind([data], [y])
    program.run(3, threads=threads)
    np.testing.assert_array_equal(y[:4], np.array([0, smallest, 0, 0], "float32"))
    assert (y == np.resize(y[:4], y.size)).all()  # of all threads alike
    assert np.float32(smallest) * np.float32(0.5) > 0  # NumPy goes on as before


def test_dependent_parallel_kernels_see_each_others_work() -> None:
    """A chain through reused arena memory: any missing barrier would break the sum within a thousand links."""
    n, links = 64, 12
    x, y = np.zeros(n, "float32"), np.zeros(n, "float32")
    bx, by = buffer(x, Where.INPUT, 0), buffer(y, Where.OUTPUT, 0)
    temps = [Buffer(n * 4, Where.ARENA, label=f"t{k}") for k in range(links)]
    offsets = {t: (k % 2) * n * 4 for k, t in enumerate(temps)}
    chain = [bx, *temps, by]
    rotate = ADD_ONE.replace("x[i] + a", "x[(i + 17) % 64] + a")  # reads what another thread wrote
    plan = []
    for k, (a, b) in enumerate(itertools.pairwise(chain)):
        args = (Ptr(a), Ptr(b), Float(1.0))
        plan.append(launch(rotate, args, n, (a,), (b,), n if k % 3 == 2 else 8))
    plan.append(launch(rotate, (Ptr(by), Ptr(bx), Float(0.0)), n, (by,), (bx,), 8))
    program = Program(plan, inputs=[bx], outputs=[by], offsets=offsets, arena_nbytes=2 * n * 4)
    program.bind([x], [y])
    program.run(steps=150, threads=3)
    np.testing.assert_array_equal(y, np.full(n, 150.0 * (links + 1), "float32"))


@pytest.mark.parametrize("chunk", [4, 1])
def test_loop_with_windows(chunk: int) -> None:
    """carry += xs[t]; ys[t] = carry, forwards over xs and backwards over ys."""
    xs = np.arange(20, dtype="float32").reshape(5, 4)
    carry, ys = np.zeros(4, "float32"), np.zeros((5, 4), "float32")
    bx, bc, by = buffer(xs, Where.INPUT, 0), buffer(carry, Where.INPUT, 1), buffer(ys, Where.OUTPUT, 0)
    wx, wy = Buffer(16, Where.ARENA, label="x_t"), Buffer(16, Where.ARENA, label="y_t")
    source = ADD_ONE.replace("y[i] = x[i] + a", "y[i] = y[i] + x[i]")
    body = [
        launch(source, (Ptr(wx), Ptr(bc), Float(0)), 4, (wx, bc), (bc,), chunk),
        Copy(Ptr(wy), Ptr(bc), 16),
    ]
    loop = Loop(5, body, (Step(wx, bx, 0, 16), Step(wy, by, 4 * 16, -16)))
    program = Program([loop], inputs=[bx, bc], outputs=[by])
    program.bind([xs, carry], [ys])
    program.run(threads=2)
    np.testing.assert_array_equal(ys[::-1], np.cumsum(xs, axis=0))
    np.testing.assert_array_equal(carry, xs.sum(0))


def test_nested_loops_with_a_window_on_a_window() -> None:
    x = np.arange(24, dtype="float32").reshape(2, 3, 4)
    y = np.zeros_like(x)
    bx, by = buffer(x, Where.INPUT, 0), buffer(y, Where.OUTPUT, 0)
    outer_x, outer_y, inner_x, inner_y = (Buffer(16, Where.ARENA, label=n) for n in ("ox", "oy", "ix", "iy"))
    inner = Loop(3, [add(inner_x, inner_y, 1.0, 4)], (Step(inner_x, outer_x, 0, 16), Step(inner_y, outer_y, 0, 16)))
    outer = Loop(2, [inner], (Step(outer_x, bx, 0, 48), Step(outer_y, by, 0, 48)))
    program = Program([outer], inputs=[bx], outputs=[by])
    program.bind([x], [y])
    program.run(steps=2)
    np.testing.assert_array_equal(y, x + 1)


def test_loop_of_no_trips_does_nothing() -> None:
    x = np.zeros(4, "float32")
    b = buffer(x, Where.INPUT, 0)
    program = Program([Loop(0, [add(b, b, 1.0, 4)]), add(b, b, 10.0, 4)], inputs=[b])
    program.bind([x])
    program.run()
    np.testing.assert_array_equal(x, np.full(4, 10.0))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("chunk", [64, 8])
def test_while_runs_until_its_condition_fails(threads: int, chunk: int) -> None:
    x, flag = np.zeros(64, "float32"), np.zeros(1, "uint8")
    bx, bf = buffer(x, Where.INPUT, 0), buffer(flag, Where.INPUT, 1)
    condition = launch(LESS, (Ptr(bx), Ptr(bf), Float(50.0)), 1, (bx,), (bf,))
    program = Program([While([condition], Ptr(bf), [add(bx, bx, 1.0, 64, chunk)])], inputs=[bx, bf])
    program.bind([x, flag])
    program.run(steps=3, threads=threads)
    np.testing.assert_array_equal(x, np.full(64, 50.0))


@pytest.mark.parametrize(("index", "expected"), [(0, 1.0), (1, 10.0), (2, 100.0), (9, 100.0), (-4, 1.0)])
@pytest.mark.parametrize("chunk", [32, 4])
def test_switch_takes_one_branch_and_clamps(index: int, expected: float, chunk: int) -> None:
    x, which = np.zeros(32, "float32"), np.array([index], "int32")
    bx, bi = buffer(x, Where.INPUT, 0), buffer(which, Where.INPUT, 1)
    branches = [[add(bx, bx, a, 32, chunk)] for a in (1.0, 10.0, 100.0)]
    program = Program([Switch(Ptr(bi), branches), add(bx, bx, 1000.0, 32)], inputs=[bx, bi])
    program.bind([x, which])
    program.run(threads=2)
    np.testing.assert_array_equal(x, np.full(32, expected + 1000))


@pytest.mark.parametrize("threads", [1, 2])
def test_status_stops_the_run_and_is_reset(threads: int) -> None:
    x, k, y = np.arange(64, dtype="float32"), np.arange(64, dtype="int32"), np.zeros(64, "float32")
    bx, bk, by = buffer(x, Where.INPUT, 0), buffer(k, Where.INPUT, 1), buffer(y, Where.OUTPUT, 0)
    status = Buffer(32, Where.CONST, data=np.zeros(4, np.int64), label="status")
    args = (Ptr(bx), Ptr(bk), Ptr(by), Ptr(status), Int(64))
    plan = [launch(CHECKED_TAKE, args, 64, (bx, bk), (by,), 8), add(bx, bx, 1.0, 64, 8)]
    program = Program(
        plan, inputs=[bx, bk], outputs=[by], status=status, explain_error=lambda s: f"index {s[2]} not below {s[3]}"
    )
    program.bind([x, k], [y])
    program.run(threads=threads)
    np.testing.assert_array_equal(y, np.arange(64))
    k[40] = 64
    with pytest.raises(KernelError, match="index 64 not below 64") as info:
        program.run(steps=100, threads=threads)
    assert info.value.status == (1, 77, 64, 64)
    np.testing.assert_array_equal(x, np.arange(64) + 2.0)  # one good run, one step of the bad one
    k[40] = 40
    program.run(threads=threads)
    np.testing.assert_array_equal(y, np.arange(64) + 2.0)
