"""Shape rules refuse wrong inputs and say what they expected and received; edge extents work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkeras.ir.graph import Builder, Graph
from graphkeras.ir.interpreter import apply_reference, evaluate
from graphkeras.ir.op import Kind, Op, all_ops, get_op
from graphkeras.ir.types import TensorType
from tests.ir.test_ops import check_types, first_dtype

POINTWISE = [op for op in all_ops() if op.kind is Kind.POINTWISE]
F, I = "float32", "int32"
ATTENTION = {"scale": 1.0, "causal": False, "window": 0, "rate": 0.0}
POOL = {"window": (2,), "strides": (1,), "padding": ((0, 0),)}
CONV = {"strides": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}

# (op, input types, attributes, error, part of the message)
BAD: list[tuple[str, list[tuple[tuple[int, ...], str]], dict[str, Any], type[Exception], str]] = [
    ("add", [((2,), F), ((2,), I)], {}, TypeError, "float32 and int32"),
    ("add", [((2,), F), ((3,), F)], {}, ValueError, "cannot broadcast"),
    ("exp", [((2,), I)], {}, TypeError, "received int32"),
    ("and", [((2,), F), ((2,), F)], {}, TypeError, "received float32"),
    ("select", [((2,), F), ((2,), F), ((2,), F)], {}, TypeError, "condition"),
    ("bitcast", [((2,), F)], {"dtype": "float64"}, TypeError, "one size"),
    ("cast", [((2,), F)], {"dtype": "floaty"}, TypeError, "floaty"),
    ("reduce_sum", [((2, 3), F)], {"axes": (2,), "keepdims": False}, ValueError, "axis < 2"),
    ("reduce_sum", [((2, 3), F)], {"axes": (1, 0), "keepdims": False}, ValueError, "ascending"),
    ("reduce_max", [((2, 0), F)], {"axes": (1,), "keepdims": False}, ValueError, "empty axis"),
    ("reduce_sum", [((2,), "bool")], {"axes": (0,), "keepdims": False}, TypeError, "received bool"),
    ("argmax", [((0,), F)], {"axis": 0}, ValueError, "empty axis"),
    ("dot_general", [((2, 3), F), ((4, 2), F)], {"contract": ((1,), (0,)), "batch": ((), ())}, ValueError, "3 and 4"),
    ("dot_general", [((2, 3), F), ((3, 2), F)], {"contract": ((1,), ()), "batch": ((), ())}, ValueError, "in pairs"),
    ("reshape", [((2, 3), F)], {"shape": (7,)}, ValueError, r"\(6\) to \(7,\)"),
    ("transpose", [((2, 3), F)], {"perm": (0, 0)}, ValueError, "permutation"),
    ("broadcast_to", [((2, 3), F)], {"shape": (2, 4)}, ValueError, r"\(2, 3\) to \(2, 4\)"),
    ("slice", [((4,), F)], {"start": (0,), "stop": (5,), "step": (1,)}, ValueError, "stop=5"),
    ("pad", [((4,), F)], {"low": (-1,), "high": (0,), "interior": (0,), "value": 0.0}, ValueError, "non-negative low"),
    ("concat", [((2, 3), F), ((3, 3), F)], {"axis": 1}, ValueError, "except on axis 1"),
    ("reverse", [((2,), F)], {"axes": (1,)}, ValueError, "axis < 1"),
    ("take", [((2,), F), ((2,), F)], {"axis": 0, "mode": "check"}, TypeError, "integer dtype"),
    ("take", [((2,), F), ((2,), I)], {"axis": 0, "mode": "wrong"}, ValueError, "'wrong'"),
    ("scatter", [((2,), F), ((3,), I), ((2,), F)], {"axis": 0, "combine": "add"}, ValueError, r"shape \(3,\)"),
    ("conv", [((1, 5, 3), F), ((2, 2, 4), F)], CONV, ValueError, "C_in=3"),
    ("conv", [((1, 2, 3), F), ((4, 3, 4), F)], CONV, ValueError, "covers 4"),
    ("pool_max", [((1, 1, 3), F)], POOL, ValueError, "covers 2"),
    ("cumulative", [((2,), F)], {"axis": 0, "combine": "mean", "reverse": False}, ValueError, "'mean'"),
    ("top_k", [((3,), F)], {"k": 4}, ValueError, "k=4"),
    ("random_bits", [((3,), "uint32")], {"shape": (2,)}, TypeError, r"uint32\[2\]"),
    ("softmax", [((3,), F)], {"axis": 1}, ValueError, "axis=1"),
    ("sparse_softmax_crossentropy", [((2, 3), F), ((3,), I)], {}, ValueError, "labels"),
    ("layer_norm", [((2, 3), F), ((2,), F), ((3,), F)], {"axis": (1,), "epsilon": 1e-3}, ValueError, r"shape \(3,\)"),
    ("attention", [((1, 2, 4, 3), F), ((1, 5, 3, 3), F), ((1, 5, 3, 2), F)], ATTENTION, ValueError, "G dividing H"),
    (
        "attention",
        [((1, 2, 1, 3), F), ((1, 5, 1, 3), F), ((1, 5, 1, 3), F), ((7,), F)],
        ATTENTION,
        ValueError,
        "mask|broadcast",
    ),
    ("inv", [((2, 3), F)], {}, ValueError, "square"),
    ("solve", [((2, 2), F), ((3, 1), F)], {}, ValueError, "batch shape"),
    ("fft", [((4,), F)], {"kind": "fft", "axes": (0,)}, TypeError, "complex64"),
    ("iota", [], {"shape": (2,), "dtype": "bool", "axis": 0}, TypeError, "received bool"),
]


@pytest.mark.parametrize("name, types, attrs, error, message", BAD, ids=[f"{c[0]}-{i}" for i, c in enumerate(BAD)])
def test_bad_input(name: str, types: list, attrs: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        get_op(name).infer(*(TensorType(*t) for t in types), **attrs)


def test_bad_values() -> None:
    x, labels = np.zeros((2, 3), np.float32), np.array([0, 5])
    with pytest.raises(IndexError, match=r"label 5 .* 3 classes"):
        get_op("sparse_softmax_crossentropy").reference(x, labels)
    with pytest.raises(IndexError, match=r"index -4 .* extent 3"):
        get_op("take").reference(x, np.array([1, -4]), axis=1, mode="check")
    with pytest.raises(IndexError, match=r"index 3 .* extent 3"):
        get_op("take_along_axis").reference(x, np.array([[3], [0]]), axis=1)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 0, 3), (1, 1), ()])
@pytest.mark.parametrize("op", POINTWISE, ids=lambda op: op.name)
def test_pointwise_extents(op: Op, shape: tuple[int, ...]) -> None:
    """No elements, one element, no axes."""
    if op.name == "bitcast":
        pytest.skip("needs a dtype of the same width")
    count = len(op.samples[0].shapes)
    arrays = [np.ones(shape, first_dtype(op)) for _ in range(count)]
    if op.name == "select":
        arrays[0] = arrays[0].astype(bool)
    b = Builder()
    inputs = [b.input(TensorType(shape, a.dtype.name), "x") for a in arrays]
    node = b.emit(op.name, *inputs, **op.samples[0].attrs)
    assert node.shape == shape
    check_types(apply_reference(node, arrays), node.type)


def test_reductions_of_nothing() -> None:
    x = np.zeros((0, 3), np.float32)
    keep = {"axes": (0,), "keepdims": False}
    np.testing.assert_array_equal(get_op("reduce_sum").reference(x, **keep), np.zeros(3))
    np.testing.assert_array_equal(get_op("reduce_prod").reference(x, **keep), np.ones(3))
    assert get_op("reduce_and").reference(x.astype(bool), **keep).all()


def test_integers_do_not_widen() -> None:
    b = Builder()
    x = b.input(TensorType((4,), "int8"), "x")
    graph = Graph(
        [x], [b.reduce_sum(x, axes=(0,), keepdims=False), b.cumulative(x, axis=0, combine="sum", reverse=False)]
    )
    total, running = evaluate(graph, [np.array([100, 27, 1, 0], np.int8)])
    assert total.dtype == running.dtype == np.int8
    assert total == -128  # wraps like every int8


def test_division_by_integer_zero_is_zero() -> None:
    x, zero = np.array([5, -5], np.int32), np.zeros(2, np.int32)
    for name in ("mod", "rem", "floor_div"):
        np.testing.assert_array_equal(get_op(name).reference(x, zero), [0, 0])


def test_take_modes() -> None:
    x = np.arange(3, dtype=np.float32)
    index = np.array([-1, 2, 3, -4])
    take = get_op("take").reference
    np.testing.assert_array_equal(take(x, index, axis=0, mode="clip"), [0, 2, 2, 0])
    np.testing.assert_array_equal(take(x, index, axis=0, mode="fill"), [2, 2, np.nan, np.nan])
    np.testing.assert_array_equal(take(x.astype(np.int32), index, axis=0, mode="fill"), [2, 2, 0, 0])


def test_sort_keeps_equals_in_order() -> None:
    x = np.array([1, 0, 1, 0, np.nan], np.float32)
    order = get_op("argsort").reference
    np.testing.assert_array_equal(order(x, axis=0, descending=False, stable=True), [1, 3, 0, 2, 4])
    np.testing.assert_array_equal(order(x, axis=0, descending=True, stable=True), [4, 0, 2, 1, 3])
    values, index = get_op("top_k").reference(x[:4], k=3)
    np.testing.assert_array_equal(index, [0, 2, 1])
    np.testing.assert_array_equal(values, [1, 1, 0])
