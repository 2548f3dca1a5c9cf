"""Layers that disturb their inputs during training only, from random bits of their own SeedGenerator."""

from __future__ import annotations

import math
from typing import Any

from graphkeras import ops
from graphkeras import random as gk_random
from graphkeras.core.config import standardize_data_format
from graphkeras.layers.arguments import fraction, spatial_axes
from graphkeras.layers.configured import ConfiguredLayer
from graphkeras.layers.input_spec import InputSpec


class RandomLayer(ConfiguredLayer):
    """Base: `disturb` is called in training if the strength (the argument named by `STRENGTH`) is above zero."""

    STRENGTH = "rate"

    def store_strength(self, value: float, seed: Any) -> None:
        fraction(value, self.STRENGTH)
        self.store(**{self.STRENGTH: value}, seed=seed)
        if value > 0:
            self.seed_generator = gk_random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        if training and getattr(self, self.STRENGTH) > 0:
            return self.disturb(inputs)
        return inputs

    def disturb(self, inputs: Any) -> Any:
        raise NotImplementedError


class Dropout(RandomLayer):
    """Sets a random part of its inputs to zero during training and scales the rest by `1 / (1 - rate)`.

    Outside training the inputs pass unchanged. Srivastava et al., "Dropout", 2014.

    Args:
        rate: fraction that is dropped, from 0 to 1.
        noise_shape: shape of the random mask if it is to be shared along axes: a 1 shares, None takes the input's size.
        seed: int for a reproducible mask.

    Raises:
        ValueError: for a rate outside [0, 1] or a noise shape that is no tuple of positive ints and None.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layer = layers.Dropout(0.5, seed=0)
        >>> sorted(set(np.asarray(layer(np.ones((8, 8), "float32"), training=True)).ravel().tolist()))
        [0.0, 2.0]
    """

    CONFIG = ("rate", "seed", "noise_shape")

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store_strength(rate, seed)
        self.noise_shape = _check_noise_shape(noise_shape)
        self._build_at_init()

    def disturb(self, inputs: Any) -> Any:
        return gk_random.dropout(inputs, self.rate, noise_shape=self.get_noise_shape(inputs), seed=self.seed_generator)

    def get_noise_shape(self, inputs: Any) -> Any:
        """The shape of the random mask, or None for the shape of the inputs."""
        return resolve_noise_shape(self.noise_shape, inputs)


def resolve_noise_shape(noise_shape: Any, inputs: Any) -> tuple[int, ...] | None:
    """A noise shape with its Nones replaced by the sizes of the inputs."""
    if noise_shape is None:
        return None
    return tuple(inputs.shape[i] if n is None else n for i, n in enumerate(noise_shape))


def _check_noise_shape(value: Any) -> tuple[int | None, ...] | None:
    intro = "Invalid value received for argument `noise_shape`."
    if value is None:
        return None
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise ValueError(f"{intro} Expected a tuple or list of integers. Received: noise_shape={value}")
    for i, n in enumerate(value):
        if n is not None and not isinstance(n, int):
            raise ValueError(
                f"{intro} Expected all elements to be integers or None. "
                f"Received element at index {i}: {n} (type: {type(n).__name__})"
            )
        if n is not None and n <= 0:
            raise ValueError(
                f"{intro} Expected all dimensions to be positive integers or None. "
                f"Received negative or zero value at index {i}: {n}"
            )
    return tuple(value)


