"""The examples in the docstrings of losses, metrics, optimizers and the smaller packages run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = (
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "optimizers",
    "regularizers",
)


def _modules() -> list[str]:
    found = []
    for name in PACKAGES:
        package = importlib.import_module(f"graphkeras.{name}")
        found += [package.__name__, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))]
    return found


@pytest.mark.parametrize("name", _modules())
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
