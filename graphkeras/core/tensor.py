"""Tensor: an array that is either concrete (holds NumPy data) or traced (holds a node of the graph being built).

The third form, `KerasTensor`, is symbolic: it builds Functional models and lives in `keras_tensor.py`. All three share
the operators of `Operators`, which call the public ops by name, so `x + y` and `ops.add(x, y)` are one thing.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from graphkeras.ir.node import Node
from graphkeras.ir.types import dtype_name


def _ops() -> Any:
    """The public ops; imported late because they are written in terms of tensors."""
    from graphkeras import ops

    return ops


class Operators:
    """Python operators for everything that acts as a tensor (Tensor, KerasTensor, Variable)."""

    __slots__ = ()
    __array_priority__ = 100  # so that `ndarray + tensor` reaches __radd__
    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from graphkeras.core.numpy_protocol import array_ufunc

        return array_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from graphkeras.core.numpy_protocol import array_function

        return array_function(function, args, kwargs)

    def __add__(self, other: Any) -> Any:
        return _ops().add(self, other)

    def __radd__(self, other: Any) -> Any:
        return _ops().add(other, self)

    def __sub__(self, other: Any) -> Any:
        return _ops().subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return _ops().subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return _ops().multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _ops().multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return _ops().divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _ops().divide(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _ops().floor_divide(self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _ops().floor_divide(other, self)

    def __mod__(self, other: Any) -> Any:
        return _ops().mod(self, other)

    def __rmod__(self, other: Any) -> Any:
        return _ops().mod(other, self)

    def __divmod__(self, other: Any) -> Any:
        return _ops().floor_divide(self, other), _ops().mod(self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return _ops().floor_divide(other, self), _ops().mod(other, self)

    def __pow__(self, other: Any) -> Any:
        return _ops().power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return _ops().power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return _ops().matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _ops().matmul(other, self)

    def __neg__(self) -> Any:
        return _ops().negative(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return _ops().absolute(self)

    def __invert__(self) -> Any:
        return _ops().logical_not(self) if str(self.dtype) == "bool" else _ops().bitwise_not(self)  # type: ignore[attr-defined]

    def __and__(self, other: Any) -> Any:
        return _logic(self, other, "and")

    def __rand__(self, other: Any) -> Any:
        return _logic(other, self, "and")

    def __or__(self, other: Any) -> Any:
        return _logic(self, other, "or")

    def __ror__(self, other: Any) -> Any:
        return _logic(other, self, "or")

    def __xor__(self, other: Any) -> Any:
        return _logic(self, other, "xor")

    def __rxor__(self, other: Any) -> Any:
        return _logic(other, self, "xor")

    def __lshift__(self, other: Any) -> Any:
        return _ops().left_shift(self, other)

    def __rshift__(self, other: Any) -> Any:
        return _ops().right_shift(self, other)

    def __lt__(self, other: Any) -> Any:
        return _ops().less(self, other)

    def __le__(self, other: Any) -> Any:
        return _ops().less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return _ops().greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return _ops().greater_equal(self, other)

    def __eq__(self, other: Any) -> Any:
        return _ops().equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return _ops().not_equal(self, other)

    def __getitem__(self, key: Any) -> Any:
        return _ops().get_item(self, key)

    def __round__(self, ndigits: int | None = None) -> Any:
        return _ops().round(self, decimals=ndigits or 0)


def _logic(x: Any, y: Any, name: str) -> Any:
    """`&`, `|`, `^`: logical on bools, bitwise on integers."""
    both_bool = all(str(getattr(v, "dtype", type(v).__name__)) == "bool" for v in (x, y))
    return getattr(_ops(), ("logical_" if both_bool else "bitwise_") + name)(x, y)


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _asked_by_user() -> bool:
    """Whether the call of the caller comes from outside of this package (messages of errors need no values)."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return not os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE)


class Tensor(Operators):
    """A concrete or traced array.

    `data` is a NumPy array (concrete) or an IR node (traced; then `trace` is the Trace it belongs to).
    """

    __slots__ = ("__weakref__", "_keras_mask", "data", "trace")

    def __init__(self, data: np.ndarray | Node, trace: Any = None) -> None:
        self.data = data
        self.trace = trace
        self._keras_mask: Any = None

    @property
    def is_traced(self) -> bool:
        return self.trace is not None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> str:
        return self.data.dtype if self.trace is not None else dtype_name(self.data.dtype)  # type: ignore[arg-type,return-value]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def T(self) -> Any:
        return _ops().transpose(self)

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array (shared, not copied). Raises on a traced tensor."""
        if self.trace is not None:
            return self.trace.concrete_value(self)
        return self.data  # type: ignore[return-value]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        return self.numpy().item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))

    def __bool__(self) -> bool:
        return bool(self.data) if self.trace is None else self.trace.concrete_bool(self)

    def __int__(self) -> int:
        return int(self.data) if self.trace is None else self.trace.concrete_int(self)  # type: ignore[arg-type]

    def __float__(self) -> float:
        return float(self.numpy())

    def __index__(self) -> int:
        return self.numpy().__index__()

    def __format__(self, spec: str) -> str:
        return format(self.numpy().item() if spec and not self.shape else str(self), spec)

    def __str__(self) -> str:
        if self.trace is not None and _asked_by_user():
            return self.trace.text(self)
        return repr(self)

    def __repr__(self) -> str:
        if self.trace is not None and not self.trace.is_eager:
            return f"<Tensor traced, shape={self.shape}, dtype={self.dtype}>"
        value = self.data if self.trace is None else self.trace.concrete_value(self)  # a debugger inside a tape asks
        return f"<Tensor shape={self.shape}, dtype={self.dtype}, value={np.array2string(value, threshold=20)}>"  # type: ignore[arg-type]

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self if self.trace is not None else Tensor(self.data.copy())  # type: ignore[union-attr]

    def __reduce__(self) -> Any:
        return Tensor, (self.numpy(),)

    # Convenience methods that array code expects.
    def astype(self, dtype: Any) -> Any:
        return _ops().cast(self, dtype)

    def reshape(self, *shape: Any) -> Any:
        return _ops().reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return _ops().mean(self, axis=axis, keepdims=keepdims)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return _ops().sum(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        return _ops().max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        return _ops().min(self, axis=axis, keepdims=keepdims)


def is_tensor_like(x: Any) -> bool:
    """Tensors, variables and NumPy arrays (not Python numbers and lists)."""
    return isinstance(x, (Operators, np.ndarray, np.generic))
