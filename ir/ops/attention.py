"""COMPOSITE ops: dot-product attention and its gradient (Vaswani et al., 2017), with memory that is linear in length.

Shapes: q (B, T, H, D), k (B, S, G, D), v (B, S, G, E), where the heads G of keys divide the heads H of queries: head h
reads head h // (H / G). Extra inputs are masks that broadcast to (B, H, T, S), then the key of the random bits when
`rate` > 0. The score of query t and key s is

    q[t] . k[s] scale + sum of the float masks,   or HIDDEN where a bool mask is false, where `causal` and s > t,
                                                  or where `window` and |t - s| >= window.

HIDDEN is finite, so a query that sees nothing averages over all keys, as in Keras. Results: the softmax of the scores
times v, and per query the largest score (`top`) and the sum of exp(score - top) (`total`), from which the gradient
computes the weights again (Dao et al., "FlashAttention", 2022). `rate`: a weight is dropped where its random bits are
below rate 2^32, the others are divided by 1 - rate; weight (b, h, t, s) has the bits of its flat index.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkeras.ir.graph import Builder
from graphkeras.ir.node import Node
from graphkeras.ir.op import Kind, Op, Sample, register
from graphkeras.ir.ops.random import threefry
from graphkeras.ir.ops.rules import FLOATS, HALF, as_int, broadcast, expand, same_dtype, want_dtype, widened
from graphkeras.ir.types import TensorType

HIDDEN = -1e30
EXTRA = {"dtypes": FLOATS}


def drop_limit(rate: float) -> int:
    """Random words below this drop their weight."""
    return min(int(rate * 2.0**32), 2**32 - 1)


# -- shape rules -----------------------------------------------------------------------------------
def _forward_types(
    name: str, q: TensorType, k: TensorType, v: TensorType, *extra: TensorType, **attrs: Any
) -> tuple[TensorType, TensorType, TensorType]:
    dtype = same_dtype(name, q, k, v)
    want_dtype(name, q, FLOATS)
    form = f"{name} expects q (B, T, H, D), k (B, S, G, D), v (B, S, G, E), G dividing H; received {q}, {k}, {v}"
    if not (len(q.shape) == len(k.shape) == len(v.shape) == 4):
        raise ValueError(form)
    batch, queries, heads, _ = q.shape
    own = k.shape[2]
    if k.shape[:3] != v.shape[:3] or k.shape[0] != batch or k.shape[3] != q.shape[3]:
        raise ValueError(form)
    if own != heads and (own == 0 or heads % own):
        raise ValueError(form)
    if k.shape[1] == 0:
        raise ValueError(f"{name} expects at least one key; received k {k}")
    _check_attrs(name, **attrs)
    masks = extra[:-1] if attrs["rate"] > 0 else extra
    if attrs["rate"] > 0 and (not extra or extra[-1] != TensorType((2,), "uint32")):
        raise TypeError(f"{name} with rate={attrs['rate']} expects a key of type uint32[2] as its last input")
    scores = TensorType((batch, heads, queries, k.shape[1]), dtype)
    for m in masks:
        want_dtype(f"{name} (mask)", m, ("bool", dtype))
        if broadcast(name, scores, m) != scores.shape:
            raise ValueError(f"{name} expects a mask that broadcasts to {scores.shape}; received {m}")
    wide = "float64" if dtype == "float64" else "float32"
    rows = TensorType(scores.shape[:3], wide)
    return TensorType((*q.shape[:3], v.shape[3]), dtype), rows, rows


def _check_attrs(name: str, scale: float, causal: bool, window: int, rate: float) -> None:
    if as_int(name, "window", window) < 0:
        raise ValueError(f"{name} expects window >= 0 (0: none); received window={window}")
    if not 0 <= rate < 1:
        raise ValueError(f"{name} expects 0 <= rate < 1; received rate={rate}")


def _infer(*types: TensorType, **attrs: Any) -> tuple[TensorType, ...]:
    return _forward_types("attention", *types, **attrs)


def _grad_infer(*types: TensorType, **attrs: Any) -> tuple[TensorType, ...]:
    name = "attention_grad"
    *given, out, top, total, ct = types
    expected = _forward_types(name, *given, **attrs)
    for what, found, want in zip(
        ("out", "top", "total", "ct"), (out, top, total, ct), (*expected, expected[0]), strict=True
    ):
        if found != want:
            raise ValueError(f"{name} expects {what} of type {want}; received {found}")
    return tuple(given[:3])


# -- references ------------------------------------------------------------------------------------
def _heads_repeated(x: np.ndarray, heads: int) -> np.ndarray:
    """(B, S, G, D) to (B, H, S, D)."""
    return np.repeat(np.swapaxes(x, 1, 2), heads // x.shape[2], axis=1)


def _scores(
    q: np.ndarray, k: np.ndarray, masks: Sequence[np.ndarray], scale: float, causal: bool, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """(scores (B, H, T, S), which of them are seen)."""
    keys = _heads_repeated(k, q.shape[2])
    scores = np.matmul(np.swapaxes(q, 1, 2), np.swapaxes(keys, 2, 3)) * q.dtype.type(scale)
    seen = np.ones(scores.shape, bool)
    for m in masks:
        if m.dtype == bool:
            seen = seen & m
        else:
            scores = scores + m
    distance = np.arange(q.shape[1])[:, None] - np.arange(k.shape[1])
    if causal:
        seen = seen & (distance >= 0)
    if window:
        seen = seen & (np.abs(distance) < window)
    return np.where(seen, scores, HIDDEN).astype(scores.dtype), seen


def _kept(shape: tuple[int, ...], extra: Sequence[np.ndarray], rate: float, dtype: Any) -> np.ndarray:
    """What each weight is multiplied by: 0 or 1 / (1 - rate)."""
    if rate == 0:
        return np.ones((1, 1, 1, 1), dtype)
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    low, high = index.astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    first, second = threefry(extra[-1][0], extra[-1][1], low, high)
    return np.where((first ^ second).reshape(shape) >= drop_limit(rate), 1 / (1 - rate), 0).astype(dtype)


def _masks_of(extra: Sequence[Any], rate: float) -> Sequence[Any]:
    return extra[:-1] if rate > 0 else extra


def _attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *extra: np.ndarray,
    scale: float,
    causal: bool,
    window: int,
    rate: float,
) -> tuple[np.ndarray, ...]:
    scores, _ = _scores(q, k, _masks_of(extra, rate), scale, causal, window)
    top = scores.max(axis=3)
    weights = np.exp(scores - top[..., None])
    total = weights.sum(axis=3)
    weights = weights / total[..., None] * _kept(scores.shape, extra, rate, q.dtype)
    return np.swapaxes(np.matmul(weights, _heads_repeated(v, q.shape[2])), 1, 2), top, total


def _attention_grad(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, *rest: np.ndarray, scale: float, causal: bool, window: int, rate: float
) -> tuple[np.ndarray, ...]:
    *extra, out, top, total, ct = rest
    batch, keys, own, _ = k.shape
    scores, seen = _scores(q, k, _masks_of(extra, rate), scale, causal, window)
    weights = np.exp(scores - top[..., None]) / total[..., None]
    kept = _kept(scores.shape, extra, rate, q.dtype)
    by_value = np.einsum("bhts,bthe->bshe", weights * kept, ct)
    by_weight = np.einsum("bthe,bhse->bhts", ct, _heads_repeated(v, q.shape[2])) * kept
    delta = np.einsum("bthe,bthe->bht", ct, out)
    by_score = np.where(seen, weights * (by_weight - delta[..., None]), 0) * q.dtype.type(scale)
    by_query = np.einsum("bhts,bhsd->bthd", by_score, _heads_repeated(k, q.shape[2]))
    by_key = np.einsum("bhts,bthd->bshd", by_score, q)
    shared = [x.reshape(batch, keys, own, -1, x.shape[3]).sum(axis=3) for x in (by_key, by_value)]
    return by_query, *shared


# -- as primitives ---------------------------------------------------------------------------------
@dataclass
class _Parts:
    """What forward and backward share when the weights are spelled out, in float32 or wider; heads before lengths."""

    q: Node  # (B, T, H, D)
    k: Node  # (B, S, H, D)
    v: Node
    scores: Node  # (B, H, T, S)
    seen: Node | None
    kept: Node | None


def _wide(b: Builder, node: Node) -> Node:
    return b.cast(node, dtype="float32") if node.dtype in HALF else node


def _all_heads(b: Builder, x: Node, heads: int) -> Node:
    batch, length, own, size = x.shape
    if own == heads:
        return x
    repeated = b.broadcast_to(
        b.reshape(x, shape=(batch, length, own, 1, size)), shape=(batch, length, own, heads // own, size)
    )
    return b.reshape(repeated, shape=(batch, length, heads, size))


def _seen(b: Builder, plane: tuple[int, ...], masks: Sequence[Node], causal: bool, window: int) -> Node | None:
    parts = [m for m in masks if m.dtype == "bool"]
    if causal or window:
        row = b.iota(shape=plane, dtype="int32", axis=0)
        column = b.iota(shape=plane, dtype="int32", axis=1)
        if causal:
            parts.append(b.ge(row, column))
        if window:
            parts.append(b.lt(b.abs(b.sub(row, column)), window))
    return functools.reduce(lambda x, y: b.emit("and", x, y), parts) if parts else None


def _spelled_out(b: Builder, node: Node) -> tuple[_Parts, Sequence[Node]]:
    """The scores, and the inputs after the forward op's own."""
    attrs = node.attrs
    count = len(node.inputs) - (4 if node.op == "attention_grad" else 0)
    q, k, v, *extra = node.inputs[:count]
    heads = q.shape[2]
    k, v = (_all_heads(b, x, heads) for x in (k, v))
    scores = _wide(b, b.dot_general(q, k, contract=((3,), (3,)), batch=((0, 2), (0, 2))))
    scores = b.mul(scores, attrs["scale"])
    masks = _masks_of(extra, attrs["rate"])
    for m in masks:
        if m.dtype != "bool":
            scores = b.add(scores, _wide(b, m))
    seen = _seen(b, scores.shape[2:], masks, attrs["causal"], attrs["window"])
    if seen is not None:
        scores = b.select(seen, scores, HIDDEN)
    kept = None
    if attrs["rate"] > 0:
        bits = b.random_bits(extra[-1], shape=scores.shape)
        kept = b.select(
            b.ge(bits, b.const(drop_limit(attrs["rate"]), "uint32")),
            b.full_like(scores, 1 / (1 - attrs["rate"])),
            b.full_like(scores, 0.0),
        )
    return _Parts(q, k, v, scores, seen, kept), node.inputs[count:]


