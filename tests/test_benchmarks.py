"""The benchmark harness: figures, tables, comparisons, the page, and small real runs of graphkeras alone."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import ablate, compare, dynamic, models, ops, ops_ours, ops_peers, page, records, scale
from benchmarks.__main__ import main
from benchmarks.contestants import OURS, Contestant, contestants
from benchmarks.op_case import Case
from benchmarks.ops_cases import all_cases
from benchmarks.runner import Field, Runner, round_order
from benchmarks.workloads import build

TINY = models.Effort(rounds=1, train=0.01, predict=0.01, warm_fits=1, starts=1)


def sample_report() -> records.Report:
    """Figures of every suite, as a run would leave them."""
    both = [
        records.record("mlp32", OURS, step_s=[1.0e-3, 1.1e-3, 0.9e-3], predict_s=[2e-5] * 3, memory_bytes=1.3e8),
        records.record(
            "mlp32", "keras-jax", "a note <with> signs & such", step_s=[2.0e-3, 2.2e-3, 1.8e-3], memory_bytes=3e8
        ),
    ]
    kernel = [
        records.record("call 8", w, time_s=[t, t], share=0.5, gflops=1.0, gbs=2.0)
        for w, t in ((OURS, 1e-6), ("torch", 4e-6))
    ]
    return records.new_report() | {
        "suites": {
            "models": both,
            "ops": [records.record("machine", "machine", peak_gflops=400.0), *kernel],
            "compile": [records.record("mlp32", f"{OURS} cold", trace_s=0.1, kernels_s=2.0, kernels_count=19)],
            "memory": [records.record("mlp32", OURS, peak_bytes=1.2e8)],
            "ablate": [
                records.record("mlp32", OURS, step_s=[1e-3] * 3),
                records.record("mlp32", "no fusion", step_s=[2e-3] * 3, off_ratio=[2.0, 2.1, 1.9]),
            ],
            "dynamic": [
                records.record("newton", OURS, call_s=[1e-4] * 3, first_s=0.5, paths_count=3, traces_count=3),
                records.record("newton", f"{OURS} eager", call_s=[2e-3] * 3),
            ],
            "scale": [records.record(f"batch {n}", OURS, step_s=1e-5 * n) for n in (1, 4, 16)],
        }
    }


# -- figures and tables ---------------------------------------------------------------------------------
def test_figures() -> None:
    f = records.figure([3.0, 1.0, 2.0, 4.0, 5.0])
    assert (f["median"], f["min"]) == (3.0, 1.0)
    assert f["noise"] == pytest.approx(1.0 / 3.0)  # quartiles at 2 and 4
    assert records.figure(7)["noise"] == 0.0


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1.234e-5, "s", "12.3 us"),
        (0.0125, "s", "12.5 ms"),
        (2.5, "s", "2.5 s"),
        (1234.0, "s", "1234 s"),
        (3 * 2**20, "bytes", "3.0 MB"),
        (0.4567, "share", "46 %"),
        (float("nan"), "s", "-"),
    ],
)
def test_figures_in_words(value: float, unit: str, words: str) -> None:
    assert records.si(value, unit) == words


def test_table_columns_align() -> None:
    text = records.table(("name", "value"), [("a", "1"), ("longer", "1234567")])
    head, rule, first, second = text.splitlines()
    assert head == "name      value"
    assert rule == "------  -------"
    assert first == "a             1"
    assert second == "longer  1234567"


def test_best_peer_is_the_fastest_other() -> None:
    rows = {w: records.record("c", w, step_s=t) for w, t in ((OURS, 1.0), ("keras-jax", 3.0), ("keras-torch", 2.0))}
    assert records.best_peer(rows, "step_s") == ("keras-torch", 2.0)
    name, value = records.best_peer({OURS: rows[OURS]}, "step_s")
    assert name == "" and math.isnan(value)


def test_tables_of_all_suites_show_the_notes_and_ratios() -> None:
    suites = sample_report()["suites"]
    text = models.text(suites["models"])
    assert "2.00" in text and "! mlp32: a note <with>" in text
    assert "4.00" in ops.text(suites["ops"])
    assert "2.00*" in ablate.text(suites["ablate"])
    assert "20.0" in dynamic.text(suites["dynamic"])
    assert "1.00" in scale.text(suites["scale"])  # cost grows as the batch


# -- order ----------------------------------------------------------------------------------------------
def test_rounds_have_no_fixed_first() -> None:
    names = ["a", "b", "c"]
    firsts = [round_order(names, k)[0] for k in range(6)]
    assert {firsts.count(n) for n in names} == {2}
    assert all(sorted(round_order(names, k)) == names for k in range(6))
    assert round_order([], 3) == []


def test_a_contestant_that_fails_leaves_a_note() -> None:
    field = Field()
    broken = Contestant("broken", sys.executable, "no_such_framework")
    field.enter("broken", lambda: Runner(broken, broken.module, "mlp32"))
    assert not field.runners
    assert "no_such_framework" in field.notes["broken"]


# -- comparison -----------------------------------------------------------------------------------------
def scaled(report: records.Report, suite: str, name: str, factor: float, who: str = OURS) -> records.Report:
    made = copy.deepcopy(report)
    for r in made["suites"][suite]:
        if r["who"] == who and name in r["figures"]:
            r["figures"][name] = records.figure([v * factor for v in r["figures"][name]["samples"]])
    return made


@pytest.mark.parametrize(
    ("suite", "name", "factor", "verdict"),
    [
        ("models", "memory_bytes", 1.2, "worse"),
        ("models", "memory_bytes", 0.8, "better"),
        ("models", "memory_bytes", 1.02, ""),
        ("models", "predict_s", 1.2, "worse"),
        ("models", "step_s", 1.2, ""),  # its samples vary by more
        ("models", "step_s", 3.0, "worse"),
        ("ops", "gflops", 0.5, "worse"),  # more is better
        ("ops", "gflops", 2.0, "better"),
        ("ops", "time_s", 1.2, ""),  # two samples say little
        ("ablate", "off_ratio", 2.0, ""),  # neither good nor bad
    ],
)
def test_changes_beyond_the_noise_are_flagged(suite: str, name: str, factor: float, verdict: str) -> None:
    old = sample_report()
    who = "no fusion" if suite == "ablate" else OURS
    found = list(compare.changes(old, scaled(old, suite, name, factor, who)))
    scaled_ones = [c for c in found if c.suite == suite and c.name == name and c.ratio != 1]
    assert scaled_ones and {c.verdict for c in scaled_ones} == {verdict}
    assert not any(c.verdict for c in found if c not in scaled_ones)


def test_regressions_count_ours_only() -> None:
    old = sample_report()
    assert compare.regressions(old, scaled(old, "models", "memory_bytes", 2.0)) == 1
    assert compare.regressions(old, scaled(old, "models", "memory_bytes", 2.0, "keras-jax")) == 0
    assert "1 worse, 0 better" in compare.text(old, scaled(old, "models", "memory_bytes", 2.0))


def test_another_machine_is_said() -> None:
    old, new = sample_report(), sample_report()
    new["host"]["cpu"] = "something else"
    assert any("other cpu" in w for w in compare.warnings(old, new))
    assert not compare.warnings(old, sample_report())


# -- the page -------------------------------------------------------------------------------------------
def test_page_is_well_formed_and_alone() -> None:
    report = sample_report()
    text = page.page(report, report)
    root = ElementTree.fromstring(text.split("\n", 1)[1])
    names = [e.tag.rsplit("}", 1)[-1] for e in root.iter()]
    assert names.count("svg") >= 7
    assert not {"script", "link", "img"} & set(names)
    assert "http" not in text.replace("http://www.w3.org/", "")
    for r in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(r.get("width", "nan")) >= 0


def test_plots_stay_in_their_frames() -> None:
    root = ElementTree.fromstring(page.page(sample_report()).split("\n", 1)[1])
    space = "{http://www.w3.org/2000/svg}"
    for svg in root.iter(f"{space}svg"):
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for r in svg.iter(f"{space}rect"):
            x, y, w, h = (float(r.attrib[k]) for k in ("x", "y", "width", "height"))
            assert 0 <= x <= x + w <= width and 0 <= y <= y + h <= height
        for c in svg.iter(f"{space}circle"):
            assert 0 <= float(c.attrib["cx"]) <= width and 0 <= float(c.attrib["cy"]) <= height


# -- real runs ------------------------------------------------------------------------------------------
def test_models_measures_graphkeras_alone() -> None:
    (row,) = models.measure("mlp32", TINY, contestants([OURS]))
    assert row["note"] == ""
    assert {"step_s", "predict_s", "memory_bytes", "first_step_s", "cold_first_step_s", "import_s"} <= set(
        row["figures"]
    )
    assert 0 < records.median(row, "step_s") < 1
    assert 10 * 2**20 < records.median(row, "memory_bytes") < 2**32
    assert records.median(row, "first_step_s") < records.median(row, "cold_first_step_s")
    assert "mlp32" in models.text([row])


@pytest.mark.parametrize("sweep", scale.NAMES)
def test_sweeps_are_workloads(sweep: str) -> None:
    import graphkeras

    pattern, sizes = scale.SWEEPS[sweep]
    work = build(graphkeras, pattern.format(sizes[1]))
    assert work.steps >= 5
    assert len(work.x) == len(work.y) == work.steps * work.batch_size
    assert sizes[1] in (
        work.batch_size,
        work.x.shape[1],
        len(work.model.layers) - 1,
        work.model.layers[0].get_config().get("units"),
    )


SMALL = [c for c in all_cases() if c.name in ("call 8", "softmax 32x10", "sum_columns 32x256", "dot_tn 784x32x256")]
SMALL += [c for c in all_cases() if c.name in ("dot_tn 100x17x33x65", "dense_residual 32x784x256", "top_k 32x1000")]
SMALL += [c for c in all_cases() if c.name in ("argmax_rows 12800x10", "dot_tt 127x255x511", "dense_relu 32x784x256")]
SMALL += [Case("table_adam", "small", ((900, 80),) * 3 + ((30, 80), (30,)), 1.0, 1.0, 900)]
SMALL += [Case("adam", "100", ((100,),) * 4, 1400.0, 2800.0), Case("gather", "7", ((9, 4), (7,)), 0.0, 252.0, 9)]


@pytest.mark.parametrize("case", SMALL, ids=lambda c: c.name)
def test_ops_compute_what_numpy_computes(case: Case) -> None:
    prepared = ops_peers.prepare("numpy", case)
    assert prepared is not None
    run, result = ops_ours.prepare(case)
    run()
    np.testing.assert_allclose(result(), prepared[1](), rtol=1e-4, atol=1e-4)


def test_limits_of_the_machine() -> None:
    from graphkeras.codegen.cpu import roof

    assert roof.flops_peak(1, tries=1, seconds=0.001) > 1e8
    assert roof.copy_peak(1, tries=1, nbytes=1 << 20) > 1e8
    limits = roof.Roof(1e9, 2e9, 1e9, 1e9)
    assert limits.share(flops=1e9, nbytes=1e8, seconds=1.0) == pytest.approx(0.5)
    assert limits.share(flops=1e8, nbytes=1e9, seconds=2.0) == pytest.approx(0.5)


def test_compile_suite_times_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, html = tmp_path / "new.json", tmp_path / "report.html"
    assert main(["compile", "mlp32", "--quick", "--out", str(out), "--html", str(html)]) == 0
    assert main(["show", str(out), "--compare", str(out)]) == 0
    assert "0 worse" in capsys.readouterr().out
    ElementTree.fromstring(html.read_text().split("\n", 1)[1])
    cold, warm = json.loads(out.read_text())["suites"]["compile"]
    assert all(
        records.median(cold, f"{s}_s") > 0 for s in ("trace", "optimise", "fuse", "lower", "plan", "kernels", "load")
    )
    assert records.median(cold, "compiled_count") > 5
    assert records.median(warm, "compiled_count") == 0
