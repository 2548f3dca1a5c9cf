"""Random initializers. Each draws from a counter-based stream: one seed and one shape give the same values anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphkeras import ops, random
from graphkeras.initializers.initializer import Initializer
from graphkeras.random.seed_generator import SeedGenerator, make_default_seed
from graphkeras.saving.serialization_lib import deserialize_keras_object, serialize_keras_object

# A normal distribution cut at two standard deviations has this standard deviation.
TRUNCATED_STDDEV = 0.8796256610342398


class RandomInitializer(Initializer):
    """Base of random initializers.

    An instance gives the same values whenever it is called with the same shape, also when `seed` is None: then the
    seed is drawn once, from Python's generator that `utils.set_random_seed` seeds. With a `SeedGenerator`, each call
    gives new values.
    """

    def __init__(self, seed: int | SeedGenerator | dict[str, Any] | None = None) -> None:
        self._init_seed = seed
        if seed is None:
            self.seed: Any = make_default_seed()
        elif isinstance(seed, dict):
            self.seed = deserialize_keras_object(seed)
        elif isinstance(seed, (int, SeedGenerator)):
            self.seed = seed
        else:
            raise ValueError(
                "`seed` argument should be an instance of `random.SeedGenerator` or an integer. "
                f"Received: seed={seed!r}"
            )

    def get_config(self) -> dict[str, Any]:
        return {"seed": serialize_keras_object(self._init_seed)}


class RandomNormal(RandomInitializer):
    """Normal distribution.

    Args:
        mean: mean.
        stddev: standard deviation.
        seed: int, `SeedGenerator` or None.

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.RandomNormal(stddev=0.1, seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        self.mean = mean
        self.stddev = stddev
        super().__init__(seed=seed)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return random.normal(shape, mean=self.mean, stddev=self.stddev, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal distribution without the values more than two standard deviations from the mean.

    Args:
        mean: mean.
        stddev: standard deviation before the cut.
        seed: int, `SeedGenerator` or None.

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.TruncatedNormal(stddev=0.1, seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return random.truncated_normal(shape, mean=self.mean, stddev=self.stddev, dtype=dtype, seed=self.seed)


class RandomUniform(RandomInitializer):
    """Uniform distribution on `[minval, maxval)`.

    Args:
        minval: lower bound.
        maxval: upper bound.
        seed: int, `SeedGenerator` or None.

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.RandomUniform(minval=-0.1, maxval=0.1, seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        self.minval = minval
        self.maxval = maxval
        super().__init__(seed=seed)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return random.uniform(shape, minval=self.minval, maxval=self.maxval, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


class VarianceScaling(RandomInitializer):
    """Random values whose variance is `scale / n`, n being the number of inputs, outputs or their mean.

    The family of Glorot and Bengio 2010, LeCun 1998 and He et al. 2015.

    Args:
        scale: a positive float.
        mode: "fan_in", "fan_out" or "fan_avg": what n is.
        distribution: "truncated_normal" (or "normal"), "untruncated_normal", "uniform".
        seed: int, `SeedGenerator` or None.
        input_axes: axes of the shape whose product is the number of inputs; by default the last but one, times those
            before it (a convolution's window).
        output_axes: axes whose product is the number of outputs; by default the last one, times the window.

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.VarianceScaling(scale=2.0, seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        if scale <= 0.0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        modes = ("fan_in", "fan_out", "fan_avg")
        if mode not in modes:
            raise ValueError(f"Invalid `mode` argument: {mode!r}. Expected one of {modes}.")
        distribution = distribution.lower()
        distribution = "truncated_normal" if distribution == "normal" else distribution
        distributions = ("truncated_normal", "untruncated_normal", "uniform")
        if distribution not in distributions:
            raise ValueError(f"Invalid `distribution` argument: {distribution!r}. Expected one of {distributions}.")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes
        super().__init__(seed=seed)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random.uniform(shape, minval=-limit, maxval=limit, dtype=dtype, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, stddev=math.sqrt(variance), dtype=dtype, seed=self.seed)
        stddev = math.sqrt(variance) / TRUNCATED_STDDEV
        return random.truncated_normal(shape, stddev=stddev, dtype=dtype, seed=self.seed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _Named(VarianceScaling):
    """A member of the family with a name: its config holds the seed and the axes only."""

    _family: tuple[float, str, str]

    def __init__(
        self, seed: Any = None, input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
    ) -> None:
        super().__init__(*self._family, seed=seed, input_axes=input_axes, output_axes=output_axes)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {key: config[key] for key in ("seed", "input_axes", "output_axes")}


class GlorotUniform(_Named):
    """Uniform on `±sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010).

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.GlorotUniform(seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    _family = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Named):
    """Truncated normal with variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010).

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.GlorotNormal(seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    _family = (1.0, "fan_avg", "truncated_normal")


class LecunNormal(_Named):
    """Truncated normal with variance `1 / fan_in` (Klambauer et al. 2017).

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.LecunNormal(seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    _family = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform on `±sqrt(3 / fan_in)` (LeCun et al. 1998).

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.LecunUniform(seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    _family = (1.0, "fan_in", "uniform")


class HeNormal(_Named):
    """Truncated normal with variance `2 / fan_in` (He et al. 2015).

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.HeNormal(seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    _family = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Named):
    """Uniform on `±sqrt(6 / fan_in)` (He et al. 2015).

    Example:

    >>> import graphkeras as keras
    >>> values = keras.initializers.HeUniform(seed=1)((200, 100)).numpy()
    >>> values.shape, bool(abs(values.mean()) < 0.01)
    ((200, 100), True)
    """

    _family = (2.0, "fan_in", "uniform")


class Orthogonal(RandomInitializer):
    """A matrix with orthonormal rows or columns (the shorter side), times `gain` (Saxe et al. 2014).

    A shape of higher rank is that matrix reshaped: all axes but the last make its rows.

    Raises:
        ValueError: for a shape of rank 0 or 1.

    Example:

    >>> import numpy as np
    >>> import graphkeras as keras
    >>> q = keras.initializers.Orthogonal(seed=1)((4, 4)).numpy()
    >>> bool(np.allclose(q @ q.T, np.eye(4), atol=1e-5))
    True
    """

    def __init__(self, gain: float = 1.0, seed: Any = None) -> None:
        self.gain = gain
        super().__init__(seed=seed)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        if len(shape) < 2:
            raise ValueError(
                "The tensor to initialize must be at least two-dimensional. "
                f"Received: shape={tuple(shape)} of rank {len(shape)}."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        sample = random.normal((max(rows, columns), min(rows, columns)), dtype=dtype, seed=self.seed)
        q, r = ops.qr(sample)
        q = q * ops.sign(ops.diagonal(r))  # makes the decomposition, and so the result, unique
        return self.gain * ops.reshape(q if rows >= columns else ops.transpose(q), shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


def compute_fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """(number of inputs, number of outputs) of a weight of this shape."""
    shape = tuple(int(n) for n in shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]
