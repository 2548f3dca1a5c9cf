"""Every op record against itself: shape rule, reference, gradient and lowering must tell one story."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras.ir.autodiff import gradients
from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import apply_reference, evaluate
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, all_ops, get_op
from graphkeras.ir.types import is_float, is_inexact, numpy_dtype, type_of

OPS = sorted(all_ops(), key=lambda op: op.name)
CASES = [pytest.param(op, s, id=f"{op.name}-{i}") for op in OPS for i, s in enumerate(op.samples)]


def draw(op: Op, sample: Sample, dtype: str | None = None) -> list[np.ndarray]:
    """The sample's arrays; float inputs in `dtype` when one is given."""
    rng = np.random.default_rng(0)
    if sample.make is not None:
        arrays = [np.asarray(a) for a in sample.make(rng)]
    else:
        arrays = []
        for i, shape in enumerate(sample.shapes):
            low = sample.low[i] if isinstance(sample.low, tuple) else sample.low
            high = sample.high[i] if isinstance(sample.high, tuple) else sample.high
            wanted = sample.dtypes[i] if sample.dtypes else first_dtype(op)
            arrays.append(random_array(rng, shape, low, high, wanted))
    if dtype is not None:
        arrays = [a.astype(numpy_dtype(dtype)) if is_float(a.dtype.name) else a for a in arrays]
    return arrays


def first_dtype(op: Op) -> str:
    allowed = op.extra.get("dtypes", ("float32",))
    return next((d for d in ("float32", "int32", "uint32", "bool", "complex64") if d in allowed), allowed[0])


def random_array(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float, dtype: str) -> np.ndarray:
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    values = rng.uniform(low, high, shape)
    if dtype.startswith("uint"):
        values = np.abs(values)
    if dtype.startswith("complex"):
        values = values + 1j * rng.uniform(low, high, shape)
    return np.asarray(values).astype(numpy_dtype(dtype))


def build(op: Op, sample: Sample, arrays: list[np.ndarray]) -> tuple[Builder, list[Node], Node]:
    b = Builder()
    inputs = [b.input(type_of(a), f"x{i}") for i, a in enumerate(arrays)]
    return b, inputs, b.emit(op.name, *inputs, **sample.attrs)


def check_types(result: Any, type: Any) -> None:
    if isinstance(type, tuple):
        assert isinstance(result, tuple) and len(result) == len(type)
        for r, t in zip(result, type, strict=True):
            check_types(r, t)
    else:
        assert np.shape(result) == type.shape
        assert result.dtype == numpy_dtype(type.dtype)


def flat(result: Any) -> list[np.ndarray]:
    return [a for r in result for a in flat(r)] if isinstance(result, tuple) else [np.asarray(result)]


@pytest.mark.parametrize("op, sample", CASES)
def test_infer_matches_reference(op: Op, sample: Sample) -> None:
    arrays = draw(op, sample)
    before = [a.copy() for a in arrays]
    _, _, node = build(op, sample, arrays)
    result = apply_reference(node, arrays)
    check_types(result, node.type)
    raw = get_op(op.name).reference(*arrays, **sample.attrs)
    for got, want in zip(flat(raw), flat(result), strict=True):
        assert got.shape == want.shape
    for a, original in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, original)


