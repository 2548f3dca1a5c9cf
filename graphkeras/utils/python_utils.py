"""Small helpers without arrays: logs as Python floats, marks of methods that were not overridden."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any


def default(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: marks a method of a base class that does nothing."""
    method._is_default = True  # type: ignore[attr-defined]
    return method


def is_default(method: Callable[..., Any]) -> bool:
    """True if the (bound) method is still the one that `default` marked."""
    return getattr(method, "_is_default", False)


def pythonify_logs(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Logs as callbacks see them: flat, sorted by name, scalars as Python floats, everything else untouched.

    Example:

    >>> import numpy as np
    >>> pythonify_logs({"loss": np.float32(0.5), "accuracy": 1})
    {'accuracy': 1.0, 'loss': 0.5}
    """
    result: dict[str, Any] = {}
    for key, value in sorted((logs or {}).items()):
        if isinstance(value, Mapping):
            result.update(pythonify_logs(value))
            continue
        if value is not None and not isinstance(value, (str, bytes)):
            with contextlib.suppress(TypeError, ValueError):
                value = float(value)
        result[key] = value
    return result


def to_list(x: Any) -> list[Any]:
    """A list as it is, anything else as a list of one."""
    return x if isinstance(x, list) else [x]
