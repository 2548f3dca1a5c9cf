"""WINDOW ops: convolution and pooling over channels-last arrays.

x: (N, *spatial, C); kernels: (*window, C / groups, C_out). The two gradients of `conv` are ops of their own, each
linear in both inputs and each a gradient of the others; transposed convolution is `conv_input_grad`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphkeras.ir.body import lowest
from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.rules import FLOATS, INTS, same_dtype, want_dtype, want_shape, widened
from graphkeras.ir.types import TensorType

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
NUMBERS = (*FLOATS, *INTS)
EXTRA = {"dtypes": NUMBERS}


def _want_settings(name: str, spatial: int, settings: dict[str, Sequence[Any]]) -> None:
    for what, values in settings.items():
        low = 0 if what == "padding" else 1
        flat = [v for pair in values for v in pair] if what == "padding" else list(values)
        if len(values) != spatial or any(v < low for v in flat):
            raise ValueError(
                f"{name} expects {what} with one entry >= {low} per spatial axis ({spatial}); received {what}={values}"
            )


def out_extents(name: str, shape: Ints, window: Ints, strides: Ints, padding: Pairs, dilation: Ints) -> Ints:
    """Number of window positions per spatial axis."""
    found = []
    for axis, (n, k, s, (lo, hi), d) in enumerate(zip(shape, window, strides, padding, dilation, strict=True)):
        reach = (k - 1) * d + 1
        if n + lo + hi < reach:
            raise ValueError(
                f"{name}: the window covers {reach} elements of spatial axis {axis}, but the padded input has "
                f"{n} + {lo} + {hi}; use a smaller window or dilation, or padding"
            )
        found.append((n + lo + hi - reach) // s + 1)
    return tuple(found)


def taps(window: Ints, out: Ints, strides: Ints, dilation: Ints) -> Iterator[tuple[Ints, tuple[slice, ...]]]:
    """Each kernel position with the slices of the padded input that it meets."""
    for tap in itertools.product(*map(range, window)):
        where = tuple(
            slice(t * d, t * d + (o - 1) * s + 1 if o else t * d, s)
            for t, o, s, d in zip(tap, out, strides, dilation, strict=True)
        )
        yield tap, where


# -- convolution -----------------------------------------------------------------------------------
def _conv_shape(
    name: str, x: Ints, w: Ints, strides: Ints, padding: Pairs, dilation: Ints, groups: int
) -> tuple[int, ...]:
    if len(x) < 3 or len(w) != len(x):
        raise ValueError(f"{name} expects x (N, *spatial, C) and a kernel of the same rank; received {x} and {w}")
    spatial = len(x) - 2
    _want_settings(name, spatial, {"strides": strides, "padding": padding, "dilation": dilation})
    if groups < 1 or x[-1] % groups or w[-1] % groups or w[-2] * groups != x[-1]:
        raise ValueError(
            f"{name} expects a kernel (*window, C_in / groups, C_out) with C_out a multiple of groups; received "
            f"C_in={x[-1]}, groups={groups}, kernel shape {w}"
        )
    return (x[0], *out_extents(name, x[1:-1], w[:-2], strides, padding, dilation), w[-1])


def padded_with(x: np.ndarray, padding: Pairs, value: Any = 0) -> np.ndarray:
    if not any(lo or hi for lo, hi in padding):
        return x
    return np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=value)


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """(..., C) to (groups, everything, C / groups)."""
    return np.moveaxis(x.reshape(-1, groups, x.shape[-1] // groups), 1, 0)


def _conv_infer(x: TensorType, w: TensorType, **attrs: Any) -> TensorType:
    want_dtype("conv", x, NUMBERS)
    return TensorType(_conv_shape("conv", x.shape, w.shape, **attrs), same_dtype("conv", x, w))


def _conv(x: np.ndarray, w: np.ndarray, *, strides: Ints, padding: Pairs, dilation: Ints, groups: int) -> np.ndarray:
    shape = _conv_shape("conv", x.shape, w.shape, strides, padding, dilation, groups)
    out = np.zeros((groups, int(np.prod(shape[:-1])), w.shape[-1] // groups), x.dtype)
    x = padded_with(x, padding)
    for tap, where in taps(w.shape[:-2], shape[1:-1], strides, dilation):
        weights = np.moveaxis(w[tap].reshape(w.shape[-2], groups, -1), 1, 0)
        out += np.matmul(_grouped(x[(slice(None), *where)], groups), weights)
    return np.moveaxis(out, 0, 1).reshape(shape)


def _conv_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, w = node.inputs
    return [
        b.conv_input_grad(ct, w, shape=x.shape, **node.attrs),
        b.conv_kernel_grad(x, ct, shape=w.shape, **node.attrs),
    ]


def _input_grad_infer(dy: TensorType, w: TensorType, *, shape: Ints, **attrs: Any) -> TensorType:
    name = "conv_input_grad"
    want_dtype(name, dy, NUMBERS)
    dtype = same_dtype(name, dy, w)
    expected = _conv_shape(name, want_shape(name, shape), w.shape, **attrs)
    if dy.shape != expected:
        raise ValueError(f"{name} expects dy of shape {expected} for an input of shape {shape}; received {dy.shape}")
    return TensorType(shape, dtype)


def _input_grad(
    dy: np.ndarray, w: np.ndarray, *, shape: Ints, strides: Ints, padding: Pairs, dilation: Ints, groups: int
) -> np.ndarray:
    spatial = [n + lo + hi for n, (lo, hi) in zip(shape[1:-1], padding, strict=True)]
    out = np.zeros((shape[0], *spatial, shape[-1]), dy.dtype)
    rows = _grouped(dy, groups)
    for tap, where in taps(w.shape[:-2], dy.shape[1:-1], strides, dilation):
        weights = w[tap].reshape(w.shape[-2], groups, -1).transpose(1, 2, 0)
        part = np.moveaxis(np.matmul(rows, weights), 0, 1)
        out[(slice(None), *where)] += part.reshape(*dy.shape[:-1], shape[-1])
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(shape[1:-1], padding, strict=True))
    return out[(slice(None), *inner)]


def _input_grad_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    dy, w = node.inputs
    attrs = {k: v for k, v in node.attrs.items() if k != "shape"}
    return [b.conv(ct, w, **attrs), b.conv_kernel_grad(ct, dy, shape=w.shape, **attrs)]


def _kernel_grad_infer(x: TensorType, dy: TensorType, *, shape: Ints, **attrs: Any) -> TensorType:
    name = "conv_kernel_grad"
    want_dtype(name, x, NUMBERS)
    dtype = same_dtype(name, x, dy)
    expected = _conv_shape(name, x.shape, want_shape(name, shape), **attrs)
    if dy.shape != expected:
        raise ValueError(f"{name} expects dy of shape {expected} for a kernel of shape {shape}; received {dy.shape}")
    return TensorType(shape, dtype)


def _kernel_grad(
    x: np.ndarray, dy: np.ndarray, *, shape: Ints, strides: Ints, padding: Pairs, dilation: Ints, groups: int
) -> np.ndarray:
    out = np.zeros(shape, x.dtype)
    x = padded_with(x, padding)
    columns = _grouped(dy, groups)
    for tap, where in taps(shape[:-2], dy.shape[1:-1], strides, dilation):
        rows = _grouped(x[(slice(None), *where)], groups)
        out[tap] = np.matmul(rows.transpose(0, 2, 1), columns).transpose(1, 0, 2).reshape(shape[-2:])
    return out


def _kernel_grad_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    x, dy = node.inputs
    attrs = {k: v for k, v in node.attrs.items() if k != "shape"}
    return [b.conv_input_grad(dy, ct, shape=x.shape, **attrs), b.conv(x, ct, **attrs)]


def _settings(strides: Ints, padding: Pairs, dilation: Ints, groups: int = 1) -> dict[str, Any]:
    return {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}


# (x, kernel, result, settings)
_CASES = (
    ((2, 7, 3), (3, 3, 4), (2, 5, 4), _settings((1,), ((0, 0),), (1,))),
    ((2, 8, 4), (3, 2, 4), (2, 4, 4), _settings((2,), ((1, 1),), (1,), 2)),
    ((1, 6, 5, 2), (3, 2, 2, 3), (1, 3, 4, 3), _settings((2, 1), ((0, 1), (0, 0)), (1, 1))),
    ((2, 6, 6, 3), (2, 2, 1, 6), (2, 4, 4, 6), _settings((1, 1), ((0, 0), (0, 0)), (2, 2), 3)),
    ((1, 3, 4, 3, 2), (2, 2, 2, 2, 1), (1, 2, 3, 2, 1), _settings((1, 1, 1), ((0, 0),) * 3, (1, 1, 1))),
)

register(
    Op(
        "conv",
        Kind.WINDOW,
        _conv_infer,
        widened(_conv),
        _conv_vjp,
        samples=tuple(Sample((x, w), s) for x, w, _, s in _CASES),
        tolerance=1e-5,
        doc="y[n, p, o] = sum over taps t and channels c of x[n, p * stride + t * dilation - low, c] * w[t, c, o].",
        extra=EXTRA,
    )
)
register(
    Op(
        "conv_input_grad",
        Kind.WINDOW,
        _input_grad_infer,
        widened(_input_grad),
        _input_grad_vjp,
        samples=tuple(Sample((y, w), {"shape": x, **s}) for x, w, y, s in _CASES),
        tolerance=1e-5,
        doc="Gradient of conv with respect to its input of `shape`; transposed convolution.",
        extra=EXTRA,
    )
)
register(
    Op(
        "conv_kernel_grad",
        Kind.WINDOW,
        _kernel_grad_infer,
        widened(_kernel_grad),
        _kernel_grad_vjp,
        samples=tuple(Sample((x, y), {"shape": w, **s}) for x, w, y, s in _CASES),
        tolerance=1e-5,
        doc="Gradient of conv with respect to its kernel of `shape`.",
        extra=EXTRA,
    )
)


# -- pooling ---------------------------------------------------------------------------------------
def pool_shape(name: str, x: Ints, window: Ints, strides: Ints, padding: Pairs) -> Ints:
    if len(x) < 3:
        raise ValueError(f"{name} expects x (N, *spatial, C); received shape {x}")
    _want_settings(name, len(x) - 2, {"window": window, "strides": strides, "padding": padding})
    return (x[0], *out_extents(name, x[1:-1], window, strides, padding, (1,) * len(window)), x[-1])


def pool_taps(shape: Ints, window: Ints, strides: Ints) -> Iterator[tuple[slice, ...]]:
    for _, where in taps(window, shape[1:-1], strides, (1,) * len(window)):
        yield (slice(None), *where)


def _pool_max_infer(x: TensorType, *, window: Ints, strides: Ints, padding: Pairs) -> TensorType:
    want_dtype("pool_max", x, NUMBERS)
    return x.with_shape(pool_shape("pool_max", x.shape, window, strides, padding))


def _pool_max(x: np.ndarray, *, window: Ints, strides: Ints, padding: Pairs) -> np.ndarray:
    shape = pool_shape("pool_max", x.shape, window, strides, padding)
    padded = padded_with(x, padding, lowest(x.dtype.name))
    out = np.full(shape, lowest(x.dtype.name), x.dtype)
    for where in pool_taps(shape, window, strides):
        np.maximum(out, padded[where], out=out)
    return out


def _pool_max_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    return [b.pool_max_grad(node.inputs[0], node, ct, **node.attrs)]


def _pool_max_grad_infer(
    x: TensorType, y: TensorType, dy: TensorType, *, window: Ints, strides: Ints, padding: Pairs
) -> TensorType:
    name = "pool_max_grad"
    same_dtype(name, x, y, dy)
    expected = pool_shape(name, x.shape, window, strides, padding)
    if y.shape != expected or dy.shape != expected:
        raise ValueError(f"{name} expects y and dy of shape {expected}; received {y.shape} and {dy.shape}")
    return x


def _pool_max_grad(
    x: np.ndarray, y: np.ndarray, dy: np.ndarray, *, window: Ints, strides: Ints, padding: Pairs
) -> np.ndarray:
    padded = padded_with(x, padding, lowest(x.dtype.name))
    out = np.zeros(padded.shape, dy.dtype)
    free = np.ones(y.shape, bool)
    for where in pool_taps(y.shape, window, strides):
        hit = free & (padded[where] == y)
        out[where] += np.where(hit, dy, 0)
        free &= ~hit
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape[1:-1], padding, strict=True))
    return out[(slice(None), *inner)]


def _pool_max_grad_vjp(b: Builder, ct: Node, node: Node) -> list[Node | None]:
    """Read ct where dy was written: tap by tap, the first one that holds the maximum."""
    x, y, _ = node.inputs
    window, strides, padding = (node.attrs[k] for k in ("window", "strides", "padding"))
    low = (0, *(lo for lo, _ in padding), 0)
    high = (0, *(hi for _, hi in padding), 0)
    none = (0,) * x.type.rank
    padded = b.pad(x, low=low, high=high, interior=none, value=lowest(x.dtype))
    padded_ct = b.pad(ct, low=low, high=high, interior=none, value=0)
    free = b.full(y.shape, True, "bool")
    total = b.full_like(y, 0)
    ends = (slice(0, x.shape[0], 1), slice(0, x.shape[-1], 1))
    for where in pool_taps(y.shape, window, strides):
        box = (ends[0], *where[1:], ends[1])
        cut = {
            "start": tuple(s.start for s in box),
            "stop": tuple(s.stop for s in box),
            "step": tuple(s.step for s in box),
        }
        hit = b.emit("and", free, b.eq(b.slice(padded, **cut), y))
        total = b.add(total, b.select(hit, b.slice(padded_ct, **cut), 0))
        free = b.emit("and", free, b.emit("not", hit))
    return [None, None, total]


def _pool_sum_infer(x: TensorType, *, window: Ints, strides: Ints, padding: Pairs) -> TensorType:
    want_dtype("pool_sum", x, NUMBERS)
    return x.with_shape(pool_shape("pool_sum", x.shape, window, strides, padding))


def _pool_sum(x: np.ndarray, *, window: Ints, strides: Ints, padding: Pairs) -> np.ndarray:
    shape = pool_shape("pool_sum", x.shape, window, strides, padding)
    padded = padded_with(x, padding)
    out = np.zeros(shape, x.dtype)
    for where in pool_taps(shape, window, strides):
        out += padded[where]
    return out


def _pool_sum_grad_infer(dy: TensorType, *, shape: Ints, window: Ints, strides: Ints, padding: Pairs) -> TensorType:
    expected = pool_shape("pool_sum_grad", want_shape("pool_sum_grad", shape), window, strides, padding)
    if dy.shape != expected:
        raise ValueError(f"pool_sum_grad expects dy of shape {expected} for shape={shape}; received {dy.shape}")
    return dy.with_shape(shape)


def _pool_sum_grad(dy: np.ndarray, *, shape: Ints, window: Ints, strides: Ints, padding: Pairs) -> np.ndarray:
    spatial = [n + lo + hi for n, (lo, hi) in zip(shape[1:-1], padding, strict=True)]
    out = np.zeros((shape[0], *spatial, shape[-1]), dy.dtype)
    for where in pool_taps(dy.shape, window, strides):
        out[where] += dy
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(shape[1:-1], padding, strict=True))
    return out[(slice(None), *inner)]


def _without_shape(node: Node) -> dict[str, Any]:
    return {k: v for k, v in node.attrs.items() if k != "shape"}


def _pool(window: Ints, strides: Ints, padding: Pairs) -> dict[str, Any]:
    return {"window": window, "strides": strides, "padding": padding}


# (x, result, settings)
POOLS = (
    ((2, 7, 3), (2, 3, 3), _pool((3,), (2,), ((0, 0),))),
    ((2, 4, 5, 2), (2, 3, 2, 2), _pool((2, 3), (2, 2), ((1, 1), (0, 1)))),
    ((1, 4, 4, 2), (1, 1, 1, 2), _pool((4, 4), (4, 4), ((0, 0), (0, 0)))),
)


def distinct(*shapes: Ints) -> Any:
    """Sample maker without near ties, which central differences would step across."""

    def make(rng: np.random.Generator) -> list[np.ndarray]:
        first = rng.permutation(int(np.prod(shapes[0]))).reshape(shapes[0]).astype(np.float32) / 7
        return [first, *(rng.uniform(-1, 1, s).astype(np.float32) for s in shapes[1:])]

    return make


def _grad_case(shape: Ints, out: Ints, settings: dict[str, Any]) -> Any:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        x, dy = distinct(shape, out)(rng)
        return [x, _pool_max(x, **settings), dy]

    return make


register(
    Op(
        "pool_max",
        Kind.WINDOW,
        _pool_max_infer,
        widened(_pool_max),
        _pool_max_vjp,
        samples=tuple(Sample((x,), s, make=distinct(x)) for x, _, s in POOLS),
        doc="Largest value of each window; padding holds the lowest value of the dtype.",
        extra={**EXTRA, "padding": lowest},
    )
)
register(
    Op(
        "pool_max_grad",
        Kind.WINDOW,
        _pool_max_grad_infer,
        widened(_pool_max_grad),
        _pool_max_grad_vjp,
        samples=tuple(Sample((x, y, y), s, make=_grad_case(x, y, s), differentiable=False) for x, y, s in POOLS),
        doc="dy of each window sent to the window's first maximum.",
        extra=EXTRA,
    )
)
register(
    Op(
        "pool_sum",
        Kind.WINDOW,
        _pool_sum_infer,
        widened(_pool_sum),
        lambda b, ct, node: [b.pool_sum_grad(ct, shape=node.inputs[0].shape, **node.attrs)],
        samples=tuple(Sample((x,), s) for x, _, s in POOLS),
        tolerance=1e-5,
        doc="Sum of each window; padding counts as 0.",
        extra=EXTRA,
    )
)
register(
    Op(
        "pool_sum_grad",
        Kind.WINDOW,
        _pool_sum_grad_infer,
        widened(_pool_sum_grad),
        lambda b, ct, node: [b.pool_sum(ct, **_without_shape(node))],
        samples=tuple(Sample((y,), {"shape": x, **s}) for x, y, s in POOLS),
        tolerance=1e-5,
        doc="Gradient of pool_sum with respect to its input of `shape`.",
        extra=EXTRA,
    )
)
