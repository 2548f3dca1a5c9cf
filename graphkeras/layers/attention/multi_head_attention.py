"""Multi-head attention."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from graphkeras import config as gk_config
from graphkeras import ops
from graphkeras.core.operation import Operation
from graphkeras.core.seed_generator import draw_seed
from graphkeras.core.tensor import Tensor
from graphkeras.layers.activations.activation import Softmax
from graphkeras.layers.attention.masks import all_of, causal_mask, mask_parts, scores_mask, with_heads
from graphkeras.layers.configured import ConfiguredLayer, resolver
from graphkeras.layers.core.einsum_dense import EinsumDense
from graphkeras.layers.regularization.dropout import Dropout
from graphkeras.ops.attention import attend
from graphkeras.ops.base import promote, to_tensor

IDENTIFIERS = (
    "kernel_initializer",
    "bias_initializer",
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "kernel_constraint",
    "bias_constraint",
)


class AttentionBase(ConfiguredLayer):
    """What MultiHeadAttention and GroupedQueryAttention share: projections, flags, masks."""

    def check_flags(self, sliding_window: Any, flash_attention: Any, dropout: float) -> None:
        """Check and keep the arguments that decide how attention is computed."""
        if sliding_window is not None and (not isinstance(sliding_window, int) or sliding_window <= 0):
            raise ValueError(
                f"`sliding_window` must be `None` or a positive integer. Received: sliding_window={sliding_window}"
            )
        self._window = sliding_window
        self._flash_attention = flash_attention or gk_config.is_flash_attention_enabled()
        if self._flash_attention and dropout > 0.0:
            raise ValueError(
                "Dropout is not supported when flash attention is enabled. Please set dropout to 0.0 to use flash "
                f"attention. Received: dropout={dropout}"
            )

    def add_projection(
        self, name: str, equation: str, output_shape: Any, bias_axes: str, input_shape: Any, **options: Any
    ) -> EinsumDense:
        """A built EinsumDense with the layer's initializers, regularizers and constraints."""
        shared: dict[str, Any] = {n: getattr(self, f"_{n}") for n in IDENTIFIERS}
        for n in ("kernel_initializer", "bias_initializer"):
            if hasattr(shared[n], "get_config"):  # the same instance would give all projections the same values
                shared[n] = type(shared[n]).from_config(shared[n].get_config())
        layer = EinsumDense(
            equation,
            output_shape=output_shape,
            bias_axes=bias_axes if self._use_bias else None,
            name=name,
            dtype=self.dtype_policy,
            **shared,
            **options,
        )
        layer.build(tuple(input_shape))
        return layer

    def store_identifiers(self, **values: Any) -> None:
        """Keep initializers and the like under their names with an underscore: they are those of the projections."""
        for name, value in values.items():
            setattr(self, f"_{name}", resolver(name).get(value))

    def identifier_config(self) -> dict[str, Any]:
        return {n: resolver(n).serialize(getattr(self, f"_{n}")) for n in IDENTIFIERS}

    def check_scores_wanted(self, wanted: bool) -> None:
        if wanted and self._flash_attention:
            raise ValueError(
                "Returning attention scores is not supported when flash attention is enabled. Please disable flash "
                "attention to access attention scores."
            )

    def attended(
        self, query: Any, key: Any, value: Any, masks: Sequence[Any], training: bool | None, causal: bool, scale: float
    ) -> Any:
        """All heads in one op, which keeps no scores: (batch, T, heads, dim) of projected query, key and value.

        masks: (query mask, value mask, key mask, attention mask), each may be None.
        """
        drops = bool(training) and self._dropout_layer.rate > 0.0
        q, k, v = promote(*(to_tensor(x) for x in (query, key, value)))
        return attend(
            q,
            k,
            v,
            mask_parts(masks),
            scale=scale,
            causal=bool(causal),
            window=self._window or 0,
            rate=float(self._dropout_layer.rate) if drops else 0.0,
            key=draw_seed(self._dropout_layer.seed_generator) if drops else None,
        )

    def masked_softmax(self, scores: Any, mask: Any, axes: int = 1) -> Any:
        return self._softmax(scores, mask=with_heads(mask, len(scores.shape), axes))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("return_attention_scores"):
            return Operation.compute_output_spec(self, *args, **kwargs)
        return super().compute_output_spec(*args, **kwargs)


