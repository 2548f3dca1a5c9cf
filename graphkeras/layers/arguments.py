"""Checks of constructor arguments that many layers share. Messages name the argument, what is expected and received."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def int_tuple(value: Any, n: int, name: str, allow_zero: bool = False) -> tuple[int, ...]:
    """`n` positive integers (or non-negative ones), from an int or a sequence of ints.

    Raises:
        ValueError: for another length, another type, or a value that is too small.
    """
    message = f"The `{name}` argument must be a tuple of {n} integers. Received {name}={value}"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        found = (int(value),) * n
    else:
        try:
            found = tuple(value)
        except TypeError:
            raise ValueError(f"{message} of type {type(value).__name__}") from None
    if len(found) != n:
        raise ValueError(message)
    for member in found:
        if not is_integer(member):
            raise ValueError(f"{message}, including element {member!r} of type {type(member).__name__}")
    found = tuple(int(member) for member in found)
    bad = {member for member in found if member < (0 if allow_zero else 1)}
    if bad:
        wanted = ">= 0" if allow_zero else "> 0"
        raise ValueError(f"{message}, including values {bad} that do not satisfy `value {wanted}`")
    return found


def is_integer(value: Any) -> bool:
    """Python and NumPy ints, and floats or 0-d arrays without a fraction; not bools."""
    if isinstance(value, (bool, np.bool_, str)):
        return False
    try:
        return int(value) == value
    except (TypeError, ValueError):
        return False


def positive(value: int | None, name: str) -> int | None:
    """`value`, which must be above zero; None is allowed."""
    if value is not None and value <= 0:
        raise ValueError(
            f"Invalid value for argument `{name}`. Expected a strictly positive value. Received {name}={value}."
        )
    return value


def positive_int(value: Any, name: str, layer: str) -> int:
    """A Python int above zero.

    Raises:
        TypeError: for another type.
        ValueError: for zero and less.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"Expected an integer value for `{name}` of layer {layer}, got {type(value)}: {value!r}.")
    if value <= 0:
        raise ValueError(f"Argument `{name}` of layer {layer} should be a positive integer. Received: {name}={value}")
    return int(value)


def pairs(value: Any, n: int, name: str) -> tuple[tuple[int, int], ...]:
    """`n` pairs (before, after) of non-negative ints, from an int, `n` ints or `n` pairs."""
    if is_integer(value):
        if value < 0:
            raise ValueError(f"`{name}` cannot be negative. Received: {name}={value}.")
        return ((int(value), int(value)),) * n
    if not hasattr(value, "__len__"):
        raise ValueError(
            f"`{name}` should be either an int, a tuple of {n} ints (symmetric, one for each spatial dimension) or a "
            f"tuple of {n} pairs of ints (before, after). Received: {name}={value}."
        )
    if len(value) != n:
        words = {1: "one element", 2: "two elements", 3: "3 elements"}
        raise ValueError(f"`{name}` should have {words[n]}. Received: {name}={value}.")
    ordinals = ("1st", "2nd", "3rd")
    return tuple(int_tuple(v, 2, f"{ordinals[i]} entry of {name}", allow_zero=True) for i, v in enumerate(value))  # type: ignore[misc]


def padding_mode(value: Any, allow_causal: bool = False) -> Any:
    """ "valid", "same" (or "causal") in lower case; explicit (before, after) pairs are left as they are."""
    if isinstance(value, (list, tuple)):
        return value
    allowed = ("valid", "same", "causal") if allow_causal else ("valid", "same")
    if not isinstance(value, str) or value.lower() not in allowed:
        raise ValueError(
            f"The `padding` argument must be a list/tuple or one of {allowed}. Received: padding={value!r}"
        )
    return value.lower()


def fraction(value: Any, name: str) -> Any:
    """A number from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected a float value between 0 and 1. "
            f"Received: {name}={value}"
        )
    return value


def axis_argument(value: Any) -> Any:
    """An int, or a list of ints.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(value, (list, tuple)) and all(is_integer(v) for v in value):
        return [int(v) for v in value]
    if is_integer(value):
        return int(value)
    raise TypeError(
        "Invalid value for `axis` argument: expected an int or a list/tuple of ints. "
        f"Expected an int or a list/tuple of ints for the argument 'axis', but received: {value!r}"
    )


def check_axes(axis: Any, shape: Sequence[int | None]) -> None:
    """Raises ValueError if an axis lies outside `shape`."""
    for a in axis if isinstance(axis, (list, tuple)) else (axis,):
        if not -len(shape) <= a < len(shape):
            raise ValueError(f"Axis {a} is out of bounds for input shape {tuple(shape)}. Received: axis={axis}")


def channel_axis(data_format: str) -> int:
    """The axis of the channels in a batch of that format."""
    return -1 if data_format == "channels_last" else 1


def spatial_axes(data_format: str, rank: int) -> tuple[int, ...]:
    """The axes of the `rank` spatial dimensions in a batch of that format."""
    first = 1 if data_format == "channels_last" else 2
    return tuple(range(first, first + rank))
