"""What people see of a compile: tables, debug levels, dump folders, switched-off stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen import flags, report
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.program import Program
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.types import TensorType


def small_graph() -> Graph:
    """Row sums of (x + 1) * 3, the three as a sum of constants."""
    b = Builder()
    x = b.input(TensorType((8, 16), "float32"), "x")
    three = b.emit("add", b.const(1.0, "float32"), 2.0)
    y = b.emit("reduce_sum", b.emit("mul", b.emit("add", x, 1.0), three), axes=(1,), keepdims=False)
    return Graph([x], [y], name="rows")


def run(program: Program) -> np.ndarray:
    x, y = np.ones((8, 16), "float32"), np.zeros(8, "float32")
    program.bind([x], [y])
    program.run(3)
    return y


def test_explain_and_timings_name_kernels() -> None:
    program = compile_graph(small_graph())
    text = report.explain(program)
    assert text.startswith("rows\nkernel") and all(k.name in text for k in program.kernels)
    assert f"{len(program.kernels)} kernels" in text
    program.keep_profile()
    np.testing.assert_array_equal(run(program), np.full(8, 96.0))
    assert all(seconds > 0 for seconds in program.measured())
    assert "GB/s" in report.timings(program)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0, ""),
        (1, "compiled rows"),
        (3, "kernel"),
        (4, "def kernel("),
        (5, "after fold: graph"),
        (6, "-> <%"),
        (7, "define void @gk_"),
    ],
)
def test_debug_levels(level: int, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with flags.DEBUG(level):
        compile_graph(small_graph())
    text = capsys.readouterr().err
    assert expected in text and bool(text) == (level > 0)


def test_dump_writes_a_folder_per_compile(tmp_path: Path) -> None:
    with flags.DUMP(tmp_path):
        program = compile_graph(small_graph())
        compile_graph(small_graph())
    first, second = sorted(tmp_path.iterdir())
    assert first.name.endswith("-rows") and second.name.endswith("-rows")
    assert "add(%0, %1)" in (first / "ir_0_traced.txt").read_text()
    assert [p.name for p in sorted(first.glob("ir_[12]_*.txt"))] == ["ir_1_fold.txt", "ir_2_algebra.txt"]
    assert (first / "plan.txt").read_text() == report.explain(program) + "\n"
    sources = {p.read_text() for p in (first / "kernels").iterdir()}
    assert sources == {k.source for k in program.kernels}


def test_passes_can_be_switched_off_by_name() -> None:
    fused = compile_graph(small_graph())
    with flags.PASSES("-fuse,-algebra,-fold"):
        plain = compile_graph(small_graph())
    assert len(plain.kernels) > len(fused.kernels)
    np.testing.assert_array_equal(run(plain), run(fused))
    message = r"expected stages among .*fuse, .*winograd, or rules among .*; received fusion"
    with flags.PASSES("-fusion"), pytest.raises(ValueError, match=message):
        compile_graph(small_graph())
