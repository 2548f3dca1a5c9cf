"""Scaled dot-product attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphkeras.core.operation import keras_op
from graphkeras.ops.base import Tensor, apply, broadcast, cast_to, floating, full_of, lowest, promote, select, to_tensor


@keras_op
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Any:
    """`softmax(query key^T * scale + bias) value` (Vaswani et al., 2017).

    query (batch, T, heads, dim), key and value (batch, S, kv heads, dim): kv heads may divide heads. mask: bool,
    true where attention is allowed, broadcast to (batch, heads, T, S). Returns (batch, T, heads, dim).
    flash_attention is accepted and ignored: how attention is computed is the compiler's business.
    """
    q, k, v = promote(floating(query), floating(key), floating(value))
    for x, name in ((q, "query"), (k, "key"), (v, "value")):
        if len(x.shape) != 4:
            raise ValueError(
                f"dot_product_attention: `{name}` must have shape (batch, length, heads, dim); received {x.shape}"
            )
    _check_heads(q, k, v)
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    if attn_logits_soft_cap is not None:
        k, v = (_repeated_heads(x, q.shape[2]) for x in (k, v))
        q, k, v = (apply("transpose", x, perm=(0, 2, 1, 3)) for x in (q, k, v))
        result = _explicit(q, k, v, bias, mask, factor, is_causal, attn_logits_soft_cap)
        return apply("transpose", result, perm=(0, 2, 1, 3))
    masks = [] if bias is None else [to_tensor(bias, q.dtype)]
    if mask is not None:
        masks.append(_allowed(mask))
    return attend(q, k, v, masks, scale=factor, causal=bool(is_causal))


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    masks: Sequence[Tensor] = (),
    *,
    scale: float,
    causal: bool = False,
    window: int = 0,
    rate: float = 0.0,
    key: Tensor | None = None,
) -> Tensor:
    """The op `attention`: (batch, T, heads, dim) from q of that shape and k, v (batch, S, kv heads, dim) of one dtype.

    masks: each bool (true where attention is allowed) or of q's dtype (added), broadcast to (batch, heads, T, S).
    window: only keys at a distance below it (0: all). rate, key: dropout of the weights with the random bits of `key`.
    No (T, S) array is made but what the masks are themselves.
    """
    extra = [*masks] if key is None else [*masks, key]
    return apply("attention", q, k, v, *extra, scale=scale, causal=causal, window=window, rate=rate)[0]


def _check_heads(q: Tensor, k: Tensor, v: Tensor) -> None:
    heads = q.shape[2]
    for x, name in ((k, "key"), (v, "value")):
        own = x.shape[2]
        if own != heads and (own == 0 or heads % own):
            raise ValueError(
                f"dot_product_attention: the heads of `{name}` must divide those of `query`; received {own} and {heads}"
            )
    if k.shape[2] != v.shape[2]:
        raise ValueError(
            f"dot_product_attention: `key` and `value` must have as many heads; received {k.shape[2]} and {v.shape[2]}"
        )


def _repeated_heads(x: Tensor, heads: int) -> Tensor:
    """Grouped queries: each head of x serves heads / own ones."""
    b, s, own, d = x.shape
    if own == heads:
        return x
    wide = broadcast(apply("reshape", x, shape=(b, s, own, 1, d)), (b, s, own, heads // own, d))
    return apply("reshape", wide, shape=(b, s, heads, d))


def _allowed(mask: Any) -> Tensor:
    allowed = cast_to(to_tensor(mask), "bool")
    if len(allowed.shape) != 4:
        raise ValueError(
            "dot_product_attention: argument `mask` must have 4 dimensions (batch, heads, T, S), 1 where it is the "
            f"same for all; received shape {allowed.shape}"
        )
    return allowed


def _explicit(q: Tensor, k: Tensor, v: Tensor, bias: Any, mask: Any, factor: float, causal: bool, cap: float) -> Tensor:
    """With a cap on the logits: all scores are computed."""
    dtype = q.dtype
    batch = ((0, 1), (0, 1))
    scores = apply("mul", cast_to(apply("dot_general", q, k, contract=((3,), (3,)), batch=batch), "float32"), factor)
    scores = apply("mul", apply("tanh", apply("div", scores, float(cap))), float(cap))
    if bias is not None:
        scores = apply("add", scores, to_tensor(bias, scores.dtype))
    low = full_of((), 0.7 * -3.4e38 if scores.dtype == "float32" else lowest(scores.dtype), scores.dtype)
    if mask is not None:
        scores = select(_allowed(mask), scores, low)
    if causal:
        from graphkeras.ops.creation import _band

        scores = select(_band(q.shape[2], k.shape[2], 0, "le"), scores, low)
    weights = cast_to(apply("softmax", scores, axis=3), dtype)
    return apply("dot_general", weights, v, contract=((3,), (2,)), batch=batch)
