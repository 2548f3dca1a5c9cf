"""Objects to JSON-able configs and back, in the layout of Keras's files.

    {"module": "keras.layers", "class_name": "Dense", "config": {...}, "registered_name": None,
     "build_config": {...}, "compile_config": {...}, "shared_object_id": 123}

Reading never imports what a file names: classes come from this package's public namespaces, from registered objects
and from `custom_objects`, and lambdas only with `safe_mode=False`.
"""

from __future__ import annotations

import inspect
import types
import warnings
from typing import Any

import numpy as np

from graphkeras.core.global_state import get_global_attribute, set_global_attribute
from graphkeras.core.tensor import Tensor
from graphkeras.saving import public_names
from graphkeras.saving.lambdas import dump_function, load_function
from graphkeras.saving.object_registration import (
    GLOBAL_CUSTOM_OBJECTS,
    CustomObjectScope,
    get_registered_name,
    get_registered_object,
    scope_objects,
)

PLAIN_TYPES = (str, int, float, bool)


# -- scopes ----------------------------------------------------------------------------------------
def in_safe_mode() -> bool | None:
    """What the innermost `SafeModeScope` or `config.enable_unsafe_deserialization` says; None: nothing was said."""
    return get_global_attribute("safe_mode")


class SafeModeScope:
    """Carries `safe_mode` to the nested calls that load the parts of an object."""

    def __init__(self, safe_mode: bool | None = True) -> None:
        self.safe_mode = safe_mode

    def __enter__(self) -> None:
        self._before = in_safe_mode()
        set_global_attribute("safe_mode", self.safe_mode)

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("safe_mode", self._before)


class ObjectSharingScope:
    """Inside, an object that is met twice is written with a `shared_object_id` and read back as one object."""

    def __enter__(self) -> None:
        self._before = get_global_attribute("shared_objects")
        set_global_attribute(
            "shared_objects", ({}, {})
        )  # id -> object read, id -> (config written, the object, kept alive)

    def __exit__(self, *exc: Any) -> None:
        set_global_attribute("shared_objects", self._before)


def get_shared_object(object_id: int) -> Any:
    """The object already read under this id in the open `ObjectSharingScope`, or None."""
    sharing = get_global_attribute("shared_objects")
    return None if sharing is None else sharing[0].get(object_id)


def _note_read(obj: Any, object_id: int) -> None:
    sharing = get_global_attribute("shared_objects")
    if sharing is not None:
        sharing[0][object_id] = obj


def record_object_after_serialization(obj: Any, config: dict[str, Any]) -> None:
    """Mark `config` (and the earlier config of the same object) as shared when `obj` is met again."""
    if config["module"] == "__main__":
        config["module"] = None  # the module of a script means nothing to another script
    sharing = get_global_attribute("shared_objects")
    if sharing is None:
        return
    written = sharing[1]
    if id(obj) in written:
        config["shared_object_id"] = written[id(obj)][0]["shared_object_id"] = id(obj)
    else:
        written[id(obj)] = (config, obj)


# -- writing ---------------------------------------------------------------------------------------
def serialize_keras_object(obj: Any) -> Any:
    """The config of an object: a dict of plain values from which `deserialize_keras_object` builds it again.

    Plain values, lists, tuples and dicts are kept as they are (their members are serialized); arrays, tensors, slices,
    bytes and lambdas get dicts of their own kind.

    Raises:
        TypeError: for an object with neither `get_config()` nor a name.

    Example:
        >>> import graphkeras as keras
        >>> keras.saving.serialize_keras_object(keras.regularizers.L2(0.1))["class_name"]
        'L2'
    """
    if obj is None or isinstance(obj, PLAIN_TYPES):
        return obj
    if isinstance(obj, (list, tuple)):
        items = [serialize_keras_object(x) for x in obj]
        return tuple(items) if isinstance(obj, tuple) else items
    if isinstance(obj, dict):
        return serialize_dict(obj)
    special = _serialize_special(obj)
    if special is not None:
        return special[0]
    return _serialize_object(obj)


def serialize_dict(obj: dict[str, Any]) -> dict[str, Any]:
    return {key: serialize_keras_object(value) for key, value in obj.items()}


