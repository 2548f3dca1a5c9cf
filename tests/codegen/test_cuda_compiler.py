"""CUDA kernels compile without a GPU: to cubins for three generations, without spills."""

from __future__ import annotations

import os

import pytest

from graphkeras.codegen.claims import Claims
from graphkeras.codegen.cuda import compiler, language
from graphkeras.codegen.cuda.target import CUDA
from graphkeras.codegen.lower import can_lower
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.passes.pipeline import optimise
from graphkeras.ir.types import TensorType
from tests.codegen.cuda_harness import kernels
from tests.codegen.samples import OPS, items, types_of
from tests.ir.test_ops import build, draw

ARCHITECTURES = [(8, 0), (9, 0), (10, 0)]


def _why_not() -> str:
    try:
        compiler.require()
    except compiler.CudaUnavailable as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "-")


def graph() -> Graph:
    """One kernel of each form."""
    b = Builder()
    x = b.input(TensorType((64, 1000), "float32"), "x")
    z = b.input(TensorType((1000,), "float32"), "z")
    half = b.input(TensorType((64, 1024), "bfloat16"), "half")
    long = b.input(TensorType((8, 100_000), "float32"), "long")
    outputs = [
        b.tanh(b.add(b.mul(x, z), x)),
        b.softmax(x, axis=1),
        b.reduce_sum(x, axes=(0,), keepdims=False),
        b.reduce_sum(long, axes=(1,), keepdims=False),
        b.argmax(x, axis=1),
        b.relu(half),
        b.transpose(x, perm=(1, 0)),
    ]
    return optimise(Graph([x, z, half, long], outputs))


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda a: f"sm_{a[0]}{a[1]}")
def test_every_form_compiles(arch: tuple[int, int]) -> None:
    for kernel in kernels(graph()):
        (cubin,) = compiler.load([kernel.source], arch)
        assert cubin.code[:4] == b"\x7fELF"
        assert cubin.spilled == 0 and cubin.local == 0, kernel.source
        assert 0 < cubin.registers <= 128


def test_wide_accesses_reach_the_ptx() -> None:
    kernel = next(k for k in kernels(graph()) if k.name.startswith("map_mul"))
    ptx = compiler.compile_ptx(kernel.source, (9, 0))
    assert "ld.global.nc.v4.f32" in ptx and "st.global.v4.f32" in ptx and ".entry gk_kernel" in ptx


def test_the_toolkit_assembles_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler.ptxas() is None:
        pytest.skip("no ptxas on this machine")
    monkeypatch.setattr(compiler, "_has_nvjitlink", lambda: False)
    ptx = compiler.compile_ptx(kernels(graph())[0].source, (9, 0))
    cubin = compiler.assemble(ptx, (9, 0))
    assert cubin.spilled == 0 and cubin.registers > 0


def test_a_refused_source_is_shown() -> None:
    source = (
        "from graphkeras.codegen.cuda.support import *\nSIGNATURE = 'p'\nTHREADS = 32\ndef kernel(a0):\n    wrong(a0)\n"
    )
    with pytest.raises(compiler.CudaCompileError, match="wrong"):
        compiler.compile_ptx(source, (9, 0))


@pytest.mark.parametrize("kind", list(language.SPACES))
def test_all_memory_functions_assemble(kind: str) -> None:
    """Every dtype and count of one kind in one kernel."""
    lines = ["from graphkeras.codegen.cuda.support import *", 'SIGNATURE = "pp"', "THREADS = 32", "def kernel(a0, a1):"]
    lines.append("    t = thread_index()")
    for name, own, dtype, count in language.memory_ops():
        if own != kind:
            continue
        load, store = (f"{'shared_' if 'shared' in kind else ''}{verb}" for verb in ("load", "store"))
        read = kind if kind == "fetch" else load
        reader, writer = (language.memory_name(k, dtype, count) for k in (read, store))
        lines.append(f"    {writer}({'shared_memory()' if 'shared' in kind else 'a1'}, t, {reader}(a0, t))")
        assert name in (reader, writer)
    ptx = compiler.compile_ptx("\n".join(lines) + "\n", (8, 0))
    compiler.assemble(ptx, (8, 0))


@pytest.mark.skipif(not os.environ.get("GRAPHKERAS_LONG_TESTS"), reason="takes minutes; make test-long")
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_sample_compiles(op) -> None:
    for sample in op.samples:
        arrays = draw(op, sample)
        b, inputs, node = build(op, sample, arrays)
        graph = Graph(inputs, items(b, node))
        if any(t.dtype.startswith("complex") for n in graph.nodes for t in types_of(n)):
            continue
        graph = optimise(graph, Claims(CUDA))
        if can_lower(graph, CUDA) is not None:
            continue
        for kernel in kernels(graph):
            for cubin in (compiler.load([kernel.source], arch)[0] for arch in ARCHITECTURES):
                assert cubin.spilled == 0, kernel.source
