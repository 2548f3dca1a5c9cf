"""What can be tested of `python -m benchmarks.gpu` without a GPU: cases, targets, the report, and small real runs."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import records
from benchmarks.contestants import OURS
from benchmarks.gpu import cases, checks, contestants, kernels, models, ours, targets, training
from benchmarks.gpu.__main__ import SUITES, main
from benchmarks.gpu.contestants import Here, OnDevice
from benchmarks.gpu.report import line, summary
from benchmarks.runner import last_words

TINY = kernels.Effort(rounds=2, seconds=0.002, patience=120.0, sizes="tiny")
US_ALONE = Here("cpu", [OnDevice(OURS, sys.executable, OURS, device="cpu")], {}, {})


# -- cases ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sizes", cases.SIZES)
@pytest.mark.parametrize("suite", cases.NAMES)
def test_cases_are_told_apart_and_cost_something(suite: str, sizes: str) -> None:
    found = cases.cases(suite, sizes)
    assert len({c.name for c in found}) == len(found) >= 6
    assert all(c.nbytes > 0 and (c.flops > 0) == (suite != "memory") for c in found)
    assert cases.find(suite, sizes, found[-1].name) is found[-1]


def test_full_sizes_are_those_of_the_targets() -> None:
    labels = {(c.case.kernel, c.case.label, c.numbers) for c in cases.cases("products", "full")}
    for n in (512, 1024, 2048, 4096, 8192):
        for form in ("nn", "tn", "nt", "tt"):
            for numbers in (cases.BFLOAT, cases.HALF, cases.TF32, cases.FLOAT):
                assert (f"dot_{form}", f"{n}x{n}x{n}", numbers) in labels
    kinds = [c.case.kernel for c in cases.cases("convolutions", "full")]
    assert kinds.count("conv") == kinds.count("conv_input_grad") == kinds.count("conv_kernel_grad") > 40
    streamed = [c for c in cases.cases("memory", "full") if c.case.kernel != "gather"]
    assert min(c.nbytes for c in streamed) > 60e6  # more than a cache holds


def test_half_dtypes_move_half_of_the_bytes() -> None:
    full, half = (c for c in cases.cases("memory", "full") if c.case.kernel == "softmax")
    assert (full.nbytes, half.nbytes) == (2 * 8192 * 4096 * 4, 2 * 8192 * 4096 * 2)


def _reference(case: cases.KernelCase) -> np.ndarray:
    x, *more = (a.astype(np.float64) for a in case.arrays())
    kernel = case.case.kernel
    if kernel == "negate":
        return -x
    if kernel == "transpose":
        return x.T
    if kernel == "gelu_residual":
        y = x + more[0]
        return 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))) + more[1]
    p = dict(case.case.parameters)
    scores = np.einsum("bthd,bshd->bhts", x, more[0]) * p["scale"]
    if p["causal"]:
        scores = np.where(np.tri(scores.shape[2], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshd->bthd", weights / weights.sum(-1, keepdims=True), more[1])


OWN = [c for s in ("memory", "attention") for c in cases.cases(s, "tiny") if c.case.kernel in ours._GRAPHS]


@pytest.mark.parametrize("case", [c for c in OWN if c.numbers == cases.FLOAT], ids=lambda c: c.name)
def test_kernels_compute_what_they_say(case: cases.KernelCase) -> None:
    run, results = ours.prepare(case, "cpu")
    run(3)  # as often as one likes: no input changes
    np.testing.assert_allclose(results()[0], _reference(case), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("numbers", [cases.FLOAT, cases.BFLOAT, cases.TF32])
@pytest.mark.parametrize("suite, kernel", [("memory", "softmax"), ("products", "dot_tn"), ("convolutions", "conv")])
def test_the_simulated_device_agrees_with_the_cpu(suite: str, kernel: str, numbers: str) -> None:
    found = [c for c in cases.cases(suite, "tiny") if c.case.kernel == kernel and c.numbers == numbers]
    for case in found[:1]:
        made = []
        for device, older in (("cpu", False), ("cuda:simulated", False), ("cuda:simulated", True)):
            run, results = ours.prepare(case, device, older)
            run(2)
            made.append(results()[0].astype(np.float64))
        limit = {cases.FLOAT: 1e-5, cases.BFLOAT: 2e-2, cases.TF32: 1e-2}[numbers]
        for got in made[1:]:
            np.testing.assert_allclose(got, made[0], rtol=limit, atol=limit * np.abs(made[0]).max())


# -- targets --------------------------------------------------------------------------------------------
def _report(**suites: list[records.Record]) -> records.Report:
    made = records.new_report()
    made["flags"] = {"sizes": "full"}
    return made | {
        "suites": suites,
        "absent": {"torch": "torch is not there"},
        "device": {"name": "a", "asked": "cuda:0"},
    }


def _kernel(case: str, **seconds: float) -> list[records.Record]:
    return [records.record(case, who, time_s=[t] * 3, gbs=[1 / t] * 3) for who, t in seconds.items()]


def _verdict(report: records.Report, words: str) -> targets.Verdict:
    (found,) = (v for v in targets.verdicts(report) if f" {words}" in f" {v.target.words}")
    return found


def test_a_target_is_met_by_all_of_its_cases_or_missed() -> None:
    good, bad = (
        _kernel("dot a bfloat16", graphkeras=1.1, torch=1.0),
        _kernel("dot b bfloat16", graphkeras=1.4, torch=1.0),
    )
    other = _kernel("dot c float32", graphkeras=9.0, torch=1.0)
    assert _verdict(_report(products=good + other), "bfloat16").said == targets.MET
    found = _verdict(_report(products=good + bad + other), "bfloat16")
    assert found.said == targets.MISSED
    assert "1 of 2 cases" in found.text and "worst 0.714 (dot b bfloat16)" in found.text
    assert _verdict(_report(products=good + other), "float32 products").said == targets.MISSED


def test_rates_are_held_against_the_copy_of_the_run() -> None:
    copies = _kernel("copy", graphkeras=0.5, torch=0.25)  # 4 GB/s is the best
    found = _verdict(_report(copy=copies, memory=_kernel("softmax float32", graphkeras=0.26)), "copy bandwidth")
    assert found.said == targets.MET
    assert found.values["softmax float32"] == pytest.approx(1 / 0.26 / 4)


def test_small_models_want_three_times_the_best_peer_and_variants_of_ours_are_no_peers() -> None:
    steps = {OURS: 1.0, f"{OURS} mma.sync": 0.1, "torch": 4.0, "keras-jax": 2.9}
    rows = [records.record("mlp", who, step_s=[t] * 3) for who, t in steps.items()]
    found = _verdict(_report(small=rows), "small models")
    assert found.said == targets.MISSED and found.values["mlp"] == pytest.approx(2.9)
    large = _verdict(_report(large=[r | {"case": "net"} for r in rows if r["who"] != "torch"]), "large models")
    assert large.said == targets.MET


def test_what_failed_is_missed_and_what_was_left_out_is_open() -> None:
    broken = [records.record("dot a float16", OURS, "graphkeras: MemoryError: none left")]
    assert "graphkeras failed in dot a float16" in _verdict(_report(products=broken), "float16").text
    wrong = _kernel("dot a tf32", graphkeras=1.0, torch=1.0)
    wrong[0]["note"] = "graphkeras: WRONG: a result has norm 1, that of PyTorch 2"
    assert _verdict(_report(products=wrong), "tf32").said == targets.MISSED
    alone = _verdict(_report(products=_kernel("dot a float32", graphkeras=1.0)), "float32 products")
    assert alone.said == targets.OPEN and "torch is not there" in alone.text
    assert "not asked for" in _verdict(_report(), "cuDNN").text
    left = [records.record("sanitizer memcheck", OURS, "compute-sanitizer is not installed")]
    assert _verdict(_report(checks=left), "compute-sanitizer").said == targets.OPEN


def test_a_result_that_is_not_that_of_pytorch_is_told() -> None:
    case = cases.cases("products", "tiny")[0]
    said = {OURS: {"norms": [1.0, 2.0]}, "torch": {"norms": [1.001, 2.5]}}
    assert list(kernels.differences(case, said)) == [OURS]
    assert not kernels.differences(case, {OURS: {"norms": [2.0]}, "torch": {"norms": [2.001]}})
    assert kernels.differences(case, {OURS: {"norms": [math.nan]}, "torch": {"norms": [1.0]}})


def test_losses_that_differ_are_told() -> None:
    same = training._difference("mlp", {"device": [1.0, 0.5], "cpu": [1.0, 0.5005]}, {})
    apart = training._difference("lstm", {"device": [1.0, 0.6], "cpu": [1.0, 0.5]}, {})
    assert _verdict(_report(curves=[same]), "losses").said == targets.MET
    assert _verdict(_report(curves=[same, apart]), "losses").said == targets.MISSED
    failed = training._difference("cnn", {"cpu": [1.0]}, {"device": "out of memory"})
    assert _verdict(_report(curves=[same, failed]), "losses").said == targets.MISSED


# -- who takes part --------------------------------------------------------------------------------------
def test_peers_that_are_not_there_are_left_out_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(contestants, "PEERS", tmp_path)
    here = contestants.look("cpu")
    assert [c.name for c in here.who] == [OURS]
    assert [c.name for c in contestants.look("cuda:0", arch="sm_90").who] == [OURS, contestants.OLDER]
    assert set(here.absent) == set(contestants.NEEDS)
    assert all("make peers-gpu" in why for why in here.absent.values())
    with pytest.raises(SystemExit, match="keras-numpy"):
        contestants.look("cpu", ["keras-numpy"])


def test_on_a_gpu_nothing_hides_it_and_jax_leaves_memory_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHKERAS_DEBUG", "4")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    env = OnDevice("torch", "python", "torch").env()
    assert "CUDA_VISIBLE_DEVICES" not in env and "OMP_NUM_THREADS" not in env and "GRAPHKERAS_DEBUG" not in env
    assert env["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    second = OnDevice("keras-jax", "python", "keras", device="cuda:1")
    assert second.env()["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert second.env()["CUDA_VISIBLE_DEVICES"] == "6"
    assert OnDevice("torch", "python", "torch", device="cpu").env()["CUDA_VISIBLE_DEVICES"] == "-1"


def test_one_that_hangs_loses_its_case_and_nobody_else_does(tmp_path: Path) -> None:
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    hung = OnDevice("torch", str(sleeper), "torch", device="cpu")
    workers = kernels.Workers([hung, *US_ALONE.who], replace(TINY, patience=0.3))
    try:
        workers.field.enter("torch", lambda: workers._start(hung))
        assert "silent for 0 s" in workers.field.notes["torch"]
        workers.effort, workers.failed_starts["torch"] = TINY, kernels.TRIES
        said, times, notes = workers.measure(do="prepare", suite="memory", case="softmax 24x40 float32")
    finally:
        workers.close()
    assert list(said) == [OURS] and len(times[OURS]) == TINY.rounds and "torch" in notes


def test_one_that_fails_in_a_case_is_back_for_the_next() -> None:
    workers = kernels.Workers(US_ALONE.who, TINY)
    try:
        _, times, notes = workers.measure(do="prepare", suite="memory", case="no such case")
        assert not times.get(OURS) and "StopIteration" in notes[OURS]
        _, times, notes = workers.measure(do="prepare", suite="memory", case="negate 24x40 float32")
        assert len(times[OURS]) == TINY.rounds and not notes
    finally:
        workers.close()


def test_the_error_is_told_not_the_advice_after_it() -> None:
    text = "Traceback\nValueError: the batch is 1\n\nYou can set TORCH_LOGS for more\n"
    assert last_words(text) == "ValueError: the batch is 1"
    assert last_words("a\nb\n") == "b" and last_words("") == "said nothing"


# -- checks ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "passed", "words"),
    [
        ("print('5 passed, 2 skipped in 1 s')", 1.0, ""),
        ("print('7 skipped in 1 s')", 0.0, "7 skipped"),  # nothing ran: nothing is shown
        ("import sys; print('4 passed'); print('ERROR SUMMARY: 2 errors'); sys.exit(1)", 0.0, "2 errors"),
    ],
)
def test_checks_are_judged_by_exit_code_and_by_what_ran(code: str, passed: float, words: str) -> None:
    found = checks.judged("tests", [sys.executable, "-c", code], "cpu", quick=True)
    assert records.median(found, "passed_count") == passed and words in found["note"]


def test_a_check_that_hangs_is_missed() -> None:
    found = checks.judged("tests", [sys.executable, "-c", "import time; time.sleep(60)"], "cpu", True, seconds=0.2)
    assert records.median(found, "passed_count") == 0 and "did not end" in found["note"]


# -- models ----------------------------------------------------------------------------------------------
def test_the_large_models_are_what_they_say() -> None:
    import graphkeras

    work = models.build(graphkeras, models.LARGE["tiny"][1])
    assert work.steps == models.STEPS
    assert sum("multi_head_attention" in layer.name for layer in work.model.layers) == 2
    family, settings = models.split(models.LARGE["full"][1])
    assert (family, settings) == ("encoder", {"batch": 16})
    assert len(models.build(graphkeras, models.LARGE["tiny"][0]).x) == models.STEPS * 2


# -- the command -----------------------------------------------------------------------------------------
def test_without_a_gpu_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    from graphkeras.codegen.cuda import device
    from graphkeras.codegen.cuda.compiler import CudaUnavailable

    try:
        device.get("cuda:7")
    except CudaUnavailable:
        assert main(["memory", "--device", "cuda:7"]) == 1
        assert "nothing can be measured here" in capsys.readouterr().err


def test_cases_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {x.partition(":")[0] for x in listed} == set(SUITES)
    assert len(listed) > 250
    with pytest.raises(SystemExit):
        main(["no-such-suite"])


def test_a_rehearsal_leaves_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gpu.json"
    asked = ["memory", "curves", "checks", "--cases", "softmax", "mlp", "tests", "--only", OURS, "--rounds", "2"]
    assert main([*asked, "--device", "cpu", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "A REHEARSAL" in text and "softmax 24x40 float32" in text and "losses apart by 0" in text
    report = json.loads(out.read_text())
    assert report["device"]["name"] == "cpu" and report["flags"]["sizes"] == "tiny"
    assert {r["case"] for r in report["suites"]["memory"]} == {"softmax 24x40 float32", "softmax 24x40 bfloat16"}
    said = {t["target"]: t["said"] for t in report["targets"]}
    assert said["losses on the device within 0.2 % of the CPU's"] == targets.MET
    assert said["the tests of the device pass"] == targets.OPEN
    assert main(["copy", "--only", OURS, "--device", "cpu", "--out", str(out), "--compare", str(out)]) == 0


def test_lines_name_every_contestant() -> None:
    report = _report(copy=_kernel("copy", graphkeras=0.5))
    rows = _kernel("dot a float16", graphkeras=1.0, torch=2.0)
    assert "torch 2 s (2.00)" in line("products", rows, report)
    assert "0.50 of copy" in line("memory", _kernel("softmax float32", graphkeras=1.0), report)
    assert "not run" in line("checks", [records.record("tests", OURS, "needs a GPU")], report)
    assert "A REHEARSAL" not in summary(report)
