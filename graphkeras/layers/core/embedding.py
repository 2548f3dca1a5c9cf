"""Embedding: rows of a table looked up by integer, and the variant that can also go back to the table's rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.layers.quantized import QuantizedLayer
from graphkeras.quantizers.quantizers import (
    AbsMaxQuantizer,
    abs_max_quantize_grouped_with_zero_point,
    dequantize_groups,
    pack_int4,
    unpack_int4,
)


def _size(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r} (of type {type(value).__name__})."
        )
    return value


class Embedding(QuantizedLayer):
    """Turns non-negative integers into vectors of a trainable table.

    Integers of shape `(batch, ...)` give vectors of shape `(batch, ..., output_dim)`.

    Args:
        input_dim: number of rows of the table: the largest integer plus one.
        output_dim: length of the vectors.
        embeddings_initializer, embeddings_regularizer, embeddings_constraint: for the `(input_dim, output_dim)` table.
        mask_zero: whether 0 means "no token"; then later layers receive the mask `inputs != 0`.
        weights: initial table, an array `(input_dim, output_dim)` or a list of one.
        lora_rank, lora_alpha: see `Dense`.
        quantization_config: as for `Dense`.

    Raises:
        ValueError: if a size is not a positive int; if an integer lies outside the table, when it is looked up.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.Embedding(1000, 8, mask_zero=True)
        >>> layer(np.array([[3, 7, 0]])).shape
        (1, 3, 8)
    """

    CONFIG = (
        "input_dim",
        "output_dim",
        "embeddings_initializer",
        "embeddings_regularizer",
        "activity_regularizer",
        "embeddings_constraint",
        "mask_zero",
    )
    LORA = "embeddings"
    TRANSPOSED = True
    QUANTIZES_INPUTS = False

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> None:
        _size(input_dim, "input_dim")
        _size(output_dim, "output_dim")
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Argument `input_length` of Embedding is deprecated. Just remove it.", stacklevel=2)
        super().__init__(**kwargs)
        self.store(
            input_dim=input_dim,
            output_dim=output_dim,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero,
            quantization_config=quantization_config,
        )
        self.store_lora(lora_rank, lora_alpha)
        self.supports_masking = mask_zero
        self.autocast = False
        if weights is not None:
            self.build()
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        self.add_matrix((self.input_dim, self.output_dim))
        self.finish_build()

    def reduced_axes(self) -> tuple[int, ...]:
        return (1,)

    def stored_names(self) -> list[str]:
        return ["_embeddings", "embeddings_scale", "embeddings_zero", "g_idx"]

    @property
    def embeddings(self) -> Any:
        """The `(input_dim, output_dim)` table."""
        return self._matrix()

    def call(self, inputs: Any) -> Any:
        if str(inputs.dtype) not in ("int32", "int64"):
            inputs = ops.cast(inputs, "int32")
        if self.is_quantized:
            return ops.cast(self._quantized_rows(inputs), self.compute_dtype)
        return ops.cast(ops.take(self.embeddings, inputs, axis=0), self.compute_dtype)

    def _quantized_rows(self, inputs: Any) -> Any:
        """The wanted rows only, turned back into floats."""
        rows = ops.take(self._embeddings, inputs, axis=0)
        scale = ops.take(self.embeddings_scale, inputs, axis=0)
        if self.quantization_mode == "int4":
            rows = unpack_int4(rows, self.output_dim, axis=-1)
        if self._int4_block_size:
            zero = ops.take(self.embeddings_zero, inputs, axis=0)
            rows = dequantize_groups(rows, scale, zero, self.g_idx, axis=-1)
        else:
            rows = ops.divide(ops.cast(rows, scale.dtype), ops.expand_dims(scale, -1))
        if not self.lora_enabled:
            return rows
        a, b = self._lora_factors()
        addition = ops.matmul(ops.take(a, inputs, axis=0), b)
        return ops.add(rows, ops.multiply(self.lora_alpha / self.lora_rank, addition))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape, self.output_dim)


class ReversibleEmbedding(Embedding):
    """An `Embedding` that can also compute, for given vectors, a score for each row of the table.

    `layer(tokens)` looks up vectors; `layer(vectors, reverse=True)` gives `(batch, ..., input_dim)` scores.

    Args:
        input_dim, output_dim, embeddings_initializer, embeddings_regularizer, embeddings_constraint, mask_zero: as for
            `Embedding`.
        tie_weights: whether both directions use one table; else there is a second one, `reverse_embeddings`, of shape
            `(output_dim, input_dim)`.
        reverse_dtype: dtype in which the scores are computed; default the compute dtype.
        logit_soft_cap: if set, scores become `cap * tanh(scores / cap)`.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.ReversibleEmbedding(100, 8)
        >>> vectors = layer(np.array([[3, 7]]))
        >>> layer(vectors, reverse=True).shape
        (1, 2, 100)
    """

    QUANTIZES_INPUTS = True
    CONFIG = (*Embedding.CONFIG, "tie_weights", "reverse_dtype", "logit_soft_cap")

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        tie_weights: bool = True,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        reverse_dtype: Any = None,
        logit_soft_cap: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer=embeddings_initializer,
            embeddings_regularizer=embeddings_regularizer,
            embeddings_constraint=embeddings_constraint,
            mask_zero=mask_zero,
            **kwargs,
        )
        self.store(tie_weights=tie_weights, reverse_dtype=reverse_dtype, logit_soft_cap=logit_soft_cap)

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        self.add_matrix((self.input_dim, self.output_dim))
        if not self.tie_weights and not self.is_quantized:
            self.reverse_embeddings = self.add_weight(
                name="reverse_embeddings",
                shape=(self.output_dim, self.input_dim),
                initializer=self.embeddings_initializer,
            )
        self.finish_build()

    def quantized_build(self, shape: Any, mode: str, config: Any = None) -> None:
        super().quantized_build(shape, mode, config)
        if not self.tie_weights:
            table = getattr(self, "reverse_embeddings", None)
            if table is None:
                table = np.zeros((self.output_dim, self.input_dim), "float32")
            else:
                del self.reverse_embeddings
            for name, value in self._quantize_reverse(table, config or self._policy_config(mode)).items():
                self._add_quantized(name, value)

    def _quantize_reverse(self, table: Any, config: Any) -> dict[str, Any]:
        """The second table as integers, in the form it is kept."""
        table = ops.convert_to_tensor(ops.convert_to_numpy(table))
        name, zero = "reverse_embeddings", None
        if config.mode == "int8":
            values, scale = (config.weight_quantizer or AbsMaxQuantizer())(table, axis=0)
            scale = ops.squeeze(scale, 0)
        elif self._int4_block_size:
            values, scale, zero = abs_max_quantize_grouped_with_zero_point(table, self._int4_block_size)
        else:
            values, scale = (config.weight_quantizer or AbsMaxQuantizer(value_range=(-8, 7)))(table, axis=0)
            scale = ops.squeeze(scale, 0)
        values = pack_int4(values, axis=0)[0] if config.mode == "int4" else values
        parts = {name: values, f"{name}_scale": scale}
        return parts if zero is None else {**parts, f"{name}_zero": zero}

    def _reverse_table(self) -> Any:
        """The `(output_dim, input_dim)` matrix of the way back."""
        if self.tie_weights:
            return ops.transpose(self.embeddings)
        if not self.is_quantized:
            return self.reverse_embeddings
        values, scale = self.reverse_embeddings, self.reverse_embeddings_scale
        if self.quantization_mode == "int4":
            values = unpack_int4(values, self.output_dim, axis=0)
        if self._int4_block_size:
            return dequantize_groups(values, scale, self.reverse_embeddings_zero, self.g_idx)
        return ops.divide(ops.cast(values, scale.dtype), scale)

    def stored_names(self) -> list[str]:
        reverse = ("reverse_embeddings", "reverse_embeddings_scale", "reverse_embeddings_zero")
        return [*super().stored_names(), *(() if self.tie_weights else reverse)]

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if not reverse:
            vectors = super().call(inputs)
            vectors._keras_mask = super().compute_mask(inputs)
            return vectors
        dtype = self.reverse_dtype or self.compute_dtype
        inputs = self.rounded_inputs(ops.cast(inputs, dtype))
        scores = ops.matmul(inputs, ops.cast(self._reverse_table(), dtype))
        cap = self.logit_soft_cap
        return scores if cap is None else ops.multiply(ops.tanh(ops.divide(scores, cap)), cap)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None  # `call` attaches it, because only one of the two directions has one

    def compute_output_shape(self, input_shape: Any, reverse: bool = False) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.input_dim) if reverse else super().compute_output_shape(input_shape)

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> Any:
        dtype = (self.reverse_dtype if reverse else None) or self.compute_dtype
        return KerasTensor(self.compute_output_shape(inputs.shape, reverse), dtype=dtype)
