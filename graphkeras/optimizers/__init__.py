"""Optimizers, by class or by name ("adam", "SGD", ...: upper and lower case are the same)."""

from __future__ import annotations

from typing import Any

from graphkeras.optimizers import legacy, schedules
from graphkeras.optimizers.adadelta import Adadelta
from graphkeras.optimizers.adafactor import Adafactor
from graphkeras.optimizers.adagrad import Adagrad
from graphkeras.optimizers.adam import Adam
from graphkeras.optimizers.adamax import Adamax
from graphkeras.optimizers.adamw import AdamW
from graphkeras.optimizers.ftrl import Ftrl
from graphkeras.optimizers.lamb import Lamb
from graphkeras.optimizers.lion import Lion
from graphkeras.optimizers.loss_scale_optimizer import LossScaleOptimizer
from graphkeras.optimizers.multi_optimizer import MultiOptimizer, OptimizerMap
from graphkeras.optimizers.muon import Muon
from graphkeras.optimizers.nadam import Nadam
from graphkeras.optimizers.optimizer import Optimizer
from graphkeras.optimizers.rmsprop import RMSprop
from graphkeras.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from graphkeras.optimizers.sgd import SGD
from graphkeras.saving.identifiers import deserialize_with, unknown
from graphkeras.saving.object_registration import get_registered_object
from graphkeras.saving.serialization_lib import serialize_keras_object

_CLASSES = (
    Optimizer,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    Adamax,
    Ftrl,
    Lamb,
    Lion,
    LossScaleOptimizer,
    MultiOptimizer,
    Muon,
    Nadam,
    OptimizerMap,
    RMSprop,
    SGD,
    ScheduleFreeAdamW,
)
_TABLE = {cls.__name__.lower(): cls for cls in _CLASSES}


def serialize(optimizer: Any) -> Any:
    """The config of an optimizer."""
    return serialize_keras_object(optimizer)


def deserialize(config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """The optimizer that a config describes."""
    name = config["class_name"]
    if name.lower() in _TABLE:
        config = {**config, "class_name": name.lower()}
    return deserialize_with(_TABLE, config, custom_objects)


def get(identifier: Any) -> Any:
    """An optimizer from a name, a config, a class or an instance; None stays None.

    Raises:
        ValueError: for anything else; names the closest known optimizers.

    Example:
        >>> from graphkeras import optimizers
        >>> optimizers.get("ADAM").name.startswith("adam")
        True
    """
    if identifier is None:
        return None
    found = identifier
    if isinstance(identifier, dict):
        found = deserialize(identifier)
    elif isinstance(identifier, str):
        found = get_registered_object(identifier) or _TABLE.get(identifier.lower())
    if isinstance(found, type) and issubclass(found, Optimizer):
        found = found()
    if not isinstance(found, Optimizer):
        raise ValueError(unknown("optimizer", identifier, _TABLE))
    return found


__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "RMSprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "legacy",
    "schedules",
    "serialize",
]
