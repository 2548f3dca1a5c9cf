"""Dtype names and promotion.

Promotion follows the JAX lattice: the result of two dtypes is their least upper bound, and Python numbers are weak,
so `int8 + 1` stays int8 and `float16 * 2.0` stays float16 (jax.readthedocs.io, "Type promotion semantics").
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from graphkeras.core.config import floatx

FLOAT_TYPES = ("bfloat16", "float16", "float32", "float64")
INT_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
COMPLEX_TYPES = ("complex64", "complex128")
FLOAT8_TYPES = ("float8_e4m3fn", "float8_e5m2")
ALLOWED_DTYPES = (*FLOAT_TYPES, *INT_TYPES, *COMPLEX_TYPES, *FLOAT8_TYPES, "bool", "string")

_PYTHON_TYPES = {bool: "bool", int: "int32", float: "float32", str: "string", complex: "complex64"}
_ALIASES = {"int": "int32", "uint": "uint32", "bool_": "bool", "str": "string", "object": "string"}

# What each type may grow into, one step at a time. "int" and "float" are the weak types of Python numbers.
_GROWS = {
    "bool": ("int",),
    "int": ("uint8", "int8", "complex64"),
    "uint8": ("int16", "uint16"),
    "uint16": ("int32", "uint32"),
    "uint32": ("int64", "uint64"),
    "uint64": ("float",),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64", "complex64"),
    "float64": ("complex128",),
    "complex64": ("complex128",),
    "complex128": (),
}


def _ancestors(name: str) -> frozenset[str]:
    found = {name}
    for step in _GROWS[name]:
        found |= _ancestors(step)
    return frozenset(found)


_ABOVE = {name: _ancestors(name) for name in _GROWS}


def standardize_dtype(dtype: Any) -> str:
    """The dtype's name from a name, a NumPy dtype or scalar type, a Python type, or None (the default float).

    Raises ValueError for anything that is no dtype.

    Example:

    >>> standardize_dtype(float)
    'float32'
    """
    if dtype is None:
        return floatx()
    if isinstance(dtype, str) and dtype in _KNOWN:
        return dtype
    name = _name_of(dtype)
    if name not in _KNOWN:
        raise ValueError(f"Invalid dtype: {dtype}. Expected one of {', '.join(ALLOWED_DTYPES)}.")
    return name


_KNOWN = frozenset(ALLOWED_DTYPES)


def _name_of(dtype: Any) -> Any:
    if isinstance(dtype, type) and dtype in _PYTHON_TYPES:
        return _PYTHON_TYPES[dtype]
    if hasattr(dtype, "name"):
        dtype = dtype.name
    elif hasattr(dtype, "__name__"):
        dtype = dtype.__name__
    elif type(dtype).__module__.split(".")[0] in ("torch", "jax"):
        dtype = str(dtype).split(".")[-1]
    if isinstance(dtype, str) and dtype.startswith("str") and dtype[3:].isdigit():
        return "string"
    return _ALIASES.get(dtype, dtype) if isinstance(dtype, str) else dtype


def is_float_dtype(dtype: Any) -> bool:
    """float16, bfloat16, float32, float64 and the float8 types."""
    name = standardize_dtype(dtype)
    return name.startswith("float") or name.startswith("bfloat")


def is_int_dtype(dtype: Any) -> bool:
    """Signed and unsigned integers, not bool."""
    return standardize_dtype(dtype) in INT_TYPES


def result_type(*dtypes: Any) -> str:
    """The dtype that an operation on these dtypes has.

    Args:
        dtypes: names, NumPy dtypes or Python types; `int` and `float` mean weak Python numbers, None the default float.

    Example:

    >>> result_type("int32", float)
    'float32'
    >>> result_type("bfloat16", int)
    'bfloat16'
    """
    if not dtypes:
        return floatx()
    return _promote(tuple(_lattice_name(d) for d in dtypes), floatx())


def _lattice_name(dtype: Any) -> str:
    if dtype is int or dtype is float:
        return dtype.__name__
    name = standardize_dtype(dtype)
    if name in FLOAT8_TYPES:
        raise ValueError(f"There is no implicit conversions from float8 dtypes to others: cast {name} explicitly.")
    if name not in _GROWS:
        raise ValueError(f"dtype {name!r} takes no part in type promotion; expected a number or bool dtype.")
    return name


@lru_cache(maxsize=4096)
def _promote(names: tuple[str, ...], default_float: str) -> str:
    common = frozenset.intersection(*(_ABOVE[n] for n in names))
    least = [n for n in common if common <= _ABOVE[n]]
    if len(least) != 1:
        raise ValueError(f"dtypes {names} have no implicit promotion: cast them to one dtype explicitly.")
    found = {"int": "int32", "float": default_float}.get(least[0], least[0])
    # uint32 with int32 would be int64; like JAX, 64 bits come only from 64 bits.
    return found if any(n.endswith(("64", "128")) for n in names) else _IN_32_BITS.get(found, found)


_IN_32_BITS = {"int64": "int32", "uint64": "uint32"}


def dtype_size(dtype: Any) -> int:
    """Bits per element."""
    name = standardize_dtype(dtype)
    if name == "bool":
        return 1
    if name in FLOAT8_TYPES:
        return 8
    digits = "".join(c for c in name if c.isdigit())
    if not digits:
        raise ValueError(f"dtype {name!r} has no fixed size")
    return int(digits)
