"""Attention with one head and no projections: dot products (Luong) and sums (Bahdanau)."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.seed_generator import draw_seed
from graphkeras.layers.attention.masks import all_of, causal_mask
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.ops.attention import attend
from graphkeras.ops.base import promote, to_tensor


class Attention(ConfiguredLayer):
    """Dot-product attention (Luong et al., 2015): `softmax(query @ key^T) @ value`.

    Args:
        use_scale: multiply the scores by a learned number.
        score_mode: "dot", or "concat" for scores that are sums over `tanh(query + key)`.
        dropout: fraction of the weights to drop in training.
        seed: int for reproducible dropout.

    Call arguments:
        inputs: list `[query, value]` or `[query, value, key]` of shapes `(batch, Tq, dim)`, `(batch, Tv, dim)` and
            `(batch, Tv, dim)`; the key is the value by default.
        mask: list `[query mask, value mask]`: bool tensors `(batch, Tq)` and `(batch, Tv)` or None. Masked queries give
            zeros, masked values are not attended to.
        training: whether to drop.
        return_attention_scores: also return the weights `(batch, Tq, Tv)`.
        use_causal_mask: let no query attend to a later position.

    Raises:
        ValueError: for another score mode, and for inputs or masks that are no lists of 2 or 3.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> query, value = np.ones((2, 3, 4), "float32"), np.ones((2, 5, 4), "float32")
        >>> layers.Attention()([query, value]).shape
        (2, 3, 4)
    """

    CONFIG: tuple[str, ...] = ("use_scale", "score_mode", "dropout", "seed")

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                "Invalid value for argument score_mode. Expected one of {'dot', 'concat'}. "
                f"Received: score_mode={score_mode}"
            )
        self.store(use_scale=use_scale, score_mode=score_mode, dropout=dropout, seed=seed)
        if dropout > 0:
            self.seed_generator = gk_random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        self._validate_inputs(input_shape)
        ones = {"shape": (), "initializer": "ones"}
        self.scale = self.add_weight(name="scale", **ones) if self.use_scale else None
        self.concat_score_weight = (
            self.add_weight(name="concat_score_weight", **ones) if self.score_mode == "concat" else None
        )

    # -- the computation -------------------------------------------------------------------------------
    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._validate_inputs(inputs, mask)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) > 2 else value
        query_mask, value_mask = mask[:2] if mask is not None else (None, None)
        scores = None
        if not return_attention_scores and self._is_plain(query, key, value):
            output = self._attend(query, key, value, value_mask, use_causal_mask, training)
        else:
            scores = self._calculate_scores(query, key)
            allowed = self._calculate_score_mask(scores, value_mask, use_causal_mask)
            output, scores = self._apply_scores(scores, value, allowed, training)
        if query_mask is not None:
            output = ops.where(ops.expand_dims(query_mask, -1), output, 0)
        return (output, scores) if return_attention_scores else output

    def _is_plain(self, query: Any, key: Any, value: Any) -> bool:
        """Whether the scores are products of (batch, length, dim) arrays that nobody else looks at."""
        own = type(self)
        return (
            self.score_mode == "dot"
            and self.dropout < 1
            and own._calculate_scores is Attention._calculate_scores
            and own._calculate_score_mask is Attention._calculate_score_mask
            and own._apply_scores is Attention._apply_scores
            and all(len(x.shape) == 3 and x.shape[0] == query.shape[0] for x in (query, key, value))
        )

    def _attend(self, query: Any, key: Any, value: Any, value_mask: Any, causal: bool, training: bool) -> Any:
        """All in one op, which keeps no scores where the compiler can do without."""
        if self.scale is not None:
            query = ops.multiply(query, self.scale)
        q, k, v = (ops.expand_dims(x, 2) for x in promote(*(to_tensor(x) for x in (query, key, value))))
        masks = [] if value_mask is None else [ops.reshape(ops.cast(value_mask, "bool"), (-1, 1, 1, k.shape[1]))]
        rate = float(self.dropout) if training else 0.0
        key_bits = draw_seed(self.seed_generator) if rate > 0 else None
        return ops.squeeze(attend(q, k, v, masks, scale=1.0, causal=bool(causal), rate=rate, key=key_bits), 2)

    def _calculate_scores(self, query: Any, key: Any) -> Any:
        """Scores (batch, Tq, Tv) of queries (batch, Tq, dim) and keys (batch, Tv, dim)."""
        if self.score_mode == "dot":
            scores = ops.matmul(query, ops.swapaxes(key, -2, -1))
            return scores if self.scale is None else ops.multiply(scores, self.scale)
        pairs = ops.expand_dims(query, -2) + ops.expand_dims(key, -3)
        if self.scale is not None:
            pairs = ops.multiply(pairs, self.scale)
        return ops.multiply(ops.sum(ops.tanh(pairs), axis=-1), self.concat_score_weight)

    def _calculate_score_mask(self, scores: Any, v_mask: Any, use_causal_mask: bool) -> Any:
        """The mask of scores, broadcastable to them, or None."""
        if not use_causal_mask:
            return v_mask
        causal = causal_mask(*scores.shape[-2:])
        return all_of([None if v_mask is None else ops.expand_dims(v_mask, -2), causal])

    def _apply_scores(
        self, scores: Any, value: Any, scores_mask: Any = None, training: bool = False
    ) -> tuple[Any, Any]:
        """(output, weights) from scores; `scores_mask` is true where they count, (batch, Tv) or like the scores."""
        if scores_mask is not None:
            allowed = ops.cast(scores_mask, "bool")
            if len(allowed.shape) == 2:
                allowed = ops.expand_dims(allowed, -2)
            # Lowered instead of replaced, so that a row without any place left still follows its scores.
            low = 65504.0 if scores.dtype == "float16" else 1e9
            scores = ops.where(allowed, scores, scores - low)
        weights = ops.softmax(scores, axis=-1)
        if training and self.dropout > 0:
            weights = gk_random.dropout(weights, self.dropout, seed=self.seed_generator)
        return ops.matmul(weights, value), weights

    # -- masks, shapes, checks ---------------------------------------------------------------------------
    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        self._validate_inputs(inputs, mask)
        return None if mask is None or mask[0] is None else ops.convert_to_tensor(mask[0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_output_spec(
        self,
        inputs: Any,
        mask: Any = None,
        return_attention_scores: bool = False,
        training: Any = None,
        use_causal_mask: bool = False,
    ) -> Any:
        self._validate_inputs(inputs, mask)
        shapes = [x.shape for x in inputs]
        output = KerasTensor(self.compute_output_shape(shapes), dtype=self.compute_dtype)
        if not return_attention_scores:
            return output
        return output, KerasTensor((*shapes[0][:-1], shapes[-1][-2]), dtype=self.compute_dtype)

    def _validate_inputs(self, inputs: Any, mask: Any = None) -> None:
        name = type(self).__name__
        if not isinstance(inputs, list):
            raise ValueError(
                f"{name} layer must be called on a list of inputs, namely [query, value] or [query, value, key]. "
                f"Received: inputs={inputs}."
            )
        if len(inputs) not in (2, 3):
            raise ValueError(
                f"{name} layer accepts inputs list of length 2 or 3, namely [query, value] or [query, value, key]. "
                f"Received length: {len(inputs)}."
            )
        if mask is None:
            return
        if not isinstance(mask, list):
            raise ValueError(
                f"{name} layer mask must be a list, namely [query_mask, value_mask]. Received: mask={mask}."
            )
        if len(mask) not in (2, 3):
            raise ValueError(
                f"{name} layer accepts mask list of length 2 or 3. Received: inputs={inputs}, mask={mask}."
            )


class AdditiveAttention(Attention):
    """Additive attention (Bahdanau et al., 2015): scores are `sum(scale * tanh(query + key))` over the features.

    Args:
        use_scale: learn a scale per feature; ones otherwise.
        dropout: fraction of the weights to drop in training.

    Call arguments: see `Attention`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> query, value = np.ones((2, 3, 4), "float32"), np.ones((2, 5, 4), "float32")
        >>> layers.AdditiveAttention()([query, value]).shape
        (2, 3, 4)
    """

    CONFIG = ("use_scale", "dropout", "seed")

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any) -> None:
        self._validate_inputs(input_shape)
        self.scale = (
            self.add_weight(name="scale", shape=(input_shape[0][-1],), initializer="glorot_uniform")
            if self.use_scale
            else None
        )

    def _calculate_scores(self, query: Any, key: Any) -> Any:
        terms = ops.tanh(ops.expand_dims(query, -2) + ops.expand_dims(key, -3))
        return ops.sum(terms if self.scale is None else ops.multiply(terms, self.scale), axis=-1)
