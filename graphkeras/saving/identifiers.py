"""What `losses.get`, `initializers.get` and the like share: names, configs and objects to objects."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from graphkeras.core.naming import to_snake_case
from graphkeras.saving.object_registration import get_registered_object
from graphkeras.saving.serialization_lib import deserialize_keras_object


def table_of(*objects: Any, snake_case: bool = False, **aliases: Any) -> dict[str, Any]:
    """A table of identifiers: each object under its own name, classes in snake case too if asked, and the aliases."""
    table = {obj.__name__: obj for obj in objects}
    if snake_case:
        table |= {to_snake_case(obj.__name__): obj for obj in objects}
    return table | aliases


def deserialize_with(table: dict[str, Any], config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    return deserialize_keras_object(config, module_objects=table, custom_objects=custom_objects)


def resolve(kind: str, identifier: Any, table: dict[str, Any]) -> Any:
    """The object an identifier stands for; classes are instantiated with their defaults. None stays None.

    Raises:
        ValueError: for anything that is neither known nor callable; names the closest known identifiers.
    """
    if identifier is None:
        return None
    found = identifier
    if isinstance(identifier, dict):
        found = deserialize_with(table, identifier)
    elif isinstance(identifier, str):
        found = get_registered_object(identifier, module_objects=table)
    if not callable(found):
        raise ValueError(unknown(kind, identifier, table))
    return found() if inspect.isclass(found) else found


def unknown(kind: str, identifier: Any, table: dict[str, Any]) -> str:
    """The message for an identifier that means nothing."""
    message = f"Could not interpret {kind} identifier: {identifier!r}."
    name = identifier.get("class_name") if isinstance(identifier, dict) else identifier
    if not isinstance(name, str):
        return f"{message} Expected a name, a config dict, a class, an instance or a callable."
    near = difflib.get_close_matches(name, table, n=3, cutoff=0.5)
    near = near or difflib.get_close_matches(name.lower(), [key.lower() for key in table], n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else f" Known names: {', '.join(sorted(table))}."
    return f"{message}{hint} Register custom objects with @register_keras_serializable(), or pass the object itself."
