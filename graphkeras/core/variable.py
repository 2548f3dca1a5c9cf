"""Variable: a named tensor that keeps its value between calls and can be assigned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.core.convert import cast, convert_to_tensor
from graphkeras.core.dtypes import is_float_dtype, standardize_dtype
from graphkeras.core.naming import auto_name
from graphkeras.core.scopes import current_path, get_autocast_scope, get_stateless_scope
from graphkeras.core.shapes import standardize_shape
from graphkeras.core.tensor import Operators, Tensor
from graphkeras.core.trace import current_trace, eager
from graphkeras.ir.residence import refresh

AGGREGATIONS = (None, "none", "mean", "sum", "only_first_replica")
SYNCHRONIZATIONS = (None, "none", "auto", "on_read", "on_write")
_UNSHARED = 2  # references that sys.getrefcount counts when only the variable holds its array


class Variable(Operators):
    """State: weights, statistics, counters.

    Args:
        initializer: the first value (array, tensor, number), or a callable `initializer(shape, dtype=...)`, or the name
            of an initializer.
        shape: needed with a callable.
        dtype: by default the value's own dtype, or the default float for a callable.
        trainable: whether optimizers change it.
        autocast: whether layers with mixed precision may read it in their compute dtype.
        aggregation, synchronization, layout: kept as given, for scripts written for several devices.
        name: string without "/".

    Example:

    >>> import graphkeras as keras
    >>> v = keras.Variable([1.0, 2.0])
    >>> _ = v.assign_add([1.0, 1.0])
    >>> v.numpy().tolist()
    [2.0, 3.0]
    """

    __hash__ = object.__hash__

    def __init__(
        self,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str | None = "none",
        synchronization: str | None = "auto",
        name: str | None = None,
        layout: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"Variable received unexpected keyword arguments: {', '.join(kwargs)}")
        name = name or auto_name(type(self).__name__)
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                f"Argument `name` must be a string and cannot contain character `/`. Received: name={name}"
            )
        _check_choice("aggregation", aggregation, AGGREGATIONS)
        _check_choice("synchronization", synchronization, SYNCHRONIZATIONS)
        parent = current_path()
        self._name = name
        self._path = f"{parent}/{name}" if parent else name
        self._trainable = bool(trainable)
        self._autocast = bool(autocast)
        self._aggregation = aggregation or "none"
        self._synchronization = synchronization or "none"
        self._layout = layout
        self._regularizer: Callable[..., Any] | None = None
        self._constraint: Callable[..., Any] | None = None
        self._overwrite_with_gradient = False
        self._array = self._first_value(initializer, shape, dtype)
        self._shape = tuple(self._value.shape)
        self._dtype = standardize_dtype(self._value.dtype)
        trace = current_trace()
        if trace is not None:
            trace.created.append(self)

    def _first_value(self, initializer: Any, shape: Any, dtype: Any) -> np.ndarray:
        if isinstance(initializer, str):
            from graphkeras import initializers

            initializer = initializers.get(initializer)
        # A value is computed at once even while a step or a shape is being traced. Scopes do not apply to it.
        with eager(), _plain_scopes():
            if not callable(initializer):
                return _own(convert_to_tensor(initializer, dtype=dtype).numpy())
            if shape is None:
                raise ValueError(
                    f"variable {self._path!r}: an initializer needs the `shape` argument. "
                    f"Received: initializer={initializer}, shape=None"
                )
            wanted = standardize_shape(shape)
            if None in wanted:
                raise ValueError(
                    f"variable {self._path!r}: all extents of `shape` must be known. Received: shape={wanted}"
                )
            name = standardize_dtype(dtype)
            held = [convert_to_tensor(initializer(wanted, dtype=name), dtype=name)]
        shape = tuple(held[0].shape)
        if shape != wanted:
            raise ValueError(
                f"variable {self._path!r}: the initializer {initializer} returned shape {shape}, expected {wanted}."
            )
        return _taken(held)

    # -- value -------------------------------------------------------------------------------------
    @property
    def _value(self) -> np.ndarray:
        """The array that holds the value, fetched first where its newest state is on a device."""
        refresh(self._array)
        return self._array

    @_value.setter
    def _value(self, array: np.ndarray) -> None:
        self._array = array

    @property
    def value(self) -> Tensor:
        """The current value, in the compute dtype inside a layer with mixed precision."""
        value = self._current()
        scope = get_autocast_scope()
        return scope.maybe_cast(value) if scope is not None and self._autocast else value

    def read_value(self) -> Tensor:
        """What ops read: same as `value`."""
        return self.value

    def _current(self) -> Tensor:
        scope = get_stateless_scope()
        if scope is not None:
            found = scope.get_current_value(self)
            if found is not None:
                return found
        trace = current_trace()
        return trace.read(self) if trace is not None else Tensor(self._value)

    def assign(self, value: Any) -> Tensor:
        """Set a new value of the same shape; returns it in the variable's dtype."""
        value = convert_to_tensor(value, dtype=self._dtype)
        if tuple(value.shape) != self._shape:
            raise ValueError(
                "The shape of the target variable and the shape of the target value in `variable.assign(value)` "
                f"must match. Variable {self._path!r} has shape {self._shape}. "
                f"Received: value.shape={tuple(value.shape)}."
            )
        scope = get_stateless_scope()
        trace = current_trace()
        if scope is not None:
            scope.add_update((self, value))
        elif trace is not None:
            trace.write(self, value)
        else:
            self._value = _own(value.numpy())
        return value

    def assign_add(self, value: Any) -> Tensor:
        """Add to the value."""
        return self.assign(self._stored() + value)

    def assign_sub(self, value: Any) -> Tensor:
        """Subtract from the value."""
        return self.assign(self._stored() - value)

    def _stored(self) -> Tensor:
        """The value in the variable's own dtype, whatever scope is open."""
        return cast(self._current(), self._dtype)

    def numpy(self) -> np.ndarray:
        """A copy of the value as a NumPy array."""
        return np.array(self.value.numpy())

    def bound(self, written: bool) -> np.ndarray:
        """The array itself, for a compiled program. Its newest value may be on the device that the program runs on.

        If it is to be written, it is copied first where somebody else holds it: nobody sees a value change under
        their hands.
        """
        return self.writable(fetch=False) if written else self._array

    def writable(self, fetch: bool = True) -> np.ndarray:
        """The array itself, to be updated in place; copied first where somebody else holds it."""
        if fetch:
            refresh(self._array)
        array = self._array
        shared = sys.getrefcount(array) > _UNSHARED + 1 or array.base is not None or not array.flags.writeable
        if shared or not array.flags.c_contiguous:
            refresh(array)
            self._array = array = np.array(array, order="C")
        return array

    # -- attributes --------------------------------------------------------------------------------
    @property
    def dtype(self) -> str:
        """The dtype that reading gives: the compute dtype inside a layer with mixed precision."""
        scope = get_autocast_scope()
        if self._autocast and scope is not None and scope.dtype is not None and is_float_dtype(self._dtype):
            return scope.dtype
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def ndim(self) -> int:
        return len(self._shape)

    @property
    def size(self) -> int:
        return int(np.prod(self._shape, dtype=np.int64))

    @property
    def name(self) -> str:
        return self._name

    @property
    def path(self) -> str:
        """`model/layer/name`: the scopes in which the variable was made, and its name."""
        return self._path

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)

    @property
    def autocast(self) -> bool:
        return self._autocast

    @property
    def aggregation(self) -> str:
        return self._aggregation

    @property
    def synchronization(self) -> str:
        return self._synchronization

    @property
    def overwrite_with_gradient(self) -> bool:
        """Whether optimizers replace the value by the gradient (state that is trained that way)."""
        return self._overwrite_with_gradient

    @overwrite_with_gradient.setter
    def overwrite_with_gradient(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"`overwrite_with_gradient` must be a boolean. Received: {value}")
        self._overwrite_with_gradient = value

    @property
    def regularizer(self) -> Callable[..., Any] | None:
        return self._regularizer

    @regularizer.setter
    def regularizer(self, value: Callable[..., Any] | None) -> None:
        _check_callable("regularizer", value)
        self._regularizer = value

    @property
    def constraint(self) -> Callable[..., Any] | None:
        return self._constraint

    @constraint.setter
    def constraint(self, value: Callable[..., Any] | None) -> None:
        _check_callable("constraint", value)
        self._constraint = value

    # -- Python protocols --------------------------------------------------------------------------
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.value.numpy()
        return np.array(array, dtype=dtype) if copy is not False else np.asarray(array, dtype=dtype)

    def __int__(self) -> int:
        return int(self._scalar())

    def __float__(self) -> float:
        return float(self._scalar())

    def _scalar(self) -> Tensor:
        if self._shape:
            raise TypeError(f"Only scalar arrays can be converted to Python scalars. Got: shape={self._shape}")
        return self.value

    def __bool__(self) -> bool:
        raise TypeError("A Variable cannot be used as a boolean: compare it, or use bool(variable.numpy()).")

    def __pos__(self) -> Any:
        return self.value

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return iter(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __deepcopy__(self, memo: Any) -> Variable:
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__.update(self.__dict__)
        copy._value = self._value.copy()
        return copy

    def __repr__(self) -> str:
        text = np.array2string(self._value, threshold=20)
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, value={text}>"


class _plain_scopes:
    """Switches off the stateless and autocast scopes for a while."""

    NAMES = ("stateless_scope", "autocast_scope")

    def __enter__(self) -> None:
        from graphkeras.core.global_state import get_global_attribute, set_global_attribute

        self.before = [get_global_attribute(n) for n in self.NAMES]
        for name in self.NAMES:
            set_global_attribute(name, None)

    def __exit__(self, *exc: Any) -> None:
        from graphkeras.core.global_state import set_global_attribute

        for name, value in zip(self.NAMES, self.before, strict=True):
            set_global_attribute(name, value)


def _own(array: np.ndarray) -> np.ndarray:
    """An array nobody else can change."""
    return np.array(array, order="C")


def _references(held: list[Any]) -> int:
    return sys.getrefcount(held[0])


_ONLY_HELD = _references([object()])  # depends on the version of Python


def _taken(held: list[Tensor]) -> np.ndarray:
    """The array of the tensor in `held`: itself where nobody else can reach it, else a copy."""
    if _references(held) == _ONLY_HELD and held[0].trace is None:
        array = [held.pop().data]
        alone = _references(array) == _ONLY_HELD and array[0].flags.owndata and array[0].flags.writeable
        return array[0] if alone and array[0].flags.c_contiguous else _own(array[0])
    return _own(held[0].numpy())


def _check_choice(argument: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"Invalid value for argument `{argument}`. Expected one of {choices}. Received: {value!r}")


def _check_callable(attribute: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise ValueError(
            f"Invalid value for attribute `{attribute}`. Expected a callable or `None`. Received: {attribute}={value}"
        )
