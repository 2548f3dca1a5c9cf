"""KerasTensor: a shape and a dtype without values, from which Functional models are built."""

from __future__ import annotations

from typing import Any, NoReturn

from graphkeras.core import tree
from graphkeras.core.dtypes import standardize_dtype
from graphkeras.core.naming import auto_name
from graphkeras.core.shapes import Shape, standardize_shape
from graphkeras.core.tensor import Operators, Tensor

_SYMBOLIC = "A KerasTensor is symbolic: it stands for a shape and a dtype and has no value. You cannot {} it. {}"
_FIX = "Use it as an argument of a layer or of graphkeras.ops; decisions on values need ops.cond or ops.where."


class KerasTensor(Operators):
    """A symbolic tensor.

    Args:
        shape: tuple of ints, None where the extent is not known.
        dtype: dtype name.
        sparse, ragged: kept as flags; at most one can be True.
        record_history: False keeps the tensor out of the graph of operations.
        name: string; `keras_tensor_N` by default.

    Example:

    >>> import graphkeras as keras
    >>> x = keras.KerasTensor((None, 3), "float32")
    >>> keras.ops.matmul(x, keras.ops.ones((3, 5))).shape
    (None, 5)
    """

    def __init__(
        self,
        shape: Any,
        dtype: Any = "float32",
        sparse: bool = False,
        ragged: bool = False,
        record_history: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._ragged_rank = kwargs.pop("ragged_rank", None)
        self._row_splits_dtype = kwargs.pop("row_splits_dtype", None)
        if kwargs:
            raise TypeError(f"KerasTensor received unexpected keyword arguments: {', '.join(kwargs)}")
        self._shape = standardize_shape(shape)
        self._dtype = standardize_dtype(dtype)
        self._sparse = bool(sparse)
        self._ragged = bool(ragged)
        if self._sparse and self._ragged:
            raise ValueError("KerasTensor cannot have `sparse=True` and `ragged=True` at the same time.")
        self.name = name or auto_name(type(self).__name__)
        self.record_history = record_history

    @property
    def shape(self) -> Shape:
        return self._shape

    @shape.setter
    def shape(self, value: Any) -> None:
        _immutable("shape")

    @property
    def dtype(self) -> str:
        return self._dtype

    @dtype.setter
    def dtype(self, value: Any) -> None:
        _immutable("dtype")

    @property
    def sparse(self) -> bool:
        return self._sparse

    @sparse.setter
    def sparse(self, value: Any) -> None:
        _immutable("sparse")

    @property
    def ragged(self) -> bool:
        return self._ragged

    @ragged.setter
    def ragged(self, value: Any) -> None:
        _immutable("ragged")

    @property
    def ragged_rank(self) -> int | None:
        return self._ragged_rank

    @ragged_rank.setter
    def ragged_rank(self, value: Any) -> None:
        _immutable("ragged_rank")

    @property
    def row_splits_dtype(self) -> str | None:
        return self._row_splits_dtype

    @row_splits_dtype.setter
    def row_splits_dtype(self, value: Any) -> None:
        _immutable("row_splits_dtype")

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def T(self) -> Any:
        from graphkeras import ops

        return ops.transpose(self)

    def reshape(self, newshape: Any) -> Any:
        """`ops.reshape` as a method."""
        from graphkeras import ops

        return ops.reshape(self, newshape)

    def squeeze(self, axis: Any = None) -> Any:
        """`ops.squeeze` as a method."""
        from graphkeras import ops

        return ops.squeeze(self, axis)

    def astype(self, dtype: Any) -> Any:
        """`ops.cast` as a method."""
        from graphkeras import ops

        return ops.cast(self, dtype)

    def __int__(self) -> NoReturn:
        raise ValueError(_SYMBOLIC.format("convert", "It was asked to be an int. " + _FIX))

    def __float__(self) -> NoReturn:
        raise ValueError(_SYMBOLIC.format("convert", "It was asked to be a float. " + _FIX))

    def __index__(self) -> NoReturn:
        raise ValueError(_SYMBOLIC.format("convert", "It was asked to be an index. " + _FIX))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise ValueError(_SYMBOLIC.format("convert", "It was asked to be a NumPy array. " + _FIX))

    def __jax_array__(self) -> NoReturn:
        raise ValueError("A KerasTensor cannot be used as input to a JAX function: " + _foreign("JAX"))

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> NoReturn:
        raise ValueError("A KerasTensor cannot be used as input to a TensorFlow function: " + _foreign("TensorFlow"))

    def __iter__(self) -> NoReturn:
        raise NotImplementedError(
            "Iterating over a symbolic KerasTensor is not supported: its length may be unknown. "
            "Use ops.unstack, ops.split, ops.map or ops.scan."
        )

    def __len__(self) -> NoReturn:
        raise TypeError("A symbolic KerasTensor has no len(): use `x.shape[0]` or `ops.shape(x)[0]`.")

    def __bool__(self) -> NoReturn:
        raise TypeError("A symbolic KerasTensor cannot be used as a boolean. " + _FIX)

    def __repr__(self) -> str:
        return (
            f"<KerasTensor shape={self.shape}, dtype={self.dtype}, sparse={self.sparse}, "
            f"ragged={self.ragged}, name={self.name}>"
        )


def _immutable(attribute: str) -> NoReturn:
    raise AttributeError(f"The `{attribute}` attribute of KerasTensor is immutable: create a new KerasTensor instead.")


def _foreign(library: str) -> str:
    return f"it has no value yet. Put the {library} code into the `call` method of a layer, and call the layer."


def is_keras_tensor(x: Any) -> bool:
    """True for a symbolic tensor (made by `Input` or by calling something on one)."""
    return isinstance(x, KerasTensor)


def any_symbolic_tensors(args: Any = (), kwargs: Any = None) -> bool:
    """Whether a KerasTensor is among the (nested) arguments."""
    if any(_symbolic(a) for a in args):
        return True
    return bool(kwargs) and any(_symbolic(v) for v in kwargs.values())


def _symbolic(x: Any) -> bool:
    if type(x) is Tensor:
        return False
    if isinstance(x, KerasTensor):
        return True
    return tree.is_nested(x) and any(isinstance(leaf, KerasTensor) for leaf in tree.flatten(x))
