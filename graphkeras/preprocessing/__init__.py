"""Data sets from folders and arrays (`graphkeras.preprocessing`); images and sequences in modules of their own."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = ("image_dataset_from_directory", "text_dataset_from_directory", "timeseries_dataset_from_array")
_MODULES = ("image", "sequence")

__all__ = [*_NAMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        from graphkeras import utils

        return getattr(utils, name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
