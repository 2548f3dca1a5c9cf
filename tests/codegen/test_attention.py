"""Attention in tiles: against float64, masks of all kinds, lengths and sizes that fit nothing, memory, threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graphkeras.codegen import claims
from graphkeras.codegen.compile import compile_graph
from graphkeras.codegen.program import Program
from graphkeras.codegen.report import explain
from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import evaluate
from graphkeras.ir.types import numpy_dtype, type_of

PLAIN: dict[str, Any] = {"causal": False, "window": 0, "rate": 0.0}


def graph_of(arrays: Sequence[np.ndarray], ct: np.ndarray | None, attrs: dict[str, Any]) -> tuple[Graph, list]:
    """attention's result, and the gradients of q, k and v where there is a cotangent."""
    b = Builder()
    inputs = [b.input(type_of(a), f"x{i}") for i, a in enumerate(arrays)]
    scale = float(1 / np.sqrt(arrays[0].shape[3]))
    node = b.emit("attention", *inputs, **{**PLAIN, "scale": scale, **attrs})
    outputs = [b.item(node, i) for i in range(3)]
    if ct is None:
        return Graph(inputs, outputs), [*arrays]
    seed = b.input(type_of(ct), "ct")
    found = gradients(b, [outputs[0]], inputs[:3], [seed])
    return Graph([*inputs, seed], [outputs[0], *found]), [*arrays, ct]


def operands(sizes: tuple[int, ...], extra: Sequence[np.ndarray] = (), dtype: str = "float32") -> list[np.ndarray]:
    """sizes: batch, queries, keys, heads, heads of keys, size of keys, size of values."""
    batch, queries, keys, heads, own, depth, width = sizes
    rng = np.random.default_rng(0)
    shapes = ((batch, queries, heads, depth), (batch, keys, own, depth), (batch, keys, own, width))
    return [*(rng.standard_normal(s).astype(numpy_dtype(dtype)) for s in shapes), *extra]


def cotangent(sizes: tuple[int, ...]) -> np.ndarray:
    batch, queries, _, heads, _, _, width = sizes
    return np.random.default_rng(1).standard_normal((batch, queries, heads, width)).astype(np.float32)


def run(graph: Graph, arrays: Sequence[np.ndarray], threads: int = 1) -> tuple[Program, list[np.ndarray]]:
    program = compile_graph(graph)
    results = [np.empty(o.shape, numpy_dtype(o.dtype)) for o in graph.outputs]
    program.bind([np.array(a, order="C") for a in arrays], results)
    program.run(1, threads=threads)
    return program, results


def fused(program: Program) -> bool:
    return any(k.name.startswith("attention") for k in program.kernels)


def check(sizes: tuple[int, ...], extra: Sequence[np.ndarray] = (), tolerance: float = 4e-6, **attrs: Any) -> None:
    """Value and gradients against the reference in float64."""
    arrays, ct = operands(sizes, extra), cotangent(sizes)
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    graph, values = graph_of(wide, ct.astype(np.float64), attrs)
    expected = evaluate(graph, values)
    program, found = run(*graph_of(arrays, ct, attrs))
    assert fused(program)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1, np.abs(want).max()))


@pytest.mark.parametrize("length", [7, 200, 513])
def test_lengths(length: int) -> None:
    check((2, length, length, 2, 2, 16, 16))


@pytest.mark.parametrize("queries, keys", [(4, 1), (50, 513), (513, 50), (130, 31)])
def test_other_lengths_of_keys(queries: int, keys: int) -> None:
    check((1, queries, keys, 2, 2, 8, 8))
    check((1, queries, keys, 2, 2, 8, 8), causal=True)


@pytest.mark.parametrize("depth, width", [(1, 1), (17, 33), (32, 32), (64, 20), (127, 128)])
def test_sizes_of_heads(depth: int, width: int) -> None:
    check((2, 30, 37, 2, 2, depth, width))


