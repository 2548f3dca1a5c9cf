"""First values of weights, by class or by name ("glorot_uniform", "zeros", "he_normal", ...)."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core.dtypes import standardize_dtype
from graphkeras.core.tensor import Tensor
from graphkeras.initializers.constant_initializers import STFT, Constant, Identity, Ones, Zeros
from graphkeras.initializers.initializer import Initializer
from graphkeras.initializers.random_initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)
from graphkeras.saving.identifiers import deserialize_with, resolve, table_of
from graphkeras.saving.serialization_lib import serialize_keras_object

constant, identity, ones, stft, zeros = Constant, Identity, Ones, STFT, Zeros
glorot_normal, glorot_uniform = GlorotNormal, GlorotUniform
he_normal, he_uniform = HeNormal, HeUniform
lecun_normal, lecun_uniform = LecunNormal, LecunUniform
orthogonal, random_normal, random_uniform = Orthogonal, RandomNormal, RandomUniform
truncated_normal, variance_scaling = TruncatedNormal, VarianceScaling
IdentityInitializer, OrthogonalInitializer, STFTInitializer = Identity, Orthogonal, STFT

_TABLE = table_of(
    Initializer,
    Constant,
    Identity,
    Ones,
    STFT,
    Zeros,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    snake_case=True,
    IdentityInitializer=Identity,
    OrthogonalInitializer=Orthogonal,
    STFTInitializer=STFT,
    normal=RandomNormal,
    uniform=RandomUniform,
    one=Ones,
    zero=Zeros,
)


def serialize(initializer: Any) -> Any:
    """The config of an initializer."""
    return serialize_keras_object(initializer)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer that a config describes."""
    return deserialize_with(_TABLE, config, custom_objects)


def get(identifier: Any) -> Any:
    """An initializer from a name, a config, a class, an instance, or an array (its values); None stays None.

    Example:
        >>> from graphkeras import initializers
        >>> initializers.get("he_normal")((4, 3)).shape
        (4, 3)
    """
    if isinstance(identifier, (Tensor, np.ndarray, np.generic)):
        return _values_of(identifier)
    return resolve("initializer", identifier, _TABLE)


def _values_of(array: Any) -> Any:
    def initialize(shape: Any, dtype: Any = None) -> Any:
        if tuple(shape) != tuple(array.shape):
            raise ValueError(
                f"Expected `shape` to be {tuple(array.shape)}, the shape of the array given as initializer. "
                f"Received: shape={tuple(shape)}"
            )
        return ops.cast(array, standardize_dtype(dtype))

    return initialize


__all__ = [
    "STFT",
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]
