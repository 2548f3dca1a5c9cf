"""Hashing and HashedCrossing: categories without a vocabulary."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras import ops
from graphkeras.core import config as gk_config
from graphkeras.core.keras_tensor import KerasTensor, any_symbolic_tensors
from graphkeras.layers.preprocessing.category_encoding import refuse_sparse
from graphkeras.layers.preprocessing.data_layer import DataLayer
from graphkeras.layers.preprocessing.encoding import (
    MODES,
    cross_fingerprints,
    encode,
    fingerprint64,
    hash_bucket,
    text_array,
)


class Hashing(DataLayer):
    """Spreads strings or integers over a number of bins by a hash.

    Equal values always get the same bin; different values may share one. Works on plain data, before `fit`.

    Args:
        num_bins: number of bins, with that of the mask value.
        mask_value: value that gets bin 0 for itself.
        salt: int, or two ints, that change the hash (SipHash instead of FarmHash).
        output_mode: "int", "one_hot", "multi_hot" or "count" (see `CategoryEncoding`).
        sparse: must be False.

    Raises:
        ValueError: for fewer than one bin, another mode, or a salt of another form.

    Example:
        >>> from graphkeras import layers
        >>> layers.Hashing(num_bins=3)([["A"], ["B"], ["C"], ["D"], ["E"]]).tolist()
        [[1], [0], [1], [1], [2]]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = "int64" if output_mode == "int" else gk_config.floatx()
        super().__init__(**kwargs)
        if num_bins is None or num_bins <= 0:
            raise ValueError(
                f"The `num_bins` for `Hashing` cannot be `None` or non-positive values. Received: num_bins={num_bins}."
            )
        if output_mode not in MODES:
            raise ValueError(
                "Invalid value for argument `output_mode`. "
                f"Expected one of {MODES}. Received: output_mode={output_mode}"
            )
        if output_mode == "int" and self.dtype_policy.name not in ("int32", "int64"):
            raise ValueError(
                "When `output_mode=\"int\"`, `dtype` should be an integer type, 'int32' or 'int64'. "
                f"Received: dtype={kwargs['dtype']}"
            )
        refuse_sparse(sparse, type(self).__name__)
        self.num_bins, self.mask_value = num_bins, mask_value
        self.output_mode, self.sparse = output_mode, sparse
        self.salt = _checked_salt(salt)
        self.supports_jit = False
        self._convert_input_args = False

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if any_symbolic_tensors((inputs,)):
            return super().__call__(inputs, *args, **kwargs)
        return self.call(inputs)  # plain Python on plain data

    def call(self, inputs: Any) -> Any:
        values = plain_values(inputs)
        if self.output_mode == "one_hot" and values.ndim and values.shape[-1] == 1:
            values = values[..., 0]
        bins = np.array([self._bin(v) for v in values.reshape(-1)], dtype="int64").reshape(values.shape)
        return encode(ops.convert_to_tensor(bins), self.output_mode, self.num_bins, self.dtype)

    def _bin(self, value: Any) -> int:
        masked = self.mask_value is not None and self.num_bins > 1
        if masked and value == self.mask_value:
            return 0
        return hash_bucket(str(value), self.num_bins - masked, self.salt) + masked

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape) if self.output_mode == "int" else (*input_shape[:-1], self.num_bins)

    def compute_output_spec(self, inputs: Any) -> Any:
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        names = ("num_bins", "salt", "mask_value", "output_mode", "sparse")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


class HashedCrossing(DataLayer):
    """Spreads combinations of values of several features over a number of bins by a hash.

    Args:
        num_bins: number of bins.
        output_mode: "int" or "one_hot".
        sparse: must be False.

    Call arguments:
        inputs: list of features, each of shape `()`, `(batch,)` or `(batch, 1)`, of strings or integers.

    Raises:
        ValueError: for another mode, or features of other shapes or numbers.

    Example:
        >>> from graphkeras import layers
        >>> layers.HashedCrossing(num_bins=5)((["A", "B", "A"], [101, 101, 101])).tolist()
        [1, 4, 1]
    """

    def __init__(
        self,
        num_bins: int,
        output_mode: str = "int",
        sparse: bool = False,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype="int64" if output_mode == "int" and dtype is None else dtype)
        refuse_sparse(sparse, type(self).__name__)
        if output_mode not in ("int", "one_hot"):
            raise ValueError(
                "Unknown value for `output_mode` of HashedCrossing. Expected one of ('int', 'one_hot'). "
                f"Received: output_mode={output_mode}"
            )
        self.num_bins, self.output_mode, self.sparse = num_bins, output_mode, sparse
        self.supports_jit = False
        self._convert_input_args = False

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if any_symbolic_tensors((inputs,)):
            return super().__call__(inputs, *args, **kwargs)
        return self.call(inputs)  # plain Python on plain data

    def call(self, inputs: Any) -> Any:
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ValueError(
                "`HashedCrossing` should be called on a list or tuple of at least two inputs. "
                f"Received: inputs={inputs}"
            )
        features = [plain_values(x) for x in inputs]
        shape = features[0].shape
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or any(f.shape != shape for f in features):
            raise ValueError(
                "All `HashedCrossing` inputs should have shape `()`, `(batch_size)` or `(batch_size, 1)`, and should "
                f"have equal shape. Received shapes: {[f.shape for f in features]}"
            )
        if any(np.asarray(x).dtype.kind == "f" for x in inputs):
            raise ValueError(
                f"All `HashedCrossing` inputs should have an integer or string dtype. Received: inputs={inputs}"
            )
        rows = zip(*(f.reshape(-1) for f in features), strict=True)
        bins = [cross_fingerprints(_fingerprint(v) for v in row) % self.num_bins for row in rows]
        indices = ops.convert_to_tensor(np.array(bins, dtype="int64").reshape(shape))
        return encode(indices, self.output_mode, self.num_bins, self.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not len(input_shape) == 2 or not all(isinstance(s, (tuple, list)) for s in input_shape):
            raise ValueError(f"Expected as input a list/tuple of 2 tensors. Received input_shape={input_shape}")
        first, second = (tuple(s) for s in input_shape)
        if first[-1:] != second[-1:]:
            raise ValueError(
                f"Expected the two input tensors to have identical shapes. Received input_shape={input_shape}"
            )
        if self.output_mode == "int":
            return first
        return (*(first[:-1] if first[-1:] == (1,) else first), self.num_bins)

    def compute_output_spec(self, inputs: Any) -> Any:
        return KerasTensor(self.compute_output_shape([x.shape for x in inputs]), dtype=self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "num_bins": self.num_bins,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "name": self.name,
            "dtype": self.dtype,
        }


def plain_values(data: Any) -> np.ndarray:
    """Integers (floats are cut) or strings as an object array of Python values."""
    array = np.asarray(data.numpy() if hasattr(data, "numpy") else data)
    if array.dtype.kind in "fiub":
        return array.astype("int64").astype(object)
    return text_array(array)


def _fingerprint(value: Any) -> int:
    return fingerprint64(value.encode("utf-8")) if isinstance(value, str) else int(value)


def _checked_salt(salt: Any) -> list[int] | None:
    if salt is None:
        return None
    if isinstance(salt, int):
        return [salt, salt]
    if isinstance(salt, (list, tuple)) and len(salt) == 2:
        return list(salt)
    raise ValueError(
        "The `salt` argument for `Hashing` can only be a tuple of size 2 integers, or a single integer. "
        f"Received: salt={salt}."
    )