class SpatialDropout(Dropout):
    """Base of the layers that drop whole channels: one random number for each sample and channel."""

    rank: int

    def __init__(
        self, rate: float, data_format: str | None = None, seed: Any = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def get_noise_shape(self, inputs: Any) -> tuple[int, ...]:
        shared = spatial_axes(self.data_format, self.rank)
        return tuple(1 if i in shared else n for i, n in enumerate(inputs.shape))

    def get_config(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "seed": self.seed,
            "name": self.name,
            "dtype": self.dtype,
            "data_format": self.data_format,
        }


class SpatialDropout1D(SpatialDropout):
    """Dropout of whole channels of sequences `(batch, steps, channels)`.

    Args:
        rate: fraction of channels that is dropped in training.
        seed: int for a reproducible mask.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.SpatialDropout1D(0.5)(np.ones((2, 5, 4), "float32"), training=True).shape
        (2, 5, 4)
    """

    rank = 1

    def __init__(self, rate: float, seed: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(rate, data_format="channels_last", seed=seed, name=name, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["data_format"]
        return config


class SpatialDropout2D(SpatialDropout):
    """Dropout of whole channels of images `(batch, rows, columns, channels)`, or with the channels first.

    Args:
        rate: fraction of channels that is dropped in training.
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for a reproducible mask.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.SpatialDropout2D(0.5)(np.ones((2, 5, 5, 4), "float32"), training=True).shape
        (2, 5, 5, 4)
    """

    rank = 2


class SpatialDropout3D(SpatialDropout):
    """Dropout of whole channels of volumes `(batch, depth, rows, columns, channels)`, or with the channels first.

    Args:
        rate: fraction of channels that is dropped in training.
        data_format: "channels_last" or "channels_first"; default the configured one.
        seed: int for a reproducible mask.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.SpatialDropout3D(0.5)(np.ones((2, 3, 3, 3, 4), "float32"), training=True).shape
        (2, 3, 3, 3, 4)
    """

    rank = 3


class AlphaDropout(RandomLayer):
    """Dropout for SELU networks: keeps the mean and variance of inputs that have mean 0 and variance 1.

    Dropped values become SELU's negative limit and the result is scaled and shifted.
    Klambauer et al., "Self-Normalizing Neural Networks", 2017.

    Args:
        rate: fraction that is dropped, from 0 to 1.
        noise_shape: as for `Dropout`.
        seed: int for a reproducible mask.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.AlphaDropout(0.2, seed=1)(np.zeros((2, 3), "float32"), training=True).shape
        (2, 3)
    """

    CONFIG = ("rate", "seed", "noise_shape")

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store_strength(rate, seed)
        self.noise_shape = noise_shape
        self._build_at_init()

    def disturb(self, inputs: Any) -> Any:
        floor = -1.6732632423543772 * 1.0507009873554805  # SELU's limit, -alpha * scale
        shape = resolve_noise_shape(self.noise_shape, inputs) or inputs.shape
        kept = ops.greater_equal(gk_random.uniform(shape, seed=self.seed_generator), self.rate)
        # x is kept with probability q: the variance of the mixture is q * (1 + rate * floor**2), its mean rate * floor
        scale = ((1 - self.rate) * (1 + self.rate * floor**2)) ** -0.5 if self.rate < 1 else 0.0
        return ops.add(ops.multiply(ops.where(kept, inputs, floor), scale), -scale * floor * self.rate)


class GaussianDropout(RandomLayer):
    """Multiplies its inputs, during training, by noise of mean 1 and standard deviation `sqrt(rate / (1 - rate))`.

    Srivastava et al., "Dropout", 2014, section 10.

    Args:
        rate: strength, as the drop fraction of a `Dropout` with the same variance; from 0 to 1.
        seed: int for reproducible noise.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GaussianDropout(0.2)(np.ones((2, 3), "float32"), training=True).shape
        (2, 3)
    """

    CONFIG = ("rate", "seed")

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store_strength(rate, seed)
        self._build_at_init()

    def disturb(self, inputs: Any) -> Any:
        stddev = math.sqrt(self.rate / (1.0 - self.rate))
        noise = gk_random.normal(
            inputs.shape, mean=1.0, stddev=stddev, dtype=self.compute_dtype, seed=self.seed_generator
        )
        return ops.multiply(inputs, noise)


class GaussianNoise(RandomLayer):
    """Adds noise of mean 0 to its inputs during training.

    Args:
        stddev: standard deviation of the noise, from 0 to 1.
        seed: int for reproducible noise.

    Example:
        >>> import numpy as np
        >>> from graphkeras import layers
        >>> layers.GaussianNoise(0.1)(np.ones((2, 3), "float32"), training=True).shape
        (2, 3)
    """

    CONFIG = ("stddev", "seed")
    STRENGTH = "stddev"

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store_strength(stddev, seed)
        self._build_at_init()

    def disturb(self, inputs: Any) -> Any:
        noise = gk_random.normal(
            inputs.shape, mean=0.0, stddev=self.stddev, dtype=self.compute_dtype, seed=self.seed_generator
        )
        return ops.add(inputs, noise)