def _row(b: Builder, x: Node, like: Node) -> Node:
    """(B, H, T) against (B, H, T, S)."""
    return expand(b, x, like.shape, (3,))


def _narrow(b: Builder, x: Node, dtype: str) -> Node:
    return b.cast(x, dtype=dtype) if x.dtype != dtype else x


def _decompose(b: Builder, node: Node) -> tuple[Node, ...]:
    p, _ = _spelled_out(b, node)
    top = b.reduce_max(p.scores, axes=(3,), keepdims=False)
    weights = b.exp(b.sub(p.scores, _row(b, top, p.scores)))
    total = b.reduce_sum(weights, axes=(3,), keepdims=False)
    weights = b.div(weights, _row(b, total, weights))
    if p.kept is not None:
        weights = b.mul(weights, p.kept)
    out = b.dot_general(_narrow(b, weights, p.v.dtype), p.v, contract=((3,), (1,)), batch=((0, 1), (0, 2)))
    return b.transpose(out, perm=(0, 2, 1, 3)), top, total


def _by_score(b: Builder, p: _Parts, rest: Sequence[Node]) -> tuple[Node, Node]:
    """(gradient by the scores, weights after dropout)."""
    out, top, total, ct = rest
    weights = b.div(b.exp(b.sub(p.scores, _row(b, top, p.scores))), _row(b, total, p.scores))
    by_weight = _wide(b, b.dot_general(ct, p.v, contract=((3,), (3,)), batch=((0, 2), (0, 2))))
    dropped = weights
    if p.kept is not None:
        by_weight, dropped = b.mul(by_weight, p.kept), b.mul(weights, p.kept)
    delta = b.reduce_sum(b.mul(_wide(b, ct), _wide(b, out)), axes=(3,), keepdims=False)
    delta = b.transpose(delta, perm=(0, 2, 1))
    by_score = b.mul(weights, b.sub(by_weight, _row(b, delta, weights)))
    if p.seen is not None:
        by_score = b.select(p.seen, by_score, 0.0)
    return by_score, dropped


