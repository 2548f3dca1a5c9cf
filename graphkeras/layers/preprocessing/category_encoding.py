"""CategoryEncoding: integers as vectors."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.layers.preprocessing.encoding import encode, encoded_shape


class CategoryEncoding(DataLayer):
    """Encodes integers from 0 to `num_tokens - 1` as vectors of that length.

    Args:
        num_tokens: number of categories.
        output_mode: "one_hot" (a vector for each integer), "multi_hot" (one vector for each row, with ones for the
            integers that occur) or "count" (their numbers).
        sparse: must be False: there are no sparse tensors.

    Call arguments:
        inputs: integers.
        count_weights: like the inputs, what each occurrence counts; only for "count".

    Raises:
        ValueError: for another mode, fewer than one token, or weights in another mode.

    Example:
        >>> from graphkeras import layers
        >>> layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")([3, 2]).tolist()
        [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        output_mode = "multi_hot" if output_mode == "binary" else output_mode
        if output_mode not in ("count", "one_hot", "multi_hot"):
            raise ValueError(f"Unknown arg for output_mode: {output_mode}. Expected 'one_hot', 'multi_hot' or 'count'.")
        if num_tokens is None:
            raise ValueError(
                "num_tokens must be set to use this layer. If the number of tokens is not known beforehand, use the "
                "IntegerLookup layer instead."
            )
        if num_tokens < 1:
            raise ValueError(f"`num_tokens` must be >= 1. Received: num_tokens={num_tokens}.")
        refuse_sparse(sparse, type(self).__name__)
        self.num_tokens, self.output_mode, self.sparse = num_tokens, output_mode, sparse
        self._convert_input_args = False

    def call(self, inputs: Any, count_weights: Any = None) -> Any:
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(
                "`count_weights` is not used when `output_mode` is not `'count'`. "
                f"Received `count_weights={count_weights}`."
            )
        if count_weights is not None:
            count_weights = ops.convert_to_tensor(count_weights, dtype=self.compute_dtype)
        return encode(inputs, self.output_mode, self.num_tokens, self.compute_dtype, count_weights)

    def compute_output_shape(self, input_shape: Any, count_weights_shape: Any = None) -> Any:
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def compute_output_spec(self, inputs: Any, count_weights: Any = None) -> Any:
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}


def refuse_sparse(sparse: bool, name: str) -> None:
    if sparse:
        raise ValueError(
            f"`sparse=True` of {name} cannot be used: graphkeras has no sparse tensors. Pass sparse=False."
        )
