"""Custom objects: the registry behind `register_keras_serializable`, and scopes that lend names for a while."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graphkeras.core.global_state import get_global_attribute, set_global_attribute

GLOBAL_CUSTOM_OBJECTS: dict[str, Any] = {}
GLOBAL_CUSTOM_NAMES: dict[Any, str] = {}


def scope_objects() -> dict[str, Any]:
    """Objects that the innermost `CustomObjectScope` of this thread lends."""
    return get_global_attribute("custom_objects") or {}


class CustomObjectScope:
    """Makes custom objects known by name while the `with` block runs.

    Args:
        custom_objects: dict from name to class or function. An inner scope replaces the outer one, as in Keras.

    Example:
        >>> from graphkeras.saving import CustomObjectScope, get_registered_object
        >>> with CustomObjectScope({"half": lambda x: x / 2}):
        ...     print(get_registered_object("half")(4))
        2.0
    """

    def __init__(self, custom_objects: dict[str, Any] | None) -> None:
        self.custom_objects = custom_objects or {}
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> CustomObjectScope:
        self._before.append(scope_objects())
        set_global_attribute("custom_objects", dict(self.custom_objects))
        return self

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("custom_objects", self._before.pop())


custom_object_scope = CustomObjectScope


def get_custom_objects() -> dict[str, Any]:
    """The live dict of registered objects ("package>name" to class or function); objects of scopes are not in it."""
    return GLOBAL_CUSTOM_OBJECTS


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Decorator that lets a class or function be saved and loaded under "package>name".

    Args:
        package: the first half of the key; choose one that is your own.
        name: the second half; default the object's own name.

    Raises:
        ValueError: for a class without `get_config()`.

    Example:
        >>> import graphkeras as keras
        >>> @keras.saving.register_keras_serializable("mine")
        ... def double(x):
        ...     return 2 * x
        >>> keras.saving.get_registered_name(double)
        'mine>double'
    """

    def register(target: Any) -> Any:
        key = f"{package}>{target.__name__ if name is None else name}"
        if inspect.isclass(target) and not hasattr(target, "get_config"):
            raise ValueError(
                f"Cannot register class {target.__name__}: it does not have a get_config() method. Add "
                "get_config(self) that returns a dict of the arguments its __init__ needs."
            )
        GLOBAL_CUSTOM_OBJECTS[key] = target
        GLOBAL_CUSTOM_NAMES[target] = key
        return target

    return register


def get_registered_name(obj: Any) -> str:
    """The name an object was registered under, else its own `__name__`."""
    try:
        return GLOBAL_CUSTOM_NAMES[obj]
    except (KeyError, TypeError):  # TypeError: not hashable
        return obj.__name__


def get_registered_object(
    name: str, custom_objects: dict[str, Any] | None = None, module_objects: dict[str, Any] | None = None
) -> Any:
    """The object that `name` stands for, or None.

    Looked up in this order: the open `CustomObjectScope`, registered objects, `custom_objects`, `module_objects`.
    """
    for table in (scope_objects(), GLOBAL_CUSTOM_OBJECTS, custom_objects, module_objects):
        if table and name in table:
            return table[name]
    return None
