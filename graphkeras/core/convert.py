"""Into tensors and back: `convert_to_tensor`, `convert_to_numpy`, `cast`, `is_tensor`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkeras.core import tree
from graphkeras.core.config import floatx
from graphkeras.core.dtypes import standardize_dtype
from graphkeras.core.keras_tensor import KerasTensor
from graphkeras.core.tensor import Operators, Tensor
from graphkeras.core.trace import apply
from graphkeras.ir.types import numpy_dtype


def is_tensor(x: Any) -> bool:
    """True for a concrete or traced tensor; False for a Variable, a KerasTensor, an array or a number."""
    return isinstance(x, Tensor)


def cast(x: Any, dtype: Any) -> Tensor:
    """A tensor with another dtype; the same tensor if it already has it."""
    name = standardize_dtype(dtype)
    x = convert_to_tensor(x)
    if x.dtype == name:
        return x
    return apply("cast", x, dtype=name)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None) -> Tensor:
    """A tensor from a number, a nested list, an array, a Variable or a tensor.

    dtype: the wanted dtype. Without it Python floats become the default float, ints become int32 (int64 where the
        value needs it), and arrays keep their own dtype.
    sparse, ragged: only None and False are supported.
    """
    if sparse or ragged:
        raise ValueError("graphkeras has dense tensors only: pass sparse=False and ragged=False.")
    name = None if dtype is None else standardize_dtype(dtype)
    if isinstance(x, Tensor):
        if name is None or x.dtype == name or (name == "string" and x.dtype == "object"):
            return x
        return apply("cast", x, dtype=name)
    if isinstance(x, KerasTensor):
        raise ValueError(f"{x!r} is symbolic and has no value; use it as an argument of a layer or of graphkeras.ops.")
    if isinstance(x, Operators):  # a Variable
        return convert_to_tensor(x.value, dtype=name)  # type: ignore[attr-defined]
    if hasattr(x, "__array__") or not _holds_tensors(x):
        return Tensor(_to_array(x, name))
    return _stack(x, name)


def _holds_tensors(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and any(isinstance(leaf, Operators) for leaf in tree.flatten(x))


def _stack(x: Any, name: str | None) -> Tensor:
    """Nested lists with tensors inside."""
    parts = [convert_to_tensor(part, dtype=name) for part in x]
    if name is None:
        from graphkeras.core.dtypes import result_type

        name = result_type(*(p.dtype for p in parts))
    rows = [apply("reshape", cast(p, name), shape=(1, *p.shape)) for p in parts]
    return apply("concat", *rows, axis=0)


def _to_array(x: Any, name: str | None) -> np.ndarray:
    if name == "string":
        return np.asarray(x, dtype=object)
    if type(x).__module__.split(".")[0] == "torch":
        x = x.detach().cpu().numpy()
    array = np.asarray(x)
    if name is None:
        name = _default_dtype(x, array)
    if array.dtype == object and name != "string":
        raise ValueError(
            f"cannot convert {x!r} to a tensor: its lists have unequal lengths or hold objects that are no numbers."
        )
    return array if name == "string" else np.asarray(array, dtype=numpy_dtype(name))


def _default_dtype(x: Any, array: np.ndarray) -> str:
    if array.dtype.kind in "USO":
        return (
            "string" if array.dtype.kind in "US" or all(isinstance(v, (str, bytes)) for v in array.flat) else "float32"
        )
    if hasattr(x, "__array__"):
        return standardize_dtype(array.dtype)
    if isinstance(x, (list, tuple)):  # NumPy values inside a list keep their dtype
        dtypes = {leaf.dtype.name for leaf in tree.flatten(x) if isinstance(leaf, (np.ndarray, np.generic))}
        if dtypes:
            return standardize_dtype(array.dtype)
    kind = array.dtype.kind
    if kind == "f":
        return floatx()
    if kind == "i":
        fits = array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)
        return "int32" if fits else "int64"
    if kind == "u":
        return "uint64"
    return {"b": "bool", "c": "complex64"}[kind]


def convert_to_numpy(x: Any) -> np.ndarray:
    """A NumPy array with the values of a tensor, a Variable, or anything that NumPy understands.

    The array is the caller's own: writing to it changes no tensor.
    """
    if isinstance(x, KerasTensor):
        raise ValueError(f"{x!r} is symbolic and has no value.")
    return np.array(x)
