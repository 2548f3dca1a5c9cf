"""Types of IR values: a static shape and a dtype name, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

FLOATS = ("float16", "bfloat16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTS = SIGNED + UNSIGNED
DTYPES = (*FLOATS, *COMPLEX, *INTS, "bool")


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """NumPy dtype of an IR dtype name; `bfloat16` comes from ml_dtypes, imported only when it is met."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    if name not in DTYPES:
        raise TypeError(f"unknown dtype {name!r}; expected one of {', '.join(DTYPES)}")
    return np.dtype(name)


def is_float(dtype: str) -> bool:
    return dtype in FLOATS


def is_inexact(dtype: str) -> bool:
    """Floats and complex numbers: the dtypes that carry a gradient."""
    return dtype in FLOATS or dtype in COMPLEX


def is_int(dtype: str) -> bool:
    return dtype in INTS


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape (all extents known) and dtype of one array value."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * numpy_dtype(self.dtype).itemsize

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(tuple(shape), self.dtype)

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(self.shape, dtype)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """`dtype.name`, which NumPy makes anew, slowly, each time."""
    return dtype.name


def type_of(array: np.ndarray) -> TensorType:
    return TensorType(tuple(array.shape), dtype_name(array.dtype))
