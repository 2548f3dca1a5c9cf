"""Public names of the package's own objects, as files and configs carry them ("keras.layers.Dense").

Files are exchanged with Keras, so names start with "keras". Reading is by an allow-list: only the namespaces below,
only in this package; nothing else is ever imported because a file asks for it.
"""

from __future__ import annotations

import importlib
import inspect
from types import FunctionType
from typing import Any

from graphkeras.core.operation import FunctionOperation, function_operation, operation_home

PACKAGE = __name__.split(".")[0]

# Namespaces a config may name. The ones that can read files, download or configure are not among them.
NAMESPACES = (
    "activations",
    "applications",
    "constraints",
    "distillation",
    "dtype_policies",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "ops",
    "ops.image",
    "ops.linalg",
    "ops.nn",
    "ops.numpy",
    "optimizers",
    "optimizers.schedules",
    "quantizers",
    "random",
    "regularizers",
)

# Objects whose canonical place is the root, `keras.Layer`, although a namespace offers them too.
ROOT = frozenset(
    [
        "DTypePolicy",
        "FloatDTypePolicy",
        "Function",
        "Initializer",
        "InputSpec",
        "KerasTensor",
        "Layer",
        "Loss",
        "Metric",
        "Model",
        "Operation",
        "Optimizer",
        "Quantizer",
        "Regularizer",
        "RematScope",
        "Sequential",
        "StatelessScope",
        "SymbolicScope",
        "Variable",
    ]
)

# Functions that live in `losses` and are named by Keras as members of `metrics`.
METRIC_FUNCTIONS = frozenset(
    [
        "binary_crossentropy",
        "binary_focal_crossentropy",
        "categorical_crossentropy",
        "categorical_focal_crossentropy",
        "categorical_hinge",
        "hinge",
        "kl_divergence",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_error",
        "mean_squared_logarithmic_error",
        "poisson",
        "sparse_categorical_crossentropy",
        "squared_hinge",
    ]
)

HOMES = {"SeedGenerator": ["random"]}  # defined in the core, public elsewhere

# Classes that a namespace of ours offers and Keras keeps internal: files name their internal module.
INTERNAL = frozenset({"Functional"})

RENAMED = {"GroupedQueryAttention": "GroupQueryAttention"}

# Classes that may be named although the rest of their namespace may not, and where they are defined.
SINGLE = {("utils", "FeatureSpace"): "graphkeras.layers.preprocessing.feature_space"}

# Functions inside allowed namespaces that are not part of a model.
NOT_MODELING = frozenset(
    {"load_model", "save_model", "model_from_json", "clone_model", "deserialize", "serialize", "get"}
)


def _namespace(path: str) -> Any:
    """The module of a public namespace ("" is the root), or None when the package does not have it."""
    try:
        return importlib.import_module(f"{PACKAGE}.{path}" if path else PACKAGE)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith(PACKAGE):
            return None
        raise


def _homes(module: str) -> list[str]:
    """Namespaces in which an object defined in `module` may be public, the likeliest first."""
    path = module.split(".")[1:]
    found = [".".join(path[:k]) for k in range(len(path), 0, -1)]
    return [p for p in found if p in NAMESPACES]


def public_name(obj: Any) -> tuple[str, str] | None:
    """("keras.layers", "Dense") for a class or function of this package that is public, else None."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__name__", None)
    if not module or not name or not (module == PACKAGE or module.startswith(PACKAGE + ".")):
        return None
    name = RENAMED.get(name, name)
    if name in INTERNAL:
        return None
    if name in ROOT and inspect.isclass(obj) and getattr(_namespace(""), name, None) is obj:
        return "keras", name
    for (home, single), defined in SINGLE.items():
        if (module, name) == (defined, single):
            return f"keras.{home}", name
    homes = _homes(module) or HOMES.get(name, [])
    if module.startswith(f"{PACKAGE}.losses") and name in METRIC_FUNCTIONS:
        homes.insert(0, "metrics")
    for home in homes:
        if getattr(_namespace(home), name, None) is obj:
            return f"keras.{home}", name
    return None


def file_module(cls: type) -> str:
    """The module name to write for a class that is not public: Keras's own layout for ours, else as it is."""
    module = operation_home(cls) if issubclass(cls, FunctionOperation) else cls.__module__
    return f"keras.src{module[len(PACKAGE) :]}" if module.startswith(PACKAGE + ".") else module


def is_own(module: str) -> bool:
    root = module.split(".")[0]
    return root in ("keras", PACKAGE)


def find(module: str, name: str) -> Any:
    """The class or function that a config names by ("keras.layers", "Dense"), or None.

    Raises:
        ValueError: for a public function that is no part of a model (`keras.models.load_model`, say).
    """
    path = module.split(".")[1:]
    if path[:1] == ["src"]:
        return _find_internal(path[1:], name)
    home = ".".join(path)
    if (home, name) in SINGLE:
        return getattr(importlib.import_module(SINGLE[home, name]), name)
    if home and home not in NAMESPACES and not home.startswith("applications."):
        if path[0] == "engine":
            return _from_keras_2(name)
        if home.split(".")[0] in NAMESPACES:  # an older internal path: keras.layers.core.dense
            return _acceptable(getattr(_namespace(home.split(".")[0]), name, None))
        raise ValueError(_not_modeling(module, name))
    if name in NOT_MODELING:
        raise ValueError(_not_modeling(module, name))
    return _acceptable(getattr(_namespace(home), name, None))


def _from_keras_2(name: str) -> Any:
    """Keras 2 had models and the base layer in `keras.engine`."""
    return _acceptable(getattr(_namespace("models"), name, None) or getattr(_namespace("layers"), name, None))


def _acceptable(obj: Any) -> Any:
    return obj if inspect.isclass(obj) or isinstance(obj, FunctionType) or callable(obj) else None


def _not_modeling(module: str, name: str) -> str:
    return (
        f"Cannot deserialize `{module}.{name}` because it is not a modeling function. A config may name layers, "
        "operations, metrics, losses, optimizers and registered custom objects only; a file that names anything else "
        "is refused, because it could run code."
    )


def _find_internal(path: list[str], name: str) -> Any:
    """A class of ours that is not public, such as `keras.src.models.functional.Functional`."""
    if path[:1] == ["ops"]:
        return function_operation(name)
    if path[:1] == ["engine"]:
        return _from_keras_2(name)
    if not path or path[0] not in NAMESPACES or not name.isidentifier():
        return None
    try:
        module = importlib.import_module(".".join([PACKAGE, *path]))
    except ModuleNotFoundError:
        module = _namespace(path[0])
    obj = getattr(module, name, None)
    own = inspect.isclass(obj) and obj.__module__.startswith(PACKAGE + ".") and hasattr(obj, "from_config")
    return obj if own else None
