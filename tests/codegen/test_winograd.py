"""Convolutions in Winograd's form: edges, odd channels, epilogues, gradients, vector units, threads, batches."""

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.cpu import conv, conv_grad
from graphkeras.codegen.cpu.conv_forms import forms_of
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.ir.op import get_op
from tests.codegen.harness import kernels, run

# images, (planes,) rows, columns, channels in, channels out; padding; then: taps if not 3 along each axis, dilation,
# groups, stride of planes
CASES = {
    "same": ((3, 8, 12, 16, 16), ((1, 1), (1, 1))),
    "ragged edges": ((2, 9, 11, 20, 33), ((1, 1), (1, 1))),
    "valid": ((5, 13, 13, 32, 64), ((0, 0), (0, 0))),
    "uneven padding": ((1, 10, 9, 13, 17), ((2, 0), (0, 1))),
    "many panels": ((1, 12, 12, 70, 130), ((1, 1), (1, 1))),
    "several blocks": ((7, 16, 16, 16, 32), ((1, 1), (1, 1))),
    "dilated": ((3, 13, 18, 16, 24), ((2, 2), (3, 3)), {"dilation": (2, 3)}),
    "dilated valid": ((2, 11, 9, 20, 16), ((0, 0), (0, 0)), {"dilation": (1, 3)}),
    "dilated past the image": ((2, 4, 3, 16, 16), ((5, 5), (4, 4)), {"dilation": (5, 4)}),
    "planes": ((2, 5, 9, 6, 16, 32), ((1, 1), (1, 1), (1, 1)), {"dilation": (1, 1, 1)}),
    "planes dilated": ((2, 6, 9, 6, 16, 20), ((2, 0), (2, 2), (1, 1)), {"dilation": (3, 2, 1)}),
    "planes strided": ((2, 7, 8, 8, 13, 16), ((0, 1), (1, 1), (1, 1)), {"dilation": (1, 1, 1), "stride": 2}),
    "one tap of planes": ((2, 3, 8, 8, 16, 16), ((0, 0), (1, 1), (1, 1)), {"dilation": (1, 1, 1), "taps": (1, 3, 3)}),
    "groups": ((2, 9, 11, 64, 96), ((1, 1), (1, 1)), {"groups": 2}),
    "sections": ((5, 13, 12, 192, 192), ((1, 1), (1, 1)), {"groups": 12}),
    "sections, dilated": ((2, 13, 12, 96, 192), ((2, 2), (1, 1)), {"groups": 6, "dilation": (2, 1)}),
    "5 x 5": ((2, 10, 9, 16, 24), ((2, 2), (2, 2)), {"taps": (5, 5)}),
    "4 x 7, dilated": ((2, 14, 17, 20, 16), ((1, 2), (6, 6)), {"taps": (4, 7), "dilation": (1, 2)}),
    "2 x 2": ((2, 9, 10, 16, 24), ((0, 1), (1, 0)), {"taps": (2, 2)}),
    "one row of taps": ((2, 5, 13, 16, 32), ((0, 0), (1, 1)), {"taps": (1, 3)}),
    "one row of many": ((2, 6, 18, 16, 16), ((1, 0), (4, 4)), {"taps": (1, 9)}),
    "sequence": ((3, 29, 16, 40), ((1, 1),)),
    "sequence, valid": ((2, 18, 13, 16), ((0, 0),)),
    "sequence of 5, dilated": ((3, 40, 32, 16), ((6, 6),), {"taps": (5,), "dilation": (3,)}),
    "sequence, before only": ((2, 33, 16, 16), ((5, 0),), {"taps": (4,), "dilation": (2,)}),
    "sequence in groups": ((2, 21, 96, 192), ((1, 1),), {"groups": 6}),
    "planes of 5 x 5": ((1, 4, 9, 8, 16, 16), ((1, 1), (2, 2), (2, 2)), {"taps": (3, 5, 5), "dilation": (1, 1, 1)}),
    "planes in groups": ((1, 4, 7, 8, 128, 64), ((1, 1), (1, 1), (1, 1)), {"groups": 4, "dilation": (1, 1, 1)}),
}


