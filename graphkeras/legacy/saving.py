"""Serialization in the form of Keras 2: {"class_name": ..., "config": ...} without modules; functions by name."""

from __future__ import annotations

from typing import Any

from graphkeras.saving import serialization_lib
from graphkeras.saving.object_registration import get_registered_name


def serialize_keras_object(instance: Any) -> Any:
    """The class name and config of an object, or the name of a function.

    Example:

    >>> import graphkeras as keras
    >>> keras.legacy.saving.serialize_keras_object(keras.regularizers.L2(0.5))
    {'class_name': 'L2', 'config': {'l2': 0.5}}
    """
    if instance is None:
        return None
    if hasattr(instance, "get_config"):
        config = {
            key: serialize_keras_object(value) if hasattr(value, "get_config") else value
            for key, value in instance.get_config().items()
        }
        return {"class_name": get_registered_name(type(instance)), "config": config}
    if hasattr(instance, "__name__"):
        return get_registered_name(instance)
    raise ValueError(f"Cannot serialize {instance} because it doesn't implement `get_config()`.")


def deserialize_keras_object(
    identifier: Any,
    module_objects: dict[str, Any] | None = None,
    custom_objects: dict[str, Any] | None = None,
    printable_module_name: str = "object",
) -> Any:
    """The object of a class name and config, or the function of a name.

    Args:
        identifier: what `serialize_keras_object` returned.
        module_objects: names that are known, as a dict.
        custom_objects: more of them; these come first.
        printable_module_name: what to call the object in messages.

    Raises:
        ValueError: for names that are not known.
    """
    if identifier is None:
        return None
    name = identifier.get("class_name") if isinstance(identifier, dict) else identifier
    known = {**(module_objects or {}), **(custom_objects or {})}
    found = serialization_lib.deserialize_keras_object(
        identifier if isinstance(identifier, (dict, str)) else name, custom_objects=custom_objects, module_objects=known
    )
    if isinstance(found, str):
        raise ValueError(
            f"Unknown {printable_module_name}: '{name}'. Register it with `@register_keras_serializable()`, or pass it "
            "in `custom_objects`."
        )
    return found
