"""Choices between kernels: by the model, by a search that is remembered on disk; all candidates compute the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.cpu import (
    attention,
    attention_grad,
    cache,
    choices,
    contract,
    conv,
    conv_grad,
    product_shapes,
    remembered,
    tuning,
)
from graphkeras.codegen.cpu.choices import Candidate
from graphkeras.codegen.cpu.params import Params, small_kernel
from graphkeras.codegen.lower import Lowering
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.op import get_op
from graphkeras.ir.types import TensorType
from tests.codegen import harness, test_attention

ELEMENTS = 4096


@pytest.fixture(autouse=True)
def own_memory(tmp_path, monkeypatch):
    """An empty folder of choices, and kernels from where they are."""
    monkeypatch.delenv("GRAPHKERAS_TUNE", raising=False)
    folder = tmp_path / "cache"
    remembered.forget()
    with flags.CACHE(folder):
        yield folder / "tuned"
    remembered.forget()


@pytest.fixture
def no_measuring(monkeypatch):
    def refuse(*_):
        raise AssertionError("measured though nobody asked for it")

    monkeypatch.setattr(tuning, "search", refuse)
    monkeypatch.setattr(tuning, "fastest_of", refuse)


def planted(ctx, fast_first=False):
    """Candidates that write the same numbers, one with far more work; and what launches them."""
    node = Builder().input(TensorType((ELEMENTS,), "float32"), "x")
    target = ctx.new((ELEMENTS,), "float32")

    def emit(candidate):
        params = Params()
        params.target("y", target)
        params.ints(n=ELEMENTS, times=candidate.value)
        lines = ["for item in range(lo, hi):", "    for t in range(times):", "        for i in range(n):"]
        lines.append("            y[i] = float32(i + t - times + 1)")
        ctx.launch(small_kernel("planted", "Numbers, written more than once.", params, lines, 1, 1, node))

    slow, fast = Candidate("slow", 2.0 if fast_first else 1.0, 200), Candidate("fast", 1.0 if fast_first else 2.0, 1)
    return [slow, fast], emit


def take(spec="n=4096", tune=None, fast_first=False):
    """The candidate that is picked for the planted problem, and what the kernels say of it."""
    ctx = Lowering()
    candidates, emit = planted(ctx, fast_first)
    with flags.TUNE(tune or "remembered"):
        chosen = choices.pick(ctx, "planted", spec, candidates, emit)
    assert not ctx.instructions  # nothing that was tried stays
    return chosen.name, ctx.decisions[0]


# -- the search -----------------------------------------------------------------------------------------
def test_without_tuning_the_model_decides_and_nothing_is_measured(no_measuring):
    assert take() == ("slow", "planted slow, modelled, one of 2")
    assert take(fast_first=True)[0] == "fast"


def test_the_search_takes_what_is_faster_than_the_model_says(own_memory):
    assert take(tune="1") == ("fast", "planted fast, measured, one of 2")
    (file,) = own_memory.glob("*.json")
    entry = json.loads(file.read_text())
    assert entry["winner"] == "fast" and entry["kind"] == "planted"
    assert entry["microseconds"]["fast"] < entry["microseconds"]["slow"]


def test_what_was_measured_is_used_without_measuring(no_measuring):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "search", SEARCH)
        patch.setattr(tuning, "fastest_of", lambda programs: dict(zip(programs, (2.0, 1.0), strict=True)))
        assert take(tune="1")[0] == "fast"
    remembered.forget()  # as a new process would find it
    assert take()[0] == "fast"
    assert take(tune="1")[0] == "fast"
    assert take(spec="n=8192")[0] == "slow"
    assert take(tune="0") == ("slow", "planted slow, modelled, one of 2")


SEARCH = tuning.search


def test_noise_decides_nothing(monkeypatch):
    monkeypatch.setattr(tuning, "fastest_of", lambda programs: dict(zip(programs, (1.0, 0.98), strict=True)))
    assert take(tune="1") == ("slow", "planted slow, measured, one of 2")


def test_the_budget_of_a_process_ends_the_search(monkeypatch):
    monkeypatch.setattr(tuning, "spent", tuning.Spent())
    with flags.TUNE_SECONDS(0), pytest.warns(UserWarning, match="GRAPHKERAS_TUNE_SECONDS"):
        assert take(tune="1")[0] == "slow"
    assert tuning.spent.searches == 0


def test_another_process_remembers(own_memory):
    code = (
        "from tests.codegen.test_tuning import product_graph\n"
        "from graphkeras.codegen.compile import compile_graph\n"
        "from graphkeras.codegen.cpu import cache, tuning\n"
        "program = compile_graph(product_graph(48, 80, 100))\n"
        "print(cache.counts.compiled, tuning.spent.runs, *program.kernels[0].choices, sep=';')\n"
    )

    def process(**setting: str) -> list[str]:
        environment = {**os.environ, "GRAPHKERAS_CACHE": str(own_memory.parent), **setting}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        return done.stdout.strip().split(";")

    compiled, runs, *_ = process(GRAPHKERAS_TUNE="1")
    assert int(compiled) > 1 and int(runs) > 1
    compiled, runs, *said = process()
    assert (compiled, runs) == ("0", "0")
    assert said and all("measured" in text for text in said)


# -- the files ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[1, 2]", b'{"kind": "planted", "spec": "n=4096"}',
     b'{"kind": "planted", "spec": "n=4096", "winner": 7}', b'{"kind": "other", "spec": "n=4096", "winner": "fast"}',
     b'{"kind": "planted", "spec": "n=4096", "winner": "a candidate of tomorrow"}'],
)  # fmt: skip
def test_files_that_cannot_be_used_are_named_and_survived(own_memory, content, no_measuring):
    own_memory.mkdir(parents=True)
    path = own_memory / f"{remembered.key_of('planted', 'n=4096')}.json"
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=path.stem):
        assert take()[0] == "slow"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        assert take()[0] == "slow"


def test_a_spoilt_file_is_measured_again(own_memory):
    own_memory.mkdir(parents=True)
    path = own_memory / f"{remembered.key_of('planted', 'n=4096')}.json"
    path.write_text("spoilt")
    with pytest.warns(UserWarning, match="GRAPHKERAS_TUNE=1 measures again"):
        assert take(tune="1")[0] == "fast"
    assert json.loads(path.read_text())["winner"] == "fast"


def test_a_folder_that_cannot_be_written_costs_a_warning_only(own_memory):
    own_memory.parent.mkdir(parents=True)
    own_memory.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="not kept"):
        assert take(tune="1")[0] == "fast"
    assert take()[0] == "fast"  # this process knows


def test_other_processors_have_other_memories():
    first = remembered.key_of("tile", "n=1")
    with flags.CPU("haswell"):
        assert remembered.key_of("tile", "n=1") != first


# -- what candidates compute ----------------------------------------------------------------------------
def product_graph(m, n, k, turned=False):
    b = Builder()
    x = b.input(TensorType((m, k), "float32"), "x")
    w = b.input(TensorType((n, k) if turned else (k, n), "float32"), "w")
    return Graph([x, w], [b.dot_general(x, w, contract=((1,), (1 if turned else 0,)), batch=((), ()))])


def taking(kind, number):
    """A `pick` that takes candidate `number` of one choice, and the model's of all others."""
    taken = []

    def pick(ctx, name, spec, candidates, emit=None):
        ranked = sorted(candidates, key=lambda c: c.seconds)
        if name != kind:
            return ranked[0]
        taken.append(len(ranked))
        return ranked[min(number, len(ranked) - 1)]

    return pick, taken


