"""NumPy functions on tensors (NEP 13 and NEP 18): `np.exp(x)` of a traced or symbolic tensor is `ops.exp(x)`.

Concrete tensors behave as arrays: NumPy computes, except for the arithmetic operators, which give tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkeras.core import tree

# Names of NumPy's that the public ops spell in another way.
_RENAMED = {
    "remainder": "mod",
    "true_divide": "divide",
    "invert": "bitwise_not",
    "conj": "conjugate",
    "fabs": "absolute",
    "permute_dims": "transpose",
    "concat": "concatenate",
    "amax": "max",
    "amin": "min",
}
# Ufuncs behind the operators of ndarray: `array + tensor` is a tensor, as `tensor + array` is.
_OPERATORS = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "true_divide",
        "floor_divide",
        "remainder",
        "power",
        "matmul",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "left_shift",
        "right_shift",
    ]
)


def array_ufunc(ufunc: np.ufunc, method: str, inputs: Any, kwargs: Any) -> Any:
    """What `Operators.__array_ufunc__` does."""
    operator = method == "__call__" and ufunc.__name__ in _OPERATORS and not kwargs
    if operator or _any_symbolic((inputs, kwargs)):
        if method != "__call__" or "out" in kwargs:
            raise TypeError(_no_op(f"np.{ufunc.__name__}.{method} (or `out=`)"))
        return _find(ufunc.__name__, "numpy")(*inputs, **kwargs)
    inputs, kwargs = tree.map_structure(_to_array, (tuple(inputs), dict(kwargs)))
    return getattr(ufunc, method)(*inputs, **kwargs)


def array_function(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """What `Operators.__array_function__` does."""
    if _any_symbolic((args, kwargs)):
        if kwargs.get("out") is not None:
            raise TypeError(_no_op(f"np.{function.__name__}(out=...)"))
        return _find(function.__name__, function.__module__ or "numpy")(*args, **kwargs)
    args, kwargs = tree.map_structure(_to_array, (args, kwargs))
    return function(*args, **kwargs)


def _find(name: str, module: str) -> Callable[..., Any]:
    """The public op of NumPy's name."""
    from graphkeras import ops

    place: Any = getattr(ops, "linalg", None) if module.endswith("linalg") else ops
    found = getattr(place, _RENAMED.get(name, name), None) or getattr(ops, _RENAMED.get(name, name), None)
    if found is None:
        raise TypeError(_no_op(f"{module}.{name}".replace("numpy", "np")))
    return found


def _no_op(what: str) -> str:
    return (
        f"{what} was called on a symbolic or traced tensor, which has no values yet, and graphkeras.ops has nothing of "
        "that name. Write it with functions of graphkeras.ops, or compile(..., run_eagerly=True)."
    )


def _any_symbolic(structure: Any) -> bool:
    from graphkeras.core.keras_tensor import KerasTensor
    from graphkeras.core.tensor import Tensor
    from graphkeras.core.variable import Variable

    for x in tree.flatten(structure):
        if isinstance(x, Variable):
            x = x.value
        if isinstance(x, KerasTensor) or (isinstance(x, Tensor) and x.is_traced):
            return True
    return False


def _to_array(x: Any) -> Any:
    from graphkeras.core.tensor import Operators

    return np.asarray(x) if isinstance(x, Operators) else x
