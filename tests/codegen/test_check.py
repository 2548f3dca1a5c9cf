"""GRAPHKERAS_CHECK: right programs pass, a wrong kernel is named with its layer."""

from __future__ import annotations

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.check import CheckedProgram, CheckError, close
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu.handler import CpuHandler, Val
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Origin
from graphkeras.ir.types import TensorType


def graph() -> Graph:
    """(state + 1, sum of sqrt(x) * 2 along rows): the first output takes the place of `state`."""
    b = Builder()
    state = b.input(TensorType((4,), "float32"), "state")
    x = b.input(TensorType((4, 8), "float32"), "x")
    with b.origin(Origin("model/root")):
        root = b.emit("sqrt", x)
    with b.origin(Origin("model/double")):
        total = b.emit("reduce_sum", b.emit("mul", root, 2.0), axes=(1,), keepdims=False)
    return Graph([state, x], [b.emit("add", state, 1.0), total], name="step")


def run(steps: int = 3) -> list[np.ndarray]:
    with flags.CHECK(True):
        program = compile_graph(graph(), {0: 0})
    assert isinstance(program, CheckedProgram)
    state, x, total = np.zeros(4, "float32"), np.full((4, 8), 4.0, "float32"), np.zeros(4, "float32")
    program.bind([state, x], [state, total])
    program.run(steps)
    return [state, total]


def test_a_right_program_runs_all_its_steps() -> None:
    state, total = run(3)
    np.testing.assert_array_equal(state, np.full(4, 3.0))
    np.testing.assert_array_equal(total, np.full(4, 32.0))


def test_a_wrong_kernel_is_named_with_its_node_and_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    right = CpuHandler.sqrt
    monkeypatch.setattr(CpuHandler, "sqrt", lambda self, a: self.add(right(self, a), Val("float32(0.25)", "float32")))
    with pytest.raises(CheckError, match=r"output 1 .* First wrong value: %\d+ = sqrt in layer model/root") as info:
        run()
    assert "compiled 2.25, interpreted 2.0" in str(info.value)


def test_close_knows_dtypes_and_special_values() -> None:
    x = np.array([1.0, np.nan, np.inf], "float32")
    assert close(x, x.copy()) and not close(x, np.array([1.0, 0.0, np.inf], "float32"))
    assert close(x * np.float32(1.0001), x) and not close(x * np.float32(1.1), x)
    assert not close(np.array([1, 2]), np.array([1, 3]))
