"""The benchmark tool as its user meets it: kernels against the roof, targets, ablation, interruption, bad arguments."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as tool
from benchmarks import ablate, compiling, contestants, models, page, plots, records, roofs, shape_worker, workloads
from benchmarks.contestants import OURS

MACHINE = records.record("machine", "machine", peak_gflops=100.0, copy_gbs=10.0)


def kernel(name: str, seconds: float, flops: float = 0.0, nbytes: float = 0.0) -> dict:
    layers = ("dense", "loss")
    return dict(layer="dense", phase="forward", kernel=name, seconds=seconds, flops=flops, nbytes=nbytes, layers=layers)


def step() -> list[dict]:
    kernels = [kernel("product", 3e-3, 150e6, 1e6), kernel("copy", 1e-3, 0.0, 8e6), kernel("tiny", 1e-5, 1.0, 1.0)]
    return roofs.with_shares(kernels, MACHINE)


# -- kernels against the roof ---------------------------------------------------------------------------
def test_shares_of_the_machine() -> None:
    product, copy, _ = step()
    assert product["flops_share"] == pytest.approx(0.5) and product["bytes_share"] == pytest.approx(1 / 30)
    assert copy["flops_share"] == 0 and copy["bytes_share"] == pytest.approx(0.8)
    assert sum(k["time_share"] for k in step()) == pytest.approx(1)
    whole = roofs.summary(step())
    assert whole["kernels_s"] == pytest.approx(4.01e-3)
    assert whole["roof_share"] == pytest.approx((0.5 * 3 + 0.8) / 4.01, rel=1e-3)


def test_a_kernel_without_work_or_time_has_no_rates() -> None:
    (made,) = roofs.with_shares([kernel("nothing", 0.0, 1.0, 1.0)], MACHINE)
    assert "flops_share" not in made and made["time_share"] == 0
    assert "nothing" in roofs.text("case", [made | {"time_share": 1.0}])


def test_the_table_of_kernels() -> None:
    lines = roofs.text("mlp32", step()).splitlines()
    assert lines[0].split() == "kernels of mlp32 layers phase time of step GFLOP/s of peak GB/s of copies".split()
    (product,) = (x for x in lines if x.startswith("product"))
    assert product.split()[-4:] == ["50.0", "50", "%", "0.3", "3", "%"][-4:] and "3 ms" in product
    assert any(x.startswith("1 more") for x in lines)
    assert "dense, loss" in product


def test_kernels_of_one_name_are_one_line() -> None:
    kernels = [kernel("conv", 1e-3, 50e6, 1e6), kernel("conv", 3e-3, 50e6, 1e6), kernel("copy", 1e-3, 0.0, 8e6)]
    (both, copy), others = roofs.shown(roofs.with_shares(kernels, MACHINE))
    assert (both["count"], copy["count"], others) == (2, 1, 0)
    assert both["seconds"] == pytest.approx(4e-3) and both["time_share"] == pytest.approx(0.8)
    assert both["flops_s"] == pytest.approx(100e6 / 4e-3) and both["flops_share"] == pytest.approx(0.25)
    assert roofs.title(both) == "conv (2)" and roofs.title(copy) == "copy"


def test_a_run_of_models_records_the_kernels_and_the_page_shows_them(tmp_path: Path) -> None:
    out, html = tmp_path / "new.json", tmp_path / "page.html"
    arguments = ["models", "mlp32", "--quick", "--only", OURS, "--out", str(out), "--html", str(html)]
    assert tool.main(arguments) == 0
    machine, ours = json.loads(out.read_text())["suites"]["models"]
    assert machine["case"] == "machine" and records.median(machine, "peak_gflops") > 0
    assert len(ours["kernels"]) > 10
    for k in ours["kernels"]:
        assert k["seconds"] > 0 and k["flops_share"] >= 0 and k["bytes_share"] > 0
    assert {"kernels_s", "roof_share"} <= set(ours["figures"])
    root = ElementTree.fromstring(html.read_text().split("\n", 1)[1])
    tables = [e for e in root.iter("{http://www.w3.org/1999/xhtml}details")]
    assert (
        len(tables) == 1 and len(list(tables[0].iter("{http://www.w3.org/1999/xhtml}tr"))) == len(ours["kernels"]) + 1
    )


# -- the tool -------------------------------------------------------------------------------------------
def test_what_was_measured_before_an_interruption_is_kept(tmp_path: Path, monkeypatch, capsys) -> None:
    def run(names, effort, only=()):
        yield [MACHINE]
        yield [records.record("mlp32", OURS, step_s=[1e-3] * 3)]
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "run", run)
    out, html = tmp_path / "new.json", tmp_path / "page.html"
    assert tool.main(["models", "--out", str(out), "--html", str(html), "--only", OURS]) == 130
    report = json.loads(out.read_text())
    assert report["interrupted"] and [r["case"] for r in report["suites"]["models"]] == ["machine", "mlp32"]
    assert "interrupted" in html.read_text() and "interrupted" in capsys.readouterr().out
    assert tool.main(["show", str(out)]) == 0
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "mlp33"], "no case mlp33; expected some of mlp32"),
        (["models", "--only", "keras-nobody"], "no contestant keras-nobody; here are graphkeras"),
        (["compile", "--rounds", "-1"], "expected a positive number; received -1"),
        (["compile", "--compare", "no such file"], "cannot read no such file"),
        (["show", "pyproject.toml"], "cannot read pyproject.toml"),
        (["compile", "--html", "no/such/folder/page.html"], "--html: no folder"),
    ],
)
def test_bad_arguments_are_said_before_anything_is_measured(arguments, message, monkeypatch) -> None:
    monkeypatch.chdir(contestants.ROOT)
    with pytest.raises(SystemExit, match=message):
        tool.main(arguments)


def test_a_planted_regression_is_found(tmp_path: Path, capsys) -> None:
    def report(seconds: float, name: str) -> str:
        path = tmp_path / name
        rows = [MACHINE, records.record("mlp32", OURS, step_s=[seconds, seconds * 1.01, seconds * 0.99])]
        records.write(records.new_report() | {"suites": {"models": rows}}, path)
        return str(path)

    old, new = report(1e-3, "old.json"), report(1.5e-3, "new.json")
    assert tool.main(["show", new, "--compare", old]) == 2
    said = capsys.readouterr().out
    assert "models mlp32" in said and "1.50" in said and "worse" in said
    assert tool.main(["show", old, "--compare", new]) == 0


def test_groups_of_workloads() -> None:
    assert workloads.chosen([]) == list(workloads.WORKLOADS)
    assert workloads.chosen(["more"]) == list(workloads.MORE)
    assert workloads.chosen(["mlp32", "all"])[:2] == ["mlp32", "mlp128"]
    assert set(workloads.chosen(["all"])) == {*workloads.WORKLOADS, *workloads.MORE}


@pytest.mark.parametrize("name", workloads.MORE)
def test_other_models_are_workloads(name: str) -> None:
    import graphkeras

    work = workloads.build(graphkeras, name)
    assert work.steps >= 6 and len(work.y) == work.steps * work.batch_size
    spec = graphkeras.KerasTensor
    inputs = {k: spec((None, *v.shape[1:]), v.dtype.name) for k, v in work.x.items()} if name == "table256" else None
    shape = work.model.compute_output_shape(work.rows(2).shape) if inputs is None else work.model(inputs).shape
    assert shape[0] in (2, None)
    assert len(work.rows(3)["numbers"] if isinstance(work.x, dict) else work.rows(3)) == 3


# -- suites ---------------------------------------------------------------------------------------------
def test_ablation_covers_every_stage() -> None:
    from graphkeras.codegen.flags import KERNEL_STAGES, PASSES
    from graphkeras.ir.passes.pipeline import DOCS

    off = {v.name: dict(v.environment).get("GRAPHKERAS_PASSES", "") for v in ablate.variants()}
    for stage in {*DOCS, *KERNEL_STAGES} - {"decompose"}:
        assert off[f"no {stage}"] == f"-{stage}"
        assert PASSES.parse(off[ablate.EVERYTHING]) >= {stage}
    assert {ablate.ONE_THREAD, ablate.PER_BATCH} <= set(off)


def test_ablation_tells_equal_programs_from_unmeasured_ones() -> None:
    rows = [
        records.record("mlp32", OURS, step_s=[1e-3] * 3),
        records.record("mlp32", "no fuse", step_s=[2e-3] * 3, off_ratio=[2.0, 2.0, 2.1]),
        records.record("mlp32", "no winograd") | {"same": True},
        records.record("mlp32", "no layout", "it failed"),
    ]
    text = ablate.text(rows)
    cells = {line.split("  ")[0]: line.split()[-1] for line in text.splitlines() if line.startswith("no ")}
    assert cells == {"no fuse": "2.00*", "no winograd": "=", "no layout": "-"}
    assert "it failed" in text


@pytest.mark.parametrize(
    ("samples", "known"),
    [
        ([2.0, 2.1, 1.9], True),
        ([0.9, 0.91, 0.89], True),
        ([0.7, 0.96, 0.66], False),  # a disturbed round
        ([1.01, 1.012, 1.011], False),  # too little
        ([1.5, 1.4, 0.99], False),
        ([2.0, 2.0], False),  # too few
    ],
)
def test_only_ratios_beyond_their_noise_are_marked(samples, known) -> None:
    assert ablate.is_known(records.figure(samples)) is known


def test_targets_are_judged() -> None:
    rows = [
        records.record("resnet50", compiling.COLD, process_s=8.0),
        records.record("resnet50", compiling.WARM, process_s=4.0),
        records.record("lengths_lstm", OURS, new_compiled_count=0.0, new_s=[0.1], seen_s=[0.01], first_s=2.0),
    ]
    met = {line.split()[0] for line in compiling.verdicts(rows) if "cold" in line or "lstm" in line}
    assert met == {"met"}
    (missed,) = [line for line in compiling.verdicts(rows) if line.startswith("MISSED")]
    assert "warm" in missed and "4 s" in missed
    assert len(compiling.verdicts(rows)) == 3


def test_loops_have_twenty_shapes_and_a_name() -> None:
    assert set(shape_worker.LOOPS) == set(compiling.LOOPS) <= set(compiling.names())
    for sizes in shape_worker.LOOPS.values():
        assert len(set(sizes)) == len(sizes) == 20


def test_a_loop_over_lengths_compiles_nothing() -> None:
    (row,) = compiling.measure_loop("lengths_text")
    assert row["note"] == ""
    assert records.median(row, "first_compiled_count") > 5
    assert records.median(row, "new_compiled_count") == records.median(row, "seen_compiled_count") == 0
    assert len(row["figures"]["new_s"]["samples"]) == 19


# -- plots ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("high", [0.003, 0.9, 1.0, 7.3, 42.0, 305.0])
def test_ticks_are_few_and_round(high: float) -> None:
    found = plots.ticks(high)
    assert found[0] == 0 and found[-1] <= high * 1.001 and 3 <= len(found) <= 7


def test_nothing_is_told_by_colour_alone() -> None:
    both = {"a": {"one": (1.0, 0.1), "two": (2.0, 0.0)}}
    assert "1 x one" in plots.bars("t", both, "x") and "2 x two" in plots.bars("t", both, "x")
    drawn = plots.lines("t", {w: [(1, 1e-3), (10, 1e-2)] for w in ("one", "two", "three")}, "batch", "time")
    root = ElementTree.fromstring(drawn)
    words = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"one", "two", "three", "batch", "time"} <= set(words) and any(w.endswith("ms") for w in words)
    dashes = [e.get("stroke-dasharray") for e in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(set(dashes)) == 3
    stacked = ElementTree.fromstring(plots.stacks("t", {"row": {"first": 5.0, "second": 4.0}}, "s"))
    words = [e.text for e in stacked.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1", "2", "1 first", "2 second", "9 s"} <= set(words)


def test_the_page_has_a_light_and_a_dark_face() -> None:
    text = page.page(records.new_report() | {"suites": {"models": [MACHINE]}})
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text
    assert text.count(".c0{fill:") == 2


def test_single_kernels_are_chosen_by_kind_or_by_a_part_of_their_name() -> None:
    from benchmarks import ops

    assert {c.kernel for c in ops.chosen_cases(["dot_nn"])} == {"dot_nn"}
    grouped = ops.chosen_cases(["groups 32"])
    assert grouped and all("groups 32" in c.name for c in grouped)
    assert ops.knows("softmax") and ops.knows("3x3x3x32") and not ops.knows("no such case")