PRODUCTS = {"wide": (37, 80, 70, False), "narrow": (200, 10, 64, False), "turned": (50, 33, 128, True),
            "row": (1, 100, 200, False), "deep": (16, 16, 6000, False), "large": (70, 130, 300, False)}  # fmt: skip


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("kind", ["tile", "dot tile", "cut"])
@pytest.mark.parametrize("case", PRODUCTS)
def test_all_candidates_of_products(case, kind, number, monkeypatch):
    m, n, k, turned = PRODUCTS[case]
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((m, k)).astype("float32"), rng.standard_normal((n, k)).astype("float32")
    pick, taken = taking(kind, number)
    monkeypatch.setattr(contract, "pick", pick)

    def build(b, p, q):
        return b.dot_general(p, q, contract=((1,), (1 if turned else 0,)), batch=((), ()))

    (got,) = harness.run(build, x, w if turned else np.ascontiguousarray(w.T))
    want = x.astype("float64") @ w.T.astype("float64")
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6 * np.sqrt(k) * 4)
    if kind == "cut":
        assert taken


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
@pytest.mark.parametrize(
    "case", [(2, 9, 20, 33, 3, 1, 1), (1, 12, 70, 130, 1, 1, 1), (2, 11, 5, 3, 3, 2, 1), (2, 10, 24, 1, 3, 1, 24)]
)
def test_all_forms_of_convolutions(case, op, number, monkeypatch):
    n, side, cin, cout, taps, stride, groups = case
    pad = ((taps // 2, taps // 2),) * 2
    attrs = {"strides": (stride, stride), "padding": pad, "dilation": (1, 1), "groups": groups}
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, side, side, cin)).astype("float32")
    w = rng.standard_normal((taps, taps, cin // groups, cout * groups)).astype("float32")
    dy = rng.standard_normal((n, *((side - 1) // stride + 1,) * 2, cout * groups)).astype("float32")
    arrays, more = {"conv": ((x, w), {}), "conv_input_grad": ((dy, w), {"shape": x.shape}),
                    "conv_kernel_grad": ((x, dy), {"shape": w.shape})}[op]  # fmt: skip
    taken = []

    def pick(ctx, kind, spec, candidates, emit=None):
        """The best of each form first, then other tiles."""
        ranked = sorted(candidates, key=lambda c: c.seconds)
        first = {c.value.name: c for c in reversed(ranked)}
        ordered = [*first.values(), *(c for c in ranked if c not in first.values())]
        taken.append(ordered[min(number, len(ordered) - 1)].name)
        return ordered[min(number, len(ordered) - 1)]

    monkeypatch.setattr(conv, "pick", pick)
    monkeypatch.setattr(conv_grad, "pick", pick)
    (got,) = harness.run(lambda b, *nodes: b.emit(op, *nodes, **attrs, **more), *arrays)
    want = get_op(op).reference(*(a.astype("float64") for a in arrays), **attrs, **more)
    np.testing.assert_allclose(got, want, rtol=0, atol=6e-6 * np.abs(want).max(), err_msg=str(taken))


@pytest.mark.parametrize("number", range(3))
def test_all_blocks_of_attention(number, monkeypatch):
    def pick(ctx, kind, spec, candidates, emit=None):
        if not kind.startswith("attention"):
            return min(candidates, key=lambda c: c.seconds)
        assert len(candidates) == 3
        return candidates[number]

    for module in (attention, attention_grad):
        monkeypatch.setattr(module, "pick", pick)
    sizes = (1, 700, 700, 2, 2, 16, 16)
    graph, arrays = test_attention.graph_of(test_attention.operands(sizes), test_attention.cotangent(sizes), {})
    program, results = test_attention.run(graph, arrays)
    assert test_attention.fused(program)
    for got, want in zip(results, evaluate(graph, [a.astype("float64") for a in arrays]), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_a_tile_changes_no_bit(monkeypatch):
    """Tiles of a form add in the same order: only forms and parts of the depth may change the last bits."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((37, 90)).astype("float32"), rng.standard_normal((90, 80)).astype("float32")
    results = []
    for number in range(6):
        pick, _ = taking("tile", number)
        monkeypatch.setattr(contract, "pick", pick)
        results += harness.run(lambda b, p, q: b.dot_general(p, q, contract=((1,), (0,)), batch=((), ())), x, w)
    assert all(np.array_equal(results[0], r) for r in results)


# -- rules ----------------------------------------------------------------------------------------------
def test_batches_share_what_was_measured_for_one(own_memory, monkeypatch):
    """A form that was measured for one batch is that of all others, and they compile nothing."""
    with flags.TUNE("1"):
        compile_graph(product_graph(32, 80, 100))
    noted = []
    monkeypatch.setattr(cache, "load", lambda wanted: noted.append(set(wanted)) or [1] * len(wanted))
    for batch in (32, 2, 7, 64, 100, 4096):
        compile_graph(product_graph(batch, 80, 100))
    assert all(wanted <= noted[0] for wanted in noted)


def test_the_specs_of_forms_do_not_know_the_batch():
    kinds = {}

    def note(ctx, kind, spec, candidates, emit=None):
        kinds.setdefault(kind, set()).add(spec)
        return min(candidates, key=lambda c: c.seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "pick", note)
        for batch in (2, 32, 100):
            compile_graph(product_graph(batch, 80, 100))
    assert len(kinds["tile"]) == 1 and len(kinds["cut"]) == 3


def test_the_model_copies_panels_where_lines_are_far_apart():
    def packed(m, n, k):
        p = contract.product_of(*(harness_view(s) for s in ((m, k), (k, n))), ((1,), (0,)), ((), ()))
        tiles = dict((mode, min(t, key=lambda c: c.seconds).value) for mode, _, t in product_shapes.forms_of(p, False))
        return product_shapes.cheapest(p, product_shapes.Forms(tiles.get("broadcast"), tiles.get("dot"))).packed

    assert packed(512, 4096, 4096)
    assert not packed(512, 64, 64)


def harness_view(shape):
    return Lowering().new(shape, "float32")


def test_models_say_what_was_chosen(capsys):
    import graphkeras as keras

    model = keras.Sequential([keras.Input((40,)), keras.layers.Dense(80), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with flags.TUNE("0"):
        model.fit(np.zeros((64, 40), "float32"), np.zeros((64, 3), "float32"), verbose=0)
    chosen = [text for row in model.profile() for text in row.choices]
    assert any(text.startswith("tile ") and ", modelled, one of " in text for text in chosen)
    model.explain(reasons=True)
    assert chosen[0] in capsys.readouterr().out
