"""Programs on disk: found again in another process, never trusted, and told apart by all that they depend on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen import flags, saved
from graphkeras.codegen.base_program import KernelError
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.image import Image, ImageError
from graphkeras.codegen.program import Program
from graphkeras.codegen.report import kernel_rows
from graphkeras.ir.digest import NoDigest, digest
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.node import Origin
from graphkeras.ir.types import TensorType

SHAPE = (6, 40)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without programs; kernels are those of this process."""
    monkeypatch.setattr(saved, "counts", saved.Counts())
    with flags.CACHE(tmp_path), flags.PROGRAMS(True):
        yield tmp_path / "programs"


def graph_of(name: str = "x", factor: float = 3.0) -> Graph:
    """Softmax of a product, a sum over columns with a constant array, and a state that is counted up."""
    b = Builder()
    x, w = b.input(TensorType(SHAPE, "float32"), name), b.input(TensorType((40, 8), "float32"), "w")
    state = b.input(TensorType((8,), "float32"), "state")
    with b.origin(Origin(name, "file.py", len(name))):
        y = b.softmax(b.dot_general(x, w, contract=((1,), (0,)), batch=((), ())), axis=1)
        weights = b.const(np.arange(6, dtype=np.float32)[:, None])
        total = b.reduce_sum(b.mul(y, weights), axes=(0,), keepdims=False)
    return Graph([x, w, state], [y, b.add(state, b.mul(total, factor))])


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(s, dtype=np.float32) for s in (SHAPE, (40, 8), (8,))]


def run(program: Program) -> list[np.ndarray]:
    inputs = arrays()
    y = np.zeros((6, 8), np.float32)
    program.bind(inputs, [y, inputs[2]])
    program.run(3)
    return [y, inputs[2]]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.gkp"))


def test_a_program_is_found_again_and_gives_the_same_bits(folder: Path) -> None:
    first = saved.program_of(graph_of(), {1: 2})
    again = saved.program_of(graph_of("another name"), {1: 2})
    assert type(first) is Program and type(again) is saved.SavedProgram
    assert (saved.counts.saved, saved.counts.loaded) == (1, 1) and len(entries(folder)) == 1
    for a, b in zip(run(first), run(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_it_depends_on_tells_programs_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved.program_of(graph_of(), {1: 2})
    saved.program_of(graph_of(), {})
    saved.program_of(graph_of(factor=3.5), {1: 2})
    with flags.PASSES("-fuse"):
        saved.program_of(graph_of(), {1: 2})
    monkeypatch.setattr(saved, "_stamp", lambda: "another version of the compiler")
    saved.program_of(graph_of(), {1: 2})
    monkeypatch.undo()
    assert len(entries(folder)) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "of another", "no image", "empty"])
def test_a_damaged_entry_is_made_again(folder: Path, damage: str) -> None:
    expected = run(saved.program_of(graph_of(), {1: 2}))
    (path,) = entries(folder)
    good = path.read_bytes()
    if damage == "cut":
        path.write_bytes(good[:-5])
    elif damage == "flipped":
        path.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    elif damage == "text":
        path.write_text("\x80\x04cos\nsystem\n")
    elif damage == "of another":
        saved.program_of(graph_of(), {})
        (other,) = set(entries(folder)) - {path}
        path.write_bytes(other.read_bytes())
    elif damage == "no image":
        saved.cache.write_sealed(path, path.stem, b'{"rows": [1, 8]}\n')
    else:
        path.write_bytes(b"")
    program = saved.program_of(graph_of(), {1: 2})
    assert type(program) is Program and path.read_bytes() == good
    for a, b in zip(run(program), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_program_whose_kernel_is_gone_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved.program_of(graph_of(), {1: 2})
    monkeypatch.setattr(saved.cache, "_table", {})  # as in a new process; this folder has kernels of none before
    for file in folder.parent.glob("*.gko"):
        file.unlink()
    monkeypatch.setattr(saved, "_compile", lambda graph, aliases: "compiled")
    monkeypatch.setattr(saved, "_save", lambda *_: None)
    assert saved.program_of(graph_of(), {1: 2}) == "compiled"


def test_reports_and_errors_of_a_loaded_program(folder: Path) -> None:
    saved.program_of(graph_of("dense"), {1: 2})
    found, plain = saved.program_of(graph_of("dense"), {1: 2}), compile_graph(graph_of("dense"), {1: 2})
    run(found)
    rows = [kernel_rows(p, p.measured()) for p in (found, plain)]
    assert rows[0] == rows[1] and any(row[0] == "dense" for row in rows[0])
    assert len(found.kernels) == len(plain.kernels) and len(found.instructions) == len(plain.instructions)
    assert len(found.groups) == len(plain.groups) and found.explain_rows() == plain.explain_rows()

    b = Builder()
    x, at = b.input(TensorType((5, 2), "float32"), "x"), b.input(TensorType((3,), "int32"), "at")
    with b.origin(Origin("embedding")):
        looked_up = b.take(x, at, axis=0, mode="check")
    table = Graph([x, at], [looked_up])
    saved.program_of(table, {})
    again = saved.program_of(table, {})
    assert type(again) is saved.SavedProgram
    again.bind([np.zeros((5, 2), np.float32), np.array([0, 7, 1], np.int32)], [np.zeros((3, 2), np.float32)])
    with pytest.raises(KernelError, match=r"layer embedding.*index 7.*0 to 4"):
        again.run()


def test_no_entries_where_flags_ask_to_see_the_compiler_or_the_folder_is_off(folder: Path) -> None:
    for flag, value in ((flags.PROGRAMS, 0), (flags.DEBUG, 1), (flags.CHECK, 1), (flags.CACHE, "off")):
        with flag(value):
            saved.program_of(graph_of(), {})
    assert not folder.exists()
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="programs are not kept"):
        saved.program_of(graph_of(), {})