def _summed_heads(b: Builder, x: Node, own: int) -> Node:
    """(B, H, S, D) to (B, S, G, D): heads that share a head of keys are summed."""
    batch, heads, length, size = x.shape
    if heads != own:
        x = b.reshape(x, shape=(batch, own, heads // own, length, size))
        x = b.reduce_sum(x, axes=(2,), keepdims=False)
    return b.transpose(x, perm=(0, 2, 1, 3))


def _grad_decompose(b: Builder, node: Node) -> tuple[Node, ...]:
    p, rest = _spelled_out(b, node)
    by_score, dropped = _by_score(b, p, rest)
    by_score = _narrow(b, b.mul(by_score, node.attrs["scale"]), p.q.dtype)
    own = node.inputs[1].shape[2]
    heads = ((0, 1), (0, 2))
    by_query = b.dot_general(by_score, p.k, contract=((3,), (1,)), batch=heads)
    by_key = b.dot_general(by_score, p.q, contract=((2,), (1,)), batch=heads)
    by_value = b.dot_general(_narrow(b, dropped, p.q.dtype), rest[3], contract=((2,), (1,)), batch=heads)
    return b.transpose(by_query, perm=(0, 2, 1, 3)), _summed_heads(b, by_key, own), _summed_heads(b, by_value, own)


def _vjp(b: Builder, cts: Sequence[Node | None], node: Node) -> Sequence[Node | None]:
    """The op `attention_grad`; where `top` and `total` matter too (second derivatives), the spelled-out graph's."""
    ct, *others = cts
    if ct is None or any(c is not None for c in others):
        from graphkeras.ir.autodiff import through_decomposition

        return through_decomposition(b, cts, node)
    results = [b.item(node, i) for i in range(3)]
    grad = b.emit("attention_grad", *node.inputs, *results, ct, **node.attrs)
    found: list[Node | None] = [b.item(grad, i) for i in range(3)]
    floats = [m for m in _masks_of(node.inputs[3:], node.attrs["rate"]) if m.dtype != "bool"]
    if floats:  # a learned bias: its gradient is as large as the bias, so the scores are spelled out
        p, rest = _spelled_out(b, grad)
        by_score, _ = _by_score(b, p, rest)
    for x in node.inputs[3:]:
        found.append(_narrow(b, by_score, x.dtype) if x in floats else None)
    return found


# -- records ---------------------------------------------------------------------------------------
PLAIN: dict[str, Any] = {"scale": 0.5, "causal": False, "window": 0, "rate": 0.0}
SHAPES = ((2, 4, 4, 3), (2, 5, 2, 3), (2, 5, 2, 2))


def _with(*masks: tuple[tuple[int, ...], str], key: bool = False, grad: bool = False) -> Any:
    def make(rng: np.random.Generator) -> list[np.ndarray]:
        arrays: list[Any] = [rng.uniform(-1, 1, s).astype(np.float32) for s in SHAPES]
        for shape, dtype in masks:
            random = rng.uniform(-1, 1, shape)
            if dtype == "bool":  # every other key is seen, so that no query is left with nothing
                random = (random > 0) | (np.arange(shape[-1]) % 2 == 0)
            arrays.append(random.astype(dtype))
        if key:
            arrays.append(rng.integers(0, 2**32, 2, dtype=np.uint32))
        if grad:
            batch, queries, heads, _ = SHAPES[0]
            rows, out = (batch, heads, queries), (batch, queries, heads, SHAPES[2][3])
            for shape, low, high in ((out, -1, 1), (rows, 0, 1), (rows, 2, 3), (out, -1, 1)):
                arrays.append(rng.uniform(low, high, shape).astype(np.float32))
        return arrays

    return make


def _samples(grad: bool) -> tuple[Sample, ...]:
    cases: tuple[tuple[dict[str, Any], Any, bool], ...] = (
        ({}, (), False),
        ({"causal": True}, (), False),
        ({"window": 2, "scale": -0.7}, (((2, 1, 1, 5), "bool"),), False),
        ({}, (((4, 4, 1), "float32"), ((2, 1, 4, 5), "bool")), False),
        ({"rate": 0.3}, (), True),
    )
    dtypes = ("float32",) if grad else None  # top and total are never half floats
    return tuple(
        Sample((), {**PLAIN, **attrs}, make=_with(*masks, key=key, grad=grad), dtypes=dtypes)
        for attrs, masks, key in cases
    )


register(
    Op(
        "attention",
        Kind.COMPOSITE,
        _infer,
        widened(_attention),
        _vjp,
        decompose=_decompose,
        samples=_samples(False),
        tolerance=1e-5,
        doc="(softmax(q k^T scale + masks) v, largest score, sum of exp) per head; see the module.",
        extra=EXTRA,
    )
)
register(
    Op(
        "attention_grad",
        Kind.COMPOSITE,
        _grad_infer,
        widened(_attention_grad),
        None,
        decompose=_grad_decompose,
        samples=_samples(True),
        tolerance=1e-5,
        doc="(dq, dk, dv) from attention's inputs, its three results and the cotangent of the first.",
        extra=EXTRA,
    )
)
