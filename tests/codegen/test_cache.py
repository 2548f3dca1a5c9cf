"""The kernel cache: kept between processes, never trusted, shared by many at once; compiling in worker processes."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import cache, compiler, target


def source(number: float) -> str:
    """A kernel that no other test uses: writes `number` into its first word."""
    return (
        "from graphkeras.codegen.cpu.support import *\n\n\n"
        f"def kernel(args, lo, hi):\n    p = ptr_float64(args, 0)\n    p[lo] = float64({number!r})\n"
    )


def value_of(address: int) -> float:
    out = np.zeros(1)
    table = np.array([out.ctypes.data], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(address)(table.ctypes.data, 0, 1)
    return float(out[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a process that knows no kernel."""
    monkeypatch.setattr(cache, "_table", {})
    monkeypatch.setattr(cache, "counts", cache.Counts())
    with flags.CACHE(tmp_path / "kernels"):
        yield tmp_path / "kernels"


def test_second_load_reads_the_disk_and_third_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert value_of(cache.load([source(1.25)])[0]) == 1.25
    assert cache.counts == cache.Counts(compiled=1)
    monkeypatch.setattr(cache, "_table", {})
    fresh = target._engine.__wrapped__()  # as in a new process, where the symbol is not taken yet
    monkeypatch.setattr(target, "_engine", lambda: fresh)
    addresses = cache.load([source(1.25), source(1.25)])
    assert value_of(addresses[0]) == 1.25 and addresses[0] == addresses[1]
    assert cache.counts == cache.Counts(compiled=1, from_disk=1, from_memory=1)
    cache.load([source(1.25)])
    assert cache.counts.from_memory == 2


def test_source_lies_beside_the_object_and_nothing_is_left_over(folder: Path) -> None:
    cache.load([source(2.5)])
    key = cache.entry_key(source(2.5))
    assert sorted(p.name for p in folder.iterdir()) == [f"{key}.gko", f"{key}.py"]
    assert (folder / f"{key}.py").read_text() == source(2.5)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "other"])
def test_corrupt_entry_is_built_again(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    text = source(3.0 + len(damage))
    data = compiler.compile_object(text)
    key = cache.entry_key(text)
    cache.write_entry(folder, key, text, data)
    file = folder / f"{key}.gko"
    good = file.read_bytes()
    if damage == "flip":
        file.write_bytes(good[:-40] + bytes([good[-40] ^ 1]) + good[-39:])
    elif damage == "other":  # another kernel's valid entry under this name
        cache.write_entry(folder, cache.entry_key(source(-1.0)), source(-1.0), compiler.compile_object(source(-1.0)))
        file.write_bytes((folder / f"{cache.entry_key(source(-1.0))}.gko").read_bytes())
    else:
        file.write_bytes(good[: len(good) // 2] if damage == "truncate" else b"")
    assert value_of(cache.load([text])[0]) == 3.0 + len(damage)
    assert cache.counts == cache.Counts(compiled=1, rejected=1)
    assert file.read_bytes()[:20] == good[:20] and cache.read_entry(folder, key) is not None


def test_folder_that_cannot_be_written_gives_a_warning_and_a_kernel(folder: Path) -> None:
    folder.parent.joinpath("kernels").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="GRAPHKERAS_CACHE"):
        assert value_of(cache.load([source(4.5)])[0]) == 4.5


def test_off_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_table", {})
    monkeypatch.setattr(cache, "write_entry", lambda *_: pytest.fail("written with the cache off"))
    with flags.CACHE("off"):
        assert value_of(cache.load([source(5.5)])[0]) == 5.5


SCRIPT = """
import ctypes, sys
import numpy as np
from graphkeras.codegen.kernel import Buffer, Call, Float, Kernel, Ptr, Where
from graphkeras.codegen.program import Program
calls, b = [], Buffer(80, Where.INPUT, 0)
for k in range(10):
    source = '''from graphkeras.codegen.cpu.support import *

def kernel(args, lo, hi):
    p = ptr_float64(args, 0)
    p[''' + str(k) + '''] += float_arg(args, 1)
'''
    calls.append(Call(Kernel(f"k{k}", source, (Ptr(b), Float(k)), 1, 1, (b,), (b,))))
x = np.zeros(10)
program = Program(calls, inputs=[b])
program.bind([x])
program.run(2)
assert x.tolist() == [2.0 * k for k in range(10)], x
print("graphkeras.codegen.cpu.translate" in sys.modules, "graphkeras.codegen.cpu.support" in sys.modules)
"""


def start(folder: Path, script: str = SCRIPT) -> subprocess.Popen[str]:
    import os

    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "GRAPHKERAS_CACHE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_processes_that_race_for_an_empty_cache_agree_and_a_warm_one_needs_no_compiler(tmp_path: Path) -> None:
    racers = [start(tmp_path) for _ in range(2)]
    assert [r.communicate()[0].split() for r in racers] == [["True", "True"]] * 2
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert start(tmp_path).communicate()[0].split() == ["False", "False"]


def test_workers_compile_and_a_dead_one_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects from another process are as good as ours; what a killed worker held is compiled here."""
    monkeypatch.setattr(cache, "_worker_count", lambda missing: 2)
    made: list[cache._Worker] = []
    first = cache._Worker.__init__

    def record(self: cache._Worker, *args: object) -> None:
        first(self, *args)
        made.append(self)

    monkeypatch.setattr(cache._Worker, "__init__", record)
    slow = compiler.compile_object

    def compile_here(text: str) -> bytes:
        while not made[0]._done and made[0]._thread.is_alive():  # the first worker has something to show
            made[0]._thread.join(0.01)
        if made[1]._process.poll() is None:
            made[1]._process.kill()
        return slow(text)

    monkeypatch.setattr(compiler, "compile_object", compile_here)
    sources = [source(100.0 + k) for k in range(12)]
    objects = dict(cache.compile_all(sources))
    assert set(objects) == set(sources) and made[0]._done
    addresses = target.load_objects((compiler.symbol_of(s), objects[s]) for s in sources)
    assert [value_of(a) for a in addresses] == [100.0 + k for k in range(12)]
    assert all(w._process.poll() is not None for w in made)


def test_error_in_a_worker_names_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_worker_count", lambda missing: 1)
    bad = "def kernel(args, lo, hi):\n    no_such_name(args)\n"
    with pytest.raises(compiler.CompileError, match="no_such_name"):
        list(cache.compile_all([bad, *(source(200.0 + k) for k in range(3))]))
