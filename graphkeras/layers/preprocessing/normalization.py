"""Normalization: features to mean 0 and variance 1, by statistics of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.config import epsilon
from graphkeras.layers.arguments import check_axes
from graphkeras.layers.preprocessing.data_layer import DataLayer


class Normalization(DataLayer):
    """`(inputs - mean) / sqrt(variance)` with statistics that `adapt` takes from data, or that are given.

    Args:
        axis: axis or axes that have statistics of their own; the others are averaged over. None: one pair of numbers.
        mean, variance: the statistics, both or neither, of at most as many axes as `axis` names.
        invert: whether to apply the inverse map, `inputs * sqrt(variance) + mean`.

    Raises:
        ValueError: if only one of mean and variance is given, or their shapes do not fit.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.Normalization(axis=None)
        >>> layer.adapt(np.array([1.0, 2.0, 3.0, 4.0, 5.0], "float32"))
        >>> [round(v, 3) for v in layer(np.array([1.0, 3.0], "float32")).tolist()]
        [-1.414, 0.0]
    """

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.input_mean = mean
        self.input_variance = variance
        self.invert = invert
        self.supports_masking = True
        self._build_input_shape: tuple[int | None, ...] | None = None
        if (mean is None) != (variance is None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. "
                f"Received: mean={mean} and variance={variance}"
            )
        if mean is not None:
            self._check_given(np.shape(mean), np.shape(variance))

    def _check_given(self, mean: tuple[int, ...], variance: tuple[int, ...]) -> None:
        if mean != variance:
            raise ValueError(
                "When setting values directly, `mean` and `variance` must have the same shape. "
                f"Received: mean shape {mean} and variance shape {variance}"
            )
        if len(mean) > len(self.axis):
            raise ValueError(
                f"The rank of `mean` must be less than or equal to the number of axes ({len(self.axis)}). "
                f"Received: mean shape {mean} for axis {self.axis}"
            )

    def build(self, input_shape: Any) -> None:
        if input_shape is None:
            return
        rank = len(input_shape)
        if any(not -rank <= a < rank for a in self.axis):
            raise ValueError(
                f"All `axis` values must be in the range [-ndim, ndim). Layer {self.name} received inputs with "
                f"ndim={rank}, while axis={self.axis}"
            )
        check_axes(self.axis, input_shape)
        self._build_input_shape = tuple(input_shape)
        self._keep_axis = tuple(sorted(a % rank for a in self.axis))
        for a in self._keep_axis:
            if input_shape[a] is None:
                raise ValueError(
                    f"All `axis` values to be kept must have a known shape. Layer {self.name} received "
                    f"axis={self.axis}, inputs.shape={input_shape}, with unknown axis at index {a}"
                )
        self._reduce_axis = tuple(a for a in range(rank) if a not in self._keep_axis)
        self._broadcast_shape = tuple(input_shape[a] if a in self._keep_axis else 1 for a in range(rank))
        if self.input_mean is None:
            shape = tuple(input_shape[a] for a in self._keep_axis)
            self.adapt_mean = self.add_weight(name="mean", shape=shape, initializer="zeros", trainable=False)
            self.adapt_variance = self.add_weight(name="variance", shape=shape, initializer="ones", trainable=False)
            self.count = self.add_weight(name="count", shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.built = True

    @property
    def mean(self) -> Any:
        """The mean in a shape that broadcasts with the inputs; None before the layer is built."""
        return None if not self.built else self._statistic(self.input_mean, "adapt_mean")

    @property
    def variance(self) -> Any:
        """The variance in a shape that broadcasts with the inputs; None before the layer is built."""
        return None if not self.built else self._statistic(self.input_variance, "adapt_variance")

    def _statistic(self, given: Any, weight: str) -> Any:
        if given is None:
            return ops.cast(ops.reshape(getattr(self, weight), self._broadcast_shape), self.compute_dtype)
        value = ops.cast(ops.convert_to_tensor(given), self.compute_dtype)
        shape = [1] * len(self._broadcast_shape)
        for axis, size in zip(reversed(self._keep_axis), reversed(value.shape), strict=False):
            shape[axis] = size
        return ops.broadcast_to(ops.reshape(value, shape), self._broadcast_shape)

    def adapt(self, data: Any) -> None:
        """Compute the statistics of a data set; earlier ones are replaced.

        Args:
            data: an array, tensor or DataFrame, or an iterable of batches: a list or generator of arrays, a
                `PyDataset`, a `tf.data.Dataset`. Of a batch that is a tuple the first member counts.

        Raises:
            TypeError: for other data.
            ValueError: for an empty iterable, or shapes that do not fit the layer.
        """
        if hasattr(data, "to_numpy"):  # a pandas DataFrame or Series
            data = data.to_numpy()
        whole = isinstance(data, np.ndarray) or ops.is_tensor(data)
        batches = iter([data]) if whole else _batches(data)
        first = next(batches, None)
        if first is None:
            raise ValueError(
                f"adapt() of layer {self.name} received an empty iterable (no batches). Expected at least one batch. "
                "Pass a non-empty iterable of arrays or tensors, e.g. layer.adapt([x]) or layer.adapt(list_of_batches)."
            )
        first = _batch_array(first)
        if not self.built:
            self.build(first.shape)
        mean, variance, count = np.zeros(()), np.zeros(()), 0
        batch = first
        while batch is not None:
            self._check_batch(batch.shape, whole)
            n = math.prod(batch.shape[a] for a in self._reduce_axis)
            batch_mean = np.mean(batch, axis=self._reduce_axis, dtype=np.float64)
            batch_variance = np.var(batch, axis=self._reduce_axis, dtype=np.float64)
            # Chan, Golub, LeVeque 1979: the pooled variance also holds the distance of the two means
            share = n / (count + n)
            variance = (1 - share) * variance + share * batch_variance + share * (1 - share) * (mean - batch_mean) ** 2
            mean = (1 - share) * mean + share * batch_mean
            count += n
            following = next(batches, None)
            batch = None if following is None else _batch_array(following)
        self.adapt_mean.assign(mean.astype("float32"))
        self.adapt_variance.assign(variance.astype("float32"))

    def _check_batch(self, shape: tuple[int, ...], whole: bool) -> None:
        built = self._build_input_shape
        assert built is not None
        if len(shape) == len(built) and all(shape[a] == built[a] for a in self._keep_axis):
            return
        if whole:
            raise ValueError(
                f"The layer {self.name} was built with input_shape={built}, but adapt() is being called with data with "
                f"an incompatible shape, data.shape={tuple(shape)}"
            )
        raise ValueError(
            f"adapt() of layer {self.name} received a batch with incompatible shape. Expected {built}, got "
            f"{tuple(shape)}."
        )

    def finalize_state(self) -> None:
        """Nothing to do: the statistics are read from the weights at each call."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, inputs: Any) -> Any:
        if self.mean is None:
            raise ValueError(f"You must call `.build(input_shape)` on layer {self.name} before using it.")
        inputs = ops.cast(inputs, self.compute_dtype)
        deviation = ops.maximum(ops.sqrt(self.variance), epsilon())
        if self.invert:
            return ops.add(self.mean, ops.multiply(inputs, deviation))
        return ops.divide(ops.subtract(inputs, self.mean), deviation)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "invert": self.invert,
            "mean": np.array(self.input_mean).tolist(),
            "variance": np.array(self.input_variance).tolist(),
        }

    def get_build_config(self) -> dict[str, Any] | None:
        return {"input_shape": self._build_input_shape} if self._build_input_shape else None

    def build_from_config(self, config: dict[str, Any] | None) -> None:
        if config:
            self.build(config["input_shape"])


