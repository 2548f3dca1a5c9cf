"""A planted wrong rule is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen import flags, repro
from graphkeras.codegen.compile import compile_graph
from graphkeras.ir import bisect
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Node
from graphkeras.ir.passes import pipeline
from graphkeras.ir.passes.rewrite import Rule, rule
from graphkeras.ir.printer import equal
from graphkeras.ir.types import TensorType


@rule("tanh")
def planted(b: Builder, n: Node) -> Node | None:
    """Wrong on purpose."""
    return b.sin(n.inputs[0])


def graph() -> Graph:
    b = Builder()
    x = b.input(TensorType((5,), "float32"), "x")
    table = b.const(np.arange(5 * 8, dtype=np.float32).reshape(8, 5))
    product = b.dot_general(table, b.tanh(b.mul(x, 2.0)), contract=((1,), (0,)), batch=((), ()))
    return Graph([x], [product, b.add(x, 1.0)], "planted")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pipeline._rules

    def rules(stage: str) -> tuple[Rule, ...]:
        return (*before(stage), planted) if stage == "algebra" else before(stage)

    monkeypatch.setattr(pipeline, "_rules", rules)
    pipeline._active.cache_clear()
    yield
    pipeline._active.cache_clear()


def test_rule_is_found_by_the_interpreter(plant: None) -> None:
    found = bisect.find_in_passes(graph(), bisect.sample_inputs(graph()))
    assert found == ("algebra", "planted")
    assert "GRAPHKERAS_PASSES=-planted" in str(found)


def test_rule_is_found_from_a_dump(plant: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with flags.DUMP(tmp_path):
        compile_graph(graph())
    (folder,) = tmp_path.iterdir()
    assert sorted(p.name for p in folder.glob("ir_*.txt")) == ["ir_0_traced.txt", "ir_1_algebra.txt"]
    assert equal(bisect.load(folder), graph())
    assert repro.main(folder) == 1
    assert "rule 'planted' of stage 'algebra'" in capsys.readouterr().out
    assert bisect.main([str(folder)]) == 1
    assert "rule 'planted'" in capsys.readouterr().out
    with flags.PASSES("-planted"):
        assert repro.main(folder) == 0


def test_nothing_to_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bisect.find_in_passes(graph(), bisect.sample_inputs(graph())) is None
    with flags.DUMP(tmp_path):
        compile_graph(graph(), {1: 0})
    (folder,) = tmp_path.iterdir()
    assert repro.main(folder) == 0 and bisect.main([str(folder)]) == 0


def test_two_stages_at_fault_is_nobody() -> None:
    assert bisect.find(lambda off: True) is None
    assert bisect.find(lambda off: "fuse" not in off, extra=("fuse",)) == ("fuse", None)