@pytest.fixture(autouse=True)
def winograd_where_it_can_be(monkeypatch):
    """The form that is tested here, also where the model would take another."""

    def pick(ctx, kind, spec, candidates, emit=None):
        found = [c for c in candidates if c.name == "winograd"]
        return min(found or candidates, key=lambda c: c.seconds)

    monkeypatch.setattr(conv, "pick", pick)
    monkeypatch.setattr(conv_grad, "pick", pick)


def _random(shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _parts(case):
    (n, *sizes, cin, cout), padding, *more = CASES[case]
    given = {"dilation": (1,) * len(sizes), "groups": 1, "stride": 1, "taps": (3,) * len(sizes)}
    given |= more[0] if more else {}
    window = given["taps"]
    strides = (given["stride"], 1, 1)[: len(sizes)] if len(sizes) == 3 else (1,) * len(sizes)
    attrs = {"strides": strides, "padding": padding, "dilation": given["dilation"], "groups": given["groups"]}
    x, weights = _random((n, *sizes, cin)), _random((*window, cin // given["groups"], cout), 1)
    reach = zip(sizes, padding, window, given["dilation"], strides, strict=True)
    outputs = [(size + sum(pad) - (taps - 1) * apart - 1) // step + 1 for size, pad, taps, apart, step in reach]
    return x, weights, _random((n, *outputs, cout), 2), attrs


def _operands(op, case):
    x, w, dy, attrs = _parts(case)
    return {
        "conv": ((x, w), attrs),
        "conv_input_grad": ((dy, w), {**attrs, "shape": x.shape}),
        "conv_kernel_grad": ((x, dy), {**attrs, "shape": w.shape}),
    }[op]


def _check(op, case):
    arrays, attrs = _operands(op, case)

    def build(b, *nodes):
        return b.emit(op, *nodes, **attrs)

    (got,) = run(build, *arrays)
    want = get_op(op).reference(*(a.astype(np.float64) for a in arrays), **attrs)
    # a sum of n products in order errs by about sqrt(n) units, and this form by three times that
    np.testing.assert_allclose(got, want, rtol=0, atol=6e-6 * np.abs(want).max())
    direct = (op, case) == ("conv_input_grad", "planes strided")  # its outputs are spread by the stride
    assert any("Winograd" in k.source for k in kernels(build, *arrays)) is not direct


@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
@pytest.mark.parametrize("case", CASES)
def test_against_float64(op, case):
    _check(op, case)


@pytest.mark.parametrize("op", ["conv", "conv_input_grad", "conv_kernel_grad"])
@pytest.mark.parametrize(
    "case",
    ["ragged edges", "several blocks", "planes dilated", "sections, dilated", "5 x 5", "sequence", "one row of many"],
)
def test_on_avx2(op, case, monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_CPU", "x86-64-v3")
    _check(op, case)


@pytest.mark.parametrize("op", ["conv", "conv_input_grad"])
@pytest.mark.parametrize(
    "case", ["ragged edges", "planes dilated", "sections, dilated", "4 x 7, dilated", "sequence of 5, dilated"]
)
def test_epilogue_rides_along(op, case):
    (first, w), attrs = _operands(op, case)
    plain = get_op(op).reference(first.astype(np.float64), w.astype(np.float64), **attrs)
    bias, other = _random(plain.shape[-1:], 3), _random(plain.shape, 4)

    def build(b, first, w, bias, other):
        return b.mul(b.relu(b.add(b.emit(op, first, w, **attrs), bias)), other)

    want = np.maximum(plain + bias, 0) * other
    np.testing.assert_allclose(run(build, first, w, bias, other)[0], want, rtol=0, atol=1e-5 * np.abs(want).max())
    assert [k.name for k in kernels(build, first, w, bias, other)][-1] == op


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats_are_computed_in_float32(dtype):
    from graphkeras.ir.types import numpy_dtype

    x, w, _, attrs = _parts("same")
    x, w = x.astype(numpy_dtype(dtype)), (w / 12).astype(numpy_dtype(dtype))
    (got,) = run(lambda b, x, w: b.conv(x, w, **attrs), x, w)
    want = get_op("conv").reference(x.astype(np.float64), w.astype(np.float64), **attrs)
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3}[dtype]
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=tolerance, atol=tolerance)


def test_it_can_be_switched_off():
    x, w, _, attrs = _parts("same")
    with flags.PASSES("-winograd"):
        found = kernels(lambda b, x, w: b.conv(x, w, **attrs), x, w)
    assert [k.name for k in found] == ["conv"] and "Winograd" not in found[0].source


def _sources(case, images, length=None):
    """Of all three kernels, for so many images, or sequences of that length."""
    x, w, _, attrs = _parts(case)
    x = np.zeros((images, *((length,) if length else x.shape[1:-1]), x.shape[-1]), np.float32)

    def build(b, x, w):
        y = b.conv(x, w, **attrs)
        more = {"shape": x.shape, **attrs}, {"shape": w.shape, **attrs}
        return y, b.conv_input_grad(y, w, **more[0]), b.conv_kernel_grad(x, y, **more[1])

    return {k.source for k in kernels(build, x, w)}


def test_another_batch_size_compiles_nothing():
    assert _sources("same", 1) == _sources("same", 3) == _sources("same", 64)


@pytest.mark.parametrize("case", ["sequence", "sequence of 5, dilated"])
def test_another_length_compiles_nothing(case):
    assert _sources(case, 2, 24) == _sources(case, 2, 57) == _sources(case, 2, 400)


@pytest.mark.parametrize(
    ("axes", "form"),
    [
        ((Axis(200, 200, 200, 3, 1, 1, 1),), "winograd"),
        ((Axis(200, 200, 200, 3, 1, 1, 2),), "tiles"),  # causal: not even rounding may come from later steps
        ((Axis(200, 200, 200, 3, 1, 4, 0),), "tiles"),  # its gradient
        ((Axis(198, 198, 200, 3, 1, 1, 0),), "winograd"),
        ((Axis(200, 200, 200, 2, 1, 1, 1),), "tiles"),
        ((Axis(28, 28, 28, 5, 1, 1, 2),) * 2, "winograd"),
        ((Axis(28, 28, 28, 1, 1, 1, 0), Axis(28, 28, 28, 3, 1, 1, 1)), "winograd"),
        ((Axis(14, 14, 28, 5, 2, 1, 2),) * 2, "tiles"),
    ],
)
def test_windows_that_take_the_form(axes, form):
    window = Window("float32", 8, axes, 1, 32, 64)
    assert min(forms_of(window), key=lambda c: c.seconds).value.name == form


def test_nothing_of_a_causal_convolution_comes_from_later_steps():
    x, w = _random((2, 40, 16)), _random((3, 16, 32), 1)
    attrs = {"strides": (1,), "padding": ((2, 0),), "dilation": (1,), "groups": 1}
    later = x.copy()
    later[:, 21:] *= 1e6
    (first,), (second,) = (run(lambda b, x, w: b.conv(x, w, **attrs), a, w) for a in (x, later))
    np.testing.assert_array_equal(first[:, :21], second[:, :21])


def test_same_bits_for_any_number_of_threads():
    from graphkeras.codegen.compile import compile_graph
    from graphkeras.ir.graph import Builder, Graph
    from graphkeras.ir.types import type_of

    x, w, _, attrs = _parts("several blocks")
    b = Builder()
    inputs = [b.input(type_of(a), n) for a, n in ((x, "x"), (w, "w"))]
    y = b.conv(*inputs, **attrs)
    dx = b.conv_input_grad(y, inputs[1], shape=x.shape, **attrs)
    dw = b.conv_kernel_grad(inputs[0], y, shape=w.shape, **attrs)
    program = compile_graph(Graph(inputs, [y, dx, dw]))
    found = []
    for threads in (1, 2, 3):
        results = [np.empty(n.shape, np.float32) for n in (y, dx, dw)]
        program.bind([x, w], results)
        program.run(1, threads=threads)
        found.append([r.tobytes() for r in results])
    assert found[0] == found[1] == found[2]
