"""The kernel language against Python itself: operators, control flow, names that change their type."""

from __future__ import annotations

import ctypes
import itertools
import textwrap

import numpy as np
import pytest

from graphkeras.codegen.cpu import compiler, target

HEAD = "from graphkeras.codegen.cpu.support import *\n\n\n"


def compiled(source: str):
    symbol = compiler.symbol_of(source)
    (address,) = target.load_objects([(symbol, compiler.compile_object(source))])
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(None, word, word, word)(address)


def run(body: str, out: np.ndarray, *arrays: np.ndarray, lo: int = 0, hi: int = 1) -> np.ndarray:
    """Run statements on `y` (the result) and x0, x1 ... with one pointer each."""
    lines = [f"y = ptr_{out.dtype}(args, 0)"]
    lines += [f"x{k} = ptr_{a.dtype}(args, {k + 1})" for k, a in enumerate(arrays)]
    text = "\n".join([*lines, textwrap.dedent(body)])
    table = np.array([a.ctypes.data for a in (out, *arrays)], np.int64)
    compiled(HEAD + "def kernel(args, lo, hi):\n" + textwrap.indent(text, "    ") + "\n")(table.ctypes.data, lo, hi)
    return out


NUMBERS = np.array([0, 1, 2, 3, 7, -1, -2, -7, 12345678901, -(2**62)], np.int64)


@pytest.mark.parametrize("op", ["+", "-", "*", "//", "%", "&", "|", "^", "<", "<=", ">", ">=", "==", "!="])
def test_integers_as_in_python(op: str) -> None:
    pairs = [p for p in itertools.product(NUMBERS.tolist(), repeat=2) if op not in ("//", "%") or p[1] != 0]
    left, right = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    got = run(
        f"for i in range(lo, hi):\n    y[i] = int64(x0[i] {op} x1[i])", np.zeros_like(left), left, right, hi=len(pairs)
    )
    want = [(int(eval(f"a {op} b")) + 2**63) % 2**64 - 2**63 for a, b in pairs]
    assert got.tolist() == want


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "uint64"])
def test_shifts_and_unary_operators_by_sign(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.array([0, 1, 5, info.max, info.min, info.max // 3], dtype)
    got = run(
        f"for i in range(lo, hi):\n    y[i] = {dtype}({dtype}(~x0[i]) >> {dtype}(2))", np.zeros_like(x), x, hi=len(x)
    )
    assert got.tolist() == (~x >> 2).tolist()


def test_min_max_and_abs() -> None:
    x, z = NUMBERS, NUMBERS[::-1].copy()
    body = "for i in range(lo, hi):\n    y[i] = min(x0[i], x1[i]) + max(int32(3), i) * abs(i - 4)"
    got = run(body, np.zeros_like(x), x, z, hi=len(x))
    assert got.tolist() == [min(a, b) + max(3, i) * abs(i - 4) for i, (a, b) in enumerate(zip(x, z, strict=True))]


FLOWS = {
    "while": "t = 0\nk = 10\nwhile k > 0:\n    k -= 3\n    if k == 4:\n        continue\n    t += k\ny[0] = t",
    "break": "found = -1\nfor i in range(20):\n    if i * i > 50:\n        found = i\n        break\ny[0] = found",
    "down": "total = 0\nfor i in range(9, -1, -2):\n    total = total * 3 + i\ny[0] = total",
    "strides": "total = 0\nstep = 4\nfor i in range(1, 30, step):\n    total += i\ny[0] = total * 100 + i",
    "empty": "total = 5\nfor i in range(3, 3):\n    total = 0\ny[0] = total",
    "endless": "k = 0\nwhile True:\n    k += 1\n    if k > 6:\n        y[0] = k\n        return",
    "choice": "y[0] = (7 if y[0] == 0 else 8) + (1 if y[0] != 0 else 2)",
    "guarded": "n = 0\nif n != 0 and 10 // n > 2 or n == 0 and not n > 1:\n    n = 9\ny[0] = n",
    "nested": "t = 0\nfor i in range(5):\n    for k in range(i):\n        if k % 2:\n            continue\n"
    "        t += k\ny[0] = t",
}


@pytest.mark.parametrize("name", FLOWS)
def test_control_flow_as_in_python(name: str) -> None:
    space = {"y": [0]}
    text = "def f(y):\n" + textwrap.indent(FLOWS[name], "    ")
    exec(text, space)
    space["f"](space["y"])
    assert run(FLOWS[name], np.zeros(1, np.int64)).tolist() == space["y"]


def test_what_stands_right_of_and_is_read_only_where_the_left_holds() -> None:
    x = np.array([1, 2, 3], np.int64)
    body = "k = 0\nwhile k < 3 and x0[k] > 0:\n    k += 1\ny[0] = k"
    assert run(body, np.zeros(1, np.int64), x).tolist() == [3]


def test_a_name_takes_the_type_that_holds_both_of_its_ways() -> None:
    body = "v = int32(5)\nfor i in range(3):\n    v = v * 1000000007\ny[0] = v"
    want = 5
    for _ in range(3):
        want = (want * 1000000007 + 2**63) % 2**64 - 2**63
    assert run(body, np.zeros(1, np.int64)).tolist() == [want]
    body = "if hi > 0:\n    v = float32(0.5)\nelse:\n    v = 3\ny[0] = v"
    assert run(body, np.zeros(1, np.float64)).tolist() == [0.5]


def test_a_name_may_be_used_again_for_something_else() -> None:
    x, z = np.arange(4.0), np.arange(4, 8).astype(np.int64)
    body = "p = shift(x0, 1)\na = p[0]\np = shift(x1, 2)\nfor i in range(2):\n    q = i\n    q = x0[q]\n    a += q\n"
    body += "y[0] = a + p[0]"
    assert run(body, np.zeros(1), x, z).tolist() == [1.0 + 1.0 + 6]


@pytest.mark.parametrize(
    "body, message",
    [
        ("y[0] = nothing", "line 6: the name 'nothing' is not defined"),
        ("y[0] = [1][0]", "no List"),
        ("y[0] = int64(x) if lo else y", "'x' is not defined"),
        ("with y:\n    pass", "no With"),
        ("for i in [1, 2]:\n    y[0] = i", "loops go over range"),
        ("y[0] = uint64(y[0]) + 1", "no common integer type"),
        ("v = y\nif lo:\n    v = 1\ny[0] = v", "depending on the way"),
        ("y[0] = 1.5", "only by a cast"),
        ("y.x = 1", "cannot assign"),
        ("y[0] = fabs(1)", "fabs does not take"),
        ("y[0] = min(1.0, 2.0)", "use minimum"),
    ],
)
def test_what_the_language_does_not_have_is_refused(body: str, message: str) -> None:
    with pytest.raises(compiler.CompileError, match=message):
        run(body, np.zeros(1, np.int64))
