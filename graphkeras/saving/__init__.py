"""Saving and loading: configs, custom objects, weights and model files."""

from __future__ import annotations

from typing import Any

from graphkeras.saving.object_registration import (
    CustomObjectScope as CustomObjectScope,
)
from graphkeras.saving.object_registration import (
    custom_object_scope as custom_object_scope,
)
from graphkeras.saving.object_registration import (
    get_custom_objects as get_custom_objects,
)
from graphkeras.saving.object_registration import (
    get_registered_name as get_registered_name,
)
from graphkeras.saving.object_registration import (
    get_registered_object as get_registered_object,
)
from graphkeras.saving.object_registration import (
    register_keras_serializable as register_keras_serializable,
)
from graphkeras.saving.serialization_lib import (
    deserialize_keras_object as deserialize_keras_object,
)
from graphkeras.saving.serialization_lib import (
    serialize_keras_object as serialize_keras_object,
)

_FILES = ("load_model", "load_weights", "save_model", "save_weights")


def __getattr__(name: str) -> Any:
    # Loaded when first used: layers need this package, and files need layers.
    if name in _FILES:
        from graphkeras.saving import saving_api

        return getattr(saving_api, name)
    if name == "KerasFileEditor":
        from graphkeras.saving.file_editor import KerasFileEditor

        return KerasFileEditor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES, "KerasFileEditor"})
