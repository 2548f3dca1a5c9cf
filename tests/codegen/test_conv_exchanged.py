"""Kernel gradients of few channels out, x and dy in each other's place, against the references of the op records."""

import numpy as np
import pytest

from graphkeras.codegen.cpu import conv_grad
from graphkeras.codegen.cpu.conv_forms import forms_of_gradient
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.ir.op import get_op
from tests.codegen.harness import kernels, run

# images, sizes, channels in, channels out; taps; padding; dilation
CASES = {
    "same": ((3, 9, 11, 16, 1), (3, 3), ((1, 1), (1, 1)), (1, 1)),
    "valid": ((2, 12, 10, 33, 3), (5, 4), ((0, 0), (0, 0)), (1, 1)),
    "uneven, dilated": ((2, 13, 9, 20, 2), (3, 2), ((3, 0), (1, 2)), (2, 3)),
    "one tap": ((2, 8, 8, 64, 5), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "sequence, causal": ((3, 40, 32, 1), (4,), ((6, 0),), (2,)),
    "planes": ((1, 4, 8, 7, 16, 1), (3, 3, 3), ((1, 1), (1, 1), (1, 1)), (1, 1, 1)),
    "past the image": ((2, 4, 5, 16, 2), (7, 3), ((3, 3), (4, 0)), (1, 2)),
}


def _random(shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def _operands(case, images=None):
    (n, *sizes, cin, cout), taps, padding, dilation = CASES[case]
    attrs = {"strides": (1,) * len(sizes), "padding": padding, "dilation": dilation, "groups": 1}
    reach = zip(sizes, padding, taps, dilation, strict=True)
    outputs = [size + sum(pad) - (k - 1) * apart for size, pad, k, apart in reach]
    x, dy = _random((images or n, *sizes, cin)), _random((images or n, *outputs, cout), 1)
    return (x, dy), {**attrs, "shape": (*taps, cin, cout)}


@pytest.fixture
def exchanged(monkeypatch):
    """Takes the exchanged form, whatever it should cost."""

    def pick(ctx, kind, spec, candidates, emit=None):
        found = [c for c in candidates if c.value.exchanged]
        assert found, [c.name for c in candidates]
        return min(found, key=lambda c: c.seconds)

    monkeypatch.setattr(conv_grad, "pick", pick)


@pytest.mark.parametrize("case", CASES)
def test_against_float64(case, exchanged):
    arrays, attrs = _operands(case)
    (got,) = run(lambda b, *nodes: b.emit("conv_kernel_grad", *nodes, **attrs), *arrays)
    want = get_op("conv_kernel_grad").reference(*(a.astype(np.float64) for a in arrays), **attrs)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * np.abs(want).max())


def test_another_batch_size_compiles_nothing(exchanged):
    def sources(n):
        arrays, attrs = _operands("same", n)
        return {k.source for k in kernels(lambda b, *nodes: b.emit("conv_kernel_grad", *nodes, **attrs), *arrays)}

    assert sources(1) == sources(3) == sources(64)


@pytest.mark.parametrize(
    ("cin", "cout", "stride", "pays"), [(32, 1, 1, True), (16, 3, 1, True), (32, 64, 1, False), (32, 1, 2, False)]
)
def test_it_is_taken_where_few_channels_leave_lanes_empty(cin, cout, stride, pays):
    axes = (Axis(28 // stride, 28 // stride, 28, 3, stride, 1, 1),) * 2
    best = min(forms_of_gradient(Window("float32", 8, axes, 1, cin, cout), "float32"), key=lambda c: c.seconds)
    assert best.value.exchanged is pays
