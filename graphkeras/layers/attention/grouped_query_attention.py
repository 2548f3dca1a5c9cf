"""Grouped query attention: several heads of queries share one head of keys and values."""

from __future__ import annotations

import math
from typing import Any

from graphkeras import ops
from graphkeras.layers.activations.activation import Softmax
from graphkeras.layers.attention.masks import all_of, causal_mask, scores_mask
from graphkeras.layers.attention.multi_head_attention import AttentionBase, _check_shapes, unmasked
from graphkeras.layers.regularization.dropout import Dropout


class GroupedQueryAttention(AttentionBase):
    """Multi-head attention with fewer heads of keys and values than of queries (Ainslie et al., 2023).

    Args:
        head_dim: size of each head.
        num_query_heads: number of heads of queries.
        num_key_value_heads: number of heads of keys and values; divides the number of query heads.
        dropout: fraction of the weights to drop in training.
        use_bias: whether the projections have a bias.
        sliding_window: attend only to positions at a distance below this.
        flash_attention: if True, dropout and scores are refused, as kernels that keep no scores demand.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: of the projections.
        use_gate: multiply the result by a learned sigmoid of the query before the last projection.
        seed: int for reproducible dropout.

    Call arguments: see `MultiHeadAttention`.

    Raises:
        ValueError: if the numbers of heads do not go together.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)
        >>> x = np.ones((3, 5, 8), "float32")
        >>> layer(x, x).shape
        (3, 5, 8)
    """

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        if num_query_heads % num_key_value_heads != 0:
            raise ValueError(
                "`num_query_heads` must be divisible by `num_key_value_heads`. Received: "
                f"num_query_heads={num_query_heads}, num_key_value_heads={num_key_value_heads}"
            )
        self.head_dim = head_dim
        self.num_query_heads, self.num_key_value_heads = num_query_heads, num_key_value_heads
        self.num_repeats = num_query_heads // num_key_value_heads
        self.dropout, self.use_bias, self.use_gate = dropout, use_bias, use_gate
        self.sliding_window = sliding_window
        self.seed = seed
        self.check_flags(sliding_window, flash_attention, dropout)
        self.store_identifiers(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )
        self._inverse_sqrt_head_dim = 1.0 / math.sqrt(head_dim)

    @property
    def _use_bias(self) -> bool:
        return self.use_bias

    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        # b batch, q queries, k keys, m features, u query heads, v heads of keys and values, h features of a head
        key_shape = value_shape if key_shape is None else key_shape
        self.feature_dim = query_shape[-1]
        queries = (None, self.num_query_heads, self.head_dim)
        others = (None, self.num_key_value_heads, self.head_dim)
        self._query_dense = self.add_projection("query", "bqm,muh->bquh", queries, "uh", query_shape)
        self._key_dense = self.add_projection("key", "bkm,mvh->bkvh", others, "vh", key_shape)
        if self.use_gate:
            self._gate_dense = self.add_projection(
                "gate", "bqm,muh->bquh", queries, "uh", query_shape, activation="sigmoid"
            )
        self._value_dense = self.add_projection("value", "bkm,mvh->bkvh", others, "vh", value_shape)
        self._softmax = Softmax(axis=-1, dtype=self.dtype_policy)
        self._dropout_layer = Dropout(rate=self.dropout, dtype=self.dtype_policy, seed=self.seed)
        self._output_dense = self.add_projection(
            "attention_output",
            "bquh,uhm->bqm",
            (None, self.feature_dim),
            "m",
            (None, None, self.num_query_heads, self.head_dim),
        )

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        self._return_attention_scores = return_attention_scores
        key = value if key is None else key
        query, key, value = unmasked(query), unmasked(key), unmasked(value)
        gate = self._gate_dense(query) if self.use_gate else None
        projected = self._query_dense(query), self._key_dense(key), self._value_dense(value)
        scores = None
        if not return_attention_scores and self._is_plain():
            masks = (query_mask, value_mask, key_mask, attention_mask)
            output = self.attended(*projected, masks, training, use_causal_mask, self._inverse_sqrt_head_dim)
        else:
            attention_mask = self._compute_attention_mask(
                query,
                value,
                query_mask=query_mask,
                value_mask=value_mask,
                key_mask=key_mask,
                attention_mask=attention_mask,
                use_causal_mask=use_causal_mask,
            )
            queries, *others = projected
            repeated = (ops.repeat(x, self.num_repeats, axis=2) for x in others)
            output, scores = self._compute_attention(
                queries, *repeated, attention_mask=attention_mask, training=training
            )
        output = self._output_dense(output if gate is None else ops.multiply(output, gate))
        return (output, scores) if return_attention_scores else output

    def _is_plain(self) -> bool:
        """Whether nobody else looks at the scores or decides how they come about."""
        own = type(self)
        return (
            self.dropout < 1.0
            and own._compute_attention is GroupedQueryAttention._compute_attention
            and own._compute_attention_mask is GroupedQueryAttention._compute_attention_mask
        )

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> tuple[Any, Any]:
        """(result, weights or None) of projected query, key and value with as many heads; subclasses may replace it."""
        self.check_scores_wanted(self._return_attention_scores)
        drops = training and self.dropout > 0.0
        if not drops and not self._return_attention_scores:
            masks = (None, None, None, attention_mask)
            return self.attended(query, key, value, masks, False, use_causal_mask, self._inverse_sqrt_head_dim), None
        if use_causal_mask:
            attention_mask = all_of([attention_mask, causal_mask(query.shape[1], value.shape[1])])
        scores = ops.einsum("bquh,bkuh->buqk", ops.multiply(query, self._inverse_sqrt_head_dim), key)
        scores = self.masked_softmax(scores, attention_mask)
        weights = self._dropout_layer(scores, training=training) if drops else scores
        return ops.einsum("buqk,bkuh->bquh", weights, value), scores

    def _compute_attention_mask(
        self,
        query: Any,
        value: Any,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:
        return scores_mask(
            query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask, self.sliding_window
        )

    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> Any:
        if query_shape[-1] != value_shape[-1]:
            raise ValueError(
                "The last dimension of `query_shape` and `value_shape` must be equal, but are "
                f"{query_shape[-1]}, {value_shape[-1]}. Received: query_shape={query_shape}, value_shape={value_shape}"
            )
        _check_shapes(value_shape, value_shape if key_shape is None else key_shape)
        return query_shape

    def get_config(self) -> dict[str, Any]:
        names = (
            "head_dim",
            "num_query_heads",
            "num_key_value_heads",
            "use_bias",
            "use_gate",
            "sliding_window",
            "dropout",
        )
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own, **self.identifier_config(), "seed": self.seed}
