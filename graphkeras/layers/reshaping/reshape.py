"""Layers that only rearrange axes and elements: Flatten, Reshape, Permute, RepeatVector."""

from __future__ import annotations

import math
from typing import Any

from graphkeras import ops
from graphkeras.core.config import standardize_data_format
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.layers.arguments import positive_int
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.input_spec import InputSpec


class Flatten(ConfiguredLayer):
    """Joins all axes but the batch axis: `(batch, a, b, ...)` becomes `(batch, a * b * ...)`.

    Args:
        data_format: with "channels_first" the channels are moved to the end first, so that both formats flatten to the
            same order. Default the configured one.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Flatten()(np.ones((2, 3, 4), "float32")).shape
        (2, 12)
    """

    CONFIG = ("data_format",)

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs: Any) -> Any:
        rank = len(inputs.shape)
        if self.data_format == "channels_first" and rank > 2:
            inputs = ops.transpose(inputs, (0, *range(2, rank), 1))
        batch, *rest = inputs.shape
        return ops.reshape(inputs, (batch, math.prod(rest)))


class Reshape(ConfiguredLayer):
    """Gives each sample another shape with as many elements.

    Args:
        target_shape: shape without the batch axis; one entry may be -1 and is then inferred.

    Raises:
        ValueError: for a shape with several -1 or other negative entries, or one that does not fit the inputs.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Reshape((3, -1))(np.ones((2, 12), "float32")).shape
        (2, 3, 4)
    """

    CONFIG = ("target_shape",)

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        target_shape = tuple(target_shape)
        received = f"Received: target_shape={target_shape}"
        if any(n is None or n < -1 for n in target_shape):
            raise ValueError(
                f"Layer {self.name}: every entry of `target_shape` must be a non-negative integer or -1. {received}"
            )
        if target_shape.count(-1) > 1:
            raise ValueError(f"Layer {self.name}: there can be at most one unknown dimension (-1). {received}")
        self.target_shape = target_shape
        self._build_at_init()

    def call(self, inputs: Any) -> Any:
        return ops.reshape(inputs, self.compute_output_shape(inputs.shape))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, *rest = input_shape
        if None in rest:  # tracing would have to guess a size that the target shape divides
            return (batch, *(None if n == -1 else n for n in self.target_shape))
        return (batch, *self._resolve(math.prod(rest), tuple(rest)))  # type: ignore[arg-type]

    def compute_output_spec(self, inputs: Any) -> Any:
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def _resolve(self, size: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The target shape without -1 for samples of `size` elements."""
        known = math.prod(n for n in self.target_shape if n != -1)
        inferred = -1 in self.target_shape
        if size != known and not (inferred and known and size % known == 0):
            raise ValueError(
                f"Layer {self.name}: the total size of the tensor must be unchanged. Received: input shape {shape} "
                f"({size} elements), target_shape={self.target_shape} ({known} elements{' times -1' * inferred})"
            )
        return tuple(size // known if n == -1 else n for n in self.target_shape)


class Permute(ConfiguredLayer):
    """Reorders the axes of each sample.

    Args:
        dims: the new order, counted from 1 because the batch axis 0 stays: `(2, 1)` swaps the two axes of a matrix.

    Raises:
        ValueError: if `dims` is no permutation of 1, 2, ...

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Permute((2, 1))(np.ones((2, 3, 4), "float32")).shape
        (2, 4, 3)
    """

    CONFIG = ("dims",)

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Invalid permutation argument `dims` for Permute layer {self.name}. The set of indices in `dims` must "
                f"be consecutive and start from 1. Received dims={dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs: Any) -> Any:
        return ops.transpose(inputs, (0, *self.dims))


class RepeatVector(ConfiguredLayer):
    """Repeats each vector along a new axis: `(batch, features)` becomes `(batch, n, features)`.

    Args:
        n: number of copies.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.RepeatVector(3)(np.ones((2, 4), "float32")).shape
        (2, 3, 4)
    """

    CONFIG = ("n",)

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive_int(n, "n", self.name)
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs: Any) -> Any:
        batch, features = inputs.shape
        return ops.broadcast_to(ops.expand_dims(inputs, 1), (batch, self.n, features))
