"""Convolutions and their gradients against the references of the op records."""

import numpy as np
import pytest

from graphkeras.codegen import flags
from graphkeras.codegen.cpu.conv_forms import forms_of_gradient
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.ir.op import get_op
from tests.codegen.harness import kernels, run

# input shape, kernel shape, strides, padding, dilation, groups
CASES = {
    "1d": ((2, 19, 5), (3, 5, 7), (1,), ((1, 1),), (1,), 1),
    "1d causal dilated": ((3, 30, 4), (3, 4, 8), (1,), ((4, 0),), (2,), 1),
    "1d strided": ((2, 20, 6), (4, 6, 18), (3,), ((2, 1),), (1,), 1),
    "2d first layer": ((3, 14, 13, 1), (3, 3, 1, 16), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "2d same": ((2, 9, 11, 16), (3, 3, 16, 20), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "2d many channels": ((2, 8, 8, 32), (3, 3, 32, 70), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "2d strided": ((2, 13, 12, 3), (5, 3, 3, 33), (2, 2), ((1, 2), (0, 1)), (1, 1), 1),
    "2d kernel smaller than stride": ((2, 10, 10, 4), (1, 1, 4, 6), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    "2d dilated": ((2, 12, 12, 3), (3, 2, 3, 5), (1, 1), ((2, 2), (0, 3)), (2, 3), 1),
    "2d strided and dilated": ((1, 14, 14, 3), (3, 3, 3, 5), (2, 4), ((2, 2), (1, 3)), (3, 2), 1),
    "2d grouped": ((2, 9, 8, 12), (3, 3, 4, 18), (1, 2), ((1, 1), (1, 0)), (1, 1), 3),
    "2d depthwise": ((2, 9, 9, 20), (3, 3, 1, 20), (1, 1), ((1, 1), (1, 1)), (1, 1), 20),
    "2d depthwise strided": ((2, 9, 9, 33), (3, 3, 1, 33), (2, 2), ((0, 1), (0, 1)), (1, 1), 33),
    "2d depthwise multiplied": ((2, 7, 7, 5), (3, 3, 1, 10), (1, 1), ((1, 1), (1, 1)), (1, 1), 5),
    "2d padding wider than kernel": ((1, 3, 3, 2), (2, 2, 2, 3), (1, 1), ((3, 2), (2, 4)), (1, 1), 1),
    "2d one by one": ((4, 6, 6, 24), (1, 1, 24, 40), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "2d wide": ((2, 7, 6, 144), (3, 3, 144, 136), (1, 1), ((1, 0), (1, 2)), (1, 2), 1),
    "2d wide strided": ((3, 9, 14, 130), (1, 3, 130, 520), (2, 2), ((0, 0), (1, 1)), (1, 1), 1),
    "2d wide one by one": ((1, 7, 7, 1030), (1, 1, 1030, 128), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "2d few channels": ((3, 8, 9, 20), (3, 3, 20, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "2d few channels dilated": ((2, 12, 11, 33), (3, 3, 33, 5), (2, 1), ((2, 2), (0, 2)), (1, 2), 1),
    "2d one channel": ((2, 9, 9, 1), (5, 5, 1, 6), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    "3d": ((2, 6, 7, 5, 3), (2, 3, 2, 3, 9), (1, 2, 1), ((1, 0), (1, 1), (0, 0)), (1, 1, 1), 1),
    "large image": ((1, 70, 60, 8), (3, 3, 8, 16), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
}


def _settings(case):
    _, _, strides, padding, dilation, groups = CASES[case]
    return {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}


def _random(shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def _check(op, arrays, attrs, rtol=1e-5):
    (got,) = run(lambda b, *nodes: b.emit(op, *nodes, **attrs), *arrays)
    want = get_op(op).reference(*(a.astype(np.float64) for a in arrays), **attrs)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * max(1.0, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("case", CASES)
def test_conv(case):
    x, w = _random(CASES[case][0]), _random(CASES[case][1], 1)
    _check("conv", (x, w), _settings(case))


@pytest.mark.parametrize("case", CASES)
def test_conv_input_grad(case):
    x, w = _random(CASES[case][0]), _random(CASES[case][1], 1)
    dy = _random(get_op("conv").reference(x, w, **_settings(case)).shape, 2)
    _check("conv_input_grad", (dy, w), {"shape": x.shape, **_settings(case)})


@pytest.mark.parametrize("case", CASES)
def test_conv_kernel_grad(case):
    x, w = _random(CASES[case][0]), _random(CASES[case][1], 1)
    dy = _random(get_op("conv").reference(x, w, **_settings(case)).shape, 2)
    _check("conv_kernel_grad", (x, dy), {"shape": w.shape, **_settings(case)})


@pytest.mark.parametrize(
    "case", ["2d same", "2d first layer", "2d depthwise", "2d grouped", "2d wide", "2d few channels"]
)
def test_bias_and_relu_ride_along(case):
    x, w = _random(CASES[case][0]), _random(CASES[case][1], 1)
    bias = _random(w.shape[-1:], 2)

    def build(b, x, w, bias):
        return b.relu(b.add(b.conv(x, w, **_settings(case)), bias))

    want = np.maximum(get_op("conv").reference(x, w, **_settings(case)) + bias, 0)
    np.testing.assert_allclose(run(build, x, w, bias)[0], want, rtol=1e-4, atol=1e-4)
    assert [k.name for k in kernels(build, x, w, bias) if "weights" not in k.name] == ["conv"]


def test_many_images_are_cut_into_items():
    x, w = _random((40, 8, 8, 16)), _random((3, 3, 16, 32), 1)
    attrs = _settings("2d same")
    with flags.PASSES("-winograd"):
        (kernel,) = kernels(lambda b, x, w: b.conv(x, w, **attrs), x, w)
        assert kernel.extent >= 8
        _check("conv", (x, w), attrs)


def test_every_phase_of_a_transposed_convolution_gets_its_epilogue():
    x, w = _random((2, 11, 10, 4)), _random((3, 3, 4, 20), 1)
    attrs = {"strides": (2, 2), "padding": ((1, 1), (0, 1)), "dilation": (1, 1), "groups": 1}
    dy, bias = _random(get_op("conv").reference(x, w, **attrs).shape, 2), _random((4,), 3)

    def build(b, dy, w, bias, x):
        return b.mul(b.relu(b.add(b.conv_input_grad(dy, w, shape=x.shape, **attrs), bias)), x)

    want = np.maximum(get_op("conv_input_grad").reference(dy, w, shape=x.shape, **attrs) + bias, 0) * x
    np.testing.assert_allclose(run(build, dy, w, bias, x)[0], want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("case", ["2d same", "2d depthwise", "2d grouped", "2d wide", "2d few channels"])
def test_other_vector_units(case, cpu, monkeypatch):
    monkeypatch.setenv("GRAPHKERAS_CPU", cpu)
    x, w = _random(CASES[case][0]), _random(CASES[case][1], 1)
    dy = _random(get_op("conv").reference(x, w, **_settings(case)).shape, 2)
    _check("conv", (x, w), _settings(case))
    _check("conv_input_grad", (dy, w), {"shape": x.shape, **_settings(case)})
    _check("conv_kernel_grad", (x, dy), {"shape": w.shape, **_settings(case)})


@pytest.mark.parametrize("case", ["2d same", "2d wide", "2d strided", "2d few channels"])
def test_another_batch_size_compiles_nothing(case):
    def sources(n):
        x, w = _random((n, *CASES[case][0][1:])), _random(CASES[case][1], 1)
        attrs = _settings(case)

        def build(b, x, w):
            y = b.conv(x, w, **attrs)
            grads = {"shape": x.shape, **attrs}, {"shape": w.shape, **attrs}
            return y, b.conv_input_grad(y, w, **grads[0]), b.conv_kernel_grad(x, y, **grads[1])

        return {s for k in kernels(build, x, w) for s in (k.source, *k.companions)}

    assert sources(32) == sources(19) == sources(64)


def test_same_bits_for_any_number_of_threads():
    from graphkeras.codegen.compile import compile_graph
    from graphkeras.ir.graph import Builder, Graph
    from graphkeras.ir.types import type_of

    x, w = _random((16, 16, 16, 16)), _random((3, 3, 16, 32), 1)
    attrs, b = _settings("2d same"), Builder()
    inputs = [b.input(type_of(a), n) for a, n in ((x, "x"), (w, "w"))]
    y = b.conv(*inputs, **attrs)
    dw = b.conv_kernel_grad(inputs[0], y, shape=w.shape, **attrs)
    flat = b.reshape(y, shape=(16, 16 * 16 * 32))
    program = compile_graph(Graph(inputs, [y, dw, b.dot_general(flat, flat, contract=((1,), (1,)), batch=((), ()))]))
    found = []
    for threads in (1, 2, 3):
        results = [np.empty(n, np.float32) for n in (y.shape, w.shape, (16, 16))]
        program.bind([x, w], results)
        program.run(1, threads=threads)
        found.append([r.tobytes() for r in results])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes(dtype):
    from graphkeras.ir.types import numpy_dtype

    x, w = _random((2, 7, 7, 3)).astype(numpy_dtype(dtype)), _random((3, 3, 3, 5), 1).astype(numpy_dtype(dtype))
    attrs = _settings("2d same")
    (got,) = run(lambda b, x, w: b.conv(x, w, **attrs), x, w)
    want = get_op("conv").reference(x, w, **attrs)
    assert got.dtype == x.dtype
    tolerance = {"float64": 1e-12, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("cin", "cout", "stride"), [(256, 1024, 1), (1024, 2048, 2), (512, 1024, 2), (1024, 256, 1), (512, 128, 1)]
)
def test_kernel_gradients_of_many_channels_go_in_blocks(cin, cout, stride):
    """Plain tiles look as fast, and take up to twice the time: their columns of x and dy come from afar."""
    window = Window("float32", 8, (Axis(14, 14, 14 * stride, 1, stride, 1, 0),) * 2, 1, cin, cout)
    assert min(forms_of_gradient(window, "float32"), key=lambda c: c.seconds).value.name == "blocks"