def _serialize_special(obj: Any) -> tuple[Any] | None:
    """(config,) for values with a form of their own, None for objects."""
    if isinstance(obj, bytes):
        return (_special("bytes", value=obj.decode("utf-8")),)
    if isinstance(obj, slice):
        parts = {k: serialize_keras_object(getattr(obj, k)) for k in ("start", "stop", "step")}
        return (_special("slice", **parts),)
    if obj is Ellipsis:
        return (_special("ellipsis"),)
    if isinstance(obj, Tensor):
        return (_special("tensor", value=obj.numpy().tolist(), dtype=str(obj.dtype)),)
    if isinstance(obj, np.ndarray) and obj.ndim > 0:
        return (_special("numpy", value=obj.tolist(), dtype=obj.dtype.name),)
    if isinstance(obj, (np.ndarray, np.generic)):
        return (obj.item(),)
    if isinstance(obj, np.dtype):
        return (obj.name,)
    if isinstance(obj, types.FunctionType) and obj.__name__ == "<lambda>":
        return (_serialize_lambda(obj),)
    if _is_keras_tensor(obj):
        history = getattr(obj, "_keras_history", None)
        if history:
            history = [getattr(history[0], "name", history[0]), *history[1:]]
        return (_special("keras_tensor", shape=obj.shape, dtype=obj.dtype, keras_history=history),)
    return None


