"""ConfiguredLayer: a layer that names its constructor arguments once, and so gets its `get_config()` for nothing."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from graphkeras import activations, constraints, initializers, regularizers
from graphkeras.layers.layer import Layer

# Arguments with these endings are identifiers ("relu", "glorot_uniform", ...), resolved by the module's get().
RESOLVERS = {
    "activation": activations,
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}


def resolver(name: str) -> Any:
    """The module that knows identifiers for arguments of that name, or None."""
    return RESOLVERS.get(name.rpartition("_")[2])


class ConfiguredLayer(Layer):
    """Base of the built-in layers.

    `CONFIG` lists the arguments that `get_config()` returns. Those that end in `_initializer`, `_regularizer`,
    `_constraint` or `activation` are resolved when they are stored and serialised when they are read.
    """

    CONFIG: tuple[str, ...] = ()

    def store(self, **arguments: Any) -> None:
        """Keep constructor arguments as attributes of the same names."""
        for name, value in arguments.items():
            module = resolver(name)
            setattr(self, name, value if module is None else module.get(value))

    def add_parameter(self, name: str, shape: Any, prefix: str | None = None, **options: Any) -> Any:
        """A weight whose initializer, regularizer and constraint are the arguments `{prefix}_initializer` and so on."""
        prefix = prefix or name
        options.setdefault("initializer", getattr(self, f"{prefix}_initializer"))
        return self.add_weight(
            name=name,
            shape=tuple(shape),
            regularizer=getattr(self, f"{prefix}_regularizer", None),
            constraint=getattr(self, f"{prefix}_constraint", None),
            **options,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in self.CONFIG:
            module, value = resolver(name), getattr(self, name)
            config[name] = value if module is None else module.serialize(value)
        return config


class SpatialLayer(ConfiguredLayer):
    """Base of layers that come for 1, 2 and 3 spatial dimensions: `class Conv2D(BaseConv, rank=2)`.

    Such a class inherits `__init__`, whose integer defaults for the arguments in `PER_DIMENSION` are shown once for
    each dimension, so that `strides=1` of the base reads `strides=(1, 1)` for rank 2.
    """

    PER_DIMENSION: tuple[str, ...] = ()
    rank: int

    def __init_subclass__(cls, rank: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if rank is not None:
            cls.rank = rank
            if rank > 1 and "__init__" not in vars(cls):
                cls.__init__ = _repeat_defaults(cls.__init__, cls.PER_DIMENSION, rank)  # type: ignore[misc]


def _repeat_defaults(shared: Any, names: tuple[str, ...], rank: int) -> Any:
    """`shared` under a signature in which the integer defaults of `names` are tuples of `rank` such integers."""
    signature = inspect.signature(shared)
    parameters = [
        p.replace(default=(p.default,) * rank) if p.name in names and isinstance(p.default, int) else p
        for p in signature.parameters.values()
    ]

    @functools.wraps(shared)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        shared(self, *args, **kwargs)

    __init__.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return __init__