@pytest.mark.parametrize("op, sample", CASES)
def test_non_contiguous_inputs(op: Op, sample: Sample) -> None:
    arrays = draw(op, sample)
    _, _, node = build(op, sample, arrays)
    strided = [np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a for a in arrays]
    for got, want in zip(flat(apply_reference(node, strided)), flat(apply_reference(node, arrays)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op, sample", CASES)
def test_half_types(op: Op, sample: Sample, dtype: str) -> None:
    if dtype not in op.extra.get("dtypes", ()) or (sample.dtypes and dtype not in sample.dtypes):
        pytest.skip("the op has no half types")
    if op.kind is Kind.OPAQUE or op.name in ("nextafter", "bitcast"):
        pytest.skip("depends on the width of the dtype")
    arrays = draw(op, sample, dtype)
    _, _, node = build(op, sample, arrays)
    result = apply_reference(node, arrays)
    check_types(result, node.type)
    wide = [a.astype(np.float32) if is_float(a.dtype.name) else a for a in arrays]
    _, _, wide_node = build(op, sample, wide)
    for got, want in zip(flat(result), flat(apply_reference(wide_node, wide)), strict=True):
        if is_float(want.dtype.name):
            np.testing.assert_allclose(got.astype(np.float32), want, rtol=0.02, atol=0.02)


def weighted(b: Builder, node: Node, rng: np.random.Generator) -> tuple[list[Node], list[Node | None]]:
    """The differentiable results of a node, with random cotangents."""
    many = isinstance(node.type, tuple)
    outputs = [b.item(node, i) for i in range(len(node.type))] if many else [node]
    outputs = [o for o in outputs if is_inexact(o.dtype)]
    cotangents = []
    for o in outputs:
        values = rng.uniform(-1, 1, o.shape)
        if o.dtype.startswith("complex"):
            values = values + 1j * rng.uniform(-1, 1, o.shape)
        cotangents.append(b.const(values, o.dtype))
    return outputs, cotangents


def directional(run: Any, arrays: list[np.ndarray], wrt: list[int], directions: list[np.ndarray], step: float) -> float:
    """Central difference of the scalar function `run` along the directions."""
    moved = []
    for sign in (1.0, -1.0):
        shifted = list(arrays)
        for i, d in zip(wrt, directions, strict=True):
            shifted[i] = arrays[i] + sign * step * d
        moved.append(run(shifted))
    return (moved[0] - moved[1]) / (2 * step)


def check_gradient(
    arrays: list[np.ndarray], make: Any, wrt: list[int], *, order: int = 1, rtol: float = 1e-5, step: float = 1e-6
) -> None:
    """Compare d<c, f(x)> along random directions with central differences; order 2 differentiates the gradient."""
    rng = np.random.default_rng(1)
    b = Builder()
    inputs = [b.input(type_of(a), f"x{i}") for i, a in enumerate(arrays)]
    outputs, cotangents = weighted(b, make(b, inputs), rng)
    for _ in range(order - 1):
        grads = [g for g in gradients(b, outputs, [inputs[i] for i in wrt], cotangents) if g is not None and g.inputs]
        if not grads:
            return
        outputs = grads
        cotangents = [b.const(rng.uniform(-1, 1, g.shape), g.dtype) for g in grads]
    targets = [inputs[i] for i in wrt]
    grads = gradients(b, outputs, targets, cotangents)
    graph = Graph(
        inputs, [*outputs, *(g if g is not None else b.full_like(t, 0) for g, t in zip(grads, targets, strict=False))]
    )
    weights = [c.attrs["value"].array for c in cotangents]

    def run(values: list[np.ndarray]) -> float:
        results = evaluate(graph, values)[: len(outputs)]
        return sum(float(np.sum((w * r).real)) for w, r in zip(weights, results, strict=True))

    found = evaluate(graph, arrays)[len(outputs) :]
    for i, grad in zip(wrt, found, strict=True):
        assert grad.shape == arrays[i].shape and grad.dtype == arrays[i].dtype
        direction = rng.uniform(-1, 1, arrays[i].shape)
        if arrays[i].dtype.kind == "c":
            direction = direction + 1j * rng.uniform(-1, 1, arrays[i].shape)
        expected = directional(run, arrays, [i], [direction], step)
        actual = float(np.sum((grad * direction).real))
        assert actual == pytest.approx(expected, rel=rtol, abs=rtol), f"input {i}"


def float_inputs(arrays: list[np.ndarray]) -> list[int]:
    return [i for i, a in enumerate(arrays) if is_inexact(a.dtype.name) and a.size]


GRADIENTS = [c for c in CASES if c.values[1].differentiable and c.values[0].kind is not Kind.SOURCE]


def widest(arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [a.astype(np.complex128) if a.dtype.kind == "c" else a for a in arrays]


@pytest.mark.parametrize("op, sample", GRADIENTS)
def test_gradient(op: Op, sample: Sample) -> None:
    arrays = widest(draw(op, sample, "float64"))
    wrt = float_inputs(arrays)
    if wrt:
        check_gradient(arrays, lambda b, xs: b.emit(op.name, *xs, **sample.attrs), wrt)


@pytest.mark.parametrize("op, sample", [c for c in GRADIENTS if c.id.endswith("-0")])
def test_second_derivative(op: Op, sample: Sample) -> None:
    arrays = widest(draw(op, sample, "float64"))
    wrt = float_inputs(arrays)
    if wrt:
        check_gradient(arrays, lambda b, xs: b.emit(op.name, *xs, **sample.attrs), wrt, order=2, rtol=1e-4, step=1e-5)


@pytest.mark.parametrize("op, sample", [c for c in CASES if c.values[0].decompose is not None])
def test_decomposition(op: Op, sample: Sample) -> None:
    arrays = draw(op, sample)
    b, inputs, node = build(op, sample, arrays)
    assert op.decompose is not None
    made = op.decompose(b, node)
    if isinstance(node.type, tuple):
        pairs = [(m, b.item(node, i)) for i, m in enumerate(made)]
    else:
        pairs = [(made, node)]
    for out, whole in pairs:
        assert out.type == whole.type
        got, want = evaluate(Graph(inputs, [out, whole]), arrays)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