@pytest.mark.parametrize("own", [1, 2, 4])
def test_grouped_queries(own: int) -> None:
    check((3, 40, 70, 4, own, 8, 8), causal=True)


MASKS = {
    "keys": lambda rng, b, h, t, s: rng.random((b, 1, 1, s)) > 0.5,
    "queries": lambda rng, b, h, t, s: rng.random((b, 1, t, 1)) > 0.5,
    "pairs": lambda rng, b, h, t, s: rng.random((b, 1, t, s)) > 0.5,
    "all": lambda rng, b, h, t, s: rng.random((b, h, t, s)) > 0.5,
    "bias": lambda rng, b, h, t, s: rng.standard_normal((h, t, s)).astype(np.float32),
    "nothing seen": lambda rng, b, h, t, s: np.arange(b * s).reshape(b, 1, 1, s) >= s,
    "far bias": lambda rng, b, h, t, s: np.where(rng.random((b, 1, t, s)) > 0.3, 0, -1e9).astype(np.float32),
}


@pytest.mark.parametrize(
    "kind, attrs",
    [
        *((kind, {}) for kind in MASKS),
        ("keys", {"causal": True}),
        ("nothing seen", {"causal": True}),
        ("bias", {"window": 6}),
        ("pairs", {"rate": 0.4}),
    ],
    ids=str,
)
def test_masks(kind: str, attrs: dict[str, Any]) -> None:
    sizes = (2, 60, 75, 2, 2, 8, 8)
    rng = np.random.default_rng(2)
    extra = [MASKS[kind](rng, sizes[0], sizes[3], sizes[1], sizes[2])]
    if attrs.get("rate"):
        extra.append(np.array([3, 5], np.uint32))
    check(sizes, extra, **attrs)


def test_several_masks_with_blocks_that_nobody_sees() -> None:
    """1100 keys are three blocks; a window of 9 leaves most of them out, and some queries see nothing at all."""
    rng = np.random.default_rng(4)
    extra = [rng.random((2, 1, 1, 1100)) > 0.5, rng.standard_normal((1200, 1)).astype(np.float32)]
    check((2, 1200, 1100, 1, 1, 4, 4), extra, window=9)
    check((2, 1200, 1100, 1, 1, 4, 4), extra, causal=True)


def test_not_a_number_and_infinities_stay_visible() -> None:
    arrays = operands((1, 6, 20, 1, 1, 4, 4))
    arrays[0][0, 2, 0, 1] = np.nan
    bias = np.zeros((1, 1, 6, 20), np.float32)
    bias[..., 3, :], bias[..., 4, :7] = -np.inf, -np.inf
    graph, values = graph_of([*arrays, bias], None, {})
    with np.errstate(invalid="ignore"):
        want = evaluate(graph, values)[0]
    found = run(graph, values)[1][0]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    assert np.isnan(found[0, [2, 3]]).all() and not np.isnan(found[0, [0, 1, 4, 5]]).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype: str) -> None:
    sizes = (2, 33, 40, 2, 1, 8, 8)
    arrays, ct = operands(sizes, dtype=dtype), cotangent(sizes).astype(numpy_dtype(dtype))
    graph, values = graph_of(arrays, ct, {"causal": True})
    wide_graph, wide = graph_of([a.astype(np.float32) for a in arrays], ct.astype(np.float32), {"causal": True})
    program, found = run(graph, values)
    assert fused(program)
    for got, want in zip(found, evaluate(wide_graph, wide), strict=True):
        eps = 2e-3 if dtype == "float16" else 2e-2
        np.testing.assert_allclose(got.astype(np.float32), want, rtol=eps, atol=eps * np.abs(want).max())