def _batches(data: Any) -> Iterator[Any]:
    """Batches of a `PyDataset`, of a data set with `as_numpy_iterator`, or of any iterable."""
    if hasattr(data, "as_numpy_iterator"):  # tf.data
        spec = data.element_spec[0] if isinstance(data.element_spec, tuple) else data.element_spec
        return iter((data.batch(128) if len(spec.shape) == 1 else data).as_numpy_iterator())
    if hasattr(data, "__getitem__") and hasattr(data, "num_batches"):  # PyDataset
        return (data[i] for i in range(data.num_batches))
    if hasattr(data, "__iter__") and not isinstance(data, (str, bytes, dict)):
        return iter(data)
    raise TypeError(
        f"Unsupported data type: {type(data)}. `adapt` supports NumPy arrays, tensors, `tf.data.Dataset`, "
        "`PyDataset`, and iterables of batches (e.g. list, generator)."
    )


def _batch_array(batch: Any) -> np.ndarray:
    batch = batch[0] if isinstance(batch, tuple) else batch
    if getattr(batch, "shape", None) is None:
        raise TypeError(
            "adapt() expects an iterable that yields arrays or tensors with a `.shape` attribute (e.g. numpy arrays). "
            f"Got an element of type {type(batch).__name__}. Pass np.array(data) if the data is one nested list."
        )
    return np.asarray(batch)
