"""Groups of few channels computed several at a time, against the references of the op records."""

import numpy as np
import pytest

from graphkeras.codegen.cpu import conv, conv_grad
from graphkeras.codegen.cpu.conv_forms import forms_of, forms_of_gradient
from graphkeras.codegen.cpu.window import Axis, Window
from graphkeras.ir.op import get_op
from tests.codegen.harness import kernels, run

# input shape, kernel shape, strides, padding, dilation, groups; how many of them are joined
CASES = {
    "winograd": ((2, 9, 10, 32), (3, 3, 4, 32), (1, 1), ((1, 1), (1, 1)), (1, 1), 8, 4),
    "winograd, other counts": ((2, 9, 10, 32), (3, 3, 8, 64), (1, 1), ((1, 0), (1, 2)), (2, 1), 4, 2),
    "strided": ((3, 11, 9, 32), (3, 3, 4, 48), (2, 2), ((1, 1), (0, 1)), (1, 1), 8, 4),
    "one channel each": ((2, 9, 9, 16), (3, 2, 1, 32), (1, 1), ((1, 1), (1, 1)), (1, 1), 16, 16),
    "few out": ((2, 9, 9, 24), (2, 3, 6, 12), (1, 1), ((0, 1), (1, 1)), (1, 1), 4, 2),
    "1d": ((3, 31, 32), (2, 8, 32), (1,), ((1, 0),), (1,), 4, 2),
    "winograd, 3d": ((1, 4, 6, 7, 16), (2, 3, 3, 8, 32), (1, 1, 1), ((1, 0), (1, 1), (1, 1)), (1, 1, 1), 2, 2),
}
OPS = ["conv", "conv_input_grad", "conv_kernel_grad"]


def _random(shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")


def _operands(op, case):
    x_shape, w_shape, strides, padding, dilation, groups, _ = CASES[case]
    attrs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    x, w = _random(x_shape), _random(w_shape, 1)
    dy = _random(get_op("conv").reference(x, w, **attrs).shape, 2)
    return {
        "conv": ((x, w), attrs),
        "conv_input_grad": ((dy, w), {**attrs, "shape": x_shape}),
        "conv_kernel_grad": ((x, dy), {**attrs, "shape": w_shape}),
    }[op]


@pytest.fixture
def joining(monkeypatch):
    """Takes the first form that joins so many groups, whatever it should cost; what was taken."""
    taken = []

    def choose(count):
        def pick(ctx, kind, spec, candidates, emit=None):
            found = [c for c in candidates if c.value.joined == count]
            assert found, f"no form joins {count} groups: {[c.name for c in candidates]}"
            taken.append(min(found, key=lambda c: c.seconds))
            return taken[-1]

        monkeypatch.setattr(conv, "pick", pick)
        monkeypatch.setattr(conv_grad, "pick", pick)
        return taken

    return choose


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", CASES)
def test_against_float64(op, case, joining):
    taken = joining(CASES[case][-1])
    arrays, attrs = _operands(op, case)
    (got,) = run(lambda b, *nodes: b.emit(op, *nodes, **attrs), *arrays)
    want = get_op(op).reference(*(a.astype(np.float64) for a in arrays), **attrs)
    np.testing.assert_allclose(got, want, rtol=0, atol=6e-6 * np.abs(want).max())
    assert any("winograd" in c.name for c in taken) is case.startswith("winograd")


@pytest.mark.parametrize("case", ["winograd", "strided"])
def test_epilogue_rides_along(case, joining):
    joining(CASES[case][-1])
    (x, w), attrs = _operands("conv", case)
    bias = _random(w.shape[-1:], 3)
    (got,) = run(lambda b, x, w, bias: b.relu(b.add(b.conv(x, w, **attrs), bias)), x, w, bias)
    want = np.maximum(get_op("conv").reference(x.astype(np.float64), w.astype(np.float64), **attrs) + bias, 0)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_values_of_a_group_stay_in_it_in_the_gradient_of_the_weights(joining):
    """Products between groups are computed, but not kept: what is infinite in one does not reach another's weights."""
    joining(4)
    (x, dy), attrs = _operands("conv_kernel_grad", "strided")
    x[..., 5] = np.inf  # of the second group
    (got,) = run(lambda b, *nodes: b.emit("conv_kernel_grad", *nodes, **attrs), x, dy)
    assert np.isfinite(got[..., :6]).all() and np.isfinite(got[..., 12:]).all()
    assert not np.isfinite(got[:, :, 1, 6:12]).all()


@pytest.mark.parametrize(
    ("cin", "cout", "form"),
    [
        (2, 2, "squares"), (4, 4, "squares"), (8, 8, "squares"), (16, 16, "winograd"), (32, 32, "winograd"),
        (4, 8, "winograd"), (8, 4, "winograd"),
    ],
)  # fmt: skip
def test_the_form_that_groups_of_few_channels_take(cin, cout, form):
    axes = (Axis(28, 28, 28, 3, 1, 1, 1),) * 2
    window = Window("float32", 8, axes, 32, cin, cout)
    for forms in (forms_of(window), forms_of_gradient(window, "float32")):
        best = min(forms, key=lambda c: c.seconds).value
        assert best.name == form
        assert (best.joined > 1) is (form == "winograd" and cin * cout < 256)


def test_another_batch_size_compiles_nothing():
    def sources(n):
        (x, w), attrs = _operands("conv", "winograd")
        x = np.broadcast_to(x[:1], (n, *x.shape[1:])).copy()
        return {k.source for k in kernels(lambda b, x, w: b.conv(x, w, **attrs), x, w)}

    assert sources(1) == sources(5) == sources(64)
