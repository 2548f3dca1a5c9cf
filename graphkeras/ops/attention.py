"""Scaled dot-product attention."""

from __future__ import annotations

import math
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
    k, v = (_repeated_heads(x, q.shape[2], name) for x, name in ((k, "key"), (v, "value")))
    factor = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    q, k, v = (apply("transpose", x, perm=(0, 2, 1, 3)) for x in (q, k, v))
    if attn_logits_soft_cap is None and (bias is None or mask is None):
        extra: tuple[Tensor, ...] = ()
        if mask is not None:
            extra = (_allowed(mask),)
        elif bias is not None:
            extra = (to_tensor(bias, q.dtype),)  # a float mask is added to the scores
        result = apply("attention", q, k, v, *extra, scale=factor, causal=bool(is_causal))
    else:
        result = _explicit(q, k, v, bias, mask, factor, is_causal, attn_logits_soft_cap)
    return apply("transpose", result, perm=(0, 2, 1, 3))


def _repeated_heads(x: Tensor, heads: int, name: str) -> Tensor:
    """Grouped queries: each head of x serves heads / own ones."""
    b, s, own, d = x.shape
    if own == heads:
        return x
    if own == 0 or heads % own:
        raise ValueError(
            f"dot_product_attention: the heads of `{name}` must divide those of `query`; received {own} and {heads}"
        )
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


def _explicit(
    q: Tensor, k: Tensor, v: Tensor, bias: Any, mask: Any, factor: float, causal: bool, cap: float | None
) -> Tensor:
    """With a bias or a cap on the logits: all scores are computed."""
    dtype = q.dtype
    batch = ((0, 1), (0, 1))
    scores = apply("mul", cast_to(apply("dot_general", q, k, contract=((3,), (3,)), batch=batch), "float32"), factor)
    if cap is not None:
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
