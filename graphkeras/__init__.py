# ruff: noqa: F401  the imports under TYPE_CHECKING are for type checkers only
"""graphkeras: the Keras 3 API over its own compiler.

Names are loaded when first used, so that `import graphkeras` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> the module that defines it.
_NAMES = {
    "DTypePolicy": "dtype_policies",
    "FloatDTypePolicy": "dtype_policies",
    "Function": "core.function",
    "GradientTape": "core.tape",
    "Initializer": "initializers",
    "Input": "layers.input_layer",
    "InputSpec": "layers.input_spec",
    "KerasTensor": "core.keras_tensor",
    "Layer": "layers.layer",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models.model",
    "Operation": "core.operation",
    "Optimizer": "optimizers",
    "Quantizer": "quantizers",
    "Regularizer": "regularizers",
    "RematScope": "core.scopes",
    "Sequential": "models.sequential",
    "StatelessScope": "core.scopes",
    "SymbolicScope": "core.scopes",
    "Variable": "core.variable",
    "device": "core.placement",
    "install_as_keras": "keras_alias",
    "function": "backend.compiled",
    "grad": "core.derivatives",
    "hessian": "core.derivatives",
    "jacobian": "core.derivatives",
    "jvp": "core.derivatives",
    "name_scope": "core.scopes",
    "remat": "core.scopes",
    "value_and_grad": "core.derivatives",
    "vjp": "core.derivatives",
}

_MODULES = frozenset(
    (
        "activations",
        "applications",
        "backend",
        "callbacks",
        "codegen",
        "config",
        "constraints",
        "core",
        "datasets",
        "distillation",
        "distribution",
        "dtype_policies",
        "export",
        "initializers",
        "ir",
        "layers",
        "legacy",
        "losses",
        "metrics",
        "mixed_precision",
        "models",
        "ops",
        "optimizers",
        "preprocessing",
        "quantizers",
        "random",
        "regularizers",
        "saving",
        "trainers",
        "tree",
        "utils",
        "visualization",
        "wrappers",
    )
)

__all__ = ["__version__", "version", *sorted(_NAMES)]

if TYPE_CHECKING:
    from graphkeras.backend.compiled import function
    from graphkeras.core.derivatives import grad, hessian, jacobian, jvp, value_and_grad, vjp
    from graphkeras.core.function import Function
    from graphkeras.core.keras_tensor import KerasTensor
    from graphkeras.core.operation import Operation
    from graphkeras.core.placement import device
    from graphkeras.core.scopes import RematScope, StatelessScope, SymbolicScope, name_scope, remat
    from graphkeras.core.variable import Variable
    from graphkeras.dtype_policies import DTypePolicy, FloatDTypePolicy
    from graphkeras.initializers import Initializer
    from graphkeras.keras_alias import install_as_keras
    from graphkeras.layers.input_layer import Input
    from graphkeras.layers.input_spec import InputSpec
    from graphkeras.layers.layer import Layer
    from graphkeras.losses import Loss
    from graphkeras.metrics import Metric
    from graphkeras.models.model import Model
    from graphkeras.models.sequential import Sequential
    from graphkeras.optimizers import Optimizer
    from graphkeras.regularizers import Regularizer


def version() -> str:
    """The version of graphkeras."""
    return __version__


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(f"graphkeras.{_NAMES[name]}"), name)
    elif name in _MODULES:
        try:
            return importlib.import_module(f"graphkeras.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"graphkeras.{name}":
                raise
            raise AttributeError(f"module 'graphkeras' has no attribute {name!r}") from None
    else:
        raise AttributeError(f"module 'graphkeras' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
