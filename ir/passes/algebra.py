"""Algebra: identities that hold for every number, NaN, infinities and -0.0 included, and strength reduction.

Two liberties are taken, nowhere else: rounding may differ where terms are grouped in another way, and the sign of a
zero that a sum over axes gives is not specified.
"""

from __future__ import annotations

import math

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node, scalar_value
from graphkeras.ir.passes.rewrite import rule
from graphkeras.ir.types import is_float, is_inexact

SAFE = {"float16": (1e-3, 1e3), "bfloat16": (1e-30, 1e30), "float32": (1e-30, 1e30), "float64": (1e-200, 1e200)}
"""Per dtype, magnitudes of constants whose product or inverse neither overflows nor loses bits."""

ROUNDED = {"bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
"""How far the product of a number and its rounded inverse is from 1, at most."""


def _safe(value: object, dtype: str) -> bool:
    """Whether a constant is far from overflow and underflow (so neither zero, infinite nor NaN)."""
    low, high = SAFE[dtype]
    return isinstance(value, (int, float)) and low < abs(value) < high


def _same(b: Builder, x: Node, n: Node) -> Node | None:
    """x in the place of n, where the shapes agree."""
    return x if x.shape == n.shape else None


@rule("mul")
def mul_one(b: Builder, n: Node) -> Node | None:
    """Not for complex numbers: (1 + 0i) times an infinity has a NaN in it."""
    x, y = n.inputs
    if n.dtype == "bool" or n.dtype.startswith("complex"):
        return None
    if scalar_value(y) == 1:
        return _same(b, x, n)
    return _same(b, y, n) if scalar_value(x) == 1 else None


@rule("mul")
def mul_minus_one(b: Builder, n: Node) -> Node | None:
    x, y = n.inputs
    if n.dtype.startswith("complex"):
        return None
    if scalar_value(y) == -1 and x.shape == n.shape:
        return b.neg(x)
    if scalar_value(x) == -1 and y.shape == n.shape:
        return b.neg(y)
    return None


@rule("mul")
def constants_together(b: Builder, n: Node) -> Node | None:
    """(x * c) * d = x * (c * d): the constant goes right, two become one (not in float16, where x * c may overflow).

    A number and its rounded inverse make 1: what is divided by the batch and multiplied by it is itself for any batch.
    """
    x, y = n.inputs
    if not is_float(n.dtype):
        return None
    if scalar_value(x) is not None and scalar_value(y) is None and x.type.rank == 0:
        return b.mul(y, x)
    d = scalar_value(y)
    if d is None or x.op != "mul" or x.shape != n.shape:
        return None
    c = scalar_value(x.inputs[1])
    if n.dtype == "float16" or not all(_safe(v, n.dtype) for v in (c, d)) or x.inputs[0].shape != n.shape:
        return None
    product = c * d if abs(c * d - 1.0) > ROUNDED[n.dtype] else 1.0
    return b.mul(x.inputs[0], product) if _safe(product, n.dtype) else None


@rule("add", "sub")
def add_zero(b: Builder, n: Node) -> Node | None:
    """x + 0.0 turns -0.0 into 0.0, so it goes only where x is known to be no -0.0; x + -0.0 and x - 0.0 always go."""
    x, y = n.inputs
    if _no_change(scalar_value(y), n.op == "sub", x):
        return _same(b, x, n)
    if n.op == "add" and _no_change(scalar_value(x), False, y):
        return _same(b, y, n)
    return None


def _no_change(zero: object, subtracted: bool, x: Node) -> bool:
    """Whether adding (or subtracting) the constant leaves every value of x as it is."""
    if isinstance(zero, complex) or zero != 0:
        return False
    if not isinstance(zero, float):
        return True
    minus = (math.copysign(1.0, zero) < 0) != subtracted
    return minus or _never_minus_zero(x)


def _never_minus_zero(x: Node, depth: int = 4) -> bool:
    """Whether a float value can be shown to be no -0.0, looking at `depth` ops."""
    if depth == 0:
        return False
    known = [_never_minus_zero(i, depth - 1) for i in x.inputs] if x.op in ("add", "sub", "select", *MOVES) else []
    if x.op == "add":  # -0.0 only where both are
        return any(known)
    if x.op in ("sub", *MOVES):  # x - y is 0.0 where x = y, -0.0 only for -0.0 - 0.0
        return known[0]
    if x.op == "select":
        return known[1] and known[2]
    if x.op == "cast":
        return not is_inexact(x.inputs[0].dtype)
    if x.op == "mul":
        return x.inputs[0] is x.inputs[1]
    value = scalar_value(x) if x.op == "const" else None
    return (value is not None and math.copysign(1.0, value) > 0) or x.op in POSITIVE


MOVES = ("reshape", "transpose", "broadcast_to", "slice", "reverse", "stop_gradient")
POSITIVE = ("exp", "abs", "sigmoid", "softplus", "softmax", "reduce_sum")


@rule("add")
def add_negated(b: Builder, n: Node) -> Node | None:
    x, y = n.inputs
    if y.op == "neg":
        return b.sub(x, y.inputs[0])
    if x.op == "neg":
        return b.sub(y, x.inputs[0])
    return None


@rule("sub")
def sub_negated(b: Builder, n: Node) -> Node | None:
    return b.add(n.inputs[0], n.inputs[1].inputs[0]) if n.inputs[1].op == "neg" else None


@rule("neg")
def double_negation(b: Builder, n: Node) -> Node | None:
    """-(-x) = x; -(x - y) = y - x for integers only: of equal floats it would be 0.0 instead of -0.0."""
    (x,) = n.inputs
    if x.op == "neg":
        return x.inputs[0]
    if x.op == "sub" and not is_inexact(n.dtype):
        return b.sub(x.inputs[1], x.inputs[0])
    return None


@rule("div")
def div_by_constant(b: Builder, n: Node) -> Node | None:
    """x / c = x * (1 / c) where 1 / c is exact: c a power of two."""
    x, y = n.inputs
    c = scalar_value(y)
    if c is None or not isinstance(c, float) or not is_float(n.dtype):
        return None
    if c == 1.0:
        return _same(b, x, n)
    return b.mul(x, 1.0 / c) if _safe(c, n.dtype) and math.frexp(abs(c))[0] == 0.5 else None


@rule("pow")
def pow_small(b: Builder, n: Node) -> Node | None:
    x, y = n.inputs
    k = scalar_value(y)
    if k is None or x.shape != n.shape or not is_float(n.dtype):
        return None
    if k == 1:
        return x
    if k == 2:
        return b.mul(x, x)
    if k == 3:
        return b.mul(b.mul(x, x), x)
    if k == 4:
        square = b.mul(x, x)
        return b.mul(square, square)
    if k == -1:
        return b.div(b.full((), 1.0, n.dtype), x)
    if k == 0:
        return b.full(n.shape, 1.0, n.dtype)
    return None


@rule("select")
def select_known(b: Builder, n: Node) -> Node | None:
    c, x, y = n.inputs
    known = scalar_value(c)
    if known is not None:
        return _same(b, x if known else y, n)
    return _same(b, x, n) if x is y else None


def _plus_zero(x: Node) -> bool:
    value = scalar_value(x)
    return isinstance(value, (int, float)) and value == 0 and math.copysign(1.0, value) > 0


@rule("select")
def mask_before_pool_grad(b: Builder, n: Node) -> Node | None:
    """x > 0 of the gradient of a max pooling of x (relu before pooling): asked of the maxima, which are fewer."""
    c, g, other = n.inputs
    if g.op != "pool_max_grad" or g.shape != n.shape or c.op != "gt" or not _plus_zero(other):
        return None
    x, y, dy = g.inputs
    if c.inputs[0] is not x or scalar_value(c.inputs[1]) != 0:
        return None
    return b.pool_max_grad(x, y, b.select(b.gt(y, 0), dy, 0), **g.attrs)


@rule("reduce_sum")
def sum_of_pool_grad(b: Builder, n: Node) -> Node | None:
    """The gradient of a max pooling, summed over all places: each window gives its dy once, unless it holds NaN."""
    (g,) = n.inputs
    if g.op != "pool_max_grad" or n.attrs["axes"] != tuple(range(g.type.rank - 1)):
        return None
    if any(lo or hi for lo, hi in g.attrs["padding"]):
        return None
    _, y, dy = g.inputs
    masked = dy.op == "select" and dy.inputs[0].op == "gt" and dy.inputs[0].inputs[0] is y
    return b.reduce_sum(dy if masked else b.select(b.eq(y, y), dy, 0), **n.attrs)


@rule("and", "or")
def logic_known(b: Builder, n: Node) -> Node | None:
    x, y = n.inputs
    if n.dtype != "bool":
        return None
    for known, other in ((scalar_value(x), y), (scalar_value(y), x)):
        if known is not None:
            if bool(known) == (n.op == "and"):
                return _same(b, other, n)
            return b.full(n.shape, n.op == "or", "bool")
    return None


@rule("reduce_sum")
def factor_out_of_sum(b: Builder, n: Node) -> Node | None:
    """sum(x * c) = c * sum(x), where c does not change along the summed axes.

    Gradients of normalisations ask for several sums that differ by such factors only: they become one. In the forward
    pass c has to be an ordinary constant: an infinite one would give inf for what is inf - inf. A sum of halves could
    overflow.
    """
    (x,) = n.inputs
    if n.dtype == "float16":
        return None
    if x.op != "mul" or n.attrs["keepdims"] or not is_float(n.dtype) or not n.attrs["axes"]:
        return None
    axes = n.attrs["axes"]
    factors = _factors(x, x.shape)
    fixed = [f for f in factors if all(_extent(f, x, a) == 1 for a in axes)]
    moving = [f for f in factors if f not in fixed]
    if n.origin.phase == "forward":
        fixed = [f for f in fixed if _safe(scalar_value(f), n.dtype)]
        moving = [f for f in factors if f not in fixed]
    if not fixed or not moving or not any(f.shape == x.shape for f in moving):
        return None
    moving.sort(key=lambda f: (f.shape != x.shape, f.id))
    product = moving[0]
    for f in moving[1:]:
        product = b.mul(product, f)
    result = b.reduce_sum(product, axes=axes, keepdims=False)
    for f in sorted(fixed, key=lambda f: f.id):
        kept = tuple(_extent(f, x, a) for a in range(x.type.rank) if a not in axes)
        result = b.mul(result, b.reshape(f, shape=kept))
    return result if result.shape == n.shape else b.broadcast_to(result, shape=n.shape)


def _factors(node: Node, shape: tuple[int, ...]) -> list[Node]:
    """Leaves of a tree of multiplications, down to operands of smaller shape."""
    if node.op != "mul" or node.shape != shape:
        return [node]
    return [f for i in node.inputs for f in _factors(i, shape)]


def _extent(factor: Node, x: Node, axis: int) -> int:
    """Extent of a broadcast factor along an axis of x."""
    own = axis - (x.type.rank - factor.type.rank)
    return 1 if own < 0 else factor.shape[own]


@rule("argmax", "argmin")
def first_extreme(b: Builder, n: Node) -> Node | None:
    """The first place of the extreme value along the innermost axis: two vectorised passes for one that is not."""
    (x,) = n.inputs
    axis = n.attrs["axis"] % max(x.type.rank, 1)
    if axis != x.type.rank - 1 or x.dtype == "bool":
        return None
    extreme = b.reduce_max if n.op == "argmax" else b.reduce_min
    found = b.eq(x, extreme(x, axes=(axis,), keepdims=True))
    if is_float(x.dtype):
        found = b.emit("or", found, b.ne(x, x))  # an extreme value of NaN equals nothing: the first NaN wins
    places = b.iota(shape=x.shape, axis=axis, dtype="int32")
    return b.reduce_min(b.select(found, places, x.shape[axis]), axes=(axis,), keepdims=False)


ALGEBRA = (
    factor_out_of_sum,
    first_extreme,
    mul_one,
    mul_minus_one,
    constants_together,
    add_zero,
    add_negated,
    sub_negated,
    double_negation,
    div_by_constant,
    pow_small,
    select_known,
    mask_before_pool_grad,
    sum_of_pool_grad,
    logic_known,
)


@rule("log")
def log_of_softmax(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    return b.log_softmax(x.inputs[0], axis=x.attrs["axis"]) if x.op == "softmax" else None


@rule("log")
def log_of_sigmoid(b: Builder, n: Node) -> Node | None:
    (x,) = n.inputs
    if x.op != "sigmoid":
        return None
    return b.sub(b.const(0.0, n.dtype), b.softplus(b.neg(x.inputs[0])))  # not neg: log(1) is 0.0


# Cross-entropy from probabilities stays as it is written: Keras clips them to [1e-7, 1 - 1e-7], so the form from logits
# would give other losses and gradients wherever the clip is active, and is no more exact where it is not.
STABILISE = (log_of_softmax, log_of_sigmoid)