def _special(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": f"__{kind}__", "config": config}


def _is_keras_tensor(obj: Any) -> bool:
    return type(obj).__name__ == "KerasTensor" and type(obj).__module__.startswith(public_names.PACKAGE + ".")


def _serialize_lambda(fn: types.FunctionType) -> dict[str, Any]:
    try:
        source = inspect.getsource(fn).strip()
    except (OSError, TypeError):
        source = repr(fn)
    warnings.warn(
        f"A `lambda` is part of the object being serialized: {source}. It is saved as bytecode, which only the same "
        "version of Python can read, and only with `safe_mode=False`. Use a named function with "
        "`@register_keras_serializable()` instead.",
        stacklevel=4,
    )
    return _special("lambda", value=dump_function(fn))


def _serialize_object(obj: Any) -> dict[str, Any]:
    inner = _inner_config(obj)
    if isinstance(obj, types.FunctionType):
        # Keras writes the class of a function ("builtins.function") around its name.
        config = {
            "module": "builtins",
            "class_name": "function",
            "config": inner,
            "registered_name": "function",
        }
    else:
        config = serialize_with_public_class(type(obj), inner)
    for kind in ("build", "compile"):
        getter = getattr(obj, f"get_{kind}_config", None)
        part = None if getter is None or inspect.isclass(obj) else getter()
        if part is not None and (part or kind == "build"):  # no compile config: not compiled
            config[f"{kind}_config"] = serialize_dict(part)
    record_object_after_serialization(obj, config)
    return config


def _inner_config(obj: Any) -> Any:
    if isinstance(obj, types.FunctionType):
        return get_registered_name(obj)
    if hasattr(obj, "get_config") and not inspect.isclass(obj):
        config = obj.get_config()
        if not isinstance(config, dict):
            raise TypeError(
                f"The `get_config()` method of {obj} should return a dict. It returned {config!r} "
                f"(a {type(config).__name__})."
            )
        return serialize_dict(config)
    if hasattr(obj, "__name__"):
        return get_registered_name(obj)
    raise TypeError(
        f"Cannot serialize object {obj!r} of type {type(obj).__name__}. To be serializable, a class must implement the "
        "`get_config()` method: return a dict of the arguments that its __init__ needs."
    )


def serialize_with_public_class(cls: type, inner_config: Any = None) -> dict[str, Any]:
    """The config of an object of class `cls` whose own config is `inner_config`."""
    public = public_names.public_name(cls)
    if public is not None:
        module, name, registered = *public, None
    else:
        module, name, registered = public_names.file_module(cls), cls.__name__, get_registered_name(cls)
    return {"module": module, "class_name": name, "config": inner_config, "registered_name": registered}


# -- reading ---------------------------------------------------------------------------------------
def deserialize_keras_object(
    config: Any, custom_objects: dict[str, Any] | None = None, safe_mode: bool = True, **kwargs: Any
) -> Any:
    """The object that a config (from `serialize_keras_object`, or out of a file) describes.

    Args:
        config: the config; plain values are returned as they are, lists and dicts member by member.
        custom_objects: dict from name to class or function, for objects that are not registered.
        safe_mode: refuse lambdas.

    Raises:
        TypeError: when a class or function is not known, or its `from_config` fails.
        ValueError: for a lambda in safe mode, and for names that are no part of a model.

    Example:
        >>> import graphkeras as keras
        >>> config = keras.saving.serialize_keras_object(keras.regularizers.L2(0.5))
        >>> float(keras.saving.deserialize_keras_object(config).l2)
        0.5
    """
    module_objects = kwargs.pop("module_objects", None)
    if kwargs:
        raise TypeError(f"deserialize_keras_object: unexpected arguments {sorted(kwargs)}.")
    scoped = in_safe_mode()
    safe_mode = safe_mode if scoped is None else scoped
    custom = {**(custom_objects or {}), **scope_objects(), **GLOBAL_CUSTOM_OBJECTS}
    if config is None:
        return None
    if isinstance(config, str) and config in custom:
        return custom[config]
    if isinstance(config, (list, tuple)):
        return [deserialize_keras_object(x, custom, safe_mode) for x in config]
    if module_objects is not None:
        return _from_module_objects(config, module_objects, custom, safe_mode)
    if isinstance(config, PLAIN_TYPES):
        return config
    if not isinstance(config, dict):
        raise TypeError(f"Could not parse config: {config!r} (a {type(config).__name__}; expected a dict).")
    if "class_name" not in config or "config" not in config:
        return {key: deserialize_keras_object(value, custom, safe_mode) for key, value in config.items()}
    name = config["class_name"]
    if isinstance(name, str) and name.startswith("__") and name.endswith("__"):
        return _read_special(name.strip("_"), config["config"] or {}, custom, safe_mode)
    if name == "function":
        return _read_function(config, custom)
    return _read_object(config, custom, safe_mode)


def _from_module_objects(config: Any, table: dict[str, Any], custom: dict[str, Any], safe_mode: bool) -> Any:
    """Built-in objects by short name: "mse", {"class_name": "L2", "config": {...}} (as files of Keras 2 have them)."""
    inner: Any = None
    if isinstance(config, dict):
        if "class_name" not in config:
            raise ValueError(f"Unknown config: expected a dict with the key 'class_name', received {config!r}.")
        name, inner = config["class_name"], config.get("config")
        known = {name, config.get("registered_name"), inner if isinstance(inner, str) else None}
        if known & custom.keys():
            return deserialize_keras_object({"config": {}, **config}, custom, safe_mode)
        if name == "function":
            name = inner if config.get("module") in ("builtins", None) else config.get("registered_name") or inner
        elif config.get("module", "") is None:
            raise TypeError(
                f"Cannot deserialize object of type `{name}`. If `{name}` is a custom class, register it with the "
                "`@register_keras_serializable()` decorator or pass it in `custom_objects`."
            )
    else:
        name = config
    if isinstance(config, dict) and config["class_name"] != "function" and name not in table and config.get("module"):
        return deserialize_keras_object({"config": {}, **config}, custom, safe_mode)
    if not isinstance(name, str) or name not in table:
        return name
    found = table[name]
    if not inspect.isclass(found):
        return found
    return _instantiate(found, inner or {}, {"class_name": name, "config": inner}, custom, safe_mode)


def _read_special(kind: str, inner: dict[str, Any], custom: dict[str, Any], safe_mode: bool) -> Any:
    if kind == "keras_tensor":
        from graphkeras.core.keras_tensor import KerasTensor

        tensor = KerasTensor(inner["shape"], dtype=inner["dtype"])
        tensor._pre_serialization_keras_history = inner["keras_history"]
        return tensor
    if kind == "tensor":
        from graphkeras.ir.types import numpy_dtype

        return Tensor(np.asarray(inner["value"], dtype=numpy_dtype(inner["dtype"])))
    if kind == "numpy":
        return np.array(inner["value"], dtype=inner["dtype"])
    if kind == "bytes":
        return inner["value"].encode("utf-8")
    if kind == "ellipsis":
        return Ellipsis
    if kind == "slice":
        return slice(*(deserialize_keras_object(inner[k], custom, safe_mode) for k in ("start", "stop", "step")))
    if kind == "lambda":
        if safe_mode:
            raise ValueError(
                "Requested the deserialization of a Python lambda. This carries a potential risk of arbitrary code "
                "execution, so it is refused by default. If you trust the file, pass `safe_mode=False` to the loading "
                "function or call `config.enable_unsafe_deserialization()`."
            )
        return load_function(inner["value"])
    raise TypeError(f"Could not parse config: unknown kind of value '__{kind}__'.")


def _read_function(config: dict[str, Any], custom: dict[str, Any]) -> Any:
    name, module = config["config"], config.get("module")
    if not isinstance(name, str):
        raise TypeError(f"Expected 'config' to be a non-null str, a function's name; received {name!r}. In: {config}")
    found = get_registered_object(name, custom)
    if found is None and module and public_names.is_own(module):
        found = public_names.find(module, name)
        _refuse_registered_name(config, name, found)
    if found is None and module == "builtins":
        found = _builtin_function(name)
        _refuse_registered_name({**config, "class_name": "function"}, name, found)
        if found is None and ">" not in name:  # files of Keras <= 3.6 have registered functions without their package
            found = next((obj for key, obj in custom.items() if key.endswith(f">{name}")), None)
    if found is None:
        raise _not_located("function", name, config)
    return found


def _builtin_function(name: str) -> Any:
    """A function that a config names without a module: 'relu', 'mean_squared_error'."""
    for space in ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers"):
        try:
            found = public_names.find(f"keras.{space}", name)
        except ValueError:
            continue
        if found is not None:
            return found
    return None


def _refuse_registered_name(config: dict[str, Any], name: str, found: Any) -> None:
    """A built-in with somebody else's registered name is a forged or mixed-up config."""
    registered = config.get("registered_name")
    if found is not None and registered and registered not in (name, config["class_name"]):
        raise ValueError(
            f"`registered_name={registered!r}` was provided in the config, but {config.get('module')}.{name} "
            f"resolved to a Keras built-in, which has no registered name. Remove `registered_name` from: {config}"
        )


def _read_object(config: dict[str, Any], custom: dict[str, Any], safe_mode: bool) -> Any:
    name, module, inner = config["class_name"], config.get("module"), config["config"]
    inner = {} if inner is None else inner
    if not isinstance(inner, dict):
        raise TypeError(f"Expected 'config' to be a dict for {name}, received {inner!r}. Full config: {config}")
    if "shared_object_id" in config:
        shared = get_shared_object(config["shared_object_id"])
        if shared is not None:
            return shared
    cls = get_registered_object(config.get("registered_name", name), custom)
    if cls is None and module and public_names.is_own(module):
        cls = public_names.find(module, name)
        if not module.startswith(("keras.src.", f"{public_names.PACKAGE}.src.")):
            _refuse_registered_name(config, name, cls)
    if cls is None:
        cls = custom.get(name)
    if cls is None:
        raise _not_located("class", name, config)
    if isinstance(cls, types.FunctionType):
        return cls
    instance = _instantiate(cls, inner, config, custom, safe_mode)
    if "shared_object_id" in config:
        _note_read(instance, config["shared_object_id"])
    return instance


def _instantiate(
    cls: Any, inner: dict[str, Any], config: dict[str, Any], custom: dict[str, Any], safe_mode: bool
) -> Any:
    if not hasattr(cls, "from_config"):
        raise TypeError(
            f"Unable to reconstruct an instance of '{config['class_name']}': the class is missing a `from_config()` "
            f"classmethod. Full config: {config}"
        )
    with CustomObjectScope(custom), SafeModeScope(safe_mode):
        try:
            instance = cls.from_config(inner)
        except NotLoadable:
            raise  # a part of this object: its own message says what to do
        except TypeError as error:
            raise NotLoadable(
                f"{cls} could not be deserialized properly: {error}\n\nMake sure that components of its config that "
                "are objects (layers, models, losses ...) are explicitly deserialized in its `from_config()`, and that "
                f"every key of the config is an argument of `__init__`.\n\nconfig={config}"
            ) from error
        build_config = config.get("build_config")
        if build_config and not instance.built:
            instance.build_from_config(build_config)
            instance.built = True
        compile_config = config.get("compile_config")
        if compile_config:
            instance.compile_from_config(compile_config)
            instance.compiled = True
    return instance


class NotLoadable(TypeError):
    """An object that cannot be made from its config."""


def _not_located(kind: str, name: str, config: dict[str, Any]) -> NotLoadable:
    decorate = "class" if kind == "class" else "def"
    return NotLoadable(
        f"Could not locate {kind} '{name}'. It is neither built in nor registered. Put "
        f"`@register_keras_serializable()` before `{decorate} {name}` and import the module that defines it before "
        f"loading, or pass `custom_objects={{'{name}': {name}}}`. Full object config: {config}"
    )
