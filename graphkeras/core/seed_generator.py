"""Random state: a seed and a counter in a variable, so that random numbers are part of a model's state.

Random ops are counter based: the key (seed, counter) determines the numbers, and every use moves the counter on.
"""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from graphkeras.core.global_state import get_global_attribute, set_global_attribute
from graphkeras.core.naming import auto_name
from graphkeras.core.scopes import name_scope
from graphkeras.core.tensor import Tensor
from graphkeras.core.trace import apply
from graphkeras.core.variable import Variable

_GLOBAL = "global_seed_generator"
_WORD = 0xFFFFFFFF


class SeedGenerator:
    """A stream of random keys.

    Args:
        seed: integer; None draws one from Python's `random`, which `utils.set_random_seed` seeds.
        name: string.

    Layers that draw random numbers keep one as an attribute, and its state is then part of the layer's variables.

    Example:

    >>> import graphkeras as keras
    >>> seeds = keras.random.SeedGenerator(7)
    >>> seeds.next().tolist(), seeds.next().tolist()
    ([7, 0], [7, 1])
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any) -> None:
        kwargs.pop("backend", None)
        if kwargs:
            raise ValueError(f"Unrecognized keyword arguments passed to SeedGenerator: {kwargs}")
        self.name = name or auto_name(type(self).__name__)
        self._initial_seed = seed
        if seed is None:
            seed = make_default_seed()
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise ValueError(f"Argument `seed` must be an integer. Received: seed={seed!r}")
        with name_scope(self.name, caller=self):
            self.state = Variable(
                np.array([int(seed) & _WORD, 0], np.uint32),
                trainable=False,
                autocast=False,
                name="seed_generator_state",
            )

    def next(self, ordered: bool = True) -> Tensor:
        """The next key, a uint32 tensor (seed, counter). `ordered` is accepted for compatibility."""
        key = self.state.value
        self.state.assign(apply("add", key, np.array([0, 1], np.uint32)))
        return key

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        return cls(**config)


SeedGenerator.__module__ = "graphkeras.random"  # its public home, which configs name


def make_default_seed() -> int:
    """A seed from Python's `random`."""
    return python_random.randint(1, int(1e9))


def global_seed_generator() -> SeedGenerator:
    """The generator of random ops that are given no seed."""
    generator = get_global_attribute(_GLOBAL)
    if generator is None:
        generator = SeedGenerator()
        set_global_attribute(_GLOBAL, generator)
    return generator


def draw_seed(seed: int | SeedGenerator | None) -> Tensor:
    """The key for one random op: an integer always gives the same key, a generator its next one."""
    if isinstance(seed, SeedGenerator):
        return seed.next()
    if seed is None:
        return global_seed_generator().next()
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        return Tensor(np.array([int(seed) & _WORD, 0], np.uint32))
    raise ValueError(
        "Argument `seed` must be either an integer or an instance of `SeedGenerator`. "
        f"Received: seed={seed!r} (of type {type(seed)})"
    )


def set_random_seed(seed: int) -> None:
    """Seed Python's `random`, `numpy.random` and the global generator: the same script gives the same numbers.

    seed: integer from 0 to 2**32 - 1.
    """
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed <= _WORD:
        raise ValueError(f"Argument `seed` must be an integer in [0, 2**32 - 1]. Received: seed={seed!r}")
    python_random.seed(int(seed))
    np.random.seed(int(seed))
    set_global_attribute(_GLOBAL, None)