def test_the_oldest_entries_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "MOST", 2)
    for number in range(4):
        saved.program_of(graph_of(factor=float(number)), {})
        for age, path in enumerate(sorted(entries(folder), key=lambda p: p.stat().st_mtime_ns, reverse=True)):
            os.utime(path, ns=(10**18 - age, 10**18 - age))
    assert len(entries(folder)) == 2
    saved.program_of(graph_of(factor=3.0), {})
    assert saved.counts.loaded == 1


def test_bytes_that_are_no_image_are_refused() -> None:
    image = compile_graph(graph_of(), {1: 2}).image
    raw = image.to_bytes()
    assert Image.from_bytes(raw).to_bytes() == raw
    head, rest = raw.split(b"\n", 1)
    broken = [
        b"",
        b"\n",
        b"[]\n",
        b"{}\n" + rest,
        head,
        raw[:-1],
        raw + b"\0",
        head.replace(b'"rows"', b'"sows"') + b"\n" + rest,
    ]
    for text in broken:
        with pytest.raises(ImageError):
            Image.from_bytes(text)


def test_digests_tell_graphs_apart_and_ignore_names() -> None:
    def of(**attrs: object) -> bytes:
        b = Builder()
        x = b.input(TensorType((2, 3), str(attrs.get("dtype", "float32"))), str(attrs.get("name", "x")))
        with b.origin(Origin(str(attrs.get("name", "")), phase=str(attrs.get("phase", "forward")))):
            y = b.reduce_sum(
                b.mul(x, b.const(attrs.get("number", 0.0), x.dtype)), axes=(attrs.get("axis", 0),), keepdims=False
            )
        return digest(Graph([x], [y, y] if attrs.get("twice") else [y]))

    assert of() == of(name="other")
    different = [
        {},
        {"axis": 1},
        {"number": -0.0},
        {"number": np.nan},
        {"dtype": "float64"},
        {"phase": "update"},
        {"twice": 1},
    ]
    assert len({of(**d) for d in different}) == len(different)
    b = Builder()
    x = b.input(TensorType((2,), "float32"), "x")
    node = b.neg(x)
    object.__setattr__(node, "attrs", {"function": len})
    with pytest.raises(NoDigest, match="builtin_function"):
        digest(Graph([x], [node]))


SCRIPT = textwrap.dedent("""
    import sys
    import numpy as np
    import graphkeras as keras
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers, keras.layers.Dropout(0.2), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    rng = np.random.default_rng(0)
    model.fit(rng.random((20, 8, 8, 2), dtype=np.float32), rng.integers(0, 3, 20), batch_size=8, verbose=0)
    from graphkeras.codegen import saved
    from graphkeras.codegen.cpu import cache
    print(saved.counts.saved, saved.counts.loaded, cache.counts.compiled, "graphkeras.codegen.compile" in sys.modules)
    print("".join(np.asarray(w).tobytes().hex() for w in model.get_weights()))
""")


def test_another_process_compiles_nothing_and_trains_to_the_same_bits(tmp_path: Path) -> None:
    said = []
    for seed in "12":
        environment = {
            **os.environ,
            "GRAPHKERAS_PROGRAMS": "1",
            "GRAPHKERAS_CACHE": str(tmp_path),
            "PYTHONHASHSEED": seed,
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        said.append(done.stdout.split("\n"))
    programs, _, compiled, imported = said[0][0].split()
    assert int(programs) >= 2 and int(compiled) > 4 and imported == "True"
    assert said[1][0] == f"0 {programs} 0 False"
    assert said[0][1] == said[1][1]