def test_strided_operands_are_read_where_they_are() -> None:
    """Heads split off the features, lengths and heads swapped, and slices of one array: no copies."""
    b = Builder()
    x = b.input(type_of(np.empty((3, 20, 3 * 16), np.float32)), "x")
    parts = [b.slice(x, start=(0, 0, i * 16), stop=(3, 20, i * 16 + 16), step=(1, 1, 1)) for i in range(3)]
    heads = [b.transpose(b.reshape(p, shape=(3, 20, 2, 8)), perm=(0, 2, 1, 3)) for p in parts]
    back = [b.transpose(h, perm=(0, 2, 1, 3)) for h in heads]
    node = b.emit("attention", *back, **PLAIN, scale=0.3)
    graph = Graph([x], [b.item(node, 0)])
    arrays = [np.random.default_rng(0).standard_normal((3, 20, 48)).astype(np.float32)]
    program, found = run(graph, arrays)
    assert [k.name for k in program.kernels] == ["attention_20x20x8"]
    np.testing.assert_allclose(found[0], evaluate(graph, arrays)[0], rtol=1e-5, atol=1e-6)


def test_blocks_of_keys_that_parts_do_not_divide() -> None:
    """Two heads share six blocks in four parts at most: three of two blocks, none of them empty."""
    check((1, 8, 3000, 2, 2, 16, 16))


@pytest.mark.parametrize("sizes", [(1, 500, 1300, 1, 1, 16, 8), (5, 90, 90, 4, 2, 8, 8)])
def test_same_bits_for_any_number_of_threads(sizes: tuple[int, ...]) -> None:
    graph, arrays = graph_of(operands(sizes), cotangent(sizes), {"causal": True})
    one, two = (run(graph, arrays, threads)[1] for threads in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def arena_of(length: int, **attrs: Any) -> int:
    sizes = (1, length, length, 2, 2, 16, 16)
    program = compile_graph(graph_of(operands(sizes), cotangent(sizes), attrs)[0])
    assert fused(program)
    return program.arena_nbytes


def test_memory_grows_with_the_length_only() -> None:
    short, long = arena_of(2048), arena_of(8192)
    assert long <= 8 * short and long < 8192 * 8192 // 4  # up to eight parts of the gradient of q
    dropped = compile_graph(
        graph_of(
            operands((2, 2048, 2048, 4, 4, 16, 16), [np.array([1, 2], np.uint32)]),
            cotangent((2, 2048, 2048, 4, 4, 16, 16)),
            {"rate": 0.1},
        )[0]
    )
    assert dropped.arena_nbytes < 2**20


def test_another_length_or_batch_needs_no_new_source() -> None:
    def sources(batch: int, length: int) -> set[str]:
        sizes = (batch, length, length, 2, 2, 16, 16)
        graph, _ = graph_of(operands(sizes), cotangent(sizes), {})
        return {k.source for k in compile_graph(graph).kernels}

    assert sources(8, 50) == sources(11, 37) == sources(4, 513)


def test_dropout_uses_the_bits_of_the_spelled_out_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (2, 30, 40, 2, 2, 8, 8)
    graph, arrays = graph_of(operands(sizes, [np.array([7, 9], np.uint32)]), cotangent(sizes), {"rate": 0.5})
    whole, found = run(graph, arrays)
    monkeypatch.setattr(claims.Claims, "__call__", lambda self, node: False)
    spelled, expected = run(graph, arrays)
    assert fused(whole) and not fused(spelled)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_what_is_not_taken_says_why() -> None:
    graph, arrays = graph_of(operands((2, 1, 40, 2, 2, 8, 8)), None, {})
    program, found = run(graph, arrays)
    assert not fused(program)
    assert "fewer than 4 queries" in explain(program)
    np.testing.assert_allclose(found[0], evaluate(graph, arrays)[0], rtol=1e-5, atol=1e-6)


def test_narrower_vectors_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same kernels for AVX2, run where the machine has it."""
    monkeypatch.setenv("GRAPHKERAS_CPU", "x86-64-v3")
    check((2, 53, 70, 2, 1, 17, 24), causal=True)
