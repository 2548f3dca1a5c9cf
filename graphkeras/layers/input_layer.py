"""Input: where a Functional or Sequential model begins."""

from __future__ import annotations

import warnings
from typing import Any

from graphkeras.core.dtypes import standardize_dtype
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.operation import Node
from graphkeras.core.shapes import Shape, standardize_shape
from graphkeras.layers.layer import Layer


class InputLayer(Layer):
    """The layer behind `Input`.

    Args:
        shape: shape without the batch axis; None where an extent varies.
        batch_size: extent of the batch axis, if fixed.
        dtype: dtype of the data; the default float by default.
        sparse, ragged: only False.
        batch_shape: shape with the batch axis, in place of `shape`.
        input_tensor: a KerasTensor to use as the input.
        optional: whether None may be passed for this input.
        name: string; the key of this input in dicts of data.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: KerasTensor | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name)
        if "input_shape" in kwargs:
            warnings.warn("Argument `input_shape` is deprecated. Use `shape` instead.", stacklevel=2)
            shape = kwargs.pop("input_shape")
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to InputLayer: {kwargs}")
        if input_tensor is not None:
            _check_tensor(input_tensor, shape, batch_size, batch_shape, dtype, sparse)
            batch_shape, dtype = input_tensor.shape, input_tensor.dtype
        else:
            batch_shape = _batch_shape(shape, batch_size, batch_shape)
        if sparse or ragged:
            raise ValueError(f"Input '{self.name}': graphkeras has dense tensors only; use sparse=False, ragged=False.")
        self.__dict__["_batch_shape"] = standardize_shape(batch_shape)
        self._dtype = standardize_dtype(dtype)
        self.sparse = bool(sparse)
        self.ragged = bool(ragged)
        self.optional = optional
        if input_tensor is None:
            input_tensor = KerasTensor(self._batch_shape, self._dtype, name=name)
        self._input_tensor = input_tensor
        Node(self, outputs=input_tensor)
        self.built = True

    def call(self) -> None:
        return None

    @property
    def batch_shape(self) -> Shape:
        return self._batch_shape

    @property
    def dtype(self) -> str:
        return self._dtype

    def get_config(self) -> dict[str, Any]:
        names = ("batch_shape", "dtype", "sparse", "ragged", "name", "optional")
        return {n: getattr(self, n) for n in names}


def _batch_shape(shape: Any, batch_size: int | None, batch_shape: Any) -> Any:
    if batch_shape is not None:
        for name, value in (("shape", shape), ("batch_size", batch_size)):
            if value is not None:
                raise ValueError(f"You cannot pass both `{name}` and `batch_shape` at the same time.")
        return batch_shape
    if shape is None:
        raise ValueError("You must pass a `shape` argument, such as `Input(shape=(28, 28))`.")
    return (batch_size, *standardize_shape(shape))


def _check_tensor(tensor: Any, shape: Any, batch_size: Any, batch_shape: Any, dtype: Any, sparse: Any) -> None:
    """Arguments given together with `input_tensor` must agree with it."""
    if not isinstance(tensor, KerasTensor):
        raise ValueError(
            f"Argument `input_tensor` must be a KerasTensor. Received invalid type: input_tensor={tensor} "
            f"(of type {type(tensor)})"
        )
    found = {
        "batch_size": (batch_size, tensor.shape[0] if tensor.shape else None),
        "shape": (None if shape is None else tuple(shape), tensor.shape[1:]),
        "batch_shape": (None if batch_shape is None else tuple(batch_shape), tensor.shape),
        "sparse": (sparse, tensor.sparse) if isinstance(tensor, KerasTensor) else (None, None),
        "dtype": (None if dtype is None else standardize_dtype(dtype), tensor.dtype),
    }
    for name, (given, has) in found.items():
        if given is not None and given != has:
            raise ValueError(
                f"When providing the `input_tensor` argument, you cannot provide an incompatible `{name}` argument. "
                f"Received: {name}={given}, while the tensor has {has}."
            )


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: KerasTensor | None = None,
    optional: bool = False,
) -> KerasTensor:
    """A symbolic tensor from which a model is built.

    Args:
        shape: shape of one sample; None where an extent varies.
        batch_size: extent of the batch axis, if fixed.
        dtype: dtype of the data; the default float by default.
        sparse, ragged: only False.
        batch_shape: shape with the batch axis, in place of `shape`.
        name: string; the key of this input in dicts of data.
        tensor: a KerasTensor to use as the input.
        optional: whether None may be passed for this input.

    Example:

    >>> import graphkeras as keras
    >>> x = keras.Input((32,))
    >>> y = keras.layers.Dense(4)(x)
    >>> keras.Model(x, y).count_params()
    132
    """
    layer = InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        name=name,
        input_tensor=tensor,
        optional=optional,
    )
    return layer.output
