"""Depthwise convolutions: edges, strides, dilation, odd channels, epilogues, vector units, batches, threads."""

import numpy as np
import pytest

from graphkeras.ir.op import get_op
from tests.codegen.harness import kernels, run

# input shape, taps, strides, padding, dilation, channels of a group if several
CASES = {
    "same": ((2, 9, 12, 32), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "valid, odd channels": ((3, 7, 8, 19), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "strided": ((2, 11, 10, 40), (3, 3), (2, 2), ((0, 1), (1, 1)), (1, 1)),
    "5 x 5": ((1, 9, 9, 16), (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1)),
    "7 x 7": ((1, 10, 8, 17), (7, 7), (1, 1), ((3, 3), (3, 3)), (1, 1)),
    "dilated": ((2, 10, 9, 24), (3, 2), (1, 1), ((2, 2), (0, 3)), (2, 3)),
    "small image": ((3, 7, 7, 72), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "small image, strided": ((2, 15, 14, 80), (5, 5), (2, 2), ((2, 2), (1, 2)), (1, 1)),
    "strides that differ": ((2, 9, 13, 33), (3, 4), (3, 2), ((1, 0), (2, 1)), (1, 1)),
    "strided and dilated": ((1, 13, 12, 20), (3, 3), (2, 2), ((2, 2), (1, 3)), (2, 3)),
    "taps smaller than strides": ((2, 9, 8, 16), (1, 2), (3, 3), ((0, 0), (0, 1)), (1, 1)),
    "large image": ((1, 40, 44, 16), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "groups of 4": ((2, 9, 12, 32), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
    "groups of 2, odd channels": ((3, 7, 8, 18), (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
    "groups of 8, strided": ((2, 11, 10, 40), (3, 3), (2, 2), ((0, 1), (1, 1)), (1, 1), 8),
    "groups of 16": ((1, 9, 9, 48), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 16),
    "groups of 4, small image, strided": ((2, 15, 14, 80), (5, 5), (2, 2), ((2, 2), (1, 2)), (1, 1), 4),
    "groups of 4, along one axis": ((3, 21, 36), (4,), (1,), ((3, 0),), (1,), 4),
    "along one axis": ((3, 21, 33), (4,), (1,), ((3, 0),), (1,)),
    "along one axis, strided": ((2, 20, 16), (3,), (2,), ((1, 1),), (1,)),
}


def _random(shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def _parts(case, dtype="float32", images=None):
    shape, taps, strides, padding, dilation, members = (*CASES[case], 1)[:6]
    shape = (images or shape[0], *shape[1:])
    attrs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": shape[-1] // members}
    x, w = _random(shape, 0, dtype), _random((*taps, members, shape[-1]), 1, dtype)
    dy = _random(get_op("conv").reference(x, w, **attrs).shape, 2, dtype)
    return {
        "conv": ((x, w), attrs),
        "conv_input_grad": ((dy, w), {**attrs, "shape": x.shape}),
        "conv_kernel_grad": ((x, dy), {**attrs, "shape": w.shape}),
    }


def _check(op, case, dtype="float32"):
    arrays, attrs = _parts(case, dtype)[op]
    (got,) = run(lambda b, *nodes: b.emit(op, *nodes, **attrs), *arrays)
    want = get_op(op).reference(*(a.astype(np.float64) for a in arrays), **attrs)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
@pytest.mark.parametrize("case", CASES)
def test_against_float64(op, case):
    _check(op, case)


@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
@pytest.mark.parametrize(
    "case",
    ["same", "strided", "along one axis", "small image", "small image, strided", "groups of 4", "groups of 8, strided"],
)
def test_on_avx2(op, case, monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_CPU", "x86-64-v3")
    _check(op, case)


@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
@pytest.mark.parametrize("case", ["valid, odd channels", "groups of 4", "groups of 8, strided"])
def test_float64(op, case):
    _check(op, case, "float64")


def test_squares_are_used_where_they_pay():
    def names(op, case):
        arrays, attrs = _parts(case)[op]
        return " ".join(k.source for k in kernels(lambda b, *n: b.emit(op, *n, **attrs), *arrays))

    assert "Squares of" in names("conv", "strided")
    assert "Squares of" in names("conv_input_grad", "same")
    assert "Squares of" in names("conv_kernel_grad", "5 x 5")
    assert "Squares of" not in names("conv_kernel_grad", "7 x 7")
    assert "Squares of" in names("conv_input_grad", "strided")
    assert "are copied" in names("conv", "small image") and "in place" in names("conv", "large image")


@pytest.mark.parametrize(("case", "launches"), [("strided", 1), ("groups of 8, strided", 2)])
def test_a_strided_gradient_of_the_input_is_one_launch(case, launches):
    """And one that turns the weights of groups."""
    arrays, attrs = _parts(case)["conv_input_grad"]
    assert len(kernels(lambda b, *n: b.emit("conv_input_grad", *n, **attrs), *arrays)) == launches


@pytest.mark.parametrize("case", ["groups of 4", "groups of 8, strided", "groups of 4, small image, strided"])
@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
def test_groups_of_few_channels_are_squares(op, case):
    arrays, attrs = _parts(case)[op]
    assert any("Squares of" in k.source for k in kernels(lambda b, *n: b.emit(op, *n, **attrs), *arrays))


def test_values_of_a_group_stay_in_it():
    (x, w), attrs = _parts("groups of 4")["conv"]
    x[..., 5] = np.inf  # of the second group
    (got,) = run(lambda b, *n: b.emit("conv", *n, **attrs), x, w)
    assert np.isfinite(got[..., :4]).all() and np.isfinite(got[..., 8:]).all()
    assert not np.isfinite(got[..., 4:8]).any(-1).all()


@pytest.mark.parametrize("op", ["conv", "conv_input_grad"])
@pytest.mark.parametrize("case", ["same", "valid, odd channels", "small image", "small image, strided"])
def test_epilogue_rides_along(op, case):
    (first, w), attrs = _parts(case)[op]
    plain = get_op(op).reference(first.astype(np.float64), w.astype(np.float64), **attrs)
    bias, other = _random(plain.shape[-1:], 3), _random(plain.shape, 4)

    def build(b, first, w, bias, other):
        return b.mul(b.relu(b.add(b.emit(op, first, w, **attrs), bias)), other)

    want = np.maximum(plain + bias, 0) * other
    np.testing.assert_allclose(run(build, first, w, bias, other)[0], want, rtol=1e-5, atol=1e-5)
    assert [k.name for k in kernels(build, first, w, bias, other)][-1] == op


@pytest.mark.parametrize("case", ["same", "small image"])
def test_another_batch_size_compiles_nothing(case):
    def sources(n):
        found = set()
        for op, (arrays, attrs) in _parts(case, images=n).items():
            found |= {k.source for k in kernels(lambda b, *a, op=op, attrs=attrs: b.emit(op, *a, **attrs), *arrays)}
        return found

    assert sources(1) == sources(2) == sources(67)


@pytest.mark.parametrize("case", ["same", "small image"])
def test_same_bits_for_any_number_of_threads(case):
    from graphkeras.codegen.compile import compile_graph
    from graphkeras.ir.graph import Builder, Graph
    from graphkeras.ir.types import type_of

    (x, w), attrs = _parts(case, images=64)["conv"]
    b = Builder()
    inputs = [b.input(type_of(a), n) for a, n in ((x, "x"), (w, "w"))]
    y = b.conv(*inputs, **attrs)
    dw = b.conv_kernel_grad(inputs[0], y, shape=w.shape, **attrs)
    program = compile_graph(Graph(inputs, [y, dw]))
    found = []
    for threads in (1, 2, 3):
        results = [np.empty(n.shape, np.float32) for n in (y, dw)]
        program.bind([x, w], results)
        program.run(1, threads=threads)
        found.append([r.tobytes() for r in results])
    assert found[0] == found[1] == found[2]
