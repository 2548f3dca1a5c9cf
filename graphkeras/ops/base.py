"""What every op shares: conversion to tensors, dtype promotion, axis and shape checks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ml_dtypes  # noqa: F401  registers the names "bfloat16" and "float8_*" with NumPy
import numpy as np

from graphkeras.core.dtypes import result_type, standardize_dtype
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import ValueRequested, apply, current_trace
from graphkeras.ir.types import COMPLEX, FLOATS, INTS, numpy_dtype

HALF = ("float16", "bfloat16")
NARROW = {"int64": "int32", "uint64": "uint32", "complex128": "complex64"}
PYTHON_NUMBERS = (bool, int, float, complex)


def floatx() -> str:
    return result_type(float)


def array_dtype(dtype: np.dtype[Any]) -> str:
    """The dtype that a NumPy array takes when none is asked for: 64-bit NumPy defaults become 32-bit ones."""
    name = dtype.name
    if name == "float64":
        return floatx() if floatx() in ("float32", "float64") else "float32"
    return NARROW.get(name, name)


def to_tensor(x: Any, dtype: str | None = None) -> Tensor:
    """A Tensor from a tensor, variable, array, number or nested list (a tensor among its members is allowed)."""
    if type(x) is Tensor:
        return x if dtype is None or x.dtype == dtype else cast_to(x, dtype)
    if hasattr(x, "read_value"):
        return to_tensor(x.read_value(), dtype)
    if isinstance(x, (np.ndarray, np.generic)):
        return _from_array(np.asarray(x), dtype)
    if isinstance(x, PYTHON_NUMBERS):
        array = np.array(x)
        wide = dtype is None and array.dtype == np.int64 and not -(2**31) <= x < 2**31  # type: ignore[operator]
        return Tensor(array if wide else array.astype(numpy_dtype(dtype or result_type(type(x)))))
    if x is None:
        raise ValueError("expected a tensor, array, number or list; received None")
    if isinstance(x, (list, tuple)):
        return _from_list(x, dtype)
    if isinstance(x, Tensor):
        return x if dtype is None or x.dtype == dtype else cast_to(x, dtype)
    if hasattr(x, "__array__"):
        return _from_array(np.asarray(x), dtype)
    if isinstance(x, range):
        return _from_list(list(x), dtype)
    raise TypeError(f"expected a tensor, array, number or list; received {type(x).__name__}: {x!r}")


def _from_array(array: np.ndarray, dtype: str | None) -> Tensor:
    if array.dtype.kind in "OUSMm":
        raise TypeError(
            f"cannot make a tensor of an array of dtype {array.dtype}; expected numbers or bools. Encode strings "
            "first (StringLookup, TextVectorization) and make ragged lists rectangular (pad_sequences)"
        )
    wanted = numpy_dtype(dtype or array_dtype(array.dtype))
    if dtype is None and array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            return Tensor(array)  # cutting ids or hashes to 32 bits would change them
    return Tensor(array if array.dtype == wanted else array.astype(wanted))


def _from_list(values: Sequence[Any], dtype: str | None) -> Tensor:
    if any(_holds_tensor(v) for v in values):
        parts = promote(*(to_tensor(v) for v in values))
        stacked = concat([expand(p, 0) for p in parts], 0)
        return stacked if dtype is None else cast_to(stacked, dtype)
    array = np.asarray(values)
    if dtype is None and array.size == 0 and array.dtype == np.float64:
        return Tensor(array.astype(numpy_dtype(floatx())))
    if dtype is None and array.dtype == np.float64 and not any(isinstance(v, (np.ndarray, np.generic)) for v in values):
        return Tensor(array.astype(numpy_dtype(floatx())))
    return _from_array(array, dtype)


def _holds_tensor(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_holds_tensor(v) for v in x)
    return isinstance(x, Tensor) or hasattr(x, "read_value")


def cast_to(x: Tensor, dtype: str) -> Tensor:
    return x if x.dtype == dtype else apply("cast", x, dtype=dtype)


def dtype_key(x: Any) -> Any:
    """What `result_type` wants to know of a value: a dtype name, or the type of a Python number (weak)."""
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return x.dtype if isinstance(x, Tensor) else array_dtype(x.dtype)
    return type(x)


def promote(*xs: Any, also: Any = None) -> list[Tensor]:
    """All values as tensors of their common dtype; Python numbers adapt to the others. `also`: one more dtype."""
    if also is None and all(type(x) is Tensor for x in xs):
        dtype = xs[0].dtype
        if all(x.dtype == dtype for x in xs):
            return list(xs)
    values = [x if isinstance(x, (Tensor, np.generic, *PYTHON_NUMBERS)) else to_tensor(x) for x in xs]
    keys = [dtype_key(v) for v in values]
    dtype = result_type(*keys) if also is None else result_type(*keys, also)
    return [to_tensor(v, dtype) for v in values]


def float_dtype(dtype: str) -> str:
    """The dtype in which a function of real numbers is computed for inputs of `dtype`."""
    return dtype if dtype in FLOATS or dtype in COMPLEX else result_type(dtype, float)


def floating(x: Any) -> Tensor:
    """A tensor of a float (or complex) dtype; ints and bools become floatx."""
    x = to_tensor(x)
    return cast_to(x, float_dtype(x.dtype))


def promote_floating(*xs: Any) -> list[Tensor]:
    return promote(*xs, also=float)


def unary(primitive: str, x: Any) -> Tensor:
    """One primitive on a real or complex input; ints become floats first."""
    return apply(primitive, floating(x))


def concrete(x: Any) -> np.ndarray | None:
    """The values of `x` where they are known now, else None (traced)."""
    if isinstance(x, Tensor):
        return None if x.is_traced else x.numpy()
    if hasattr(x, "read_value"):
        return concrete(x.read_value())
    return np.asarray(x)


def need_concrete(x: Any, op: str, argument: str) -> np.ndarray:
    """The values of an argument that shapes depend on."""
    found = concrete(x)
    if found is None:
        traced = x if isinstance(x, Tensor) else x.read_value()
        if traced.trace.gives_values:
            with suppress(ValueRequested):
                return traced.numpy()
        traced.trace.requested = True
        raise ValueError(
            f"{op}: argument `{argument}` decides the result's shape, so it must be known when the step is traced; "
            f"received a traced tensor of shape {x.shape}. Pass Python or NumPy values, or call {op} outside "
            "compiled code"
        )
    return found


def need_int(x: Any, op: str, argument: str) -> int:
    if isinstance(x, (int, np.integer)):
        return int(x)
    return int(need_concrete(x, op, argument))


def static_shape(shape: Any, op: str = "shape") -> tuple[int, ...]:
    """A tuple of ints from an int, a sequence of ints (0-d tensors allowed) or a 1-d tensor."""
    if isinstance(shape, (int, np.integer)):
        return (int(shape),)
    if isinstance(shape, (Tensor, np.ndarray)) or hasattr(shape, "read_value"):
        return tuple(int(n) for n in need_concrete(shape, op, "shape").reshape(-1))
    return tuple(need_int(n, op, "shape") for n in shape)


def axis_of(axis: Any, rank: int, op: str = "op") -> int:
    """A non-negative axis."""
    index = int(axis)
    if not -rank <= index < rank:
        raise ValueError(
            f"{op}: axis {axis} is out of bounds for rank {rank}: argument `axis` must be in [{-rank}, {rank})"
        )
    return index % rank


def axes_of(axis: Any, rank: int, op: str = "op") -> tuple[int, ...]:
    """Sorted non-negative axes; None means all of them."""
    if axis is None:
        return tuple(range(rank))
    if isinstance(axis, (list, tuple)):
        found = sorted(axis_of(a, rank, op) for a in axis)
        if len(set(found)) != len(found):
            raise ValueError(f"{op}: argument `axis` names an axis twice; received {axis}")
        return tuple(found)
    return (axis_of(axis, rank, op),)


# Thin wrappers of view primitives that ops use among themselves (no symbolic dispatch, no promotion).
def reshape_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    shape = tuple(shape)
    return x if x.shape == shape else apply("reshape", x, shape=shape)


def expand(x: Tensor, axis: int) -> Tensor:
    shape = x.shape
    return apply("reshape", x, shape=(*shape[:axis], 1, *shape[axis:]))


def permute(x: Tensor, perm: Sequence[int]) -> Tensor:
    perm = tuple(perm)
    return x if perm == tuple(range(len(perm))) else apply("transpose", x, perm=perm)


def broadcast(x: Tensor, shape: Sequence[int]) -> Tensor:
    shape = tuple(shape)
    return x if x.shape == shape else apply("broadcast_to", x, shape=shape)


def concat(xs: Sequence[Tensor], axis: int) -> Tensor:
    return xs[0] if len(xs) == 1 else apply("concat", *xs, axis=axis)


def part(x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """`x[..., start:stop:step, ...]` on one axis (positive step, bounds inside)."""
    shape = x.shape
    if start == 0 and stop == shape[axis] and step == 1:
        return x
    rank = len(shape)
    starts, stops, steps = [0] * rank, list(shape), [1] * rank
    starts[axis], stops[axis], steps[axis] = start, stop, step
    return apply("slice", x, start=tuple(starts), stop=tuple(stops), step=tuple(steps))


def full_of(shape: Sequence[int], value: Any, dtype: str) -> Tensor:
    """A constant array: a broadcast scalar in a trace, an ordinary array outside."""
    if current_trace() is None:
        first = np.full((), value, dtype=numpy_dtype(dtype))
        if first.dtype.hasobject or any(first.tobytes()):
            return Tensor(np.full(tuple(shape), first, dtype=first.dtype))
        return Tensor(np.zeros(tuple(shape), dtype=first.dtype))  # fresh pages are zero: none is touched here
    return apply("broadcast_to", to_tensor(value, dtype), shape=tuple(shape))


def iota(length: int, dtype: str = "int32") -> Tensor:
    return apply("iota", shape=(int(length),), dtype=dtype, axis=0)


def reduce(op: str, x: Tensor, axes: tuple[int, ...], keepdims: bool = False) -> Tensor:
    return apply(op, x, axes=axes, keepdims=bool(keepdims))


def select(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return apply("select", condition, a, b)


def highest(dtype: str) -> Any:
    """The value that every other one of the dtype is below."""
    if dtype in FLOATS:
        return float("inf")
    return True if dtype == "bool" else int(np.iinfo(dtype).max)


def lowest(dtype: str) -> Any:
    if dtype in FLOATS:
        return float("-inf")
    return False if dtype == "bool" else int(np.iinfo(dtype).min)


def dot_general(
    a: Tensor,
    b: Tensor,
    contract: tuple[Sequence[int], Sequence[int]],
    batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Tensor:
    """The one contraction: batch axes, then a's free axes, then b's."""
    return apply(
        "dot_general",
        a,
        b,
        contract=(tuple(contract[0]), tuple(contract[1])),
        batch=(tuple(batch[0]), tuple(batch[1])),
    )


__all__ = [
    "COMPLEX",
    "FLOATS",
    "HALF",
    "INTS",
    "PYTHON_NUMBERS",
    "Tensor",
    "apply",
    "array_dtype",
    "axes_of",
    "axis_of",
    "broadcast",
    "cast_to",
    "concat",
    "concrete",
    "current_trace",
    "dot_general",
    "dtype_key",
    "expand",
    "float_dtype",
    "floating",
    "floatx",
    "full_of",
    "highest",
    "iota",
    "lowest",
    "need_concrete",
    "need_int",
    "numpy_dtype",
    "part",
    "permute",
    "promote",
    "promote_floating",
    "reduce",
    "reshape_to",
    "result_type",
    "select",
    "standardize_dtype",
    "static_shape",
    "to_tensor",
    "unary",
]
