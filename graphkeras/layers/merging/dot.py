"""Dot: products of two tensors, sample by sample, summed along one axis of each."""

from __future__ import annotations

from typing import Any

from graphkeras import ops
from graphkeras.layers.merging.base import Merge, is_shape_list


def _axes_pair(axes: Any, ranks: tuple[int, int]) -> tuple[int, int]:
    """The two summed axes, not negative."""
    pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
    return pair[0] % ranks[0], pair[1] % ranks[1]


def batch_dot(x: Any, y: Any, axes: Any) -> Any:
    """For each sample the sum of products along an axis of `x` and one of `y`.

    The result has the remaining axes of `x`, then those of `y`; without any, an axis of size 1.
    """
    a, b = _axes_pair(axes, (len(x.shape), len(y.shape)))
    letters = iter("cdefghijklmnopqrstuvwxyz")
    left = ["b", *(next(letters) for _ in x.shape[1:])]
    right = ["b", *(next(letters) for _ in y.shape[1:])]
    left[a] = right[b] = "a"
    rest = [c for c in left[1:] if c != "a"] + [c for c in right[1:] if c != "a"]
    result = ops.einsum(f"{''.join(left)},{''.join(right)}->b{''.join(rest)}", x, y)
    return result if rest else ops.expand_dims(result, -1)


class Dot(Merge):
    """Dot products of the samples of two tensors.

    For inputs `(batch, n)` and `(batch, n)` with `axes=1` the result has shape `(batch, 1)`; for `(batch, i, n)` and
    `(batch, n, j)` with `axes=(2, 1)` it is the matrix product `(batch, i, j)`.

    Args:
        axes: the axis that is summed, or one for each of the two inputs. Not the batch axis.
        normalize: whether to divide by the L2 norms along these axes first, which gives cosine similarities.

    Raises:
        TypeError, ValueError: for axes that are no int or pair of ints, or whose sizes differ.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.Dot(axes=1)([np.ones((2, 3), "float32"), np.ones((2, 3), "float32")]).tolist()
        [[3.0], [3.0]]
    """

    CONFIG = ("axes", "normalize")
    INPUTS = 2

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int):
            if not isinstance(axes, (list, tuple)):
                raise TypeError(
                    f"Invalid type for argument `axes`: it should be a list or an int. Received: axes={axes}"
                )
            if len(axes) != 2 or not all(isinstance(a, int) for a in axes):
                raise ValueError(
                    "Invalid format for argument `axes`: it should contain two elements, both integers. "
                    f"Received: axes={axes}"
                )
        self.store(axes=axes, normalize=normalize)

    def build(self, input_shape: Any) -> None:
        if not is_shape_list(input_shape) or len(input_shape) != 2:
            raise ValueError(
                f"A `Dot` layer should be called on a list of 2 inputs. Layer {self.name} received: "
                f"input_shape={input_shape}"
            )
        first, second = input_shape
        if min(len(first), len(second)) < 2:
            raise ValueError(f"Layer {self.name} needs inputs of rank 2 or more. Received shapes: {first}, {second}")
        a, b = _axes_pair(self.axes, (len(first), len(second)))
        if a == 0 or b == 0:
            raise ValueError(f"Layer {self.name} cannot sum along the batch axis 0. Received: axes={self.axes}")
        if None not in (first[a], second[b]) and first[a] != second[b]:
            raise ValueError(
                f"Layer {self.name}: incompatible input shapes: axis values {first[a]} (at axis {a}) != {second[b]} "
                f"(at axis {b}). Full input shapes: {first}, {second}"
            )

    def _same_rank(self, inputs: Any) -> Any:
        return inputs

    def _merge_function(self, inputs: Any) -> Any:
        if len(inputs) != 2:
            raise ValueError(f"A `Dot` layer should be called on exactly 2 inputs. Received: inputs={inputs}")
        x, y = inputs
        if self.normalize:
            a, b = _axes_pair(self.axes, (len(x.shape), len(y.shape)))
            x, y = ops.normalize(x, axis=a), ops.normalize(y, axis=b)
        return batch_dot(x, y, self.axes)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


def dot(inputs: Any, axes: Any = -1, **kwargs: Any) -> Any:
    """`Dot(axes, **kwargs)(inputs)`."""
    return Dot(axes=axes, **kwargs)(inputs)
