"""Readable exceptions: the framework's own frames are left out, and the call that failed is named.

`disable_traceback_filtering()` (graphkeras.config) switches both off.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree
from graphkeras.core.config import is_traceback_filtering_enabled
from graphkeras.core.tensor import Tensor


@functools.cache
def _own_directories() -> tuple[str, ...]:
    found = (importlib.util.find_spec(name) for name in ("graphkeras", "graphkeras.ir", "graphkeras.codegen"))
    places = (next(iter(spec.submodule_search_locations or ())) for spec in found if spec is not None)
    return tuple(os.path.abspath(place) + os.sep for place in places)


def user_place() -> tuple[str, int]:
    """File and line of the innermost frame outside of this package."""
    frame = sys._getframe(1)
    own = _own_directories()
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(own):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _user_frames(tb: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback without the framework's frames; its innermost frame where nothing else remains."""
    frames = list(traceback.walk_tb(tb))
    own = _own_directories()
    kept = [(f, line) for f, line in frames if not os.path.abspath(f.f_code.co_filename).startswith(own)]
    result = None
    for frame, line in reversed(kept or frames[-1:]):
        result = types.TracebackType(result, frame, frame.f_lasti, line)
    return result


def filter_traceback(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: exceptions raised by `fn` show the user's frames only."""

    @functools.wraps(fn)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        if not is_traceback_filtering_enabled():
            return fn(*args, **kwargs)
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            raise error.with_traceback(_user_frames(error.__traceback__)) from error.__cause__

    return filtered


def call_with_context(fn: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """`fn(*args, **kwargs)`; an exception gets the name of what was called and its arguments' shapes."""
    if not is_traceback_filtering_enabled():
        return fn(*args, **kwargs)
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        if getattr(error, "_call_context_added", False):
            raise  # the innermost call is the one that is named
        described = _describe_arguments(fn, args, kwargs)
        if described is None:
            raise
        message = error.args[0] if error.args else ""
        text = f"Exception encountered when calling {name}.\n\n{message}\n\nArguments received by {name}:\n{described}"
        raise _same_kind(error, text).with_traceback(error.__traceback__) from error.__cause__


def _same_kind(error: Exception, message: str) -> Exception:
    try:
        renewed = type(error)(message)
    except Exception:  # an exception class with another signature
        renewed = RuntimeError(message)
    renewed._call_context_added = True  # type: ignore[attr-defined]
    return renewed


def _describe_arguments(fn: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
    signature = inspect.signature(fn)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:
        return None  # the call itself was wrong, and Python's message says how
    lines = []
    for parameter in signature.parameters.values():
        value = bound.get(parameter.name, parameter.default)
        if value is parameter.empty:
            continue  # **kwargs that nobody gave
        lines.append(f"  • {parameter.name}={tree.map_structure(describe, value)}")
    return "\n".join(lines) or None


class _Plain(str):
    """A text that prints without quotes inside lists and dicts."""

    def __repr__(self) -> str:
        return str(self)


def describe(value: Any) -> Any:
    """A value for a message: arrays and tensors as shape and dtype."""
    if isinstance(value, Tensor) or (type(value).__module__ == "numpy" and hasattr(value, "shape")):
        return _Plain(f"Tensor(shape={tuple(value.shape)}, dtype={value.dtype})")
    return _Plain(repr(value))