def unmasked(x: Any) -> Any:
    """The same value without its Keras mask, which the attention layer has taken care of."""
    return Tensor(x.data, x.trace) if isinstance(x, Tensor) else x


class MultiHeadAttention(AttentionBase):
    """Multi-head attention (Vaswani et al., 2017).

    Queries, keys and values are projected for each head, `softmax(q k^T / sqrt(key_dim)) v` is computed per head, and
    the results are projected back.

    Args:
        num_heads: number of heads.
        key_dim: size of each head's queries and keys.
        value_dim: size of each head's values; `key_dim` by default.
        dropout: fraction of the weights to drop in training.
        use_bias: whether the projections have a bias.
        output_shape: size of the output, without batch and sequence axes; that of the query by default.
        attention_axes: axes to attend over; all but batch, heads and features by default.
        sliding_window: attend only to positions at a distance below this.
        flash_attention: if True, dropout and scores are refused, as kernels that keep no scores demand.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
            kernel_constraint, bias_constraint: of the projections.
        use_gate: multiply the result by a learned sigmoid of the query before the last projection.
        seed: int for reproducible dropout.

    Call arguments:
        query: tensor of shape `(batch, T, dim)`.
        value: tensor of shape `(batch, S, dim)`.
        key: tensor of shape `(batch, S, dim)`; the value by default.
        query_mask, value_mask, key_mask: bool tensors `(batch, T)`, `(batch, S)`, `(batch, S)`.
        attention_mask: bool tensor `(batch, T, S)`, true where attention is allowed. All masks are joined by AND.
        return_attention_scores: also return the weights `(batch, heads, T, S)`.
        training: whether to drop.
        use_causal_mask: let no query attend to a later position.

    Raises:
        ValueError: for sizes that are not positive ints, or shapes that do not go together.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.MultiHeadAttention(num_heads=2, key_dim=4)
        >>> x = np.ones((3, 5, 8), "float32")
        >>> layer(x, x, use_causal_mask=True).shape
        (3, 5, 8)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
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
        _check_sizes(num_heads, key_dim, value_dim)
        super().__init__(**kwargs)
        self.supports_masking = True
        self._num_heads, self._key_dim, self._value_dim = num_heads, key_dim, value_dim or key_dim
        self._dropout, self._use_bias, self._use_gate = dropout, use_bias, use_gate
        self._output_shape = _as_shape(output_shape)
        self._attention_axes = _as_axes(attention_axes)
        self._sliding_window = sliding_window
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
        self._inverse_sqrt_key_dim = 1.0 / math.sqrt(key_dim)

    # -- building --------------------------------------------------------------------------------------
    def build(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> None:
        key_shape = value_shape if key_shape is None else key_shape
        _check_shapes(value_shape, key_shape)
        self._query_dense = self._projection("query", query_shape, self._key_dim)
        self._key_dense = self._projection("key", key_shape, self._key_dim)
        if self._use_gate:
            self._gate_dense = self._projection("gate", query_shape, self._value_dim, activation="sigmoid")
        self._value_dense = self._projection("value", value_shape, self._value_dim)
        self._build_attention(len(value_shape) + 1)
        output = self._output_shape or (query_shape[-1],)
        equation, bias_axes = projection_equation(len(query_shape) - 1, 2, len(output))
        free = query_shape[1:-1]
        self._output_dense = self.add_projection(
            "attention_output",
            equation,
            (*(None for _ in free), *output),
            bias_axes,
            (query_shape[0], *free, self._num_heads, self._value_dim),
        )

    def _projection(self, name: str, shape: Any, size: int, **options: Any) -> EinsumDense:
        """(batch, ..., dim) to (batch, ..., heads, size)."""
        equation, bias_axes = projection_equation(len(shape) - 1, 1, 2)
        output_shape = (*(None for _ in shape[1:-1]), self._num_heads, size)
        return self.add_projection(name, equation, output_shape, bias_axes, shape, **options)

    def _build_attention(self, rank: int) -> None:
        """The equations for projected values of that rank, with softmax and dropout."""
        if self._attention_axes is None:
            self._attention_axes = tuple(range(1, rank - 2))
        else:
            self._attention_axes = tuple(a if a >= 0 else rank - 1 + a for a in self._attention_axes)
        self._dot_product_equation, self._combine_equation, scores_rank = attention_equations(
            rank, self._attention_axes
        )
        axes = tuple(range(scores_rank - len(self._attention_axes), scores_rank))
        self._softmax = Softmax(axis=axes, dtype=self.dtype_policy)
        self._dropout_layer = Dropout(rate=self._dropout, dtype=self.dtype_policy, seed=self.seed)

    @property
    def num_heads(self) -> int:
        return self._num_heads

    @property
    def key_dim(self) -> int:
        return self._key_dim

    @property
    def value_dim(self) -> int:
        return self._value_dim

    @property
    def dropout(self) -> float:
        return self._dropout

    @property
    def use_bias(self) -> bool:
        return self._use_bias

    @property
    def attention_axes(self) -> tuple[int, ...] | None:
        return self._attention_axes

    @property
    def query_dense(self) -> EinsumDense:
        """The projection of the query, as `key_dense`, `value_dense` and `output_dense` are the others."""
        return self._query_dense

    @property
    def key_dense(self) -> EinsumDense:
        return self._key_dense

    @property
    def value_dense(self) -> EinsumDense:
        return self._value_dense

    @property
    def output_dense(self) -> EinsumDense:
        return self._output_dense

    # -- the computation -------------------------------------------------------------------------------
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
        key = value if key is None else key
        query, key, value = unmasked(query), unmasked(key), unmasked(value)
        gate = self._gate_dense(query) if self._use_gate else None
        projected = self._query_dense(query), self._key_dense(key), self._value_dense(value)
        scores = None
        if not return_attention_scores and self._is_plain(len(projected[0].shape)):
            masks = (query_mask, value_mask, key_mask, attention_mask)
            output = self.attended(*projected, masks, training, use_causal_mask, self._inverse_sqrt_key_dim)
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
            output, scores = self._compute_attention(*projected, attention_mask, training, return_attention_scores)
        output = self._output_dense(output if gate is None else ops.multiply(output, gate))
        return (output, scores) if return_attention_scores else output

    def _is_plain(self, rank: int) -> bool:
        """Whether nobody else looks at the scores or decides how they come about."""
        own = type(self)
        return (
            rank == 4
            and self._dropout < 1.0
            and own._compute_attention is MultiHeadAttention._compute_attention
            and own._compute_attention_mask is MultiHeadAttention._compute_attention_mask
            and own._masked_softmax is MultiHeadAttention._masked_softmax
        )

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> tuple[Any, Any]:
        """(result, weights or None) of projected query, key and value; subclasses may replace it.

        attention_mask: all masks as one. use_causal_mask: a causal mask that is not part of it.
        """
        self.check_scores_wanted(return_attention_scores)
        drops = training and self._dropout > 0.0
        if not drops and not return_attention_scores and len(query.shape) == 4:
            masks = (None, None, None, attention_mask)
            return self.attended(query, key, value, masks, False, use_causal_mask, self._inverse_sqrt_key_dim), None
        if use_causal_mask:
            attention_mask = all_of([attention_mask, self._compute_causal_mask(query, value)])
        scores = ops.einsum(self._dot_product_equation, key, ops.multiply(query, self._inverse_sqrt_key_dim))
        scores = self._masked_softmax(scores, attention_mask)
        weights = self._dropout_layer(scores, training=training) if drops else scores
        return ops.einsum(self._combine_equation, weights, value), scores

    def _masked_softmax(self, attention_scores: Any, attention_mask: Any = None) -> Any:
        return self.masked_softmax(attention_scores, attention_mask, len(self._attention_axes))

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
            query, value, query_mask, value_mask, key_mask, attention_mask, use_causal_mask, self._sliding_window
        )

    def _compute_causal_mask(self, query: Any, value: Any = None) -> Any:
        return causal_mask(query.shape[1], (query if value is None else value).shape[1])

    # -- shapes, config --------------------------------------------------------------------------------
    def compute_output_shape(self, query_shape: Any, value_shape: Any, key_shape: Any = None) -> Any:
        _check_shapes(value_shape, value_shape if key_shape is None else key_shape)
        return (*query_shape[:-1], *self._output_shape) if self._output_shape else tuple(query_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self._num_heads,
            "key_dim": self._key_dim,
            "value_dim": self._value_dim,
            "dropout": self._dropout,
            "use_bias": self._use_bias,
            "use_gate": self._use_gate,
            "output_shape": self._output_shape,
            "attention_axes": self._attention_axes,
            "sliding_window": self._sliding_window,
            **self.identifier_config(),
            "seed": self.seed,
        }


# -- equations ---------------------------------------------------------------------------------------------
def projection_equation(free: int, summed: int, new: int) -> tuple[str, str]:
    """(equation, bias axes) of a projection that keeps `free` axes and turns the `summed` last ones into `new` ones."""
    letters = string.ascii_lowercase
    kept, inner, outer = letters[:free], letters[free : free + summed], letters[free + summed : free + summed + new]
    return f"{kept}{inner},{inner}{outer}->{kept}{outer}", outer


def attention_equations(rank: int, axes: Sequence[int]) -> tuple[str, str, int]:
    """Equations of the scores (of key and query) and of the weighted sum (of weights and value), and the scores' rank.

    Queries and keys have axes (batch, others, attention axes, heads, features) of that rank in all. Scores have the
    batch axes and the heads first, then the queries' attention axes, then the keys'.
    """
    queries = string.ascii_lowercase[:rank]
    fresh = iter(string.ascii_lowercase[rank:])
    keys = "".join(next(fresh) if i in axes else c for i, c in enumerate(queries))
    shared = "".join(c for i, c in enumerate(queries[:-1]) if i not in axes)
    scores = shared + "".join(queries[a] for a in axes) + "".join(keys[a] for a in axes)
    return f"{keys},{queries}->{scores}", f"{scores},{keys}->{queries}", len(scores)


# -- checks ------------------------------------------------------------------------------------------------
def _check_sizes(num_heads: Any, key_dim: Any, value_dim: Any) -> None:
    for name, value in (("num_heads", num_heads), ("key_dim", key_dim)):
        if not isinstance(value, int) or value <= 0:
            raise ValueError(
                f"Received an invalid value for argument `{name}`, expected a positive integer. "
                f"Received: {name}={value}"
            )
    if value_dim is not None and (not isinstance(value_dim, int) or value_dim <= 0):
        raise ValueError(
            "Received an invalid value for argument `value_dim`, expected a positive integer or `None`. "
            f"Received: value_dim={value_dim}"
        )


def _as_shape(output_shape: Any) -> tuple[int, ...] | None:
    if not output_shape:
        return output_shape
    if isinstance(output_shape, int):
        return (output_shape,)
    try:
        return tuple(output_shape)
    except TypeError:
        raise ValueError(
            f"Invalid `output_shape`: {output_shape}. When specified, the `output_shape` should be of type tuple, "
            "list, or int."
        ) from None


def _as_axes(axes: Any) -> tuple[int, ...] | None:
    if isinstance(axes, int):
        return (axes,)
    if axes and not isinstance(axes, (list, tuple)):
        raise ValueError(f"`attention_axes` must be an int, list, or tuple. Received: attention_axes={axes}")
    return tuple(axes) if axes else axes


def _check_shapes(value_shape: Any, key_shape: Any) -> None:
    if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
        raise ValueError(
            "All dimensions of `value` and `key`, except the last one, must be equal. Received: "
            f"value_shape={tuple(value_shape)} and key_shape={tuple(key_shape)}"
        )
