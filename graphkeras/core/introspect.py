"""What a class says about itself: methods left at their default, and constructor arguments for configs."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

from graphkeras.core import tree

_PLAIN = (str, int, float, bool, type(None))


def default(method: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a base-class method, so that `is_default` can tell that a subclass left it alone."""
    method._is_default = True  # type: ignore[attr-defined]
    return method


def is_default(method: Callable[..., Any]) -> bool:
    """Whether a bound method is the base class's."""
    return getattr(method, "_is_default", False)


def to_camel_case(name: str) -> str:
    """`expand_dims` -> `ExpandDims`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"_+", name) if part)


@functools.lru_cache(maxsize=4096)
def _init_signature(cls: type) -> inspect.Signature:
    return inspect.signature(cls.__init__)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """`inspect.signature`, looked at once for each function; a bound method's lacks its first parameter."""
    function = getattr(fn, "__func__", None)
    if not inspect.isfunction(function) or getattr(fn, "__self__", None) is None:
        return _signature(fn) if inspect.isfunction(fn) else inspect.signature(fn)
    return _method_signature(function)


@functools.lru_cache(maxsize=4096)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@functools.lru_cache(maxsize=4096)
def _method_signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function.__get__(object()))


def unrecognized(cls: type, kwargs: dict[str, Any]) -> str:
    """The message for keyword arguments that neither a class's constructor nor one of its bases takes."""
    known = {name for base in cls.__mro__ if "__init__" in vars(base) for name in _init_signature(base).parameters}
    import difflib  # only for a message

    near = [match for name in kwargs for match in difflib.get_close_matches(name, known - {"self"}, 1)]
    hint = f". Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"Unrecognized keyword arguments passed to {cls.__name__}: {kwargs}{hint}"


def constructor_arguments(cls: type, args: Any, kwargs: Any) -> tuple[dict[str, Any] | None, bool]:
    """The arguments of a constructor call as a config, and whether its signature was the obstacle.

    The config is None where an argument is no plain value (numbers, strings, None, nested), or the call has positional
    arguments without names.
    """
    signature = _init_signature(cls)
    parameters = list(signature.parameters.values())[1:]
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return None, False  # the constructor itself will say what is wrong
    if any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        return None, True
    bound.apply_defaults()
    config: dict[str, Any] = {}
    for parameter in parameters:
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            if value:
                return None, True
        elif parameter.kind is parameter.VAR_KEYWORD:
            config.update(value)
        else:
            config[parameter.name] = value
    config.pop("name", None)
    if not all(isinstance(leaf, _PLAIN) for leaf in tree.flatten(config)):
        return None, False
    return copy.deepcopy(config), False


def accepts(cls: type, argument: str) -> bool:
    """Whether the constructor takes an argument (by its name or through **kwargs)."""
    parameters = _init_signature(cls).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
